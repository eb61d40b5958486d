"""The time loop over one block of lanes after the other, and the lane loop inside it."""

import functools
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from ... import equation
from . import bridge
from .captured import NATIVE
from .generator import LANES, call, widest_vectors
from .lane import INLINE, Vec, as_like, real, reals, source, times_zero, value, vec, vec_like
from .records import FORMULA, OPTIONS, at


def once(function):
    """Decorator: function((a, b, …)) by address, compiled once and not again within each kernel that calls it."""
    compiled = njit(function, **FORMULA)

    @intrinsic
    def called(typingctx, args):
        compiled.compile(args.types)
        code = compiled.overloads[args.types]
        result, types_ = code.signature.return_type, code.signature.args

        def emit(context, builder, signature, values):
            kind = context.call_conv.get_function_type(result, types_)
            address = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
            pointer = builder.inttoptr(ir.Constant(ir.IntType(64), address), kind.as_pointer())
            items = cgutils.unpack_tuple(builder, values[0])
            return context.call_conv.call_function(builder, pointer, result, types_, items)[1]

        return result(args), emit

    return called


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


def layout(drawn, channels, most):
    """The `Layout` of one dw of `channels` normals for each stream in `drawn`, in about `most` rows for each stream."""
    distinct = sorted(set(drawn))
    counts = [drawn.count(s) * channels for s in distinct]
    chunk = 4 * max(1, most // (4 * max(counts, default=1)))
    start = dict(zip(distinct, np.cumsum([0, *counts]) * chunk))
    base = [start[s] + drawn[:i].count(s) * channels for i, s in enumerate(drawn)]
    stride = [drawn.count(s) * channels for s in drawn]
    return Layout(chunk, *(np.array(a, np.int64) for a in (distinct, counts, base, stride)))


class Noise(NamedTuple):
    """Which normals move which lane."""

    given: np.ndarray  # explicit ones (draws, steps, lanes, channels), or without draws
    tree: bridge.Tree | None  # along a `BrownianPath`
    factor: np.ndarray  # the lower factor of the channels' correlation, or empty
    fill: int  # the address of a `generator.filler`
    k0: int  # the key
    k1: int
    first_lane: int
    first_step: int


class Block(NamedTuple):
    """Room for one block of lanes: LANES of them, or the few that there are."""

    x: np.ndarray  # states (k, lanes)
    z: np.ndarray  # normals of a chunk of steps, rows as in `Layout`
    own: np.ndarray  # parameters
    dead: np.ndarray  # failed lanes
    made: np.ndarray  # (4, LANES) normals as a `filler` along the steps makes them


@once
def _bury(x, dead, count):
    """Lanes that are not finite, or were not once, become NaN in all components. Whether one of `count` is."""
    failed = False
    for i in range(x.shape[1]):
        for c in range(x.shape[0]):
            dead[i] |= not abs(x[c, i]) < np.inf
        for c in range(x.shape[0]):
            if dead[i]:
                x[c, i] = np.nan
        failed |= dead[i] and i < count
    return failed


@once
def _save(x, out, row, start, high):
    for i in range(min(x.shape[1], high - start)):
        for c in range(x.shape[0]):
            out[row, start + i, c] = x[c, i]


@once
def _normals(noise, plan, z, made, start, s, phase, ahead):
    """The normals of the steps s … s + ahead − 1 into the rows of z from step `phase` of the chunk on."""
    lanes, row = z.shape[1], 0
    for j in range(plan.streams.shape[0] if noise.given.shape[0] == 0 and noise.tree is None else 0):
        count, stream, lane = plan.counts[j], plan.streams[j], noise.first_lane + start
        group, groups = (noise.first_step + s - phase) // 4 * count, (phase + ahead + 3) // 4 * count
        if lanes == LANES:
            call(noise.fill, z, row, groups, lane, group, stream, noise.k0, noise.k1)
        for i in range(lanes if lanes < LANES else 0):
            for g in range(0, groups, LANES):
                call(noise.fill, made, 0, 1, lane + i, group + g, stream, noise.k0, noise.k1)
                for q in range(4 * min(LANES, groups - g)):
                    z[row + 4 * g + q, i] = made[q % 4, q // 4]
        row += plan.chunk * count
    for step in range(ahead if plan.base.shape[0] > 0 else 0):
        row, apart = plan.base[0] + (phase + step) * plan.stride[0], plan.base[-1] - plan.base[0]
        lane, draws = noise.first_lane + start, plan.base.shape[0]
        bridge.walked(noise.tree, noise.fill, made, s + step, lane, noise.k0, noise.k1, z, row, apart, draws)
    for j in range(ahead * plan.base.shape[0]):
        step, d = j // plan.base.shape[0], j % plan.base.shape[0]
        row = plan.base[d] + (phase + step) * plan.stride[d]
        for c in range(noise.given.shape[3] if noise.given.shape[0] > 0 else 0):
            for i in range(lanes):
                z[row + c, i] = noise.given[d, s + step, min(start + i, noise.given.shape[2] - 1), c]
        for c in range(noise.factor.shape[0] - 1, -1, -1):  # from the last row up: none is read after it is changed
            for i in range(lanes):
                z[row + c, i] *= noise.factor[c, c]
            for b in range(c):
                for i in range(lanes):
                    z[row + c, i] += noise.factor[c, b] * z[row + b, i]


@njit(**OPTIONS)
def run(
    sde, step, load, store, draw, places,  # what moves, and how lanes are read and written
    x0, out, saves, t, begin, end, columns,  # states (base, k), (saves, lanes, k), times, parameters
    noise, plan, block,  # `Noise`, its `Layout`, and a `Block`
    low, high, slot, ticks, first_bad,  # the share of this call, and what it reports
):  # fmt: skip
    """Solve for the lanes low … high − 1, a block at a time; ticks[0] < 0 asks for a stop.

    Step s goes from begin[s] to end[s], which next to a jump are not quite t[s] and t[s + 1].
    """
    widest_vectors()
    x, z, lanes, steps = block.x, block.z, block.x.shape[1], t.shape[0] - 1
    for start in range(low, high, lanes):
        for i in range(lanes):  # those beyond the last repeat it
            lane = min(start + i, high - 1)
            for c in range(x0.shape[1]):
                x[c, i] = x0[lane % x0.shape[0], c]
            for c in range(columns.shape[0]):
                block.own[c, i] = columns[c, lane]
        block.dead[:] = False
        buried, save, phase = False, 0, noise.first_step % plan.chunk - 1
        if saves[0] == 0:
            _save((x, out, 0, start, high))
            save = 1
        for s in range(steps):
            phase += 1  # counted, since a division costs as much as the lane loop
            if s == 0 or phase == plan.chunk:
                phase = phase % plan.chunk
                if ticks[0] < 0:
                    return
                ahead = min(plan.chunk - phase, steps - s)
                ticks[slot] += min(lanes, high - start) * ahead
                _normals((noise, plan, z, block.made, start, s, phase, ahead))
            now, then, h = begin[s], end[s], t[s + 1] - t[s]
            scale = np.sqrt(abs(h))
            place = places(plan.base, plan.stride, phase)
            health = value(as_like(0, real(x[0, 0])))
            for i in range(lanes):
                old = load(x, i)
                taken = step(at(sde, block.own, i), now, then, old, h, *draw(z, place, i, scale))
                new = as_like(reached(taken), old)
                store(x, i, new)
                health += times_zero(new)
            if buried or health != health:  # rare, and outside of the lane loop that it would slow down
                buried = True
                if _bury((x, block.dead, high - start)):
                    first_bad[slot] = min(first_bad[slot], s)
            if save < saves.shape[0] and saves[save] == s + 1:  # asked here: a call costs as much as the lane loop
                _save((x, out, save, start, high))
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
