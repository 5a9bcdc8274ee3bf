# What the guest's tests share. Sourced by scripts that run in the guest as `SCRIPT MODULE`, where MODULE is `intree` or the path of a
# kerntun.ko; but for that name, no test knows whose module it looks at.
#
# Numbers of the protocol are written out here, not taken from anywhere.
set -Eeuo pipefail
# Where failures are told even if the output of what failed goes elsewhere.
exec 3>&1
trap '{ echo "FAILED: ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"; explain; } >&3' ERR
module=${1:-intree}

section() { printf -- '-- %s\n' "$*"; }

# Ends the test as failed.
fail() { { echo "FAILED: $* (${BASH_SOURCE[-1]##*/} line ${BASH_LINENO[-2]})"; explain; } >&3; exit 1; }

# What helps to understand a failure.
explain() {
    for namespace in $(ip netns list 2>/dev/null | awk '{print $1}'); do
        echo "in $namespace:"
        ip netns exec "$namespace" wg show 2>&1 | sed 's/^/    /' || true
        ip -n "$namespace" -s link show type wireguard 2>&1 | sed 's/^/    /' || true
    done
    dmesg | tail -n 15
}

# equal WHAT EXPECTED FOUND
equal() { [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"; }

# refused WORDS COMMAND...: the command must fail, and say the words.
refused() {
    local words=$1 said
    shift
    if said=$("$@" 2>&1); then fail "'$*' was not refused"; fi
    [[ $said == *"$words"* ]] || fail "'$*' said '$said' instead of '$words'"
}

# eventually SECONDS COMMAND...: the command succeeds within that time. A kernel that looks at all it does itself gets more of it.
eventually() {
    local left=$(($1 * 10 * ${LAB_PATIENCE:-1}))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((left--)) -gt 0 ] || fail "never came true: $*"
        sleep 0.1
    done
}

load() {
    if [ "$module" = intree ]; then
        modprobe wireguard
        name_of_module=wireguard
        return
    fi
    for needed in $(modinfo -F depends "$module" | tr ',' ' '); do
        modprobe "$needed"
    done
    insmod "$module"
    name_of_module=kerntun
}

unload() { rmmod "$name_of_module"; }

# For what the test waits for. What goes to the background is started with `ip netns exec` itself, which becomes the program: of these, `kill` would
# end a shell that waits for it, and the program would go on.
in_a() { ip netns exec a "$@"; }
in_b() { ip netns exec b "$@"; }

# Two namespaces, a and b, with a cable: 192.0.2.1 and .2, 2001:db8::1 and ::2.
cable() {
    ip netns add a
    ip netns add b
    ip link add under netns a type veth peer name under netns b
    local number=1
    for side in a b; do
        ip -n "$side" link set lo up
        ip netns exec "$side" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
        ip -n "$side" address add "192.0.2.$number/24" dev under
        ip -n "$side" address add "2001:db8::$number/64" dev under nodad
        ip -n "$side" link set under up
        number=$((number + 1))
    done
}

# Keys for a test: new ones each time.
new_keys() {
    key_a=$(wg genkey) key_b=$(wg genkey) shared=$(wg genpsk)
    public_a=$(wg pubkey <<<"$key_a") public_b=$(wg pubkey <<<"$key_b")
}

# A tunnel over the cable: wg0 in both, 10.77.0.1 and .2, fd77::1 and ::2, ports 1111 and 2222. An argument 6 makes the endpoints IPv6.
tunnel() {
    local of_a=192.0.2.1 of_b=192.0.2.2
    [ "${1:-4}" = 4 ] || of_a='[2001:db8::1]' of_b='[2001:db8::2]'
    new_keys
    ip -n a link add wg0 type wireguard
    ip -n b link add wg0 type wireguard
    in_a wg set wg0 private-key <(echo "$key_a") listen-port 1111 \
        peer "$public_b" preshared-key <(echo "$shared") endpoint "$of_b:2222" allowed-ips 10.77.0.2/32,fd77::2/128
    in_b wg set wg0 private-key <(echo "$key_b") listen-port 2222 \
        peer "$public_a" preshared-key <(echo "$shared") endpoint "$of_a:1111" allowed-ips 10.77.0.1/32,fd77::1/128
    local number=1
    for side in a b; do
        ip -n "$side" address add "10.77.0.$number/24" dev wg0
        ip -n "$side" address add "fd77::$number/64" dev wg0 nodad
        ip -n "$side" link set wg0 up
        number=$((number + 1))
    done
}

# Whether nothing runs in the namespaces. What does goes on sending, and keeps its namespace and the descriptors that it got.
nothing_runs() {
    [ -z "$(ip netns list | awk '{print $1}' | xargs -rn 1 ip netns pids)" ]
}

# Removes the namespaces. What was in them is taken down in the background; unloading waits for it.
no_namespaces() {
    local namespace
    for namespace in $(ip netns list | awk '{print $1}'); do
        ip netns delete "$namespace"
    done
}

# bulk MIB: how many bytes a long transfer has; fewer in a kernel that looks at all it does itself.
bulk() { echo $(($1 * 1048576 / ${LAB_BULK_DIVISOR:-1})); }

# transfer FROM ADDRESS BYTES: sends random bytes from one namespace to an address of the other over TCP and compares the checksums.
transfer() {
    local from=$1 to=b address=$2
    [ "$from" != b ] || to=a
    head -c "$3" /dev/urandom >/run/sent
    # The receiver's input stays open: at its end, nc would hang up.
    rm -f /run/silence
    mkfifo /run/silence
    ip netns exec "$to" busybox nc -l -p 4000 <>/run/silence >/run/received &
    eventually 5 listening "$to" 4000
    ip netns exec "$from" busybox nc "$address" 4000 </run/sent
    wait $!
    equal "checksum of $3 bytes" "$(sha256sum </run/sent)" "$(sha256sum </run/received)"
}

listening() { ip netns exec "$1" ss -Hltn "sport = :$2" | grep -q .; }

# iperf_server NAMESPACE
iperf_server() {
    ip netns exec "$1" iperf3 --server --daemon --pidfile /run/iperf3.pid
    eventually 5 listening "$1" 5201
}

no_iperf_server() { kill "$(tr -d '\0' </run/iperf3.pid)"; }

# field INTERFACE NUMBER: a field of the only peer's line of `wg show dump`, in this namespace: 1 public key, 2 preshared key, 3 endpoint,
# 4 allowed ips, 5 latest handshake, 6 received, 7 sent, 8 keepalive.
field() { wg show "$1" dump | sed -n 2p | cut -f"$2"; }
