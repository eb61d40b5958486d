"""The variance-preserving process through the table of a discrete-time model."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdekit import arrays
from sdekit import math as sm
from sdekit.checks import shown
from sdekit.laws import Normal
from sdekit.processes import forms
from sdekit.processes.forms import in_kernels
from sdekit.processes.gaussian import GaussianPath

__all__ = ["DiscreteVP"]


def linear_table(steps, first, last):
    """alphas_cumprod of betas that rise linearly from first to last."""
    table = np.cumprod(1.0 - np.linspace(first, last, steps))
    table.flags.writeable = False
    return table


DDPM_TABLE = linear_table(1000, 1e-4, 0.02)  # Ho et al. 2020, section 4


NOTHING = 1e-10  # ᾱ that counts as 0: tables that mean it are rounded, that of the cosine schedule ends at 2.4e-9


@dataclass(frozen=True, eq=False, repr=False)
class DiscreteVP(GaussianPath):
    """Variance-preserving process through a table of a discrete-time model (DDPM and its kin).

        dX = −β X/2 dt + √β dW,    alpha = √ᾱ,   sigma² = 1 − ᾱ,   β = −(log ᾱ)′
        ᾱ(n) = alphas_cumprod[n] for n = 0 … N − 1,   ᾱ(−1) = 1

    Between the entries log ᾱ is the monotone cubic of its cell, so that β is continuous: its slope at an inner entry is
    the harmonic mean of the steps on both sides, at the ends that of the parabola through the three entries there.

    **Time is the index into the table**: −1 <= t <= N − 1. A network trained on integer timesteps
    is called with t as it is, and x_0, clean data, sits at t = −1, one step before the first entry,
    which is slightly noisy: sampling runs N − 1, …, 1, 0, −1. Between −1 and 0 networks are called with 0, the first
    time that they know. A table that begins with 1 has its clean data at t = 0.

    A last entry of at most 1e-10, or above the one before it (where a 0 was patched), counts as alpha = 0 exactly:
    alpha falls linearly to it, as that of `FlowPath` does.
    The table is a one-dimensional numpy array, or a tensor. Default: DDPM's, 1000 betas from 1e-4
    to 0.02.

    Source: J. Ho, A. Jain and P. Abbeel, "Denoising diffusion probabilistic models", 2020,
    arXiv:2006.11239; F. Fritsch, J. Butland, "A method for constructing local monotone piecewise cubic interpolants",
    SIAM J. Sci. Stat. Comput. 5(2), 1984, doi:10.1137/0905021.
    """

    alphas_cumprod: Any = field(default_factory=lambda: DDPM_TABLE)

    @property
    def finest(self):
        """The first time at which there is noise: 0, or 1 where the table begins with 1."""
        return float(self.alphas_cumprod[0] == 1)

    first_level = 0.0  # the first time at which networks are called
    shared = ("alphas_cumprod",)  # an array of data, not one value per path

    def __post_init__(self):
        table = self.alphas_cumprod
        arrays.without_gradient("DiscreteVP", table)
        ok = arrays.is_real(table) and table.ndim == 1 and len(table) > 0
        if ok and len(table) > 1 and (table[-1] <= NOTHING or table[-1] > table[-2]):
            table = table.clone() if arrays.is_tensor(table) else table.copy()
            table[-1] = 0.0
            object.__setattr__(self, "alphas_cumprod", table)
        ok = ok and forms.holds((table[1:] < table[:-1]) & (table[:-1] > NOTHING)) and bool(0 <= table[-1] < 1)
        if not ok or not table[0] <= 1:
            raise ValueError(
                f"DiscreteVP: alphas_cumprod = {shown(table)} has to be a 1-d array that falls strictly inside (0, 1); "
                f"it may begin with 1 and end with 0"
            )

    @property
    def domain(self):
        return self.clean(), self.last()

    def clean(self):
        return 0.0 if self.alphas_cumprod[0] == 1.0 else -1.0

    def last(self):
        """The time of the last entry."""
        return len(self.alphas_cumprod) - 1.0

    def beta(self, t):
        return in_double(slope, self.alphas_cumprod, self.clean(), self.last(), t)

    def marginal(self, t):
        """(alpha, sigma) of x_t = alpha·x_0 + sigma·ε; at an entry of the table without a detour."""
        t = sm.inside(self, t)
        if not isinstance(t, float) or t != math.floor(t):
            return super().marginal(t)
        bar = entry_at(self.alphas_cumprod, t)
        return math.sqrt(bar), math.sqrt(1.0 - bar)

    def step(self, s, t):
        y = -in_double(rise, self.alphas_cumprod, self.clean(), self.last(), s, t)
        return sm.exp(0.5 * y), -sm.expm1(y)

    def rates(self, t):
        """(alpha′, sigma′); where alpha = 0 their limits."""
        dalpha, dsigma = super().rates(t)
        if self.alphas_cumprod[-1] > 0:
            return dalpha, dsigma
        end = t == self.last()
        return sm.where(end, -self.marginal(self.last() - 1.0)[0], dalpha), sm.where(end, 0.0, dsigma)

    def time(self, log_snr):
        """From −log ᾱ = log(1 + e^{−2 log_snr}): the cell by search, then the root of its cubic."""
        arrays.without_gradient("DiscreteVP", log_snr)
        table, first, last = np.append(forms.on_host(self.alphas_cumprod), 1.0), self.clean(), self.last()
        with np.errstate(divide="ignore"):
            knots = -np.log(np.append(1.0, table[:-1]))
        want = np.log1p(np.exp(-2.0 * forms.on_host(log_snr)))
        if not np.all(want <= knots[-1] + forms.INVERSION_SLACK * (1.0 + knots[-1])):
            raise forms.unreached(self, log_snr)
        n = np.clip(np.searchsorted(knots, want) - 1.0, first + 1.0, last)
        u = _root(table, first, last, n, np.minimum(want, knots[-1]) - knots[n.astype(np.int64)])
        return forms.like(log_snr, n - 1.0 + u)

    def stationary(self):
        return Normal(0.0, 1.0)


# Look-ups in a table of ᾱ with an implied 1 at index −1: of one time in Python floats and in compiled code, of arrays
# in float64 on the host. The difference of neighbours is exact, so log1p((a − b)/b) keeps the full relative accuracy of
# a small log(a/b). Cell n has n − 1 < t <= n; first and last are the ends of the domain.


def entry_at(table, n):
    """ᾱ(n) for one whole number n >= −1."""
    return float(table[int(n)]) if n >= 0 else 1.0


@in_kernels(entry_at)
def entry(table, n):
    """The same for an array of them, or one."""
    return entry_at(table, n) if isinstance(n, float) else table[n.astype(np.int64)]


@in_kernels(lambda formula, table, *times: formula(table, *times))
def in_double(formula, table, *times):
    """formula(table, *times) in the type of the last time that is no number."""
    given = [t for t in times if not isinstance(t, (float, int))]
    if not given:
        return formula(table, *map(float, times))
    arrays.without_gradient("DiscreteVP", *given)
    padded = np.append(forms.on_host(table), 1.0)  # the last one has the index −1
    return forms.like(given[-1], formula(padded, *map(forms.on_host, times)))


def cell(first, t):
    """The n with n − 1 < t <= n; that of the first cell at its start."""
    return sm.maximum(sm.ceil(t), first + 1.0)


def drop(table, n):
    """log(ᾱ(n − 1)/ᾱ(n)); 2 where ᾱ(n) = 0, in whose cell it does not count."""
    low = entry(table, n)
    zero = low == 0.0
    return sm.where(zero, 2.0, sm.log1p((entry(table, n - 1.0) - low) / sm.where(zero, 1.0, low)))


def cubic(table, first, last, n):
    """(b, c, d) with −log ᾱ = b u + c u² + d u³ and a constant, u = t − (n − 1), in cell n."""
    here = drop(table, n)
    before, after = drop(table, sm.maximum(n - 1.0, first + 1.0)), drop(table, sm.minimum(n + 1.0, last))
    left = sm.where(n == first + 1.0, sm.maximum(0.0, 1.5 * here - 0.5 * after), 2.0 * before * here / (before + here))
    right = sm.where(n == last, sm.maximum(0.0, 1.5 * here - 0.5 * before), 2.0 * here * after / (here + after))
    right = sm.where(entry(table, sm.minimum(n + 1.0, last)) == 0.0, sm.minimum(2.0, 3.0 * here), right)
    return left, 3.0 * here - 2.0 * left - right, left + right - 2.0 * here


def slope(table, first, last, t):
    """β(t)."""
    n = cell(first, t)
    u = t - (n - 1.0)
    b, c, d = cubic(table, first, last, n)
    ends = entry(table, n) == 0.0
    left = sm.where(u < 1.0, 1.0 - u, 1.0)
    falling = sm.where(u < 1.0, 2.0 / left, math.inf)
    return sm.where(ends, falling, b + u * (2.0 * c + 3.0 * u * d))


def within(table, first, last, n, u, v):
    """∫ β from u to v >= u in cell n, times counted from its start."""
    b, c, d = cubic(table, first, last, n)
    straight = (v - u) * (b + c * (u + v) + d * (u * u + u * v + v * v))
    left = sm.where(u < 1.0, 1.0 - u, 1.0)
    falling = sm.where(u < 1.0, -2.0 * sm.log1p(-(v - u) / left), 0.0)
    return sm.where(entry(table, n) == 0.0, falling, straight)


def rise(table, first, last, s, t):
    """∫ β from s to t >= s: within one cell, or the two ends and what is between them."""
    m, n = cell(first, s), cell(first, t)
    same = m == n
    u, v = s - (m - 1.0), t - (n - 1.0)
    low, high = entry(table, sm.maximum(n - 1.0, m)), entry(table, m)
    between = sm.log1p((high - low) / sm.where(low == 0.0, 1.0, low))
    head = within(table, first, last, m, u, sm.where(same, v, 1.0))
    return head + sm.where(same, 0.0, between + within(table, first, last, n, 0.0 * v, v))


def _root(table, first, last, n, y):
    """u in [0, 1] at which −log ᾱ has risen by y since the start of cell n; in arrays, by Newton within a bracket."""
    b, c, d = cubic(table, first, last, n)
    low, high = np.zeros(y.shape), np.ones(y.shape)
    u = np.full(y.shape, 0.5)
    for _ in range(60):  # as many halvings reach rounding; Newton's steps are a handful
        f, slope = u * (b + u * (c + u * d)) - y, b + u * (2.0 * c + 3.0 * u * d)
        low, high = np.where(f < 0, u, low), np.where(f < 0, high, u)
        step = u - f / np.where(slope > 0, slope, 1.0)
        new = np.where((step >= low) & (step <= high) & (slope > 0), step, 0.5 * (low + high))
        if np.all(abs(new - u) <= 4e-15 * u):
            break
        u = new
    return np.where(entry(table, n) == 0.0, -np.expm1(-0.5 * y), np.where(y <= 0.0, 0.0, u))
