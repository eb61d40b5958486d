"""Paths that become non-finite: isolated, NaN from then on, marked and reported once."""

import re
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve

import sdekit as sk
from sdekit import math as sm


class Hidden(NamedTuple):
    """x' = 10¹⁰⁰ while 1 < x < 10³⁰⁰: a `where` brings what became infinite back to 0."""

    noise = "none"

    def drift(self, t, x):
        return sm.where(x > 1e300, 0.0 * t, x * x)


class Pair(NamedTuple):
    """The second component explodes, the first does not see it."""

    noise = "none"

    def drift(self, t, x, y):
        return -x, y * y * y


@sk.method(noise="none", drifts=1)
def clamped(sde, t, t1, x, h):
    """Euler, but what grew beyond 10³⁰⁰ becomes 1 again in the next step."""
    return sm.where(x < 1e300, x + sde.drift(t, x) * h, 1.0)


@each_backend
def test_one_path_in_1e5_fails_alone(name):
    """All others are bit for bit what they are without it; the failing one is NaN from its first bad step on."""
    n, bad, ts = 100_000, 77_777, [0, 0.2, 0.5, 1.0]
    x0 = np.random.default_rng(0).uniform(-1, 1, size=n)
    good = solve(name, sk.DoubleWell(), x0, ts, h=0.1, seed=3)
    x0[bad] = 1e60
    with pytest.warns(RuntimeWarning, match=r"1 of 100,000 paths became non-finite, the first by t = 0.2; ") as caught:
        sol = solve(name, sk.DoubleWell(), x0, ts, h=0.1, seed=3)
    assert len(caught) == 1
    assert np.flatnonzero(sol.failed).tolist() == [bad]
    assert sol.x[0, bad] == 1e60 and np.isnan(sol.x[1:, bad]).all()
    np.testing.assert_array_equal(np.delete(sol.x, bad, 1), np.delete(good.x, bad, 1))


@each_backend
def test_nan_stays_where_a_where_would_hide_it(name):
    """1e200 overflows in the first step, and a later step would make it 1."""
    with pytest.warns(RuntimeWarning, match="1 of 3 paths"):
        sol = solve(name, Hidden(), [1.0, 1e200, 0.0], [0, 0.25, 0.5, 0.75, 1], clamped, h=0.25)
    assert np.isnan(sol.x[1:, 1]).all() and np.isfinite(sol.x[:, [0, 2]]).all()
    assert sol.failed.tolist() == [False, True, False]


@each_backend
def test_a_path_fails_in_all_its_components(name):
    x0 = np.ones((2, 3, 2))
    x0[1, 0, 1], x0[0, 2, 1] = 1e200, 1e90
    with pytest.warns(RuntimeWarning, match="2 of 6 paths became non-finite, the first by t = 0.25;") as caught:
        sol = solve(name, Pair(), x0, [0, 0.25, 0.5, 0.75], sk.euler, h=0.25)
    assert len(caught) == 1 and sol.failed.shape == (2, 3)
    assert np.argwhere(sol.failed).tolist() == [[0, 2], [1, 0]]
    assert np.isnan(sol.x[1:, 1, 0]).all()
    # 1e90 cubed is 1e270, and fails one step later
    assert np.isfinite(sol.x[1, 0, 2]).all() and np.isnan(sol.x[2:, 0, 2]).all()
    assert np.isfinite(sol.x[:, ~sol.failed]).all()


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_path_is_all_of_its_event_axes(name):
    cube = sk.process(lambda t, x: x * x * x, noise="none", event_dims=2)
    x0 = np.ones((3, 2, 2)) * 0.1
    x0[1, 0, 1] = 1e200
    with pytest.warns(RuntimeWarning, match="1 of 3 paths"):
        sol = solve(name, cube, x0, [0, 0.5, 1], sk.euler, h=0.5)
    assert sol.failed.tolist() == [False, True, False]
    assert np.isnan(sol.x[1:, 1]).all() and np.isfinite(sol.x[:, [0, 2]]).all()


@each_backend
def test_division_by_zero_is_a_failure_and_no_exception(name):
    inverse = sk.process(lambda t, x: 1 / x, noise="none")
    with pytest.warns(RuntimeWarning, match="1 of 2 paths became non-finite, the first by t = 0.5;") as caught:
        sol = solve(name, inverse, [0.0, 1.0], [0, 1], sk.euler, h=0.5)
    assert len(caught) == 1 and sol.failed.tolist() == [True, False] and sol.x[-1, 1] == pytest.approx(1 + 0.5 + 1 / 3)


@each_backend
def test_failing_normals(name):
    z = np.zeros((3, 2))
    z[1, 1] = np.inf
    with pytest.warns(RuntimeWarning, match="1 of 2 paths became non-finite, the first by t = 2;"):
        sol = solve(name, sk.Brownian(), [0.0, 0.0], [0, 1, 2, 3], noise=z, h=1)
    assert sol.failed.tolist() == [False, True] and np.isnan(sol.x[2:, 1]).all() and sol.x[1, 1] == 0


@each_backend
def test_good_runs_do_not_warn(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sol = solve(name, sk.OU(), np.ones(5), [0, 1], h=0.1)
    assert not sol.failed.any()


def test_the_warning_points_at_the_caller():
    with pytest.warns(RuntimeWarning, match=re.escape("(Solution.failed)")) as caught:
        sk.solve(sk.DoubleWell(), [1e60], [0, 1], h=0.1, seed=0)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_failures_are_found_in_any_block_and_thread(dtype):
    """The first bad step is the earliest of all blocks: path 1000 fails at once, path 5 later."""
    x0 = np.ones(2000, dtype)
    x0[[5, 1000]] = 30.0, 1e12
    for threads in (1, 3):
        with pytest.warns(RuntimeWarning, match=r"2 of 2,000 paths became non-finite, the first by t = 0\.[23]"):
            sol = sk.solve(
                sk.DoubleWell(),
                x0,
                np.linspace(0, 1, 11),
                backend=sk.backends.numba(threads),
                grid=np.linspace(0, 1, 11),
                seed=0,
            )
        assert np.flatnonzero(sol.failed).tolist() == [5, 1000]
        first = np.isnan(sol.x).argmax(0)
        assert 0 < first[1000] < first[5] < 11


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_sum_that_overflows_is_no_failure(name):
    """Two entries of 1e308 have an infinite sum, and are finite."""
    still = sk.process(lambda t, x: 0.0 * x, noise="none")
    sol = solve(name, still, np.array([1e308, 1e308]), [0.0, 1.0, 2.0], sk.euler, h=1.0)
    assert not sol.failed.any() and (sol.x[-1] == 1e308).all()
