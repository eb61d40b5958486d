"""The numbers of the lane loop: `Real(dtype)`, one value, and `Vec(dtype, n)`, n values of one lane.

Both keep their floating-point type against literals, parameters and times, as arrays do in numpy:
`2 * x` and `self.theta * x` have the type of x. In memory a Real is its float and a Vec is an array
of floats, so that nothing of them is left after compilation.
"""

import functools
import operator

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.imputils import impl_ret_untracked, lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

from .elementary.instructions import BARE, FLAGS

INLINE = {"forceinline": True, "error_model": "numpy", **BARE}


class Lane(types.Type):
    """What Real and Vec share: where branches meet, numbers become what arithmetic with them gives."""

    def unify(self, typingctx, other):
        return common(self, other)


class Real(Lane):
    """One floating-point value of a lane."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Real({dtype})")


class Vec(Lane):
    """`n` values (floating-point, or booleans from a comparison) of a lane."""

    def __init__(self, dtype, n):
        self.dtype, self.n = dtype, n
        super().__init__(f"Vec({dtype}, {n})")


@register_model(Real)
class _RealModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, dmm.lookup(fe_type.dtype).get_value_type())


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.ArrayType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.n))


# --- conversions ---------------------------------------------------------------------------------


@lower_cast(types.Boolean, Real)
@lower_cast(types.Integer, Real)
@lower_cast(types.Float, Real)
@lower_cast(Real, Real)
def _to_real(context, builder, source, target, value):
    return context.cast(builder, value, getattr(source, "dtype", source), target.dtype)


@lower_cast(Real, types.Float)
def _real_to_number(context, builder, source, target, value):
    return context.cast(builder, value, source.dtype, target)


@lower_cast(types.Number, Vec)
@lower_cast(types.Boolean, Vec)
@lower_cast(Real, Vec)
def _broadcast(context, builder, source, target, value):
    value = context.cast(builder, value, getattr(source, "dtype", source), target.dtype)
    return _pack(context, builder, target, [value] * target.n)


@lower_cast(Vec, Vec)
def _vec_to_vec(context, builder, source, target, value):
    items = [context.cast(builder, v, source.dtype, target.dtype) for v in _items(builder, source, value)]
    return _pack(context, builder, target, items)


def _items(builder, ty, value):
    """The LLVM values of a Vec's components; a Real or number is its own single item."""
    return [builder.extract_value(value, i) for i in range(ty.n)] if isinstance(ty, Vec) else [value]


def _pack(context, builder, ty, items):
    if not isinstance(ty, Vec):
        return items[0]
    result = cgutils.get_null_value(context.get_value_type(ty))
    for i, item in enumerate(items):
        result = builder.insert_value(result, item, i)
    return result


def is_lane(ty):
    return isinstance(ty, Lane)


def common(*args):
    """The lane type that arithmetic between `args` gives, or None where no lane type takes part."""
    lanes = [a for a in args if is_lane(a)]
    if not lanes or not all(is_lane(a) or isinstance(a, (types.Number, types.Boolean)) for a in args):
        return None
    vecs = [a for a in lanes if isinstance(a, Vec)]
    if len({a.n for a in vecs}) > 1:
        return None
    floats = [a.dtype for a in lanes if isinstance(a.dtype, types.Float)]
    if not floats:
        return None
    dtype = max(floats, key=lambda d: d.bitwidth)
    return Vec(dtype, vecs[0].n) if vecs else Real(dtype)


# --- operators -----------------------------------------------------------------------------------


def _operator(op, arity, emit, compares=False):
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            ty = common(*args) if len(args) == arity and not kws else None
            if ty is None:
                return None
            result = ty
            if compares:
                result = Vec(types.boolean, ty.n) if isinstance(ty, Vec) else types.boolean
            return signature(result, *([ty] * arity))

    Template.__name__ = f"Lane_{op.__name__}"
    infer_global(op)(Template)

    def lower(context, builder, sig, args):
        operands = zip(*(_items(builder, ty, v) for ty, v in zip(sig.args, args)))
        items = [emit(builder, *o) for o in operands]
        result = _pack(context, builder, sig.return_type, items)
        return impl_ret_untracked(context, builder, sig.return_type, result)

    for kind in (Real, Vec):
        lower_builtin(op, *([kind] * arity))(lower)


for _name, _code in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    for _op in (getattr(operator, _name), getattr(operator, f"i{_name}")):
        _operator(_op, 2, lambda b, x, y, code=_code: getattr(b, code)(x, y, flags=FLAGS))
_operator(operator.neg, 1, lambda b, x: b.fneg(x))
_operator(operator.pos, 1, lambda b, x: x)
for _op, _symbol in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "==")):
    _operator(getattr(operator, _op), 2, lambda b, x, y, s=_symbol: b.fcmp_ordered(s, x, y), compares=True)
_operator(operator.ne, 2, lambda b, x, y: b.fcmp_unordered("!=", x, y), compares=True)


# --- between lane types and plain numbers --------------------------------------------------------


@intrinsic
def value(typingctx, x):
    """The plain float in a Real (no operation)."""
    return x.dtype(x), lambda context, builder, sig, args: args[0]


@intrinsic
def real(typingctx, x):
    """A plain float as a Real (no operation)."""
    return Real(x)(x), lambda context, builder, sig, args: args[0]


@intrinsic
def as_like(typingctx, x, like):
    """`x`, a number or lane value, cast to the lane type of `like`."""
    return like(x, like), lambda context, builder, sig, args: context.cast(builder, args[0], *sig.args)


def _vec_of(target, items):
    def lower(context, builder, sig, args):
        values = [
            context.cast(builder, builder.extract_value(args[0], i), t, Real(target.dtype)) for i, t in enumerate(items)
        ]
        return _pack(context, builder, target, values)

    return lower


@intrinsic
def vec(typingctx, items):
    """A tuple of Reals and numbers as a Vec."""
    ty = common(*items)
    if ty is not None:
        target = Vec(ty.dtype, len(items))
        return target(items), _vec_of(target, items)


@intrinsic
def vec_like(typingctx, items, like):
    """A tuple of Reals and numbers as a Vec of the type of `like`."""
    return like(items, like), _vec_of(like, items)


@intrinsic
def reals(typingctx, x):
    """The components of a Vec as a tuple of Reals."""
    target = types.UniTuple(Real(x.dtype), x.n)
    return target(x), lambda context, builder, sig, args: context.make_tuple(
        builder, target, _items(builder, x, args[0])
    )


@intrinsic
def select(typingctx, condition, a, b):
    ty = common(a, b)
    if ty is None and isinstance(condition, Vec):
        return None
    if isinstance(condition, Vec) and isinstance(ty, Real):
        ty = Vec(ty.dtype, condition.n)

    def lower(context, builder, sig, args):
        conditions = _items(builder, condition, args[0])
        yes, no = (_items(builder, ty, context.cast(builder, v, t, ty)) for v, t in zip(args[1:], sig.args[1:]))
        conditions *= len(yes) // len(conditions)
        return _pack(context, builder, ty, [builder.select(*c) for c in zip(conditions, yes, no)])

    return ty(condition, a, b), lower


@intrinsic
def _times_zero(typingctx, x):
    def lower(context, builder, sig, args):
        items = _items(builder, x, args[0])
        zero = ir.Constant(items[0].type, 0.0)
        return functools.reduce(builder.fadd, [builder.fmul(i, zero) for i in items])

    return x.dtype(x), lower


@njit(forceinline=True, error_model="numpy", fastmath={"contract"}, **BARE)  # no more: x·0 + y·0 is not (x + y)·0
def times_zero(x):
    """The plain float 0, but NaN where a component is not finite."""
    return _times_zero(x)
