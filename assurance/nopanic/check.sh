#!/usr/bin/env bash
# Proves that no panic is reachable in the engine: the program of this folder links only then. Sees itself fail first.
set -euo pipefail
cd "$(dirname "$0")"
. ./link.sh
target=${CARGO_TARGET_DIR:-$PWD/../../target}/nopanic

mkdir -p "$target"
if link "$target" "-C link-arg=-Wl,-u,deliberate" --features deliberate 2>"$target/errors" ||
    ! grep -q "undefined.*the_engine_can_panic" "$target/errors"; then
    cat "$target/errors" >&2
    echo "FAILED: a deliberate panic was not noticed, so this check proves nothing" >&2
    exit 1
fi
if ! link "$target" "" 2>"$target/errors"; then
    cat "$target/errors" >&2
    echo "FAILED: a panic can be reached in the engine (the linker names the functions above)" >&2
    exit 1
fi
echo "no panic can be reached in the engine; a deliberate one was noticed"
