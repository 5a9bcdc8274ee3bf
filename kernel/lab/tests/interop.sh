# The module at one end, a daemon at the other: wireguard-go, and kerntun's own if its path is given as second argument.
. "$(dirname "$0")/lib.sh"
load
modprobe tun
cable

# daemon PROGRAM: a tunnel between wg0 of a and the daemon's wgu of b, under the addresses of tunnel().
daemon() {
    new_keys
    ip -n a link add wg0 type wireguard
    in_b "$1" wgu
    eventually 10 in_b wg show wgu
    in_a wg set wg0 private-key <(echo "$key_a") listen-port 1111 \
        peer "$public_b" preshared-key <(echo "$shared") endpoint 192.0.2.2:2222 allowed-ips 10.77.0.2/32,fd77::2/128
    in_b wg set wgu private-key <(echo "$key_b") listen-port 2222 \
        peer "$public_a" preshared-key <(echo "$shared") endpoint 192.0.2.1:1111 allowed-ips 10.77.0.1/32,fd77::1/128
    local number=1 side
    for side in a:wg0 b:wgu; do
        ip -n "${side%:*}" address add "10.77.0.$number/24" dev "${side#*:}"
        ip -n "${side%:*}" address add "fd77::$number/64" dev "${side#*:}" nodad
        ip -n "${side%:*}" link set "${side#*:}" up
        number=$((number + 1))
    done
}

# What runs goes on while a stranger beside the daemon begins more handshakes than can be looked at; who does not show an address gets a cookie.
flooded() {
    local flood=${program%/*}/hostile-flood
    section "a flood of initiations from beside ${program##*/}"
    in_a wg set wg0 private-key <("$flood" key)
    in_b wg set wgu peer "$public_a" remove \
        peer "$("$flood" key | wg pubkey)" preshared-key <(echo "$shared") endpoint 192.0.2.1:1111 allowed-ips 10.77.0.1/32,fd77::1/128
    in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null
    ip netns exec b "$flood" send 192.0.2.1:1111 3 >/run/flood &
    sleep 1
    in_a ping -c 10 -i 0.1 -W 5 -q 10.77.0.2 | grep -E ' ([5-9]|10) received'
    wait $!
    sed 's/^/   /' /run/flood
    [ "$module" != intree ] || return 0
    in_a "$flood" drops wg0 | sed 's/^/   dropped /'
    in_a "$flood" drops wg0 | grep -q '^cookie-required [1-9]' || fail "nobody was asked for a cookie"
}

for program in wireguard-go ${2:+"$2"}; do
    section "${program##*/}"
    daemon "$program"
    in_a ping -c 3 -i 0.2 -W 5 -q 10.77.0.2 | grep ' 0% packet loss'
    in_b ping -c 3 -i 0.2 -W 5 -q fd77::1 | grep ' 0% packet loss'
    transfer a 10.77.0.2 "$(bulk 2)"
    transfer b fd77::1 "$(bulk 2)"
    # The daemon starts over, and so does the session: it has to be made anew from either side.
    ip -n b link set wgu down
    ip -n b link set wgu up
    in_b ip address add fd77::2/64 dev wgu nodad
    eventually 10 in_b ping -c 1 -W 5 -q 10.77.0.1
    [ "${program##*/}" = wireguard-go ] || flooded
    ip -n a link delete wg0
    ip -n b link delete wgu
    # The next one has the same name.
    eventually 20 nothing_runs
done

no_namespaces
unload
