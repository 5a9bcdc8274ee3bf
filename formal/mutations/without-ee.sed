# forward-secrecy: the ephemeral keys never meet
s/DH_KEX(er_pub, ei)/nothing/
s/DH_KEX(ei_pub, er)/nothing/
