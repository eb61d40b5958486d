"""The noising processes of generative modelling: x_t = alpha·x_0 + sigma·ε, x_0 being clean data.

Time runs from data to noise and has no unit, except where a class says so; the state has the unit
of the data. All are linear and Markov, so for s <= t
    X_t | X_s = x  ~  N(r x, sigma_t² − r² sigma_s²),   r = alpha_t/alpha_s,
and each class factors that variance so that nothing cancels, however close s and t are.
`time(log_snr)` inverts log(alpha/sigma), which falls from +inf (from log(1/sigma_min) for `VE`).
`rates` are the derivatives of `marginal`; where sigma starts like √t its rate at 0 is inf.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from sdekit import math as sm
from sdekit.laws import Normal
from sdekit.processes import forms
from sdekit.processes.forms import elapsed, in_kernels, over

__all__ = ["EDM", "VE", "VP", "CosineVP", "DiscreteVP", "FlowPath", "SubVP"]


class VP(NamedTuple):
    """Variance-preserving process with a linear rate.

        dX = −β X/(2 sigma²) dt + √β dW,    β(t) = beta_min + t (beta_max − beta_min),  0 <= t <= 1
        alpha = e^{−B/(2 sigma²)},    sigma(t)² = sigma² (1 − e^{−B/sigma²}),    B = ∫₀ᵗ β

    The parameter sigma is the standard deviation in the state's unit that is preserved; beta in
    state² per time. Defaults: beta_min = 0.1, beta_max = 20, sigma = 1.

    Source: Y. Song et al., "Score-based generative modeling through stochastic differential
    equations", 2021, appendices B and C, arXiv:2011.13456.
    """

    beta_min: Any = 0.1
    beta_max: Any = 20.0
    sigma: Any = 1.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    x0 = 1.0

    def variance(self):
        """sigma², which is preserved."""
        return self.sigma * self.sigma

    def beta(self, t):
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def beta_integral(self, s, t):
        """∫ β from s to t."""
        return (t - s) * (self.beta_min + 0.5 * (s + t) * (self.beta_max - self.beta_min))

    def beta_total(self, t):
        """B(t)."""
        return self.beta_integral(0.0, t)

    def drift(self, t, x):
        beta = sm.expand(self.beta(sm.inside(self, t)), x)
        return -0.5 * beta / self.variance() * x

    def diffusion(self, t, x):
        return sm.sqrt(sm.expand(self.beta(sm.inside(self, t)), x))

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        variance = self.variance()
        y = sm.expand(self.beta_integral(s, t), x) / variance
        return Normal(sm.exp(-0.5 * y) * x, -variance * sm.expm1(-y))

    def marginal(self, t):
        variance = self.variance()
        y = self.beta_total(sm.inside(self, t)) / variance
        return sm.exp(-0.5 * y), sm.sqrt(-variance * sm.expm1(-y))

    def rates(self, t):
        alpha, sigma = self.marginal(t)
        gain = 0.5 * self.beta(t) * alpha
        return -gain / self.variance(), over(gain * alpha, sigma)

    def time(self, log_snr):
        """From e^{−2 log_snr} = sigma² (e^{B/sigma²} − 1)."""
        variance = self.variance()
        total = variance * sm.log1p(sm.exp(-2.0 * log_snr) / variance)
        return forms.into_domain(self, self.time_of(total), log_snr)

    def time_of(self, total):
        """The t with B(t) = total."""
        slope = self.beta_max - self.beta_min
        rate = self.beta_min + sm.sqrt(self.beta_min * self.beta_min + 2.0 * slope * total)
        return 2.0 * total / sm.where(rate == 0, 1.0, rate)

    perturb = forms.perturb

    def stationary(self):
        return Normal(0.0, self.variance())

    def check(self):
        forms.finite(self, *self._fields)
        check_rates(self)
        forms.require(self, "sigma", self.sigma > 0, "positive")


def check_rates(process):
    forms.require(process, "beta_min", process.beta_min >= 0, "at least 0")
    forms.require(process, "beta_max", process.beta_max > 0, "positive")
    forms.require(process, "beta_max", process.beta_max >= process.beta_min, "at least beta_min")


class CosineVP(NamedTuple):
    """Variance-preserving process of the cosine schedule.

        dX = −β X/2 dt + √β dW,    β(t) = 2 k cot(v),    0 <= t <= 0.9946
        alpha = sin(v)/sin(v₀),    sigma² = 1 − alpha²,
        v(t) = k (1 − t),    k = π/(2 (1 + offset))

    (sin v is the schedule's cos((t + offset)/(1 + offset)·π/2).) β is infinite at t = 1, so the
    domain ends at 0.9946, where alpha = 0.0084. Default: offset = 0.008.

    Source: A. Nichol and P. Dhariwal, "Improved denoising diffusion probabilistic models", 2021,
    equation 17, arXiv:2102.09672. End of the domain: C. Lu et al., "DPM-Solver: a fast ODE solver
    for diffusion probabilistic model sampling in around 10 steps", 2022, arXiv:2206.00927.
    """

    offset: Any = 0.008

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 0.9946)
    x0 = 1.0

    def variance(self):
        return 1.0

    def speed(self):
        """k, the rate at which the angle v falls."""
        return 0.5 * math.pi / (1.0 + self.offset)

    def beta(self, t):
        k = self.speed()
        return 2.0 * k / sm.tan(k * (1.0 - t))

    def gain(self, s, t):
        """1 − (alpha_t/alpha_s)² = sin(v_s − v_t) sin(v_s + v_t)/sin(v_s)²."""
        k = self.speed()
        # sin(v_s + v_t) = sin(π − v_s − v_t): near π the supplement is the accurate argument
        total = sm.minimum(2.0 - s - t, s + t + 2.0 * self.offset)
        start = sm.sin(k * (1.0 - s))
        return sm.sin(k * (t - s)) * sm.sin(k * total) / (start * start)

    def ratio(self, s, t):
        """alpha_t/alpha_s."""
        k = self.speed()
        return sm.sin(k * (1.0 - t)) / sm.sin(k * (1.0 - s))

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        return Normal(sm.expand(self.ratio(s, t), x) * x, sm.expand(self.gain(s, t), x))

    def marginal(self, t):
        t = sm.inside(self, t)
        return self.ratio(0.0, t), sm.sqrt(self.gain(0.0, t))

    drift = VP.drift
    diffusion = VP.diffusion
    rates = VP.rates
    time = forms.bisect_time
    perturb = forms.perturb
    stationary = VP.stationary

    def check(self):
        forms.finite(self, "offset")
        forms.require(self, "offset", self.offset > 0, "positive")


def linear_table(steps, first, last):
    """alphas_cumprod of betas that rise linearly from first to last."""
    table = np.cumprod(1.0 - np.linspace(first, last, steps))
    table.flags.writeable = False
    return table


DDPM_TABLE = linear_table(1000, 1e-4, 0.02)  # Ho et al. 2020, section 4


class DiscreteVP(NamedTuple):
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

    alphas_cumprod: Any = DDPM_TABLE

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    shared = ("alphas_cumprod",)  # an array of data, not one value per path
    x0 = 1.0

    def __repr__(self):
        return f"DiscreteVP(<table of {len(self.alphas_cumprod)}>)"

    @property
    def domain(self):
        return -1.0, len(self.alphas_cumprod) - 1.0

    def variance(self):
        return 1.0

    def beta(self, t):
        return table_slope(self.alphas_cumprod, t)

    def beta_integral(self, s, t):
        """∫ β from s to t = log(ᾱ(s)/ᾱ(t))."""
        return table_rise(self.alphas_cumprod, s, t)

    def beta_total(self, t):
        return self.beta_integral(-1.0, t)

    drift = VP.drift
    diffusion = VP.diffusion
    transition = VP.transition
    marginal = VP.marginal
    rates = VP.rates
    time = forms.bisect_time
    perturb = forms.perturb
    stationary = VP.stationary

    def check(self):
        table = self.alphas_cumprod
        ok = getattr(table, "ndim", 0) == 1 and len(table) > 0
        ok = ok and forms.holds((table > 0) & (table < 1)) and forms.holds(table[1:] < table[:-1])
        forms.require(self, "alphas_cumprod", ok, "a 1-d array that falls strictly inside (0, 1)")


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
    rows = _rows(table)
    return forms.like(t, _slopes(rows, _cells(forms.on_host(t))))


@in_kernels(table_rise_at)
def table_rise(table, s, t):
    """∫ β from s to t >= s, in the type of t (of s where t is a number)."""
    if isinstance(s, (float, int)) and isinstance(t, (float, int)):
        return table_rise_at(table, s, t)
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


class SubVP(NamedTuple):
    """Sub-variance-preserving process.

        dX = −β X/2 dt + √(β (1 − e^{−2B})) dW,    β(t) = beta_min + t (beta_max − beta_min)
        alpha = e^{−B/2},    sigma = 1 − e^{−B},    B = ∫₀ᵗ β,    0 <= t <= 1
        variance from s to t:  (1 − e^{−(B_t − B_s)}) (1 − e^{−(B_t + B_s)})

    (sigma is the standard deviation itself: 1 − alpha², not its root.)
    Defaults: beta_min = 0.1, beta_max = 20.

    Source: Y. Song et al., "Score-based generative modeling through stochastic differential
    equations", 2021, appendices B and C, arXiv:2011.13456.
    """

    beta_min: Any = 0.1
    beta_max: Any = 20.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    x0 = 1.0

    def variance(self):
        return 1.0

    beta = VP.beta
    beta_integral = VP.beta_integral
    beta_total = VP.beta_total
    time_of = VP.time_of
    drift = VP.drift
    perturb = forms.perturb

    def diffusion(self, t, x):
        total = self.beta_total(sm.inside(self, t))
        return sm.sqrt(sm.expand(-self.beta(t) * sm.expm1(-2.0 * total), x))

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        gap = sm.expand(self.beta_integral(s, t), x)
        total = sm.expand(self.beta_total(s) + self.beta_total(t), x)
        return Normal(sm.exp(-0.5 * gap) * x, sm.expm1(-gap) * sm.expm1(-total))

    def marginal(self, t):
        total = self.beta_total(sm.inside(self, t))
        return sm.exp(-0.5 * total), -sm.expm1(-total)

    def rates(self, t):
        alpha = sm.exp(-0.5 * self.beta_total(sm.inside(self, t)))
        return -0.5 * self.beta(t) * alpha, self.beta(t) * alpha * alpha

    def time(self, log_snr):
        """From e^{−log_snr} = 2 sinh(B/2) = 2y, so that e^{B/2} = y + √(y² + 1)."""
        y = 0.5 * sm.exp(-log_snr)
        # log1p keeps small y: √(y² + 1) − 1 = y²/(√(y² + 1) + 1)
        total = 2.0 * sm.log1p(y + y * (y / (sm.sqrt(y * y + 1.0) + 1.0)))
        return forms.into_domain(self, self.time_of(total), log_snr)

    def check(self):
        forms.finite(self, *self._fields)
        check_rates(self)


class VE(NamedTuple):
    """Variance-exploding process.

        dX = sigma(t) √(2 log(sigma_max/sigma_min)) dW,    0 <= t <= 1
        alpha = 1,    sigma(t) = sigma_min (sigma_max/sigma_min)ᵗ
        variance from s to t: sigma(t)² − sigma(s)²

    x_0 is clean data, so the state at t = 0 already carries noise of standard deviation sigma_min:
    a solution that starts at t = 0 starts from x_0 + sigma_min·ε.
    Units: sigma_min and sigma_max in the state's unit. Defaults: sigma_min = 0.01, sigma_max = 50.

    Source: Y. Song et al., "Score-based generative modeling through stochastic differential
    equations", 2021, appendices B and C, arXiv:2011.13456.
    """

    sigma_min: Any = 0.01
    sigma_max: Any = 50.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    x0 = 1.0

    def rate(self):
        """d log sigma(t)/dt."""
        return sm.log(self.sigma_max / self.sigma_min)

    def drift(self, t, x):
        sm.inside(self, t)
        return 0.0 * x

    def diffusion(self, t, x):
        rate = self.rate()
        sigma = self.sigma_min * sm.exp(rate * sm.inside(self, t))
        return sm.expand(sigma * sm.sqrt(2.0 * rate), x)

    def transition(self, s, t, x):
        dt = elapsed(sm.inside(self, s), sm.inside(self, t))
        rate = self.rate()
        sigma = self.sigma_min * sm.exp(rate * s)
        return Normal(x, sm.expand(sigma * sigma * sm.expm1(2.0 * rate * dt), x))

    def marginal(self, t):
        return 1.0, self.sigma_min * sm.exp(self.rate() * sm.inside(self, t))

    def rates(self, t):
        rate = self.rate()
        return 0.0, rate * self.sigma_min * sm.exp(rate * sm.inside(self, t))

    def time(self, log_snr):
        t = -(log_snr + sm.log(self.sigma_min)) / self.rate()
        return forms.into_domain(self, t, log_snr)

    perturb = forms.perturb

    def check(self):
        forms.finite(self, *self._fields)
        forms.require(self, "sigma_min", self.sigma_min > 0, "positive")
        forms.require(self, "sigma_max", self.sigma_max > self.sigma_min, "above sigma_min")


class EDM(NamedTuple):
    """Variance-exploding process in which time is the noise level.

        dX = √(2t) dW,    alpha = 1,    sigma(t) = t,    0 <= t <= sigma_max
        variance from s to t: (t − s)(t + s)

    Units: t and sigma_max, the end of the domain, in the state's unit. Default: sigma_max = 80.

    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models",
    2022, table 1, arXiv:2206.00364.
    """

    sigma_max: Any = 80.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    x0 = 1.0

    @property
    def domain(self):
        return 0.0, self.sigma_max

    def drift(self, t, x):
        sm.inside(self, t)
        return 0.0 * x

    def diffusion(self, t, x):
        return sm.sqrt(2.0 * sm.expand(sm.inside(self, t), x))

    def transition(self, s, t, x):
        dt = elapsed(sm.inside(self, s), sm.inside(self, t))
        return Normal(x, sm.expand(dt * (t + s), x))

    def marginal(self, t):
        return 1.0, sm.inside(self, t)

    def rates(self, t):
        sm.inside(self, t)
        return 0.0, 1.0

    def time(self, log_snr):
        return forms.into_domain(self, sm.exp(-log_snr), log_snr)

    perturb = forms.perturb

    def check(self):
        forms.finite(self, "sigma_max")
        forms.require(self, "sigma_max", self.sigma_max > 0, "positive")


class FlowPath(NamedTuple):
    """The Markov process along the straight path between data (t = 0) and normal noise (t = 1).

        dX = −X/(1 − t) dt + sigma √(2t/(1 − t)) dW,    0 <= t <= 1
        alpha = 1 − t,    sigma(t) = sigma·t
        variance from s to t: sigma² (t − s)(t (1 − s) + s (1 − t))/(1 − s)²

    The parameter sigma is the standard deviation of the noise in the state's unit; default 1.
    At t = 1 drift and noise are infinite; alpha, sigma, rates and transition are exact there.

    Source: Y. Lipman et al., "Flow matching for generative modeling", 2023, arXiv:2210.02747
    (example II with sigma_min = 0 and time reversed).
    """

    sigma: Any = 1.0

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (0.0, 1.0)
    x0 = 1.0

    def drift(self, t, x):
        t = sm.expand(sm.inside(self, t), x)
        return -over(1.0, 1.0 - t) * x

    def diffusion(self, t, x):
        t = sm.expand(sm.inside(self, t), x)
        return self.sigma * sm.sqrt(over(2.0 * t, 1.0 - t))

    def transition(self, s, t, x):
        dt = elapsed(sm.inside(self, s), sm.inside(self, t))
        end = s == 1  # then t is 1 as well, and nothing happens
        left = sm.where(end, 1.0, 1.0 - s)
        ratio = sm.where(end, 1.0, (1.0 - t) / left)
        gain = dt * (t * (1.0 - s) + s * (1.0 - t)) / (left * left)
        variance = self.sigma * self.sigma
        return Normal(sm.expand(ratio, x) * x, variance * sm.expand(gain, x))

    def marginal(self, t):
        t = sm.inside(self, t)
        return 1.0 - t, self.sigma * t

    def rates(self, t):
        sm.inside(self, t)
        return -1.0, self.sigma

    def time(self, log_snr):
        """1/(1 + sigma e^log_snr)."""
        return forms.into_domain(self, over(1.0, 1.0 + self.sigma * sm.exp(log_snr)), log_snr)

    perturb = forms.perturb

    def check(self):
        forms.finite(self, "sigma")
        forms.require(self, "sigma", self.sigma > 0, "positive")
