# The program `kerntun` with interfaces of the kernel's: whose they are, what they dropped, a clock that went back. Arguments: the path of a
# kerntun.ko, the path of the program.
. "$(dirname "$0")/lib.sh"
kerntun=$2
load
cable
new_keys

write() { # SIDE NUMBER KEY PEER'S-NUMBER PEER'S-KEY
    cat >"/etc/wireguard/wg$1.conf" <<END
[Interface]
PrivateKey = $3
ListenPort = $2$2$2$2
Address = 10.77.0.$2/24, fd77::$2/64
[Peer]
PublicKey = $5
PresharedKey = $shared
Endpoint = 192.0.2.$4:$4$4$4$4
AllowedIPs = 10.77.0.$4/32, fd77::$4/128
END
}
mkdir -p /etc/wireguard
write a 1 "$key_a" 2 "$public_b"
write b 2 "$key_b" 1 "$public_a"

up() { ip netns exec "$1" "$kerntun" up "wg$1" 2>/run/said || { cat /run/said; fail "kerntun up"; }; }
down() { ip netns exec "$1" "$kerntun" down "wg$1" 2>/run/said || { cat /run/said; fail "kerntun down"; }; }
says() { grep -qF "$1" /run/said || { cat /run/said; fail "it did not say '$1'"; }; }
silent() { ! grep -qF "$1" /run/said || { cat /run/said; fail "it said '$1'"; }; }
show() { in_a "$kerntun" show wga "$@"; }
has() { show --json | tr -d ' \n' | grep -qF "$1" || { show --json; fail "it has no $1"; }; }

section "up: our module, if it is loaded"
up a
says "wga is served by kerntun's kernel module"
silent "clock"
up b
in_a ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
in_a ping -c 2 -i 0.2 -W 5 -q fd77::2 >/dev/null

section "show: what wg shows, and drops with their reasons"
[[ $(show) == *"endpoint: 192.0.2.2:2222"* ]] || fail "no endpoint in $(show)"
equal "dump" "$(in_a wg show wga dump)" "$(show dump)"
has '"implementation":"kerntun-module"'
# To an address that is routed to the interface but to no peer; and from one that the peer may not use.
in_a ping -c 3 -i 0.2 -W 1 -q 10.77.0.99 >/dev/null 2>&1 && fail "there was an answer"
ip -n b address add 10.77.0.3/32 dev wgb
in_b ping -c 2 -i 0.2 -W 1 -q -I 10.77.0.3 10.77.0.1 >/dev/null 2>&1 && fail "there was an answer"
# The kernel's own multicast has no route either, so there may be more.
enough() { [ "$(show --json | tr -d ' \n' | grep -o '"no-route":[0-9]*' | cut -d: -f2)" -ge 3 ]; }
eventually 5 enough
two_refused() { show --json | tr -d ' \n' | grep -qF '"wrong-source":2},"peers"'; }
eventually 5 two_refused
has '"drops":{"wrong-source":2}'
show | grep -E 'no-route|wrong-source' || { show; fail "no drops for people"; }
in_a "$kerntun" diagnose wga >/run/said || true
silent "not served by kerntun"

section "down, and up again with a clock that went back"
now=$(date +%s)
down a
equal "interfaces" "" "$(in_a ip -br link show type wireguard)"
refused "is not up" in_a "$kerntun" down wga
date -s "@$((now - 36000))" >/dev/null
up a
says "the clock is 9 hours"
in_a ping -c 1 -W 1 -q 10.77.0.2 >/dev/null && fail "a peer took an old timestamp"
down a
date -s "@$((now + 60))" >/dev/null
up a
silent "clock"
in_a ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
down a
down b
unload

section "up: the kernel's own driver, if ours is not there"
modprobe wireguard
up a
says "wga is served by the kernel's own WireGuard"
has '"implementation":"kernel"'
has '"drops":null'
down a
rmmod wireguard

section "up: the daemon, if the kernel has neither"
echo 'install wireguard /bin/false' >/etc/modprobe.d/none.conf
modprobe tun
up a
says "as this kernel has no WireGuard"
has '"implementation":"kerntun"'
down a
rm /etc/modprobe.d/none.conf

no_namespaces
