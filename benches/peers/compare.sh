#!/usr/bin/env bash
# Echoes per second of the server's processor time: examples/echo.rs against other servers, in alternating pairs.
#
#   benches/peers/compare.sh [--pairs 9] [--seconds 3] [--connections 1000] [--in-flight "1 8"] [--io epoll] [--raw FILE]
#       [PEER...]
#
# PEER: fastwebsockets, tokio-tungstenite, bare (an epoll loop that stops at a short read), bare-to-the-end (one
# that reads until nothing is left), bare-uring (an io_uring loop with one call a turn) or epoll (ours on epoll,
# whatever --io says); the first five unless named. `--io uring` is ours on io_uring. The server runs on the first allowed core, `mida
# load` on the second; a message has 200 bytes. Each pair is printed as it is measured, then the median ratio and the
# quartiles. FILE gets a line of JSON for each run: what was measured, and the whole report of `mida load`.
set -euo pipefail
cd "$(dirname "$0")/../.."

pairs=9 seconds=3 connections=1000 in_flight="1 8" io=epoll raw=target/peers/raw.jsonl
while [[ ${1-} == --* ]]; do
    case $1 in
        --pairs) pairs=$2 ;;
        --seconds) seconds=$2 ;;
        --connections) connections=$2 ;;
        --in-flight) in_flight=$2 ;;
        --io) io=$2 ;;
        --raw) raw=$2 ;;
        *) echo "compare.sh: unknown flag $1" >&2; exit 2 ;;
    esac
    shift 2 || { echo "compare.sh: a flag without its value" >&2; exit 2; }
done
peers=("$@")
((${#peers[@]})) || peers=(fastwebsockets tokio-tungstenite bare bare-to-the-end bare-uring)

mida=target/release/mida
program() {
    case $1 in
        ours) echo "target/release/examples/echo --listen 127.0.0.1:0 --io $io" ;;
        epoll) echo "target/release/examples/echo --listen 127.0.0.1:0 --io epoll" ;;
        fastwebsockets | tokio-tungstenite | bare) echo "target/peers/release/$1" ;;
        bare-to-the-end) echo target/peers/release/bare --until-would-block ;;
        bare-uring) echo target/peers/release/bare-uring --together 128 ;;
        *) echo "compare.sh: there is no peer $1" >&2; exit 2 ;;
    esac
}
for peer in "${peers[@]}"; do program "$peer" >/dev/null; done

cargo build --quiet --release --locked --bin mida --example echo
cargo build --quiet --release --locked --manifest-path benches/peers/Cargo.toml --target-dir target/peers

# Like 0-3,8: the first two of them.
IFS=, read -ra allowed < <(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status)
cores=()
for range in "${allowed[@]}"; do
    mapfile -O ${#cores[@]} -t cores < <(seq "${range%-*}" "${range#*-}")
done
server_core=${cores[0]} load_core=${cores[1]-${cores[0]}}

server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true' EXIT

# run PEER IN_FLIGHT PAIR: a new server, one load, a line for $raw.
run() {
    local command url
    read -ra command < <(program "$1")
    exec 3< <(exec taskset -c "$server_core" "${command[@]}")
    server=$!
    read -r -t 10 _ _ url <&3
    taskset -c "$load_core" "$mida" load "$url" --plain --echo --bytes 200 --connections "$connections" \
        --in-flight "$2" --for "$seconds" --server-pid "$server" --json |
        sed "s/^/{\"server\": \"$1\", \"io\": \"$io\", \"in_flight\": $2, \"pair\": $3, \"report\": /; s/\$/}/" >>"$raw"
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=
    exec 3<&-
}

mkdir -p "$(dirname "$raw")"
: >"$raw"
echo "$connections connections, 200 bytes, $pairs pairs of $seconds s; echoes per server CPU second"
for peer in "${peers[@]}"; do
    for count in $in_flight; do
        start=$(($(wc -l <"$raw") + 1))
        for ((pair = 1; pair <= pairs; pair++)); do
            # Whoever comes first meets another state of the machine: they take turns.
            if ((pair % 2)); then order=(ours "$peer"); else order=("$peer" ours); fi
            for who in "${order[@]}"; do run "$who" "$count" "$pair"; done
            tail -n 2 "$raw" | python3 benches/peers/ratio.py "ours ($io) / $peer, $count in flight" --pair
        done
        tail -n "+$start" "$raw" | python3 benches/peers/ratio.py "ours ($io) / $peer, $count in flight"
    done
done
echo "raw data: $raw"
