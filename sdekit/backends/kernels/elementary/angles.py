"""Sines, cosines, tangents and their inverses."""

import numpy as np

from .instructions import jit, magnitude, polynomial, select, square_root, subtract_parts, with_sign


def circle(f):
    F, clamp, magic, is_odd, half_turn_sign = f.F, f.clamp, f.magic, f.is_odd, f.half_turn_sign
    half, one = f.half, f.one
    sin_tail, cos_tail = polynomial(f.coefficients["sin"]), polynomial(f.coefficients["cos"])
    less_half_pi = subtract_parts(f.coefficients["half_pi"])
    two_over_pi = F(2 / np.pi)

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

    return {"sin_poly": sin_poly, "cos_poly": cos_poly, "sin": sin, "cos": cos, "tan": tan}


def half_pi_parts(f):
    """pi/2 as a number and what it lacks: cos(double(pi/2)) is pi/2 - double(pi/2)."""
    high = f.F(np.pi / 2)
    return high, f.F(np.pi / 2 - float(high) + np.cos(np.pi / 2))


def arc_tangents(f):
    zero, half, one, two = f.zero, f.half, f.one, f.two
    arctan_tail = polynomial(f.coefficients["arctan"])
    half_pi, half_pi_low = half_pi_parts(f)
    quarter_pi, quarter_pi_low = half * half_pi, half * half_pi_low
    pi, pi_low = two * half_pi, two * half_pi_low
    tan_first, tan_third = f.F(np.tan(np.pi / 8)), f.F(np.tan(3 * np.pi / 8))

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

    @jit
    def arctan2(y, x):
        """arctan(|y|/|x|), that from pi where x is negative, -0 included, and the sign of y."""
        b, a = magnitude(y), magnitude(x)
        t = arctan(select(b == zero, zero, select(b == a, one, b / a)))
        t = select(with_sign(one, x) < zero, pi - (t - pi_low), t)
        return select(x == x, with_sign(t, y), x)

    return {"arctan": arctan, "arctan2": arctan2}


def arc_sines(f):
    zero, half, one, two = f.zero, f.half, f.one, f.two
    tail = polynomial(f.coefficients["arcsin"])
    half_pi, half_pi_low = half_pi_parts(f)
    pi, pi_low = two * half_pi, two * half_pi_low

    @jit
    def reduced(a):
        """(s, arcsin(s) - s): s = a up to 1/2, beyond it sqrt((1 - a)/2) with arcsin(a) = pi/2 - 2 arcsin(s)."""
        z = select(a > half, (one - a) * half, a * a)
        s = select(a > half, square_root(z), a)
        return s, s * z * tail(z)

    @jit
    def arcsin(x):
        a = magnitude(x)
        s, rest = reduced(a)
        return with_sign(select(a > half, (half_pi - two * s) - (two * rest - half_pi_low), s + rest), x)

    @jit
    def arccos(x):
        """pi/2 - arcsin(x), beyond |x| = 1/2 twice arcsin(s), or pi less that."""
        a = magnitude(x)
        s, rest = reduced(a)
        large = select(x < zero, (pi - two * s) - (two * rest - pi_low), two * (s + rest))
        small = half_pi - (with_sign(s, x) + (with_sign(rest, x) - half_pi_low))
        return select(a > half, large, small)

    return {"arcsin": arcsin, "arccos": arccos}
