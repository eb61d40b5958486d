"""The variance-preserving process through the table of a discrete-time model."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdekit import arrays
from sdekit import math as sm
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


@dataclass(frozen=True, eq=False, repr=False)
class DiscreteVP(GaussianPath):
    """Variance-preserving process through a table of a discrete-time model (DDPM and its kin).

        dX = −β X/2 dt + √β dW,    alpha = √ᾱ,   sigma² = 1 − ᾱ
        ᾱ(n) = alphas_cumprod[n] for n = 0 … N − 1,   ᾱ(−1) = 1,   log ᾱ linear in between
        β(t) = log(ᾱ(n − 1)/ᾱ(n)) for n − 1 < t <= n

    **Time is the index into the table**: −1 <= t <= N − 1. A network trained on integer timesteps
    is called with t as it is, and x_0, clean data, sits at t = −1, one step before the first entry,
    which is slightly noisy: sampling runs N − 1, …, 1, 0, −1. At an integer β belongs to the cell
    below, and `rates` are the left derivatives.
    The table is a one-dimensional numpy array, or a tensor. Default: DDPM's, 1000 betas from 1e-4
    to 0.02.

    Source: J. Ho, A. Jain and P. Abbeel, "Denoising diffusion probabilistic models", 2020,
    arXiv:2006.11239.
    """

    alphas_cumprod: Any = field(default_factory=lambda: DDPM_TABLE)

    finest = 0.0
    shared = ("alphas_cumprod",)  # an array of data, not one value per path

    def __post_init__(self):
        table = self.alphas_cumprod
        arrays.without_gradient("DiscreteVP", table)
        ok = arrays.is_real(table) and table.ndim == 1 and len(table) > 0
        ok = ok and forms.holds((table > 0) & (table < 1)) and forms.holds(table[1:] < table[:-1])
        forms.require(self, "alphas_cumprod", ok, "a 1-d array that falls strictly inside (0, 1)")

    @property
    def domain(self):
        return -1.0, len(self.alphas_cumprod) - 1.0

    def clean(self):
        return -1.0

    def beta(self, t):
        return table_slope(self.alphas_cumprod, t)

    def step(self, s, t):
        y = -table_rise(self.alphas_cumprod, s, t)
        return sm.exp(0.5 * y), -sm.expm1(y)

    def slope(self, t):
        return -0.5 * self.beta(t)

    def power(self, t):
        return self.beta(t)

    def time(self, log_snr):
        """From −log ᾱ = log(1 + e^{−2 log_snr}), which is linear between the entries of the table."""
        arrays.without_gradient("DiscreteVP", log_snr)
        knots = -np.log(_rows(self.alphas_cumprod))
        rise = np.log1p(np.exp(-2.0 * forms.on_host(log_snr)))
        if not np.all(rise <= knots[-1] + forms.INVERSION_SLACK * (1.0 + knots[-1])):
            raise forms.unreached(self, log_snr)
        return forms.like(log_snr, np.interp(rise, knots, np.arange(-1.0, len(knots) - 1.0)))

    def stationary(self):
        return Normal(0.0, 1.0)


# Look-ups in a table of ᾱ with an implied 1 at index −1, for one time (`…_at`, which compiles) and
# for arrays. The difference of neighbours is exact, so log1p((a − b)/b) keeps the full relative
# accuracy of a small log(a/b).


def table_slope_at(table, t):
    """β(t)."""
    n = max(math.ceil(t), 0)
    low = float(table[n])
    high = float(table[n - 1]) if n > 0 else 1.0
    return sm.log1p((high - low) / low)


def table_rise_at(table, s, t):
    """∫ β from s to t >= s: within one cell, or the two ends and what is between them."""
    first, last = max(math.ceil(s), 0), max(math.ceil(t), 0)
    end = table_slope_at(table, t)
    if first == last:
        return (t - s) * end
    low, high = float(table[last - 1]), float(table[first])
    between = sm.log1p((high - low) / low)
    return (first - s) * table_slope_at(table, s) + between + (t - (last - 1)) * end


@in_kernels(table_slope_at)
def table_slope(table, t):
    """β(t), in the type of t."""
    if isinstance(t, (float, int)):
        return table_slope_at(table, t)
    arrays.without_gradient("DiscreteVP", t)
    rows = _rows(table)
    return forms.like(t, _slopes(rows, _cells(forms.on_host(t))))


@in_kernels(table_rise_at)
def table_rise(table, s, t):
    """∫ β from s to t >= s, in the type of t (of s where t is a number)."""
    if isinstance(s, (float, int)) and isinstance(t, (float, int)):
        return table_rise_at(table, s, t)
    arrays.without_gradient("DiscreteVP", s, t)
    like, rows = s if isinstance(t, (float, int)) else t, _rows(table)
    s, t = forms.on_host(s), forms.on_host(t)
    first, last = _cells(s), _cells(t)
    end = _slopes(rows, last)
    between = np.log1p((rows[first + 1] - rows[last]) / rows[last])
    across = (first - s) * _slopes(rows, first) + between + (t - (last - 1)) * end
    return forms.like(like, np.where(first == last, (t - s) * end, across))


def _rows(table):
    """The table with its 1 in front: row n + 1 holds ᾱ(n)."""
    return np.concatenate([[1.0], forms.on_host(table)])


def _cells(t):
    """The n with n − 1 < t <= n; 0 at t = −1."""
    return np.maximum(np.ceil(t), 0.0).astype(np.int64)


def _slopes(rows, n):
    return np.log1p((rows[n] - rows[n + 1]) / rows[n + 1])
