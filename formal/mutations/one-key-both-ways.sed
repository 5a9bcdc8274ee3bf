# honest: both directions use one key, so that packets can be reflected
s/packet_r = AEAD_ENC(r_send/packet_r = AEAD_ENC(r_receive/
s/got_r = AEAD_DEC(i_receive/got_r = AEAD_DEC(i_send/
