"""The one-step samplers: formulas against those of the papers, orders, invariance, ends of the path, types."""

import math

import numpy as np
import pytest
from equations import NOISING as PROCESSES

import sdekit as sk
from sdekit.methods.exponential import phi

REFERENCE = {"backend": sk.backends.numpy()}
MEAN, STD = 0.7, 0.5
DATA = sk.Gaussian(MEAN, std=STD)
MIXTURE = sk.GaussianMixture([0.35, 0.65], [-1.0, 0.8], stds=[0.4, 0.3])
CHURNED = sk.edm_heun(3.0, steps=6, high=2.0)
FLOWS = [sk.ddim, sk.dpm_solver(1), sk.dpm_solver, sk.dpm_solver(3), sk.edm_heun]
NOISY = [sk.ddim(0.4), sk.ddim(1.0), sk.ancestral, sk.exponential_euler, sk.dpmpp_sde]
SAMPLERS = [*FLOWS, *NOISY, CHURNED, sk.annealed_langevin(0.16, 2)]
each_process = pytest.mark.parametrize("process", PROCESSES, ids=str)
each_sampler = pytest.mark.parametrize("method", SAMPLERS, ids=repr)
Z = np.random.default_rng(0).normal(size=(2, 8, 6))
X = np.linspace(-2.0, 2.5, 6)


def reverse(process, data=DATA, eta=1.0):
    return sk.Reverse(process, data.score(process), eta)


def normals(method, steps):
    """Explicit normals for `steps` steps of X: all samplers of one normal get the same."""
    k = method.normals
    return {0: None, 1: Z[0, :steps], 2: Z[:, :steps]}[k]


def one(process, method, t, t1, x=X, data=MIXTURE):
    return sk.solve(reverse(process, data), x, grid=[t, t1], method=method, noise=normals(method, 1), **REFERENCE).x[-1]


def observed(errors):
    """Order between the two finest grids above rounding."""
    good = [e for e in errors if e > 1e-11]
    return math.log2(good[-2] / good[-1])


# --- weights -------------------------------------------------------------------------------------


def test_phi_is_its_integral():
    """Gauss–Legendre of the definition, on both sides of the point where the series ends."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    u = 0.5 * (nodes + 1)
    for z in (-20.0, -3.0, -1.51, -1.49, -0.3, -1e-9, 0.0, 1e-5, 1.0, 1.499, 1.501, 7.0):
        for k in (1, 2, 3, 4):
            integral = 0.5 * (weights * np.exp((1 - u) * z) * u ** (k - 1)).sum() / math.factorial(k - 1)
            assert phi(k, z) == pytest.approx(integral, rel=3e-14)


# --- the papers' formulas ------------------------------------------------------------------------


def test_ddim_is_equations_12_and_16():
    """Song et al.: σ_t(η) = η √((1 − ᾱ_{t−1})/(1 − ᾱ_t)) √(1 − ᾱ_t/ᾱ_{t−1})."""
    process, t, t1 = sk.DiscreteVP(), 400.0, 350.0
    now, new = process.alphas_cumprod[400], process.alphas_cumprod[350]
    eps = MIXTURE.score(process).pair(t, X)[1]
    clean = (X - math.sqrt(1 - now) * eps) / math.sqrt(now)
    for eta in (0.0, 0.3, 1.0):
        sigma = eta * math.sqrt((1 - new) / (1 - now)) * math.sqrt(1 - now / new)
        want = math.sqrt(new) * clean + math.sqrt(1 - new - sigma**2) * eps + sigma * Z[0, 0]
        np.testing.assert_allclose(one(process, sk.ddim(eta), t, t1), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", [sk.ancestral, sk.ddim(1.0)], ids=repr)
def test_ancestral_is_ddpm_and_sde_dpm_solver_and_euler_ancestral(method):
    """Four published forms of one method, to 1e-12 over several steps."""
    process, times = sk.DiscreteVP(), [900.0, 700.0, 500.0, 250.0, 100.0, 20.0, 0.0]
    score, bars = MIXTURE.score(process), process.alphas_cumprod
    solved = sk.solve(reverse(process, MIXTURE), X, times, method, noise=Z[0, :6], grid=times, **REFERENCE).x
    ddpm, multi, euler = X, X, X / math.sqrt(bars[900])
    for t, t1, z, want in zip(times, times[1:], Z[0], solved[1:]):
        now, new = bars[int(t)], bars[int(t1)]
        # Ho et al., equations 6 and 7, with betas of the grid
        beta = 1 - now / new
        clean = score.pair(t, ddpm)[0]
        mean = math.sqrt(new) * beta / (1 - now) * clean + math.sqrt(1 - beta) * (1 - new) / (1 - now) * ddpm
        ddpm = mean + math.sqrt((1 - new) / (1 - now) * beta) * z
        # Lu et al., SDE-DPM-Solver++-1
        a1, s0, s1 = math.sqrt(new), math.sqrt(1 - now), math.sqrt(1 - new)
        h = math.log(a1 / s1) - math.log(math.sqrt(now) / s0)
        clean = score.pair(t, multi)[0]
        multi = s1 / s0 * math.exp(-h) * multi + a1 * (1 - math.exp(-2 * h)) * clean
        multi = multi + s1 * math.sqrt(1 - math.exp(-2 * h)) * z
        # the ancestral Euler step in x/alpha over sigma/alpha
        n0, n1 = s0 / math.sqrt(now), s1 / a1
        up = math.sqrt(n1**2 * (n0**2 - n1**2) / n0**2)
        slope = (euler - score.pair(t, euler * math.sqrt(now))[0]) / n0
        euler = euler + slope * (math.sqrt(n1**2 - up**2) - n0) + up * z
        for found in (ddpm, multi, euler * a1):
            np.testing.assert_allclose(want, found, rtol=1e-12, atol=1e-12)


def frozen_score(process, t, t1, weight):
    """x' of the integrator with frozen score and ∫ (a1/alpha) g² du = weight."""
    (a0, s0), (a1, s1) = process.marginal(t), process.marginal(t1)
    spread = a1 * math.sqrt((s0 / a0) ** 2 - (s1 / a1) ** 2)
    return a1 / a0 * X + weight * MIXTURE.score(process)(t, X) + spread * Z[0, 0]


@pytest.mark.parametrize(
    ("process", "weight"),
    [
        (sk.VP(), lambda a0, s0, a1, s1: 2 * (a1 / a0 - 1)),
        (sk.VP(0.2, 8.0, 1.5), lambda a0, s0, a1, s1: 2 * 2.25 * (a1 / a0 - 1)),
        (sk.CosineVP(), lambda a0, s0, a1, s1: 2 * (a1 / a0 - 1)),
        (sk.DiscreteVP(), lambda a0, s0, a1, s1: 2 * (a1 / a0 - 1)),
        (sk.VE(), lambda a0, s0, a1, s1: s0**2 - s1**2),
        (sk.EDM(), lambda a0, s0, a1, s1: s0**2 - s1**2),
        (sk.FlowPath(), lambda a0, s0, a1, s1: 2 * a1 * (1 / a0 - 1 / a1 + math.log(a0 / a1))),
    ],
    ids=["VP", "VP with sigma", "CosineVP", "DiscreteVP", "VE", "EDM", "FlowPath"],
)
@pytest.mark.parametrize("step", [0.01, 0.3, 0.9])
def test_exponential_euler_freezes_the_score(process, weight, step):
    """The closed forms of the weight: VP is the scheme of Pierret and Galerne; short steps and very long ones."""
    low, high = process.domain
    t = low + 0.95 * (high - low)
    t1 = t - step * (high - low)
    want = frozen_score(process, t, t1, weight(*process.marginal(t), *process.marginal(t1)))
    np.testing.assert_allclose(one(process, sk.exponential_euler, t, t1), want, rtol=1e-11, atol=1e-11)


def test_dpm_solver_is_its_algorithm():
    """Lu et al., algorithms 1 and 2, written with their λ, α, σ and ε."""
    process, t, t1 = sk.VP(), 0.7, 0.35
    score = MIXTURE.score(process)
    lam = math.log(process.marginal(t)[0] / process.marginal(t)[1])
    h = math.log(process.marginal(t1)[0] / process.marginal(t1)[1]) - lam
    a, (a1, s1) = process.marginal(t)[0], process.marginal(t1)
    eps = score.pair(t, X)[1]

    def at(r):
        time = process.time(lam + r * h)
        return time, *process.marginal(time)

    first = a1 / a * X - s1 * math.expm1(h) * eps
    tm, am, sm = at(0.5)
    middle = score.pair(tm, am / a * X - sm * math.expm1(h / 2) * eps)[1]
    second = a1 / a * X - s1 * math.expm1(h) * middle
    r1, r2 = 1 / 3, 2 / 3
    t2, a2, s2 = at(r1)
    d1 = score.pair(t2, a2 / a * X - s2 * math.expm1(r1 * h) * eps)[1] - eps
    t3, a3, s3 = at(r2)
    u = a3 / a * X - s3 * math.expm1(r2 * h) * eps - s3 * r2 / r1 * (math.expm1(r2 * h) / (r2 * h) - 1) * d1
    d2 = score.pair(t3, u)[1] - eps
    third = a1 / a * X - s1 * math.expm1(h) * eps - s1 / r2 * (math.expm1(h) / h - 1) * d2
    for order, want in enumerate((first, second, third), 1):
        np.testing.assert_allclose(one(process, sk.dpm_solver(order), t, t1), want, rtol=1e-12, atol=1e-12)
    assert sk.dpm_solver(2) is not sk.dpm_solver and sk.dpm_solver.order == sk.dpm_solver.drifts == 2


def test_dpmpp_sde_has_one_brownian_path():
    """Where D = 0 the reverse SDE is linear, and midpoint and end have its exact joint law."""
    process, t, t1, seen = sk.VP(), 0.7, 0.35, []

    def net(t, x):
        seen.append(x)
        return 0 * x

    rev = sk.Reverse(process, sk.scores.from_denoiser(net, process, event_dims=0))
    noise = np.eye(2)[:, None]  # one path for each normal
    end = sk.solve(rev, np.zeros(2), grid=[t, t1], method=sk.dpmpp_sde, noise=noise, **REFERENCE).x[-1]
    middle = seen[-1]
    (a0, s0), (a1, s1) = process.marginal(t), process.marginal(t1)
    ratio = math.sqrt(a0 / s0 * s1 / a1)  # e^{−h/2}
    s = process.marginal(process.time(math.log(a0 / s0) - math.log(ratio)))[1]
    variance = s**2 * (1 - ratio**2)
    assert (middle**2).sum() == pytest.approx(variance, rel=1e-12)
    assert (end**2).sum() == pytest.approx(s1**2 * (1 - ratio**4), rel=1e-12)
    assert (middle * end).sum() == pytest.approx(s1 / s * ratio * variance, rel=1e-12)


@pytest.mark.parametrize("process", [sk.EDM(200.0), sk.VP(), sk.FlowPath()], ids=str)
def test_edm_heun_is_algorithm_2(process):
    """Karras et al., in their coordinates: churn between two levels, noise of another size, last step to zero."""
    churn, steps, low, high, size = 2.0, 7, 0.05, 30.0, 1.1
    method = sk.edm_heun(churn, steps, low, high, size)
    sigmas = np.array([50.0, 12.0, 3.0, 0.8, 0.2, 0.06, 0.03, 0.0])
    times = [*(process.time(-math.log(s)) for s in sigmas[:-1]), process.domain[0]]
    score = MIXTURE.score(sk.EDM(200.0))
    y, evaluations = X * sigmas[0], 0
    for sigma, new, z in zip(sigmas[:-1], sigmas[1:], Z[0]):
        gamma = min(churn / steps, math.sqrt(2) - 1) if low <= sigma <= high and new > 0 else 0.0
        raised = sigma * (1 + gamma)
        y = y + math.sqrt(raised**2 - sigma**2) * size * z
        slope = (y - score.pair(raised, y)[0]) / raised
        ahead = y + (new - raised) * slope
        evaluations += 1
        if new > 0:
            slope = 0.5 * (slope + (ahead - score.pair(new, ahead)[0]) / new)
            evaluations += 1
        y = y + (new - raised) * slope
    x0 = X * sigmas[0] * process.marginal(times[0])[0]
    sol = sk.solve(reverse(process, MIXTURE), x0, grid=times, method=method, noise=Z[0, :7], **REFERENCE)
    np.testing.assert_allclose(sol.x[-1], y, rtol=1e-10, atol=1e-10)
    assert sol.nfe == evaluations == 13


def test_churn_stays_inside_the_domain():
    """From the end of the domain nothing can be raised; just before it, as far as its end."""
    process = sk.EDM(80.0)
    rev = reverse(process)
    wild = sk.edm_heun(100.0, 10)
    for t, raised in ((80.0, 80.0), (79.0, 80.0), (40.0, 40.0 * math.sqrt(2))):
        x = X + math.sqrt(raised**2 - t**2) * Z[0, 0]
        want = sk.solve(rev, x, [raised, 20.0], sk.edm_heun, grid=[raised, 20.0], seed=0, **REFERENCE).x[-1]
        found = sk.solve(rev, X, [t, 20.0], wild, noise=Z[0, :1], grid=[t, 20.0], **REFERENCE).x[-1]
        np.testing.assert_allclose(found, want, rtol=1e-12)


def test_annealed_langevin_is_its_algorithm():
    """Song and Ermon, algorithm 1, on VE: τ = ½ ε sigma_i²/sigma_L²; on VP the same in x/alpha."""
    snr, sigmas = 0.2, [5.0, 2.0, 1.0, 0.4]
    score, y = MIXTURE.score(sk.EDM()), X * 5.0
    z = iter(Z.reshape(16, 6))
    for sigma in sigmas[1:]:
        tau = 2 * (snr * sigma) ** 2
        for _ in range(2):
            y = y + tau * score(sigma, y) + math.sqrt(2 * tau) * next(z)
    draws = np.stack([Z.reshape(16, 6)[j:6:2] for j in range(2)])
    for process in (sk.EDM(), sk.VP(), sk.FlowPath()):
        times = [process.time(-math.log(s)) for s in sigmas]
        alphas = [process.marginal(t)[0] for t in times]
        x0 = X * 5.0 * alphas[0]
        sol = sk.solve(
            reverse(process, MIXTURE), x0, times, sk.annealed_langevin(snr, 2), noise=draws, grid=times, **REFERENCE
        )
        np.testing.assert_allclose(sol.x[-1] / alphas[-1], y, rtol=1e-11)
        assert sol.nfe == 6


# --- orders --------------------------------------------------------------------------------------


def gaussian_law(process, grid, method):
    """(mean, variance) after the sampler's own steps from the exact law at grid[0]: it is linear in its normals."""
    steps, k = len(grid) - 1, method.normals
    n = 1 + k * steps
    alpha, sigma = process.marginal(grid[0])
    z = np.zeros((k * steps, n + 1))
    z[:, 1:n] = np.eye(n - 1)
    x0 = np.full(n + 1, alpha * MEAN)
    x0[n] += math.hypot(alpha * STD, sigma)
    noise = z.reshape((steps, n + 1) if k == 1 else (k, steps, n + 1)) if k else None
    x = sk.solve(reverse(process), x0, grid=grid, method=method, noise=noise, **REFERENCE).x[-1]
    return x[0], ((x[1:] - x[0]) ** 2).sum()


@pytest.mark.parametrize("method", [*FLOWS, *NOISY], ids=repr)
@pytest.mark.parametrize(
    ("process", "start", "end"), [(sk.VP(), 0.9, 0.01), (sk.EDM(), 10.0, 0.05), (sk.FlowPath(), 0.95, 0.02)], ids=str
)
def test_orders_on_a_gaussian(process, start, end, method):
    """Exact laws: the standard deviation converges with the claimed order, and the mean is right."""
    alpha, sigma = process.marginal(end)
    errors = []
    for n in (48, 96, 192):
        mean, var = gaussian_law(process, sk.grids.log_snr(process, n, start, end), method)
        errors.append(abs(math.sqrt(var) - math.hypot(alpha * STD, sigma)))
        assert mean == pytest.approx(alpha * MEAN, rel=1e-12)
    assert abs(observed(errors) - (method.order or method.weak)) < 0.15


@pytest.fixture(scope="module")
def flow_of_a_mixture():
    """Where the flow of EDM takes nine points from t = 3 to 0.2, by classical Runge–Kutta."""
    grid = sk.grids.log_snr(sk.EDM(), 800, 3.0, 0.2)
    rev = reverse(sk.EDM(), MIXTURE, 0.0)
    return sk.solve(rev, np.linspace(-6.0, 6.0, 9), grid=grid, method=sk.rk4, seed=0, **REFERENCE).x[-1]


@pytest.mark.parametrize("method", FLOWS, ids=repr)
def test_orders_of_the_flow_of_a_mixture(method, flow_of_a_mixture):
    """Coupled error to a fine solution: not only for linear problems."""
    process, x0, want = sk.EDM(), np.linspace(-6.0, 6.0, 9), flow_of_a_mixture
    errors = []
    for n in (40, 80, 160):
        grid = sk.grids.log_snr(process, n, 3.0, 0.2)
        x = sk.solve(reverse(process, MIXTURE), x0, grid=grid, method=method, seed=0, **REFERENCE).x[-1]
        errors.append(math.sqrt(((x - want) ** 2).mean()))
    assert abs(observed(errors) - method.order) < 0.15


@pytest.mark.parametrize("method", [sk.ddim(0.6), sk.ancestral, sk.exponential_euler, sk.dpmpp_sde], ids=repr)
def test_weak_orders_on_a_mixture(method):
    """One step from the exact law, all averages by quadrature: the error of moments falls with order weak + 1.

    This sees the second derivative of D, which no Gaussian does.
    """
    process = sk.VP()
    score, k = MIXTURE.score(process), method.normals
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    z = np.stack(np.meshgrid(*[nodes] * k, indexing="ij")).reshape(k, -1)
    weight = np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * k, indexing="ij")).reshape(k, -1), 0)
    x = np.linspace(-8, 8, 601)
    dx = x[1] - x[0]
    t = process.time(0.0)
    p = np.exp(score.log_prob(t, x)) * dx
    errors = []
    for h in (0.1, 0.05):
        t1 = process.time(h)
        start, draws = np.repeat(x, len(weight)), np.tile(z, (1, len(x)))
        noise = draws.reshape((1, -1) if k == 1 else (k, 1, -1))
        y = sk.solve(reverse(process, MIXTURE), start, grid=[t, t1], method=method, noise=noise, **REFERENCE).x[-1]
        y = y.reshape(len(x), -1)
        q = np.exp(score.log_prob(t1, x)) * dx
        errors.append([abs((p[:, None] * weight * f(y)).sum() - (q * f(x)).sum()) for f in (np.square, np.cos)])
    slopes = np.log2(np.divide(*errors))
    assert (np.abs(slopes - method.weak - 1) < 0.2).all(), slopes


# --- invariance and ends -------------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in SAMPLERS if m is not sk.exponential_euler], ids=repr)
def test_equal_signal_to_noise_ratios_give_equal_samples(method):
    """x/alpha does not depend on the process: to 1e-12."""
    found = []
    for process in PROCESSES:
        grid = process.time(np.linspace(-1.0, 3.0, 9))
        noise = None if not method.normals else np.random.default_rng(1).normal(size=(method.normals, 8, 6))
        noise = noise[0] if method.normals == 1 else noise
        x0 = 3.0 * X * process.marginal(grid[0])[0]
        x = sk.solve(reverse(process, MIXTURE), x0, grid=grid, method=method, noise=noise, **REFERENCE).x[-1]
        found.append(x / process.marginal(grid[-1])[0])
    np.testing.assert_allclose(found, np.tile(found[0], (len(PROCESSES), 1)), rtol=1e-12, atol=1e-12)


def spied(process, data=MIXTURE):
    """A reverse process whose score writes down its times."""
    seen, score = [], data.score(process)

    class Spy:
        event_dims = score.event_dims

        def __init__(self):
            self.process = process

        def pair(self, t, x):
            seen.append(float(t))
            return score.pair(t, x)

        def __call__(self, t, x):
            seen.append(float(t))
            return score(t, x)

    return sk.Reverse(process, Spy()), seen


@each_sampler
@each_process
def test_the_last_step_returns_the_denoised_state(process, method):
    """At sigma = 0 the answer is D, bit for bit, with no evaluation there; nfe is what the score saw."""
    if process.marginal(process.domain[0])[1] > 0:
        return
    rev, seen = spied(process)
    grid = sk.grids.karras(process, 6, end=process.time(2.0), final=True)
    short = sk.solve(rev, 3 * X, grid=grid[:-1], method=method, seed=2, **REFERENCE)
    assert short.nfe == len(seen) == 5 * method.drifts
    seen.clear()
    whole = sk.solve(rev, 3 * X, grid=grid, method=method, seed=2, **REFERENCE)
    assert whole.nfe == len(seen) == 5 * method.drifts + 1 and min(seen) == seen[-1] == grid[-2]
    np.testing.assert_array_equal(whole.x[-1], rev.score.pair(grid[-2], short.x[-1])[0])


@each_sampler
def test_from_pure_noise(method):
    """FlowPath from t = 1, where alpha = 0 and the velocity knows both: a first step of first order."""
    process = sk.FlowPath()

    def velocity(t, x):
        clean, eps = MIXTURE.score(process).pair(t, x)
        return eps - clean

    score = sk.scores.from_velocity(velocity, process, event_dims=0)
    rev = sk.Reverse(process, score)
    x0 = rev.start((6,), seed=1)
    sol = sk.solve(rev, x0, grid=sk.grids.uniform(process, 5, final=True), method=method, seed=3, **REFERENCE)
    assert np.isfinite(sol.x).all()
    kept = 1.0 if method in FLOWS or method is CHURNED else 0.0
    z = sk.noise.normal((6,), seed=3, stream=sk.noise.Stream.PATH)
    first = sk.solve(rev, x0, grid=[1.0, 0.75], method=method, seed=3, **REFERENCE)
    if method is sk.ddim(0.4):
        kept = math.sqrt(1 - 0.16)
    if "score" not in method.needs:
        mean = MIXTURE.score(process).pair(1.0, x0)[0]
        want = 0.25 * mean + 0.75 * (kept * x0 + math.sqrt(1 - kept**2) * z)
        np.testing.assert_allclose(first.x[-1], want, rtol=1e-12)


def test_ddim_inverts():
    """From data to noise and back, with small steps both ways."""
    process = sk.VP()
    grid = sk.grids.log_snr(process, 400)
    there = sk.solve(reverse(process), X, grid=grid[::-1], method=sk.ddim, seed=0, **REFERENCE).x[-1]
    back = sk.solve(reverse(process), there, grid=grid, method=sk.ddim, seed=0, **REFERENCE).x[-1]
    np.testing.assert_allclose(back, X, atol=0.1)
    with pytest.raises(ValueError, match="runs from noise to data"):
        sk.solve(reverse(process), X, grid=grid[::-1], method=sk.ancestral, seed=0, **REFERENCE)


def test_the_eta_of_the_reverse_process_is_not_used():
    grid = sk.grids.log_snr(sk.VP(), 4)
    for method in SAMPLERS:
        a, b = (
            sk.solve(reverse(sk.VP(), MIXTURE, eta), X, grid=grid, method=method, seed=1, **REFERENCE).x
            for eta in (0.0, 1.0)
        )
        np.testing.assert_array_equal(a, b)


# --- types and batches ---------------------------------------------------------------------------


@each_sampler
@each_process
def test_no_nan_from_start_to_end(process, method):
    """On every grid, in single and half precision, to sigma = 0 where the process gets there."""
    torch = pytest.importorskip("torch")
    rev = reverse(process, MIXTURE)
    for name in sk.grids.__all__:
        grid = getattr(sk.grids, name)(process, 5, final=process.marginal(process.domain[0])[1] == 0)
        for dtype in (torch.float32, torch.bfloat16):
            x0 = rev.start((4, 3), seed=0, like=torch.zeros(1, dtype=dtype))
            sol = sk.solve(rev, x0, grid=grid, method=method, seed=1)
            assert sol.x.dtype == dtype and bool(torch.isfinite(sol.x).all()) and not bool(sol.failed.any())


@each_sampler
def test_results_do_not_depend_on_the_batch(method):
    torch = pytest.importorskip("torch")
    process = sk.VP()
    grid = sk.grids.karras(process, 5, final=True)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        rev = reverse(process, MIXTURE)
        x0 = rev.start((6, 2), seed=0, like=torch.zeros(1, dtype=dtype))
        whole = sk.solve(rev, x0, grid=grid, method=method, seed=4).x
        part = sk.solve(rev, x0[2:5], grid=grid, method=method, seed=4, first_path=2).x
        torch.testing.assert_close(part, whole[:, 2:5], rtol=tolerance, atol=tolerance)


# --- records -------------------------------------------------------------------------------------


def test_what_each_draws():
    assert [m.normals for m in FLOWS] == [0] * 5 and [m.normals for m in NOISY] == [1, 1, 1, 1, 2]
    assert CHURNED.streams == (sk.noise.Stream.CORRECTOR,) and sk.annealed_langevin.streams == (
        sk.noise.Stream.CORRECTOR,
    )
    assert sk.ddim() is sk.ddim(0.0) and sk.ddim(0.0).normals == 0
    assert repr(CHURNED) == "edm_heun(3.0, 6, 0.0, 2.0, 1.0)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sk.ddim(1.5), "eta must be a real number, at least 0 and at most 1, got 1.5"),
        (lambda: sk.ddim(math.nan), "eta must be a real number, .* got nan"),
        (lambda: sk.dpm_solver(4), "order must be an integer from 1 to 3, got 4"),
        (lambda: sk.dpm_solver(2.0), "order must be an integer from 1 to 3, got 2.0"),
        (lambda: sk.edm_heun(40.0), "steps, the number of steps of the grid .*, must be an integer >= 1, got None"),
        (lambda: sk.edm_heun(40.0, 0), "steps, .* must be .* got 0"),
        (lambda: sk.edm_heun(-1.0), "churn must be a real number, at least 0 and finite, got -1.0"),
        (lambda: sk.edm_heun(1.0, 5, 2.0, 1.0), "high must be a real number, at least 2, got 1.0"),
        (lambda: sk.edm_heun(1.0, 5, noise=math.nan), "noise must be a real number, .*finite, got nan"),
        (lambda: sk.annealed_langevin(None), "snr must be a real number, above 0 and finite, got None"),
        (lambda: sk.annealed_langevin(0.1, 0), "steps must be an integer from 1"),
        (lambda: sk.ddim("0"), "eta must be a real number, .* got '0'"),
        (lambda: sk.ddim(None), "eta must be a real number, .* got None"),
        (lambda: sk.edm_heun(low="0"), "low must be a real number, at least 0, got '0'"),
        (lambda: sk.edm_heun(churn=None), "churn must be a real number, .* got None"),
        (
            lambda: sk.solve(sk.OU(), X, [1.0, 0.5], sk.ddim, h=0.5, seed=0, **REFERENCE),
            "ddim needs a process with a method pair",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_data_without_noise_start_no_multistep_encoding():
    """At sigma = 0 x tells nothing of the noise; `ddim` takes what the score says of it."""
    for method in (sk.dpm_solver, sk.dpm_solver(3), sk.dpmpp_2m, sk.unipc):
        with pytest.raises(ValueError, match="sigma = 0, .* start later, or use ddim"):
            sk.solve(reverse(sk.VP()), X, grid=[0.0, 0.5, 1.0], method=method, seed=0, **REFERENCE)
    assert np.isfinite(sk.solve(reverse(sk.VP()), X, grid=[0.0, 0.5, 1.0], method=sk.ddim, seed=0, **REFERENCE).x).all()


def test_schedules_of_their_own_for_each_path():
    """Methods on the drift, and those that read alpha and sigma alone, take them; the others say that they do not."""
    process = sk.VP(beta_max=np.array([10.0, 20.0, 30.0]))
    rev = sk.Reverse(process, lambda t, x: -x, eta=0.0)
    for method in (sk.heun, sk.ddim):
        whole = sk.solve(rev, np.ones((3, 2)), [1.0, 0.5, 0.1], method, grid=[1.0, 0.5, 0.1], seed=0, **REFERENCE).x[-1]
        for i, beta in enumerate((10.0, 20.0, 30.0)):
            one = sk.Reverse(sk.VP(beta_max=beta), lambda t, x: -x, eta=0.0)
            want = sk.solve(one, np.ones((1, 2)), [1.0, 0.5, 0.1], method, grid=[1.0, 0.5, 0.1], seed=0, **REFERENCE).x[
                -1
            ]
            np.testing.assert_allclose(whole[i : i + 1], want, rtol=1e-12)
    for method in (sk.ancestral, sk.dpmpp_2m, sk.dpm_solver):
        with pytest.raises(ValueError, match="one schedule per path"):
            sk.solve(rev, np.ones((3, 2)), [1.0, 0.5, 0.1], method, grid=[1.0, 0.5, 0.1], seed=0, **REFERENCE)
