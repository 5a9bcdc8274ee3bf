#!/usr/bin/env bash
# Runs in the guest: installed, the module is loaded for interfaces of kind wireguard instead of the kernel's own; uninstalled, it is not. With the
# kernel's own loaded, loading fails. The argument is the path of a kerntun.ko.
. "$LAB/tests/lib.sh"
folder=$(mktemp -d)
cp "$module" "$folder/kerntun.ko"
cp "$LAB/../modprobe.conf" "$LAB/../Makefile" "$folder"
release=$(uname -r)
kernel=$(realpath "/lib/modules/$release/build")
# depmod reads every module there is, which takes minutes in a guest: it gets those that this is about.
small=$(mktemp -d)
mkdir "$small/kernel"
cp "/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$small"
for name in wireguard $(modinfo -F depends "$module" | tr ',' ' '); do
    modprobe --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | xargs cp -t "$small/kernel"
rm "/lib/modules/$release"
mv "$small" "/lib/modules/$release"
depmod
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

# As it was.
ip link del wg0
rmmod wireguard
rm -r "/lib/modules/$release"
ln -s "$LAB_MODULES" "/lib/modules/$release"
