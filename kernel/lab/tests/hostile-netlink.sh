#!/usr/bin/env bash
# Runs in the guest: requests over netlink that are malformed, contradictory, at the wrong moment or from the wrong person. For each the error, what it
# changed and the sentence are compared with hostile-netlink.expected, which has a line for each request and says where the kernel's own
# driver and ours differ.
#
#   hostile-netlink.sh MODULE [KERNTUN]    beside the program KERNTUN lies hostile-netlink; RECORD=1 writes what came into the share instead
. "$LAB/tests/lib.sh"
program=$(dirname "${2:-$LAB/../../target/debug/kerntun}")/hostile-netlink
who=ours
[ "$module" != intree ] || who=intree
load
ip link add wg0 type wireguard
ip link set wg0 up
section "malformed, contradictory, untimely, unauthorized"
if [ -n "${RECORD:-}" ]; then
    "$program" record $who >"/run/share/$who.record"
else
    "$program" check $who "$LAB/tests/hostile-netlink.expected" || fail "not as expected"
fi
ip link delete wg0
unload
