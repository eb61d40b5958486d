"""`sdekit.math` inside numba: straight-line functions that LLVM turns into vector instructions.

llvmlite ships no vector mathematics library, so one libm call would make a whole lane loop scalar.
Each function here is arithmetic, bit patterns and selects: an exact reduction to a small interval
(W. J. Cody and W. Waite, *Software Manual for the Elementary Functions*, 1980: subtract n·c with
c in several parts, each short enough that n times it is exact), then a minimax polynomial. The
formulas are written once and built for float32 and float64; no target needs a fused multiply-add.
Every literal is printed by `benchmarks/fit_elementary.py`.

Errors are below 4 units in the last place (`tests/test_math.py` has the figure of each function).
Infinities, NaN, subnormals and overflow are those of IEEE 754; the sign of a zero result is not
promised. sin, cos and tan hold for |x| <= 1e4 and lose accuracy beyond, where sin and cos still are
between -1 and 1 up to rounding.

Nothing is compiled with `reassoc`, `nnan` or `ninf`: reassociation undoes a Cody-Waite reduction.
Fast-math flags belong to the single instruction, so kernels with more flags may inline these.
"""

from types import SimpleNamespace

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from sdekit import math as sm

FLAGS = ("contract",)
JIT = {"forceinline": True, "nogil": True, "error_model": "numpy", "fastmath": set(FLAGS)}

# Minimax coefficients, degree 0 first.
COEFFICIENTS = {
    np.float32: {
        "exp": (0.49999997, 0.16666543, 0.0416672, 0.008366514, 0.0013882532),
        "sin": (-0.16666655, 0.008332178, -0.000195173),
        "cos": (0.041666646, -0.0013887368, 2.4438452e-05),
        "log": (0.66666776, 0.39977542, 0.2987172),
        "log1p": (0.3333386, -0.25001746, 0.199654, -0.16565643, 0.14876954, -0.14350131, 0.08917798),
        "arctan": (-0.33332956, 0.19977927, -0.13879856, 0.08060328),
    },
    np.float64: {
        "exp": (
            0.5000000000000006, 0.1666666666666659, 0.041666666666576826, 0.00833333333338945,
            0.001388888893153832, 0.00019841269719220276, 2.4801505308285132e-05,
            2.7557407376332977e-06, 2.762602336854447e-07, 2.5053816434848677e-08,
        ),
        "sin": (
            -0.16666666666666632, 0.008333333333322425, -0.00019841269829817224,
            2.755731369531321e-06, -2.505075866603134e-08, 1.5896828632235337e-10,
        ),
        "cos": (
            0.0416666666666666, -0.001388888888887414, 2.4801587289492132e-05,
            -2.7557314355329435e-07, 2.087572369620374e-09, -1.1359670466001367e-11,
        ),
        "log": (
            0.6666666666666734, 0.39999999999414715, 0.28571428742381255, 0.22222198573753668,
            0.18183564299359609, 0.15314051192626468, 0.14795943535411177,
        ),
        "log2": (
            0.6000000000000338, 0.4285714285515, 0.3333333377975183, 0.2727267656371505,
            0.23080135338095045, 0.1988524317585984, 0.1979432923198248,
        ),
        "arctan": (
            -0.333333333333332, 0.19999999999954085, -0.14285714280248724, 0.11111110786145538,
            -0.09090897836623599, 0.07692061639748626, -0.06663120410717992, 0.05848009098728733,
            -0.05039846304258414, 0.038078340813552235, -0.017922301048820262,
        ),
    },
}  # fmt: skip

# Constants as sums of parts; all but the last have so few bits that n times them is exact.
PARTS = {
    np.float32: {
        "ln2": (0.693145751953125, 1.428606765330187e-06),
        "half_pi": (
            1.5703125, 0.0004837512969970703, 7.549533620476723e-08, 2.5632829192545614e-12,
            6.123234262925839e-17,
        ),
    },
    np.float64: {
        "ln2": (0.6931471805598903, 5.497923018708371e-14),
        "half_pi": (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21),
        "two_thirds_log2e": (0.9617966860532761, 7.872699542894897e-09),
    },
}  # fmt: skip


# Instructions that numba's Python has no name for.


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


square_root, round_down, magnitude = llvm("llvm.sqrt"), llvm("llvm.floor"), llvm("llvm.fabs")


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
        parts=PARTS[F],
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


def comparisons(f):
    zero, one, inf = f.zero, f.one, f.inf

    @jit
    def clamp(x, low, high):
        """x, but within [low, high]; NaN stays."""
        return select(x < low, low, select(x > high, high, x))

    @jit
    def abs(x):
        return magnitude(x)

    @jit
    def sqrt(x):
        return square_root(x)

    @jit
    def floor(x):
        return round_down(x)

    @jit
    def sign(x):
        return select(x > zero, one, select(x < zero, -one, x))

    @jit
    def isfinite(x):
        return magnitude(x) < inf

    @jit
    def minimum(x, y):
        return select(x < y, x, select(x == x, y, x))

    @jit
    def maximum(x, y):
        return select(x > y, x, select(x == x, y, x))

    @jit
    def where(condition, x, y):
        return select(condition, x, y)

    return {
        "clamp": clamp,
        "abs": abs,
        "sqrt": sqrt,
        "floor": floor,
        "sign": sign,
        "isfinite": isfinite,
        "minimum": minimum,
        "maximum": maximum,
        "where": where,
    }


def exponentials(f, clamp):
    F, magic, magic_bias, power_of_2 = f.F, f.magic, f.magic_bias, f.power_of_2
    half, one, two = f.half, f.one, f.two
    tail, less_ln2 = polynomial(f.coefficients["exp"]), subtract_parts(f.parts["ln2"])
    log2_e = F(1 / np.log(2))
    # e^x rounds to 0 below low and overflows above high; e^x - 1 rounds to -1 below low_1.
    low, high = (F(n * np.log(2)) for n in (f.min_exponent - f.digits - 2, f.max_exponent + 0.25))
    low_1 = F(-2 * f.digits)

    @jit
    def exp_near_0(r):
        """1 + r + r² tail(r), |r| <= ln(2)/2."""
        return one + (r + r * r * tail(r))

    @jit
    def scale(x, n):
        """2^n x by two factors, of which only the second rounds, where the result is subnormal."""
        first = n * half + magic_bias
        rest = n - (first - magic_bias)
        return x * power_of_2(first) * power_of_2(rest + magic_bias)

    @jit
    def exp(x):
        """2^n e^r with x = n ln 2 + r."""
        x = clamp(x, low, high)
        n = (x * log2_e + magic) - magic
        return scale(exp_near_0(less_ln2(x, n)), n)

    @jit
    def expm1(x):
        """2^n (e^r - 1) + (2^n - 1), with a factor 2^(n/2) kept apart against overflow."""
        x = clamp(x, low_1, high)
        n = (x * log2_e + magic) - magic
        r = less_ln2(x, n)
        first = n * half + magic_bias
        rest = n - (first - magic_bias)
        a, b, inverse = (
            power_of_2(first), power_of_2(rest + magic_bias), power_of_2(magic_bias - rest)
        )  # fmt: skip
        return ((r + r * r * tail(r)) * a + (a - inverse)) * b

    @jit
    def tanh(x):
        """-m/(m + 2) with m = e^(-2|x|) - 1, and the sign of x."""
        m = expm1(-two * magnitude(x))
        return with_sign(m / (m + two), x)

    return {"exp_near_0": exp_near_0, "scale": scale, "exp": exp, "expm1": expm1, "tanh": tanh}


def logarithms(f):
    F, tiny, magic_bias, power_of_2 = f.F, f.tiny, f.magic_bias, f.power_of_2
    exponent, exponent_base, mantissa = f.exponent, f.exponent_base, f.mantissa
    zero, one, two, inf, nan = f.zero, f.one, f.two, f.inf, f.nan
    tail = polynomial(f.coefficients["log"])
    ln2_high, ln2_low = (F(v) for v in f.parts["ln2"])
    lift, lifted_base = F(2.0**f.digits), exponent_base + F(f.digits)
    max_exponent = F(f.max_exponent - 1)

    @jit
    def log_near_1(e, g):
        """log(2^e (1 + g)), sqrt(1/2) <= 1 + g <= sqrt(2).

        With s = g/(2 + g): log(1 + g) = 2 atanh(s) = g - s (g - s² tail(s²)).
        """
        s = g / (two + g)
        z = s * s
        return e * ln2_high + (g - (s * (g - z * tail(z)) - e * ln2_low))

    @jit
    def split(x):
        """(e, m) with x = 2^e m; subnormal x are lifted first."""
        subnormal = x < tiny
        x = select(subnormal, x * lift, x)
        return exponent(x) - select(subnormal, lifted_base, exponent_base), mantissa(x)

    if "log1p" in f.coefficients:  # short enough a polynomial to do without the division
        log1p_tail, half = polynomial(f.coefficients["log1p"]), F(0.5)

        @jit
        def log_positive(x):
            """e ln 2 + log(1 + g), where log(1 + g) = g - g²/2 + g³ tail(g)."""
            e, g = exponent(x) - exponent_base, mantissa(x) - one
            z = g * g
            return e * ln2_high + (g - (z * (half - g * log1p_tail(g)) - e * ln2_low))

    else:

        @jit
        def log_positive(x):
            return log_near_1(exponent(x) - exponent_base, mantissa(x) - one)

    @jit
    def log(x):
        e, m = split(x)
        y = select(x < inf, log_near_1(e, m - one), x)
        return select(x > zero, y, select(x == zero, -inf, nan))

    @jit
    def log1p(x):
        """log(u) with u + c = 1 + x exactly: 2^-e c joins what the mantissa of u is above 1."""
        u = one + x
        v = u - one
        c = (one - (u - v)) + (x - v)
        e = exponent(u) - exponent_base
        inverse = power_of_2(magic_bias - select(e < max_exponent, e, max_exponent))
        y = select(x < inf, log_near_1(e, (mantissa(u) - one) + c * inverse), x)
        return select(u > zero, y, select(x == -one, -inf, nan))

    return {"split": split, "log_positive": log_positive, "log": log, "log1p": log1p}


def trigonometry(f, clamp):
    F, magic, is_odd, half_turn_sign = f.F, f.magic, f.is_odd, f.half_turn_sign
    zero, half, one = f.zero, f.half, f.one
    sin_tail, cos_tail, arctan_tail = (polynomial(f.coefficients[name]) for name in ("sin", "cos", "arctan"))
    less_half_pi = subtract_parts(f.parts["half_pi"])
    two_over_pi, half_pi, quarter_pi = F(2 / np.pi), F(np.pi / 2), F(np.pi / 4)
    # pi/2 - F(pi/2), where cos(double(pi/2)) is pi/2 - double(pi/2)
    half_pi_low = F(np.pi / 2 - float(half_pi) + np.cos(np.pi / 2))
    quarter_pi_low = half * half_pi_low
    tan_first, tan_third = F(np.tan(np.pi / 8)), F(np.tan(3 * np.pi / 8))

    @jit
    def sin_poly(r):
        """r + r z tail(z), z = r², |r| <= pi/4."""
        z = r * r
        return r + r * z * sin_tail(z)

    @jit
    def cos_poly(r):
        """1 - z/2 + z² tail(z), z = r², |r| <= pi/4."""
        z = r * r
        return one - (half * z - z * z * cos_tail(z))

    @jit
    def quadrant(x):
        """(magic + n, r) with x = n pi/2 + r; beyond the domain r is kept in [-1, 1]."""
        q = x * two_over_pi + magic
        return q, clamp(less_half_pi(x, q - magic), -one, one)

    @jit
    def sin(x):
        q, r = quadrant(x)
        return select(is_odd(q), cos_poly(r), sin_poly(r)) * half_turn_sign(q)

    @jit
    def cos(x):
        q, r = quadrant(x)
        q = q + one
        return select(is_odd(q), cos_poly(r), sin_poly(r)) * half_turn_sign(q)

    @jit
    def tan(x):
        q, r = quadrant(x)
        s, c, odd = sin_poly(r), cos_poly(r), is_odd(q)
        return select(odd, -c, s) / select(odd, s, c)

    @jit
    def arctan(x):
        """arctan(a) = c + arctan(s), a = |x|; c = 0, pi/4, pi/2; s = a, (a - 1)/(a + 1), -1/a."""
        a = magnitude(x)
        first, third = a < tan_first, a > tan_third
        s = select(first, a, select(third, -one, a - one))
        s = s / select(first, one, select(third, a, a + one))
        z = s * s
        c = select(first, zero, select(third, half_pi, quarter_pi))
        c_low = select(first, zero, select(third, half_pi_low, quarter_pi_low))
        return with_sign(c + (s + (s * z * arctan_tail(z) + c_low)), x)

    return {
        "sin_poly": sin_poly,
        "cos_poly": cos_poly,
        "sin": sin,
        "cos": cos,
        "tan": tan,
        "arctan": arctan,
    }


def wide_power(clamp, exp, log):
    """a^y of float32 in float64, for finite a > 0."""
    y_max = np.float64(2.0**66)  # from there on a^y is 0, 1 or infinite

    @jit
    def positive_power(a, y):
        y = clamp(np.float64(y), -y_max, y_max)
        return np.float32(exp(y * log(np.float64(a))))

    return positive_power


def double_word_power(f, clamp, exp_near_0, scale, split):
    """a^y = 2^(y log2 a), for finite a > 0.

    The logarithm needs 11 digits more than F has, so it and what leads to it are sums of two
    numbers, of which the first has half the digits.
    """
    F, high_half, magic = f.F, f.high_half, f.magic
    one, three = f.one, f.three
    tail = polynomial(f.coefficients["log2"])
    factor_high, factor_low = (F(v) for v in f.parts["two_thirds_log2e"])
    factor, ln2, y_max, n_max = factor_high + factor_low, F(np.log(2)), F(2.0**66), F(1100)

    @jit
    def log2(x):
        """e + 2/(3 ln 2) s (3 + s² + s⁴ tail(s²)), x = 2^e m, s = (m - 1)/(m + 1)."""
        e, m = split(x)
        d = m + one
        d_high = high_half(d)
        d_low = m - (d_high - one)
        reciprocal = one / d
        s = (m - one) * reciprocal
        s_high = high_half(s)
        s_low = (((m - one) - s_high * d_high) - s_high * d_low) * reciprocal
        z_high, z = s_high * s_high, s * s
        rest = z * z * tail(z) + s_low * (s_high + s)
        q_high = high_half(three + z_high + rest)
        q_low = rest - ((q_high - three) - z_high)
        u, v = s_high * q_high, s_low * q_high + s * q_low
        p_high = high_half(u + v)
        p_low = v - (p_high - u)
        u, v = p_high * factor_high, p_high * factor_low + p_low * factor
        high = high_half(e + (u + v))
        return high, v - ((high - e) - u)

    @jit
    def positive_power(a, y):
        log_high, log_low = log2(a)
        y = clamp(y, -y_max, y_max)
        y_high = high_half(y)
        high, low = y_high * log_high, y * log_low + (y - y_high) * log_high
        n = (clamp(high + low, -n_max, n_max) + magic) - magic
        r = clamp((high - n) + low, -one, one)
        return scale(exp_near_0(r * ln2), n)

    return positive_power


def power_of(f, positive_power):
    zero, half, one, inf, nan = f.zero, f.half, f.one, f.inf, f.nan

    @jit
    def power(x, y):
        """|x|^y, then the limits at 0 and infinity, the sign, and the cases that IEEE 754 names."""
        a = magnitude(x)
        whole = round_down(y) == y
        odd = select(round_down(half * y) == half * y, False, whole)
        p = positive_power(a, y)
        p = select(whole, p, select(x < zero, nan, p))
        p = select(a == zero, select(y > zero, zero, inf), p)
        p = select(a == inf, select(y > zero, inf, zero), p)
        p = select(odd, with_sign(p, x), p)
        p = select(x == x, select(y == y, p, y), x)
        return select(x == one, one, select(y == zero, one, p))

    return power


def build(F, wide=None):
    """Names to compiled functions for the type F; `wide` are those of the type twice as wide."""
    f = number_format(F)
    table = comparisons(f)
    clamp = table["clamp"]
    table |= exponentials(f, clamp) | logarithms(f) | trigonometry(f, clamp)
    if wide:
        positive_power = wide_power(wide["clamp"], wide["exp"], wide["log_positive"])
    else:
        helpers = (table[name] for name in ("clamp", "exp_near_0", "scale", "split"))
        positive_power = double_word_power(f, *helpers)
    return table | {"power": power_of(f, positive_power)}


DOUBLE = build(np.float64)
FUNCTIONS = {types.float64: DOUBLE, types.float32: build(np.float32, wide=DOUBLE)}


def implementation(name, dtype):
    """The function of `sdekit.math` called `name` for scalars of numba's float32 or float64.

    Besides those names: `sin_poly` and `cos_poly`, the same for |r| <= pi/4, and `log_positive`,
    the logarithm of a positive number that is neither subnormal nor infinite.
    """
    return FUNCTIONS[dtype][name]


UNARY = (
    "exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "tan", "tanh", "arctan", "abs", "sign",
    "floor", "isfinite",
)  # fmt: skip
BINARY = ("power", "minimum", "maximum")


def scalar_type(*numbers):
    """The type to compute in: float32 beside nothing wider (integers are weak), else float64.

    None unless all are plain numbers.
    """
    if not all(isinstance(n, (types.Float, types.Integer)) for n in numbers):
        return None
    floats = {n for n in numbers if isinstance(n, types.Float)}
    return types.float32 if floats == {types.float32} else types.float64


def register(name, arity):
    """Make `sdekit.math`'s function compile, for plain numbers, to the implementation here."""

    def unary(x):
        if dtype := scalar_type(x):
            function = implementation(name, dtype)
            return lambda x: function(dtype(x))

    def binary(x, y):
        if dtype := scalar_type(x, y):
            function = implementation(name, dtype)
            return lambda x, y: function(dtype(x), dtype(y))

    overload(getattr(sm, name), jit_options=JIT)(unary if arity == 1 else binary)


for name in UNARY:
    register(name, 1)
for name in BINARY:
    register(name, 2)


@overload(sm.where, jit_options=JIT)
def where(condition, x, y):
    if isinstance(condition, types.Boolean) and (dtype := scalar_type(x, y)):
        return lambda condition, x, y: select(condition, dtype(x), dtype(y))


@overload(sm.expand, jit_options=JIT)
def expand(t, x):
    return lambda t, x: t


@overload(sm.inside, jit_options=JIT)
def inside(process, t):
    return lambda process, t: t
