"""x^y, which takes a logarithm of more digits than the result has."""

import numpy as np

from .instructions import jit, magnitude, polynomial, round_down, select, with_sign


def wide_power(wide):
    """a^y of float32 in float64, of which `wide` has the functions, for finite a > 0."""
    clamp, exp, log = wide.clamp, wide.exp, wide.log_positive
    y_max = np.float64(2.0**66)  # from there on a^y is 0, 1 or infinite

    @jit
    def positive_power(a, y):
        y = clamp(np.float64(y), -y_max, y_max)
        return np.float32(exp(y * log(np.float64(a))))

    return positive_power


def double_word_log2(f):
    """log2 of a positive finite number as a sum of two, of which the first has half the digits."""
    F, split, high_half, one, three = f.F, f.split, f.high_half, f.one, f.three
    tail = polynomial(f.coefficients["log2"])
    factor_high, factor_low = (F(v) for v in f.coefficients["two_thirds_log2e"])
    factor = factor_high + factor_low

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

    return log2


def double_word_power(f):
    """a^y = 2^(y log2 a), for finite a > 0: the logarithm needs 11 digits more than F has."""
    F, clamp, exp_near_0, scale = f.F, f.clamp, f.exp_near_0, f.scale
    high_half, magic, one = f.high_half, f.magic, f.one
    log2, ln2, y_max, n_max = double_word_log2(f), F(np.log(2)), F(2.0**66), F(1100)

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


def powers(f):
    """power; its core in double precision for float32."""
    positive_power = wide_power(f.wide) if f.wide else double_word_power(f)
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

    return {"power": power}
