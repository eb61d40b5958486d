"""Probability laws in closed form: what `process.transition(s, t, x)` and `stationary()` return.

Every law has `mean, var, std, sample(z), log_prob(y), score(y)`; `sample` turns standard normals into
draws, one for one, and `score` is the derivative of `log_prob` in y. Fields are real numbers, numpy
arrays or torch tensors which broadcast against y; entries are independent of each other, so `log_prob`
is elementwise (sum it over the axes of one state for a joint law). Fields are checked (but for tensors
on a device, which would be waited for).

A law of variance zero is a point mass: its `log_prob` is +inf at the point and -inf elsewhere, its
`score` is the limit of a shrinking law: 0 at the point and ±inf towards it elsewhere.
Outside of the support `log_prob` is -inf and `score` is NaN.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyval

from sdekit import arrays, reprs
from sdekit import math as sm

__all__ = ["LogNormal", "NoncentralChiSquare", "Normal"]

LOG_2PI = math.log(2.0 * math.pi)
# U_k(p) / p^k of DLMF 10.41.10 for k = 1 … 4: coefficients of the powers of p²
OLVER = [
    np.array([3.0, -5.0]) / 24,
    np.array([81.0, -462.0, 385.0]) / 1152,
    np.array([30375.0, -369603.0, 765765.0, -425425.0]) / 414720,
    np.array([4465125.0, -94121676.0, 349922430.0, -446185740.0, 185910725.0]) / 39813120,
]


def nonnegative(*names):
    """Class decorator: fields are real numbers or arrays of them, those named not below 0.

    A NamedTuple cannot define `__new__` itself. `_make` does not pass through the check.
    """

    def decorate(cls):
        plain = cls.__new__

        @functools.wraps(plain)
        def new(cls, *args, **kwargs):
            law = plain(cls, *args, **kwargs)
            for name, value in zip(law._fields, law):
                if not arrays.is_real(value):
                    raise ValueError(f"{cls.__name__}: {name} = {value!r} has to be a real number or an array of them")
                if name in names and not arrays.holds(
                    (value >= 0) | (value != value)
                ):  # a NaN comes from a failed path
                    raise ValueError(f"{cls.__name__}: {name} = {value!r} has to be at least 0")
            return law

        cls.__new__ = new
        return cls

    return decorate


def _is_zero(value):
    """value == 0; of numpy's numbers as a bool, since torch takes theirs for a float."""
    return bool(value == 0) if isinstance(value, np.generic) else value == 0


def _point_log_prob(d):
    """log-density at distance d from a point mass, in the type of d."""
    return sm.where(d == 0, d + math.inf, d - math.inf)


def _point_score(d):
    """Score at distance d from a point mass, in the type of d."""
    return sm.where(d > 0, d - math.inf, sm.where(d < 0, d + math.inf, d))


@nonnegative("var")
class Normal(NamedTuple):
    """The normal law N(mean, var).

        log p(y) = −½ [(y − mean)²/var + log(2π var)],    score = (mean − y)/var

    Fields: the mean and the variance (not the standard deviation).
    """

    mean: Any
    var: Any

    __repr__ = reprs.line

    @property
    def std(self):
        return sm.sqrt(self.var)

    def sample(self, z):
        """One draw for each standard normal z."""
        return self.mean + sm.sqrt(self.var) * z

    def log_prob(self, y):
        d = y - self.mean
        point = self.var == 0
        var = sm.where(point, 1.0, self.var)
        value = -0.5 * (d * d / var + sm.log(var) + LOG_2PI)
        return sm.where(point, _point_log_prob(d), value)

    def score(self, y):
        d = y - self.mean
        point = self.var == 0
        return sm.where(point, _point_score(d), -d / sm.where(point, 1.0, self.var))


@nonnegative("log_var")
class LogNormal(NamedTuple):
    """The law of median·exp(√log_var·z), z ~ N(0, 1); a negative median mirrors it.

        mean = median·exp(log_var/2),    var = mean²·(exp(log_var) − 1)
        log p(y) = log N(log(y/median); 0, log_var) − log|y|    where y/median > 0

    Fields: the median and the variance of the logarithm.
    """

    median: Any
    log_var: Any

    __repr__ = reprs.line

    @property
    def mean(self):
        return self.median * sm.exp(0.5 * self.log_var)

    @property
    def var(self):
        mean = self.median * sm.exp(0.5 * self.log_var)
        return mean * mean * sm.expm1(self.log_var)

    @property
    def std(self):
        mean = self.median * sm.exp(0.5 * self.log_var)
        return sm.abs(mean) * sm.sqrt(sm.expm1(self.log_var))

    def sample(self, z):
        """One draw for each standard normal z."""
        return self.median * sm.exp(sm.sqrt(self.log_var) * z)

    def _parts(self, y):
        """(is it a point mass, y inside the support else 1, is y inside, the law of log(y/median),
        log(y/median))."""
        point = _is_zero(self.log_var) | _is_zero(self.median)
        inside = y * sm.sign(self.median) > 0
        y = sm.where(inside, y, 1.0)
        ratio = sm.where(inside, y / sm.where(self.median == 0, 1.0, self.median), 1.0)
        log_var = sm.where(_is_zero(self.log_var), 1.0, self.log_var)  # a number stays one: torch would make it float32
        return point, y, inside, Normal(0.0, log_var), sm.log(ratio)

    def log_prob(self, y):
        point, safe, inside, normal, log_ratio = self._parts(y)
        value = normal.log_prob(log_ratio) - sm.log(sm.abs(safe))
        value = sm.where(inside, value, -math.inf)
        return sm.where(point, _point_log_prob(y - self.median), value)

    def score(self, y):
        point, safe, inside, normal, log_ratio = self._parts(y)
        value = sm.where(inside, (normal.score(log_ratio) - 1.0) / safe, math.nan)
        return sm.where(point, _point_score(y - self.median), value)


@nonnegative("df", "scale", "shift")
class NoncentralChiSquare(NamedTuple):
    """The law of scale·χ², χ² noncentral chi-square of `df` degrees and noncentrality shift/scale.

        mean = scale·df + shift,    var = 2·scale²·df + 4·scale·shift
        log p(y) = −log(2 scale) − ½(√u − √λ)² + (ν/2) log(u/λ) + log(e^{−√(uλ)} I_ν(√(uλ))),
        u = y/scale,  λ = shift/scale,  ν = df/2 − 1

    `shift` rather than λ is the field because it stays finite as scale → 0 (a point mass at shift).
    shift = 0 is the gamma law of shape df/2 and scale 2·scale.
    `sample`, `log_prob` and `score` are computed on the host, without gradients. A draw is the quantile of
    Φ(z), to 1e-7 standard deviations: 3 µs by root search where df + λ is about 10, up to 40 µs where it
    is 10,000, and 0.2 µs by a series above. df = 0 has the mass e^{−λ/2} at 0, and elsewhere a density.

    Source: Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", volume 2, second
    edition, 1995, chapter 29.
    """

    df: Any
    scale: Any
    shift: Any

    __repr__ = reprs.line

    @property
    def mean(self):
        return self.scale * self.df + self.shift

    @property
    def var(self):
        return 2.0 * self.scale * (self.scale * self.df + 2.0 * self.shift)

    @property
    def std(self):
        return sm.sqrt(2.0 * self.scale * (self.scale * self.df + 2.0 * self.shift))

    def _on_host(self, y):
        """y and the fields as float64 arrays of one shape."""
        arrays.without_gradient(type(self).__name__, y, *self)
        return np.broadcast_arrays(*map(arrays.on_host, (y, *self)))

    def _as(self, y, result):
        """A result in the type of y, or of the first field that is an array."""
        return arrays.like(next((v for v in (y, *self) if getattr(v, "ndim", 0)), y), result)

    def sample(self, z):
        """One draw for each standard normal z."""
        normals, df, scale, shift = self._on_host(z)
        point = scale == 0
        scale = np.where(point, 1.0, scale)
        return self._as(z, np.where(point, shift, scale * _quantile(normals, df, shift / scale)))

    def _parts(self, y):
        """(is it a point mass, y, shift, is y inside the support, ν, scale, √u, √λ), safe to compute with."""
        y, df, scale, shift = self._on_host(y)
        point, inside = scale == 0, y > 0
        scale = np.where(point, 1.0, scale)
        u = np.where(inside, y, 1.0) / scale
        return point, y, shift, inside, 0.5 * df - 1.0, scale, np.sqrt(u), np.sqrt(shift / scale)

    def log_prob(self, y):
        point, at, shift, inside, order, scale, root_u, root_l = self._parts(y)
        half = 0.5 * (root_u - root_l) ** 2
        # (z/2)^ν is taken out of I_ν, so that λ → 0 is no special case
        value = -np.log(2.0 * scale) - half + order * np.log(0.5 * root_u * root_u)
        value = value + _log_bessel(order, root_u * root_l)
        value = np.where(inside, value, self._edge(at, shift, order, scale))
        return self._as(y, np.where(point, _point_log_prob(at - shift), value))

    def _edge(self, y, shift, order, scale):
        """log-density at and below 0: the density at 0 is 0, finite or infinite with ν."""
        finite = -np.log(2.0 * scale) - 0.5 * shift / scale
        at_zero = np.where(order == 0, finite, np.where(order > 0, -math.inf, math.inf))
        return np.where(y == 0, at_zero, -math.inf)

    def score(self, y):
        point, at, shift, inside, order, scale, root_u, root_l = self._parts(y)
        z = root_u * root_l
        # d/du log p = −½ + ν/u + (z/2u) I_{ν+1}(z)/I_ν(z), with (z/2)^ν taken out as above
        ratio = 0.5 * z * np.exp(_log_bessel(order + 1.0, z) - _log_bessel(order, z))
        u = root_u * root_u
        value = (-0.5 + (order + 0.5 * z * ratio) / u) / scale
        value = np.where(inside, value, math.nan)
        return self._as(y, np.where(point, _point_score(at - shift), value))


def _quantile(z, df, noncentrality):
    """The quantile of noncentral chi-square at Φ(z).

    Above df + λ = 10,000 by the expansion of E. A. Cornish and R. A. Fisher, "Moments and cumulants in the
    specification of distributions", 1938, to the fifth cumulant; at df = 0, where scipy has none, from
    P(χ²(0, λ) ≤ x) = P(χ²(2, x) > λ).
    """
    from scipy import special

    p = np.minimum(special.ndtr(z), 1.0 - 2.0**-53)
    series, none = df + noncentrality > 1e4, df == 0
    search, atom = ~(series | none), none & (p <= np.exp(-0.5 * noncentrality))
    x = np.zeros(np.shape(z))
    special.chndtrix(p, df, noncentrality, out=x, where=search)
    special.chndtrinc(noncentrality, 2.0, 1.0 - p, out=x, where=none & ~atom & ~series)
    with np.errstate(all="ignore"):
        var, *k = (2.0 ** (n - 1) * math.factorial(n - 1) * (df + n * noncentrality) for n in range(2, 6))
        a, b, c = (cumulant / var ** (0.5 * n) for n, cumulant in enumerate(k, 3))
        w = z + a / 6 * (z**2 - 1) + b / 24 * (z**3 - 3 * z) - a * a / 36 * (2 * z**3 - 5 * z)
        w += c / 120 * (z**4 - 6 * z**2 + 3) - a * b / 24 * (z**4 - 5 * z**2 + 2)
        w += a**3 / 324 * (12 * z**4 - 53 * z**2 + 17)
        return np.where(series, df + noncentrality + np.sqrt(var) * w, x)


def _log_bessel(order, z):
    """log[(z/2)^{−ν} e^{−z} I_ν(z)] for ν > −1, z >= 0, float64 arrays.

    Three forms: scipy's scaled Bessel function; 0F1, the series of I_ν without its power, for small
    z, where the Bessel function underflows and its power diverges; and for large orders the uniform
    expansion (F. W. J. Olver, DLMF 10.41.3, with U_1 … U_4 of 10.41.10).
    """
    from scipy import special

    small, large = z * z < 4.0 * (order + 1.0), order > 150.0
    with np.errstate(all="ignore"):
        above, below = np.where(small, 1.0, z), np.where(small, z, 0.0)
        plain = np.log(special.ive(order, above)) - order * np.log(0.5 * above)
        series = np.log(special.hyp0f1(order + 1.0, 0.25 * below * below))
        series = series - special.gammaln(order + 1.0) - below
        nu = np.where(large, order, 1.0)
        root = np.hypot(1.0, z / nu)
        total = 1.0 + sum(polyval(root**-2, u) / (nu * root) ** k for k, u in enumerate(OLVER, 1))
        # ν η − z − ν log(z/2) with η = root + log((z/ν)/(1 + root)): the logarithms of z cancel,
        # and ν·root − z = ν²/(ν·root + z)
        power = nu * (nu / (nu * root + z)) - nu * np.log(0.5 * nu * (1.0 + root))
        uniform = power - 0.5 * np.log(2.0 * math.pi * nu * root) + np.log(total)
    return np.where(large, uniform, np.where(small, series, plain))
