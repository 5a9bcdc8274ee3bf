# Packets as network cards deliver them: in page fragments, merged (GRO), cloned; forwarded into the tunnel and out of it. For a guest
# with --nics.
#
#   c -(eth0|eth1)- a =(eth2|eth3, tunnel)= b        c talks to 10.77.0.2, and a forwards
. "$(dirname "$0")/lib.sh"
load
modprobe virtio_net
nic() { grep -l "02:00:00:00:00:0$1" /sys/class/net/*/address | cut -d/ -f5; }
eventually 5 nic 3
for side in a b c; do
    ip netns add "$side"
    ip -n "$side" link set lo up
    ip netns exec "$side" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0
done
plug() { # NUMBER NAMESPACE NAME ADDRESS4 ADDRESS6
    ip link set "$(nic "$1")" netns "$2" name "$3"
    ip -n "$2" address add "$4" dev "$3"
    ip -n "$2" address add "$5" dev "$3" nodad
    ip -n "$2" link set "$3" up
    ip netns exec "$2" ethtool -K "$3" gro on
}
plug 0 c inner 198.51.100.3/24 fd33::3/64
plug 1 a inner 198.51.100.1/24 fd33::1/64
plug 2 a under 192.0.2.1/24 2001:db8::1/64
plug 3 b under 192.0.2.2/24 2001:db8::2/64
tunnel
ip -n c route add 10.77.0.0/24 via 198.51.100.1
ip -n c route add fd77::/64 via fd33::1
ip -n b route add 198.51.100.0/24 dev wg0
ip -n b route add fd33::/64 dev wg0
in_b wg set wg0 peer "$public_a" allowed-ips 10.77.0.1/32,fd77::1/128,198.51.100.0/24,fd33::/64
in_c() { ip netns exec c "$@"; }

carry() {
    in_c ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
    in_c ping -c 2 -i 0.2 -W 5 -q fd77::2 >/dev/null
    for size in 1 1352 1392 1472 5000; do
        in_c ping -c 1 -W 5 -q -M dont -s "$size" 10.77.0.2 >/dev/null
    done
    iperf_server b
    for way in "" --reverse; do
        # shellcheck disable=SC2086 # no word if empty
        in_c iperf3 --client 10.77.0.2 --bytes "$(bulk 3)" $way --format m | grep receiver
    done
    in_c iperf3 --client fd77::2 --bytes "$(bulk 2)" --format m | grep receiver
    no_iperf_server
    transfer c 10.77.0.2 "$(bulk 3)"
    transfer c fd77::2 "$(bulk 1)"
}

section "forwarded into the tunnel, and out of it"
carry

section "the same with every packet cloned on its way in"
for side in a:inner a:under b:under; do
    ip -n "${side%:*}" link add mirror type dummy 2>/dev/null || true
    ip -n "${side%:*}" link set mirror up
    ip netns exec "${side%:*}" tc qdisc add dev "${side#*:}" clsact
    ip netns exec "${side%:*}" tc filter add dev "${side#*:}" ingress matchall action mirred egress mirror dev mirror
done
carry
[ "$(ip netns exec a cat /sys/class/net/mirror/statistics/tx_packets)" -gt $(($(bulk 1) / 1024)) ] || fail "nothing was cloned"

section "the same without merging, and with a small cable"
for side in a:inner a:under b:under; do
    ip netns exec "${side%:*}" ethtool -K "${side#*:}" gro off
done
ip -n a link set under mtu 1280
ip -n b link set under mtu 1280
carry

no_namespaces
unload
