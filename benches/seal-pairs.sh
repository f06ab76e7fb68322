#!/usr/bin/env bash
# What sealing costs beside the stock crate and beside the bare AEAD: alternating pairs of criterion runs.
# benches/seal-pairs.sh [PAIRS] [SECONDS] prints each pair, then the median ratios with quartiles.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${1:-9} seconds=${2:-3}
bench=$(cargo bench --bench hot --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\)).*/\1/p')
# A machine of one core has nothing to pin to.
pin=(); command -v taskset >/dev/null && pin=(taskset -c "$(taskset -cp $$ | sed 's/.*: \([0-9]*\).*/\1/')")

# Nanoseconds of one bench: criterion's estimate between its bounds.
time_of() {
  "${pin[@]}" "$bench" --bench --warm-up-time 1 --measurement-time "$seconds" --noplot "^$1\$" 2>&1 |
    awk '/time: *\[/ && !seen++ { v = $(NF-3); u = $(NF-2); print v * (u == "ps" ? 1e-3 : u == "ns" ? 1 : u == "ms" ? 1e6 : 1e3) }'
}
compare() {
  local ratios=()
  for ((i = 0; i < pairs; i++)); do
    local a b
    a=$(time_of "$1") b=$(time_of "$2")
    ratios[i]=$(awk -v a="$a" -v b="$b" "BEGIN { printf \"%.3f\", $3 }")
    echo "  $1 $a ns, $2 $b ns: ${ratios[i]}"
  done
  printf '%s\n' "${ratios[@]}" | sort -g | awk -v what="$4" '
    { r[NR] = $1 } function at(p) { return r[int((NR - 1) * p + 0.5) + 1] }
    END { printf "%s: median %.3f, quartiles %.3f to %.3f\n", what, at(.5), at(.25), at(.75) }'
}
compare seal/session/200 seal/floor/200 'a / b' 'seal/session/200 over seal/floor/200'
compare seal/session/200 seal/naive/200 'b / a' 'seal/naive/200 over seal/session/200'
