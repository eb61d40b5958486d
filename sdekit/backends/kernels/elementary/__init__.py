"""`sdekit.math` inside numba: straight-line functions that LLVM turns into vector instructions.

llvmlite ships no vector mathematics library, so one libm call would make a whole lane loop scalar.
Each function here is arithmetic, bit patterns and selects: an exact reduction to a small interval
(W. J. Cody and W. Waite, *Software Manual for the Elementary Functions*, 1980: subtract n·c with
c in several parts, each short enough that n times it is exact), then a minimax polynomial. The
formulas are written once and built for float32 and float64; no target needs a fused multiply-add.
Every literal is printed by `benchmarks/fit_elementary.py`.

Errors are below 4 units in the last place (`tests/test_math.py` has the figure of each function,
`benchmarks/ulp.py` measures it over all float32 numbers).
Infinities, NaN, subnormals and overflow are those of IEEE 754; the sign of a zero result is not
promised. sin, cos and tan hold for |x| <= 1e4 and lose accuracy beyond, where sin and cos still are
between -1 and 1 up to rounding. mod is exact for |x/y| up to 2 to the number of digits and lies between 0
and y beyond. interp is computed in float64, and so is power in float32.

Nothing is compiled with `reassoc`, `nnan` or `ninf`: reassociation undoes a Cody-Waite reduction.
Fast-math flags belong to the single instruction, so kernels with more flags may inline these.
"""

from types import SimpleNamespace

import numpy as np
from numba.core import types
from numba.extending import overload

from sdekit import math as sm

from .angles import arc_sines, arc_tangents, circle
from .comparisons import comparisons, remainders, roundings
from .error_function import error_functions
from .exponentials import exponentials, hyperbolic, logarithms, roots, shifted_logarithms
from .instructions import JIT, number_format, select
from .powers import powers
from .tables import interpolation

BUILDERS = (
    comparisons, roundings, remainders, exponentials, hyperbolic, logarithms, shifted_logarithms, roots, powers,
    circle, arc_tangents, arc_sines, error_functions,
)  # fmt: skip


def build(F, wide=None):
    """The functions of the type F, by name; `wide` are those of the type twice as wide."""
    f = SimpleNamespace(wide=wide, **vars(number_format(F)))
    for builder in BUILDERS:
        vars(f).update(builder(f))
    return f


DOUBLE = build(np.float64)
FUNCTIONS = {types.float64: DOUBLE, types.float32: build(np.float32, wide=DOUBLE)}


def implementation(name, dtype):
    """The function of `sdekit.math` called `name` for scalars of numba's float32 or float64.

    Besides those names: `sin_poly` and `cos_poly`, the same for |r| <= pi/4, `log_positive`, the logarithm
    of a positive number that is neither subnormal nor infinite, and `floor_divide`, the // that goes with `mod`.
    """
    return getattr(FUNCTIONS[dtype], name)


UNARY = (
    "exp", "log", "log1p", "expm1", "sqrt", "cbrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh",
    "tanh", "arcsinh", "erf", "erfc", "abs", "sign", "floor", "ceil", "round",
)  # fmt: skip
BINARY = ("power", "mod", "arctan2", "minimum", "maximum")


def scalar_type(*numbers):
    """The type to compute in: float32 beside nothing wider (integers are weak), else float64.

    None unless all are plain numbers.
    """
    if not all(isinstance(n, (types.Float, types.Integer)) for n in numbers):
        return None
    floats = {n for n in numbers if isinstance(n, types.Float)}
    return types.float32 if floats == {types.float32} else types.float64


def register_unary(name):
    """Make `sdekit.math`'s function compile, for plain numbers, to the implementation here."""

    @overload(getattr(sm, name), jit_options=JIT)
    def unary(x):
        if dtype := scalar_type(x):
            function = implementation(name, dtype)
            return lambda x: function(dtype(x))


def register_binary(name):
    @overload(getattr(sm, name), jit_options=JIT)
    def binary(x, y):
        if dtype := scalar_type(x, y):
            function = implementation(name, dtype)
            return lambda x, y: function(dtype(x), dtype(y))


for name in (*UNARY, "isfinite"):
    register_unary(name)
for name in BINARY:
    register_binary(name)


@overload(sm.interp, jit_options=JIT)
def interp(x, xp, fp):
    function = interpolation(xp, fp)
    if function and (dtype := scalar_type(x)):
        return lambda x, xp, fp: dtype(function(types.float64(x), xp, fp))


@overload(sm.where, jit_options=JIT)
def where(condition, x, y):
    if isinstance(condition, types.Boolean) and (dtype := scalar_type(x, y)):
        return lambda condition, x, y: select(condition, dtype(x), dtype(y))


@overload(sm.clip, jit_options=JIT)
def clip(x, lo, hi):
    return lambda x, lo, hi: sm.minimum(sm.maximum(x, lo), hi)


@overload(sm.expand, jit_options=JIT)
def expand(t, x):
    return lambda t, x: t


@overload(sm.inside, jit_options=JIT)
def inside(process, t):
    return lambda process, t: t
