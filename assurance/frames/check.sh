#!/usr/bin/env bash
# Bounds the stack that the engine takes, as it is optimised, without what the host's own functions add: 1 KiB for a call
# that carries packets, with all that it calls; 2 KiB for a frame of a handshake and 4 KiB for all of them together.
# Sees itself fail first.
set -euo pipefail
cd "$(dirname "$0")"
. ../nopanic/link.sh
target=${CARGO_TARGET_DIR:-$PWD/../../target}/frames
CARGO_TARGET_DIR=$target/tool cargo build --quiet
# The compiler tells the sizes of frames only to those who say that they know the option is not stable.
export RUSTC_BOOTSTRAP=1
frames() { "$target/tool/debug/frames" "$target/release/nopanic" "$@"; }

link "$target" "-Z emit-stack-sizes -C link-arg=-Wl,-u,deliberate_frame" --features deliberate-frame 2>/dev/null
if told=$(frames 1024 1024 deliberate_frame) || ! grep -q "^TOO MUCH" <<<"$told"; then
    echo "$told"
    echo "FAILED: a frame of more than 1 KiB was not noticed, so this check proves nothing" >&2
    exit 1
fi
if ! link "$target" "-Z emit-stack-sizes" 2>"$target/errors"; then
    cat "$target/errors" >&2
    echo "FAILED: the engine does not link without a panic (see panics), so its frames cannot be told" >&2
    exit 1
fi
# shellcheck disable=SC2086
frames 1024 1024 $packet_entries && frames 2048 4096 $handshake_entries ||
    { echo "FAILED: the engine takes more of the stack than it promises" >&2; exit 1; }
echo "the stack is bounded; a frame that is too large was noticed"
