"""Reads the lines that compare.sh has written of ours and one peer, and prints a pair or the median ratio."""

import json
import statistics
import sys

what = sys.argv[1]
pairs = {}
for line in map(json.loads, sys.stdin):
    rate = line["report"]["server"]["per_cpu_second"]
    pairs.setdefault(line["pair"], {})["ours" if line["server"] == "ours" else "peer"] = rate
rates = [(pair["ours"], pair["peer"]) for pair in pairs.values()]
ratios = sorted(ours / peer for ours, peer in rates)
if "--pair" in sys.argv:
    ((ours, peer),) = rates
    print(f"  {what}: {ours:.0f} / {peer:.0f} = {ratios[0]:.3f}", flush=True)
else:
    at = lambda part: ratios[round((len(ratios) - 1) * part)]
    ours, peer = (statistics.median(of) for of in zip(*rates))
    print(f"{what}: median {at(0.5):.3f}, quartiles {at(0.25):.3f} to {at(0.75):.3f}; medians {ours:.0f} / {peer:.0f}", flush=True)
