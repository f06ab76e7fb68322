#!/usr/bin/env bash
# Counts the instructions of the hot path under valgrind and compares them with instructions.baseline:
#
#     benches/instructions.sh            # exits 1 if one is more than 3 % above its baseline
#     benches/instructions.sh --update   # writes the baseline
set -euo pipefail
cd "$(dirname "$0")/.."

case "$*" in
"" | --update) ;;
*) echo "usage: benches/instructions.sh [--update]" >&2 && exit 2 ;;
esac

if ! command -v valgrind >/dev/null && [[ -n ${CI-} && $EUID == 0 ]] && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y --no-install-recommends valgrind; } >&2 || true
fi
if ! command -v valgrind >/dev/null; then
    echo "skipped: no valgrind here; get it with: apt-get install valgrind"
    # Where changes are judged, what was not counted has not passed.
    [[ -z ${CI-} ]] && exit 0 || exit 1
fi

# The runner has to be of the library's version. The library would take its path from here when it is compiled.
unset GUNGRAUN_RUNNER
version=$(grep -A1 '^name = "gungraun-runner"$' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p')
export PATH=$PWD/target/gungraun/bin:$PATH
if [[ $(gungraun-runner --version 2>/dev/null) != "gungraun-runner $version" ]]; then
    CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --debug --locked --root target/gungraun \
        gungraun-runner --version "=$version"
fi

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
cargo bench --quiet --locked --bench instructions -- --output-format=json >"$counts"

RUSTC=$(rustc --version) VALGRIND=$(valgrind --version) LIBC=$(getconf GNU_LIBC_VERSION || echo "another libc") \
    python3 - "$counts" "$@" <<'PYTHON'
import datetime
import json
import os
import platform
import sys

BASELINE = "benches/instructions.baseline"
LIMIT_PERCENT = 3
# `CALLS` of instructions.rs.
CALLS = 200
# Of what valgrind shows of a processor, what the code asks for.
FLAGS = ["aes", "avx2", "bmi2", "pclmulqdq"]


def name(bench):
    """`seal_session` and `_200` are seal/session/200."""
    return bench["function_name"].replace("_", "/") + (bench.get("id") or "").replace("_", "/")


def read_counts(path):
    counts = {}
    with open(path) as lines:
        for bench in map(json.loads, lines):
            (callgrind,) = bench["profiles"]
            counts[name(bench)] = round(callgrind["data"]["total"]["metrics"]["Ir"]["values"]["new"] / CALLS, 1)
    return counts


def made_with():
    with open("/proc/cpuinfo") as text:
        has = set(text.read().split())
    flags = " ".join(flag for flag in FLAGS if flag in has)
    machine = f"{platform.machine()} {flags}, {os.environ['LIBC']}, {os.environ['VALGRIND']}"
    return {"rustc": os.environ["RUSTC"], "machine": machine, "RUSTFLAGS": os.environ.get("RUSTFLAGS") or "none"}


def read_baseline():
    head, counts = {}, {}
    with open(BASELINE) as lines:
        for line in lines:
            if line.startswith("#"):
                key, _, value = line[1:].strip().partition(": ")
                head[key] = value
            else:
                id, count = line.split()
                counts[id] = float(count)
    return head, counts


def update(now):
    head = {"date": datetime.date.today().isoformat(), **made_with(), "command": "benches/instructions.sh --update"}
    with open(BASELINE, "w") as file:
        print("# Instructions for one call or one delivery, in the bench profile.", file=file)
        for key, value in head.items():
            print(f"# {key}: {value}", file=file)
        for id, count in now.items():
            print(f"{id} {count:.1f}", file=file)
    print(f"{BASELINE} is written")


def compare(now):
    head, before = read_baseline()
    failed = False
    print(f"{'instructions':20} {'baseline':>12} {'now':>12} {'difference':>10}")
    for id in before | now:
        if id not in now or id not in before:
            failed = True
            where = "was not run" if id not in now else "has no baseline"
            print(f"{id:20} {where}")
            continue
        percent = 100 * (now[id] / before[id] - 1)
        says = ""
        if percent > LIMIT_PERCENT:
            failed, says = True, f"  more than {LIMIT_PERCENT} % above"
        elif percent < -LIMIT_PERCENT:
            says = "  fell: bring the baseline down with --update"
        print(f"{id:20} {before[id]:12,.1f} {now[id]:12,.1f} {percent:+9.2f} %{says}")
    elsewhere = [(key, value) for key, value in made_with().items() if head.get(key) != value]
    for key, value in elsewhere:
        print(f"note: the baseline was made with {key} {head.get(key)}; here it is {value}")
    if elsewhere:
        # Another compiler or C library writes other instructions: a difference says nothing of the change.
        print("skipped: counts of another toolchain are not held against this baseline; make one here with --update")
    return failed and not elsewhere


if __name__ == "__main__":
    now = read_counts(sys.argv[1])
    if not now:
        sys.exit("nothing was counted")
    if "--update" in sys.argv[2:]:
        update(now)
    else:
        sys.exit(compare(now))
PYTHON
