#!/usr/bin/env bash
# What an attack does to everybody else: see "Attack" in README.md. Exits 1 if a figure is over its bound.
#
#   benches/attack.sh [--pairs 9] [--seconds 10]
#
# 1,000 members ask at a fixed rate, once alone and once while 1,000 connections of another process do what hostile
# peers do, all of it together; a new server each time, in alternating pairs.
set -euo pipefail
cd "$(dirname "$0")/.."

pairs=9 seconds=10
while (($#)); do
    case $1 in
        --pairs) pairs=${2:?a number} ;;
        --seconds) seconds=${2:?a number} ;;
        *) echo "attack.sh: unknown flag $1" >&2; exit 2 ;;
    esac
    shift 2
done
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

# Hundredths of a second in which the server's core was not this machine's to use.
stolen() { awk -v name="cpu$server_core" '$1 == name { print $9 }' /proc/stat; }

# until_says WORD: those who are honest are so far.
until_says() {
    until grep -q "$1" "$work/progress"; do
        kill -0 "$asking" 2>/dev/null || { cat "$work/progress"; exit 1; }
        sleep 0.02
    done
}

# run NAME: a server, and those who are honest, 50 from an address; NAME ends in `attacked` if others are there too. What
# is measured begins when all have logged in and been there for 3 s, and an attack a second before.
run() {
    local to=$work/$1 asking stolen
    taskset -cp "$server_core,$others_core" $$ >/dev/null
    start "${limits[@]}"
    # Nothing of this script is on the server's core from here on.
    taskset -cp "$others_core" $$ >/dev/null
    kilobytes Rss >"$to.begun"
    : >"$work/progress"
    python3 benches/common/promptly.py taskset -c "$others_core" "$mida" load "$url" --echo --auth --connections "$CLIENTS" --rate "$RATE" \
        --sources 20 --rest 3 --for "$seconds" --json --progress >"$to.json" 2>"$work/progress" &
    asking=$!
    until_says resting
    scrape "$to.before"
    sleep 2
    if [[ $1 == *attacked ]]; then
        nice -n 19 taskset -c "$others_core" cargo bench --quiet --bench attack -- \
            against "${url#ws://}" "$ATTACKERS" "$((seconds + 1))" >"$to.lines" &
        crowd=$!
    fi
    until_says measuring
    stolen=$(stolen)
    wait "$asking" || { cat "$to.json"; exit 1; }
    echo $(($(stolen) - stolen)) >"$to.stolen"
    # The kernel's high-water mark. Whoever looks at a process's pages meanwhile keeps it from getting more of them.
    awk '$1 == "VmHWM:" { print $2 }' "/proc/$server/status" >"$to.most"
    scrape "$to.after"
    if [[ -n $crowd ]]; then
        wait "$crowd" || { echo "attack.sh: the attack ended early" >&2; exit 1; }
        crowd=
    fi
    stop
    grep -o 'turns=.*' "$work/log" >"$to.turns"
}

for ((pair = 1; pair <= pairs; pair++)); do
    # Whoever comes first meets another state of the machine: they take turns.
    if ((pair % 2)); then order=(quiet attacked); else order=(attacked quiet); fi
    for name in "${order[@]}"; do run "$pair-$name"; done
    python3 benches/attack/report.py pair "$work" "$pair" "$seconds"
done
# A connection is 253 bytes in the server (Sizing in README.md). What is queued may cost as much again: a small
# answer has a node and an allocation of its own. One read at a time may go over the bound before it is held to
# it, and what a turn works with is kept for the next one.
python3 benches/attack/report.py all "$work" "$pairs" "$ATTACKERS" $(((2 * queue_bytes + connections * 253 >> 10) + 8192))
