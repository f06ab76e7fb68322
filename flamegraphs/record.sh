#!/usr/bin/env bash
# Records a flamegraph of the running server under one kind of load.
#
#   flamegraphs/record.sh SCENARIO [SECONDS] [IO]
#
# SCENARIO: accept-storm, login-storm, echo, sealed-broadcast or idle-heartbeats. The server runs on the first
# allowed core, the load on the second; perf samples the server by the CPU clock. Needs perf (Debian: linux-perf)
# and inferno (cargo install inferno). The graph goes to flamegraphs/SCENARIO.svg, the folded stacks it was drawn
# from to flamegraphs/SCENARIO.folded; with IO, epoll or uring, to SCENARIO-IO.
set -euo pipefail
cd "$(dirname "$0")/.."

scenario=${1:?usage: flamegraphs/record.sh SCENARIO [SECONDS]}
seconds=${2:-10}
name=$scenario${3:+-$3}
flags=(--io "${3:-epoll}" --cores 0 --limit member_messages_per_minute=0 --limit anonymous_messages_per_minute=0)
case $scenario in
    accept-storm) load=(--connections 500 --storm) ;;
    login-storm) load=(--connections 500 --storm --auth) ;;
    echo) load=(--connections 1000 --echo --auth --in-flight 8) ;;
    sealed-broadcast) load=(--connections 10000 --broadcast --auth) ;;
    idle-heartbeats) load=(--connections 15000 --idle); flags+=(--heartbeat 1000) ;;
    *) echo "record.sh: unknown scenario '$scenario'" >&2; exit 2 ;;
esac
for tool in perf inferno-collapse-perf inferno-flamegraph; do
    command -v "$tool" >/dev/null || { echo "record.sh: needs $tool" >&2; exit 2; }
done

cargo build --release --locked --bin mida
mida=target/release/mida
work=$(mktemp -d)
config=$work/mida.toml
note() { printf 'note = "%s"\n' "$(printf '%010d%0100d' "$1" 0)" >"$config"; }
note 0
exec 3< <(exec "$mida" --ephemeral --listen 127.0.0.1:0 --config "$config" "${flags[@]}" 2>"$work/log")
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
read -r -t 10 _ _ url <&3

taskset -c 1 "$mida" load "$url" "${load[@]}" --for "$((seconds + 5))" --server-pid "$server" --progress \
    >"$work/report" 2>"$work/progress" &
load_pid=$!
# The storm of connecting belongs to the storms alone: the others are sampled once everybody is there.
case $scenario in
    accept-storm | login-storm) ;;
    *) until grep -q measuring "$work/progress"; do sleep 0.2; done ;;
esac
if [[ $scenario == sealed-broadcast ]]; then
    # A new note is a push to everybody.
    (for ((n = 1; n <= seconds * 10; n++)); do note "$n"; kill -HUP "$server" || exit 0; sleep 0.1; done) &
    pushes=$!
fi
perf record --quiet -e cpu-clock -F 997 --call-graph dwarf,16384 -p "$server" -o "$work/perf.data" -- sleep "$seconds"
[[ -z ${pushes:-} ]] || wait "$pushes" || true
wait "$load_pid" || true
cat "$work/report"
perf script -i "$work/perf.data" --no-inline 2>/dev/null | inferno-collapse-perf >"flamegraphs/$name.folded"
inferno-flamegraph --title "mida: $name" --hash "flamegraphs/$name.folded" >"flamegraphs/$name.svg"
echo "flamegraphs/$name.svg: $(awk '{ sum += $NF } END { print sum }' "flamegraphs/$name.folded") samples"
