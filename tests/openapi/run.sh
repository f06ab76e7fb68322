#!/usr/bin/env bash
# Holds the server to docs/openapi.yaml with data that it allows and data that it does not: no answer of a kind that is
# not in there, no failure, and nothing taken that is not to be. The same requests every time; a minute at most.
# Needs bash 4.1, python3 with venv, and cargo unless MIDA names a server's binary.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
scratch=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill -KILL "$server" && wait "$server" || true
    rm -rf "$scratch"
} 2>/dev/null
trap stop EXIT
trap 'exit 130' INT TERM HUP

if [ -z "${MIDA:-}" ]; then
    cargo build --release --quiet --manifest-path "$root/Cargo.toml"
    MIDA=${CARGO_TARGET_DIR:-$root/target}/release/mida
fi
[ -x "$here/.venv/bin/pip" ] || python3 -m venv "$here/.venv"
"$here/.venv/bin/pip" install --quiet --requirement "$here/requirements.txt"

token=openapi-test-token
(umask 077 && echo "$token" >"$scratch/token")
mkfifo "$scratch/stdout"
"$MIDA" --listen 127.0.0.1:0 --data "$scratch/data" --admin 127.0.0.1:0 --admin-token "$scratch/token" \
    >"$scratch/stdout" 2>"$scratch/stderr" &
server=$!
# The line says that all addresses are there.
if ! read -r -t 20 _ <"$scratch/stdout"; then
    cat "$scratch/stderr" >&2
    exit 1
fi
url=$(sed -n 's|.*admin on \(http://[0-9.:]*\).*|\1|p' "$scratch/stderr")

checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth
cd "$scratch" # where it leaves what it remembers
timeout 55 "$here/.venv/bin/schemathesis" run "$here/../../docs/openapi.yaml" --url "$url" \
    --header "Authorization: Bearer $token" --checks "$checks" --mode all --phases examples,coverage,fuzzing \
    --max-examples 100 --seed 1 --request-timeout 10 --suppress-health-check all --no-color
kill -0 "$server" # it lives
