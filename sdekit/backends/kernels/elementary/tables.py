"""Piecewise linear functions given by a table, in float64: a tuple is unrolled, an array is searched."""

import functools

from numba.core import types

from .instructions import jit, select, source


def interpolation(xp, fp):
    """The function (x, xp, fp) for tables of these numba types, or None: linear between knots, flat beyond.

    The last knot at or below x is found without branches; the size of a captured array is a constant, so
    that LLVM unrolls the search and makes its look-ups vector instructions.
    """
    tuples = [table for table in (xp, fp) if isinstance(table, types.BaseTuple)]
    if all(table in tuples or (isinstance(table, types.Array) and table.ndim == 1) for table in (xp, fp)):
        return unrolled(len(tuples[0])) if tuples else searched


@jit
def line(x, x0, f0, x1, f1):
    """The line through two points, x0 <= x; f0 where they are one."""
    slope = select(x1 > x0, (f1 - f0) / (x1 - x0), 0.0)
    return f0 + slope * (x - x0)


@jit
def within(x, low, high):
    return select(x < low, low, select(x > high, high, x))


@jit
def searched(x, xp, fp):
    last, left, width = min(xp.size, fp.size) - 1, 0, min(xp.size, fp.size)
    x = within(x, float(xp[0]), float(xp[last]))
    while width > 1:  # the knot is one of `width` from `left` on
        step = width // 2
        left = select(x >= xp[left + step], left + step, left)
        width -= step
    right = min(left + 1, last)
    return line(x, float(xp[left]), float(fp[left]), float(xp[right]), float(fp[right]))


@functools.cache
def unrolled(n):
    def point(j):
        return f"float(xp[{j}]), float(fp[{j}]), float(xp[{min(j + 1, n - 1)}]), float(fp[{min(j + 1, n - 1)}])"

    lines = [f"    x, chosen = within(x, float(xp[0]), float(xp[{n - 1}])), ({point(0)})"]
    lines += [f"    chosen = pick(x >= xp[{j}], ({point(j)}), chosen)" for j in range(1, n)]
    text = "\n".join(["def impl(x, xp, fp):", *lines, "    return line(x, *chosen)"])
    return jit(source(text, line=line, pick=pick, within=within))


@jit
def pick(condition, a, b):
    return (
        select(condition, a[0], b[0]), select(condition, a[1], b[1]),
        select(condition, a[2], b[2]), select(condition, a[3], b[3]),
    )  # fmt: skip
