#!/usr/bin/env bash
# Runs in the guest: the README's five lines about the module. Installed, it is loaded for interfaces of kind wireguard instead of the kernel's own;
# uninstalled, it is not. With the kernel's own loaded, loading fails. The argument is the path of a kerntun.ko; `check` has built
# another in the repository's folder by the README's first command, if this machine's compiler can do it for this kernel.
. "$LAB/tests/lib.sh"
readme() { echo "   $1"; "$LAB/readme" "$1"; }
release=$(uname -r)
built=$LAB/../kerntun.ko
[ "$(modinfo -F vermagic "$built" 2>/dev/null | cut -d' ' -f1)" = "$release" ] || cp "$module" "$built"
# depmod reads every module there is, which takes minutes in a guest: it gets those that this is about.
small=$(mktemp -d)
mkdir "$small/kernel"
cp -P "/lib/modules/$release"/{build,modules.order,modules.builtin,modules.builtin.modinfo} "$small"
for name in wireguard $(modinfo -F depends "$module" | tr ',' ' '); do
    modprobe --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | xargs cp -t "$small/kernel"
rm "/lib/modules/$release"
mv "$small" "/lib/modules/$release"
depmod
loaded() { grep -q "^$1 " /proc/modules; }
tainted() { [ $(($(cat /proc/sys/kernel/tainted) >> $1 & 1)) = 1 ]; }

section "installed"
readme "sudo make -C kernel install"
# The kernel's own is there already, as on a machine that has a tunnel.
modprobe wireguard
refused "File exists" insmod "$module"
dmesg | tail -n 3 | grep -q "unload it first" || fail "the log does not say why"
readme "sudo rmmod wireguard"
readme "sudo ip link add wg0 type wireguard"
loaded kerntun || fail "the module was not loaded"
! loaded wireguard || fail "the kernel's own module was loaded"
tainted 12 || fail "the kernel does not call itself tainted by a module from outside"
# Only a kernel that knows signatures misses one.
[ ! -e /sys/module/module/parameters/sig_enforce ] || tainted 13 || fail "the kernel does not call itself tainted by a module without a signature"

section "used"
ip link delete wg0
cat >/run/wg0.conf <<END
[Interface]
PrivateKey = $(wg genkey)
ListenPort = 1111
Address = 10.77.0.1/24
[Peer]
PublicKey = $(wg genkey | wg pubkey)
AllowedIPs = 10.77.0.2/32
END
chmod 600 /run/wg0.conf
wg-quick up /run/wg0.conf 2>/dev/null
equal "port that wg shows" 1111 "$(wg show wg0 listen-port)"
ip -d link show wg0 | grep -q wireguard || fail "wg-quick has made no interface of that kind"

section "unloaded, with an interface, and uninstalled"
readme "sudo rmmod kerntun"
! loaded kerntun || fail "it is still there"
! ip link show wg0 >/dev/null 2>&1 || fail "the interface is still there"
readme "sudo make -C kernel uninstall"
ip link add wg0 type wireguard
loaded wireguard || fail "the kernel's own module was not loaded"
! loaded kerntun || fail "the module was loaded"

# As it was.
ip link del wg0
rmmod wireguard
rm -r "/lib/modules/$release"
ln -s "$LAB_MODULES" "/lib/modules/$release"
