"""What `solve` returns, how it draws its seed, and which paths there are."""

import math
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve

import sdekit as sk

NUMPY = sk.backends.numpy()
ODE = sk.process(lambda t, x: -x, noise="none")


@sk.method(noise="none", order=1)
def told(sde, t, t1, x, h):
    slope = sde.drift(t, x)
    return sk.Taken(x + slope * h, slopes=(slope,))


@sk.method(noise="none", order=1)
def plain(sde, t, t1, x, h):
    return x + sde.drift(t, x) * h


class Decay(NamedTuple):
    """x' = −rho x."""

    rho: Any
    noise = "none"

    def drift(self, t, x):
        return -self.rho * x


def run(paths=7, **how):
    return sk.solve(sk.OU(), np.ones(3), [0, 0.5, 1], h=0.25, paths=paths, backend=NUMPY, **how)


# --- fields --------------------------------------------------------------------------------------


def test_fields():
    sol = run(seed=3)
    assert sol.x.shape == (3, 7, 3) and (sol.final == sol.x[-1]).all()
    assert (sol.nfe, sol.steps, sol.accepted, sol.rejected, sol.seed, sol.memory) == (4, 4, 4, 0, 3, None)
    assert sol.failed.shape == sol.stopped.shape == sol.event.shape == (7, 3)
    assert np.isnan(sol.stopped).all() and (sol.event == -1).all() and sol.events == ()
    how = {"process": repr(sk.OU()), "method": "euler_maruyama", "h": 0.25, "backend": repr(NUMPY)}
    assert sol.how == how


def test_the_repr_is_one_line_of_shapes_and_counts():
    text = repr(run(seed=3))
    assert "\n" not in text and len(text) < 160
    for part in ("3 times from 0 to 1", "(3, 7, 3)", "21 paths", "0 failed", "4 steps", "nfe 4", "seed 3"):
        assert part in text
    assert "\n" not in repr(run(seed=3).state) and len(repr(run(seed=3).state)) < 80


def test_a_summary_is_that_of_numpy():
    x = np.random.default_rng(0).standard_normal((50, 2))
    walk = sk.process(lambda t, x, y: (0.0, 1.0), lambda t, x, y: (1.0, 1.0), additive=True)
    sol = sk.solve(walk, x, [0, 1], h=0.5, seed=1, backend=NUMPY)
    found = sol.summary([0.1, 0.5])
    assert found.levels == (0.1, 0.5) and found.t.tolist() == [0, 1] and found.count.tolist() == [50, 50]
    np.testing.assert_allclose(found.mean, sol.x.mean(1))
    np.testing.assert_allclose(found.std, sol.x.std(1, ddof=1))
    np.testing.assert_allclose(found.stderr, sol.x.std(1, ddof=1) / math.sqrt(50))
    np.testing.assert_allclose(found.quantiles, np.quantile(sol.x, [0.1, 0.5], axis=1))
    assert len(str(found).splitlines()) == 1 + 2 * 2
    with pytest.raises(ValueError, match="quantiles must be a real number, at least 0 and at most 1, got 50"):
        sol.summary([50])


def test_failed_paths_do_not_count():
    blow = sk.process(lambda t, x: 1e3 * x * x, noise="none")
    with pytest.warns(RuntimeWarning, match="1 of 3 paths"):
        sol = sk.solve(blow, np.array([1e-6, 5.0, 2e-6]), [0, 1], sk.euler, h=0.05, backend=NUMPY)
    found = sol.summary()
    assert found.count.tolist() == [3, 2]
    np.testing.assert_allclose(found.mean[1], sol.x[1, [0, 2]].mean())
    with pytest.warns(RuntimeWarning, match="1 of 1 paths"):
        none = sk.solve(blow, 5.0, [0, 1], sk.euler, h=0.05, backend=NUMPY).summary()
    assert none.count.tolist() == [1, 0] and np.isnan(none.mean[1]) and np.isnan(none.std[0])


def test_a_summary_of_tensors_in_half_precision():
    torch = pytest.importorskip("torch")
    x0 = torch.linspace(0, 1, 4, dtype=torch.bfloat16)
    found = sk.solve(ODE, x0, [0, 1], sk.rk4, h=0.25).summary()
    assert found.mean.dtype == np.float64 and found.mean[0] == pytest.approx(0.5, abs=2e-3)


def test_to_xarray(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "xarray", None)
        with pytest.raises(ValueError, match=r"to_xarray needs xarray.*pip install xarray"):
            run(seed=0).to_xarray()
    pytest.importorskip("xarray")
    lorenz = sk.solve(sk.Lorenz(), np.ones((4, 3)), [0, 0.5], sk.heun, h=0.1, seed=7, first_path=10, backend=NUMPY)
    made = lorenz.to_xarray()
    assert made.dims == ("time", "path", "component") and made.path.to_numpy().tolist() == [10, 11, 12, 13]
    assert made.attrs["seed"] == "7" and made.attrs["method"] == "heun" and made.attrs["steps"] == 5
    assert "sdekit" in made.attrs["versions"] and made.attrs["h"] == 0.1
    assert run(seed=0).to_xarray().dims == ("time", "path_0", "path_1")


# --- seeds ---------------------------------------------------------------------------------------


@each_backend
def test_no_seed_draws_a_fresh_one(name):
    """Two of 64 bits are equal with probability 5e-20."""
    a, b = (solve(name, sk.OU(), np.ones(3), [0, 1], h=0.5, seed=None) for _ in range(2))
    assert a.seed != b.seed and 0 <= a.seed < 2**64 and (a.x[-1] != b.x[-1]).all()
    np.testing.assert_array_equal(solve(name, sk.OU(), np.ones(3), [0, 1], h=0.5, seed=a.seed).x, a.x)


# --- paths ---------------------------------------------------------------------------------------


@each_backend
def test_paths_are_those_of_start_and_parameters_together(name):
    rho = np.linspace(0.5, 1.5, 5)
    for x0, shape in ((2.0, (5,)), (np.ones((3, 1)), (3, 5)), (np.ones((1, 5)), (1, 5)), (np.ones(1), (5,))):
        sol = solve(name, Decay(rho), x0, [0, 1], sk.rk4, h=0.05)
        assert sol.x.shape == (2, *shape) and sol.failed.shape == shape
        np.testing.assert_allclose(sol.x[-1], np.broadcast_to(x0 * np.exp(-rho), shape), rtol=1e-6)
    assert solve(name, Decay(rho), np.ones(1), [0, 1], sk.rk4, h=0.05, paths=2).x.shape == (2, 2, 5)
    for x0, paths in ((2.0, 3), (np.ones(3), None)):
        with pytest.raises(ValueError, match=r"rho of Decay has shape \(5,\), which does not broadcast .* \(3,\)"):
            solve(name, Decay(rho), x0, [0, 1], sk.rk4, h=0.05, paths=paths)


def test_a_million_values_make_a_million_paths():
    rho = np.linspace(0, 21, 10**6)
    sol = sk.solve(sk.noiseless(sk.Lorenz(rho=rho)), [1.0, 0, 0], [0, 0.02], sk.euler, h=0.02, backend=NUMPY)
    assert sol.x.shape == (2, 10**6, 3) and sol.failed.shape == (10**6,)
    np.testing.assert_allclose(sol.final[:, 1], 0.02 * rho, rtol=1e-12)


@each_backend
def test_without_its_noise(name):
    """Parameters per path and jumps stay."""
    still = sk.noiseless(sk.GBM(mu=np.array([0.5, 1.0]), sigma=0.3))
    x = solve(name, still, 2.0, [0, 1], sk.rk4, h=0.05).x[-1]
    np.testing.assert_allclose(x, 2 * np.exp([0.5, 1.0]), rtol=1e-6)
    pulse = sk.process(lambda t, x: 1.0 + 0 * x, lambda t, x: 1.0, jumps=(0.3,))
    assert solve(name, sk.noiseless(pulse), 0.0, [0, 1], sk.rk4, h=1).steps == 2
    with pytest.raises(ValueError, match="process must have the method drift"):
        sk.noiseless(sk.OU)


# --- methods -------------------------------------------------------------------------------------


def test_the_method_follows_the_equation():
    def method(process):
        return sk.solve(process, 1.0, [0, 1], h=0.5, seed=0, backend=NUMPY).how["method"]

    strat = sk.process(lambda t, x: -x, lambda t, x: x, calculus="stratonovich")
    assert (method(sk.OU()), method(strat), method(ODE)) == ("euler_maruyama", "heun", "tsit5")
    assert method(sk.noiseless(strat)) == "tsit5"


def test_no_closed_form_is_said():
    with pytest.raises(ValueError, match=r"exact needs .* which Heston does not have: there is no closed form"):
        sk.solve(sk.Heston(), [1.0, 0.1], [0, 1], sk.exact)


@each_backend
def test_steps_may_return_taken(name):
    for process, x0 in ((ODE, np.ones(2)), (sk.noiseless(sk.Lorenz()), np.ones((2, 3)))):
        a, b = (solve(name, process, x0, [0, 0.3], m, h=0.1) for m in (told, plain))
        np.testing.assert_array_equal(a.x, b.x)
        assert a.nfe == b.nfe == 3
