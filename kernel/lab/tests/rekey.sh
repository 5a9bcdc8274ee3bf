# What happens by the clock. For a guest with --virtual-time.
. "$(dirname "$0")/lib.sh"
load
cable
tunnel
handshake() { in_a wg show wg0 latest-handshakes | cut -f2; }
# The clock beside it tells a wrong session from a clock that has leapt.
tell() { echo "$1: handshake at $2, looked at $(date +%s), $(cut -d' ' -f1 /proc/uptime) s after the start"; }
sent() { ip netns exec "$1" wg show wg0 transfer | cut -f3; }
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null
first=$(handshake)
tell first "$first"

section "a new session after 120 s of traffic, without a packet lost"
in_a ping -c 260 -i 0.5 -W 5 -q 10.77.0.2 | grep ' 0% packet loss' || fail "packets were lost"
second=$(handshake)
tell second "$second"
[ $((second - first)) -ge 119 ] && [ $((second - first)) -le 127 ] || fail "the second handshake was $((second - first)) s after the first"

section "no session after 180 s: the next packet makes a new one"
sleep 200
equal "handshake" "$second" "$(handshake)"
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null
third=$(handshake)
tell third "$third"
[ $((third - second)) -ge 200 ] || fail "the third handshake was $((third - second)) s after the second"

section "passive keepalive: one, 10 s after data that nothing answered"
in_b ip route add blackhole 10.77.0.1 table 77
in_b ip rule add pref 1 to 10.77.0.1 lookup 77
sleep 12
before=$(sent b)
in_a ping -c 1 -W 1 -q 10.77.0.2 >/dev/null || true
sleep 7
equal "bytes that b sent within 8 s" 0 $(($(sent b) - before))
sleep 4
equal "bytes that b sent within 12 s" 32 $(($(sent b) - before))
in_b ip rule del pref 1

section "persistent keepalive: 20 s, ten times in 200 s"
in_b wg set wg0 peer "$public_a" persistent-keepalive 20
before=$(sent b)
sleep 205
kept=$((($(sent b) - before) / 32))
[ "$kept" -ge 10 ] && [ "$kept" -le 20 ] || fail "$kept keepalives or their worth"
in_b wg set wg0 peer "$public_a" persistent-keepalive off

section "nobody answers: an initiation each 5 s, given up after 90 s"
sleep 200
ip -n b link set wg0 down
in_b ip route add blackhole 192.0.2.1/32 table 78
in_b ip rule add pref 2 to 192.0.2.1 lookup 78
before=$(sent a)
in_a ping -c 1 -W 1 -q 10.77.0.2 >/dev/null || true
sleep 150
# One has 148 bytes.
tries=$((($(sent a) - before) / 148))
[ "$tries" -ge 17 ] && [ "$tries" -le 21 ] || fail "$tries datagrams"
before=$(sent a)
sleep 60
equal "bytes after giving up" 0 $(($(sent a) - before))

no_namespaces
unload
