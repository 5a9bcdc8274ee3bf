# Runs several tests in one guest, one after the other: `several.sh MODULE KERNTUN TEST...`. Ends with the first that fails.
set -euo pipefail
module=$1 kerntun=$2
shift 2
for test; do
    begin=$SECONDS
    echo "== $test"
    bash "$LAB/tests/$test.sh" "$module" "$kerntun"
    echo "== $test: ok, $((SECONDS - begin)) s of the guest's time"
done
