"""The functions of `sdekit.math`, of numpy and of the math module on the numbers of the lane loop.

Each is lifted from plain floats to `Real` and `Vec`, component by component. Powers to literal integers are products.
"""

import functools
import math
import operator

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from ... import math as sm
from .elementary import BINARY, UNARY, implementation
from .elementary.instructions import FLAGS, source
from .lane import INLINE, Real, Vec, _items, _pack, as_like, common, is_lane, real, reals, select, value, vec


@overload(sm.where, inline="never")
@overload(np.where, inline="never")
def _where(condition, a, b):
    if common(a, b) is not None:
        return lambda condition, a, b: select(condition, a, b)


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
