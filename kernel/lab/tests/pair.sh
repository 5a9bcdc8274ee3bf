# Two guests, each with an end of a tunnel. `pair SERIES MODULE SERIES MODULE` boots them; arguments: MODULE, and `a` or `b`. a drives; what b
# is to say it says over the cable.
. "$(dirname "$0")/lib.sh"
side=$2 share=/run/share
[ "$side" = a ] && number=1 other=2 || number=2 other=1
load
modprobe virtio_net
eventually 5 grep -q 02:00:00:00:01: /sys/class/net/e*/address
ip link set "$(grep -l 02:00:00:00:01: /sys/class/net/e*/address | cut -d/ -f5)" name under
sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.under.accept_dad=0
ip address add "192.0.2.$number/24" dev under
ip link set under up
ip link add wg0 type wireguard
wg set wg0 private-key "$share/private" listen-port "$number$number$number$number" peer "$(cat "$share/public")" \
    preshared-key "$share/shared" endpoint "192.0.2.$other:$other$other$other$other" allowed-ips "10.77.0.$other/32,fd77::$other/128"
ip address add "10.77.0.$number/24" dev wg0
ip address add "fd77::$number/64" dev wg0 nodad
ip link set wg0 up
mkfifo /run/silence

# nc hangs up at the end of its input: what only receives gets an input that never ends.
receive() { busybox nc "$@" <>/run/silence; }
serve() { busybox nc -l -p "$1"; }
handshake() { wg show wg0 latest-handshakes | cut -f2; }
# Words that the other side waits for, past the tunnel.
say() { eventually 300 bash -c "echo $1 | busybox nc 192.0.2.$other 4009"; }
hear() { equal "word" "$1" "$(receive -l -p 4009)"; }

if [ "$side" = b ]; then
    hear ready
    section "b initiates"
    ping -c 3 -i 0.2 -W 20 -q fd77::1 | grep ' 0% packet loss'
    say reached
    section "8 MiB from a"
    receive -l -p 4000 >/run/received
    sha256sum </run/received | serve 4001
    section "8 MiB to a"
    head -c 8M /dev/urandom >/run/sent
    serve 4002 </run/sent
    sha256sum </run/sent | serve 4003
    hear done
    [ $(($(date +%s) - $(handshake))) -lt 60 ] || fail "b knows of no newer session"
    [ "$(wg show wg0 transfer | cut -f2)" -gt 8388608 ] && [ "$(wg show wg0 transfer | cut -f3)" -gt 8388608 ] || fail "too few bytes"
    ip link delete wg0
    unload
    exit
fi

say ready
hear reached
section "a initiates"
ip link set wg0 down
ip link set wg0 up
ip address add "fd77::$number/64" dev wg0 nodad
ping -c 3 -i 0.2 -W 20 -q 10.77.0.2 | grep ' 0% packet loss'
first=$(handshake)
section "8 MiB to b"
head -c 8M /dev/urandom >/run/sent
eventually 60 bash -c 'busybox nc 10.77.0.2 4000 </run/sent'
eventually 60 bash -c 'busybox nc fd77::2 4001 <>/run/silence >/run/sum'
equal "checksum" "$(sha256sum </run/sent)" "$(cat /run/sum)"
section "8 MiB from b"
eventually 60 bash -c 'busybox nc fd77::2 4002 <>/run/silence >/run/received'
eventually 60 bash -c 'busybox nc 10.77.0.2 4003 <>/run/silence >/run/sum'
equal "checksum" "$(cat /run/sum)" "$(sha256sum </run/received)"
section "a new session after 120 s, without a packet lost"
left=$((first + 125 - $(date +%s)))
[ $left -gt 0 ] || left=1
ping -c $((left * 2)) -i 0.5 -W 20 -q 10.77.0.2 | grep ' 0% packet loss'
second=$(handshake)
[ $((second - first)) -ge 119 ] && [ $((second - first)) -le 130 ] || fail "the second handshake was $((second - first)) s after the first"
wg show wg0 | grep -E 'transfer|handshake'
say done
ip link delete wg0
unload
