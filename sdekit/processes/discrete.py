"""The variance-preserving process through the table of a discrete-time model."""

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
        return in_double(cell_slope, self.alphas_cumprod, t)

    def step(self, s, t):
        y = -in_double(cell_rise, self.alphas_cumprod, s, t)
        return sm.exp(0.5 * y), -sm.expm1(y)

    def time(self, log_snr):
        """From −log ᾱ = log(1 + e^{−2 log_snr}), which is linear between the entries of the table."""
        arrays.without_gradient("DiscreteVP", log_snr)
        knots = -np.log(np.append(1.0, forms.on_host(self.alphas_cumprod)))
        rise = np.log1p(np.exp(-2.0 * forms.on_host(log_snr)))
        if not np.all(rise <= knots[-1] + forms.INVERSION_SLACK * (1.0 + knots[-1])):
            raise forms.unreached(self, log_snr)
        return forms.like(log_snr, np.interp(rise, knots, np.arange(-1.0, len(knots) - 1.0)))

    def stationary(self):
        return Normal(0.0, 1.0)


# Look-ups in a table of ᾱ with an implied 1 at index −1: of one time in Python floats and in compiled code, of arrays
# in float64 on the host. The difference of neighbours is exact, so log1p((a − b)/b) keeps the full relative accuracy of
# a small log(a/b).


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


def cell(t):
    """The n >= 0 with n − 1 < t <= n; 0 at t = −1."""
    return sm.maximum(sm.ceil(t), 0.0)


def cell_slope(table, t):
    """β(t)."""
    n = cell(t)
    low = entry(table, n)
    return sm.log1p((entry(table, n - 1.0) - low) / low)


def cell_rise(table, s, t):
    """∫ β from s to t >= s: within one cell, or the two ends and what is between them."""
    first, last, end = cell(s), cell(t), cell_slope(table, t)
    low = entry(table, sm.maximum(last - 1.0, first))
    across = (first - s) * cell_slope(table, s) + sm.log1p((entry(table, first) - low) / low) + (t - (last - 1.0)) * end
    return sm.where(first == last, (t - s) * end, across)
