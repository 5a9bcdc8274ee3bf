# Helpers of the test scripts: steps with times, skips said aloud. Sourced, not run.

failed=()
skipped=()
started=$SECONDS

# step NAME COMMAND...: runs it, prints how long it took, remembers whether it failed. Status 77 says that it cannot be done on this machine,
# and that the reason was printed.
step() {
    local name=$1 begin=$SECONDS status=0
    shift
    printf '\n=== %s\n' "$name"
    "$@" || status=$?
    case $status in
    0) printf -- '--- %s: ok, %d s\n' "$name" $((SECONDS - begin)) ;;
    77)
        printf -- '--- %s: skipped, %d s\n' "$name" $((SECONDS - begin))
        skipped+=("$name")
        ;;
    *)
        printf -- '--- %s: FAILED, %d s\n' "$name" $((SECONDS - begin))
        failed+=("$name")
        # What follows a failure costs time and says little.
        summary
        ;;
    esac
}

# skip NAME REASON: says aloud that a step was not run, and why.
skip() {
    printf '\n=== %s\nSKIPPED: %s\n' "$1" "$2"
    skipped+=("$1")
}

summary() {
    printf '\n%d s in all; ' $((SECONDS - started))
    [ ${#skipped[@]} -eq 0 ] || printf 'skipped: %s; ' "$(IFS=,; echo "${skipped[*]}")"
    if [ ${#failed[@]} -gt 0 ]; then
        printf 'FAILED: %s\n' "$(IFS=,; echo "${failed[*]}")"
        exit 1
    fi
    printf 'all steps passed\n'
}

have() { command -v "$1" >/dev/null 2>&1; }
