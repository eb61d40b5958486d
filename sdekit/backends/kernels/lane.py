"""The numbers of the lane loop: `Real(dtype)`, one value, and `Vec(dtype, n)`, n values of one lane.

Both keep their floating-point type against literals, parameters and times, as arrays do in numpy:
`2 * x` and `self.theta * x` have the type of x. In memory a Real is its float and a Vec is an array
of floats, so that nothing of them is left after compilation.
"""

import functools
import math
import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.imputils import impl_ret_untracked, lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, overload, register_model

from ... import math as sm
from .elementary import BINARY, UNARY, implementation
from .elementary.instructions import BARE, FLAGS, source


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
def _select(typingctx, condition, a, b):
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


@overload(sm.where, inline="never")
@overload(np.where, inline="never")
def _where(condition, a, b):
    if common(a, b) is not None:
        return lambda condition, a, b: _select(condition, a, b)


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


# --- functions -----------------------------------------------------------------------------------

INLINE = {"forceinline": True, "error_model": "numpy", **BARE}


def _componentwise(f, types_, arguments):
    """`f` on plain floats, lifted to lane types: component by component, plain numbers cast."""
    ty = common(*types_)
    if isinstance(ty, Real):
        inner = ", ".join(f"value(as_like({a}, like))" for a in arguments)
        like = next(a for a, t in zip(arguments, types_) if isinstance(t, Real) and t == ty)
        text = f"def impl({', '.join(arguments)}):\n    like = {like}\n    return real(f({inner}))"
    else:
        like = next(a for a, t in zip(arguments, types_) if isinstance(t, Vec) and t == ty)
        lines = [f"    {a}_ = reals(as_like({a}, {like}))" for a in arguments]
        items = ", ".join(f"real(f({', '.join(f'value({a}_[{i}])' for a in arguments)}))" for i in range(ty.n))
        text = "\n".join([f"def impl({', '.join(arguments)}):", *lines, f"    return vec(({items},))"])
    return source(text, f=f, value=value, real=real, reals=reals, vec=vec, as_like=as_like)


def _lift(function, choose, arity):
    """Overload `function` for lane types by `choose(dtype)`, a compiled function of plain floats."""
    if arity == 1:

        @overload(function, jit_options=INLINE)
        def _one(x):
            if is_lane(x):
                return _componentwise(choose(x.dtype), (x,), ("x",))
    else:

        @overload(function, jit_options=INLINE)
        def _two(x, y):
            ty = common(x, y)
            if ty is not None:
                return _componentwise(choose(ty.dtype), (x, y), ("x", "y"))


# Other names than those of numpy and the math module.
ALIASES = {
    "abs": (abs, np.fabs, math.fabs),
    "arccos": (math.acos,),
    "arcsin": (math.asin,),
    "arcsinh": (math.asinh,),
    "arctan": (math.atan,),
    "arctan2": (math.atan2,),
    "maximum": (max,),
    "minimum": (min,),
    "mod": (operator.mod, operator.imod),
    "floor_divide": (operator.floordiv, operator.ifloordiv),
    "power": (math.pow,),
    "round": (round, np.rint),
}
for _name in (*UNARY, *BINARY, "floor_divide"):
    _spelt = [getattr(module, _name) for module in (sm, np, math) if hasattr(module, _name)]
    for _function in (*_spelt, *ALIASES.get(_name, ())):
        _lift(_function, functools.partial(implementation, _name), 1 if _name in UNARY else 2)


@overload(sm.isfinite, jit_options=INLINE)
@overload(np.isfinite, jit_options=INLINE)
@overload(math.isfinite, jit_options=INLINE)
def _isfinite(x):
    if isinstance(x, Real):
        finite = implementation("isfinite", x.dtype)
        return lambda x: finite(value(x))


@overload(np.clip, jit_options=INLINE)
def _clip(x, lo, hi):
    if common(x, lo, hi) is not None:
        return lambda x, lo, hi: sm.clip(x, lo, hi)


@overload(np.square, jit_options=INLINE)
def _square(x):
    if is_lane(x):
        return lambda x: x * x


@overload(sm.interp, jit_options=INLINE)
@overload(np.interp, jit_options=INLINE)
def _interp(x, xp, fp):
    if isinstance(x, Real):
        return lambda x, xp, fp: real(sm.interp(value(x), xp, fp))
    if isinstance(x, Vec):
        items = "".join(f"sm.interp(parts[{i}], xp, fp), " for i in range(x.n))
        text = f"def impl(x, xp, fp):\n    parts = reals(x)\n    return vec(({items}))"
        return source(text, sm=sm, reals=reals, vec=vec)


@intrinsic(prefer_literal=True)
def _multiplied(typingctx, x, n):
    """x ** n for a literal integer n ≥ 1, by repeated squaring."""
    n_ = n.literal_value

    def lower(context, builder, sig, args):
        def power(item):
            result, square, left = None, item, n_
            while left:
                if left & 1:
                    result = square if result is None else builder.fmul(result, square, flags=FLAGS)
                left >>= 1
                square = builder.fmul(square, square, flags=FLAGS) if left else square
            return result

        return _pack(context, builder, x, [power(i) for i in _items(builder, x, args[0])])

    return x(x, n), lower


@overload(operator.pow, prefer_literal=True, jit_options=INLINE)
@overload(operator.ipow, prefer_literal=True, jit_options=INLINE)
def _pow(x, y):
    if not is_lane(x) and not is_lane(y):
        return None
    if isinstance(y, types.IntegerLiteral) and is_lane(x):
        n = y.literal_value
        if n == 0:
            return lambda x, y: as_like(1.0, x)
        if 0 < n <= 64:
            return lambda x, y: _multiplied(x, y)
        if -64 <= n < 0:
            return source(f"def impl(x, y):\n    return 1.0 / x ** {-n}")
    return lambda x, y: sm.power(x, y)


@overload(operator.mul, prefer_literal=True)
def _repeat(items, times):
    """`(a, b) * n` of a tuple and a literal integer, which numba lacks."""
    if isinstance(items, types.BaseTuple) and isinstance(times, types.IntegerLiteral):
        n, k = times.literal_value, len(items)
        return source(f"def impl(items, times):\n    return ({''.join(f'items[{i % k}], ' for i in range(n * k))})")
