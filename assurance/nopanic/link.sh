# How the program of this folder is linked: alone, with nothing that it does not need. Sourced, not run.

# Its entry points, each a function that stands for itself.
packet_entries="outgoing staged incoming parse_incoming deadlines"
handshake_entries="handshake initiate"
other_entries="make configure list"

# link TARGET FLAGS CARGO...: builds it under TARGET.
link() {
    # The host's functions are addresses without code; the function that a panic would call is not even that.
    local flags="-C link-arg=-nostdlib -C link-arg=-nostartfiles -C link-arg=-static -C link-arg=-Wl,--gc-sections"
    flags+=" -C relocation-model=static -C link-arg=-no-pie -C link-arg=-Wl,--entry=make"
    local symbol
    for symbol in $packet_entries $handshake_entries $other_entries; do
        flags+=" -C link-arg=-Wl,-u,$symbol"
    done
    for symbol in host_takes_memory host_frees_memory host_fills; do
        flags+=" -C link-arg=-Wl,--defsym=$symbol=0x1000"
    done
    for symbol in memcpy memset memmove memcmp bcmp; do
        flags+=" -C link-arg=-Wl,--defsym=$symbol=0x2000"
    done
    (cd "$(dirname "${BASH_SOURCE[0]}")" &&
        CARGO_TARGET_DIR=$1 RUSTFLAGS="$flags $2" cargo build --release --quiet "${@:3}")
}
