"""The functions of `sdekit.jacobian` on lanes."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ... import elimination, jacobian
from .elementary.instructions import FLAGS, source
from .fixed import native
from .lane import Vec, _items, _pack, is_lane, reals, vec, vec_like
from .records import compiled

MOST = 8  # components: elimination is unrolled, and compile time grows with their cube


class Number:
    """A floating-point number or a condition of compiled code, on which arithmetic emits instructions."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _with(self, instruction, *operands):
        values = [o.value if isinstance(o, Number) else ir.Constant(self.value.type, o) for o in operands]
        return Number(self.builder, getattr(self.builder, instruction)(*values, flags=FLAGS))

    def __mul__(self, other):
        return self._with("fmul", self, other)

    def __sub__(self, other):
        return self._with("fsub", self, other)

    def __rsub__(self, other):
        return self._with("fsub", other, self)

    def __rtruediv__(self, other):
        return self._with("fdiv", other, self)

    def __abs__(self):
        magnitude = self.builder.module.declare_intrinsic("llvm.fabs", [self.value.type])
        return Number(self.builder, self.builder.call(magnitude, [self.value]))

    def __gt__(self, other):
        return Number(self.builder, self.builder.fcmp_ordered(">", self.value, other.value))


def _select(condition, a, b):
    return Number(a.builder, a.builder.select(condition.value, a.value, b.value))


def _numbers(builder, ty, value):
    return [Number(builder, item) for item in _items(builder, ty, value)]


@intrinsic
def eliminated(typingctx, columns, g):
    """`elimination.factored` of 1 − g J: (k² entries, which rows were swapped)."""
    ty, k = columns[0], len(columns)
    result = types.Tuple((Vec(ty.dtype, k * k), types.UniTuple(types.boolean, k * (k - 1) // 2)))

    def emit(context, builder, signature, args):
        made = [_numbers(builder, ty, builder.extract_value(args[0], j)) for j in range(k)]
        size = Number(builder, context.cast(builder, args[1], g, ty.dtype))
        m, swaps = elimination.factored(jacobian.shifted(made, size), _select)
        entries = _pack(context, builder, result[0], [entry.value for row in m for entry in row])
        swapped = context.make_tuple(builder, result[1], [swap.value for swap in swaps])
        return context.make_tuple(builder, result, [entries, swapped])

    return result(columns, g), emit


@intrinsic
def solution(typingctx, right, matrix):
    """`elimination.solved` for a Vec."""
    k = right.n

    def emit(context, builder, signature, args):
        entries, swapped = cgutils.unpack_tuple(builder, args[1], 2)
        flat = _numbers(builder, matrix[0], entries)
        m = [flat[i : i + k] for i in range(0, k * k, k)]
        swaps = [Number(builder, swap) for swap in cgutils.unpack_tuple(builder, swapped, len(matrix[1]))]
        x = elimination.solved((m, swaps), _numbers(builder, right, args[0]), _select)
        return _pack(context, builder, right, [item.value for item in x])

    return right(right, matrix), emit


@native(jacobian.implicit)
def _implicit(jacobian, g):
    if is_lane(jacobian):
        return lambda jacobian, g: 1.0 - g * jacobian
    return lambda jacobian, g: eliminated(jacobian, g)


@native(jacobian.divided)
def _divided(right, matrix):
    if is_lane(matrix):
        return lambda right, matrix: right / matrix
    return lambda right, matrix: solution(right, matrix)


@native(jacobian.root)
def _root(x):
    root = float(np.finfo(str(x.dtype)).eps) ** 0.5
    return lambda x: root


@native(jacobian.typed)
def _typed(value, like):
    return lambda value, like: 0.0 * like + value


@native(jacobian.differences)
def _differences(sde, t, x, slope):
    moved = (", ".join(f"p[{i}] + d[{i}]" if i == j else f"p[{i}]" for i in range(x.n)) for j in range(x.n))
    items = "".join(f"(sde.drift(t, vec(({y},))) - slope) / d[{j}], " for j, y in enumerate(moved))
    text = f"def impl(sde, t, x, slope):\n    p, d = reals(x), reals(increment(x))\n    return ({items})"
    return source(text, reals=reals, vec=vec, increment=compiled(jacobian.increment))


@native(jacobian.columns)
def _columns(rows, like):
    k = like.n
    if [len(row) if isinstance(row, types.BaseTuple) else 0 for row in rows] != [k] * k:
        raise ValueError(f"jacobian must return {k} rows of {k} values, one row per component of the drift")
    items = "".join(f"vec_like(({''.join(f'rows[{i}][{j}], ' for i in range(k))}), like), " for j in range(k))
    return source(f"def impl(rows, like):\n    return ({items})", vec_like=vec_like)
