"""`Reverse` and `Langevin` through `solve`: the laws that come out, the last step, and what is counted."""

import numpy as np
import pytest
from backends import solve

import sdekit as sk

REFERENCE = {"backend": sk.backends.numpy()}
ENGINES = pytest.mark.parametrize("name", ["numpy", "torch"])
MEAN, STD = 0.7, 0.5
DATA = sk.Gaussian(MEAN, std=STD)


def reverse(process, eta=1.0):
    return sk.Reverse(process, DATA.score(process), eta)


def gaussian_law(rev, grid, method):
    """(mean, variance) of the state at the end of a linear sampler from its own start, exactly.

    One path per normal: the answer is linear in the start and in the normals.
    """
    steps = len(grid) - 1
    n = 1 + method.normals * steps
    sigma = rev.process.marginal(grid[0])[1]

    def end(x0, z):
        z = z if method.normals else None
        return sk.solve(rev, x0, grid=grid, method=method, noise=z, **REFERENCE).x[-1]

    shape = (steps, n + 1) if method.normals == 1 else (method.normals, steps, n + 1)
    z = np.zeros((method.normals * steps, n + 1))
    z[:, 1:n] = np.eye(n - 1)
    x0 = np.zeros(n + 1)
    x0[n] = sigma  # and the last path has the start's own normal
    x = end(x0, z.reshape(shape))
    return x[0], ((x[1:] - x[0]) ** 2).sum()


def spied(rev):
    """The same with a score that writes down its times."""
    seen, score = [], rev.score

    class Spy:
        process, event_dims = score.process, score.event_dims

        def pair(self, t, x):
            seen.append(float(np.ravel(t)[0]))
            return score.pair(t, x)

        def __call__(self, t, x):
            seen.append(float(np.ravel(t)[0]))
            return score(t, x)

    return sk.Reverse(rev.process, Spy(), rev.eta), seen


# --- the last step -------------------------------------------------------------------------------


@ENGINES
@pytest.mark.parametrize(
    ("method", "eta"),
    [(sk.heun, 0.0), (sk.rk4, 0.0), (sk.heun, 1.0), (sk.predictor_corrector, 1.0), (sk.heun, 0.0)],
    ids=str,
)
def test_steps_to_sigma_zero_return_the_denoised_state(name, method, eta):
    """EDM ends at sigma = 0: the answer there is D at the time before, and nothing is evaluated at 0."""
    rev, seen = spied(reverse(sk.EDM(), eta))
    sol = solve(name, rev, np.linspace(-3, 3, 6), [2.0, 1.0, 0.5, 0.0], method, seed=3, grid=[2.0, 1.0, 0.5, 0.0])
    assert np.isfinite(sol.x).all() and min(seen) == 0.5
    assert sol.nfe == len(seen) == 2 * method.drifts + 1
    np.testing.assert_allclose(sol.x[3], rev.score.pair(0.5, sol.x[2])[0], rtol=1e-13)


@ENGINES
@pytest.mark.parametrize("method", [sk.euler, sk.midpoint])
def test_methods_that_never_evaluate_the_end_step_to_zero_as_ever(name, method):
    rev, seen = spied(reverse(sk.EDM(), 0.0))
    sol = solve(name, rev, np.linspace(-3, 3, 6), [2.0, 1.0, 0.0], method, h=1.0)
    assert np.isfinite(sol.x).all() and min(seen) > 0 and sol.nfe == len(seen) == 2 * method.drifts


def test_euler_to_sigma_zero_is_the_denoised_state_too():
    """x − sigma ε = D for EDM: Euler's last step says the same."""
    rev = reverse(sk.EDM(), 0.0)
    x0 = np.linspace(-3, 3, 6)
    last = sk.solve(rev, x0, [0.5, 0.0], sk.euler, h=0.5, seed=0, **REFERENCE).x[-1]
    np.testing.assert_allclose(last, rev.score.pair(0.5, x0)[0], rtol=1e-13)


@ENGINES
def test_noise_of_the_last_step_is_left_unused(name):
    """The denoising step draws nothing: the steps before it are those of a run that stops earlier."""
    rev = reverse(sk.EDM())
    whole = solve(name, rev, np.ones(4), [1.0, 0.5, 0.0], sk.heun, seed=1, h=0.5)
    short = solve(name, rev, np.ones(4), [1.0, 0.5], sk.heun, seed=1, h=0.5)
    np.testing.assert_array_equal(whole.x[:2], short.x)


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [sk.VP(), sk.EDM()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(
    ("method", "eta", "tolerance"),
    [
        (sk.heun, 0.0, 1e-3),
        (sk.rk4, 0.0, 1e-4),
        (sk.euler, 0.0, 2e-2),
        (sk.euler_maruyama, 1.0, 3e-2),
        (sk.sra1, 1.0, 2e-3),
    ],
    ids=str,
)
def test_samplers_reach_the_law_of_the_data(process, method, eta, tolerance):
    """Exactly, without sampling: the mean and variance of the linear sampler at a small time."""
    grid = np.geomspace(1.0, 1e-3, 400) if isinstance(process, sk.VP) else np.geomspace(20.0, 1e-2, 400)
    mean, var = gaussian_law(reverse(process, eta), grid, method)
    alpha, sigma = process.marginal(grid[-1])
    first = process.marginal(grid[0])
    left = first[0] / first[1]  # the start leaves out what is left of the data there
    assert abs(mean - alpha * MEAN) < tolerance + left * MEAN
    assert var == pytest.approx(alpha**2 * STD**2 + sigma**2, rel=2 * tolerance + (left * STD) ** 2)


@pytest.mark.parametrize("predictor", [sk.euler_maruyama, sk.heun], ids=repr)
def test_predictor_corrector_reaches_the_law_of_the_data(predictor):
    """Exactly again: correctors of a small signal-to-noise ratio leave the law what it is."""
    process = sk.VP()
    method = sk.predictor_corrector(predictor, sk.langevin(0.05, 2))
    grid = np.geomspace(1.0, 1e-3, 300)
    mean, var = gaussian_law(reverse(process), grid, method)
    alpha, sigma = process.marginal(1e-3)
    assert mean == pytest.approx(alpha * MEAN, abs=2e-2)
    assert var == pytest.approx(alpha**2 * STD**2 + sigma**2, rel=5e-2)


@ENGINES
def test_predictor_corrector_for_the_ode(name):
    """An ODE predictor with a corrector: only the corrector draws."""
    rev, seen = spied(reverse(sk.VP(), 0.0))
    method = sk.predictor_corrector(sk.midpoint, sk.langevin(0.1, 2))
    assert method.streams == (2, 2) and method.drifts == 4
    sol = solve(name, rev, np.ones(5), [1.0, 0.5, 0.2], method, seed=1, grid=[1.0, 0.5, 0.2])
    assert sol.nfe == len(seen) == 8 and np.isfinite(sol.x).all()


def test_correctors_do_not_couple_samples():
    """A sample of a batch is what it is alone."""
    method = sk.predictor_corrector(sk.euler_maruyama, sk.langevin(0.16))
    rev = reverse(sk.VP())
    x0 = np.linspace(-2, 2, 8)
    batch = sk.solve(rev, x0, [1.0, 0.5, 0.1], method, seed=1, grid=[1.0, 0.5, 0.1], **REFERENCE).x
    for a in (0, 3, 7):
        alone = sk.solve(
            rev, x0[a : a + 1], [1.0, 0.5, 0.1], method, seed=1, first_path=a, grid=[1.0, 0.5, 0.1], **REFERENCE
        ).x
        np.testing.assert_allclose(alone[:, 0], batch[:, a], rtol=1e-13)


def test_langevin_dynamics_keep_their_law():
    """The unadjusted Langevin algorithm on N(m, s²) is AR(1): its variance is known exactly.

    x ← x + h (m − x)/s² + √(2h) z: stationary variance 2h/(1 − a²), a = 1 − h/s².
    """
    chain = sk.Langevin(DATA.score())
    h, steps = 0.02, 400
    a = 1 - h / STD**2
    z = np.zeros((steps, steps + 1))
    z[:, 1:] = np.eye(steps)
    for method in (sk.langevin, sk.euler_maruyama):
        x = sk.solve(chain, np.full(steps + 1, 3.0), [0, h * steps], method, h=h, noise=z, **REFERENCE).x[-1]
        assert x[0] == pytest.approx(MEAN + a**steps * (3.0 - MEAN), rel=1e-9)
        assert ((x[1:] - x[0]) ** 2).sum() == pytest.approx(2 * h * (1 - a ** (2 * steps)) / (1 - a * a), rel=1e-9)


def test_the_corrector_alone_has_its_stationary_law():
    """At fixed sigma: τ = 2 (snr sigma)², an AR(1) chain with a = 1 − τ/v."""
    process, t = sk.VE(), 0.4
    rev = reverse(process)
    v = STD**2 + rev.sigma(t) ** 2
    method, snr, n = sk.langevin(0.3, 50), 0.3, 50
    tau = 2 * (snr * rev.sigma(t)) ** 2
    z = np.zeros((n, 1, n + 1))
    z[:, 0, 1:] = np.eye(n)
    x = sk.solve(rev, np.zeros(n + 1), [t, t - 1e-3], method, noise=z, grid=[t, t - 1e-3], **REFERENCE).x[-1]
    a = 1 - tau / v
    assert x[0] == pytest.approx(MEAN * (1 - a**n), rel=1e-9)
    assert ((x[1:] - x[0]) ** 2).sum() == pytest.approx(2 * tau * (1 - a ** (2 * n)) / (1 - a * a), rel=1e-9)


# --- networks ------------------------------------------------------------------------------------


def test_a_network_gets_one_time_per_path_and_is_counted():
    """B = C = H = W: every evaluation has t of shape (B,), and nfe counts batched calls."""
    torch = pytest.importorskip("torch")
    seen = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, t, x):
            seen.append((tuple(t.shape), tuple(x.shape)))
            return self.scale * x

    net, process = Net(), sk.VP()
    rev = sk.Reverse(process, sk.scores.from_noise(net, process))
    start = rev.start((3, 3, 3, 3), seed=0, like=torch.zeros(1))
    for method, cost in ((sk.euler_maruyama, 1), (sk.heun, 2), (sk.predictor_corrector, 2), (sk.langevin(0.1, 3), 3)):
        seen.clear()
        sol = sk.solve(rev, start, [1.0, 0.6, 0.3], method, seed=1, grid=[1.0, 0.6, 0.3])
        assert set(seen) == {((3,), (3, 3, 3, 3))} and sol.nfe == len(seen) == 2 * cost
        assert sol.x.shape == (3, 3, 3, 3, 3) and sol.failed.shape == (3,)
    sol.x[-1].sum().backward()
    assert net.scale.grad is not None and torch.isfinite(net.scale.grad)


def test_batches_of_a_network_are_independent_of_the_split():
    torch = pytest.importorskip("torch")
    process = sk.VP()
    rev = sk.Reverse(process, sk.scores.from_noise(lambda t, x: 0.9 * x, process))
    x0 = rev.start((6, 2, 2), seed=0, like=torch.zeros(1, dtype=torch.float64))
    whole = sk.solve(rev, x0, [1.0, 0.5, 0.1], seed=4, grid=[1.0, 0.5, 0.1]).x
    part = sk.solve(rev, x0[2:5], [1.0, 0.5, 0.1], seed=4, first_path=2, grid=[1.0, 0.5, 0.1]).x
    torch.testing.assert_close(part, whole[:, 2:5], rtol=1e-12, atol=1e-12)
