"""The numbers of a chunk of steps for a block of lanes, where the lane loop reads them."""

import functools
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ...noise import Stream
from . import bridge
from .generator import LANES, call
from .records import FORMULA

CROSSING = int(Stream.CROSSING)


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


@intrinsic
def borrowed(typingctx, value):
    """An array, or a tuple with arrays, whose owners are not counted, as each call would do, which takes long."""

    def stripped(context, builder, kind, found):
        if isinstance(kind, types.BaseTuple):
            items = zip(kind.types, cgutils.unpack_tuple(builder, found))
            return context.make_tuple(builder, kind, [stripped(context, builder, *item) for item in items])
        if not isinstance(kind, types.Array):
            return found
        made = context.make_array(kind)(context, builder, found)
        made.meminfo, made.parent = (ir.Constant(part.type, None) for part in (made.meminfo, made.parent))
        return made._getvalue()

    return value(value), lambda context, builder, signature, args: stripped(context, builder, value, args[0])


class Layout(NamedTuple):
    """Where the normals of a chunk of steps lie: rows, stream by stream, in it step by step, dw by dw."""

    chunk: int  # steps, a multiple of four: the words of a counter serve four steps, or sixteen
    streams: np.ndarray  # the distinct streams
    counts: np.ndarray  # normals per lane and step of each
    base: np.ndarray  # row of each dw's first channel in step 0 of the chunk
    stride: np.ndarray  # rows from step to step
    waits: int  # row of the first exponential number in step 0 of the chunk
    each: int  # exponential numbers per lane and step

    @property
    def rows(self):
        return self.chunk * int(self.counts.sum())


@functools.cache
def layout(drawn, channels, most, each=0):
    """The `Layout` of one dw of `channels` normals for each stream in `drawn`, in about `most` rows for each stream.

    Behind them come `each` exponential numbers per step.
    """
    distinct = sorted(set(drawn))
    counts = [drawn.count(s) * channels for s in distinct]
    unit = 16 if each else 4
    chunk = unit * max(1, most // (unit * max([*counts, each, 1])))
    start = dict(zip([*distinct, CROSSING], np.cumsum([0, *counts]) * chunk))
    base = [start[s] + drawn[:i].count(s) * channels for i, s in enumerate(drawn)]
    stride = [drawn.count(s) * channels for s in drawn]
    streams, counts = [*distinct, *[CROSSING] * (each > 0)], [*counts, *[each] * (each > 0)]
    arrays = (np.array(a, np.int64) for a in (streams, counts, base, stride))
    return Layout(chunk, *arrays, int(start[CROSSING]), each)


class Noise(NamedTuple):
    """Which normals move which lane."""

    given: np.ndarray  # explicit ones (draws, steps, lanes, channels), or without draws
    tree: bridge.Tree | None  # along a `BrownianPath`
    factor: np.ndarray  # the lower factor of the channels' correlation, or empty
    fills: np.ndarray  # for each stream the address of a `generator.filler`, 0 where they are given or of the path
    fill: int  # that of the normals of the path
    k0: int  # the key
    k1: int
    first_lane: int
    first_step: int


@njit(**FORMULA)
def _counted(noise, plan, z, made, start, first, steps, j, row):
    """The numbers of stream j for `steps` steps from `first` on, where a chunk begins, into z from `row` on."""
    lanes, count, stream, lane = z.shape[1], plan.counts[j], plan.streams[j], noise.first_lane + start
    per = 16 if stream == CROSSING else 4
    group, groups = (noise.first_step + first) // per * count, (steps + per - 1) // per * count
    if lanes == LANES:
        call(noise.fills[j], z, row, groups, lane, group, stream, noise.k0, noise.k1)
    for i in range(lanes if lanes < LANES else 0):
        for g in range(0, groups, LANES):
            call(noise.fills[j], made, 0, 1, lane + i, group + g, stream, noise.k0, noise.k1)
            for q in range(per * min(LANES, groups - g)):
                z[row + per * g + q, i] = made[q % per, q // per]


@once
def waits(noise, plan, z, made, start, first):
    """The exponential numbers of the chunk that begins with step `first`: only where some lane is near a barrier."""
    if plan.each > 0:
        _counted(noise, plan, z, made, start, first, plan.chunk, plan.streams.shape[0] - 1, plan.waits)


@once
def normals(noise, plan, z, made, start, s, phase, ahead):
    """The normals of the steps s … s + ahead − 1 into the rows of z from step `phase` of the chunk on."""
    lanes, row = z.shape[1], 0
    for j in range(plan.streams.shape[0]):
        if noise.fills[j] != 0 and plan.streams[j] != CROSSING:
            _counted(noise, plan, z, made, start, s - phase, phase + ahead, j, row)
        row += plan.chunk * plan.counts[j]
    for step in range(ahead if plan.base.shape[0] > 0 else 0):
        row, apart = plan.base[0] + (phase + step) * plan.stride[0], plan.base[-1] - plan.base[0]
        lane, draws = noise.first_lane + start, plan.base.shape[0]
        bridge.walked(noise.tree, noise.fill, made, s + step, lane, noise.k0, noise.k1, z, row, apart, draws)
    for j in range(ahead * plan.base.shape[0]):
        step, d = j // plan.base.shape[0], j % plan.base.shape[0]
        row = plan.base[d] + (phase + step) * plan.stride[d]
        for c in range(noise.given.shape[3] if d < noise.given.shape[0] else 0):
            for i in range(lanes):
                z[row + c, i] = noise.given[d, s + step, min(start + i, noise.given.shape[2] - 1), c]
        for c in range(noise.factor.shape[0] - 1, -1, -1):  # from the last row up: none is read after it is changed
            for i in range(lanes):
                z[row + c, i] *= noise.factor[c, c]
            for b in range(c):
                for i in range(lanes):
                    z[row + c, i] += noise.factor[c, b] * z[row + b, i]
