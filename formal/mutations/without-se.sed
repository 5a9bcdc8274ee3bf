# responder-compromised: the ephemeral key of the responder meets no static key
s/DH_KEX(er_pub, si)/nothing/
s/DH_KEX(claimed, er)/nothing/
