# What `wg` and `ip` can set and read, and what they are refused.
. "$(dirname "$0")/lib.sh"
load
new_keys
keys=()
publics=()
for _ in 1 2 3; do
    keys+=("$(wg genkey)")
    publics+=("$(wg pubkey <<<"${keys[-1]}")")
done
set_wg() { wg set wg0 "$@"; }
peer() { wg set wg0 peer "${publics[0]}" "$@"; }
line() { wg show wg0 dump | sed -n "$1p"; }

section "a new interface"
ip link add wg0 type wireguard
equal "dump" $'(none)\t(none)\t0\toff' "$(wg show wg0 dump)"
equal "mtu" 1420 "$(cat /sys/class/net/wg0/mtu)"
equal "kind of link" "none" "$(ip -d link show wg0 | awk '/link\// {print $1}' | cut -d/ -f2)"
[[ $(ip link show wg0) == *POINTOPOINT,NOARP* ]] || fail "flags"
refused "File exists" ip link add wg0 type wireguard
grep -qx DEVTYPE=wireguard /sys/class/net/wg0/uevent || fail "managers of networks do not see what kind it is"

section "no addresses of its own making, no redirects"
ip link add wg9 type wireguard
ip link set wg9 up
sleep 0.5
equal "addresses" "" "$(ip -6 address show dev wg9)"
equal "redirects" "0 0" "$(echo $(cat /proc/sys/net/ipv4/conf/{wg9,all}/send_redirects))"
ip link delete wg9

section "the private key"
set_wg private-key <(echo "$key_a")
equal "dump" "$key_a	$public_a	0	off" "$(wg show wg0 dump)"
set_wg private-key /dev/null
equal "dump" $'(none)\t(none)\t0\toff' "$(wg show wg0 dump)"
set_wg private-key <(echo "$key_a")

section "port and mark"
set_wg listen-port 4711 fwmark 0x1234
equal "dump" "$key_a	$public_a	4711	0x1234" "$(wg show wg0 dump)"
set_wg fwmark off
ip link set wg0 up
listening_udp() { ss -Hlun "sport = :$1" | grep -q .; }
listening_udp 4711 || fail "no socket on port 4711"
set_wg listen-port 4712
listening_udp 4712 || fail "no socket on port 4712"
! listening_udp 4711 || fail "the old socket is still there"
set_wg listen-port 0
chosen=$(wg show wg0 listen-port)
[ "$chosen" -gt 0 ] || fail "no port was chosen"
listening_udp "$chosen" || fail "no socket on port $chosen"
ip link set wg0 down
! listening_udp "$chosen" || fail "a socket without an interface"

section "a port in use"
ip link add wg1 type wireguard
ip link set wg0 up
wg set wg1 listen-port "$chosen"
refused "Address already in use" ip link set wg1 up
wg set wg1 listen-port 4999
ip link set wg1 up
refused "Address already in use" wg set wg1 listen-port "$chosen"
ip link delete wg1

section "a port that is free for both families, of four of which three are not for IPv6"
range=$(cat /proc/sys/net/ipv4/ip_local_port_range)
sysctl -qw net.ipv4.ip_local_port_range='61000 61003'
perl -MSocket=:all -e '
    for my $port (61000..61002) {
        socket(my $socket, AF_INET6, SOCK_DGRAM, 0) or die $!;
        setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 1) or die $!;
        bind($socket, pack_sockaddr_in6($port, IN6ADDR_ANY)) or die $!;
        push @sockets, $socket;
    }
    sleep 1000' &
all_taken() { for port in 61000 61001 61002; do listening_udp $port || return 1; done; }
eventually 5 all_taken
# By chance, one of the others is tried first three times out of four.
for _ in 1 2 3 4 5 6; do
    ip link set wg0 down
    set_wg listen-port 0
    ip link set wg0 up
    equal "the port" 61003 "$(wg show wg0 listen-port)"
done
kill $!
wait $! || true
sysctl -qw net.ipv4.ip_local_port_range="$range"

section "a peer"
peer
equal "peer" "${publics[0]}	(none)	(none)	(none)	0	0	0	off" "$(line 2)"
peer preshared-key <(echo "$shared") persistent-keepalive 25 endpoint 192.0.2.7:77 allowed-ips 10.1.2.3/8,fd00:1:2:3::4/64
equal "peer" "${publics[0]}	$shared	192.0.2.7:77	10.0.0.0/8,fd00:1:2:3::/64	0	0" "$(line 2 | cut -f1-6)"
equal "keepalive" 25 "$(field wg0 8)"
peer preshared-key /dev/null persistent-keepalive off endpoint '[2001:db8::7]:65535'
equal "peer" "${publics[0]}	(none)	[2001:db8::7]:65535" "$(line 2 | cut -f1-3)"
equal "keepalive" off "$(field wg0 8)"
peer persistent-keepalive 65535
equal "keepalive" 65535 "$(field wg0 8)"
peer persistent-keepalive 0 endpoint '[fe80::1%lo]:1'
equal "endpoint with a scope" '[fe80::1%lo]:1' "$(field wg0 3)"

section "allowed ips"
peer allowed-ips 0.0.0.0/0,::/0,10.0.0.1/32,fd00::1/128,10.0.0.1/32
equal "sorted" "0.0.0.0/0 10.0.0.1/32 ::/0 fd00::1/128" "$(field wg0 4 | tr ',' '\n' | sort | tr '\n' ' ' | sed 's/ $//')"
set_wg peer "${publics[1]}" allowed-ips 10.0.0.1/32
equal "the loser" "0.0.0.0/0 ::/0 fd00::1/128" "$(wg show wg0 allowed-ips | grep -F "${publics[0]}" | cut -f2 | tr ' ' '\n' | sort | tr '\n' ' ' | sed 's/ $//')"
equal "the winner" "10.0.0.1/32" "$(wg show wg0 allowed-ips | grep -F "${publics[1]}" | cut -f2)"
peer allowed-ips ""
equal "none" "(none)" "$(wg show wg0 allowed-ips | grep -F "${publics[0]}" | cut -f2)"

section "removal"
set_wg peer "${publics[1]}" remove
set_wg peer "${publics[1]}" remove
equal "peers" "${publics[0]}" "$(wg show wg0 peers)"

section "its own key as a peer's is left out, and a peer whose key becomes its own goes"
set_wg peer "$public_a" allowed-ips 10.9.9.9/32
equal "peers" "${publics[0]}" "$(wg show wg0 peers)"
set_wg private-key <(echo "${keys[0]}")
equal "peers" "" "$(wg show wg0 peers)"
set_wg private-key <(echo "$key_a")

section "configuration files: set, add, synchronize"
write() { # KEY... as peers
    printf '[Interface]\nPrivateKey = %s\nListenPort = 5555\nFwMark = 7\n' "$key_a"
    local number=1
    for public; do
        printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.%s.0.0/16\nPersistentKeepalive = %s\n' "$public" "$number" "$number"
        number=$((number + 1))
    done
}
peers() { wg show wg0 peers | sort | tr '\n' ' '; }
sorted() { printf '%s\n' "$@" | sort | tr '\n' ' '; }
wg setconf wg0 <(write "${publics[0]}" "${publics[1]}")
equal "device" "$key_a	$public_a	5555	0x7" "$(line 1)"
equal "peers" "$(sorted "${publics[0]}" "${publics[1]}")" "$(peers)"
wg setconf wg0 <(write "${publics[2]}")
equal "peers" "${publics[2]} " "$(peers)"
wg addconf wg0 <(write "${publics[1]}")
equal "peers" "$(sorted "${publics[2]}" "${publics[1]}")" "$(peers)"
equal "whose 10.1.0.0/16 is" "${publics[1]}" "$(wg show wg0 allowed-ips | awk '$2 == "10.1.0.0/16" {print $1}')"
wg syncconf wg0 <(write "${publics[0]}" "${publics[1]}")
equal "peers" "$(sorted "${publics[0]}" "${publics[1]}")" "$(peers)"

section "one peer with 3000 allowed ips, which no one message holds"
many=$(for high in $(seq 0 11); do for low in $(seq 0 249); do echo -n "10.20.$high.$low/32,"; done; done)
wg setconf wg0 <(printf '[Peer]\nPublicKey = %s\nAllowedIPs = %s\n' "${publics[0]}" "${many%,}")
equal "how many" 3000 "$(field wg0 4 | tr ',' '\n' | sort -u | wc -l)"

section "500 peers"
wg setconf wg0 <(
    for number in $(seq 500); do
        # Any 32 bytes are a public key.
        printf '[Peer]\nPublicKey = %sAAAAAAA=\nAllowedIPs = 10.%s.%s.0/24, fd00:%x::/64\n' \
            "$(printf '%036d' "$number")" $((number / 256)) $((number % 256)) "$number"
    done
)
equal "how many peers" 500 "$(wg show wg0 peers | sort -u | wc -l)"
equal "how many allowed ips" 1000 "$(wg show wg0 allowed-ips | cut -f2 | tr ' ' '\n' | sort -u | wc -l)"

section "what is no interface of ours, or nobody's business"
refused "Operation not supported" wg set lo listen-port 1
refused "No such device" wg set nothing listen-port 1
refused "Operation not permitted" setpriv --bounding-set=-net_admin --inh-caps=-net_admin wg show wg0
refused "Operation not permitted" setpriv --bounding-set=-net_admin --inh-caps=-net_admin wg set wg0 fwmark 1

ip link delete wg0
unload
