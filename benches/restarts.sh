#!/usr/bin/env bash
# Restarts in a loop under load: see "Restart it" in README.md. Fails if a connect is refused or reset, an upgrade or
# a request from before a restart unanswered, or a notice lost.
#
#   benches/restarts.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."

MIDA_RESTARTS=${1-24} cargo test --locked --release --test restart -- --exact --nocapture \
    load::restarts_under_load_refuse_reset_and_lose_nothing
