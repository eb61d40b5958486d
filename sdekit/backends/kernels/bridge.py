"""Steps along a `BrownianPath` in compiled code: the dyadic bridge of `sdekit.brownian` for a block of lanes."""

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from ... import brownian, noise
from .generator import LANES, block, call, widest_vectors
from .lane import INLINE, real, value
from .records import OPTIONS

__all__ = ["Tree", "branch", "tree", "walked"]

LEVELS, ROOT12 = brownian.LEVELS, 12**0.5
STREAM, CHANNEL = noise.word(noise.Stream.BRIDGE, 0), noise.word(0, 1)
halves, highest, exponent = (njit(f, **INLINE) for f in (brownian.halves, brownian.highest, brownian.exponent))


@njit(**INLINE)
def piece(p, q):
    """`brownian.piece` of two whole numbers."""
    longest, aligned = highest(q - p), p & -p
    return longest if aligned == 0 or aligned >= longest else aligned


class Tree(NamedTuple):
    """The path of a solve, and the nodes that a block of lanes was at last."""

    ticks: np.ndarray  # (n + 1,) of the times of the steps
    of: np.ndarray  # (levels + 1,) the node of the level before whose halves are known
    spare: np.ndarray  # (levels + 1,) the odd node of the level before whose normals are known
    rows: np.ndarray  # (levels + 1, channels, 6, lanes): (u, v) of the halves, and those normals
    sums: np.ndarray  # (channels, 2, lanes) W and H of what is joined


def tree(path, times, channels, dtype):
    """The `Tree` of a path for the times of all steps."""
    levels = np.full(LEVELS + 1, -1)
    rows = block((LEVELS + 1) * channels * 6, dtype).reshape(LEVELS + 1, channels, 6, LANES)
    return Tree(
        brownian.ticks(path, times, "ts"),
        levels,
        levels.copy(),
        rows,
        block(2 * channels, dtype).reshape(channels, 2, LANES),
    )


@njit(**OPTIONS)
def _halve(child, parent, normals):
    """The halves of a node: flat rows, indexed by constants and a counter alone, so that the compiler makes vectors."""
    widest_vectors()
    for i in range(LANES):
        u, v = real(parent[i]), real(parent[i + LANES])
        a, b, c, d = halves(u, v, real(normals[i]), real(normals[i + LANES]))
        child[i], child[i + LANES], child[i + 2 * LANES], child[i + 3 * LANES] = value(a), value(b), value(c), value(d)


@njit(**OPTIONS)
def _copy(out, x):
    """A slow loop is what assigning slices compiles to."""
    for i in range(x.shape[0]):
        out[i] = x[i]


@njit(**OPTIONS)
def _split(fill, rows, made, node, level, known, lane, channel, k0, k1):
    """The halves of a node, `level` being theirs; `known`: whether its normals are.

    A counter has the normals of two nodes, an even one and the odd one behind it, for which they are kept.
    """
    child, odd, normals = rows[level, channel].reshape(-1), node & 1, made.reshape(-1)
    parent = rows[level - 1, channel].reshape(-1)[2 * LANES * odd if level > 1 else 0 :]
    if known:
        _halve(child, parent, child[4 * LANES :])
    else:
        call(fill, made, 0, 1, lane, node >> 1, STREAM + CHANNEL * channel, k0, k1)
        _halve(child, parent, normals[2 * LANES * odd :])
        _copy(child[4 * LANES :], normals[2 * LANES : 4 * LANES])


@njit(**OPTIONS)
def _reach(tree, fill, made, level, index, lane, k0, k1):
    """Make the node known, and those above it."""
    of, spare, rows = tree.of, tree.spare, tree.rows
    first = level  # the deepest level that is known
    while first > 0 and of[first] != index >> (level - first + 1):
        first -= 1
    if of[0] != 0:
        of[0], first = 0, 0
        for channel in range(rows.shape[1]):
            call(fill, made, 0, 1, lane, 0, STREAM + CHANNEL * channel, k0, k1)
            _copy(rows[0, channel].reshape(-1), made.reshape(-1)[: 2 * LANES])
    for d in range(first + 1, level + 1):
        of[d] = index >> (level - d + 1)
        node = (1 << (d - 1)) + of[d]
        for channel in range(rows.shape[1]):
            _split(fill, rows, made, node, d, spare[d] == node, lane, channel, k0, k1)
        spare[d] = node | 1


@njit(**OPTIONS)
def _scaled(out, x, factor):
    for i in range(LANES):
        out[i] = x[i] * factor


@njit(**OPTIONS)
def _join(sums, u, v, length, size):
    """W and H, in units of √ticks, of an interval of `length` and the `size` ticks behind it."""
    root, area = np.sqrt(size), np.sqrt(size / 12)
    for i in range(LANES):
        w, h, w2, h2 = sums[0, i], sums[1, i], root * u[i], area * v[i]
        sums[0, i] = w + w2
        sums[1, i] = (length * h + size * h2 + 0.5 * (size * w - length * w2)) / (length + size)


@njit(**OPTIONS)
def branch(tree, fill, made, s, lane, k0, k1, z, row, stride, draws):
    """The normals of step s: dW of all channels into z from `row` on, and from `stride` rows on dZ, if it is drawn."""
    begin, end = tree.ticks[s], tree.ticks[s + 1]
    p, q, sign = (begin, end, 1.0) if begin <= end else (end, begin, -1.0)
    if s == 0:
        tree.of[:], tree.spare[:] = -1, -1
    channels, length = tree.rows.shape[1], 0
    while p < q:
        size = piece(p, q)
        level, index = LEVELS - exponent(size), p // size
        _reach(tree, fill, made, level, index, lane, k0, k1)
        side, whole = 2 * (index & 1) if level > 0 else 0, length == 0 and p + size == q
        for c in range(channels):
            u, v, sums = tree.rows[level, c, side], tree.rows[level, c, side + 1], tree.sums[c]
            if not whole:
                if length == 0:
                    sums[:] = 0.0
                _join(sums, u, v, float(length), float(size))
                u, v = sums[0], sums[1]
            one = 1.0 if whole else 1 / np.sqrt(float(length + size))
            _scaled(z[row + c], u, sign * one)
            if draws > 1:
                _scaled(z[row + stride + c], v, one if whole else ROOT12 * one)
        p, length = p + size, length + size


def walked(tree, fill, made, s, lane, k0, k1, z, row, stride, draws):
    """`branch` where there is a tree (compiled code only)."""
    raise NotImplementedError("numba kernels only")


@overload(walked)
def _walked(tree, fill, made, s, lane, k0, k1, z, row, stride, draws):
    if isinstance(tree, types.NoneType):
        return lambda tree, fill, made, s, lane, k0, k1, z, row, stride, draws: None
    return lambda tree, fill, made, s, lane, k0, k1, z, row, stride, draws: branch(
        tree, fill, made, s, lane, k0, k1, z, row, stride, draws
    )
