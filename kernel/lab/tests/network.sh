#!/usr/bin/env bash
# Runs in the guest: what the tunnel tells those who use it, and what it takes from the network around it. ICMP errors, the source address of its
# datagrams, congestion marks.
. "$LAB/tests/lib.sh"
load
cable
tunnel

trace=/sys/kernel/tracing
mount -t tracefs none $trace
# Of the packets that the kernel drops, those that the module does.
awk -v name="$name_of_module" '$1 == name { print $6, $2 }' /proc/modules >/run/where
read -r begin size </run/where
printf 'location >= %#x && location < %#x' "$begin" $((begin + size)) >$trace/events/skb/kfree_skb/filter
echo 1 >$trace/events/skb/kfree_skb/enable

section "who began a handshake and has nothing to send confirms it all the same"
connected() { [ "$(in_b wg show wg0 latest-handshakes | cut -f2)" != 0 ]; }
in_a wg set wg0 peer "$public_b" persistent-keepalive 60
eventually 2 connected
in_a wg set wg0 peer "$public_b" persistent-keepalive 0
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null

section "messages and keepalives that did what they came for are not dropped packets to those who look for these"
echo 0 >$trace/events/skb/kfree_skb/enable
equal "packets seen as dropped" 0 "$(grep -c "kfree_skb:" $trace/trace || true)"
# One that is refused is.
echo 1 >$trace/events/skb/kfree_skb/enable
refused "Required key not available" in_a ping -c 1 -W 5 10.77.0.99
echo 0 >$trace/events/skb/kfree_skb/enable
equal "packets seen as dropped" 1 "$(grep -c "kfree_skb:" $trace/trace || true)"

section "nobody's address: the program learns it, and so does whoever's packet was forwarded"
refused "Required key not available" in_a ping -c 1 -W 5 10.77.0.99
refused "From 10.77.0.1 icmp_seq=1 Destination Host Unreachable" in_a ping -c 1 -W 5 10.77.0.99
refused "Destination unreachable: Address unreachable" in_a ping -c 1 -W 5 fd77::99
ip netns add c
ip link add inside netns a type veth peer name inside netns c
for side in a c; do
    ip netns exec $side sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0
    ip -n $side link set inside up
done
ip -n a address add 198.51.100.1/24 dev inside
ip -n a address add fd33::1/64 dev inside nodad
ip -n c address add 198.51.100.3/24 dev inside
ip -n c address add fd33::3/64 dev inside nodad
ip -n c route add 10.77.0.0/24 via 198.51.100.1
ip -n c route add fd77::/64 via fd33::1
in_c() { ip netns exec c "$@"; }
eventually 5 in_c ping -c 1 -W 1 -q fd33::1
refused "From 198.51.100.1 icmp_seq=1 Destination Host Unreachable" in_c ping -c 1 -W 5 10.77.0.99
refused "Destination unreachable: Address unreachable" in_c ping -c 1 -W 5 fd77::99

section "a peer that is nowhere"
nowhere=$(wg genkey | wg pubkey)
in_a wg set wg0 peer "$nowhere" allowed-ips 10.77.0.50/32,fd77::50/128
refused "Destination address required" in_a ping -c 1 -W 5 10.77.0.50
refused "From 198.51.100.1 icmp_seq=1 Destination Host Unreachable" in_c ping -c 1 -W 5 10.77.0.50
refused "Destination unreachable: Address unreachable" in_c ping -c 1 -W 5 fd77::50
in_a wg set wg0 peer "$nowhere" remove

section "the address at which a peer reaches us is the one that we answer from"
ip -n a address add 192.0.2.11/24 dev under
ip -n a address add 2001:db8::11/64 dev under nodad
for address in 192.0.2.11 192.0.2.1 192.0.2.11; do
    in_b wg set wg0 peer "$public_a" endpoint $address:1111
    in_b ping -c 2 -i 0.2 -W 5 -q 10.77.0.1 >/dev/null
    equal "where b sees a" "$address:1111" "$(in_b wg show wg0 endpoints | cut -f2)"
done
for address in 2001:db8::11 2001:db8::1 2001:db8::11; do
    in_b wg set wg0 peer "$public_a" endpoint "[$address]:1111"
    in_b ping -c 2 -i 0.2 -W 5 -q 10.77.0.1 >/dev/null
    equal "where b sees a" "[$address]:1111" "$(in_b wg show wg0 endpoints | cut -f2)"
done

section "until it is not ours any more, or the way out has changed"
in_b wg set wg0 peer "$public_a" endpoint 192.0.2.11:1111
in_b ping -c 2 -i 0.2 -W 5 -q 10.77.0.1 >/dev/null
ip -n a address delete 192.0.2.11/24 dev under
in_a ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
equal "where b sees a" "192.0.2.1:1111" "$(in_b wg show wg0 endpoints | cut -f2)"
in_b wg set wg0 peer "$public_a" endpoint '[2001:db8::11]:1111'
in_b ping -c 2 -i 0.2 -W 5 -q 10.77.0.1 >/dev/null
ip -n a address delete 2001:db8::11/64 dev under
in_a ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
equal "where b sees a" "[2001:db8::1]:1111" "$(in_b wg show wg0 endpoints | cut -f2)"
# Another interface with a better route: the source follows.
in_b wg set wg0 peer "$public_a" endpoint 192.0.2.1:1111
in_b ping -c 2 -i 0.2 -W 5 -q 10.77.0.1 >/dev/null
ip link add second netns a type veth peer name second netns b
ip -n a address add 192.0.3.1/24 dev second
ip -n a link set second up
ip -n b link set second up
for name in all second under; do
    in_b sysctl -qw "net.ipv4.conf.$name.rp_filter=0"
done
ip -n a route add 192.0.2.2/32 dev second src 192.0.3.1
ip -n b route add 192.0.3.1/32 dev second
in_a ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
equal "where b sees a" "192.0.3.1:1111" "$(in_b wg show wg0 endpoints | cut -f2)"
ip -n a link delete second
in_a ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
equal "where b sees a" "192.0.2.1:1111" "$(in_b wg show wg0 endpoints | cut -f2)"

section "a link-local endpoint is on the link that it names"
# The same addresses on both links: only the scope tells them apart.
ip link add other netns a type veth peer name other netns b
for side in a b; do
    ip -n $side link set other addrgenmode none up
    ip -n $side address flush dev under scope link
    for link in under other; do
        ip -n $side address add fe80::$side/64 dev $link nodad
    done
done
for link in under other under; do
    in_a wg set wg0 peer "$public_b" endpoint "[fe80::b%$link]:2222"
    eventually 5 in_a ping -c 2 -i 0.2 -W 1 -q 10.77.0.2
    equal "where b sees a" "[fe80::a%$link]:1111" "$(in_b wg show wg0 endpoints | cut -f2)"
done
ip -n a link delete other
in_a wg set wg0 peer "$public_b" endpoint 192.0.2.2:2222
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null

section "the interface counts what the tunnel counts"
# A keepalive may come between two readings.
counted_alike() { # NAMESPACE rx|tx FIELD
    [ "$(ip netns exec "$1" wg show wg0 transfer | cut -f"$3")" = "$(ip netns exec "$1" cat "/sys/class/net/wg0/statistics/$2_bytes")" ]
}
for side in a b; do
    eventually 5 counted_alike $side rx 2
    eventually 5 counted_alike $side tx 3
done

section "a datagram has the flow of the packet inside, also if nobody had asked for it before"
echo >$trace/trace
echo 1 >$trace/events/net/netif_rx_entry/enable
# Eight flows of sockets that are not connected, of which none has a hash. Each sends a packet, and two segments of a super-packet (udp(7), UDP_SEGMENT).
in_a perl -MSocket -e '
    for my $port (5001 .. 5008) {
        socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die $!;
        my $to = pack_sockaddr_in($port, inet_aton("10.77.0.2"));
        send($socket, "x" x 700, 0, $to) or die $!;
        setsockopt($socket, 17, 103, 700) or die $!;
        send($socket, "x" x 1400, 0, $to) or die $!;
    }'
# 700 bytes and 28 of headers are padded to 736, with 32 and 28 around them.
outside() { sed -n 's/.*netif_rx_entry: dev=under .* \(hash=[^ ]*\) \(l4_hash=.\) len=796 .*/\2 \1/p' $trace/trace; }
all_came() { [ "$(outside | wc -l)" = 24 ]; }
eventually 5 all_came
echo 0 >$trace/events/net/netif_rx_entry/enable
equal "flows outside, datagrams of each" "8 3 l4_hash=1" "$(outside | sort | uniq -c | awk '{ print $1, $2 }' | uniq -c | xargs)"

section "packets that wait for a handshake do not keep their sender waiting"
nobody=$(wg genkey | wg pubkey)
in_a wg set wg0 peer "$nobody" endpoint 192.0.2.99:1 allowed-ips 10.77.0.60/32
# The least room that a socket can have (unix(7), SO_SNDBUF); what does not fit is refused.
sent=$(in_a perl -MSocket -MIO::Socket::INET -e '
    my $socket = IO::Socket::INET->new(Proto => "udp", PeerAddr => "10.77.0.60:9", Blocking => 0) or die $!;
    setsockopt($socket, SOL_SOCKET, SO_SNDBUF, 1) or die $!;
    my $sent = 0;
    for (1..300) { $sent++ if send($socket, "x" x 500, 0) }
    print $sent')
equal "datagrams that were taken" 300 "$sent"
in_a wg set wg0 peer "$nobody" remove

section "an endpoint that is reached by the tunnel itself"
sent() { in_a wg show wg0 transfer | cut -f3; }
before=$(sent)
in_a wg set wg0 peer "$public_b" endpoint 10.77.0.2:2222
# Each goes round until it is too long, with some 60 bytes more each time.
in_a ping -c 3 -i 0.2 -W 1 -q 10.77.0.2 >/dev/null || true
looped=$(($(sent) - before))
[ "$looped" -lt 100000 ] || fail "three packets became $looped bytes"
# What goes round in fragments can do so for good. The machine has to get to other things all the same: entering a namespace waits until each
# processor has done something else.
mkfifo /run/waiting
ip netns exec a bash -c "
    ping -c 1 -W 1 -s 3000 -q 10.77.0.2 >/dev/null
    read -t $((30 * ${LAB_PATIENCE:-1})) <>/run/waiting
    wg set wg0 peer $public_b endpoint 192.0.2.2:2222" &
loop=$!
sleep 1.5
in_a true
kill -0 $loop || fail "a processor had nothing but the tunnel's packets to do"
in_a wg set wg0 peer "$public_b" endpoint 192.0.2.2:2222
kill $loop
wait $loop || true
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null

section "the mark is on every datagram: what firewalls and routes of policy know the tunnel's own traffic by"
in_a wg set wg0 fwmark 0x77
for filter in iptables ip6tables; do
    in_a $filter -w -t mangle -A POSTROUTING -o under -p udp -m mark --mark 0x77
    in_a $filter -w -t mangle -A POSTROUTING -o under -p udp -m mark ! --mark 0x77
done
counted() { in_a "$1" -w -t mangle -nvxL POSTROUTING "$2" | awk '{print $1}'; } # PROGRAM RULE
for outside in 'iptables 192.0.2.1 192.0.2.2' 'ip6tables [2001:db8::1] [2001:db8::2]'; do
    read -r filter of_a of_b <<<"$outside"
    # The new endpoint is reached with the session that there is, and after down and up with a handshake. It stays: b sends nothing more to the old one.
    in_b wg set wg0 peer "$public_a" endpoint "$of_a:1111"
    in_a wg set wg0 peer "$public_b" endpoint "$of_b:2222"
    in_a ping -c 2 -i 0.2 -W 5 -q 10.77.0.2 >/dev/null
    ip -n a link set wg0 down
    ip -n a link set wg0 up
    ip -n a address add fd77::1/64 dev wg0 nodad
    eventually 10 in_a ping -c 1 -W 5 -q 10.77.0.2
    [ "$(counted $filter 1)" -ge 4 ] || fail "of $filter, $(counted $filter 1) datagrams have the mark"
    equal "datagrams of $filter without the mark" 0 "$(counted $filter 2)"
done
in_a iptables -w -t mangle -F
in_a ip6tables -w -t mangle -F
in_a wg set wg0 fwmark 0 peer "$public_b" endpoint 192.0.2.2:2222
in_b wg set wg0 peer "$public_a" endpoint 192.0.2.1:1111
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null

# What b sees of the two lowest bits, outside and inside: four counters each. Outside, of datagrams around an echo only: keepalives and handshakes
# have other lengths than 20 and 8 of headers and 32 around an echo of 84 bytes that is padded to 96.
around_an_echo=(-m length --length 156)
marks() { # INTERFACE PROTOCOL MATCH...
    for ect in 0 1 2 3; do
        in_b iptables -w -t mangle -A PREROUTING -i "$1" -p "$2" "${@:3}" -m ecn --ecn-ip-ect $ect
    done
}
seen() { in_b iptables -w -t mangle -nvxL PREROUTING | awk -v interface=" $1 " 'index($0, interface) {printf "%s ", $1}'; }
none() { in_b iptables -w -t mangle -Z; }
marks under udp "${around_an_echo[@]}"
marks wg0 icmp

section "the datagram around a packet has its marks, and nothing else of its byte"
for inner in "0 0" "1 1" "2 2" "3 3" "184 0" "186 2"; do
    none
    in_a ping -c 3 -i 0.1 -W 5 -q -Q "${inner% *}" 10.77.0.2 >/dev/null
    expected=(0 0 0 0)
    expected[${inner#* }]=3
    equal "inside with ${inner% *} inside" "${expected[*]} " "$(seen wg0)"
    # Around a packet that met congestion already the kernel's own driver sets ECT(0) (RFC 3168), ours the same mark (RFC 6040, normal mode).
    [ "$module,$inner" != "intree,3 3" ] || expected=(0 0 3 0)
    equal "outside with ${inner% *} inside" "${expected[*]} " "$(seen under)"
done
# Handshakes have a class of their own.
in_b iptables -w -t mangle -I PREROUTING -i under -p udp "${around_an_echo[@]}" -m dscp ! --dscp 0
in_a ping -c 3 -i 0.1 -W 5 -q -Q 184 10.77.0.2 >/dev/null
equal "datagrams with a class" 0 "$(in_b iptables -w -t mangle -nvxL PREROUTING 1 | awk '{print $1}')"
in_b iptables -w -t mangle -D PREROUTING 1

section "a mark of the network outside reaches the inner packet, if that takes part"
in_a iptables -w -t mangle -A POSTROUTING -o under -p udp -j TOS --set-tos 0x03/0x03
for inner in 1 2 3; do
    none
    in_a ping -c 3 -i 0.1 -W 5 -q -Q $inner 10.77.0.2 >/dev/null
    equal "inside with $inner inside" "0 0 0 3 " "$(seen wg0)"
done

section "if it does not, it is dropped (RFC 6040); the kernel's own driver delivers it without the mark"
none
expected="0 0 0 0 " came=0
[ "$module" != intree ] || { expected="3 0 0 0 " came=3; }
replies=$(in_a ping -c 3 -i 0.1 -W 1 -q -Q 0 10.77.0.2 | sed -n 's/.* \([0-9]*\) received.*/\1/p') || true
equal "replies" $came "$replies"
equal "outside" "0 0 0 3 " "$(seen under)"
equal "inside" "$expected" "$(seen wg0)"
in_a iptables -w -t mangle -F

section "an interface with an MTU of zero carries what comes past the routes"
for needed in sch_ingress cls_matchall act_mirred; do
    modprobe $needed
done
in_a tc qdisc add dev inside clsact
in_a tc filter add dev inside ingress matchall action mirred egress redirect dev wg0
ip -n a link set wg0 mtu 0
ip -n c address add 10.77.0.1/32 dev inside
in_b iptables -w -t mangle -F
in_b iptables -w -t mangle -A PREROUTING -i wg0 -p icmp
in_c ping -c 3 -i 0.2 -W 1 -q -I 10.77.0.1 10.77.0.2 >/dev/null || true
equal "packets that came out of the tunnel" 3 "$(in_b iptables -w -t mangle -nvxL PREROUTING 1 | awk '{print $1}')"

no_namespaces
unload
