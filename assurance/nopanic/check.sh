#!/usr/bin/env bash
# Proves that no panic is reachable in the engine: the program of this folder links only then. Sees itself fail first.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../target}/nopanic
# The host's functions are addresses without code; the function that a panic would call is not even that.
flags="-C link-arg=-nostdlib -C link-arg=-nostartfiles -C link-arg=-static -C link-arg=-Wl,--gc-sections"
flags+=" -C relocation-model=static -C link-arg=-no-pie -C link-arg=-Wl,--entry=make"
for symbol in make outgoing staged incoming parse_incoming handshake timers configure list; do
    flags+=" -C link-arg=-Wl,-u,$symbol"
done
for symbol in host_takes_memory host_frees_memory host_fills; do
    flags+=" -C link-arg=-Wl,--defsym=$symbol=0x1000"
done
for symbol in memcpy memset memmove memcmp bcmp; do
    flags+=" -C link-arg=-Wl,--defsym=$symbol=0x2000"
done
build() { RUSTFLAGS="$flags $1" cargo build --release --quiet "${@:2}"; }

if build "-C link-arg=-Wl,-u,deliberate" --features deliberate 2>/dev/null; then
    echo "FAILED: a deliberate panic was not noticed, so this check proves nothing" >&2
    exit 1
fi
if ! build "" 2>"$CARGO_TARGET_DIR/errors"; then
    cat "$CARGO_TARGET_DIR/errors" >&2
    echo "FAILED: a panic can be reached in the engine (the linker names the functions above)" >&2
    exit 1
fi
echo "no panic can be reached in the engine; a deliberate one was noticed"
