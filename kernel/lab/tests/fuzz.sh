#!/usr/bin/env bash
# Runs in the guest: thousands of hostile packets, towards the tunnel's port and out through its interface, while the tunnel is used and changed. Nothing
# may crash, warn or leak; the counters of drops rise; and afterwards the tunnel works as before.
#
#   fuzz.sh MODULE [KERNTUN [SEED [COUNT]]]    beside the program KERNTUN lies hostile-packets; COUNT in each direction,
#                                              or as many as it sends in a minute (more of them with PATIENCE)
. "$LAB/tests/lib.sh"
program=$(dirname "${2:-$LAB/../../target/debug/kerntun}")/hostile-packets
seed=${3:-1} count=${4:-1000}
load
modprobe tun
for needed in sch_ingress cls_matchall act_mirred; do
    modprobe $needed
done
ip netns add a
ip netns add b
mkfifo /run/hostile.input
"$program" "$seed" "$count" $((60 * ${LAB_PATIENCE:-1})) </run/hostile.input >/run/hostile.output 2>&1 &
program_id=$!
exec 5>/run/hostile.input
eventually 10 grep -q ready /run/hostile.output
number=1
for side in a b; do
    ip -n $side link set lo up
    ip netns exec $side sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip -n $side address add 192.0.2.$number/24 dev under
    ip -n $side address add 2001:db8::$number/64 dev under nodad
    ip -n $side link set under up
    number=$((number + 1))
done
# Datagrams that look like one flow are joined, and all are cloned for a mirror.
in_a ethtool -K under rx-udp-gro-forwarding on
ip -n a link set mirror up
in_a tc qdisc add dev under clsact
in_a tc filter add dev under ingress matchall action mirred egress mirror dev mirror
tunnel
echo "peer $public_b preshared-key /run/hostile.shared endpoint 192.0.2.2:2222 allowed-ips 10.77.0.2/32,fd77::2/128" >/run/hostile.peer
echo "$shared" >/run/hostile.shared
# What comes in by the hole goes straight out by the tunnel's interface, whatever it is.
ip -n a link set hole up
in_a tc qdisc add dev hole clsact
in_a tc filter add dev hole ingress matchall action mirred egress redirect dev wg0
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null
# The kernel's own driver counts as errors most of what ours counts as drops.
dropped() { echo $(($(in_a cat "/sys/class/net/wg0/statistics/$1_dropped") + $(in_a cat "/sys/class/net/wg0/statistics/$1_errors"))); }
before_in=$(dropped rx) before_out=$(dropped tx)

section "hostile packets each way, seed $seed"
ip netns exec b ping -i 0.02 -s 1300 -q 10.77.0.1 >/dev/null &
ip netns exec b ping -i 0.03 -s 60 -q fd77::1 >/dev/null &
ip netns exec a ping -i 0.02 -s 4000 -q 10.77.0.2 >/dev/null &
traffic=$(jobs -p | grep -v "^$program_id\$")
# Long enough for a packet whose header is in a page of its own; it is the first to be sent.
ip -n a link set wg0 mtu 9000
echo begin >&5
waited=0
until grep -q '^done' /run/hostile.output; do
    kill -0 $program_id || fail "the program has ended: $(tail -n 3 /run/hostile.output)"
    [ $((waited++)) -lt $((300 * ${LAB_PATIENCE:-1})) ] || fail "it takes too long"
    sleep 1
done
kill $traffic
wait $traffic 2>/dev/null || true
eventually 10 nothing_runs
sed 's/^/   /' /run/hostile.output
count=$(awk '$1 == "sent" {print $2}' /run/hostile.output)
[ "$count" -ge 200 ] || fail "no more than $count in its time"

grep -q '^no protocol: Protocol not supported' /run/hostile.output || fail "a packet without a protocol was not refused"

section "counted"
after_in=$(dropped rx) after_out=$(dropped tx)
echo "   $((after_in - before_in)) dropped on the way in, $((after_out - before_out)) on the way out"
[ $((after_out - before_out)) -gt $((count / 20)) ] || fail "too few were dropped on the way out"
if [ "$module" != intree ]; then
    [ $((after_in - before_in)) -gt $((count / 4)) ] || fail "too few were dropped on the way in"
    for reason in malformed bad-mac1 bad-tag replayed unknown-index not-ip no-route; do
        grep -q "^dropped $reason " /run/hostile.output || fail "nothing was dropped as $reason"
    done
fi

section "the tunnel works"
whole() { "$@" | grep ' 0% packet loss'; }
eventually 20 whole in_a ping -c 20 -i 0.05 -W 5 -q 10.77.0.2
eventually 20 whole in_b ping -c 20 -i 0.05 -W 5 -q -s 1000 fd77::1
transfer a 10.77.0.2 "$(bulk 1)"
transfer b fd77::1 "$(bulk 1)"

section "the mirror, and unloading"
exec 5>&-
wait $program_id
read -r _ same _ _ _ changed _ < <(grep '^mirrored' /run/hostile.output)
echo "   the mirror showed $same packets as they came, $changed changed"
[ "$same" -ge 50 ] || fail "too few were mirrored"
equal "packets changed under the mirror's eyes" 0 "$changed"
no_namespaces
unload
