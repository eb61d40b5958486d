"""The exact law of a method on a Gaussian target: against scalar recursions, whole runs of `solve`, and samples."""

import math
from itertools import pairwise

import numpy as np
import pytest

import sdekit as sk
from benchmarks.pierret import ddpm
from sdekit import math as sm
from sdekit.convergence import Law, exact_law, gaussian_law

VP = sk.VP()
RNG = np.random.default_rng(0)
FACTOR = RNG.normal(size=(3, 3))
DATA = sk.Gaussian(np.array([1.0, -2.0, 0.5]), FACTOR @ FACTOR.T + 0.1 * np.eye(3))
EIGENVALUES = np.array([1e-4, 0.01, 0.3, 1.0, 4.0])
CENTRED = sk.Gaussian(np.zeros(5), std=np.sqrt(EIGENVALUES))


def uniform(n, end):
    return np.linspace(1.0, end, n + 1)


# --- the recursions of Pierret and Galerne -------------------------------------------------------
#
# Eigenvalues v of the covariance of a scheme's state, one number after the other, from the formulas of the paper
# (arXiv:2405.14250, with beta twice theirs). lam(t) is the eigenvalue of the law of x_t for eigenvalue e of the data.


def beta(t):
    return 0.1 + 19.9 * t


def total(t):
    """∫₀ᵗ beta."""
    return 0.1 * t + 19.9 * t * t / 2


def lam(e, t):
    return e * math.exp(-total(t)) + 1 - math.exp(-total(t))


def euler_maruyama(e, v, t, t1):
    h = t - t1
    return (1 + h * beta(t) * (0.5 - 1 / lam(e, t))) ** 2 * v + h * beta(t)


def exponential_integrator(e, v, t, t1):
    gap = total(t) - total(t1)
    return (1 + (math.exp(gap / 2) - 1) * (1 - 2 / lam(e, t))) ** 2 * v + math.exp(gap) - 1


def their_ddpm(e, v, t, t1):
    b = (t - t1) * beta(t)
    return (1 - b / lam(e, t)) ** 2 / (1 - b) * v + b


def posterior_ddpm(e, v, t, t1):
    """The mean of x_{t1} given x_t and x_0 = E[x_0 | x_t], and the variance of x_{t1} given both."""
    kept, a1 = math.exp(-(total(t) - total(t1))), math.exp(-total(t1))  # squares of alpha ratios
    s, s1 = 1 - math.exp(-total(t)), 1 - math.exp(-total(t1))  # squares of sigma
    clean = math.exp(-total(t) / 2) * e / lam(e, t)
    return (math.sqrt(kept) * s1 / s + math.sqrt(a1) * (1 - kept) / s * clean) ** 2 * v + s1 * (1 - kept) / s


def euler(e, v, t, t1):
    return (1 + 0.5 * (t - t1) * beta(t) * (1 - 1 / lam(e, t))) ** 2 * v


def heun(e, v, t, t1):
    f, f1 = 0.5 * beta(t) * (1 - 1 / lam(e, t)), 0.5 * beta(t1) * (1 - 1 / lam(e, t1))
    h = t - t1
    return (1 + 0.5 * h * (f + f1 * (1 + h * f))) ** 2 * v


def denoised(e, v, t):
    """x replaced by E[x_0 | x_t]: what solve does in a last step to sigma = 0 that would evaluate there."""
    return (math.exp(-total(t) / 2) * e / lam(e, t)) ** 2 * v


RECURSIONS = {
    "EM": (sk.euler_maruyama, euler_maruyama),
    "DDPM": (ddpm, their_ddpm),
    "Euler": (sk.euler, euler),
    "Heun": (sk.heun, heun),
    "EI": (sk.exponential_euler, exponential_integrator),
    "ancestral": (sk.ancestral, posterior_ddpm),
    "ddim(1)": (sk.ddim(1.0), posterior_ddpm),
}


@pytest.mark.parametrize("start", ["prior", "exact", "unit"])
@pytest.mark.parametrize("end", [0.0, 1e-5, 1e-3, 1e-2])
@pytest.mark.parametrize("name", RECURSIONS)
def test_the_recursions_of_pierret_and_galerne(name, end, start):
    """To 1e-10 of the eigenvalues. "unit" is their start N(0, 1); the prior here is N(0, sigma(1)²)."""
    method, recursion = RECURSIONS[name]
    grid = uniform(100, end)
    ends_in_denoising = end == 0.0 and (method.evaluates_end or "pair" in method.needs)
    law = Law(np.zeros(5), np.ones(5)) if start == "unit" else start
    eta = 0.0 if name in ("Euler", "Heun") else None  # Heun serves equations with noise too
    found = gaussian_law(CENTRED, VP, method, grid, start=law, eta=eta)
    for e, std in zip(EIGENVALUES, found.std, strict=True):
        v = {"unit": 1.0, "prior": 1 - math.exp(-total(1)), "exact": lam(e, 1)}[start]
        for t, t1 in pairwise(grid):
            v = denoised(e, v, t) if t1 == 0.0 and ends_in_denoising else recursion(e, v, t, t1)
        assert abs(std**2 - v) < 1e-10 * max(v, 1e-2)
    assert (found.mean == 0).all() and found.nfe == method.drifts * 100 - (ends_in_denoising and method.drifts - 1)


# --- agreement with whole runs -------------------------------------------------------------------


def law_by_impulses(target, process, method, grid, eta):
    """(mean, covariance) of the flattened end state, from whole runs of `solve`: one path per source of randomness."""
    d, steps = target.mean.size, len(grid) - 1
    draws = method.normals
    n = 1 + d + draws * steps * d
    x0 = np.zeros((n, d))
    x0[1 : 1 + d] = process.marginal(grid[0])[1] * np.eye(d)
    z = np.zeros((draws * steps * d, n))
    z[:, 1 + d :] = np.eye(draws * steps * d)
    z = z.reshape(draws, steps, d, n).swapaxes(2, 3)
    noise = (z[0] if draws == 1 else z) if draws else None
    rev = sk.Reverse(process, target.score(process), eta)
    x = sk.solve(rev, x0, grid=grid, method=method, noise=noise, backend=sk.backends.numpy()).x[-1]
    moved = x[1:] - x[0]
    return x[0], moved.T @ moved


@pytest.mark.parametrize("process", [sk.VP(), sk.EDM(10.0), sk.FlowPath()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(
    ("method", "eta"),
    [
        (sk.euler_maruyama, 1.0),
        (sk.euler_maruyama, 0.5),
        (sk.heun, 0.0),
        (sk.sra1, 1.0),
        (sk.predictor_corrector(sk.euler_maruyama, sk.langevin(0.1, 2)), 1.0),
        (sk.dpmpp_2m, 1.0),
        (sk.dpmpp_3m, 1.0),
        (sk.dpmpp_sde, 1.0),
        (sk.dpmpp_2m_sde, 1.0),
        (sk.unipc(2), 1.0),
        (sk.deis(4), 1.0),
    ],
    ids=repr,
)
def test_the_law_is_that_of_the_whole_run_in_the_original_axes(process, method, eta):
    """Correlated data with a mean; the memory of multistep methods and several normals included."""
    grid = np.linspace(0.95 * process.domain[1], 0.01, 13)
    law = gaussian_law(DATA, process, method, grid, eta=eta)
    mean, cov = law_by_impulses(DATA, process, method, grid, eta)
    np.testing.assert_allclose(law.basis @ law.mean, mean, rtol=0, atol=1e-11)
    np.testing.assert_allclose(law.cov, cov, rtol=0, atol=1e-11 * np.abs(cov).max())


def test_laws_of_samples():
    """Means and covariances of 40,000 samples within 5 standard errors: false with probability 12 · 6e-7 < 1e-5."""
    grid, n = uniform(20, 1e-2), 40_000
    rev = sk.Reverse(VP, DATA.score(VP))
    x = sk.solve(rev, rev.start((n, 3), seed=1), grid=grid, seed=2).x[-1]
    law = gaussian_law(DATA, VP, sk.euler_maruyama, grid)
    mean = law.basis @ law.mean
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    assert (np.abs(x.mean(0) - mean) < 5 * x.std(0) / math.sqrt(n)).all()
    assert (np.abs(products.mean(0) - law.cov) < 5 * products.std(0) / math.sqrt(n)).all()


def test_states_of_any_shape():
    """A number, and an array of two axes, whose law is that of the flattened state."""
    grid = uniform(10, 1e-3)
    one = gaussian_law(sk.Gaussian(0.7, std=0.5), VP, sk.euler_maruyama, grid)
    flat = gaussian_law(sk.Gaussian(np.full(4, 0.7), std=0.5), VP, sk.euler_maruyama, grid)
    image = gaussian_law(sk.Gaussian(np.full((2, 2), 0.7), std=0.5), VP, sk.euler_maruyama, grid)
    assert one.std.shape == (1,) and image.std.shape == (4,)
    np.testing.assert_allclose(flat.std, one.std[0], rtol=1e-14)
    np.testing.assert_array_equal(image.std, flat.std)
    np.testing.assert_array_equal(image.mean, flat.mean)


# --- exact laws and starts -----------------------------------------------------------------------


def test_exact_laws():
    law = exact_law(DATA, VP, 0.3)
    alpha, sigma = VP.marginal(0.3)
    np.testing.assert_allclose(law.cov, alpha**2 * DATA.cov + sigma**2 * np.eye(3), atol=1e-13)
    np.testing.assert_allclose(law.basis @ law.mean, alpha * DATA.mean, atol=1e-14)
    np.testing.assert_allclose(exact_law(DATA).cov, DATA.cov, atol=1e-13)
    assert law.nfe == 0 and law.w2(law) == law.kl(law) == 0.0


@pytest.mark.parametrize("method", [sk.heun, sk.dpmpp_2m], ids=repr)
def test_fine_grids_from_the_exact_start_end_in_the_exact_law(method):
    grid = in_log_snr(400)
    law = gaussian_law(DATA, VP, method, grid, start="exact")
    assert law.w2(exact_law(DATA, VP, grid[-1])) < 1e-4


def in_log_snr(n, start=0.9, end=1e-2):
    ends = [math.log(a / s) for a, s in (VP.marginal(start), VP.marginal(end))]
    return np.array([VP.time(level) for level in np.linspace(*ends, n + 1).tolist()])


@pytest.mark.parametrize(
    ("method", "order", "own", "exact"),
    [
        (sk.ddim, 1, 1, 0),
        (sk.heun, 2, 2, 0),
        (sk.dpmpp_2m, 2, 2, 1),
        (sk.dpmpp_3m, 3, 2, 2),
        (sk.unipc(2), 3, 3, 2),
        (sk.unipc(3), 4, None, 3),
        (sk.deis(4), 4, 2, 3),
    ],
    ids=repr,
)
def test_exact_first_steps_let_multistep_methods_start_at_their_order(method, order, own, exact):
    """And from their own start they have the order `own`, that of their first step's local error."""
    grids = [in_log_snr(n, 0.7, 0.05) for n in (256, 512)]

    def measured(exact):
        laws = [gaussian_law(DATA, VP, method, grid, start="exact", exact=exact) for grid in grids]
        coarse, fine = (law.w2(exact_law(DATA, VP, grid[-1])) for law, grid in zip(laws, grids, strict=True))
        return math.log2(coarse / fine)

    assert measured(exact) == pytest.approx(order, abs=0.15)
    assert own is None or measured(0) == pytest.approx(own, abs=0.15)


def test_steps_that_are_all_exact_are_the_flow():
    grid = uniform(5, 0.1)
    law = gaussian_law(DATA, VP, sk.ddim, grid, start="exact", exact=5)
    assert law.w2(exact_law(DATA, VP, 0.1)) < 1e-13


# --- distances -----------------------------------------------------------------------------------


def test_distances_are_those_of_the_full_matrices():
    """W2² = |Δm|² + tr(A + B − 2 (A^½ B A^½)^½), and KL by determinants."""
    from scipy.linalg import sqrtm

    a, b = exact_law(DATA, VP, 0.1), exact_law(DATA, VP, 0.4)
    shift = a.basis @ (a.mean - b.mean)
    root = np.real(sqrtm(a.cov))
    w2 = shift @ shift + np.trace(a.cov + b.cov - 2 * np.real(sqrtm(root @ b.cov @ root)))
    assert a.w2(b) == pytest.approx(math.sqrt(w2), rel=1e-10)
    inverse = np.linalg.inv(b.cov)
    logs = np.linalg.slogdet(b.cov)[1] - np.linalg.slogdet(a.cov)[1]
    assert a.kl(b) == pytest.approx(0.5 * (np.trace(inverse @ a.cov) - 3 + logs + shift @ inverse @ shift), rel=1e-10)


@pytest.mark.parametrize("relative", [1e-2, 1e-3, 1e-6, 1e-9])
def test_small_distances_do_not_cancel(relative):
    """Standard deviations (1 + e) s: W2 = e |s|, and KL = Σ (e² − e³/3 + e⁴/4 − …)."""
    std = np.array([1e-2, 1.0])
    near, law = Law(np.zeros(2), std * (1 + relative)), Law(np.zeros(2), std)
    e = std * (1 + relative) / std - 1  # as rounded
    assert near.w2(law) == pytest.approx(math.sqrt(((e * std) ** 2).sum()), rel=1e-6)
    exact = sum(u**2 - u**3 / 3 + sum((2 * (-1) ** k) * u**k / (2 * k) for k in range(4, 9)) for u in e)
    assert near.kl(law) == pytest.approx(exact, rel=1e-6)


# --- what has no Gaussian law --------------------------------------------------------------------


@sk.method(noise=("none", "additive"), needs=("score",))
def clipping(sde, t, t1, x, h, dw):
    return sm.minimum(sm.maximum(x + sde.drift(t, x) * h, -1.0), 1.0) + sde.noise(t, x, dw)


@sk.method(noise=("none", "additive"))
def multiplicative(sde, t, t1, x, h, dw):
    return x + sde.drift(t, x) * h + x * dw


@sk.method(noise=("none", "additive"))
def by_norms(sde, t, t1, x, h, dw):
    size = ((x * x).sum(-1, keepdims=True) / x.shape[-1]) ** 0.5
    return x + sde.drift(t, x) * h + sde.noise(t, x, dw) * size


@sk.method(noise=("none", "additive"))
def coupling(sde, t, t1, x, h, dw):
    """Affine, but along other axes than the target's."""
    return x + sde.drift(t, x) * h + 0.1 * x.sum(-1, keepdims=True)


@pytest.mark.parametrize("method", [clipping, multiplicative, by_norms, coupling], ids=repr)
def test_steps_that_are_not_affine_raise(method):
    with pytest.raises(ValueError, match=f"{method.name} is not affine"):
        gaussian_law(DATA, VP, method, uniform(10, 1e-2))


def test_laws_that_overflow_are_nan():
    @sk.method(noise="none")
    def explosive(sde, t, t1, x, h):
        return 1e200 * x + 0 * sde.drift(t, x)

    with pytest.warns(RuntimeWarning, match="non-finite"):
        law = gaussian_law(DATA, VP, explosive, uniform(4, 0.1))
    assert np.isnan(law.std).all() and np.isnan(law.mean).all() and law.nfe == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_law(sk.GaussianMixture([1.0], [0.0], stds=1.0), VP, sk.ddim, [1, 0.1]), "target must be"),
        (lambda: gaussian_law(DATA, sk.GBM(), sk.euler_maruyama, [1, 0.1]), "process must be a noising process"),
        (lambda: gaussian_law(DATA, VP, sk.euler, [1, 0.1], eta=1.0), "use eta=0"),
        (lambda: gaussian_law(DATA, VP, sk.euler, [0.1, 1]), "grid must hold two or more decreasing"),
        (lambda: gaussian_law(DATA, VP, sk.euler, [1.0]), "grid must hold two or more decreasing"),
        (lambda: gaussian_law(DATA, VP, sk.euler, [1, 0.1], start="data"), "start must be 'prior', 'exact' or a Law"),
        (lambda: gaussian_law(DATA, VP, sk.euler, [1, 0.1], start=exact_law(CENTRED)), "same principal axes"),
        (lambda: gaussian_law(DATA, VP, sk.ancestral, [1, 0.1], exact=1), "draws normals"),
        (lambda: gaussian_law(DATA, VP, sk.euler, [1, 0.1], exact=-1), "exact must be an integer"),
        (lambda: exact_law(DATA).w2(exact_law(CENTRED)), "same principal axes"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
