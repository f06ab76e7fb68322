#!/usr/bin/env bash
# All 301 cases of Autobahn|Testsuite, its large messages (9.*) too, against `examples/echo`, strictly: a case that
# is NON-STRICT fails, and one that the server answers with no close frame.
#
#   cargo build --release --examples && tests/conformance.sh SUITE [REPORT]
#
# SUITE has `wstest.sh URL REPORT --strict`; REPORT is a folder to make, by default a temporary one.
# The server is $ECHO, or target/release/examples/echo, on epoll or what $ECHO_IO names.
set -euo pipefail

[[ $# -ge 1 ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
cd "$(dirname "$0")/.."
cases=301
suite=$1
report=${2:-$(mktemp -d)/report}
mkdir -p "$report"

# Messages of 16 MiB, in up to 65,536 fragments, from a slow client. No pings: in 6.4.3 and 6.4.4 the suite answers
# one in the middle of a frame that it has begun.
limits=(message_bytes=16777216 queue_soft_bytes=50331648 queue_hard_bytes=50331648 fragments=0 message_ms=0)
exec 3< <(exec "${ECHO:-target/release/examples/echo}" --listen 127.0.0.1:0 --io "${ECHO_IO:-epoll}" --heartbeat-ms 0 \
    "${limits[@]/#/--limit=}")
echo=$!
trap 'kill "$echo" 2>/dev/null || true' EXIT
read -r -t 10 _ _ url <&3

status=0
WSTEST_HOME=${WSTEST_HOME:-$PWD/target/wstest} "$suite/wstest.sh" "$url" "$report" --strict || status=$?
((status < 2)) || exit "$status"
grep -q "($cases cases: " "$report/summary.txt" || { echo "not $cases cases" >&2; status=1; }
! grep -A 2 'without a close frame' "$report/summary.txt" >&2 || status=1
exit "$status"
