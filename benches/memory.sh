#!/bin/bash
# Memory of a server: bytes a connection, whether messages change it, and what is left when all have gone.
# See "Memory" in README.md. Exits 1 if a figure is over its bound.
#
#   benches/memory.sh [BINARY]
set -euo pipefail
cd "$(dirname "$0")/.."

FEW=${FEW:-5000}
MANY=${MANY:-19000}
# Source addresses: each costs the server an entry. As many as connections is the worst.
SOURCES=${SOURCES:-$MANY}
LIMITS=(--limit limit_loopback=1 --limit connections_per_address=0 --limit logins_per_address_per_s=0)

mida=${1:-}
if [ -z "$mida" ]; then
    cargo build --release --quiet
    mida=target/release/mida
fi
. benches/common/server.sh

# load CONNECTIONS SECONDS FLAGS...: each asks once a second; returns when all are connected.
load() {
    : >"$work/progress"
    "$mida" load "$url" --connections "$1" --echo --rate "$1" --for "$2" --sources "$SOURCES" --progress \
        "${@:3}" >"$work/report" 2>"$work/progress" &
    loader=$!
    until grep -q measuring "$work/progress"; do
        kill -0 "$loader" 2>/dev/null || { cat "$work/report" "$work/progress"; exit 1; }
        sleep 0.05
    done
}

end_load() {
    wait "$loader" || { cat "$work/report"; exit 1; }
    # Its connections have gone; what the server gives back may take a moment.
    sleep 2
}

# row WHAT VALUE UNIT MOST
row() {
    local verdict=ok
    if awk "BEGIN { exit !($2 > $4) }"; then
        verdict=FAILED
        failed=1
    fi
    printf '%-14s %-44s %9.1f %-6s at most %7.1f   %s\n' "$kind" "$1" "$2" "$3" "$4" "$verdict"
}

# measure KIND BYTES FLAGS...
measure() {
    kind=$1
    local most=$2 few many later resident start_resident start_anonymous
    shift 2
    start "${LIMITS[@]}" "${unlimited[@]}"
    load "$FEW" 4 "$@"
    sleep 2
    few=$(kilobytes Anonymous)
    end_load
    stop

    start "${LIMITS[@]}" "${unlimited[@]}"
    load 100 1 "$@"
    end_load
    start_resident=$(kilobytes Rss) start_anonymous=$(kilobytes Anonymous)
    load "$MANY" 14 "$@"
    sleep 2
    many=$(kilobytes Anonymous) resident=$(kilobytes Rss)
    sleep 10.5
    later=$(kilobytes Anonymous)
    end_load
    local end_resident end_anonymous
    end_resident=$(kilobytes Rss) end_anonymous=$(kilobytes Anonymous)
    stop
    row "each, slope from $FEW to $MANY" "$(awk "BEGIN { print ($many - $few) * 1024 / ($MANY - $FEW) }")" bytes "$most"
    row "each, after 10 more echoes" "$(awk "BEGIN { print ($later - $many) * 1024 / $MANY }")" bytes 1
    row "resident, all gone, to the start" "$(awk "BEGIN { print 100 * $end_resident / $start_resident }")" % 110
    echo "               resident   $start_resident kB at the start, $resident with $MANY, $end_resident when all had gone"
    echo "               anonymous  $start_anonymous kB at the start, $many with $MANY, $end_anonymous when all had gone"
}

measure anonymous 96
measure authenticated 256 --auth
exit $failed
