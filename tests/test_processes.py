"""Processes: equations, transitions, marginals, against mpmath, moment equations and each other."""

import dataclasses
import inspect
import itertools
import math
import pickle

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy.integrate import quad

from sdekit import processes
from sdekit.laws import Normal
from sdekit.processes import (
    CIR,
    EDM,
    GBM,
    OU,
    VE,
    VP,
    Brownian,
    CosineVP,
    DiscreteVP,
    DoubleWell,
    FlowPath,
    Heston,
    Linear,
    Lorenz,
    SubVP,
    forms,
)

ALL = [getattr(processes, name)() for name in processes.__all__]
TABLE = np.cumprod(1.0 - np.linspace(0.01, 0.4, 8))


def decay(t):
    return -1.0 / (1.0 + t)


def forcing(t):
    return 3.0 * t * t


def loudness(t):
    return 1.0 + t


def jump(t):
    return 1.0 if t < 0.3 else 2.0


DIFFUSION = [
    VP(),
    VP(0.5, 3.0, 1.7),
    VP(0.0, 4.0),
    CosineVP(),
    CosineVP(0.05),
    DiscreteVP(),
    DiscreteVP(TABLE),
    SubVP(),
    VE(),
    VE(0.3, 4.0),
    EDM(),
    FlowPath(),
    FlowPath(0.4),
    FlowPath(1.5, 0.2),
]
SCALED = [*DIFFUSION, OU(), OU(0.7, 0.0, 2.0), OU(-0.4), OU(0.0), Brownian(), Brownian(0.0, 0.3)]
GAUSSIAN = [
    *SCALED,
    OU(1.3, 0.4, 0.7),
    Brownian(0.6, 0.3),
    Linear(),
    Linear(decay, forcing, loudness),
]
WITH_TRANSITION = [*GAUSSIAN, GBM(), GBM(-0.4, 0.9), CIR(), CIR(0.0, 1.0, 0.6), CIR(2.0, 0.3, 0.9)]


label = repr  # one line, without addresses


def span(process):
    """A stretch of times well inside the domain."""
    lo, hi = process.domain
    return (0.0, 1.5) if hi == math.inf else (lo, hi)


def inner(process, *fractions):
    lo, hi = span(process)
    times = [lo + (hi - lo) * f for f in fractions]
    return times[0] if len(times) == 1 else times


# --- independent definitions, in mpmath -----------------------------------------------------------


def monotone_slope(logs, k):
    """Of the cubic interpolant at knot k: harmonic mean of the neighbouring differences, a parabola's at the ends."""
    steps = [b - a for a, b in itertools.pairwise(logs)]
    if k == 0:
        return min(mpf(0), (3 * steps[0] - steps[1]) / 2)
    if k == len(steps):
        return min(mpf(0), (3 * steps[-1] - steps[-2]) / 2)
    return 2 / (1 / steps[k - 1] + 1 / steps[k])


def exact_marginal(process, t):
    """alpha and sigma² of the definition, with the working precision of mpmath."""
    name, t = type(process).__name__, mpf(t)
    if name in ("VP", "SubVP"):
        low, high = mpf(process.beta_min), mpf(process.beta_max)
        total = low * t + (high - low) * t * t / 2
        if name == "SubVP":
            return mpmath.exp(-total / 2), (1 - mpmath.exp(-total)) ** 2
        variance = mpf(process.sigma) ** 2
        return mpmath.exp(-total / variance / 2), variance * (1 - mpmath.exp(-total / variance))
    if name == "CosineVP":
        c = mpf(process.offset)
        level = [mpmath.cos((u + c) / (1 + c) * mpmath.pi / 2) for u in (t, mpf(0))]
        return level[0] / level[1], 1 - (level[0] / level[1]) ** 2
    if name == "DiscreteVP":
        logs = [mpf(0), *(mpmath.log(mpf(float(a))) for a in process.alphas_cumprod)]
        n = min(int(mpmath.floor(t)) + 1, len(logs) - 2)
        u, rise = t + 1 - n, logs[n + 1] - logs[n]
        m0, m1 = (monotone_slope(logs, k) for k in (n, n + 1))
        hermite = (u - 2 * u**2 + u**3) * m0 + (3 * u**2 - 2 * u**3) * rise + (u**3 - u**2) * m1
        log = logs[n] + hermite
        return mpmath.exp(log / 2), 1 - mpmath.exp(log)
    if name == "VE":
        low, high = mpf(process.sigma_min), mpf(process.sigma_max)
        return mpf(1), low**2 * (high / low) ** (2 * t)
    if name == "EDM":
        return mpf(1), t * t
    if name == "FlowPath":
        return 1 - t, (mpf(process.sigma) * t + mpf(process.sigma_min) * (1 - t)) ** 2
    sigma, theta = mpf(process.sigma), mpf(getattr(process, "theta", 0))
    if theta == 0:
        return mpf(1), sigma**2 * t
    return mpmath.exp(-theta * t), sigma**2 * (1 - mpmath.exp(-2 * theta * t)) / (2 * theta)


def exact_transition(process, s, t):
    """(r, c, var): X_t given x at s has mean r x + c."""
    if isinstance(process, Linear):
        s, t = mpf(s), mpf(t)
        if process == Linear():
            return mpmath.exp(s - t), mpf(0), (1 - mpmath.exp(2 * (s - t))) / 2
        p, q = 1 + s, 1 + t  # φ(t, u) = (1 + u)/(1 + t)
        force = (t**3 - s**3) + 3 * (t**4 - s**4) / 4
        return p / q, force / q, (q**5 - p**5) / 5 / q**2
    zero = dataclasses.replace(process, mu=0.0) if hasattr(process, "mu") else process
    (alpha_s, var_s), (alpha_t, var_t) = (exact_marginal(zero, u) for u in (s, t))
    r, mu = alpha_t / alpha_s, mpf(getattr(process, "mu", 0))
    shift = mu * (mpf(t) - mpf(s)) if isinstance(process, Brownian) else mu * (1 - r)
    return r, shift, var_t - r * r * var_s


def pairs(process):
    """Times s <= t: far apart, near, very near, from the start, up to the end."""
    lo, hi = span(process)
    width = hi - lo
    points = [lo + width * f for f in (0.0, 1e-9, 1e-3, 0.2, 0.37, 0.5, 0.86, 0.999, 1.0)]
    result = [(s, t) for s in points for t in points if s < t]
    for s in points[:-1]:
        for gap in (1e-13, 1e-10, 1e-7, 1e-4):
            if s + gap * width <= hi and s + gap * width > s:
                result.append((s, s + gap * width))
    return result


@pytest.mark.parametrize("process", GAUSSIAN, ids=label)
def test_transition_against_the_definition(process):
    """Relative 1e-12 for factor and variance however near the times are: nothing cancels."""
    mpmath.mp.dps = 60
    for s, t in pairs(process):
        r, shift, var = exact_transition(process, s, t)
        law = process.transition(s, t, 0.0)
        assert isinstance(law, Normal)
        assert law.var == pytest.approx(float(var), rel=1e-12, abs=0.0)
        assert law.mean == pytest.approx(float(shift), rel=1e-12, abs=1e-15)
        assert process.transition(s, t, 3.0).mean == pytest.approx(float(3 * r + shift), rel=1e-12)


@pytest.mark.parametrize("process", WITH_TRANSITION, ids=label)
def test_transition_takes_arrays_of_times(process):
    s, t = (np.array(column) for column in zip(*pairs(process), strict=True))
    x = np.linspace(0.5, 2.0, s.size)
    law = process.transition(s, t, x)
    each = [process.transition(a, b, c) for a, b, c in zip(s.tolist(), t.tolist(), x, strict=True)]
    np.testing.assert_allclose(law.mean, [one.mean for one in each], rtol=1e-14)
    np.testing.assert_allclose(np.broadcast_to(law.var, s.shape), [v.var for v in each], rtol=1e-14)
    one_s = process.transition(s[0].item(), t, x)
    np.testing.assert_allclose(one_s.mean, process.transition(s * 0 + s[0], t, x).mean, rtol=1e-14)


@pytest.mark.parametrize("process", WITH_TRANSITION, ids=label)
def test_nothing_happens_in_no_time(process):
    for s in (*inner(process, 0.0, 0.3, 1.0), np.array(inner(process, 0.0, 0.5, 1.0))):
        law = process.transition(s, s, 0.0 * s + 1.25)
        assert np.all(np.asarray(law.var) == 0.0)
        np.testing.assert_allclose(law.mean, 1.25, rtol=1e-15)


def moments(process, s, t):
    """Coefficients of x: mean = c + r x, var = v₀ + v₁ x + v₂ x², read off three states."""
    laws = [process.transition(s, t, x) for x in (0.0, 1.0, 2.0)]
    v = [law.var for law in laws]
    curve = (v[2] - 2 * v[1] + v[0]) / 2 if isinstance(process, GBM) else 0.0
    slope = v[1] - v[0] - curve if isinstance(process, (GBM, CIR)) else 0.0
    return laws[0].mean, laws[1].mean - laws[0].mean, v[0], slope, curve


@pytest.mark.parametrize("process", WITH_TRANSITION, ids=label)
def test_semigroup(process):
    """s → u → t is s → t: moments by the law of total variance."""
    rng = np.random.default_rng(1)
    for s, u, t in np.sort(rng.uniform(size=(20, 3)), axis=1):
        s, u, t = inner(process, s, u, t)
        for x in (0.4, 1.7):
            first, whole = process.transition(s, u, x), process.transition(s, t, x)
            c, r, v0, v1, v2 = moments(process, u, t)
            m = first.mean
            second = v0 + v1 * m + v2 * (m * m + first.var)  # E[var(X_t | X_u)]
            assert c + r * m == pytest.approx(whole.mean, rel=1e-12, abs=1e-15)
            # v₁ and v₂ are differences of numbers of size 1, hence more than 1e-12 there
            slack = 1e-12 if v1 == v2 == 0 else 1e-11
            assert second + r * r * first.var == pytest.approx(whole.var, rel=slack)


def test_semigroup_of_the_cir_density():
    """Chapman–Kolmogorov: ∫ p(z; u, t, y) p(y; s, u, x) dy = p(z; s, t, x)."""
    process = CIR(1.3, 0.8, 0.6)
    first, whole = process.transition(0.0, 0.4, 1.1), process.transition(0.0, 1.0, 1.1)
    for z in (0.3, 0.8, 1.9):

        def integrand(y, z=z):
            return math.exp(first.log_prob(y) + process.transition(0.4, 1.0, y).log_prob(z))

        total = quad(integrand, 1e-9, 8.0, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
        assert total == pytest.approx(math.exp(whole.log_prob(z)), rel=1e-9)


def derivative(f, t, h):
    """Sixth-order central difference."""
    weights = {-3: -1 / 60, -2: 3 / 20, -1: -3 / 4, 1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    return sum(w * f(t + k * h) for k, w in weights.items()) / h


@pytest.mark.parametrize("process", WITH_TRANSITION, ids=label)
def test_moment_equations(process):
    """d mean/dt = E[drift], d var/dt = 2 Cov(X, drift) + E[diffusion²], from the process's own
    drift (linear in x > 0) and diffusion² (at most quadratic), at generic times."""
    lo, hi = span(process)
    whole = (hi - lo) if hi - lo < 7 else 1.0
    for s, t in ((0.11, 0.43), (0.3, 0.9), (0.7, 0.77)):
        if isinstance(process, DiscreteVP):  # β has kinks at the integers
            s, t = 0.3 + round(2 * s), round(6 * t) + 0.45
        else:
            s, t = lo + (hi - lo) * s, lo + (hi - lo) * t
        h = 2e-3 * min(whole, t - s)
        for x in (0.8, 2.0):
            law = process.transition(s, t, x)
            f = [float(process.drift(t, y)) for y in (0.0, 1.0, 2.0)]
            g = [float(process.diffusion(t, y)) ** 2 for y in (0.0, 1.0, 2.0)]
            slope = f[1] - f[0]
            assert f[2] - f[1] == pytest.approx(slope, rel=1e-12, abs=1e-12)  # linear
            curve = (g[2] - 2 * g[1] + g[0]) / 2
            tilt = g[1] - g[0] - curve
            noise = g[0] + tilt * law.mean + curve * (law.var + law.mean**2)
            dmean = derivative(lambda u, s=s, x=x: process.transition(s, u, x).mean, t, h)
            dvar = derivative(lambda u, s=s, x=x: process.transition(s, u, x).var, t, h)
            drift = f[0] + slope * law.mean
            assert dmean == pytest.approx(drift, rel=1e-8, abs=1e-9 * (1 + abs(slope)))
            assert dvar == pytest.approx(2 * slope * law.var + noise, rel=1e-8, abs=1e-9 * noise)


# --- marginals, rates, inversion ------------------------------------------------------------------


@pytest.mark.parametrize("process", SCALED, ids=label)
def test_marginal_against_the_definition(process):
    mpmath.mp.dps = 60
    times = inner(process, 0.0, 1e-12, 1e-6, 0.01, 0.3, 0.5, 0.77, 0.9999, 1.0)
    alpha, sigma = process.marginal(np.array(times))
    for i, t in enumerate(times):
        a, variance = exact_marginal(process, t)
        got = process.marginal(t)
        assert isinstance(got[0], float) and isinstance(got[1], float)
        assert got[0] == pytest.approx(float(a), rel=1e-12, abs=0.0)
        assert got[1] == pytest.approx(float(mpmath.sqrt(variance)), rel=1e-12, abs=0.0)
        assert np.broadcast_to(alpha, sigma.shape)[i] == pytest.approx(got[0], rel=1e-14)
        assert sigma[i] == pytest.approx(got[1], rel=1e-14)


@pytest.mark.parametrize("process", SCALED, ids=label)
def test_transition_carries_the_marginal(process):
    """alpha_t = r alpha_s and sigma_t² = var + r² sigma_s²; from clean data itself the transition
    is the marginal, where sigma(0) = 0."""
    lo = span(process)[0]
    alpha_0, sigma_0 = process.marginal(lo)
    assert alpha_0 == 1.0
    assert sigma_0 == pytest.approx(getattr(process, "sigma_min", 0.0), rel=1e-15)
    for s, t in ((0.0, 0.4), (0.2, 0.21), (0.5, 1.0)):
        s, t = inner(process, s, t)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = process.marginal(s), process.marginal(t)
        law = process.transition(s, t, alpha_s)
        r = law.mean / alpha_s
        assert law.mean == pytest.approx(alpha_t, rel=1e-12)
        assert law.var + r * r * sigma_s**2 == pytest.approx(sigma_t**2, rel=1e-12)
        if s == lo and sigma_0 == 0.0:
            assert law.std == pytest.approx(sigma_t, rel=1e-13)


@pytest.mark.parametrize("process", SCALED, ids=label)
def test_rates_are_the_derivatives_of_marginal(process):
    lo = span(process)[0]
    times = (1.3, 4.75) if isinstance(process, DiscreteVP) else inner(process, 0.13, 0.5, 0.9)
    for t in times:
        h = 1e-3 * min(1.0, t - lo)
        rates = process.rates(t)
        for i in range(2):
            slope = derivative(lambda u, i=i: process.marginal(u)[i], t, h)
            assert rates[i] == pytest.approx(slope, rel=1e-9, abs=1e-11)
    arrays = process.rates(np.array(times))
    for i in range(2):
        each = [process.rates(t)[i] for t in times]
        np.testing.assert_allclose(np.broadcast_to(arrays[i], len(times)), each, rtol=1e-14)


@pytest.mark.parametrize("process", SCALED, ids=label)
def test_rates_and_equation_agree(process):
    """drift = (alpha′/alpha) x, and g² = 2 sigma sigma′ − 2 (alpha′/alpha) sigma²."""
    for t in (1.3, 4.75) if isinstance(process, DiscreteVP) else inner(process, 0.02, 0.5, 0.97):
        (alpha, sigma), (dalpha, dsigma) = process.marginal(t), process.rates(t)
        slope = dalpha / alpha
        assert process.drift(t, 2.5) == pytest.approx(2.5 * slope, rel=1e-12)
        gain = 2 * sigma * (dsigma - slope * sigma)
        assert process.diffusion(t, 2.5) ** 2 == pytest.approx(gain, rel=1e-11)


@pytest.mark.parametrize("process", SCALED, ids=label)
def test_rate_of_sigma_at_the_start(process):
    dsigma = process.rates(span(process)[0])[1]
    assert math.isfinite(dsigma) == isinstance(process, (SubVP, VE, EDM, FlowPath))
    assert dsigma > 0


@pytest.mark.parametrize("process", SCALED, ids=label)
def test_time_inverts_log_snr(process):
    lo, hi = span(process)
    times = np.array(inner(process, 1e-9, 1e-5, 1e-3, 0.1, 0.37, 0.5, 0.8, 0.99, 1.0))
    if isinstance(process, FlowPath):
        times[-1] = 1.0 - 1e-4  # 1 − t has to carry enough digits
    log_snr = forms.log_ratio(process, times)
    assert np.all(np.diff(log_snr) < 0)
    back = process.time(log_snr)
    slack = 1e-15 * (hi - lo)  # VE: log_snr itself does not resolve more
    np.testing.assert_allclose(back - lo, times - lo, rtol=1e-9 if lo == 0 else 1e-6, atol=slack)
    assert np.all(back >= process.domain[0]) and np.all(back <= process.domain[1])
    small = times - lo > 1e-7 * (hi - lo)  # t = −1 + 1e-9 has seven digits left
    np.testing.assert_allclose(forms.log_ratio(process, back)[small], log_snr[small], rtol=0, atol=1e-10)
    for i in (2, 5, 8):
        one = process.time(float(log_snr[i]))
        assert isinstance(one, float)
        assert one == pytest.approx(back[i], rel=1e-14)
    assert process.time(log_snr.reshape(3, 3)).shape == (3, 3)
    assert process.time(forms.log_ratio(process, hi)) == pytest.approx(hi, rel=1e-12)
    if process.marginal(lo)[1] == 0:
        assert process.time(math.inf) == lo


@pytest.mark.parametrize("process", DIFFUSION, ids=label)
def test_time_of_a_log_snr_that_does_not_occur(process):
    top, bottom = (forms.log_ratio(process, end) for end in process.domain)
    wrong = [value for value in (top + 0.1, bottom - 0.1) if math.isfinite(value)]
    assert wrong or isinstance(process, FlowPath)
    for value in (*wrong, math.nan):
        with pytest.raises(ValueError, match="log_snr"):
            process.time(value)
        with pytest.raises(ValueError, match="log_snr"):
            process.time(np.array([value, 0.5]))


@pytest.mark.parametrize("process", SCALED, ids=label)
def test_perturb(process):
    x0, z = np.full((3, 2, 2), 1.5), np.linspace(-1, 1, 12).reshape(3, 2, 2)
    times = np.array(inner(process, 0.1, 0.5, 0.9))
    got = process.perturb(x0, times, z)
    for i, t in enumerate(times.tolist()):
        alpha, sigma = process.marginal(t)
        np.testing.assert_allclose(got[i], alpha * x0[i] + sigma * z[i], rtol=1e-14)
        np.testing.assert_allclose(process.perturb(x0[i], t, z[i]), got[i], rtol=1e-14)


# --- stationary laws ------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [p for p in WITH_TRANSITION if hasattr(p, "stationary")], ids=label)
def test_stationary_law_is_invariant(process):
    if getattr(process, "theta", 1.0) <= 0 or getattr(process, "kappa", 1.0) <= 0:
        with pytest.raises(ValueError, match="theta|kappa"):
            process.stationary()
        return
    law = process.stationary()
    for s, t in ((0.1, 0.2), (0.3, 0.95)):
        s, t = inner(process, s, t)
        c, r, v0, v1, _ = moments(process, s, t)
        assert c + r * law.mean == pytest.approx(law.mean, rel=1e-12, abs=1e-15)
        assert v0 + v1 * law.mean + r * r * law.var == pytest.approx(law.var, rel=1e-12)


def test_stationary_density_of_cir_is_invariant():
    process = CIR(0.9, 1.2, 0.7)
    law = process.stationary()
    for z in (0.4, 1.2, 2.5):

        def integrand(y, z=z):
            return math.exp(law.log_prob(y) + process.transition(0.0, 0.7, y).log_prob(z))

        total = quad(integrand, 1e-9, 12.0, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
        assert total == pytest.approx(math.exp(law.log_prob(z)), rel=1e-9)


# --- particular processes -------------------------------------------------------------------------


def test_constants_of_the_literature():
    assert VP() == VP(0.1, 20.0, 1.0)
    assert SubVP() == SubVP(0.1, 20.0)
    assert VE() == VE(0.01, 50.0)
    assert (EDM(), CosineVP(), FlowPath()) == (EDM(80.0), CosineVP(0.008), FlowPath(1.0, 0.0))
    assert Lorenz() == Lorenz(10.0, 28.0, 8 / 3)
    alpha, _ = VP().marginal(1.0)
    assert alpha**2 == pytest.approx(4.3e-5, rel=0.01)
    assert VP(0.1, 20.0).marginal(0.3)[0] == pytest.approx(math.exp(-0.09 * 19.9 / 4 - 0.015))
    alpha, sigma = SubVP().marginal(0.2)
    assert sigma == pytest.approx(1 - alpha**2, rel=1e-14)
    g = SubVP().diffusion(0.2, 0.0)
    assert g**2 == pytest.approx(SubVP().beta(0.2) * (1 - alpha**4), rel=1e-14)
    assert VE().marginal(0.0)[1] == 0.01
    assert VE().marginal(1.0)[1] == pytest.approx(50.0, rel=1e-14)
    assert VE().transition(0.0, 1.0, 0.0).var == pytest.approx(2500 - 1e-4, rel=1e-13)
    assert CosineVP().marginal(CosineVP.domain[1])[0] == pytest.approx(0.00841, rel=1e-3)


def test_discrete_vp_reproduces_its_table():
    process = DiscreteVP()
    table = process.alphas_cumprod
    betas = np.linspace(1e-4, 0.02, 1000)  # of Ho et al.
    np.testing.assert_allclose(table, np.cumprod(1 - betas), rtol=1e-15)
    assert process.domain == (-1.0, 999.0)
    alpha, sigma = process.marginal(np.arange(1000.0))
    np.testing.assert_allclose(alpha, np.sqrt(table), rtol=1e-14)
    np.testing.assert_allclose(sigma, np.sqrt(1 - table), rtol=1e-12)
    assert process.marginal(-1) == (1.0, 0.0)
    assert process.marginal(17)[0] == pytest.approx(math.sqrt(table[17]), rel=1e-15)
    # one step of the table is one step of DDPM
    steps = process.transition(np.arange(-1.0, 999.0), np.arange(1000.0), np.ones(1000))
    np.testing.assert_allclose(steps.mean, np.sqrt(1 - betas), rtol=1e-13)
    np.testing.assert_allclose(steps.var, betas, rtol=1e-10)  # the table has lost some digits of β
    # β is continuous, between those of the steps on both sides
    rises = -np.log1p(-betas)
    inner = process.beta(np.arange(999.0))
    assert ((rises[:-1] < inner) & (inner < rises[1:])).all()
    np.testing.assert_allclose(process.beta(np.arange(999.0) + 1e-9), inner, rtol=1e-6)


def test_discrete_vp_takes_a_tensor_table_and_integer_times():
    torch = pytest.importorskip("torch")
    table = torch.tensor(TABLE, dtype=torch.float32)
    process, plain = DiscreteVP(table), DiscreteVP(TABLE)
    assert process.domain == plain.domain
    times = torch.tensor([0, 3, 7])
    alpha, sigma = process.marginal(times)
    assert alpha.is_floating_point()
    want = plain.marginal(np.array([0.0, 3.0, 7.0]))
    np.testing.assert_allclose(alpha, want[0], rtol=1e-6)
    np.testing.assert_allclose(sigma, want[1], rtol=1e-5)
    np.testing.assert_allclose(plain.marginal(np.array([0, 3, 7]))[1], want[1], rtol=1e-14)
    single = process.marginal(torch.tensor([0.0, 2.5]))
    assert single[0].dtype == torch.float32
    assert process.transition(0.3, 5.1, 1.0).mean == pytest.approx(plain.transition(0.3, 5.1, 1.0).mean, rel=1e-6)


def test_flow_path_at_its_ends():
    process = FlowPath()
    assert process.marginal(1.0) == (0.0, 1.0)
    assert process.marginal(0.0) == (1.0, 0.0)
    assert process.rates(1.0) == process.rates(0.0) == (-1.0, 1.0)
    assert process.transition(0.3, 1.0, 2.0) == (0.0, 1.0)
    assert process.transition(1.0, 1.0, 2.0) == (2.0, 0.0)
    assert process.drift(1.0, 2.0) == -math.inf
    assert process.diffusion(1.0, 2.0) == math.inf


def test_marginal_needs_data_at_zero_and_no_mean():
    for process in (OU(1.0, 0.5, 1.0), Brownian(0.5, 1.0)):
        for call in (
            lambda p: p.marginal(0.3),
            lambda p: p.rates(0.3),
            lambda p: p.time(0.3),
            lambda p: p.perturb(1.0, 0.3, 0.0),
        ):
            with pytest.raises(ValueError, match=r"mu = 0\.5"):
                call(process)
        with pytest.raises(ValueError, match="before"):
            dataclasses.replace(process, mu=0.0).marginal(-0.1)
    with pytest.raises(ValueError, match=r"mu = array"):
        OU(1.0, np.array([0.0, 0.1]), 1.0).marginal(0.3)


def test_parameters_may_be_arrays():
    theta = np.array([-0.5, 0.0, 1e-9, 2.0])
    law = OU(theta, 0.2, 0.7).transition(0.1, 0.6, np.ones(4))
    for i, value in enumerate(theta):
        one = OU(float(value), 0.2, 0.7).transition(0.1, 0.6, 1.0)
        assert law.mean[i] == pytest.approx(one.mean, rel=1e-15)
        assert law.var[i] == pytest.approx(one.var, rel=1e-15)
    assert law.var[1] == pytest.approx(0.49 * 0.5, rel=1e-14)
    assert law.var[2] == pytest.approx(law.var[1], rel=1e-8)
    for process in (p for p in ALL if p.event_dims == 0):
        if isinstance(process, (DiscreteVP, Linear)):
            continue
        for name, low in vars(process).items():
            swept = dataclasses.replace(process, **{name: low + np.array([0.0, 0.01])})
            t = inner(process, 0.4) if not isinstance(process, EDM) else 0.4
            for i, value in enumerate((low, low + 0.01)):
                one = dataclasses.replace(process, **{name: value})
                for part in ("drift", "diffusion"):
                    got = np.broadcast_to(getattr(swept, part)(t, np.full(2, 1.3)), 2)[i]
                    assert got == pytest.approx(getattr(one, part)(t, 1.3), rel=1e-14)
                if hasattr(process, "transition") and not isinstance(process, EDM):
                    got = swept.transition(t, t + 0.1, np.full(2, 1.3))
                    want = one.transition(t, t + 0.1, 1.3)
                    assert np.broadcast_to(got.mean, 2)[i] == pytest.approx(want.mean, rel=1e-13)
                    assert np.broadcast_to(got.var, 2)[i] == pytest.approx(want.var, rel=1e-13)


def test_gbm_transition():
    law = GBM(0.1, 0.4).transition(0.5, 2.5, 3.0)
    assert law.mean == pytest.approx(3.0 * math.exp(0.2), rel=1e-14)
    assert law.var == pytest.approx(9.0 * math.exp(0.4) * math.expm1(0.32), rel=1e-14)
    assert law.sample(1.5) == pytest.approx(3 * math.exp((0.1 - 0.08) * 2 + 0.4 * 2**0.5 * 1.5))
    assert GBM().transition(0.0, 1.0, 0.0).sample(2.0) == 0.0
    below = GBM(0.1, 0.4).transition(0.5, 2.5, -3.0)
    assert below.mean == -law.mean and below.sample(0.7) == -law.sample(0.7)


def test_square_roots_are_fully_truncated():
    process = CIR(1.5, 0.6, 0.4)
    assert process.drift(0.0, 2.0) == pytest.approx(1.5 * (0.6 - 2.0))
    assert process.diffusion(0.0, 2.0) == pytest.approx(0.4 * math.sqrt(2.0))
    assert process.drift(0.0, -0.3) == pytest.approx(1.5 * 0.6)
    assert process.diffusion(0.0, -0.3) == 0.0
    heston = Heston(0.05, 2.0, 0.04, 0.3, -0.7)
    drift, rows = heston.drift(0.0, 90.0, 0.09), np.array(heston.diffusion(0.0, 90.0, 0.09))
    assert drift == pytest.approx((4.5, 2.0 * (0.04 - 0.09)))
    want = [[90.0**2 * 0.09, 90 * 0.3 * -0.7 * 0.09], [90 * 0.3 * -0.7 * 0.09, 0.09 * 0.09]]
    np.testing.assert_allclose(rows @ rows.T, want, rtol=1e-14)
    assert rows[0, 1] == 0.0  # the price is driven by the first noise
    assert heston.drift(0.0, 90.0, -0.01) == pytest.approx((4.5, 0.08))
    assert not np.any(heston.diffusion(0.0, 90.0, -0.01))


def test_double_well_and_lorenz():
    assert DoubleWell(0.4).drift(0.0, 1.5) == 1.5 - 1.5**3
    assert DoubleWell(0.4).diffusion(0.0, 1.5) == 0.4
    lorenz = Lorenz(10.0, 28.0, 8 / 3, 0.5)
    assert lorenz.drift(0.0, 1.0, 2.0, 3.0) == (10.0, 1.0 * (28 - 3) - 2.0, 2.0 - 8.0)
    assert lorenz.diffusion(0.0, 1.0, 2.0, 3.0) == (0.5, 0.5, 0.5)
    root = math.sqrt(8 / 3 * 27)  # its unstable fixed points
    np.testing.assert_allclose(Lorenz().drift(0.0, root, root, 27.0), 0.0, atol=1e-12)


def test_linear_with_a_jump():
    """Quadrature meets a jump of g inside the interval: ∫ e^{−2(t−u)} g² du in closed form."""
    law = Linear(g=jump).transition(0.0, 1.0, 0.0)
    e = math.exp
    assert law.var == pytest.approx((e(-1.4) - e(-2)) / 2 + 4 * (1 - e(-1.4)) / 2, rel=1e-12)


# --- known jumps of Linear --------------------------------------------------------------------------


def nothing(t):
    return 0.0


def test_linear_finds_a_jump_wherever_it_is():
    """A3: a jump just after a node, a cut or an end leaves most rules none the wiser."""
    rng = np.random.default_rng(0)
    near = [c + d for c in (0.0, 1 / 3, 0.497 / 3, 0.5, 2 / 3, 1.0) for d in (-1e-3, -1e-5, 1e-5, 1e-3)]
    for c in (0.501, *near, *rng.uniform(size=20)):
        mean = Linear(nothing, lambda t, c=c: 1.0 if t < c else 0.0, nothing).transition(0.0, 1.0, 0.0).mean
        assert mean == pytest.approx(min(max(c, 0.0), 1.0), abs=1e-13)


def test_linear_finds_what_is_longer_than_a_64th_of_the_interval():
    for start in np.random.default_rng(1).uniform(0.0, 3.9, size=15):
        end = start + 4.0 / 64.0
        mean = Linear(nothing, lambda t, a=start, b=end: float(a <= t < b), nothing).transition(0.0, 4.0, 0.0).mean
        assert mean == pytest.approx(4.0 / 64.0, rel=1e-11)


def test_linear_cuts_at_the_jumps_that_it_is_told():
    """A3: a dose of one hour in each 24, for ten days; a pulse of width 0.001, wherever it is."""
    doses = Linear(nothing, lambda t: float(t % 24 < 1), nothing, jumps=[24 * i + j for i in range(10) for j in (0, 1)])
    assert doses.transition(0.0, 240.0, 0.0).mean == pytest.approx(10.0, rel=1e-12)
    assert doses.transition(24.0, 48.0, 0.0).mean == pytest.approx(1.0, rel=1e-12)
    for start in (0.0, 0.3, 1.3123, 1.999):
        end = start + 1e-3
        pulse = Linear(b=lambda t, a=start, b=end: 1000.0 * (a <= t < b), jumps=(end, start))
        want = 1000 * (math.exp(end - 2) - math.exp(start - 2))
        assert pulse.transition(0.0, 2.0, 0.0).mean == pytest.approx(want, rel=1e-11)


def test_linear_takes_numbers_beside_arrays():
    law = Linear(b=lambda t: np.array([[0.0, 1.0, 2.0]])).transition(0.0, 1.0, np.ones((1, 3)))
    np.testing.assert_allclose(law.mean, [[math.exp(-1), 1.0, 2 - math.exp(-1)]], rtol=1e-13)
    np.testing.assert_allclose(law.var, np.full((1, 3), (1 - math.exp(-2)) / 2), rtol=1e-13)


# --- derivatives, where a formula has a removable singularity ----------------------------------------


def derivatives(f, x, order=2):
    """f and its first derivatives at x by autograd."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    values = [f(x)]
    for _ in range(order):
        values += torch.autograd.grad(values[-1], x, create_graph=True)
    return [float(v.detach()) for v in values]


@pytest.mark.parametrize("y", [0.0, 1e-300, -1e-12, 1e-5, -0.03, 0.0999, 0.1001, -0.3, 2.0, -40.0])
@pytest.mark.parametrize("name", ["growth", "slowing"])
def test_quotients_have_two_right_derivatives(name, y):
    """Against mpmath, near 0 and on both sides of the change of formula."""
    if name == "slowing" and y < -1:
        return
    mpmath.mp.dps = 60
    exact = {"growth": lambda y: mpmath.expm1(y) / y, "slowing": lambda y: mpmath.log1p(y) / y}[name]
    point = mpf(y) if abs(y) > 1e-20 else mpf("1e-18")  # the function is analytic: no matter to 16 digits
    for k, value in enumerate(derivatives(getattr(forms, name), y)):
        assert value == pytest.approx(float(mpmath.diff(exact, point, k)), rel=[2e-16, 3e-14, 1e-12][k])


@pytest.mark.parametrize("theta", [0.0, 1e-9, -1e-4, 0.02, 0.4])
def test_ou_has_right_derivatives_in_theta(theta):
    """A9: ∂var/∂theta = −sigma² dt² at theta = 0, ∂²var/∂theta² = (4/3) sigma² dt³; the same for log_prob and time."""
    mpmath.mp.dps = 40
    sigma, dt, x, y = 0.7, 0.6, 1.2, 0.5

    def var(theta):
        return mpf(sigma) ** 2 * (1 - mpmath.exp(-2 * theta * dt)) / (2 * theta)

    def log_prob(theta):
        d = y - x * mpmath.exp(-theta * dt)
        return -(d * d / var(theta) + mpmath.log(2 * mpmath.pi * var(theta))) / 2

    def time(theta):  # at log_snr = 0.3
        return mpmath.log(1 + 2 * theta * mpmath.exp(mpf(-0.6)) / mpf(sigma) ** 2) / (2 * theta)

    cases = (
        (lambda th: OU(th, 0.0, sigma).transition(0.0, dt, x).var, var),
        (lambda th: OU(th, 0.0, sigma).transition(0.0, dt, x).log_prob(y), log_prob),
        (lambda th: OU(th, 0.0, sigma).time(0.3), time),
    )
    point = mpf(theta) or mpf("1e-12")
    for ours, exact in cases:
        for k, value in enumerate(derivatives(ours, theta)):
            assert value == pytest.approx(float(mpmath.diff(exact, point, k)), rel=1e-10)
    if theta == 0.0:
        got = derivatives(cases[0][0], 0.0)
        assert got == pytest.approx([sigma**2 * dt, -(sigma**2) * dt**2, 4 / 3 * sigma**2 * dt**3], rel=1e-14)


@pytest.mark.parametrize("parameter, make", [
    ("kappa", lambda k: CIR(k, 0.8, 0.5).transition(0.0, 0.7, 1.3).var),
    ("beta_max", lambda b: VP(2.0, b).time(0.1)),
    ("beta_max", lambda b: SubVP(2.0, b).marginal(0.3)[1]),
    ("sigma_min", lambda s: FlowPath(1.0, s).transition(0.2, 0.6, 1.3).var),
    ("theta", lambda th: OU(th).marginal(0.4)[1]),
    ("theta", lambda th: OU(th).rates(0.4)[1]),
], ids=["CIR", "VP", "SubVP", "FlowPath", "OU marginal", "OU rates"])  # fmt: skip
def test_derivatives_at_the_edge_of_the_parameters(parameter, make):
    """kappa = 0, a constant rate, no blur, no pull: one-sided differences of second order."""
    edge = 2.0 if parameter == "beta_max" else 0.0
    slope = derivatives(make, edge, 1)[1]
    h = 1e-4
    value, one, two = (float(make(edge + k * h)) for k in range(3))
    assert slope == pytest.approx((4 * one - two - 3 * value) / (2 * h), rel=1e-6)


def test_parameters_have_a_gradient_at_the_time_of_clean_data():
    """sigma(0) = 0 for all parameters: the derivative is 0 and not NaN."""
    torch = pytest.importorskip("torch")
    for process, name in ((VP(), "beta_max"), (OU(), "theta"), (SubVP(), "beta_min"), (Brownian(), "sigma")):
        value = torch.tensor(getattr(process, name), dtype=torch.float64, requires_grad=True)
        x = dataclasses.replace(process, **{name: value}).perturb(1.0, torch.tensor([0.0, 0.5]), torch.ones(2))
        (gradient,) = torch.autograd.grad(x[0], value)
        assert gradient == 0.0


def test_gradients_are_not_lost_on_the_host():
    torch = pytest.importorskip("torch")
    t = torch.tensor([2.0, 3.0], requires_grad=True)
    one = torch.ones(2)
    calls = (
        lambda: DiscreteVP().marginal(t),
        lambda: DiscreteVP().time(-t),
        lambda: DiscreteVP(torch.tensor([0.9, 0.5], requires_grad=True)),
        lambda: Linear().transition(0.0, t, one),
        lambda: CIR().transition(0.0, 1.0, one).log_prob(t),
    )
    for call in calls:
        with pytest.raises(ValueError, match="without a gradient"):
            call()


# --- every process --------------------------------------------------------------------------------


def test_names_are_collected_from_the_families():
    assert len(processes.__all__) == len(set(processes.__all__))
    assert {"Brownian", "OU", "VP", "Heston"} <= set(processes.__all__)
    assert all(name == type(p).__name__ for name, p in zip(processes.__all__, ALL, strict=True))


def test_processes_are_values():
    """Equality and hashing take arrays as wholes; `replace` checks again; nothing can be set."""
    sweep = OU(np.array([1.0, 2.0]))
    assert sweep == OU(np.array([1.0, 2.0])) and hash(sweep) == hash(OU(np.array([1.0, 2.0])))
    assert sweep != OU(np.array([1.0, 3.0])) and sweep != OU(np.array([1.0])) and OU() != Brownian()
    assert repr(sweep) == "OU(theta=float64[2], mu=0.0, sigma=1.0)"
    assert repr(Linear(jumps=[2, 1])) == "Linear(a=minus_one, b=zero, g=one, jumps=float64[2])"
    for jumps in ((2, 1, 2.0), np.array([1.0, 2.0]), np.float32([2, 1]), range(1, 3)):
        assert Linear(jumps=jumps).jumps.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="VP: beta_max = -3 has to be positive"):  # A16
        VP(beta_max=-3)
    with pytest.raises(ValueError, match="beta_max"):
        dataclasses.replace(VP(), beta_max=0.05)


@pytest.mark.parametrize(
    "value",
    [[1.0, 2.0], (1.0,), "1", None, 1j, np.array([1j]), np.ma.array([1.0, 2.0], mask=[0, 1]), np.datetime64("2020"),
     np.matrix([1.0]), np.array(["1"]), np.array([True]), True, 10**400],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("process", [p for p in ALL if not isinstance(p, Linear)], ids=lambda p: type(p).__name__)
def test_parameters_of_other_kinds_are_refused(process, value):
    """A13: a list, a mask, a date, text, a complex number are refused by name, not converted."""
    for name in vars(process):
        with pytest.raises(ValueError, match=rf"^{type(process).__name__}: {name} = "):
            dataclasses.replace(process, **{name: value})


@pytest.mark.parametrize(
    "jumps",
    [0.5, "ab", ["a"], [math.nan], [[1.0, 2.0]], [1j], [True], [[1.0], 2.0], np.ma.array([1.0], mask=[1])],
    ids=repr,
)
def test_jumps_are_a_sequence_of_times(jumps):
    with pytest.raises(ValueError, match="^Linear: jumps = "):
        Linear(jumps=jumps)


@pytest.mark.parametrize("process", ALL, ids=lambda p: type(p).__name__)
def test_claims(process):
    """additive and the noise class, probed at two states; docstring; defaults; pickle; a value."""
    assert dataclasses.is_dataclass(process) and process.calculus == "ito"
    assert "Source:" in inspect.getdoc(type(process))
    lo, hi = process.domain
    assert lo < hi
    copy = pickle.loads(pickle.dumps(process))
    assert type(copy) is type(process) and copy.domain == process.domain
    assert copy == process and hash(copy) == hash(process) and "\n" not in repr(process)
    with pytest.raises(dataclasses.FrozenInstanceError):
        process.x0 = 0.0
    t = inner(process, 0.4)
    states = ((1.3,), (0.2,)) if process.event_dims == 0 else (process.x0, [0.5] * len(process.x0))
    values = [np.asarray(process.diffusion(t, *x), dtype=float) for x in states]
    assert process.additive == np.array_equal(*values)
    k = np.size(process.x0)
    assert values[0].ndim == (2 if process.noise == "general" else min(process.event_dims, 1))
    assert np.asarray(process.drift(t, *states[0])).shape == (() if k == 1 else (k,))
    if process.noise == "diagonal" and k > 1:
        for j in range(k):
            x = list(process.x0)
            x[j] += 0.7
            changed = np.asarray(process.diffusion(t, *x)) != values[0]
            assert not np.any(np.delete(changed, j))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("process", ALL, ids=lambda p: type(p).__name__)
def test_float32_stays_float32(process, kind):
    """Parameters and literals are weak, for states and for times of one value per path."""
    if kind == "torch":
        torch = pytest.importorskip("torch")
        single, cast = torch.float32, lambda a: torch.tensor(a, dtype=torch.float32)
    else:
        single, cast = np.float32, lambda a: np.asarray(a, dtype=np.float32)
    x = [cast([v, v + 0.3, v + 0.7]) for v in np.atleast_1d(process.x0).tolist()]
    double = [np.asarray(v, dtype=float) for v in x]
    s, t = inner(process, 0.25, 0.5)
    many_s, many_t = cast([s, s, s]), cast([t, t, t])

    def compare(got, want):
        if isinstance(want, tuple):
            for g, w in zip(got, want, strict=True):
                compare(g, w)
        else:
            assert isinstance(got, float) or got.dtype == single
            np.testing.assert_allclose(np.asarray(got), want, rtol=2e-5, atol=1e-7)

    for now in (t, many_t):
        compare(process.drift(now, *x), process.drift(t, *double))
        compare(process.diffusion(now, *x), process.diffusion(t, *double))
    if hasattr(process, "transition"):
        for a, b in ((s, t), (many_s, many_t)):
            got, want = process.transition(a, b, x[0]), process.transition(s, t, double[0])
            compare((got.mean, got.std), (want.mean, want.std))
            if hasattr(got, "sample"):
                compare(got.sample(cast([0.1, 0.2, 0.3])), want.sample(np.array([0.1, 0.2, 0.3])))
    if hasattr(process, "marginal"):
        compare(process.marginal(many_t), process.marginal(np.full(3, t)))
        compare(process.rates(many_t), process.rates(np.full(3, t)))
        compare(process.perturb(x[0], t, x[0]), process.perturb(double[0], t, double[0]))
        log_snr = forms.log_ratio(process, t)
        compare(process.time(cast([log_snr] * 3)), np.full(3, t))


@pytest.mark.parametrize("shape", [(3, 3, 3, 3), (3, 3), (3,)], ids=str)
@pytest.mark.parametrize("process", [p for p in ALL if p.event_dims == 0], ids=lambda p: type(p).__name__)
def test_times_belong_to_the_leading_axis(process, shape):
    """With B = C = H = W a time that is broadcast from the right goes unnoticed but for this."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0.5, 1.5, size=shape)
    s, t = np.array(inner(process, 0.1, 0.2, 0.3)), np.array(inner(process, 0.4, 0.6, 0.9))
    parts = {"drift": process.drift(t, x), "diffusion": process.diffusion(t, x)}
    law = process.transition(s, t, x) if hasattr(process, "transition") else None
    for i in range(3):
        for name, got in parts.items():
            want = getattr(process, name)(float(t[i]), x[i])
            row = np.broadcast_to(got, shape)[i]
            np.testing.assert_allclose(row, np.broadcast_to(want, shape[1:]), rtol=1e-14)
        if law is not None:
            want = process.transition(float(s[i]), float(t[i]), x[i])
            np.testing.assert_allclose(law.mean[i], want.mean, rtol=1e-14)
            row = np.broadcast_to(law.var, shape)[i]
            np.testing.assert_allclose(row, np.broadcast_to(want.var, shape[1:]), rtol=1e-14)


@pytest.mark.parametrize("process", DIFFUSION, ids=label)
def test_times_outside_of_the_domain_raise(process):
    lo, hi = process.domain
    x = np.ones(2)
    calls = (
        lambda t: process.drift(t, x),
        lambda t: process.diffusion(t, x),
        lambda t: process.marginal(t),
        lambda t: process.rates(t),
        lambda t: process.perturb(x, t, x),
        lambda t: process.transition(lo, t, x),
        lambda t: process.transition(t, hi, x),
    )
    for bad in (lo - 1e-9, hi + 1e-9 * hi, math.nan, np.array([0.5 * (lo + hi), hi + 0.1])):
        for call in calls:
            with pytest.raises(ValueError, match="domain"):
                call(bad)


@pytest.mark.parametrize("process", WITH_TRANSITION, ids=label)
def test_transitions_run_forward(process):
    s, t = inner(process, 0.6, 0.5)
    for a, b in ((s, t), (np.array([t, s]), np.array([s, t])), (np.array([s]), t)):
        with pytest.raises(ValueError, match="is before s"):
            process.transition(a, b, np.ones(np.size(a)))


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: VP(beta_min=-0.1), "beta_min"),
        (lambda: VP(beta_min=2.0, beta_max=1.0), "beta_max"),
        (lambda: VP(0.0, 0.0), "beta_max"),
        (lambda: VP(sigma=0.0), "sigma"),
        (lambda: SubVP(beta_min=2.0, beta_max=1.0), "beta_max"),
        (lambda: VE(sigma_min=0.0), "sigma_min"),
        (lambda: VE(sigma_min=2.0, sigma_max=1.0), "sigma_max"),
        (lambda: EDM(sigma_max=0.0), "sigma_max"),
        (lambda: EDM(sigma_max=math.inf), "sigma_max"),
        (lambda: FlowPath(sigma=0.0), "sigma"),
        (lambda: FlowPath(sigma_min=-0.1), "sigma_min"),
        (lambda: FlowPath(sigma_min=1.0), "sigma_min"),
        (lambda: CosineVP(offset=0.0), "offset"),
        (lambda: DiscreteVP(np.array([0.9, 0.95, 0.1])), "alphas_cumprod"),
        (lambda: DiscreteVP(np.array([1.1, 0.5])), "alphas_cumprod"),
        (lambda: DiscreteVP(np.array([0.5, 0.0, 0.0])), "alphas_cumprod"),
        (lambda: DiscreteVP(np.array([0.5, math.nan])), "alphas_cumprod"),
        (lambda: DiscreteVP(np.ones((2, 2)) / 2), "alphas_cumprod"),
        (lambda: DiscreteVP(np.array([])), "alphas_cumprod"),
        (lambda: OU(sigma=-1.0), "sigma"),
        (lambda: OU(theta=math.nan), "theta"),
        (lambda: OU(sigma=np.array([1.0, -1.0])), "sigma"),
        (lambda: Brownian(mu=math.inf), "mu"),
        (lambda: GBM(sigma=-1.0), "sigma"),
        (lambda: CIR(sigma=0.0), "sigma"),
        (lambda: CIR(kappa=-1.0), "kappa"),
        (lambda: CIR(theta=-1.0), "theta"),
        (lambda: Linear(a=3.0), "a"),
        (lambda: DoubleWell(sigma=-1.0), "sigma"),
        (lambda: Lorenz(rho=math.nan), "rho"),
        (lambda: Heston(rho=1.1), "rho"),
        (lambda: Heston(theta=-0.1), "theta"),
    ],
)
def test_senseless_parameters_are_named(make, name):
    with pytest.raises(ValueError, match=rf"^\w+: {name} = "):
        make()
