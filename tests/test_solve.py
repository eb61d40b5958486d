"""`solve`: how it steps through the times, and what it returns."""

import itertools
import math

import numpy as np
import pytest
from backends import each_backend, solve
from equations import Mixed, Walk, both

import sdekit as sk

REFERENCE = {"backend": sk.backends.numpy()}
ODE = sk.process(lambda t, x: -x, noise="none")


def steps_of(ts=None, **how):
    """The (t, t1, h) of each step, and the solution."""
    seen = []

    @sk.method(noise="none")
    def spy(sde, t, t1, x, h):
        seen.append((t, t1, h))
        return x

    return seen, sk.solve(ODE, 0.0, ts, spy, **how, **REFERENCE)


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "h", "count"),
    [
        (1.0, 0.3, 4), (0.3, 0.1, 3), (0.6, 0.2, 3), (1.0, 1 / 3, 3), (0.05, 0.1, 1), (1.0, 1.0, 1), (1.0, 7, 1),
        (1.0 + 1e-10, 0.1, 11), (1.0 + 0.9e-10, 0.1, 10), (1.0 - 1e-8, 0.1, 10), (1e-300, 1.0, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sign", [1, -1])
def test_h_cuts_each_interval_into_equal_steps(span, h, count, sign):
    if span == 1.0 + 1e-10:
        span += 2e-10  # 10.000000003 steps of 0.1: more than the slack of 1e-9 allows
    seen, sol = steps_of([0.0, sign * span], h=h)
    assert len(seen) == sol.steps == count
    np.testing.assert_allclose([s[2] for s in seen], sign * span / count, rtol=1e-12)
    assert seen[-1][1] == sign * span == sol.t[-1]


def test_steps_are_fitted_between_the_output_times():
    seen, sol = steps_of([0, 0.05, 0.13, 0.37], h=0.1)
    assert sol.steps == 5
    np.testing.assert_allclose([s[2] for s in seen], [0.05, 0.08, 0.08, 0.08, 0.08], rtol=1e-12)
    assert {0.05, 0.13, 0.37} <= {s[1] for s in seen}
    for (t, t1, h), after in zip(seen, [*seen[1:], None]):
        assert h == t1 - t and type(h) is float
        assert after is None or after[0] == t1


@each_backend
def test_the_end_is_reached_exactly(name):
    """x' = 1 stepped by what is left: only the grid's own last time gives x = 1."""
    clock = sk.process(lambda t, x: 1.0 + 0 * x, noise="none")
    sol = solve(name, clock, 0.0, [0, 1], sk.euler, h=0.3)
    assert sol.t[-1] == 1.0 and sol.steps == 4
    assert sol.x[-1] == pytest.approx(1.0, abs=1e-15)


def test_the_times_themselves_as_grid_take_one_step_per_interval():
    with pytest.raises(ValueError, match="how to step is not said: give h, .*grid=ts"):
        steps_of([0.0, 0.5, 0.7, 3.0])
    seen, sol = steps_of([0.0, 0.5, 0.7, 3.0], grid=[0.0, 0.5, 0.7, 3.0])
    assert [s[:2] for s in seen] == [(0.0, 0.5), (0.5, 0.7), (0.7, 3.0)] and sol.steps == 3


def test_a_grid_contains_the_output_times_and_snaps_to_them():
    grid = np.linspace(0, 10, 11)
    seen, sol = steps_of([3 + 0.9e-9, 7 - 0.9e-9], grid=grid)
    assert sol.t.tolist() == [3 + 0.9e-9, 7 - 0.9e-9]
    assert sol.steps == 7 and seen[2][1] == 3 + 0.9e-9 and seen[3][0] == 3 + 0.9e-9 and seen[-1][1] == 7 - 0.9e-9
    assert grid.tolist() == list(range(11))
    with pytest.raises(ValueError, match="grid misses the output time 3.0000000"):
        steps_of([3 + 1.1e-9, 7], grid=grid)
    with pytest.raises(ValueError, match="grid has one point for the output times"):
        steps_of([3, 3 + 0.5e-9], grid=grid)


def test_a_grid_alone_is_saved_where_it_ends():
    seen, sol = steps_of(grid=[2.0, 1.5, 1.4])
    assert sol.t.tolist() == [1.4] and sol.x.shape == (1,) and len(seen) == 2
    for single in ({"grid": [2.0]}, {"ts": [2.0], "grid": [2.0]}, {"ts": [2.0], "h": 0.1}):
        seen, sol = steps_of(**single)
        assert sol.t.tolist() == [2.0] and sol.x.tolist() == [0.0] and sol.steps == 0 and sol.nfe == 0 and not seen


def test_long_grids_are_searched_alike():
    grid = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 4000))
    still = sk.process(lambda t, x: 0 * x, noise="none")
    for times in (grid, -grid):
        sol = sk.solve(still, 1.0, times[1::2], sk.euler, grid=times * (1 + 1e-13), seed=0, **REFERENCE)
        assert (sol.t == times[1::2]).all() and sol.steps == 3999 and (sol.x == 1).all()
        with pytest.raises(ValueError, match="grid misses the output time"):
            sk.solve(still, 1.0, times[1::2] + 0.25, sk.euler, grid=times, seed=0, **REFERENCE)


@each_backend
def test_a_single_time_is_the_start(name):
    sol = solve(name, sk.OU(), [1.0, 2.0], [0.5], grid=[0.5])
    assert sol.x.tolist() == [[1.0, 2.0]] and sol.steps == 0 and sol.nfe == 0 and not sol.failed.any()


@each_backend
def test_times_may_decrease_for_odes_and_additive_noise(name):
    back = solve(name, ODE, 1.0, [1, 0], sk.rk4, h=0.01)
    assert back.x[-1] == pytest.approx(math.e, abs=1e-8)
    z = np.array([[0.7], [-1.2]])
    sol = solve(name, sk.OU(theta=2.0, sigma=0.5), [1.0], [1.0, 0.0], h=0.5, noise=z)
    x = 1.0
    for i in range(2):
        x = x + 2.0 * (0.0 - x) * -0.5 + 0.5 * math.sqrt(0.5) * z[i, 0]
    assert sol.x[-1, 0] == pytest.approx(x, abs=1e-14)
    with pytest.raises(ValueError, match="ts decrease, but the noise of GBM depends on the state"):
        solve(name, sk.GBM(), 1.0, [1, 0], h=1)


# --- laws off the grid ---------------------------------------------------------------------------


@each_backend
@pytest.mark.parametrize("ts", [[0, 0.05, 0.13, 0.37], [0, 1.0], [0.37, 0.13, 0.05, 0.0]])
def test_brownian_motion_has_its_exact_covariance(name, ts):
    """x is linear in the normals: a unit normal per path gives the factor of the covariance min(s, t)."""
    n = sum(max(1, math.ceil(abs(b - a) / 0.1 - 1e-9)) for a, b in itertools.pairwise(ts))
    sol = solve(name, sk.Brownian(sigma=1.5), 0.0, ts, h=0.1, paths=n, noise=np.eye(n))
    gone = np.abs(np.array(ts) - ts[0])
    np.testing.assert_allclose(sol.x @ sol.x.T, 2.25 * np.minimum(gone[:, None], gone), atol=1e-14)


def test_brownian_motion_off_the_grid_with_generated_noise():
    """Sample covariances of 4e5 paths within 5 standard errors: 6 of them, false failures below 4e-6."""
    ts, n = np.array([0, 0.05, 0.13, 0.37]), 400_000
    x = sk.solve(sk.Brownian(), 0.0, ts, h=0.1, paths=n, seed=3).x[1:]
    s, t = ts[1:, None], ts[1:]
    error = np.abs(x @ x.T / n - np.minimum(s, t)) / np.sqrt((s * t + np.minimum(s, t) ** 2) / n)
    assert error.max() < 5


# --- the result ----------------------------------------------------------------------------------


@each_backend
def test_solution(name):
    sol = solve(name, sk.Lorenz(), np.ones((4, 3)), [0, 0.1, 0.25], sk.heun, h=0.01)
    assert sol.t.dtype == np.float64 and sol.t.tolist() == [0, 0.1, 0.25]
    assert sol.x.shape == (3, 4, 3) and (sol.x[0] == 1).all()
    assert sol.steps == 25 and sol.nfe == 50 and type(sol.nfe) is int and sol.memory is None
    assert sol.failed.shape == (4,) and sol.failed.dtype == bool and not sol.failed.any()


@each_backend
@pytest.mark.parametrize("method", [sk.euler_maruyama, sk.heun, sk.exact])
def test_evaluations(name, method):
    assert solve(name, sk.OU(), 1.0, [0, 1], method, h=0.1).nfe == 10 * method.drifts


@each_backend
def test_paths_put_an_axis_in_front(name):
    sol = solve(name, sk.OU(), np.arange(6.0).reshape(2, 3), [0, 1], h=0.5, paths=4)
    assert sol.x.shape == (2, 4, 2, 3) and sol.failed.shape == (4, 2, 3)
    np.testing.assert_array_equal(sol.x[0], np.broadcast_to(np.arange(6.0).reshape(2, 3), (4, 2, 3)))
    full = solve(name, sk.OU(), sol.x[0], [0, 1], h=0.5)
    np.testing.assert_array_equal(sol.x, full.x)
    sol = solve(name, Walk(), (1.0, 2.0), [0, 1], paths=5, h=1)
    assert sol.x.shape == (2, 5, 2) and sol.failed.shape == (5,)


@each_backend
def test_empty_batches(name):
    for process, shape in ((sk.OU(), (0,)), (sk.OU(), (0, 2)), (sk.OU(), (2, 0)), (Walk(), (0, 2)), (Mixed(), (0, 2))):
        sol = solve(name, process, np.empty(shape), [0, 1], h=0.5)
        assert sol.x.shape == (2, *shape) and not sol.failed.any() and sol.steps == 2
    sol = solve(name, sk.OU(theta=np.empty(0)), np.empty(0), [0, 1], noise=np.empty((1, 0)), h=1)
    assert sol.x.shape == (2, 0)


@each_backend
def test_a_run_cut_and_continued_is_the_whole_run(name):
    """At steps 3 and 6, which do not fall between the counters of four steps."""
    grid = np.linspace(0, 1, 12)
    for process, x0, method in ((sk.OU(), np.ones(5), sk.euler_maruyama), (Walk(), np.ones((5, 2)), both)):
        whole = solve(name, process, x0, grid, method, seed=5, grid=grid)
        x = x0
        for a, b in ((0, 3), (3, 6), (6, 11)):
            part = solve(name, process, x, [grid[a], grid[b]], method, grid=grid[a : b + 1], seed=5, first_step=a)
            np.testing.assert_array_equal(part.x[-1], whole.x[b])
            x = part.x[-1]
