#!/usr/bin/env bash
# What an attack does to everybody else: see "Attack" in README.md. Exits 1 if a figure is over its bound.
#
#   benches/attack.sh [SECONDS]
#
# 1,000 members ask at a fixed rate, first alone and then while 1,000 connections of another process do what
# hostile peers do, all of it together.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
CLIENTS=${CLIENTS:-1000}
ATTACKERS=${ATTACKERS:-1000}
RATE=${RATE:-5000}

cargo build --release --quiet
cargo bench --quiet --no-run --bench attack
mida=target/release/mida
. benches/common/server.sh

# Each address is held to its share, also those of this machine, and the rest is as it comes, but for the rates:
# they would end lines 36 and 38 before they begin.
connections=4096 queue_bytes=$((64 << 20))
limits=("${unlimited[@]}" --limit limit_loopback=1 --limit "reactor_queue_bytes=$queue_bytes"
    --max-connections "$connections" --admin 127.0.0.1:0)

scrape() { curl -s --fail "$(sed -n 's/.*admin on \(http.*\)/\1/p' "$work/log")/metrics" >"$1"; }

# echoes NAME: those who are honest, 50 from an address; returns when all have logged in, and been there for a while.
echoes() {
    : >"$work/progress"
    $(first) taskset -c "$others_core" "$mida" load "$url" --echo --auth --connections "$CLIENTS" --rate "$RATE" \
        --sources 20 --rest 3 --for "$seconds" --json --progress >"$work/$1" 2>"$work/progress" &
    asking=$!
    until grep -q measuring "$work/progress"; do
        kill -0 "$asking" 2>/dev/null || { cat "$work/$1" "$work/progress"; exit 1; }
        sleep 0.02
    done
}

# alone FLAGS...: a server as `start` does, and nothing of this script on its core from then on.
alone() {
    taskset -cp "$server_core,$others_core" $$ >/dev/null
    start "$@"
    taskset -cp "$others_core" $$ >/dev/null
}

alone "${limits[@]}"
echoes quiet
wait "$asking"
stop
quiet_turns=$(grep -o 'turns=.*' "$work/log")

alone "${limits[@]}"
begun=$(kilobytes Rss)
echoes attacked
scrape "$work/before"
nice -n 19 taskset -c "$others_core" cargo bench --quiet --bench attack -- \
    against "${url#ws://}" "$ATTACKERS" "$seconds" >"$work/attack" &
crowd=$!
wait "$asking"
# The kernel's high-water mark. Whoever looks at a process's pages meanwhile keeps it from getting more of them.
rss=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$server/status")
scrape "$work/after"
wait "$crowd" || true
crowd=
stop
attacked_turns=$(grep -o 'turns=.*' "$work/log")

cat "$work/attack"
echo
# A connection is 253 bytes in the server (Sizing in README.md). What is queued may cost as much again: a small
# answer has a node and an allocation of its own. One read at a time may go over the bound before it is held to
# it, and what a turn works with is kept for the next one.
bound=$((begun + (2 * queue_bytes + connections * 253 >> 10) + 8192))
python3 - "$work" "$quiet_turns" "$attacked_turns" <<'PY'
import json, re, sys

work, *logs = sys.argv[1:]

def metrics(name):
    page = {}
    for line in open(f"{work}/{name}"):
        if not line.startswith("#"):
            sample, value = line.rsplit(" ", 1)
            page[sample] = float(value)
    return page

before, after = metrics("before"), metrics("after")
rows = [("", "p50", "p99", "p99.9", "max")]
for name in "quiet", "attacked":
    echo = json.load(open(f"{work}/{name}"))["echo"]
    for what, times in ("echoes", "latency_us"), ("of which left late", "late_us"):
        told = (f"{echo[times][key]:.0f}" for key in ("p50", "p99", "p99.9", "max"))
        rows.append((f"{what}, {name}, µs", *told))
for name, log in zip(("quiet", "attacked"), logs):
    told = dict(part.split("=") for part in log.split())
    rows.append((f"turns, {name}, µs", "", "", told["p999_us"], told["max_us"]))

# By the buckets of /metrics: what so many turns did not exceed.
def turns(share):
    of = "mida_turn_seconds_bucket"
    grown = {name: after[name] - before[name] for name in after if name.startswith(of)}
    most = max(grown.values())
    return next(re.search('le="(.*)"', name)[1] for name, count in grown.items() if count >= share * most)

rows.append(("turns, attacked, ms, at most", *(
    f"{float(turns(share)) * 1e3:g}" for share in (0.5, 0.99, 0.999, 1))))
for row in rows:
    print("{:<32}{:>10}{:>10}{:>10}{:>10}".format(*row))
ended = []
for name, value in after.items():
    value -= before.get(name, 0)
    labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
    if value and name.startswith("mida_closes_total"):
        ended.append(f'{labels["code"]} by {labels["by"]} {value:.0f}')
    if value and name.startswith("mida_refusals_total"):
        ended.append(f'{labels["status"]} {value:.0f}')
print("ends: " + ", ".join(ended))
grown = lambda name: after[name + '{reactor="0"}'] - before[name + '{reactor="0"}']
print("accepted {:.0f}, events {:.0f}, derivations {:.0f}, verifications {:.0f}, strikes {:.0f}, panics {:.0f}".format(
    *(grown(f"mida_{name}_total")
      for name in ("accepted", "received_events", "derivations", "verifications", "strikes", "panics"))))
PY
echo "memory: Rss $begun kB at the start, at most $rss kB; bound $bound kB"
echo
more=$(awk -v a="$(value "$work/attacked" echo.latency_us.p99)" -v b="$(value "$work/quiet" echo.latency_us.p99)" \
    'BEGIN { print (a - b) / 1000 }')
turn_us=$(sed 's/.*p999_us=\([0-9.]*\).*/\1/' <<<"$attacked_turns")
figure "turns: p99.9" "$(awk -v t="$turn_us" 'BEGIN { print t / 1000 }')" ms 2
figure "echoes: p99 under attack over p99 alone" "$more" ms 1
figure "echoes: connections that failed" "$(value "$work/attacked" connections.failed)" "" 0
figure "memory: the most, of what limits allow" "$(awk -v m="$rss" 'BEGIN { print m / 1024 }')" MiB \
    "$(awk -v b="$bound" 'BEGIN { print b / 1024 }')"
figure "memory: what limits allow" "$(awk -v b="$bound" 'BEGIN { print b / 1024 }')" MiB 256
exit "$failed"
