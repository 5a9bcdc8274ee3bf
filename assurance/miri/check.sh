#!/usr/bin/env bash
# Runs tests of the pure parts in Miri, an interpreter that notices undefined behaviour: reads past the end, of what was never
# written, unaligned, through pointers that may not, and of what another thread writes meanwhile. Sees itself fail first. Tests that
# make system calls cannot run in it, and those of many rounds would take hours: what is left is chosen here, and tests of many rounds
# have fewer of them in Miri (`cfg!(miri)`).
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! cargo +nightly miri --version >/dev/null 2>&1 && ! rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1; then
    echo "SKIPPED: needs a nightly toolchain with the component miri, which cannot be installed here"
    exit 77
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/miri
# Files with vectors, and environment variables, are read.
export MIRIFLAGS=-Zmiri-disable-isolation
avx2=-Ctarget-feature=+avx2

deliberate=$(mktemp -d)
trap 'rm -rf "$deliberate"' EXIT
mkdir "$deliberate/src"
printf '[package]\nname = "deliberate"\nedition = "2024"\n[workspace]\n' >"$deliberate/Cargo.toml"

# noticed WHAT STATEMENTS: a program of those is stopped for undefined behaviour.
noticed() {
    local output
    printf 'fn main() {\n    let header = [0_u8; 16];\n    %s\n}\n' "$2" >"$deliberate/src/main.rs"
    if output=$(cargo +nightly miri run --quiet --manifest-path "$deliberate/Cargo.toml" 2>&1) || ! grep -q "Undefined Behavior" <<<"$output"; then
        echo "$output"
        echo "FAILED: $1 was not noticed, so this check proves nothing" >&2
        exit 1
    fi
}

# tests CRATE-AND-TARGET -- NAMES: at least one test has to be there under each of those names.
tests() {
    local output count begun=$SECONDS
    output=$(cargo +nightly miri test --quiet "$@" 2>&1) || { echo "$output"; exit 1; }
    count=$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' <<<"$output")
    all=$((all + ${count:-0}))
    echo "${count:-0} tests, $((SECONDS - begun)) s${RUSTFLAGS:+, $RUSTFLAGS}: $*"
    [ "${count:-0}" -gt 0 ] && [ "$count" -ge "$(($(printf '%s\n' "$@" | sed -n '/^--$/,$p' | wc -l) - 1))" ] || { echo "FAILED: some of them are missing" >&2; exit 1; }
}
all=0

noticed "a read past the end" 'std::process::exit(i32::from(unsafe { *header.as_ptr().wrapping_add(16) }) & 0);'

# The engine, which has no unsafe code: those tests of its parts that take seconds.
tests -p kerntun-engine --lib -- message::tests::the_ message::tests::macs inner::tests::the_header inner::tests::ipv inner::tests::leaving \
    session:: secret:: peer:: reason:: time::tests::the_label time::tests::instants timers:: pages::tests::a_page ratelimiter::tests::five \
    ratelimiter::tests::a_ routes::tests::a_stolen routes::tests::without routes::tests::a_stale deadlines::tests::a_later \
    indices::tests::without indices::tests::a_split cookie::tests::the_bytes cookie::tests::one_reply replay::tests::the_ \
    replay::tests::every_sequence_of_five replay::tests::random
# Whole devices with what is as if it were cryptography, in the locks and queues of user space; then in threads.
tests -p kerntun-engine --test tunnel -- the_first while_staged congestion a_run
tests -p kerntun-engine --test handshake -- a_stranger preshared under_load_a_cookie
tests -p kerntun-engine --test threads -- a_session
# Control messages and addresses, which are written and read through pointers; super-packets, as far as they take seconds.
tests -p kerntun-linux --lib -- address:: checksum::
tests -p kerntun-linux --test offload -- checksum numbers virtio unfinished extension contradictions random
tests -p kerntun-uapi --test request -- device_keys peer_keys endpoints operations order_and
tests -p kerntun-uapi --test answer -- misuse malformed error_numbers
if [ "$(uname -m)" = x86_64 ]; then
    # The vector code that Miri knows. It tells programs of the features that they were compiled for.
    export RUSTFLAGS=$avx2
    noticed "a vector read past the end" \
        'let half = unsafe { std::arch::x86_64::_mm256_loadu_si256(header.as_ptr().cast()) };
    std::hint::black_box(half);'
    tests -p kerntun-fuzz-targets --test replay -- runs_of_few_bytes
    tests -p kerntun-linux --lib -- checksum::
fi
echo "$all tests, no undefined behaviour; reads past the end were noticed"
