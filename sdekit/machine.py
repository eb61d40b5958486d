"""What this machine lets the process use: CPUs and memory."""

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
    try:
        share, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            share, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return math.inf
    try:
        quota = int(share) / int(period)  # "max" in version 2 and −1 in version 1 are no limit
    except (ValueError, ZeroDivisionError):
        return math.inf
    return quota if quota > 0 else math.inf


def memory():
    """Bytes of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system: the allocation itself will tell
        return math.inf
