#!/usr/bin/env bash
# The kernel's own test of WireGuard, netns.sh, as it lies in Debian's linux-source (kernel/lab/fetch --source). Runs in the guest; tells section
# by section, a section being what stands below a comment of that script, what passed, what failed, and what was not reached for that.
. "$LAB/tests/lib.sh"
original=${LAB_MODULES%/lib/modules/*}/source/tools/testing/selftests/wireguard/netns.sh
[ -e "$original" ] || fail "there is no $original: kernel/lab/fetch --source gets it"

for needed in ncat iperf3 iptables ping6; do
    command -v $needed >/dev/null || fail "there is no $needed: kernel/lab/tools installs it"
done

# A line for the log before each section. Its transfers last three seconds each because real machines are fast.
script=/run/netns.sh
awk -v seconds="${SELFTEST_SECONDS:-1}" '
    /^set -e/ { body = 1 }
    body && /^# [A-Z]/ { text = substr($0, 3); gsub(/[^A-Za-z0-9 ,.()-]/, "", text); print "section \"" text "\"" }
    { gsub(/-t 3 /, "-t " seconds " "); print }
    /^set -e/ { print "section() { echo \"$*\" >>/run/sections; echo \"   $SECONDS s: $*\" >&9; }" }
' "$original" >$script
echo "Set up" >/run/sections
grep '^section "' $script | cut -d'"' -f2 >/run/all-sections

load
# What it looks for at its end is told at this level only.
mount -t debugfs none /sys/kernel/debug
[ "$module" != intree ] || echo 'module wireguard +p' >/sys/kernel/debug/dynamic_debug/control
started=$(date +%s)
status=0
bash -x $script 9>&1 >/run/selftest.log 2>&1 || status=$?
reached=$(wc -l </run/sections)
number=0
while read -r title; do
    number=$((number + 1))
    if [ $number -lt "$reached" ] || [ $status = 0 ]; then
        echo "passed       $title"
    elif [ $number = "$reached" ]; then
        echo "FAILED       $title"
    else
        echo "not reached  $title"
    fi
done < <(echo "Set up"; cat /run/all-sections)
echo "$(($(date +%s) - started)) s"
if [ $status != 0 ]; then
    grep -v 'read -t' /run/selftest.log | tail -n 60
    fail "netns.sh ended with status $status"
fi
no_namespaces
unload
