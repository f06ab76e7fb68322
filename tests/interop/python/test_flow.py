"""Runs every check against the servers that run.sh started."""

import asyncio
import importlib
import sys

import harness

for topic in "start", "sealed", "login", "modes", "batches", "mistakes", "connection", "metrics":
    importlib.import_module(f"test_{topic}")  # registers its checks

sys.exit(1 if asyncio.run(harness.run()) else 0)
