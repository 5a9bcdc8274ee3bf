#!/usr/bin/env bash
# Runs in the guest: keys do not survive what copies a machine's memory. Sleep, as far as the kernel's own test of it goes, and the moment at which a
# virtual machine learns that it is a copy.
# kernel/lab/module has built kernel/lab/vmfork.
. "$LAB/tests/lib.sh"
vmfork=${LAB_MODULES%/lib/modules/*}/modules/vmfork/vmfork.ko
address=$(awk '$3 == "add_vmfork_randomness" { print "0x" $1 }' /proc/kallsyms)
load
cable
tunnel
handshake() { in_a wg show wg0 latest-handshakes | cut -f2; }
ping_once() { in_a ping -c 1 -W 5 -q 10.77.0.2 >/dev/null; }

section "a session lasts while nothing happens"
ping_once
first=$(handshake)
sleep 2
ping_once
equal "handshake" "$first" "$(handshake)"

section "before the machine sleeps it ends"
echo freezer >/sys/power/pm_test
[ ! -e /sys/module/suspend/parameters/pm_test_delay ] || echo 1 >/sys/module/suspend/parameters/pm_test_delay
before=$(in_a wg show wg0 dump | cut -f1-4)
echo freeze >/sys/power/state
equal "configuration" "$before" "$(in_a wg show wg0 dump | cut -f1-4)"
ping_once
second=$(handshake)
[ "$second" -gt "$first" ] || fail "the session of before is still in use"
ping_once
equal "handshake" "$second" "$(handshake)"

section "and so it does when the machine was copied"
sleep 2
insmod "$vmfork" address="$address"
rmmod vmfork
ping_once
third=$(handshake)
[ "$third" -gt "$second" ] || fail "the session of before is still in use"

section "with traffic running, ten times"
ip netns exec a ping -i 0.02 -q 10.77.0.2 >/dev/null &
ip netns exec b ping -i 0.02 -q fd77::1 >/dev/null &
for _ in $(seq 10); do
    insmod "$vmfork" address="$address"
    rmmod vmfork
    sleep 0.2
done
kill $(jobs -p)
wait || true
eventually 10 nothing_runs
eventually 20 ping_once

no_namespaces
unload
