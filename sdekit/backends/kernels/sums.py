"""Sums and counts over the paths of a block, for the statistics of ensembles.

Plain floating-point arithmetic in an order of its own, nothing reassociated or contracted: the same bits on any
machine. A sum has LANES partial sums, which become vector instructions, added in order.
"""

import threading

import numpy as np
from numba import njit

from ..waiting import apart

__all__ = ["compiled"]

LANES = 16
OPTIONS = {"nogil": True, "error_model": "numpy"}
_signatures: dict = {}
_compiled: dict = {}
_compiling = threading.Lock()


def compiled(name, dtype):
    """The function of that name for states x of float32 or float64, compiled once and out of the reach of Ctrl-C."""
    key = name, str(dtype)
    with _compiling:
        if key not in _compiled:
            signature, function = _signatures[name]
            _compiled[key] = apart(lambda: njit(signature.replace("x", key[1]), **OPTIONS)(function))
    return _compiled[key]


def kernel(signature):
    """Decorator: a function to compile, in whose signature x stands for the type of the states."""

    def keep(function):
        _signatures[function.__name__] = signature, function
        return function

    return keep


@kernel("void(x[:, :, :], float64[:, ::1], int64[::1], float64[::1], float64[:, :, :, ::1])")
def power_sums(x, pivot, cuts, d, sums):
    """Count, Σd, Σd², Σd³, Σd⁴ of d = x − pivot over the finite x between two cuts: sums (leaves, times, entries, 5).

    x is of shape (times, paths, entries), pivot of (times, entries); d has room for the paths between two cuts.
    """
    part = np.empty((4, LANES))
    for leaf in range(len(cuts) - 1):
        first, n = cuts[leaf], cuts[leaf + 1] - cuts[leaf]
        for t in range(x.shape[0]):
            for e in range(x.shape[2]):
                count, row, origin = 0, x[t, first : first + n, e], pivot[t, e]
                for i in range(n):
                    v = np.float64(row[i]) - origin
                    good = abs(v) < np.inf
                    d[i] = v if good else 0.0
                    count += good
                for i in range(n, len(d)):
                    d[i] = 0.0
                for p in range(4):
                    for j in range(LANES):
                        part[p, j] = 0.0
                for r in range(0, n, LANES):
                    for j in range(LANES):
                        v = d[r + j]
                        w = v * v
                        part[0, j] += v
                        part[1, j] += w
                        part[2, j] += v * w
                        part[3, j] += w * w
                sums[leaf, t, e, 0] = count
                for p in range(4):
                    total = 0.0
                    for j in range(LANES):
                        total += part[p, j]
                    sums[leaf, t, e, p + 1] = total


@kernel("void(float64[:, :, ::1], float64[:, :, ::1])")
def products(d, sums):
    """Σ d_a and Σ d_a d_b over the paths: d (groups, K, paths), a multiple of LANES; sums (groups, K, K + 1)."""
    part = np.empty(LANES)
    for g in range(d.shape[0]):
        for a in range(d.shape[1]):
            for b in range(a + 1):
                for first in range(2 if b == 0 else 1):
                    for j in range(LANES):
                        part[j] = 0.0
                    for r in range(0, d.shape[2], LANES):
                        for j in range(LANES):
                            part[j] += d[g, a, r + j] * (1.0 if first else d[g, b, r + j])
                    total = 0.0
                    for j in range(LANES):
                        total += part[j]
                    if first:
                        sums[g, a, 0] = total
                    else:
                        sums[g, a, b + 1] = sums[g, b, a + 1] = total


@kernel("void(x[:, :, :], float64[::1], int64[:, :, ::1])")
def binned(x, edges, counts):
    """Adds to counts (times, entries, bins + 2): below the first edge, of [edge, next edge), from the last edge on."""
    last = len(edges) - 1
    scale = last / (edges[last] - edges[0])
    for t in range(x.shape[0]):
        for e in range(x.shape[2]):
            for i in range(x.shape[1]):
                v = np.float64(x[t, i, e])
                if not abs(v) < np.inf:
                    continue
                if v < edges[0]:
                    counts[t, e, 0] += 1
                    continue
                if v >= edges[last]:
                    counts[t, e, last + 1] += 1
                    continue
                guess = min(int((v - edges[0]) * scale), last - 1)  # right for equal bins, or next to it
                if not edges[guess] <= v < edges[guess + 1]:
                    guess, beyond = 0, last
                    while beyond - guess > 1:
                        middle = (guess + beyond) // 2
                        if edges[middle] <= v:
                            guess = middle
                        else:
                            beyond = middle
                counts[t, e, guess + 1] += 1


@njit(**OPTIONS)
def _bin(v, shift, base):
    """The signed number of the bin of v: 0 below the floor, else the leading bits of |v| counted from the floor's."""
    number = max((np.float64(abs(v)).view(np.int64) >> shift) - base, 0)
    return -number if v < 0 else number


@njit(**OPTIONS)
def _range(x):
    """The least and the largest finite of x."""
    low, high = np.inf, -np.inf
    for i in range(len(x)):
        v = np.float64(x[i])
        if abs(v) < np.inf:
            low, high = min(low, v), max(high, v)
    return low, high


@kernel("Tuple((int64, int64[::1]))(x[:, :, :], int64, int64, int64, int64)")
def sketched(x, t, e, shift, base):
    """(first bin, counts) of the finite x[t, :, e]."""
    row = x[t, :, e]
    low, high = _range(row)
    if low > high:
        return 0, np.zeros(0, np.int64)
    first = _bin(low, shift, base)
    counts, at = np.zeros(_bin(high, shift, base) - first + 2, np.int64), np.empty(1024, np.int64)  # [0]: not finite
    for start in range(0, len(row), 1024):
        some = row[start : start + 1024]
        for i in range(len(some)):
            v = np.float64(some[i])
            at[i] = _bin(v, shift, base) - first + 1 if abs(v) < np.inf else 0
        for i in range(len(some)):
            counts[at[i]] += 1
    return first, counts[1:]
