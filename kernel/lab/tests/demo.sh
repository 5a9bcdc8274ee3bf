# The story of `demo`: what a person would do with the module, each command shown before it is run. Arguments: the path of a kerntun.ko, and
# of the program `kerntun`, if there is one.
. "$(dirname "$0")/lib.sh"
kerntun=${2:-}
chapter() { printf '\n%s\n' "$*"; }
# Shows a command as one would type it, and runs it.
run() { printf '  # %s\n' "$*"; "$@" 2>&1 | sed 's/^/  /'; }

chapter "A stock kernel, in a machine of its own"
run uname -srv
for needed in $(modinfo -F depends "$module" | tr ',' ' '); do
    modprobe "$needed"
done
run insmod "$module"
run grep '^kerntun ' /proc/modules

chapter "Two sites with a cable between them, and on each an interface of kind wireguard"
cable
new_keys
echo "$key_a" >/run/a.key
echo "$key_b" >/run/b.key
run ip -n a link add wg0 type wireguard
run ip -n a address add 10.77.0.1/24 dev wg0
run ip netns exec a wg set wg0 private-key /run/a.key listen-port 1111 peer "$public_b" endpoint 192.0.2.2:2222 allowed-ips 10.77.0.2/32
run ip -n a link set wg0 up
run ip -n b link add wg0 type wireguard
run ip -n b address add 10.77.0.2/24 dev wg0
run ip netns exec b wg set wg0 private-key /run/b.key listen-port 2222 peer "$public_a" endpoint 192.0.2.1:1111 allowed-ips 10.77.0.1/32
run ip -n b link set wg0 up

chapter "Packets get through"
run ip netns exec a ping -c 3 -i 0.3 -W 10 10.77.0.2
transfer a 10.77.0.2 8M
printf '  8 MiB were sent over TCP, and the checksum at the other end is the same: %.16s...\n' "$(sha256sum </run/received)"

chapter "The usual tools know no difference"
run ip netns exec a wg show

chapter "What must not get through does not, and is counted: an address of no peer's, a stolen source, noise"
in_a ping -c 3 -i 0.2 -W 1 -q 10.77.0.99 >/dev/null 2>&1 || true
ip -n b address add 10.77.0.3/32 dev wg0
in_b ping -c 2 -i 0.2 -W 1 -q -I 10.77.0.3 10.77.0.1 >/dev/null 2>&1 || true
in_b bash -c 'for _ in 1 2 3 4; do head -c 200 /dev/urandom >/dev/udp/192.0.2.1/1111; done'
sleep 0.3
if [ -n "$kerntun" ]; then
    run ip netns exec a "$kerntun" show wg0
else
    run ip -n a -s link show wg0
fi

chapter "Unloaded in the middle of a flood of packets, it leaves nothing behind"
ip netns exec a ping -f -q -w 60 10.77.0.2 >/dev/null 2>&1 &
sleep 0.5
run rmmod kerntun
equal "interfaces left" "" "$(in_a ip -br link show type wireguard 2>&1 | grep -v Unknown || true)"
! grep -q '^kerntun ' /proc/modules || fail "the module is still there"
! dmesg | grep 'kerntun: LEAK' || fail "the module leaked"
echo "  no module, no interface, no socket, no packet, no byte: the module counts what it holds, and would have complained"
kill $(jobs -p) 2>/dev/null || true
wait || true
chapter "Done, $(cut -d. -f1 /proc/uptime) s after the machine started."
