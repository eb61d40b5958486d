"""The time loop over one block of lanes after the other, and the lane loop inside it."""

import functools
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from ... import equation
from .generator import LANES, fill, widest_vectors
from .lane import INLINE, Vec, as_like, real, reals, source, times_zero, value, vec, vec_like
from .records import NATIVE, OPTIONS, at


@njit(**OPTIONS)
def run(
    sde, step, load, store, draw, places,  # what moves, and how lanes are read and written
    x0, out, t, rows, columns,  # states (base, k), (looks, lanes, k); times and their rows of out; parameters
    given, chunk, streams, counts, base, stride, key, first_lane, first_step,  # the noise
    begin, end, slot, ticks, first_bad,  # the share of this call, and what it reports
    x, z, own, dead,  # room for one block: states (k, LANES), normals of a chunk of steps, parameters, failed lanes
):  # fmt: skip
    """Solve for the lanes begin … end − 1, whole blocks at a time; ticks[0] < 0 asks for a stop."""
    widest_vectors()
    k, steps, lanes = x0.shape[1], t.shape[0] - 1, out.shape[1]
    for start in range(begin, end, LANES):
        # Lanes beyond the last repeat it: whole blocks keep the arithmetic of a lane the same anywhere.
        for i in range(LANES):
            lane = min(start + i, lanes - 1)
            for c in range(k):
                x[c, i] = x0[lane % x0.shape[0], c]
            for c in range(columns.shape[0]):
                own[c, i] = columns[c, lane]
        buried = False
        dead[:] = False
        if rows[0] >= 0:
            _look(x, out, rows[0], start, end)
        phase = first_step % chunk - 1
        for s in range(steps):
            phase += 1  # counted, since a division costs as much as the lane loop
            if s == 0 or phase == chunk:
                phase = phase % chunk
                if ticks[0] < 0:
                    return
                ahead = min(chunk - phase, steps - s)
                ticks[slot] += LANES * ahead
                if given.shape[0] == 0:
                    row, fours = 0, (phase + ahead + 3) // 4
                    for j in range(streams.shape[0]):
                        group = (first_step + s - phase) // 4 * counts[j]
                        fill(z, row, fours * counts[j], first_lane + start, group, streams[j], key[0], key[1])
                        row += chunk * counts[j]
                else:
                    _copy(given, z, base, stride, s, phase, ahead, start)
            now, then = t[s], t[s + 1]
            h = then - now
            scale = np.sqrt(abs(h))
            place = places(base, stride, phase)
            health = value(as_like(0, real(x[0, 0])))
            for i in range(x.shape[1]):  # LANES, unsaid: unrolled in full it would compile for longer
                old = load(x, i)
                new = as_like(step(at(sde, own, i), now, then, old, h, *draw(z, place, i, scale)), old)
                store(x, i, new)
                health += times_zero(new)
            if buried or health != health:  # rare, and outside of the lane loop that it would slow down
                buried = True
                _bury(x, dead)
                first_bad[slot] = min(first_bad[slot], s)
            if rows[s + 1] >= 0:  # asked here: a call costs as much as the lane loop
                _look(x, out, rows[s + 1], start, end)


@njit(cache=True, **OPTIONS)
def _bury(x, dead):
    """Lanes that are not finite, or were not once, become NaN in all components."""
    for i in range(LANES):
        for c in range(x.shape[0]):
            dead[i] |= not abs(x[c, i]) < np.inf
        for c in range(x.shape[0]):
            if dead[i]:
                x[c, i] = np.nan


@njit(cache=True, **OPTIONS)
def _look(x, out, row, start, end):
    for i in range(min(LANES, end - start)):
        for c in range(x.shape[0]):
            out[row, start + i, c] = x[c, i]


@njit(cache=True, **OPTIONS)
def _copy(given, z, base, stride, s, phase, ahead, start):
    """Explicit normals (draws, steps, lanes, m) of the steps s … s + ahead − 1 into the rows of z."""
    for j in range(ahead):
        for d in range(given.shape[0]):
            for c in range(given.shape[3]):
                row = base[d] + (phase + j) * stride[d] + c
                for i in range(LANES):
                    z[row, i] = given[d, s + j, min(start + i, given.shape[2] - 1), c]


class Layout(NamedTuple):
    """Where the normals of a chunk of steps lie: rows, stream by stream, in it step by step, dw by dw."""

    chunk: int  # steps, a multiple of four: the four words of a counter serve four steps
    streams: np.ndarray  # the distinct streams
    counts: np.ndarray  # normals per lane and step of each
    base: np.ndarray  # row of each dw's first channel in step 0 of the chunk
    stride: np.ndarray  # rows from step to step

    @property
    def rows(self):
        return self.chunk * int(self.counts.sum())


def layout(method, channels):
    """The `Layout` of a method's normals: about 8 rows, which the first-level cache holds."""
    drawn = method.streams
    chunk = 4 * max(1, 2 // max(1, len(drawn) * channels))
    distinct = sorted(set(drawn))
    counts = [drawn.count(s) * channels for s in distinct]
    start = dict(zip(distinct, np.cumsum([0, *counts]) * chunk))
    base = [start[s] + drawn[:i].count(s) * channels for i, s in enumerate(drawn)]
    stride = [drawn.count(s) * channels for s in drawn]
    return Layout(chunk, *(np.array(a, np.int64) for a in (distinct, counts, base, stride)))


@functools.cache
def access(k, m, draws):
    """(load, store, draw, places) for states of k components (None: one value) and `draws` dw of m values."""

    def items(count, array, row):
        values = ", ".join(f"real({array}[{row} + {c}, i])" for c in range(count or 1))
        return values if count is None else f"vec(({values},))"

    parts = ["x"] if k is None else [f"parts[{c}]" for c in range(k)]
    unpack = "" if k is None else "    parts = reals(x)\n"
    writes = "".join(f"    state[{c}, i] = value({p})\n" for c, p in enumerate(parts))
    dws = "".join(f"{items(m, 'z', f'place[{d}]')} * scale, " for d in range(draws))
    rows = "".join(f"base[{d}] + phase * stride[{d}], " for d in range(draws))
    texts = (
        f"def impl(state, i):\n    return {items(k, 'state', 0)}",
        f"def impl(state, i, x):\n{unpack}{writes}",
        f"def impl(z, place, i, scale):\n    return ({dws})",
        f"def impl(base, stride, phase):\n    return ({rows})",
    )
    names = {"real": real, "reals": reals, "value": value, "vec": vec}
    return tuple(njit(source(text, **names), forceinline=True, **OPTIONS) for text in texts)


# --- the functions of `sdekit.equation` on lane types --------------------------------------------


def native(function):
    """Decorator: what `function` is in compiled code."""
    NATIVE.add(function)
    return overload(function, jit_options=INLINE)


@native(equation.components)
def _components(x):
    if isinstance(x, Vec):
        return lambda x: reals(x)


@native(equation.assemble)
def _assemble(items, like):
    if isinstance(like, Vec):
        got = len(items) if isinstance(items, types.BaseTuple) else items
        if got != like.n:
            raise ValueError(
                f"drift and diffusion must return a tuple of {like.n} values, one per component, got {got}"
            )
        return lambda items, like: vec_like(items, like)


@native(equation.row_product)
def _row_product(row, dw):
    if isinstance(dw, Vec):
        terms = " + ".join(f"row[{j}] * parts[{j}]" for j in range(dw.n))
        return source(f"def impl(row, dw):\n    parts = reals(dw)\n    return {terms}", reals=reals)
    terms = " + ".join(f"row[{j}] * dw" for j in range(len(row)))
    return source(f"def impl(row, dw):\n    return {terms}")


@native(equation.product)
def _product(rows, dw, like):
    if isinstance(like, Vec):
        values = ", ".join(f"row_product(rows[{i}], dw)" for i in range(like.n))
        text = f"def impl(rows, dw, like):\n    return vec_like(({values},), like)"
        return source(text, row_product=equation.row_product, vec_like=vec_like)
