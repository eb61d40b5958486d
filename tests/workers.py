"""Processes that tests start, or that those start."""

import os
import time
from pathlib import Path


def children(number):
    """The processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def all_ended(numbers, seconds=60):
    """Whether these processes end, in some seconds."""
    until = time.monotonic() + seconds
    while any(map(_alive, numbers)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(_alive, numbers))


def _alive(number):
    try:
        os.kill(number, 0)
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
