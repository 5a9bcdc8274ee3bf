# Interfaces that come, go and move, and a module that is unloaded at the worst moment.
. "$(dirname "$0")/lib.sh"
load

section "100 interfaces that come and go, each having carried a packet"
cable
tunnel
# Starting a program is what takes long in a guest; here each round starts four.
cat >/run/configuration <<END
[Interface]
PrivateKey = $key_a
ListenPort = 1111
[Peer]
PublicKey = $public_b
PresharedKey = $shared
Endpoint = 192.0.2.2:2222
AllowedIPs = 10.77.0.2/32, fd77::2/128
END
in_a bash -e <<'END'
for _ in {1..100}; do
    ip -batch - <<<$'link delete wg0\nlink add wg0 type wireguard'
    wg setconf wg0 /run/configuration
    ip -batch - <<<$'address add 10.77.0.1/24 dev wg0\nlink set wg0 up'
    ping -c 1 -W 5 -q 10.77.0.2 >/dev/null
done
END

section "down and up: the session ends, the configuration stays"
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null
before=$(in_a wg show wg0 dump | cut -f1-4)
for _ in $(seq 5); do
    ip -n a link set wg0 down
    ip -n a link set wg0 up
    eventually 10 in_a ping -c 1 -W 5 -q 10.77.0.2
done
equal "configuration" "$before" "$(in_a wg show wg0 dump | cut -f1-4)"

section "another port: the session goes on, and the other end follows"
handshake() { in_a wg show wg0 latest-handshakes | cut -f2; }
before=$(handshake)
# A new handshake would show as another second.
sleep 1.1
ip netns exec a ping -i 0.05 -q 10.77.0.2 >/run/pinged &
b_sees() { [ "$(in_b wg show wg0 endpoints | cut -f2)" = "192.0.2.1:$1" ]; }
for port in 1112 1113 1111; do
    in_a wg set wg0 listen-port $port
    eventually 5 b_sees $port
done
kill -INT $!
wait $!
# The answer to the old port is lost if it is on its way just then, and one may be on its way at the end.
read -r pinged answered < <(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' /run/pinged)
[ $((pinged - answered)) -le 7 ] || fail "of $pinged packets $answered were answered"
equal "the handshake" "$before" "$(handshake)"

section "whoever gets an interface that others made has no say about its socket"
ip -n a link add wg1 type wireguard
ip netns exec a unshare --user --map-root-user --net sleep 1000 &
guest=$!
other_namespace() { [ "$(readlink /proc/$guest/ns/net)" != "$(in_a readlink /proc/self/ns/net)" ] && grep -q sleep /proc/$guest/comm; }
eventually 5 other_namespace
ip -n a link set wg1 netns $guest
as_guest() { nsenter --target $guest --user --net "$@"; }
refused "Operation not permitted" as_guest wg set wg1 fwmark 1
refused "Operation not permitted" as_guest wg set wg1 listen-port 1
as_guest wg set wg1 private-key <(echo "$key_a") peer "$public_b" persistent-keepalive 5
equal "what came of it" "$public_a 0 off $public_b 5" \
    "$(as_guest wg show wg1 dump | awk 'NR == 1 {printf "%s %s %s ", $2, $3, $4} NR == 2 {print $1, $8}')"
# In its own, which that user made, there is nothing to be asked.
as_guest ip link add wg2 type wireguard
as_guest wg set wg2 fwmark 1 listen-port 1
kill $guest
wait $guest || true

section "an interface that moves keeps its socket where it was made"
ip netns add c
ip -n a link set wg0 netns c
ip -n c address add 10.77.0.1/24 dev wg0
ip -n c link set wg0 up
ip netns exec c ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
in_a ss -Hlun 'sport = :1111' | grep -q . || fail "the socket has moved along"

section "the namespace in which it was made goes: it stays, mute, and does not get a new socket"
mute() { ! ip netns exec c ping -c 1 -W 1 -q 10.77.0.2; }
ip netns delete a
eventually 20 mute
ip netns exec c wg show wg0 dump >/dev/null
ip -n c link set wg0 down
refused "Machine is not on the network" ip -n c link set wg0 up
refused "Operation not permitted" ip netns exec c wg set wg0 fwmark 1
refused "Operation not permitted" ip netns exec c wg set wg0 listen-port 1
ip netns exec c wg set wg0 peer "$public_b" persistent-keepalive 5

section "the same with a route of IPv6, which must not outlive its namespace"
no_namespaces
cable
tunnel 6
ip netns add c
ip -n a link set wg0 netns c
ip -n c address add 10.77.0.1/24 dev wg0
ip -n c link set wg0 up
ip netns exec c ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
ip netns delete a
eventually 20 mute
ip -n c link delete wg0
sleep 1

section "namespaces that go with traffic running"
no_namespaces
for _ in $(seq 3); do
    cable
    tunnel
    ip netns exec a ping -f -q -w 20 10.77.0.2 >/dev/null 2>&1 &
    ip netns exec b ping -f -q -w 20 fd77::1 >/dev/null 2>&1 &
    sleep 0.3
    # The processes keep their namespaces alive until they end.
    kill $(jobs -p) && no_namespaces
    wait || true
done

section "unloading with traffic running"
for _ in $(seq 3); do
    cable
    tunnel
    iperf_server b
    ip netns exec a iperf3 --client 10.77.0.2 --time 30 >/dev/null 2>&1 &
    ip netns exec a ping -f -q -w 30 fd77::2 >/dev/null 2>&1 &
    eventually 10 in_b bash -c "[ \$(wg show wg0 transfer | cut -f2) -gt 200000 ]"
    unload
    equal "interfaces left" "" "$(in_a ip -br link show type wireguard 2>&1 | grep -v 'Unknown' || true)"
    no_iperf_server
    kill $(jobs -p) 2>/dev/null || true
    wait || true
    eventually 10 nothing_runs
    no_namespaces
    load
done
unload
