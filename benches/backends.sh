#!/usr/bin/env bash
# The server on io_uring over the same on epoll, in alternating pairs: medians and quartiles of the ratios.
#
#   benches/backends.sh [--pairs 9] [--seconds 3] [--connections 1000] [--raw FILE] [WHAT...]
#
# WHAT, all unless named: `echo` (200 bytes, one and eight in flight on each connection, per second of the server's
# processor), `broadcast` (sealed, to 10,000), `accept` (a storm of connections and upgrades), `calls` (system calls for
# 1,000 echoes, by strace), `idle` (bytes that a quiet connection takes in the kernel, and in the server as the slope from
# 5,000 to 19,000 of them). The server has the first allowed core, its clients the second. FILE gets a line of JSON for
# each run of `echo`.
set -euo pipefail
cd "$(dirname "$0")/.."

pairs=9 seconds=3 connections=1000 raw=target/backends.jsonl
while [[ ${1-} == --* ]]; do
    case $1 in
        --pairs) pairs=$2 ;;
        --seconds) seconds=$2 ;;
        --connections) connections=$2 ;;
        --raw) raw=$2 ;;
        *) echo "backends.sh: unknown flag $1" >&2; exit 2 ;;
    esac
    shift 2 || { echo "backends.sh: a flag without its value" >&2; exit 2; }
done
what=("$@")
((${#what[@]})) || what=(echo broadcast accept calls idle)

mida=target/release/mida echo=target/release/examples/echo
cargo build --quiet --release --locked --bin mida --example echo

# Like 0-3,8: the first two of them.
IFS=, read -ra allowed < <(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status)
cores=()
for range in "${allowed[@]}"; do
    mapfile -O ${#cores[@]} -t cores < <(seq "${range%-*}" "${range#*-}")
done
server_core=${cores[0]} load_core=${cores[1]-${cores[0]}}

server= work=$(mktemp -d)
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

# start PROGRAM IO FLAGS...: sets `server` and `url`.
start() {
    local program=$1 io=$2
    shift 2
    exec 3< <(exec taskset -c "$server_core" "$program" --listen 127.0.0.1:0 --cores "$server_core" --io "$io" "$@" 2>"$work/log")
    server=$!
    read -r -t 10 _ _ url <&3 || { cat "$work/log" >&2; exit 1; }
}

stop() {
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=
    exec 3<&-
}

load() { taskset -c "$load_core" "$mida" load "$url" "$@"; }

# run IO IN_FLIGHT PAIR: a new server, one load, a line for $raw.
run() {
    start "$echo" "$1"
    local name=peer
    [[ $1 == epoll ]] || name=ours
    load --plain --echo --bytes 200 --connections "$connections" --in-flight "$2" --for "$seconds" \
        --server-pid "$server" --json |
        sed "s/^/{\"server\": \"$name\", \"io\": \"$1\", \"in_flight\": $2, \"pair\": $3, \"report\": /; s/\$/}/" >>"$raw"
    stop
}

echoes() {
    mkdir -p "$(dirname "$raw")"
    : >"$raw"
    echo "$connections connections, 200 bytes, $pairs pairs of $seconds s; echoes per server CPU second"
    for count in 1 8; do
        local start=$(($(wc -l <"$raw") + 1))
        for ((pair = 1; pair <= pairs; pair++)); do
            # Whoever comes first meets another state of the machine: they take turns.
            if ((pair % 2)); then order=(uring epoll); else order=(epoll uring); fi
            for io in "${order[@]}"; do run "$io" "$count" "$pair"; done
            tail -n 2 "$raw" | python3 benches/peers/ratio.py "echo, io_uring / epoll, $count in flight" --pair
        done
        tail -n "+$start" "$raw" | python3 benches/peers/ratio.py "echo, io_uring / epoll, $count in flight"
    done
}

# calls IO: system calls of a server for 1,000 echoes, its whole life counted.
calls() {
    start "$echo" "$1"
    strace -f -c -o "$work/calls" -p "$server" 2>/dev/null &
    local tracer=$! echoed
    until grep -q "TracerPid:[[:space:]]*[1-9]" "/proc/$server/status"; do :; done
    echoed=$(load --plain --echo --bytes 200 --connections "$connections" --in-flight 1 --for "$seconds" --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["echo"]["answered"])')
    stop
    wait "$tracer" || true
    awk -v echoed="$echoed" '$NF == "total" { printf "%.1f", $4 == "total" ? 1000 * $3 / echoed : 1000 * $4 / echoed }' "$work/calls"
}

# quiet IO CONNECTIONS FLAGS...: a server whose connections have each come from an address of their own and said nothing for
# 7 s; prints its anonymous memory in kB, and the bytes of the kernel's slabs for each connection, at both ends of loopback.
# Only slabs of which each connection has at least half an object count: others come and go with the machine.
quiet() {
    local io=$1 many=$2
    shift 2
    start "$mida" "$io" --ephemeral --heartbeat 600000 --limit limit_loopback=1 --limit connections_per_address=0 \
        --limit logins_per_address_per_s=0
    cat /proc/slabinfo >"$work/before"
    load --connections "$many" --sources "$many" --idle --for 9 --progress "$@" >"$work/report" 2>"$work/progress" &
    local loader=$! anonymous
    until grep -q measuring "$work/progress"; do
        kill -0 "$loader" 2>/dev/null || { cat "$work/report" "$work/progress" >&2; exit 1; }
        sleep 0.1
    done
    sleep 7
    cat /proc/slabinfo >"$work/after"
    anonymous=$(awk '$1 == "Anonymous:" { print $2 }' "/proc/$server/smaps_rollup")
    wait "$loader"
    stop
    awk -v many="$many" -v anonymous="$anonymous" '
        $2 !~ /^[0-9]+$/ { next }
        NR == FNR { before[$1] = $2; next }
        $2 - before[$1] > many / 2 { kernel += ($2 - before[$1]) * $4 }
        END { printf "%d %d\n", anonymous, kernel / many }' "$work/before" "$work/after"
}

# idle NAME FLAGS...: what each of 14,000 quiet connections takes, on both.
idle() {
    local name=$1 few=5000 many=19000 io less more kernel
    shift
    for io in epoll uring epoll uring; do
        read -r less _ < <(quiet "$io" "$few" "$@")
        read -r more kernel < <(quiet "$io" "$many" "$@")
        awk -v io="$io" -v name="$name" -v less="$less" -v more="$more" -v each=$((many - few)) -v kernel="$kernel" 'BEGIN {
            printf "idle, %s, %s: %.1f bytes of the server (%d and %d kB), ", name, io, (more - less) * 1024 / each, less, more
            printf "%d of the kernel at both ends of loopback\n", kernel }'
    done
}

for one in "${what[@]}"; do
    case $one in
        echo) echoes ;;
        broadcast) cargo bench --quiet --locked --bench delivery -- --backends --pairs "$pairs" --seconds "$seconds" ;;
        accept) cargo bench --quiet --locked --bench accept -- --backends --pairs "$pairs" ;;
        calls)
            command -v strace >/dev/null || { echo "skipped: calls, since there is no strace"; continue; }
            echo "system calls per 1,000 echoes, one in flight: io_uring $(calls uring), epoll $(calls epoll)"
            ;;
        idle)
            [[ -r /proc/slabinfo ]] || { echo "skipped: idle, since only root may read /proc/slabinfo"; continue; }
            idle "nobody logged in"
            idle "all logged in" --auth
            ;;
        *) echo "backends.sh: there is no $one" >&2; exit 2 ;;
    esac
done
