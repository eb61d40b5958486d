"""Steps of adaptive size: accuracy against closed forms and scipy, failures, jumps, gradients, and the arguments."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve
from scipy.integrate import solve_ivp

import sdekit as sk
from benchmarks import adaptive
from sdekit import math as sm

PAIRS = (sk.bosh3, sk.dopri5, sk.tsit5, sk.dop853)
RHO = np.array([0.0, 5.0, 21.0])


class Spring(NamedTuple):
    """x'' = −w² x: a circle when w = 1."""

    w: float = 1.0
    noise = "none"

    def drift(self, t, x, y):
        return self.w * y, -self.w * x


class Blow(NamedTuple):
    """x' = x²: infinite at t = 1/x0."""

    noise = "none"

    def drift(self, t, x):
        return x * x


class Kicked(NamedTuple):
    jumps: tuple = (0.7, 1.3)
    noise = "none"

    def drift(self, t, x):
        return sm.where(t < 0.7, 1.0, sm.where(t < 1.3, -2.0, 3.0)) + 0.0 * x


@each_backend
@pytest.mark.parametrize("method", PAIRS, ids=repr)
def test_output_is_as_accurate_as_the_steps(name, method):
    """At 41 times between the ends of steps, with a frequency for each path, forwards and backwards."""
    ts, w = np.linspace(0, 4, 41), np.array([0.5, 1.0, 3.0])
    sol = solve(name, Spring(w), [0.0, 1.0], ts, method, tol=1e-7)
    want = np.stack([np.sin(np.outer(ts, w)), np.cos(np.outer(ts, w))], -1)
    assert np.abs(sol.x - want).max() < 2e-5 and sol.x.shape == (41, 3, 2)
    assert sol.steps.shape == sol.nfe.shape == (3,) and int(sol.steps[2]) > int(sol.steps[0])
    back = solve(name, Spring(w), sol.final, [4, 2, 0], method, tol=1e-7)
    assert np.abs(back.final - [0.0, 1.0]).max() < 4e-5


@each_backend
def test_counts_are_those_of_scipy_or_fewer(name):
    """Lorenz at 1e-6 with the same pair: at most 1.1 times the evaluations and 1.5 times the error."""
    sol = solve(name, sk.noiseless(sk.Lorenz(rho=RHO)), [1.0, 0.0, 0.0], [0, 1], sk.dopri5, tol=1e-6)
    assert (np.asarray(sol.accepted) + np.asarray(sol.rejected) == np.asarray(sol.steps)).all()
    assert (np.asarray(sol.nfe) == 2 + 6 * np.asarray(sol.steps)).all()
    for i, rho in enumerate(RHO):

        def f(t, u, rho=rho):
            return 10 * (u[1] - u[0]), u[0] * (rho - u[2]) - u[1], u[0] * u[1] - 8 / 3 * u[2]

        true = solve_ivp(f, (0, 1), (1.0, 0, 0), rtol=1e-13, atol=1e-13, method="DOP853").y[:, -1]
        scipy = solve_ivp(f, (0, 1), (1.0, 0, 0), rtol=1e-6, atol=1e-6)
        assert int(sol.nfe[i]) <= 1.1 * scipy.nfev
        assert np.abs(sol.final[i] - true).max() <= 1.5 * np.abs(scipy.y[:, -1] - true).max()


@each_backend
def test_a_path_that_fails_keeps_its_rows(name):
    """x0 = 2 is infinite at t = 1/2; the others go on."""
    with pytest.warns(RuntimeWarning, match="1 of 3 paths became non-finite, or met a bound"):
        sol = solve(name, Blow(), [0.5, 2.0, -1.0], [0, 0.25, 1.0], tol=1e-8)
    assert sol.failed.tolist() == [False, True, False]
    np.testing.assert_allclose(sol.x[1], [4 / 7, 4.0, -0.8], rtol=1e-6)
    np.testing.assert_allclose(sol.final[[0, 2]], [1.0, -0.5], rtol=1e-6)
    assert math.isnan(sol.final[1])


@each_backend
@pytest.mark.parametrize("bound", [{"most_steps": 10}, {"least": 1e-1}], ids=str)
def test_bounds_of_the_steps_fail_a_path(name, bound):
    with pytest.warns(RuntimeWarning, match="2 of 2 paths"):
        sol = solve(name, Spring(np.array([20.0, 30.0])), [0.0, 1.0], [0, 5], tol=sk.Tolerance(1e-9, 1e-9, **bound))
    assert sol.failed.all() and np.isnan(sol.final).all() and (np.asarray(sol.steps) <= 10).all()


@each_backend
def test_steps_end_at_jumps(name):
    sol = solve(name, Kicked(), [0.0, 1.0], [0, 0.5, 0.7, 2.0], tol=1e-6)
    np.testing.assert_allclose(sol.x[:, 0], [0, 0.5, 0.7, 0.7 - 1.2 + 2.1], rtol=1e-12)
    assert not np.asarray(sol.rejected).any()


@each_backend
def test_a_solution_goes_on(name):
    whole = solve(name, Spring(), [0.0, 1.0], [0, 5], tol=1e-9)
    backend = getattr(sk.backends, name)()
    x0 = [0.0, 1.0]
    if name == "torch":
        x0 = pytest.importorskip("torch").tensor(x0, dtype=float)
    half = sk.solve(Spring(), x0, [0, 2.5], tol=1e-9, backend=backend)
    rest = sk.solve(Spring(), half, [2.5, 5], tol=1e-9, backend=backend)
    np.testing.assert_allclose(rest.final, whole.final, atol=1e-7)
    assert int(rest.nfe) == 1 + 6 * int(rest.steps)  # the size is known


@each_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_types_stay(name, dtype):
    sol = solve(name, Spring(), np.array([0.0, 1.0], dtype), [0, 1], tol=1e-4)
    assert sol.x.dtype == dtype
    np.testing.assert_allclose(sol.final, [math.sin(1), math.cos(1)], atol=1e-3)


@each_backend
def test_one_time_and_no_path_axes(name):
    sol = solve(name, Blow(), 0.5, [0.0], tol=1e-6)
    assert sol.x.tolist() == [0.5] and int(sol.nfe) == 0
    sol = solve(name, Blow(), 0.5, [0.0, 1.0])
    assert sol.final == pytest.approx(1.0, rel=1e-4) and sol.how["method"] == "tsit5" and "0 failed" in repr(sol)
    assert sol.summary().mean.shape == (2,)


def test_lanes_know_nothing_of_each_other():
    """100 frequencies in turn on 32 lanes: any order, threads and company give the same bits and counts."""
    w, order = np.linspace(0.5, 30, 100), np.random.default_rng(0).permutation(100)
    whole = solve("numba", Spring(w), [0.0, 1.0], [0, 1], sk.dopri5, tol=1e-6)
    np.testing.assert_allclose(whole.final[:, 0], np.sin(w), atol=1e-3)
    one = sk.backends.numba(threads=1)
    shuffled = sk.solve(Spring(w[order]), [0.0, 1.0], [0, 1], sk.dopri5, tol=1e-6, backend=one)
    alone = sk.solve(Spring(w[70:71]), [0.0, 1.0], [0, 1], sk.dopri5, tol=1e-6)
    for name in ("final", "nfe", "steps", "rejected"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(whole, name)[order])
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name)[70:71])


@pytest.mark.parametrize("batch", [False, True])
def test_gradients_are_those_of_differences(batch):
    torch = pytest.importorskip("torch")
    x = torch.tensor([[0.0, 1.0], [0.5, 0.2]], dtype=torch.float64, requires_grad=True)
    tol = sk.Tolerance(1e-10, 1e-10, batch=batch)

    def loss(x):
        return (sk.solve(Spring(2.0), x, [0, 0.3, 1], tol=tol).x ** 3).sum()

    loss(x).backward()
    for place in np.ndindex(2, 2):
        d = torch.zeros(2, 2, dtype=torch.float64)
        d[place] = 1e-4
        with torch.no_grad():
            difference = (loss(x + d) - loss(x - d)) / 2e-4
        assert float(x.grad[place]) == pytest.approx(float(difference), abs=1e-6)


def test_orbit_of_arenstorf_closes():
    """Hairer, Nørsett and Wanner I, (II.0.1) and (II.0.2): the position after one period, to 1e-5 at 1e-9."""
    x0, end = adaptive.ORBIT
    sol = sk.solve(adaptive.Arenstorf(), x0, [0, end], sk.dop853, tol=1e-9, backend=sk.backends.numpy())
    assert np.abs(sol.final[:2] - x0[:2]).max() < 1e-5


@pytest.mark.parametrize(
    ("process", "kwargs", "message"),
    [
        (sk.OU(), {"tol": 1e-3}, "a step of euler_maruyama has no estimate of its error; use sra1"),
        (Blow(), {"tol": 1e-3, "method": sk.rk4}, "rk4 has no estimate of its error for .*; use sdekit.tsit5"),
        (sk.OU(), {"tol": 1e-3, "method": sk.exact}, "exact is exact in law for steps of any size"),
        (sk.OU(), {"tol": 1e-3, "method": sk.tsit5}, "tsit5 serves processes whose noise is none, but that of OU"),
        (Blow(), {"tol": 1e-17}, "float64 rounds an x0 of size 0.5 by 1.1e-16; use a tol of 2.2e-16 at least"),
        (Blow(), {"tol": 1e-3, "h": 0.1}, "h and tol are both given"),
        (Blow(), {"tol": 1e-3, "grid": [0, 1]}, "grid and tol are both given"),
        (Blow(), {"tol": -1.0}, "tol must be a real number, above 0"),
        (Blow(), {"tol": math.nan}, "tol must be a real number, above 0"),
        (Blow(), {"method": sk.rk4}, "how to step is not said: .* or tol"),
    ],
    ids=str,
)
def test_arguments(process, kwargs, message):
    with pytest.raises(ValueError, match=message):
        sk.solve(process, 0.5, [0, 1], **kwargs)


@pytest.mark.parametrize(
    "bad",
    [
        {"rtol": -1},
        {"rtol": 0, "atol": 0},
        {"first": 0},
        {"first": 1e-9, "least": 1e-3},
        {"least": math.inf},
        {"most_steps": 0},
        {"batch": 1},
    ],
)
def test_tolerances_are_checked(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        sk.Tolerance(**bad)


def test_tolerances_below_the_rounding_of_the_state_are_refused():
    """What counts is the size of the state: 1e-9 is fine for one of 1e-6 in float32."""
    ones = np.ones(2, np.float32)
    with pytest.raises(ValueError, match="float32 rounds an x0 of size 1 by 1.2e-07; .* or x0 of float64"):
        sk.solve(Blow(), ones, [0, 0.5], tol=1e-9)
    small = sk.solve(Blow(), 1e-6 * ones, [0, 0.5], tol=1e-9, backend=sk.backends.numpy())
    assert not small.failed.any()
