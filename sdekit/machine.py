"""What this machine lets the process use: CPUs and memory."""

import contextlib
import functools
import math
import os
from pathlib import Path

__all__ = ["cpus", "memory"]


@functools.cache
def cpus():
    """CPUs that this process may use: its affinity, and no more than the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def _quota(root=Path("/sys/fs/cgroup")):
    """CPUs' worth of time that Linux grants the control group (versions 2 and 1), or inf."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max", which is no limit, nor is −1
            share, period = map(int, " ".join((root / name).read_text() for name in files).split())
            return share / period if share > 0 and period else math.inf
    return math.inf


def memory():
    """Bytes of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system: the allocation itself will tell
        return math.inf
