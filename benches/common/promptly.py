#!/usr/bin/env python3
"""Runs a command whose answers are timed, so that others on its core keep it waiting as little as may be.

promptly.py COMMAND [ARG ...]

At nice -10, or as it is where that is not allowed; and since Linux 6.12 with slices of 0.1 ms. The scheduler lets whoever
runs finish a slice, a millisecond or more whatever their priority, before one that wakes: not if the slice of that one
is shorter.
"""

import ctypes
import os
import platform
import struct
import sys

NICE = -10
SLICE_NS = 100_000
SYS_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}

try:
    nice = os.nice(NICE)
except PermissionError:
    nice = os.nice(0)
number = SYS_SCHED_SETATTR.get(platform.machine())
if number:
    # struct sched_attr (include/uapi/linux/sched/types.h): SCHED_OTHER, its runtime being the slice. Older kernels
    # know none and ignore it.
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, nice, 0, SLICE_NS, 0, 0)
    if ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0):
        sys.exit(f"promptly.py: sched_setattr: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
