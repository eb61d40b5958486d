"""The polynomials of `sdekit.backends.kernels.elementary`: fits and prints every coefficient.

Each function is reduced to a small interval (see that module) and written there as known leading
terms plus a remainder; the remainder's polynomial is the weighted minimax one, found by the
exchange algorithm in 60-digit arithmetic. The weight makes the error relative to the function
itself. Source of the algorithm: E. Remez, "Sur la détermination des polynômes d'approximation de
degré donnée", 1934.

    python benchmarks/fit_elementary.py

prints the coefficients of coefficients.json, degree 0 first, with the largest relative error, then the constants in
parts.
"""

from collections.abc import Callable
from typing import NamedTuple

import mpmath as mp
import numpy as np

mp.mp.dps = 60


class Fit(NamedTuple):
    """remainder(z) on [lo, hi], so that |polynomial - remainder| * weight is the relative error."""

    remainder: Callable
    weight: Callable
    lo: mp.mpf
    hi: mp.mpf
    terms: dict  # number of coefficients for each dtype


def series(coefficient, z, order=40):
    """Σ coefficient(k) z^k: the remainders by their Taylor series, free of cancellation."""
    return mp.fsum(coefficient(k) * z**k for k in range(order))


octant, half_octave = mp.pi / 4, mp.log(2) / 2
atanh_max, atan_max = 3 - 2 * mp.sqrt(2), mp.sqrt(2) - 1  # (√2 - 1)/(√2 + 1) and tan(π/8)


def exp_tail(r):  # exp(r) = 1 + r + r² tail(r)
    return series(lambda k: 1 / mp.factorial(k + 2), r)


def sin_tail(z):  # sin(r) = r + r z tail(z), z = r²
    return series(lambda k: (-1) ** (k + 1) / mp.factorial(2 * k + 3), z)


def cos_tail(z):  # cos(r) = 1 - z/2 + z² tail(z), z = r²
    return series(lambda k: (-1) ** k / mp.factorial(2 * k + 4), z)


def log_tail(z):  # 2 atanh(s) = 2 s + s z tail(z), z = s²
    return series(lambda k: mp.mpf(2) / (2 * k + 3), z)


def log2_tail(z):  # 3 atanh(s) = s (3 + z + z² tail(z)), z = s²
    return series(lambda k: mp.mpf(3) / (2 * k + 5), z)


def log1p_tail(f):  # log(1 + f) = f - f²/2 + f³ tail(f)
    if abs(f) < mp.mpf("1e-8"):
        return mp.mpf(1) / 3 - f / 4
    return (mp.log1p(f) - f + f**2 / 2) / f**3


def arctan_tail(z):  # arctan(s) = s + s z tail(z), z = s²
    return series(lambda k: mp.mpf((-1) ** (k + 1)) / (2 * k + 3), z, order=90)


def arcsin_tail(z):  # arcsin(s) = s + s z tail(z), z = s²
    return series(lambda k: mp.binomial(2 * k + 2, k + 1) / (mp.mpf(4) ** (k + 1) * (2 * k + 3)), z, order=90)


def erf_tail(z):  # erf(x) = x + x tail(z), z = x²
    c = 2 / mp.sqrt(mp.pi)
    return series(lambda k: (-1) ** k * c / (mp.factorial(k) * (2 * k + 1)), z) - 1


def erfc_tail(q):  # erfc(a) = exp(-a²) (1 + tail(q))/(a + K), q = (a - K)/(a + K)
    a = ERFC_POLE * (1 + q) / (1 - q)
    return (a + ERFC_POLE) * mp.exp(a**2) * mp.erfc(a) - 1


ERFC_POLE = mp.mpf(2.5)  # K: of 1.5, 2, 2.5, 3 and 4 that with the shortest polynomials
ERFC_RANGE = [(mp.mpf(a) - ERFC_POLE) / (mp.mpf(a) + ERFC_POLE) for a in (0.5, 27.3)]  # below erfc rounds to 0

FITS = {
    "exp": Fit(exp_tail, lambda r: r**2 / mp.expm1(r), -half_octave, half_octave, {"f4": 5, "f8": 10}),
    "sin": Fit(sin_tail, lambda z: z, mp.mpf(0), octant**2, {"f4": 3, "f8": 6}),
    "cos": Fit(cos_tail, lambda z: z**2, mp.mpf(0), octant**2, {"f4": 3, "f8": 6}),
    "log": Fit(log_tail, lambda z: z / 2, mp.mpf(0), atanh_max**2, {"f4": 3, "f8": 7}),
    "log1p": Fit(log1p_tail, lambda f: f**2, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, {"f4": 7}),
    "log2": Fit(log2_tail, lambda z: z**2 / 3, mp.mpf(0), atanh_max**2, {"f8": 7}),
    "arctan": Fit(arctan_tail, lambda z: z, mp.mpf(0), atan_max**2, {"f4": 4, "f8": 11}),
    "arcsin": Fit(arcsin_tail, lambda z: z, mp.mpf(0), mp.mpf(0.25), {"f4": 5, "f8": 12}),
    "erf": Fit(erf_tail, lambda z: 1 / (1 + erf_tail(z)), mp.mpf(0), mp.mpf(1), {"f4": 7, "f8": 13}),
    "erfc": Fit(erfc_tail, lambda q: 1 / (1 + erfc_tail(q)), *ERFC_RANGE, {"f4": 10, "f8": 22}),
}


def minimax(fit, terms, rounds=12, points=400):
    """Coefficients (degree 0 first) of the weighted minimax polynomial."""
    angle = [mp.pi * (2 * k + 1) / (2 * points) for k in range(points)]
    grid = [(fit.lo + fit.hi) / 2 + (fit.hi - fit.lo) / 2 * mp.cos(a) for a in angle]
    weight = [fit.weight(z) for z in grid]
    target = [fit.remainder(z) for z in grid]
    nodes = [round((k + 0.5) * points / (terms + 1) - 0.5) for k in range(terms + 1)]
    for _ in range(rounds):
        rows = [[grid[i] ** k for k in range(terms)] + [(-1) ** j / abs(weight[i])] for j, i in enumerate(nodes)]
        *c, _level = mp.lu_solve(mp.matrix(rows), mp.matrix([target[i] for i in nodes]))
        error = [abs(w) * (mp.polyval(c[::-1], z) - y) for z, w, y in zip(grid, weight, target)]
        runs = np.split(np.arange(points), 1 + np.flatnonzero(np.diff(np.sign(np.array(error, float)))))
        peaks = [max(run, key=lambda i: abs(error[i])) for run in runs]
        while len(peaks) > terms + 1:  # keep a window of alternating extrema
            peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
        if len(peaks) < terms + 1:
            raise RuntimeError("the error does not alternate: raise the precision or points")
        nodes = peaks
    return c


def relative_error(fit, c, points=300):
    """Largest weighted error with the coefficients rounded to their dtype."""
    zs = mp.linspace(fit.lo, fit.hi, points)
    c = [mp.mpf(float(v)) for v in c][::-1]
    return max(abs(fit.weight(z) * (mp.polyval(c, z) - fit.remainder(z))) for z in zs if z != 0)


def parts(value, bits, count, dtype):
    """`value` as a sum of `count` numbers of `bits` significant bits; the last one is full."""
    out = []
    for _ in range(count - 1):
        unit = mp.mpf(2) ** (mp.floor(mp.log(abs(value), 2)) + 1 - bits)
        out.append(mp.floor(value / unit) * unit)
        value -= out[-1]
    return [float(v) for v in out] + [float(dtype(mp.nstr(value, 30)))]


CONSTANTS = {  # dtype: (bits, number of parts); n has 9, 13 (float32) or 11, 20 bits (float64)
    "ln2": (mp.log(2), {"f4": (15, 2), "f8": (42, 2)}),
    "half_pi": (mp.pi / 2, {"f4": (11, 5), "f8": (33, 3)}),
    "two_thirds_log2e": (2 / (3 * mp.log(2)), {"f8": (26, 2)}),
}


if __name__ == "__main__":
    for name, fit in FITS.items():
        for code, terms in fit.terms.items():
            dtype = np.dtype(code).type
            c = [dtype(mp.nstr(v, 30)) for v in minimax(fit, terms)]
            print(f"{name} {code}  # 2^{float(mp.log(relative_error(fit, c), 2)):.1f}")
            print("    " + ", ".join(str(v) for v in c))
    for name, (value, sizes) in CONSTANTS.items():
        for code, (bits, count) in sizes.items():
            numbers = parts(value, bits, count, np.dtype(code).type)
            print(name, code, "\n    " + ", ".join(repr(v) for v in numbers))
