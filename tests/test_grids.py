"""Grids of times: ends, monotony, the spacing that each claims, the step to sigma = 0, and errors."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from equations import NOISING

import sdekit as sk
from sdekit import grids

PROCESSES = [*NOISING, sk.FlowPath(2.0)]
GRIDS = [getattr(grids, name) for name in grids.__all__]
each_process = pytest.mark.parametrize("process", PROCESSES, ids=str)
each_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda f: f.__name__)


def levels(process, times):
    """sigma/alpha at the times."""
    return np.array([sigma / alpha for alpha, sigma in map(process.marginal, times.tolist())])


@each_grid
@each_process
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_n_steps_between_exact_ends(grid, process, n):
    """Defaults: from the end of the domain (or alpha/sigma = 1e-3 where alpha = 0) to `finest`."""
    times = grid(process, n)
    low, high = process.domain
    assert times.dtype == np.float64 and times.shape == (n + 1,) and (np.diff(times) < 0).all()
    if grid in (grids.log_snr, grids.karras) and isinstance(process, sk.FlowPath):
        assert levels(process, times[:1])[0] == pytest.approx(1e3, rel=1e-9)
    else:
        assert times[0] == high
    assert times[-1] == getattr(process, "finest", low)
    start, end = 0.3 * low + 0.7 * high, 0.9 * low + 0.1 * high
    times = grid(process, n, start, end)
    assert (times[0], times[-1], len(times)) == (start, end, n + 1) and (np.diff(times) < 0).all()


@each_grid
@each_process
def test_the_final_step_goes_to_sigma_zero(grid, process):
    """It is one of the n; the times before are the grid of one step less."""
    if process.marginal(process.domain[0])[1] > 0:
        with pytest.raises(ValueError, match=rf"final=True .* sigma = {process.sigma_min} there"):
            grid(process, 5, final=True)
        return
    times = grid(process, 5, final=True)
    np.testing.assert_array_equal(times, [*grid(process, 4), process.domain[0]])
    assert process.marginal(times[-1])[1] == 0 and times[-2] == process.finest
    alone = grid(process, 1, final=True)
    assert len(alone) == 2 and alone[0] == times[0] and alone[1] == process.domain[0]


def even(values):
    steps = np.diff(values)
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-7)


@each_process
def test_what_each_spaces_evenly(process):
    low, high = process.domain
    ends = 0.2 * low + 0.8 * high, 0.7 * low + 0.3 * high
    even(grids.uniform(process, 11, *ends))
    even(np.sqrt(grids.quadratic(process, 11, *ends) - low))
    even(np.log(levels(process, grids.log_snr(process, 11, *ends))))
    even(levels(process, grids.karras(process, 11, *ends)) ** (1 / 7))
    even(levels(process, grids.karras(process, 11, *ends, rho=3)) ** (1 / 3))
    even(np.arctan(levels(process, grids.cosine(process, 11, *ends))))


def test_known_grids():
    """Karras et al. equation 5 with sigma 80 … 0.002, and the angle of the cosine schedule."""
    i = np.arange(18) / 17
    want = (80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(grids.karras(sk.EDM(), 17), want, rtol=1e-12)
    np.testing.assert_allclose(grids.karras(sk.EDM(), 18, final=True), [*want, 0], rtol=1e-12)
    np.testing.assert_allclose(grids.quadratic(sk.VP(), 3, 0.81, 0.09), [0.81, 0.49, 0.25, 0.09], rtol=1e-12)
    path = grids.cosine(sk.FlowPath(), 4, end=0.0)
    np.testing.assert_allclose(path, [1, 1 / (1 + 1 / np.tan(np.pi * 3 / 8)), 0.5, 1 / (1 + np.tan(np.pi * 3 / 8)), 0])
    v = np.cos(grids.cosine(sk.CosineVP(1e-9), 10, 0.9, 0.1) * np.pi / 2)  # alpha = cos φ: equal steps of time
    even(np.arccos(v))


def test_a_reverse_process_stands_for_its_own():
    process = sk.VP()
    reverse = sk.Reverse(process, sk.Gaussian(0.0, std=1.0).score(process))
    for grid in GRIDS:
        np.testing.assert_array_equal(grid(reverse, 6, final=True), grid(process, 6, final=True))


def test_processes_without_an_end_take_explicit_ones():
    process = sk.OU(0.7)
    times = grids.log_snr(process, 5, 4.0, 0.1)
    even(np.log(levels(process, times)))
    assert grids.uniform(process, 4, 2.0, 0.0).tolist() == [2.0, 1.5, 1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="start = inf .* must be finite"):
        grids.uniform(process, 5, end=0.1)
    with pytest.raises(ValueError, match="which OU does not have; leave it out"):
        grids.uniform(process, 5, 4.0, 0.1, final=True)
    with pytest.raises(ValueError, match="start = inf .* must be finite"):
        grids.karras(process, 5, end=0.1)


@each_grid
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be an integer from 1 to .*, got 0"),
        ({"n": 2.5}, "n must be an integer from 1 to .*, got 2.5"),
        ({"n": math.nan}, "n must be an integer from 1 to .*, got nan"),
        ({"n": math.inf}, "n must be an integer from 1 to .*, got inf"),
        ({"n": "5"}, "n must be an integer from 1 to .*, got '5'"),
        ({"n": 5, "start": 1.5}, "start = 1.5 and end = 0.001 must be finite times with 0.0 <= end < start <= 1.0"),
        ({"n": 5, "start": 0.2, "end": 0.2}, "start = 0.2 and end = 0.2"),
        ({"n": 5, "end": -0.1}, "end = -0.1"),
        ({"n": 5, "start": math.nan}, "start must be a real number, got nan"),
        ({"n": 5, "start": "1"}, "start must be a real number, got '1'"),
        ({"n": 5, "end": np.array([0.1])}, r"end must be a real number, got ndarray of shape \(1,\)"),
        ({"n": 10**9}, "n must be an integer from 1 to .*, got 1000000000"),
        ({"n": 10_000, "start": 0.5, "end": 0.5 - 1e-14}, "n = 10000 steps .* use fewer"),
        ({"n": 5, "end": 0.0, "final": True}, "final=True .* end = 0.0 is there already"),
    ],
)
def test_impossible_arguments(grid, arguments, message):
    with pytest.raises(ValueError, match=message):
        grid(sk.VP(), **arguments)


def test_logarithms_need_finite_ends():
    for grid in (grids.log_snr, grids.karras):
        with pytest.raises(ValueError, match=r"infinite at t = 1.0, where alpha = 0.0 .* move start"):
            grid(sk.FlowPath(), 5, start=1.0)
        with pytest.raises(ValueError, match=r"infinite at t = 0.0, .* sigma = 0.0; move end"):
            grid(sk.VP(), 5, end=0.0)
    for rho in (0, -1, math.inf, math.nan, "7", None):
        with pytest.raises(ValueError, match="rho must be a real number, above 0 and finite, got"):
            grids.karras(sk.VP(), 5, rho=rho)


class Untimed(NamedTuple):
    """VP without its own inversion of log(alpha/sigma)."""

    domain = (0.0, 1.0)

    def marginal(self, t):
        return sk.VP().marginal(t)


@pytest.mark.parametrize("grid", [grids.log_snr, grids.karras, grids.cosine], ids=lambda g: g.__name__)
def test_processes_without_their_own_time_are_inverted_by_bisection(grid):
    np.testing.assert_allclose(grid(Untimed(), 9, end=1e-3), grid(sk.VP(), 9), rtol=1e-12)
