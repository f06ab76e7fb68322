#!/usr/bin/env bash
# Fuzzes all targets, or those named, one after the other, SECONDS each; prints a line for each, and what
# it found. New inputs go to fuzz/work, which nobody commits: `fuzz/run.sh --minimise` makes a new corpus of
# the old one and of what is there.
#
#   fuzz/run.sh SECONDS [TARGET ...]
#   fuzz/run.sh --minimise [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")"

[[ $# -ge 1 ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
what=$1
shift
targets=("$@")
((${#targets[@]})) || targets=(frames upgrade decode session open)

# What `cargo fuzz` would build, once for all of them.
cargo "+${TOOLCHAIN:-nightly}" fuzz build >&2
bin=target/$(rustc -vV | sed -n 's/^host: //p')/release
failed=0
for target in "${targets[@]}"; do
    work=work/$target
    mkdir -p "$work" artifacts "corpus/$target"
    if [[ $what == --minimise ]]; then
        # What has a name is written by hand, or was a finding; of the rest, what reaches all the code that all
        # of them reach. Without counters: an input is kept for code, not for how often it comes there.
        corpus=$(mktemp -d)
        find "corpus/$target" -type f ! -regex '.*/[0-9a-f]*' -exec cp {} "$corpus" \;
        "$bin/$target" -set_cover_merge=1 -use_counters=0 "$corpus" "corpus/$target" "$work" 2>/dev/null
        rm "corpus/$target"/*
        mv "$corpus"/* "corpus/$target"
        rmdir "$corpus"
        echo "$target: $(find "corpus/$target" -type f | wc -l) files in the corpus"
        continue
    fi
    flags=(-max_total_time="$what" -max_len=2048 -print_final_stats=1 -artifact_prefix="artifacts/$target-")
    [[ -f dictionaries/$target.dict ]] && flags+=(-dict="dictionaries/$target.dict")
    log=work/$target.log
    found=nothing
    if ! "$bin/$target" "${flags[@]}" "$work" "corpus/$target" >"$log" 2>&1; then
        found="see $(pwd)/$log and artifacts/"
        failed=1
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: ${executions:-?} executions in $what s, found: $found"
done
exit "$failed"
