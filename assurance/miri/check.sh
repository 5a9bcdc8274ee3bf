#!/usr/bin/env bash
# Runs tests of the pure parts in Miri, an interpreter that notices undefined behaviour: reads past the end, of what was never
# written, unaligned, through pointers that may not. Sees itself fail first. Tests that make system calls cannot run in it, and
# those of many rounds would take hours; what is left is chosen here, one line for each crate.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! cargo +nightly miri --version >/dev/null 2>&1 && ! rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1; then
    echo "SKIPPED: needs a nightly toolchain with the component miri, which cannot be installed here"
    exit 77
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/miri
# Files with vectors, and environment variables, are read.
export MIRIFLAGS=-Zmiri-disable-isolation

deliberate=$(mktemp -d)
trap 'rm -rf "$deliberate"' EXIT
mkdir "$deliberate/src"
printf '[package]\nname = "deliberate"\nedition = "2024"\n[workspace]\n' >"$deliberate/Cargo.toml"
cat >"$deliberate/src/main.rs" <<'PROGRAM'
fn main() {
    let header = [0_u8; 16];
    // One byte past the end.
    std::process::exit(i32::from(unsafe { *header.as_ptr().wrapping_add(16) }) & 0);
}
PROGRAM
if cargo +nightly miri run --quiet --manifest-path "$deliberate/Cargo.toml" >/dev/null 2>&1; then
    echo "FAILED: a read past the end was not noticed, so this check proves nothing" >&2
    exit 1
fi

# tests CRATE-AND-TARGET -- NAMES: at least one test has to be there under each of those names.
tests() {
    local output count
    output=$(cargo +nightly miri test --quiet "$@" 2>&1) || { echo "$output"; exit 1; }
    count=$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' <<<"$output")
    echo "${count:-0} tests: $*"
    [ "${count:-0}" -ge "$(($(printf '%s\n' "$@" | sed -n '/^--$/,$p' | wc -l) - 1))" ] || { echo "FAILED: some of them are missing" >&2; exit 1; }
}

# The engine, which has no unsafe code: those tests of its parts that take seconds.
tests -p kerntun-engine --lib -- message::tests::the_ message::tests::macs inner::tests::the_header inner::tests::ipv inner::tests::leaving \
    session:: secret:: peer:: reason:: time::tests::the_label time::tests::instants timers:: pages::tests::a_page ratelimiter::tests::five \
    ratelimiter::tests::a_ routes::tests::a_stolen routes::tests::without routes::tests::a_stale deadlines::tests::a_later \
    indices::tests::without indices::tests::a_split cookie::tests::the_bytes cookie::tests::one_reply
# Control messages and addresses, which are written and read through pointers.
tests -p kerntun-linux --lib -- address::
tests -p kerntun-uapi --test request -- device_keys peer_keys endpoints operations order_and
tests -p kerntun-uapi --test answer -- misuse malformed error_numbers
echo "no undefined behaviour; a read past the end was noticed"
