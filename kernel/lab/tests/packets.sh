# As little as a tunnel can be used: a few packets each way, large ones among them, and everything goes again. What `mistakes` runs.
. "$(dirname "$0")/lib.sh"
load
cable
tunnel
for _ in 1 2 3; do
    in_a ping -c 1 -W 30 -q 10.77.0.2 >/dev/null
    in_b ping -c 1 -W 30 -q -s 5000 fd77::1 >/dev/null
done
# Nothing answers these, so there will be a keepalive.
in_a bash -c 'echo >/dev/udp/10.77.0.2/9'
sleep 12
no_namespaces
unload
