# For scripts that measure a server of their own: source it from the root, with `mida` naming the binary.
# `work` is a folder that goes away with the script, as the processes named in `server` and `crowd` do.

work=$(mktemp -d)
server= crowd=
trap 'for one in $server $crowd; do kill "$one" 2>/dev/null || true; done; rm -rf "$work"' EXIT
failed=0
# Two processors at least: the server on the first, everybody else on the second.
IFS=, read -ra cores < <(taskset -cp $$ | sed 's/.*: //; s/-/,/')
server_core=${cores[0]} others_core=${cores[1]-${cores[0]}}
# No bound on how often a client may ask.
unlimited=(--limit anonymous_messages_per_minute=0 --limit member_messages_per_minute=0)

# start FLAGS...: a server on its core, on what MIDA_IO names; sets `server` and `url`. Its log is "$work/log".
start() {
    mkfifo "$work/out"
    "$mida" --ephemeral --cores "$server_core" --listen 127.0.0.1:0 ${MIDA_IO:+--io "$MIDA_IO"} "$@" >"$work/out" 2>"$work/log" &
    server=$!
    read -r _ _ url <"$work/out"
    rm "$work/out"
}

stop() {
    kill "$server"
    wait "$server" || true
    server=
}

# kilobytes NAME: of the server's memory, as the kernel adds it up.
kilobytes() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$server/smaps_rollup"; }

# value FILE PATH: a number of a report.
value() { python3 -c 'import json, sys; v = json.load(open(sys.argv[1]))
for name in sys.argv[2].split("."): v = v[name]
print(v)' "$1" "$2"; }

# figure NAME VALUE UNIT BOUND
figure() {
    local says=ok
    awk -v v="$2" -v b="$4" 'BEGIN { exit !(v > b) }' && says="OVER" && failed=1
    printf '%-52s %12.2f %s  at most %.2f  %s\n' "$1" "$2" "$3" "$4" "$says"
}
