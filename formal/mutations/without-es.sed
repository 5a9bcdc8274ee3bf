# initiator-compromised: the ephemeral key of the initiator meets no static key
s/DH_KEX(sr_pub, ei)/nothing/
s/DH_KEX(ei_pub, sr)/nothing/
