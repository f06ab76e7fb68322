#!/usr/bin/env bash
# Bugs that no unit test sees and the simulation must: each is one line behind a feature. With each of them
# the library's own tests have to pass and `tests/simulation` has to fail.
set -euo pipefail
cd "$(dirname "$0")/.."

for bug in plant-stale-token plant-wrong-segment plant-lost-wake; do
    cargo test --locked --quiet --lib --features "$bug"
    out=$(mktemp)
    if cargo test --locked --quiet --test simulation --features "$bug" each_client >"$out" 2>&1; then
        echo "$bug: the simulation has not found it"
        exit 1
    fi
    grep -m 1 'replay it' "$out" || { cat "$out"; exit 1; }
    echo "$bug: found"
    rm "$out"
done
