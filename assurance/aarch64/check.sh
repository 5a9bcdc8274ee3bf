#!/usr/bin/env bash
# The sandbox on another processor: Debian's kernel for ARM64, emulated by QEMU, with nothing in it but the daemon's tests of its sandbox
# and the program. First each layer alone; then the demo, whose two daemons have to be locked up whole and carry packets all the same: so
# the list of system calls is neither too long nor too short there. Six minutes of one processor to build, half a
# minute to run. Root on Debian or Ubuntu can install the emulator and the compiler; the kernel is not installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-gnu
area=$PWD/target/aarch64
needed="qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross cpio"

skip() { echo "SKIPPED: $*"; exit 77; }
have() { command -v "$1" >/dev/null; }

rustup target list --installed 2>/dev/null | grep -qx $target || rustup target add $target >/dev/null 2>&1 ||
    skip "the standard library for $target cannot be installed here"
present() { have qemu-system-aarch64 && have aarch64-linux-gnu-gcc && have cpio; }
if ! present; then
    [ "$(id -u)" = 0 ] && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $needed >/dev/null 2>&1
    present || skip "needs the Debian packages $needed"
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

# A kernel and a shell, from an index of their own; nothing is installed.
mkdir -p "$area"/{lists/partial,cache/archives/partial,packages}
: >"$area/nothing-installed"
options=(-o "Dir::State::lists=$area/lists" -o "Dir::State::status=$area/nothing-installed" -o "Dir::Cache=$area/cache" -o APT::Architecture=arm64
    -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o Acquire::Retries=5)
if [ ! -e "$area/root/release" ]; then
    apt-get "${options[@]}" -q update >"$area/update.log" 2>&1 || skip "the index of packages for ARM64 cannot be fetched"
    image=$(apt-cache "${options[@]}" depends linux-image-cloud-arm64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    [ -n "$image" ] || skip "this system has no kernel for ARM64"
    (cd "$area/packages" && rm -f ./*.deb && apt-get "${options[@]}" -q download "$image" busybox-static >/dev/null 2>&1) ||
        skip "a kernel for ARM64 cannot be downloaded"
    for package in "$area"/packages/*.deb; do dpkg-deb --extract "$package" "$area/root"; done
    echo "${image#linux-image-}" >"$area/root/release"
fi
release=$(<"$area/root/release")

cargo build --quiet --target $target -p kerntun
test=$(cargo test --quiet --target $target -p kerntun-daemon --lib --no-run --message-format json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')

tree=$(mktemp -d)
trap 'rm -rf "$tree" "$tree.cpio" "$tree.log"' EXIT
mkdir -p "$tree"/{bin,lib,modules,proc,sys,dev,tmp,run,etc,root}
cp "$area"/root/bin/busybox "$tree/bin/"
cp "${CARGO_TARGET_DIR:-target}/$target/debug/kerntun" "$tree/bin/"
cp "$test" "$tree/bin/tests"
cp -L /usr/aarch64-linux-gnu/lib/{ld-linux-aarch64.so.1,libc.so.6,libgcc_s.so.1,libm.so.6} "$tree/lib/"
for module in tun veth; do cp "$area/root/lib/modules/$release/kernel/drivers/net/$module.ko" "$tree/modules/"; done
echo 'nobody:x:65534:65534::/:/bin/false' >"$tree/etc/passwd"
cat >"$tree/init" <<'GUEST'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
mount -t tmpfs none /run
insmod /modules/tun.ko
insmod /modules/veth.ko
ip link set lo up
uname -srm
/bin/tests --test-threads=1 sandbox && echo "guest: every layer alone"
KERNTUN_REQUIRE_SANDBOX=1 /bin/kerntun demo && echo "guest: the demo, whole"
poweroff -f
GUEST
# Its root is that of `nobody` too.
chmod 755 "$tree" "$tree/init"
(cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0) >"$tree.cpio"
timeout "${SECONDS_IN_GUEST:-600}" qemu-system-aarch64 -M virt -cpu cortex-a57 -smp 2 -m 1024 -nographic -no-reboot -nic none \
    -kernel "$area/root/boot/vmlinuz-$release" -initrd "$tree.cpio" -append "console=ttyAMA0 panic=-1 quiet" </dev/null | tr -d '\r' | tee "$tree.log"
for line in 'every layer alone' 'the demo, whole'; do
    grep -q "^guest: $line" "$tree.log" || { echo "FAILED: the guest did not come to say '$line'"; exit 1; }
done
