# A tunnel between two namespaces: every kind of packet gets through, whole and once.
. "$(dirname "$0")/lib.sh"
load
cable

for family in 4 6; do
    section "tunnel over IPv$family"
    tunnel "$family"
    in_a ping -c 3 -i 0.2 -W 5 -q 10.77.0.2
    in_b ping -c 3 -i 0.2 -W 5 -q fd77::1

    section "sizes around the interface's MTU, in fragments where they are larger"
    for size in 0 1 15 16 17 1391 1392 1393 3000 20000; do
        in_a ping -c 1 -W 5 -q -s "$size" 10.77.0.2 >/dev/null
        in_a ping -c 1 -W 5 -q -s "$size" fd77::2 >/dev/null
    done

    alike() { [ "$(in_a wg show wg0 transfer | cut -f3)" = "$(in_b wg show wg0 transfer | cut -f2)" ]; }
    # Before anything is sent that a busy machine may lose.
    eventually 5 alike
    section "TCP both ways, then UDP"
    iperf_server b
    in_a iperf3 --client 10.77.0.2 --bytes "$(bulk 4)" --format m | grep -E 'sender|receiver'
    in_a iperf3 --client 10.77.0.2 --bytes "$(bulk 4)" --reverse --format m | grep -E 'sender|receiver'
    in_a iperf3 --client 10.77.0.2 --udp --bytes "$(bulk 1)" --bitrate 10M --format m | grep -E 'sender|receiver'
    no_iperf_server

    section "a transfer whose checksum is compared"
    transfer a 10.77.0.2 "$(bulk 8)"
    transfer a fd77::2 "$(bulk 2)"

    section "what wg tells of it"
    equal "endpoint" "$([ "$family" = 4 ] && echo 192.0.2.2:2222 || echo '[2001:db8::2]:2222')" "$(in_a wg show wg0 endpoints | cut -f2)"
    for side in a b; do
        handshake=$(ip netns exec "$side" wg show wg0 latest-handshakes | cut -f2)
        [ "$handshake" -gt 0 ] && [ $(($(date +%s) - handshake)) -lt 600 ] || fail "latest handshake $handshake"
        [ "$(ip netns exec "$side" wg show wg0 transfer | cut -f2)" -gt "$(bulk 4)" ] || fail "too few bytes received"
    done
    ip -n a link delete wg0
    ip -n b link delete wg0
done

no_namespaces
unload
