#!/usr/bin/env bash
# Counts the instructions of the packet paths and of the AEAD, and fails if one takes more than `limits` says and 2 %, or if
# counts differ that may not: of secrets, and of what is compared with secrets.
#
#   check.sh           compare
#   check.sh --write   take the numbers of this run as the limits, after a change that is worth it
#
# Counts do not depend on the machine or on what else it does, since valgrind shows every program the same processor. It has no
# AVX-512; of that, what is counted are the instructions on whole vectors that stand in the loops, and there is no slack.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../target}/instructions
for tool in valgrind callgrind_annotate objdump; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: install valgrind and binutils" >&2; exit 1; }
done
cargo build --release --quiet
program=$CARGO_TARGET_DIR/release/instructions
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count MODE: name and instructions of every counted function, callees included.
count() {
    valgrind --tool=callgrind --toggle-collect='counted_*' --callgrind-out-file="$work/$1.out" "$program" "$1" >"$work/$1.log" 2>&1 ||
        { cat "$work/$1.log" >&2; return 1; }
    callgrind_annotate --inclusive=yes --threshold=100 "$work/$1.out" |
        awk 'match($0, /counted_[a-z0-9_]+/) { name = substr($0, RSTART + 8, RLENGTH - 8); gsub(",", "", $1); print name, $1 }' | sort -u
}

# loops: instructions on whole vectors in the innermost loops of the AVX-512 code, and how many of these touch the stack.
loops() {
    objdump -d --no-show-raw-insn -C "$program" | awk '
        function inner(    i, j, at, ends, inside) {
            for (i = 1; i <= jumps; i++) {
                inside = 0
                for (j = 1; j <= jumps; j++)
                    if (j != i && from[j] >= from[i] && to[j] <= to[i]) inside = 1
                if (inside) continue
                for (at = from[i]; at <= to[i]; at++)
                    if (text[at] ~ /zmm/) { vector[name]++; if (text[at] ~ /\(%rsp|\(%rbp/) stack[name]++ }
            }
        }
        /^[0-9a-f]+ <.*>:$/ {
            if (name != "") inner()
            name = ""
            if (match($0, /avx512::[a-z]+::[A-Za-z]+(<[_,]*>)?::(next_two|next|run)>:$/)) {
                name = substr($0, RSTART, RLENGTH - 2); gsub(/<[_,]*>/, "", name); gsub(/::/, "_", name)
                split("", line); split("", text); lines = jumps = 0
            }
            next
        }
        name != "" && $1 ~ /^[0-9a-f]+:$/ {
            address = $1; sub(":", "", address)
            line[address] = ++lines; text[lines] = $0
            if ($2 ~ /^j/ && ($3 in line)) { jumps++; from[jumps] = line[$3]; to[jumps] = lines }
        }
        END {
            if (name != "") inner()
            for (name in vector) { print name "_loops", vector[name]; print name "_loops_stack", stack[name] + 0 }
        }' | sort
}

# alike GROUPS: whether there are so many groups of three counts in the standard input, and those of each group are the same.
alike() {
    awk -v groups="$1" '
        { group = $1; sub(/_[a-z]+$/, "", group); n[group]++
            if (group in first && first[group] != $2) { print "FAILED: " $0 ", and with other bytes " first[group]; bad = 1 }
            first[group] = $2 }
        END { for (group in n) if (n[group] != 3) { print "FAILED: " n[group] " of 3 counts of " group; bad = 1 }
            if (length(n) != groups) { print "FAILED: " length(n) " of " groups " groups were counted"; bad = 1 }
            exit bad }'
}

count engine >"$work/counts"
count comparisons >"$work/comparisons"
grep '^same_' "$work/comparisons" | alike 4 >&2
if grep '^leak_' "$work/comparisons" | alike 1 >/dev/null; then
    echo "FAILED: a comparison that stops at the first difference was not noticed, so this check proves nothing" >&2
    exit 1
fi
echo "mac1, mac2, cookies and tags are refused in the same instructions whichever bit is wrong; a deliberate early end was noticed"
if grep -qw avx2 /proc/cpuinfo; then
    count aead >>"$work/counts"
    valgrind --quiet --error-exitcode=1 "$program" secrets
    if valgrind --quiet --error-exitcode=1 "$program" leak >/dev/null 2>&1; then
        echo "FAILED: a deliberate branch on a secret was not noticed, so this check proves nothing" >&2
        exit 1
    fi
    echo "no branch and no address depends on a secret when packets are sealed with AVX2; a deliberate one was noticed"
    # What differs in secrets alone must not differ in instructions.
    grep '^same_' "$work/counts" | alike 3 >&2
    echo "packets sealed, opened and refused take the same instructions whatever key, text and tag are"
    skipped=
else
    echo "SKIPPED: the counts of AVX2 and Portable: this processor has no AVX2"
    skipped='^(avx2|portable)_'
fi
grep -v '^same_' "$work/counts" >"$work/new"
if [ "$(uname -m)" = x86_64 ]; then
    loops >>"$work/new"
fi
if [ "${1:-}" = --write ]; then
    sort "$work/new" >limits
    echo "limits written"
    exit
fi
awk -v skipped="$skipped" '
    BEGIN { printf "%-52s %10s %10s\n", "", "counted", "limit" }
    NR == FNR { limit[$1] = $2; next }
    {
        seen[$1] = 1
        verdict = ""
        if (!($1 in limit)) { verdict = "  FAILED: no limit; --write takes this one"; bad = 1 }
        else if ($2 > limit[$1] + ($1 ~ /_loops/ ? 0 : int(limit[$1] * 0.02))) { verdict = "  FAILED"; bad = 1 }
        else if ($2 < limit[$1] * 0.9) verdict = "  better by a tenth: --write keeps it so"
        printf "%-52s %10d %10d%s\n", $1, $2, limit[$1], verdict
    }
    END {
        for (name in limit)
            if (!(name in seen) && !(skipped != "" && name ~ skipped)) { print "FAILED: " name " was not counted"; bad = 1 }
        exit bad
    }' limits "$work/new"
