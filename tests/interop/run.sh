#!/usr/bin/env bash
# Runs the Python and the Node client through the whole flow against the real server.
# Needs bash 4.1, python3 with venv, node 20.19 with npm, and cargo unless MIDA names a server's binary and
# SEALED that of examples/sealed.rs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
sealed_lines=$(mktemp)

stop_all() {
    local pid
    for pid in $(jobs -rp); do
        kill -KILL "$pid"
        wait "$pid" || true
    done
} 2>/dev/null
trap 'stop_all; rm -rf "$scratch" "$sealed_lines"' EXIT
trap 'exit 130' INT TERM HUP

# serve NAME FLAGS...: starts a server and adds its address and process to `servers`.
serve() {
    local name=$1 line='' stdout
    shift
    mkfifo "$scratch/$name.stdout"
    "$MIDA" --ephemeral "$@" >"$scratch/$name.stdout" 2>"$scratch/$name.stderr" &
    exec {stdout}<"$scratch/$name.stdout" # stays open: a server may go on to write
    if ! read -r -t 20 line <&"$stdout" || [[ $line != "listening on ws://"* ]]; then
        echo "the server '$name' did not start: $line" >&2
        cat "$scratch/$name.stderr" >&2
        exit 1
    fi
    servers+=$(printf '%s"%s":{"url":"%s","pid":%d,"config":"%s","log":"%s"}' "${servers:+,}" "$name" \
        "${line#listening on }" "$!" "$scratch/$name.toml" "$scratch/$name.stderr")
}

# against_servers COMMAND...: runs a client against servers of its own.
against_servers() {
    local servers='' listen=(--listen 127.0.0.1:0) name result=0
    for name in reload reload-batching; do
        printf '%s\n' 'listen = ["127.0.0.1:0"]' 'note = "before"' 'heartbeat = 30000' 'auth = "signature"' \
            >"$scratch/$name.toml"
    done
    echo 'batching = false' >>"$scratch/reload.toml"
    echo 'batching = true' >>"$scratch/reload-batching.toml"

    serve plain "${listen[@]}"
    serve batching "${listen[@]}" --batching
    serve public "${listen[@]}" --public-host chat.example
    serve bound "${listen[@]}" --bound-only
    serve key "${listen[@]}" --auth key
    serve key-required "${listen[@]}" --auth key --auth-within 2
    serve unlimited "${listen[@]}" --limit message_bytes=0 --limit batch_messages=0 \
        --limit challenge_ms=0 --limit auth_attempts=0
    serve maintenance "${listen[@]}" --maintenance-in 3600
    serve crowded "${listen[@]}" --limit limit_loopback=1 \
        --limit logins_per_address_per_s=2 --limit logins_per_address_burst=2
    serve required "${listen[@]}" --auth-within 2
    serve expiring "${listen[@]}" --limit challenge_ms=400
    serve expiring-required "${listen[@]}" --limit challenge_ms=400 --auth-within 60
    serve heartbeat "${listen[@]}" --heartbeat 300
    serve reload --config "$scratch/reload.toml"
    serve reload-batching --config "$scratch/reload-batching.toml"
    serve stopped "${listen[@]}"
    serve watched "${listen[@]}" --admin 127.0.0.1:0

    SERVERS="{$servers}" SEALED_LINES=$sealed_lines "$@" &
    wait $! || result=$? # in the background, so that a signal to this script ends it at once
    stop_all
    rm "$scratch"/*
    return "$result"
}

if [ -z "${MIDA:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml"
    MIDA=${CARGO_TARGET_DIR:-$here/../../target}/release/mida
fi
if [ -z "${SEALED:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml" --example sealed
    SEALED=${CARGO_TARGET_DIR:-$here/../../target}/release/examples/sealed
fi
"$SEALED" >"$sealed_lines"
[ -x "$here/.venv/bin/pip" ] || python3 -m venv "$here/.venv"
"$here/.venv/bin/pip" install --quiet --requirement "$here/python/requirements.txt"
npm ci --prefix "$here/node" --loglevel error --no-audit --no-fund

failed=0
against_servers "$here/.venv/bin/python" -B "$here/python/test_flow.py" || failed=1
against_servers node "$here/node/test_flow.js" || failed=1
exit "$failed"
