# statics-compromised-psk: the preshared key is never mixed in
s/_c6, psk,/_c6, nothing,/
