#!/usr/bin/env bash
# Runs in the guest: installed, the module is loaded for interfaces of kind wireguard instead of the kernel's own; uninstalled, it is not. With the
# kernel's own loaded, loading fails. The argument is the path of a kerntun.ko.
. "$LAB/tests/lib.sh"
folder=$(mktemp -d)
cp "$module" "$LAB/../modprobe.conf" "$LAB/../Makefile" "$folder"
kernel=/lib/modules/$(uname -r)/build
loaded() { grep -q "^$1 " /proc/modules; }

section "installed"
make -s -C "$folder" install KDIR="$kernel"
ip link add wg0 type wireguard
loaded kerntun || fail "the module was not loaded"
! loaded wireguard || fail "the kernel's own module was loaded"
ip link del wg0
modprobe -r kerntun

section "uninstalled"
make -s -C "$folder" uninstall KDIR="$kernel"
ip link add wg0 type wireguard
loaded wireguard || fail "the kernel's own module was not loaded"
refused "File exists" insmod "$module"
dmesg | tail -n 3 | grep -q "unload it first" || fail "the log does not say why"
