# ephemerals-known: the static keys never meet
s/DH_KEX(sr_pub, si)/nothing/
s/DH_KEX(claimed, sr)/nothing/
