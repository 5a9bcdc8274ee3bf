# identity: the static key is sealed under a key that everybody knows
s/AEAD_ENC(i_k2/AEAD_ENC(zero/
s/AEAD_DEC(r_k2/AEAD_DEC(zero/
