# Instructions for a packet, counted by lab/count/packets. For a guest with --virtual-time, started by lab/instructions, which makes a table
# of it. Arguments: the module and the program.
#
# Prints KIND SIZE HOW INSTRUCTIONS PART-NEAR-IT, where KIND is
#   plain    datagrams without a tunnel
#   out      through the tunnel of one side, and received sealed, by a program
#   through  through both sides
. "$(dirname "$0")/lib.sh"
packets=$2
load
cable
tunnel
in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null
cat /proc/kallsyms >/run/share/symbols

measure() { # KIND ADDRESS PORT [LISTEN]
    local kind=$1
    shift
    for size in 1372 64; do
        echo "$kind $size burst $("$packets" a b "$1" "$2" "$size" 50 100 "${@:3}")"
        echo "$kind $size single $("$packets" a b "$1" "$2" "$size" 1 1000 "${@:3}")"
    done
    echo "$kind 1372 gso $("$packets" a b "$1" "$2" 1372 40 100 gso "${@:3}")"
}
measure through 10.77.0.2 5000
ip -n b link set wg0 down
measure out 10.77.0.2 5000 2222
measure plain 192.0.2.2 5000
no_namespaces
name_of_module=$(modinfo -F name "$module")
unload
