"""erf and erfc: a polynomial near 0, and beyond it the scaled complementary function, which is smooth."""

import numpy as np

from .coefficients import ERFC_POLE
from .instructions import jit, magnitude, polynomial, select, subtract_parts, with_sign


def error_functions(f):
    F, magic, high_half, scale = f.F, f.magic, f.high_half, f.scale
    one, two, near, pole, log2_e = f.one, f.two, F(0.75), F(ERFC_POLE), F(1 / np.log(2))
    erf_tail, erfc_tail, exp_tail = (polynomial(f.coefficients[name]) for name in ("erf", "erfc", "exp"))
    less_ln2 = subtract_parts(f.coefficients["ln2"])
    last = F(np.sqrt((f.digits + 2 - f.min_exponent) * np.log(2)))  # erfc rounds to 0 from here on

    @jit
    def near_0(x):
        """x + x tail(x²), |x| <= 1."""
        return x + x * erf_tail(x * x)

    @jit
    def beyond(a):
        """erfc(a) = exp(-a²) (1 + tail(q))/(a + K), q = (a - K)/(a + K), a >= 3/4.

        The square is exact in two parts.
        """
        a = select(a > last, last, a)
        high = high_half(a)
        n = (magic - a * a * log2_e) - magic
        r = less_ln2(-high * high, n) - (a - high) * (a + high)
        t = one / (a + pole)
        y = t + t * erfc_tail((a - pole) * t)
        return scale(y + y * (r + r * r * exp_tail(r)), n)

    @jit
    def erf(x):
        a = magnitude(x)
        return select(a < one, near_0(x), with_sign(one - beyond(a), x))

    @jit
    def erfc(x):
        a = magnitude(x)
        y = beyond(a)
        return select(x < near, select(x > -one, one - near_0(x), two - y), y)

    return {"erf": erf, "erfc": erfc}
