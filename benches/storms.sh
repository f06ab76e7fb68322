#!/usr/bin/env bash
# What storms do to everybody else: see "Storms" in README.md. Exits 1 if a figure is over its bound.
#
#   benches/storms.sh [logins | cut]...
#
# logins: 1,000 connections ask at a fixed rate, first alone and then while 50,000 others log in. cut: 50,000
# connections end at once, while new clients come and go one after another.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --quiet
mida=target/release/mida
. benches/common/server.sh

# echoes FILE SECONDS
echoes() {
    python3 benches/common/promptly.py taskset -c "$others_core" "$mida" load "$url" --echo --auth --connections 1000 --rate 5000 --for "$2" \
        --json >"$1"
}

logins() {
    local seconds=20
    start "${unlimited[@]}"
    echoes "$work/quiet" "$seconds"
    stop
    start "${unlimited[@]}"
    echoes "$work/storm" "$seconds" &
    local asking=$!
    # By then those who ask are connected.
    sleep 2
    nice -n 19 taskset -c "$others_core" "$mida" load "$url" --storm --auth --connections 128 --for "$((seconds - 2))" \
        --json >"$work/logins" || true
    wait "$asking"
    stop
    echo "logins       $(value "$work/logins" storm.connections) in $((seconds - 2)) s, failed $(value "$work/logins" connections.failed)"
    echo "echoes       p99 alone $(value "$work/quiet" echo.latency_us.p99) µs, in the storm $(value "$work/storm" echo.latency_us.p99) µs"
    echo "server       $(grep -o 'turns=.*' "$work/log" || echo 'tells nothing of its turns')"
    local more
    more=$(awk -v a="$(value "$work/storm" echo.latency_us.p99)" -v b="$(value "$work/quiet" echo.latency_us.p99)" \
        'BEGIN { print (a - b) / 1000 }')
    figure "logins: how many, 50,000 over it" "$(awk -v n="$(value "$work/logins" storm.connections)" 'BEGIN { print 50000 / n }')" "" 1
    figure "echoes: p99 in the storm over p99 alone" "$more" ms 1
    local turn_us
    turn_us=$(sed -n 's/.*p999_us=\([0-9.]*\).*/\1/p' "$work/log" | tail -n 1)
    figure "turns: p99.9" "$(awk -v t="${turn_us:-1e9}" 'BEGIN { print t / 1000 }')" ms 2
}

cut() {
    start --reactors-per-core 3 "${unlimited[@]}"
    taskset -c "$others_core" "$mida" load "$url" --idle --connections 50000 --for 600 --progress >/dev/null \
        2>"$work/progress" &
    crowd=$!
    until grep -q '50000 of 50000 open' "$work/progress"; do sleep 0.2; done
    # One after another, from before the cut until after all are gone.
    python3 benches/common/promptly.py taskset -c "$others_core" "$mida" load "$url" --storm --connections 1 --for 8 --json >"$work/served" &
    local asking=$!
    sleep 2
    kill -9 "$crowd"
    crowd=
    wait "$asking"
    stop
    echo "new clients  $(value "$work/served" storm.connections) came and went, failed $(value "$work/served" connections.failed)"
    figure "50,000 cut at once: the slowest new client" \
        "$(awk -v t="$(value "$work/served" connections.ready_us.max)" 'BEGIN { print t / 1000 }')" ms 100
    figure "new clients that failed" "$(value "$work/served" connections.failed)" "" 0
}

[ $# -gt 0 ] || set -- logins cut
for storm; do "$storm"; done
exit "$failed"
