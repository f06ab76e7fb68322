#!/usr/bin/env bash
# Lines of `src/engine/wire` and `src/app/protocol` that tests reach, without the lines of test modules: first
# by `cargo test` without the fuzz corpus, then with it. Names the lines that nobody reaches, and fails below 95 %.
# Takes some minutes, so it is no step of `.ci/run`. Needs:
#
#   cargo install cargo-llvm-cov && rustup component add llvm-tools
set -euo pipefail
cd "$(dirname "$0")/.."

minimum=95
# The lines of these folders, file by file up to `#[cfg(test)]`, in what `cargo llvm-cov` has collected so far.
report() {
    local lcov
    lcov=$(mktemp)
    # A server that a test kills may leave half a profile: that one is not merged.
    cargo llvm-cov report --lcov --failure-mode all --ignore-filename-regex '/(tests|model)(\.rs|/)' >"$lcov"
    awk -F '[:,]' -v root="$PWD/src/" -v what="$1" -v minimum="$minimum" '
        $1 == "SF" {
            file = substr($2, length(root) + 1)
            folder = match(file, /^(engine\/wire|app\/protocol)\//) ? substr(file, 1, RLENGTH - 1) : ""
            last = 0
            if (folder != "")
                for (line = 1; (getline text < $2) > 0 && text !~ /^#\[cfg\(test\)\]/; line++) last = line
        }
        $1 == "DA" && folder != "" && $2 <= last {
            lines[folder]++
            if ($3 > 0) reached[folder]++; else missed = missed "  missed: src/" file ":" $2 "\n"
        }
        END {
            for (folder in lines) {
                percent = 100 * reached[folder] / lines[folder]
                printf "%s: %s: %d of %d lines, %.1f %%\n", what, folder, reached[folder], lines[folder], percent
                if (percent < minimum) failed = 1
                folders++
            }
            printf "%s", missed
            if (folders != 2) { print "a folder is missing"; failed = 1 }
            exit failed
        }' "$lcov"
    rm "$lcov"
}

tests=()
for path in tests/*.rs tests/*/main.rs; do
    name=${path#tests/}
    name=${name%.rs}
    name=${name%/main}
    [[ $name == fuzz_corpus ]] || tests+=(--test "$name")
done
cargo llvm-cov clean --workspace
cargo llvm-cov --locked --no-report --lib "${tests[@]}" -- --quiet >&2
report "tests"
cargo llvm-cov --locked --no-report --test fuzz_corpus -- --quiet >&2
report "with the fuzz corpus"
