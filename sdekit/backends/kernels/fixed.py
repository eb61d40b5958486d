"""The time loop over one block of lanes after the other, and the lane loop inside it."""

import functools
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from ... import equation
from . import areas
from .captured import NATIVE
from .elementary.instructions import source
from .generator import widest_vectors
from .lane import INLINE, Vec, as_like, real, reals, times_zero, value, vec, vec_like
from .normals import borrowed, normals, once
from .records import ENTRY, FORMULA, at


def reached(taken):
    """The state at the end of a step (compiled code only)."""
    raise NotImplementedError("numba kernels only")


@overload(reached, jit_options=INLINE)
def _reached(taken):
    return (lambda taken: taken.x) if isinstance(taken, types.BaseNamedTuple) else (lambda taken: taken)


@functools.cache
def anew(step):
    """The step of a method whose first slope is the last one of the step before, but evaluated anew.

    On fixed steps nothing is lost: the last slope, which then nobody reads, is not evaluated in compiled code.
    """

    def whole(sde, t, t1, x, h, *dw):
        return step(sde, t, t1, x, h, *dw, sde.drift(t, x))

    return whole


class Block(NamedTuple):
    """Room for one block of lanes: LANES of them, or the few that there are."""

    x: np.ndarray  # states (k, lanes)
    z: np.ndarray  # normals of a chunk of steps, rows as in `Layout`; behind them, for events, rows of `stops.LONGEST`
    own: np.ndarray  # parameters
    dead: np.ndarray  # failed lanes
    made: np.ndarray  # (16, LANES) numbers as a `filler` along the steps makes them
    areas: areas.Areas | None  # Lévy areas, where the method takes them


@once
def _bury(x, dead, count, k, first_bad, slot, s):
    """Lanes that are not finite, or were not once, become NaN in all components; s is noted if one of `count` is."""
    failed = False
    for i in range(x.shape[1]):
        for c in range(k):
            dead[i] |= not abs(x[c, i]) < np.inf
        for c in range(k):
            if dead[i]:
                x[c, i] = np.nan
        failed |= dead[i] and i < count
    if failed:
        first_bad[slot] = min(first_bad[slot], s)
    return True


@once
def _load(x, own, dead, x0, columns, start, high):
    """What the lanes of a block start with and their parameters; lanes beyond the last repeat it."""
    for i in range(x.shape[1]):
        lane, dead[i] = start + i if start + i < high else high - 1, False
        for c in range(x0.shape[1]):
            x[c, i] = x0[lane % x0.shape[0], c]
        for c in range(columns.shape[0]):
            own[c, i] = columns[c, lane]


@once
def _save(x, out, first, until, start, high):
    """The states into the rows first … until − 1 of the result."""
    for row in range(first, until):
        for i in range(min(x.shape[1], high - start)):
            for c in range(out.shape[2]):
                out[row, start + i, c] = x[c, i]


@njit(**ENTRY)
def run(
    sde, step, load, store, draw, places,  # what moves, and how lanes are read and written
    x0, out, saves, t, begin, end, columns,  # states (base, k), (saves, lanes, k), times, parameters
    noise, plan, block,  # `Noise`, its `Layout`, and a `Block`
    enter, gate, strike, stops,  # what `kernels.stops` has for events, or None
    low, high, slot, ticks, first_bad,  # the share of this call, and what it reports
):  # fmt: skip
    """Solve for the lanes low … high − 1, a block at a time; ticks[0] < 0 asks for a stop.

    Step s goes from begin[s] to end[s], which next to a jump are not quite t[s] and t[s + 1].
    """
    widest_vectors()
    noise, block, stops = borrowed(noise), borrowed(block), borrowed(stops)
    x, z, lanes, steps = block.x, block.z, block.x.shape[1], t.shape[0] - 1
    for start in range(low, high, lanes):
        _load((x, block.own, block.dead, x0, columns, start, high))
        if enter is not None:
            left, levels = enter(x, stops, start, high)
        buried, waited, phase, save = False, False, noise.first_step % plan.chunk - 1, int(saves[0] == 0)
        _save((x, out, 0, save, start, high))
        for s in range(steps):
            if enter is not None:  # noqa: SIM102 - alone it is a branch that the compiler leaves out
                if left == 0:
                    _save((x, out, save, saves.shape[0], start, high))
                    break
            phase += 1  # counted, since a division costs as much as the lane loop
            if s == 0 or phase == plan.chunk:
                phase = phase % plan.chunk
                if ticks[0] < 0:
                    return
                ahead = min(plan.chunk - phase, steps - s)
                ticks[slot] += min(lanes, high - start) * ahead
                normals((noise, plan, z, block.made, start, s, phase, ahead))
                areas.filled(block.areas, noise, plan, z, start, s, phase, ahead)
                waited = False
            now, then, t0, t1, h = begin[s], end[s], t[s], t[s + 1], t[s + 1] - t[s]
            scale, place = np.sqrt(abs(h)), places(plan.base, plan.stride, phase)
            if enter is not None:
                exact = waited and stops.exact
                row, mark = plan.waits + phase * plan.each if exact else z.shape[0] - plan.each, 2.0 if exact else 3.0
            near = health = value(as_like(0, real(x[0, 0])))
            for i in range(lanes):
                old = load(x, i)
                new = as_like(reached(step(at(sde, block.own, i), now, then, old, h, *draw(z, place, i, scale))), old)
                if enter is not None:
                    new, may = gate(at(sde, block.own, i), now, t0, t1, h, old, new, levels, z, row, i, x, mark)
                    near += may
                store(x, i, new)
                health += times_zero(new)
            if buried or health != health:  # rare, and outside of the lane loop that it would slow down
                buried = _bury((x, block.dead, high - start, x0.shape[1], first_bad, slot, s))
            if enter is not None:  # noqa: SIM102 - as above
                if near > 0:
                    times = now, then, t0, t1, h
                    left -= strike(sde, step, draw, stops, times, noise, plan, block, place, start, s, phase, waited)
                    waited = True
            if save < saves.shape[0] and saves[save] == s + 1:  # asked here: a call costs as much as the lane loop
                _save((x, out, save, save + 1, start, high))
                save += 1


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
    return tuple(njit(source(text, **names), forceinline=True, **FORMULA) for text in texts)


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


@native(equation.summed)
def _summed(term, each, *args):
    terms = " + ".join(f"term({j}, *args)" for j in range(len(each)))
    return source(f"def impl(term, each, *args):\n    return {terms or '0.0'}")


@native(equation.transposed)
def _transposed(rows, like):
    columns = "".join(
        f"vec_like(({''.join(f'rows[{i}][{j}], ' for i in range(like.n))}), like), " for j in range(len(rows[0]))
    )
    return source(f"def impl(rows, like):\n    return ({columns})", vec_like=vec_like)


@native(equation.spread)
def _spread(row, like):
    items = "".join(f"as_like(row[{j}], like), " for j in range(len(row)))
    return source(f"def impl(row, like):\n    return ({items})", as_like=as_like)


@native(equation.apart)
def _apart(g):
    columns = "".join(
        f"vec(({''.join(f'parts[{i}], ' if i == j else f'0.0 * parts[{i}], ' for i in range(g.n))})), "
        for j in range(g.n)
    )
    return source(f"def impl(g):\n    parts = reals(g)\n    return ({columns})", reals=reals, vec=vec)


@native(equation.area)
def _area(sde, x, areas, i, j):
    if len(areas) == 0:
        return lambda sde, x, areas, i, j: 0.0
    return lambda sde, x, areas, i, j: sde.channels(areas[i], x)[j]


@native(equation.row_product)
def _row_product(row, dw):
    if isinstance(dw, Vec):
        terms = " + ".join(f"row[{j}] * parts[{j}]" for j in range(dw.n))
        return source(f"def impl(row, dw):\n    parts = reals(dw)\n    return {terms}", reals=reals)
    terms = " + ".join(f"row[{j}] * {f'dw[{j}]' if isinstance(dw, types.BaseTuple) else 'dw'}" for j in range(len(row)))
    return source(f"def impl(row, dw):\n    return {terms}")


@native(equation.product)
def _product(rows, dw, like):
    if isinstance(like, Vec):
        values = ", ".join(f"row_product(rows[{i}], dw)" for i in range(like.n))
        text = f"def impl(rows, dw, like):\n    return vec_like(({values},), like)"
        return source(text, row_product=equation.row_product, vec_like=vec_like)
