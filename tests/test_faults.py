"""Small inputs that once gave a wrong number, crashed or said nothing useful; each test names its row (A1, …)."""

import math
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from backends import NAMES, each_backend, solve

import sdekit as sk
from sdekit import math as sm

NUMPY = {"backend": sk.backends.numpy()}
DECAY = sk.process(lambda t, x: -x, noise="none")


def test_a1_a_forgotten_step_size_is_an_error():
    for process, method in ((sk.OU(), None), (DECAY, sk.rk4)):
        with pytest.raises(ValueError, match="how to step is not said"):
            sk.solve(process, 1.0, [0, 5, 10], method, paths=200_000)
    assert sk.solve(DECAY, 1.0, [0, 5, 10]).final == pytest.approx(math.exp(-10), abs=2e-5)  # tol = 1e-6
    x = sk.solve(sk.OU(), 1.0, [0, 5, 10], sk.exact, paths=200_000, seed=0).final  # exact in law for any step
    assert x.std() == pytest.approx(math.sqrt(0.5), abs=6 * 0.5 / 447)  # six standard errors: 2e-9


def test_a2_runs_without_a_seed_are_independent():
    """Var of the second half is that of the law, whether it is a run of its own or goes on."""
    first = sk.solve(sk.OU(), 0.0, [0, 1], h=0.01, paths=100_000)
    other = sk.solve(sk.OU(), first.final, [1, 2], h=0.01)
    on = sk.solve(sk.OU(), first, [1, 2], h=0.01)
    assert first.seed != other.seed and on.seed == first.seed
    for sol in (other, on):
        assert sol.final.var() == pytest.approx(0.5 * (1 - math.exp(-4)), abs=0.02)  # 9 standard errors and 0.5 % of h


class Dose(NamedTuple):
    """dx = dose in the first hour of each day."""

    noise = "none"
    jumps = tuple(sorted({24.0 * d for d in range(11)} | {24.0 * d + 1 for d in range(10)}))

    def drift(self, t, x):
        return sm.where(t - 24 * sm.floor(t / 24) < 1, 1.0, 0.0) + 0 * x


@each_backend
def test_a3_a17_steps_end_at_jumps_and_see_their_side(name):
    assert solve(name, Dose(), 0.0, [0, 240], sk.rk4, h=7.0).x[-1] == pytest.approx(10.0, abs=1e-10)
    assert solve(name, Dose(), 0.0, None, sk.heun, grid=np.arange(0, 241.0, 5)).x[-1] == pytest.approx(10.0, abs=1e-10)


def changing(t, x):
    x -= 1
    return -x


@pytest.mark.parametrize("where", ["drift", "diffusion"])
@pytest.mark.parametrize("kind", ["tensor", "array", "inference"])
def test_a4_functions_that_change_their_argument_are_named(where, kind):
    torch = pytest.importorskip("torch")
    x0 = torch.tensor([0.3, 1.4], dtype=torch.float64)
    kept = x0.clone()
    parts = (changing, lambda t, x: 1.0 + 0 * x) if where == "drift" else (lambda t, x: -x, changing)
    x, how = (x0.numpy(), NUMPY) if kind == "array" else (x0, {})
    refused = pytest.raises(ValueError, match=f"{where} of Functions changes its argument")
    with refused, torch.inference_mode(kind == "inference"):
        sk.solve(sk.process(*parts), x.clone() if kind == "inference" else x, [0, 1], h=0.1, seed=0, **how)
    assert torch.equal(x0, kept)


@pytest.mark.parametrize("change", [lambda x: x.data.mul_(2), lambda x: np.multiply(x, 2, out=x.numpy())])
@pytest.mark.parametrize("how", [{"h": 0.1}, {"tol": 1e-3}])
def test_a4_changes_that_no_tensor_counts_are_named(change, how):
    torch = pytest.importorskip("torch")

    def drift(t, x):
        change(x)
        return -x

    with pytest.raises(ValueError, match="drift of .* changes its argument"):
        sk.solve(sk.noiseless(sk.process(drift, lambda t, x: x)), torch.ones(3), [0, 1], seed=0, **how)


def test_a4_networks_that_work_in_place_are_named():
    torch = pytest.importorskip("torch")
    vp, x = sk.VP(), torch.ones(3, 2)
    reverse = sk.Reverse(vp, sk.scores.from_noise(lambda t, x: x.mul_(2), vp), 0)
    with pytest.raises(ValueError, match="of Reverse changes its argument"):
        sk.solve(reverse, x, grid=[1, 0.5, 0.1], method=sk.ddim)
    assert torch.equal(x, torch.ones(3, 2))


def test_a6_the_time_comes_first():
    class Turned(NamedTuple):
        noise = "none"

        def drift(self, x, t):
            return -x

    with pytest.raises(ValueError, match="the time t comes first"):
        sk.process(lambda x, t: -x, noise="none")
    with pytest.raises(ValueError, match="the time t comes first"):
        sk.solve(Turned(), 1.0, [0, 1], h=0.1)


def test_a7_times_of_float32_mean_what_they_say():
    torch = pytest.importorskip("torch")
    for make in (torch.linspace, lambda a, b, n: np.linspace(a, b, n, dtype=np.float32)):
        assert sk.solve(DECAY, 1.0, make(0, 1, 11), h=0.1, **NUMPY).steps == 10
        assert sk.solve(DECAY, 1.0, make(0, 1, 1001), h=1e-3, **NUMPY).steps == 1000
        assert sk.solve(DECAY, 1.0, np.linspace(0, 1, 11), grid=make(0, 1, 101), **NUMPY).steps == 100


def test_a10_a_failed_path_leaves_the_others_gradients_alone():
    torch = pytest.importorskip("torch")

    def gradient(x0):
        theta = torch.tensor(1.0, requires_grad=True)
        cube = sk.process(lambda t, x: theta * x * x * x, noise="none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sol = sk.solve(cube, torch.tensor(x0), [0, 0.5, 1], h=0.1)
        sol.final[~sol.failed].sum().backward()
        return theta.grad

    for bad in (1e20, 3.0, 1e10):
        torch.testing.assert_close(gradient([0.5, bad]), gradient([0.5]))


def test_a11_times_that_require_a_gradient_are_refused():
    torch = pytest.importorskip("torch")
    times = torch.linspace(0, 1, 3).requires_grad_()
    for how in ({"ts": times, "h": 0.1}, {"grid": times}):
        with pytest.raises(ValueError, match="requires a gradient"):
            sk.solve(DECAY, torch.ones(1), **how)


@pytest.mark.filterwarnings("ignore:.*non-finite")
def test_a12_what_the_result_cannot_hold_has_failed():
    sol = sk.solve(sk.GBM(mu=1.0, sigma=0.0), np.array([6e4, 1.0], np.float16), [0, 0.01, 1], h=0.1, seed=0)
    assert (
        sol.failed.tolist() == [True, False]
        and np.isnan(sol.final[0])
        and sol.x[1, 0] == pytest.approx(6.06e4, rel=1e-2)
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: sk.solve(sk.OU(), np.ma.masked_array([1.0, 2], [0, 1]), [0, 1], h=0.1),
        lambda: sk.OU(np.ma.masked_array([1.0, 2], [0, 1])),
        lambda: sk.OU(1j),
        lambda: sk.solve(sk.OU(), 1.0, [0, 1j], h=0.1),
        lambda: sk.solve(sk.OU(), 1.0, np.array(["2020-01-01", "2020-01-02"], "M8[D]"), h=0.1),
        lambda: sk.solve(sk.OU(), 1.0, ["0", "1"], h=0.1),
        lambda: sk.laws.Normal(0, -1),
        lambda: sk.Gaussian([0.0], std=1.0).sample(-1),
        lambda: sk.noise.normal((2,), 0, n=-1),
        lambda: sk.process(lambda t, x: x, noise="none", event_dims=-1),
        lambda: sk.solve(sk.OU(), 1.0, [0, 1], h=True),
    ],
)
def test_a13_what_is_no_real_number_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_a17_noise_that_is_switched_on():
    """g = 1 from t = 1 on: Var X_2 = 1; six standard errors of 20,000 paths, 2e-9."""
    late = sk.process(lambda t, x: 0 * x, lambda t, x: 1.0 if t >= 1 else 0.0, additive=True, jumps=[1.0])
    for how in ({"ts": [0, 2], "h": 0.25}, {"grid": [0.0, 0.7, 1.4, 2.0]}):
        x = sk.solve(late, 0.0, method=sk.sra1, paths=20_000, seed=1, **how, **NUMPY).final
        assert x.var() == pytest.approx(1.0, abs=6 * math.sqrt(2 / 20_000))


def test_a18_noise_that_does_not_commute_is_recognised():
    def drift(t, x, y):
        return 0 * x, 0 * y

    driven = sk.process(drift, lambda t, x, y: (y, 1.0 + 0 * y))
    for method in (sk.milstein, sk.sri1w1):
        with pytest.raises(ValueError, match="component 0 of its diffusion depends on component 1"):
            sk.solve(driven, [1.0, 1.0], [0, 1], method, h=0.1, seed=0)
    sk.solve(driven, [1.0, 1.0], [0, 1], h=0.1, seed=0, **NUMPY)
    still = sk.process(drift, lambda t, x, y: (y, 0 * y), commutative=True)
    sk.solve(still, [1.0, 1.0], [0, 1], sk.milstein, h=0.1, seed=0, **NUMPY)


def test_b7_general_noise_on_one_tensor_is_that_by_components():
    torch = pytest.importorskip("torch")
    g = np.random.default_rng(0).normal(size=(3, 2))
    z = np.random.default_rng(1).normal(size=(4, 5, 2))
    rows = sk.process(
        lambda t, x, y, w: (-x, -y, -w), lambda t, x, y, w: tuple(tuple(map(float, row)) for row in g), noise="general"
    )
    want = sk.solve(rows, np.ones((5, 3)), [0, 1], h=0.25, noise=z, **NUMPY).final
    for like in (np.asarray, lambda a: torch.as_tensor(np.asarray(a))):
        whole = sk.process(lambda t, x: -x, lambda t, x, g=like(g): g + 0 * x[..., None], noise="general", event_dims=1)
        got = sk.solve(whole, like(np.ones((5, 3))), [0, 1], h=0.25, noise=z).final
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-13)


def test_b8_transforms_of_functions():
    torch = pytest.importorskip("torch")

    def end(x):
        return sk.solve(sk.GBM(0.1, 0.3), x, [0, 1], sk.milstein, h=0.1, seed=0).final.sum()

    x = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(end, x)
    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(transform(end)(x), slope)
    torch.testing.assert_close(torch.func.jvp(end, (x,), (torch.ones_like(x),))[1], slope.sum())
    assert torch.func.hessian(end)(x).abs().max() < 1e-12  # linear in x
    rows = torch.stack([x, 2 * x])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(end))(rows), torch.stack([slope, slope]))
    torch.testing.assert_close(torch.func.vmap(end)(rows), torch.stack([end(x), end(2 * x)]))


def test_b10_work_without_end_is_refused_before_it_starts():
    for call in (
        lambda: sk.backends.numba(threads=10**9),
        lambda: sk.convergence.strong_order(sk.OU(), sk.euler_maruyama, 1.0, paths=10**9),
        lambda: sk.langevin(steps=10**9),
        lambda: sk.convergence.work_precision(
            sk.Gaussian([0.0], std=1.0), sk.VP(), sk.ddim, 10**9, sk.convergence.wasserstein
        ),
    ):
        with pytest.raises(ValueError):
            call()


def test_c_conditions_on_arrays_name_the_cure():
    torch = pytest.importorskip("torch")
    process = sk.process(lambda t, x: x if x > 0.5 else -x, noise="none")
    for x0, how in ((np.ones(3), NUMPY), (torch.ones(3), {})):
        with pytest.raises(ValueError, match=r"sdekit\.math\.where"):
            sk.solve(process, x0, [0, 1], h=0.1, **how)


@pytest.mark.parametrize("name", NAMES)
def test_correlated_components_have_their_covariance(name):
    """Cov X_1 = (0.2 s_i)(0.2 s_j) rho_ij of 20,000 paths: six standard errors; a lower factor is the same."""
    rho = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])
    ends = []
    for given in (rho, np.linalg.cholesky(rho)):
        free = sk.process(lambda t, x, y, w: (0.0, 0.0, 0.0), lambda t, x, y, w: (0.2, 0.4, 0.6), correlation=given)
        ends.append(solve(name, free, [0.0, 0.0, 0.0], [0, 1], h=0.25, paths=20_000, seed=3).x[-1])
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-12)
    scale = np.array([0.2, 0.4, 0.6])
    np.testing.assert_allclose(np.cov(ends[0].T) / np.outer(scale, scale), rho, atol=6 * math.sqrt(2 / 20_000))


@pytest.mark.parametrize("method", [sk.milstein, sk.sri1w1], ids=repr)
def test_correlated_noise_keeps_the_strong_order(method):
    """1 and 3/2 within 0.15, with a coupled nonlinear drift."""

    def drift(t, x, y):
        return sm.sin(y) - x, 0.5 * x - y

    def diffusion(t, x, y):
        return 0.6 * x, 0.4 * sm.sqrt(1 + y * y)

    process = sk.process(drift, diffusion, correlation=[[1, 0.7], [0.7, 1]])
    how = {"steps": (8, 16, 32, 64), "paths": 1000, "seed": 0, "fine": 1024}
    found = sk.convergence.strong_order(process, method, np.ones(2), **how, **NUMPY)
    assert abs(found.order - method.strong["diagonal"]) < 0.15


@pytest.mark.parametrize(
    "given",
    [[[1, 2], [2, 1]], [[1, 0.5], [0.4, 1]], [[2, 0.5], [0.5, 2]], np.eye(3), [[1, 0], [0.5, 0.5]], [[1, 1j], [1j, 1]]],
)
def test_correlations_that_are_none_are_refused(given):
    process = sk.process(lambda t, x, y: (x, y), lambda t, x, y: (x, y), correlation=given)
    with pytest.raises(ValueError, match="correlation of Functions"):
        sk.solve(process, [1.0, 1.0], [0, 1], h=0.1)


def test_a_sweep_takes_one_state():
    """x0 broadcasts with parameters of one value per path, and the equation may go without its noise."""
    rho = np.linspace(0, 21, 40)
    sol = sk.solve(sk.noiseless(sk.Lorenz(rho=rho)), [1, 0, 0], ts=[0, 1], h=1e-2, **NUMPY)
    assert sol.x.shape == (2, 40, 3) and repr(sol).count("\n") == 0
    one = sk.solve(sk.noiseless(sk.Lorenz(rho=float(rho[7]))), [1, 0, 0], ts=[0, 1], h=1e-2, **NUMPY)
    np.testing.assert_allclose(sol.final[7], one.final, rtol=1e-12)
    summary = sol.summary()
    np.testing.assert_allclose(summary.mean[-1], sol.final.mean(0))
    assert summary.quantiles.shape == (5, 2, 3) and summary.count.tolist() == [40, 40]


@pytest.mark.parametrize("name", NAMES)
def test_a_solution_goes_on_to_the_bit(name):
    grid = np.linspace(0, 1, 14)
    whole = solve(name, sk.GBM(), 1.0, grid, sk.milstein, grid=grid, paths=9, seed=4, first_path=5)
    how = {"backend": getattr(sk.backends, name)()}
    x0 = 1.0
    if name == "torch":
        x0 = pytest.importorskip("torch").tensor(1.0, dtype=pytest.importorskip("torch").float64)
    for cut in (1, 3, 6, 12):
        half = sk.solve(
            sk.GBM(), x0, grid[: cut + 1], sk.milstein, grid=grid[: cut + 1], paths=9, seed=4, first_path=5, **how
        )
        rest = sk.solve(sk.GBM(), half, grid[cut:], sk.milstein, grid=grid[cut:], **how)
        np.testing.assert_array_equal(np.asarray(rest.final), whole.x[-1])
    for given in ({"paths": 3}, {"seed": 1}, {"first_path": 1}, {"noise": np.ones(3)}):
        with pytest.raises(ValueError, match=f"{next(iter(given))} is given, but x0 is a Solution"):
            sk.solve(sk.GBM(), half, [1.0, 2.0], h=0.1, **given)
    with pytest.raises(ValueError, match="begin there"):
        sk.solve(sk.GBM(), half, [0.0, 2.0], h=0.1)
