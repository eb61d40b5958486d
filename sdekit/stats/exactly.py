"""Sums of floats as integers: exact, so that their order and grouping do not matter.

A float is an integer times a power of two. All of them, and 2³¹ sums of 2³¹ of them, fit DIGITS digits of 32 bits in
64-bit integers, the first of which counts 2^−1126. Such accumulators are added as arrays are.

Source: U. Kulisch, "Very fast and exact accumulation of products", 2011, doi:10.1007/s00607-010-0131-y.
"""

import math

import numpy as np

__all__ = ["exact_sum", "rounded"]

DIGITS, UNIT = 68, 1126
MASK = 2**32 - 1


def exact_sum(x):
    """The sum of x (n, *shape) over n as integers (DIGITS + 2, *shape); the last two count −∞ and ∞, NaN as both."""
    shape, x = x.shape[1:], x.reshape(len(x), math.prod(x.shape[1:]))
    total = np.zeros((DIGITS + 2, x.shape[1]), np.int64)
    finite = np.isfinite(x)
    fraction, exponent = np.frexp(np.where(finite, x, 0.0))
    whole, (first, shift) = (fraction * 2.0**53).astype(np.int64), np.divmod(exponent + (UNIT - 53), 32)
    low, high = (whole & MASK) << shift, (whole >> 32) << shift
    at = first * x.shape[1] + np.arange(x.shape[1])
    for i, digit in enumerate((low & MASK, (low >> 32) + (high & MASK), high >> 32)):
        np.add.at(total.reshape(-1), (at + i * x.shape[1]).reshape(-1), digit.reshape(-1))
    total[DIGITS:] = (~(finite | (x > 0))).sum(0), (~(finite | (x < 0))).sum(0)
    return _carried(total).reshape(-1, *shape)


def rounded(total):
    """The floats nearest to the sums `total` (DIGITS + 2, *shape)."""
    flat = _carried(total.reshape(len(total), -1).copy())
    lower = np.ascontiguousarray(flat[: DIGITS - 1].T).astype("<u4")
    found = [_nearest(int.from_bytes(row.tobytes(), "little") + (int(top) << 32 * (DIGITS - 1)))
             for row, top in zip(lower, flat[DIGITS - 1])]  # fmt: skip
    low, high = flat[DIGITS:] > 0
    found = np.where(low & high, math.nan, np.where(low, -math.inf, np.where(high, math.inf, found)))
    return found.reshape(total.shape[1:])


def _carried(total):
    """In place: all digits but the last in [0, 2³²)."""
    for i in range(DIGITS - 1):
        total[i + 1] += total[i] >> 32
        total[i] &= MASK
    return total


def _nearest(units):
    try:
        return units / 2**UNIT
    except OverflowError:
        return math.inf if units > 0 else -math.inf
