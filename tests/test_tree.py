"""Steps of adaptive size with noise: along the path, to the right limit, and refused where they need not converge."""

import math
from typing import NamedTuple

import numpy as np
import pytest

import sdekit as sk
from sdekit import math as sm
from sdekit.system import bind

PATH = sk.BrownianPath(5, 0.0, 1.0)
NUMPY, NUMBA = sk.backends.numpy(), sk.backends.numba()


class Kubo(NamedTuple):
    """dX = −X dt + X ∘ dW."""

    calculus = "stratonovich"

    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return x


@pytest.mark.parametrize("method", [sk.milstein, sk.sri1w1])
def test_strong_errors_are_of_the_size_of_the_tolerance(method):
    exact = np.exp(-0.125 + 0.5 * PATH(1.0, (60,)))
    for tol in (1e-2, 1e-3):
        sol = sk.solve(sk.GBM(0.0, 0.5), np.ones(60), [0, 1], method, tol=tol, noise=PATH)
        error = np.sqrt(np.mean((sol.final - exact) ** 2))
        assert 0.02 * tol < error < 3 * tol
        assert (sol.nfe >= 2 * sol.steps).all()
        assert sol.steps.min() < sol.steps.max()


def test_without_a_drift_the_noise_sets_the_first_step():
    """Of 35 steps eleven would double up from 1e-6."""
    sol = sk.solve(sk.GBM(0.0, 1.5), np.ones(50), [0, 1], sk.sri1w1, tol=1e-2, noise=PATH, backend=NUMPY)
    assert sol.steps.mean() < 28


def test_heun_takes_the_sense_of_stratonovich():
    exact = np.exp(-1 + PATH(1.0, (50,)))
    sol = sk.solve(Kubo(), np.ones(50), [0, 1], tol=4e-3, noise=PATH)
    assert np.sqrt(np.mean((sol.final - exact) ** 2)) < 1e-2


def test_stops_off_the_tree_and_falling_times_stay_on_the_path():
    ts = [0, 0.1, 1 / 3, 0.7, 1]
    sol = sk.solve(sk.Brownian(), np.zeros((3, 5)), ts, sk.sra1, tol=0.1, noise=PATH, backend=NUMPY)
    np.testing.assert_allclose(sol.x, PATH(ts, (3, 5)), atol=1e-12)
    back = sk.solve(sk.OU(), np.ones(50), ts[::-1], sk.sra1, tol=1e-3, noise=PATH)
    fine = sk.solve(sk.OU(), np.ones(50), ts[::-1], sk.sra1, h=2**-9, noise=PATH, backend=NUMPY)
    np.testing.assert_allclose(back.x, fine.x, atol=1e-3)


@pytest.mark.parametrize("x0", [1.0, np.ones(4), np.ones((2, 3))])
def test_shapes_and_counts(x0):
    sol = sk.solve(sk.GBM(), x0, [0, 0.5, 1], sk.milstein, tol=1e-2, seed=1)
    assert sol.x.shape == (3, *np.shape(x0))
    assert sol.steps.shape == np.shape(x0)
    assert (sol.accepted + sol.rejected == sol.steps).all()
    again = sk.solve(sk.GBM(), x0, [0, 0.5, 1], sk.milstein, tol=1e-2, noise=sk.BrownianPath(1, 0, 1))
    np.testing.assert_array_equal(sol.x, again.x)


@pytest.mark.slow
def test_coupled_paths_with_a_step_size_each_and_one_for_all():
    process = sk.Lorenz()
    fine = sk.solve(process, np.ones((6, 3)), [0, 0.5], sk.sra1, h=2**-11, noise=PATH).final
    for batch in (False, True):
        tol = sk.Tolerance(1e-3, 1e-3, batch=batch)
        sol = sk.solve(process, np.ones((6, 3)), [0, 0.5], sk.sra1, tol=tol, noise=PATH)
        np.testing.assert_allclose(sol.final, fine, atol=0.1)
        assert len(set(sol.steps)) == 1 or not batch


class Coupled(NamedTuple):
    """Three components, one of which knows its parameter for each path, and whose noises are correlated."""

    rho: object = 0.0
    correlation: object = np.array([[1, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 1]])

    def drift(self, t, x, y, z):
        return y - x, self.rho - x * z, x - z

    def diffusion(self, t, x, y, z):
        return 0.3 * x, 0.2 * y, 0.1


class Rows(NamedTuple):
    noise = "general"
    additive = True
    jumps = (0.3, 0.7)

    def drift(self, t, x, y):
        return y, -x * x * x + sm.where(t < 0.3, 1.0, -1.0)

    def diffusion(self, t, x, y):
        return (0.3, 0.1, 0.0), (0.2, 0.0, 0.5)


@pytest.mark.parametrize(
    ("process", "x0", "ts", "method", "rtol"),
    [
        (Coupled(np.linspace(0, 2, 20)), np.ones((20, 3)), [0, 1 / 3, 1], sk.sri1w1, 1e-11),
        (Rows(), np.ones((20, 2)), [0, 1], sk.sra1, 1e-11),
        (sk.OU(), np.ones(20, np.float32), [1, 0.4, 0], sk.sra1, 1e-5),
    ],
    ids=["coupled", "general", "falling"],
)
def test_compiled_paths_take_the_steps_of_arrays(process, x0, ts, method, rtol):
    ours, theirs = (sk.solve(process, x0, ts, method, tol=1e-3, noise=PATH, backend=b) for b in (NUMBA, NUMPY))
    np.testing.assert_allclose(ours.x, theirs.x, rtol, rtol)
    assert ours.x.dtype == x0.dtype and ours.rejected.any()
    for name in ("steps", "rejected", "nfe"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_torch_takes_the_same_steps():
    torch = pytest.importorskip("torch")
    x0 = torch.ones(20, dtype=torch.float64, requires_grad=True)
    theirs = sk.solve(sk.GBM(), x0, [0, 1 / 3, 1], sk.sri1w1, tol=1e-3, noise=PATH)
    ours = sk.solve(sk.GBM(), np.ones(20), [0, 1 / 3, 1], sk.sri1w1, tol=1e-3, noise=PATH)
    np.testing.assert_allclose(theirs.x.detach().numpy(), ours.x, rtol=1e-12)
    np.testing.assert_array_equal(theirs.steps.numpy(), ours.steps)
    theirs.final.sum().backward()
    np.testing.assert_allclose(x0.grad.numpy(), ours.final, rtol=1e-12)  # linear in x0


@pytest.mark.parametrize("method", [sk.heun, sk.milstein, sk.sra1, sk.sri1w1])
def test_the_step_with_an_estimate_is_the_step(method):
    rng = np.random.default_rng(0)
    sde = bind(sk.GBM(), np.ones(5), 0.0).equation
    x, dws = 1 + rng.random(5), 0.1 * rng.standard_normal((method.normals, 5))
    taken = method.embedded(sde, 0.0, 0.01, x, 0.01, *dws)
    np.testing.assert_allclose(taken.x, method.step(sde, 0.0, 0.01, x, 0.01, *dws), rtol=1e-14)


# --- the limit -----------------------------------------------------------------------------------


def forgetful(tol, paths):
    """log X_1 of dX = X dW by Milstein's steps, whose control draws anew where a step was rejected."""
    rng = np.random.default_rng(0)
    t, x, h = np.zeros(paths), np.zeros(paths), np.full(paths, tol)
    while (t < 1).any():
        step = np.minimum(h, 1 - t)
        dw = np.sqrt(step) * rng.standard_normal(paths)
        fits = 0.5 * abs(dw * dw - step) <= tol
        x += fits * np.log(1 + dw + 0.5 * (dw * dw - step))
        t += fits * step
        h = np.where(fits, 2 * h, 0.5 * h)
    return x


@pytest.mark.parametrize("backend", [NUMPY, NUMBA], ids=["numpy", "numba"])
def test_control_that_forgets_what_it_rejected_has_a_wrong_limit_and_ours_the_right_one(backend):
    """Var log X_1 = 1 of dX = X dW; 4000 paths, standard error 0.022, five of them: 6e-7."""
    for tol in (1e-2, 1e-3):
        assert forgetful(tol, 4000).var() < 0.8
    process = sk.GBM(0.0, 1.0)
    ours = sk.solve(
        process, np.ones(4000), [0, 1], sk.milstein, tol=sk.Tolerance(2e-2, 1e-9), seed=3, backend=backend
    ).final
    assert np.log(ours).var() == pytest.approx(1.0, abs=0.12)
    w = sk.BrownianPath(3, 0, 1)(1.0, (4000,))
    assert np.corrcoef(np.log(ours), w)[0, 1] > 0.999


def test_the_mean_is_unbiased():
    """Within 4.5 standard errors and the tolerance: 7e-6."""
    x = sk.solve(sk.GBM(0.1, 0.5), np.ones(5000), [0, 1], sk.sri1w1, tol=1e-3, seed=4).final
    assert abs(x.mean() - math.exp(0.1)) < 4.5 * x.std() / math.sqrt(5000) + 1e-3


@pytest.mark.filterwarnings("ignore:.*non-finite")
def test_a_stiff_start_costs_fewer_evaluations():
    """dX = (1 − 20 X²) dt + 0.2 dW from 100: with four times the evaluations fixed steps are worse, or lost."""
    process = sk.process(lambda t, x: 1 - 20 * x * x, lambda t, x: 0.2, additive=True)
    x0, ts = np.full(10, 100.0), [0, 2**-6, 1]
    fine = sk.solve(process, x0, ts, sk.sra1, h=2**-15, noise=PATH).x
    sol = sk.solve(process, x0, ts, sk.sra1, tol=5e-2, noise=PATH)
    n = 4 * int(sol.nfe.mean()) // 2  # of two evaluations each
    fixed = sk.solve(process, x0, ts, sk.sra1, h=1 / n, noise=PATH)
    assert np.abs(sol.x - fine).max() < 0.1
    assert not np.abs(fixed.x - fine).max() < 0.1


# --- refused, lost -------------------------------------------------------------------------------


def test_what_need_not_converge_is_refused():
    coupled = sk.process(lambda t, x, y: (0.0, 0.0), lambda t, x, y: (x, x))
    general = sk.process(lambda t, x, y: (-x, -y), lambda t, x, y: ((x, 1.0), (1.0, y)), noise="general")
    for process, method, text in (
        (sk.GBM(), sk.euler_maruyama, "strong order 0.5 for the diagonal noise"),
        (sk.GBM(), None, "strong order 0.5"),
        (coupled, sk.milstein, "depends on|strong order 0"),
        (general, sk.heun, "strong order 0.5 for the general noise"),
        (sk.OU(), sk.euler_maruyama, "no estimate of its error; use sra1"),
        (sk.noiseless(sk.OU()), sk.heun, "no estimate of its error for equations without noise; use sdekit.tsit5"),
    ):
        with pytest.raises(ValueError, match=text):
            sk.solve(process, np.ones(2), [0, 1], method, tol=1e-3)
    with pytest.raises(ValueError, match="batch=True, but on numba"):
        sk.solve(sk.OU(), np.ones(2), [0, 1], sk.sra1, tol=sk.Tolerance(batch=True), backend=NUMBA)
    sol = sk.solve(sk.OU(), np.ones(2), [0, 1], sk.sra1, tol=1e-2)
    with pytest.raises(ValueError, match="give the first run noise=sdekit.BrownianPath"):
        sk.solve(sk.OU(), sol, [1, 2], sk.sra1, tol=1e-2)


def test_a_path_that_meets_a_bound_is_lost_alone():
    x0 = np.array([1.0, 1e6])
    with pytest.warns(RuntimeWarning, match="1 of 2 paths"):
        sol = sk.solve(sk.GBM(), x0, [0, 1], sk.milstein, tol=sk.Tolerance(0, 1e-2, most_steps=300), noise=PATH)
    assert list(sol.failed) == [False, True]
    assert np.isfinite(sol.final[0])
    assert np.isnan(sol.final[1])
