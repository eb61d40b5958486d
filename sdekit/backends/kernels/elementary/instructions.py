"""Instructions that numba's Python has no name for, and the bits of floating-point numbers."""

from types import SimpleNamespace

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .coefficients import COEFFICIENTS

FLAGS = ("contract",)
# What only other compiled code calls needs no entry for Python and none for C, which cost as much time as itself.
BARE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
JIT = {"forceinline": True, "nogil": True, "error_model": "numpy", "fastmath": set(FLAGS), **BARE}


@intrinsic
def select(typingctx, condition, x, y):
    """x where the condition holds, else y: both are evaluated, nothing branches."""

    def emit(context, builder, signature, args):
        return builder.select(*args)

    return x(condition, x, y), emit


@intrinsic
def with_sign(typingctx, x, y):
    """|x| with the sign of y."""

    def emit(context, builder, signature, args):
        kind = args[0].type
        copysign = ir.FunctionType(kind, [kind, kind])
        function = builder.module.declare_intrinsic("llvm.copysign", [kind], copysign)
        return builder.call(function, args)

    return x(x, y), emit


def llvm(name):
    """LLVM's own function of one argument."""

    @intrinsic
    def instruction(typingctx, x):
        def emit(context, builder, signature, args):
            return builder.call(builder.module.declare_intrinsic(name, [args[0].type]), args)

        return x(x), emit

    return instruction


square_root, magnitude = llvm("llvm.sqrt"), llvm("llvm.fabs")
round_down, round_up, round_even = llvm("llvm.floor"), llvm("llvm.ceil"), llvm("llvm.rint")


@intrinsic
def rounded_product(typingctx, x, y):
    """x y, which no addition may be fused with: numba adds the flags of a function to instructions without any."""
    return x(x, y), lambda context, builder, signature, args: builder.fmul(*args, flags=("nsz",))


def polynomial(coefficients):
    """Horner's scheme, unrolled; degree 0 first."""

    @intrinsic
    def instruction(typingctx, x):
        def emit(context, builder, signature, args):
            *lower, value = [ir.Constant(args[0].type, float(c)) for c in coefficients]
            for c in reversed(lower):
                value = builder.fadd(builder.fmul(value, args[0], flags=FLAGS), c, flags=FLAGS)
            return value

        return x(x), emit

    return instruction


def subtract_parts(parts):
    """x - n part for one part after the other."""

    @intrinsic
    def instruction(typingctx, x, n):
        def emit(context, builder, signature, args):
            value, n = args
            for part in parts:
                product = builder.fmul(n, ir.Constant(n.type, part), flags=FLAGS)
                value = builder.fsub(value, product, flags=FLAGS)
            return value

        return x(x, n), emit

    return instruction


def on_bits(expression, returns=None):
    """expression(builder, bit pattern of x), read as a float like x unless `returns` is given."""

    @intrinsic
    def instruction(typingctx, x):
        def emit(context, builder, signature, args):
            value = expression(builder, builder.bitcast(args[0], ir.IntType(x.bitwidth)))
            return value if returns else builder.bitcast(value, args[0].type)

        return (returns or x)(x), emit

    return instruction


def jit(function):
    return numba.njit(**JIT)(function)


def source(text, **names):
    """The function that `text` defines as `impl`, with `names` as its globals."""
    exec(text, names)  # numba needs the unrolled source; it is built from counts alone
    return names["impl"]


def number_format(F):
    """Constants and bit manipulations of the floating-point type F."""
    info = np.finfo(F)
    digits, bias, width = info.nmant, info.maxexp - 1, info.bits

    def pattern(value):
        return int(np.array(value, F).view(f"u{width // 8}"))

    # x = 2^e m with sqrt(1/2) <= m < sqrt(2): shift the pattern so that it carries at sqrt(1/2).
    root = pattern(np.sqrt(0.5))
    carry, fraction = pattern(1) - root, (1 << digits) - 1

    def split(b, i):
        return b.add(i, i.type(carry))

    return SimpleNamespace(
        F=F,
        zero=F(0),
        half=F(0.5),
        one=F(1),
        two=F(2),
        three=F(3),
        inf=F(np.inf),
        nan=F(np.nan),
        coefficients=COEFFICIENTS[F],
        digits=digits,
        min_exponent=info.minexp,
        max_exponent=info.maxexp,
        tiny=F(info.tiny),
        # Added to a number it rounds it to an integer, which is then in the low bits of the sum.
        magic=F(1.5 * 2.0**digits),
        # 2^n from n + (magic + bias): the exponent is moved from the low bits to its place.
        magic_bias=F(1.5 * 2.0**digits + bias),
        power_of_2=on_bits(lambda b, i: b.shl(i, i.type(digits))),
        # e + exponent_base, positive x
        exponent=on_bits(lambda b, i: b.or_(b.lshr(split(b, i), i.type(digits)), i.type(pattern(2.0**digits)))),
        exponent_base=F(2.0**digits + bias),
        # m
        mantissa=on_bits(lambda b, i: b.add(b.and_(split(b, i), i.type(fraction)), i.type(root))),
        # Of q = magic + n: whether n is odd; -1 where n mod 4 is 2 or 3, else 1.
        is_odd=on_bits(lambda b, i: b.icmp_unsigned("!=", b.and_(i, i.type(1)), i.type(0)), types.boolean),
        half_turn_sign=on_bits(
            lambda b, i: b.or_(b.and_(b.shl(i, i.type(width - 2)), i.type(1 << (width - 1))), i.type(pattern(1)))
        ),
        # The first half of the digits: the product of two such numbers is exact.
        high_half=on_bits(lambda b, i: b.and_(i, i.type(-(1 << (digits // 2 + 1))))),
    )
