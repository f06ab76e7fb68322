#!/usr/bin/env python3
"""Reads what `benches/attack.sh` has collected in a folder.

report.py pair FOLDER PAIR SECONDS   a line of figures for each of the two runs of a pair
report.py all FOLDER PAIRS ATTACKERS MORE_KB
                                     the last attack line by line, and the figures over all pairs; exits 1 if one is over
                                     its bound. The server may grow by MORE_KB.
"""

import json
import re
import statistics
import sys

TIMES = "p50", "p99", "p99.9", "max"


def text(folder, pair, name, what):
    with open(f"{folder}/{pair}-{name}.{what}") as file:
        return file.read()


def number(*where):
    return float(text(*where))


def report(folder, pair, name):
    return json.loads(text(folder, pair, name, "json"))


def turns(folder, pair, name):
    """Of all turns, in microseconds."""
    told = dict(part.split("=") for part in text(folder, pair, name, "turns").split())
    return float(told["p999_us"]), float(told["max_us"])


def metrics(folder, pair, what):
    page = {}
    for line in text(folder, pair, "attacked", what).splitlines():
        if not line.startswith("#"):
            sample, value = line.rsplit(" ", 1)
            page[sample] = float(value)
    return page


def show(folder, pair, seconds):
    if pair == "1":
        print("µs              echoes" + "".join(f"{time:>9}" for time in TIMES), end="")
        print("   turns    p99.9      max   left late p99   stolen from the core")
    for name in "quiet", "attacked":
        echo = report(folder, pair, name)["echo"]
        times = "".join(f"{echo['latency_us'][time]:9.0f}" for time in TIMES)
        p999, most = turns(folder, pair, name)
        stolen = number(folder, pair, name, "stolen") / float(seconds)
        late = echo["late_us"]["p99"]
        print(f"{pair:>2} {name:<19}{times}        {p999:9.0f}{most:9.0f}{late:16.0f}{stolen:21.1f} %")


def growth(folder, pair):
    """Of each metric, under attack."""
    before, after = (metrics(folder, pair, what) for what in ("before", "after"))
    return {name: value - before.get(name, 0) for name, value in after.items()}


def lines(folder, pair):
    print("\nThe last attack:")
    print(text(folder, pair, "attacked", "lines"), end="")
    grown = growth(folder, pair)
    ended = []
    for name, value in grown.items():
        labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
        if value and name.startswith("mida_closes_total"):
            ended.append(f'{labels["code"]} by {labels["by"]} {value:.0f}')
        if value and name.startswith("mida_refusals_total"):
            ended.append(f'{labels["status"]} {value:.0f}')
    print("ends: " + ", ".join(ended))
    counted = "accepted", "received_events", "derivations", "verifications", "strikes", "panics"
    of = 'mida_{}_total{{reactor="0"}}'
    print(", ".join(f"{name} {grown[of.format(name)]:.0f}" for name in counted))


def figure(name, values, unit, bound, over=statistics.median):
    """One line, of the median or of what else counts; whether it keeps its bound."""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    value = over(values)
    keeps = value <= bound
    print(f"{name:<52}{value:10.2f} {unit}  at most {bound:.2f}  {'ok' if keeps else 'OVER'}", end="")
    print(f"   quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f}" if over is statistics.median else "")
    return keeps


def judge(folder, pairs, attackers, more_kb):
    pairs = range(1, int(pairs) + 1)
    p99 = {
        name: [report(folder, pair, name)["echo"]["latency_us"]["p99"] / 1e3 for pair in pairs]
        for name in ("quiet", "attacked")
    }
    grown = [attacked - quiet for quiet, attacked in zip(p99["quiet"], p99["attacked"])]
    # Who attacks comes back: a run that few came to was no attack.
    accepted = [growth(folder, pair)['mida_accepted_total{reactor="0"}'] for pair in pairs]
    failed = [report(folder, pair, "attacked")["connections"]["failed"] for pair in pairs]
    begun, most = ([number(folder, pair, "attacked", what) / 1024 for pair in pairs] for what in ("begun", "most"))
    bound = max(begun) + float(more_kb) / 1024
    print()
    kept = [
        figure("attack: how few connections, of those who attack", [int(attackers) / max(n, 1) for n in accepted], "", 1, max),
        figure("turns under attack: p99.9", [turns(folder, pair, "attacked")[0] / 1e3 for pair in pairs], "ms", 2),
        figure("echoes: p99 under attack over p99 alone", grown, "ms", 1),
        figure("echoes: connections that failed", failed, "", 0, sum),
        figure("memory: the most, of what limits allow", most, "MiB", bound, max),
        figure("memory: what limits allow", [bound], "MiB", 256, max),
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    if what == "pair":
        show(folder, *rest)
    else:
        lines(folder, rest[0])
        sys.exit(judge(folder, *rest))
