"""exp and log, and what is made of them: hyperbolic functions and their inverses, roots, powers."""

import numpy as np

from .instructions import jit, magnitude, polynomial, select, square_root, subtract_parts, with_sign


def exponentials(f):
    F, clamp, magic, magic_bias, power_of_2 = f.F, f.clamp, f.magic, f.magic_bias, f.power_of_2
    half, one = f.half, f.one
    tail, less_ln2 = polynomial(f.coefficients["exp"]), subtract_parts(f.coefficients["ln2"])
    log2_e = F(1 / np.log(2))
    # e^x rounds to 0 below low and e^x/2 overflows above high; e^x - 1 rounds to -1 below low_1.
    low, high = (F(n * np.log(2)) for n in (f.min_exponent - f.digits - 2, f.max_exponent + 1.25))
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
    def expm1_factors(x):
        """2^n (e^r - 1) + (2^n - 1) as two factors, the second about 2^(n/2), against overflow."""
        x = clamp(x, low_1, high)
        n = (x * log2_e + magic) - magic
        r = less_ln2(x, n)
        first = n * half + magic_bias
        rest = n - (first - magic_bias)
        a, inverse = power_of_2(first), power_of_2(magic_bias - rest)
        return (r + r * r * tail(r)) * a + (a - inverse), power_of_2(rest + magic_bias)

    return {"exp_near_0": exp_near_0, "scale": scale, "exp": exp, "expm1_factors": expm1_factors}


def hyperbolic(f):
    expm1_factors, half, one, two = f.expm1_factors, f.half, f.one, f.two
    quarter, large = half * half, f.F(2.0 ** (f.digits + 2))

    @jit
    def expm1(x):
        y, b = expm1_factors(x)
        return y * b

    @jit
    def half_expm1(x):
        """(e^x - 1)/2, finite wherever sinh is."""
        y, b = expm1_factors(x)
        return y * (half * b)

    @jit
    def tanh(x):
        """-m/(m + 2) with m = e^(-2|x|) - 1, and the sign of x."""
        m = expm1(-two * magnitude(x))
        return with_sign(m / (m + two), x)

    @jit
    def sinh(x):
        """m + m/(2m + 1) with m = (e^|x| - 1)/2, and the sign of x."""
        m = half_expm1(magnitude(x))
        c = select(m < large, m, large)
        return with_sign(m + c / (c + c + one), x)

    @jit
    def cosh(x):
        """e + 1/(4e) with e = e^|x|/2."""
        e = half_expm1(magnitude(x)) + half
        return e + quarter / e

    return {"expm1": expm1, "tanh": tanh, "sinh": sinh, "cosh": cosh}


def logarithms(f):
    F, tiny = f.F, f.tiny
    exponent, exponent_base, mantissa = f.exponent, f.exponent_base, f.mantissa
    zero, one, two, inf, nan = f.zero, f.one, f.two, f.inf, f.nan
    tail = polynomial(f.coefficients["log"])
    ln2_high, ln2_low = (F(v) for v in f.coefficients["ln2"])
    lift, lifted_base = F(2.0**f.digits), exponent_base + F(f.digits)

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

    return {"log_near_1": log_near_1, "split": split, "log_positive": log_positive, "log": log}


def shifted_logarithms(f):
    F, magic_bias, power_of_2, log_near_1 = f.F, f.magic_bias, f.power_of_2, f.log_near_1
    exponent, exponent_base, mantissa = f.exponent, f.exponent_base, f.mantissa
    zero, one, inf, nan, ln2 = f.zero, f.one, f.inf, f.nan, F(np.log(2))
    large, max_exponent = F(2.0 ** (f.digits + 1)), F(f.max_exponent - 1)

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

    @jit
    def arcsinh(x):
        """log(1 + a + a²/(1 + sqrt(1 + a²))), a = |x|; log(a) + log(2) where a is large."""
        a = magnitude(x)
        b = select(a > large, large, a)
        z = b * b
        y = log1p(select(a > large, a, b + z / (one + square_root(one + z))))
        return with_sign(select(a > large, y + ln2, y), x)

    return {"log1p": log1p, "arcsinh": arcsinh}


def roots(f):
    exp, log, zero, inf, third = f.exp, f.log, f.zero, f.inf, f.F(1 / 3)

    @jit
    def cbrt(x):
        """exp(log(a)/3) and one step of Newton's method, a = |x|."""
        a = magnitude(x)
        y = exp(log(a) * third)
        y = y - (y - a / (y * y)) * third
        return select((a > zero) & (a < inf), with_sign(y, x), x)

    return {"cbrt": cbrt}
