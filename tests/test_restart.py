"""Restart: the rounds against a loop by hand, fresh noise in each, what it counts, and that it contracts errors."""

import itertools
import math

import numpy as np
import pytest
from backends import begin

import sdekit as sk

DATA = sk.Gaussian(0.7, std=0.5)
X = np.linspace(-2.0, 2.5, 6)
GRID = [1.0, 0.7, 0.4, 0.2, 0.1]


def reverse(process):
    return sk.Reverse(process, DATA.score(process))


def by_hand(process, x, legs, seed=0, first_step=0):
    """DDIM steps down, draws of the transition up; normal n of each path at step n."""
    n = first_step
    for times in legs:
        for t, t1 in itertools.pairwise(times):
            if t1 < t:
                clean, eps = DATA.score(process).pair(t, x)
                a, s = process.marginal(t1)
                x = a * clean + s * eps
            else:
                (a0, s0), (a1, s1) = process.marginal(t), process.marginal(t1)
                z = sk.noise.normal(x.shape, seed, sk.noise.Stream.PATH, like=x, n=n)
                x = a1 / a0 * x + math.sqrt(s1**2 - (a1 / a0 * s0) ** 2) * z
            n += 1
    return x, n - first_step


@pytest.mark.parametrize("process", [sk.VP(), sk.EDM(1.0), sk.FlowPath()], ids=str)
def test_it_is_the_loop_by_hand(process):
    """Two intervals, one of two rounds and other times than the grid's; the later one first in the list."""
    low, high = [0.3, 0.2, 0.1], [0.9, 0.65, 0.4]
    sol = sk.restart(reverse(process), begin(X, 3, seed=5), GRID, sk.ddim, [(low, 1), (high, 2)])
    up = [0.4, 0.9]
    legs = [[1.0, 0.7, 0.4], up, high, up, high, [0.4, 0.2, 0.1], [0.1, 0.3], low]
    want, steps = by_hand(process, X, legs, 5, 3)
    np.testing.assert_allclose(sol.x, want[None], rtol=1e-12, atol=1e-12)
    assert sol.steps == steps == 13 and sol.nfe == 10 and sol.t.tolist() == [0.1] and not sol.failed.any()


def test_nothing_to_restart_is_a_plain_run():
    rev = reverse(sk.VP())
    plain = sk.solve(rev, X, grid=GRID, method=sk.ancestral, seed=2)
    for intervals in ([], [([0.5, 0.2], 0)]):
        sol = sk.restart(rev, X, GRID, sk.ancestral, intervals, seed=2)
        np.testing.assert_array_equal(sol.x, plain.x)
        assert (sol.nfe, sol.steps) == (plain.nfe, plain.steps) and sol.failed.shape == plain.failed.shape


def test_no_normal_is_used_twice():
    """Every round and every step of a stochastic sampler has its own: all increments are different."""
    seen = []

    @sk.method(noise=("none", "additive"), needs=("pair",))
    def watcher(sde, t, t1, x, h, dw):
        seen.append(dw / math.sqrt(-h))
        return x

    sk.restart(reverse(sk.VP()), X, GRID, watcher, [([0.9, 0.6, 0.4], 3), ([0.2, 0.1], 2)])
    assert len(seen) == 4 + 3 * 2 + 2 == len({float(z[0]) for z in seen})


def test_no_normal_of_a_method_with_several_is_used_twice():
    """The jumps' normals too, which are found in what they add."""
    seen, process = [], sk.VP()

    @sk.method(noise=("none", "additive"), streams=(sk.noise.Stream.PATH, sk.noise.Stream.PATH), needs=("pair",))
    def watcher(sde, t, t1, x, h, *dws):
        seen.extend(float(dw[0]) / math.sqrt(-h) for dw in dws)
        return 0 * x if t == 0.7 else x

    jumps = []
    sol = sk.restart(reverse(process), X, [1.0, 0.7, 0.4], watcher, [([0.9, 0.4], 1)])
    law = process.transition(0.4, 0.9, 0.0)
    jumps.append(float(sol.x[0, 0] / law.std))
    assert len(seen) == 6 and min(abs(a - b) for a in jumps for b in seen) > 1e-9


def test_a_multistep_method_starts_anew_after_a_jump():
    """And goes on with its memory where a round ends."""
    seen = []

    @sk.method(noise=("none", "additive"), streams=(), needs=("pair",), init=lambda sde, t, x: [])
    def counting(sde, t, t1, x, h, times):
        seen.append([*times, t])
        return sk.Taken(x, memory=[*times, t])

    sol = sk.restart(reverse(sk.VP()), X, GRID, counting, [([0.9, 0.6, 0.4], 1)])
    assert seen == [[1.0], [1.0, 0.7], [0.9], [0.9, 0.6], [0.9, 0.6, 0.4], [0.9, 0.6, 0.4, 0.2]]
    assert sol.memory == seen[-1]


def test_rounds_contract_the_error_of_a_wrong_start():
    """The mean of a coarse flow started off by 1: a restart to alpha = 0.2 keeps about a fifth of it or less.

    Both runs share their noise, so the difference is exact.
    """
    process = sk.VP()
    top = process.time(math.log(0.2 / math.sqrt(1 - 0.04)))
    interval = sk.grids.karras(process, 8, top, 0.1)

    def off(rounds):
        a, b = (sk.restart(reverse(process), X + e, GRID, sk.ddim, [(interval, rounds)], seed=1).x for e in (0.0, 1.0))
        return float((b - a).mean())

    errors = [off(rounds) for rounds in range(4)]
    ratios = np.divide(errors[1:], errors[:-1])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)
    assert 0 < ratios[0] < 0.25


def test_the_law_of_the_data_stays():
    """Rounds of an accurate flow leave the law at the end of the grid: mean and variance of 20,000 paths.

    Bounds are 4.5 standard errors: they fail by chance once in 7e4.
    """
    process, n = sk.VP(), 20_000
    grid = sk.grids.log_snr(process, 40, end=0.1)
    interval = sk.grids.log_snr(process, 40, 0.6, 0.1)
    rev = reverse(process)
    x = sk.restart(rev, rev.start((n,), seed=3), grid, sk.dpm_solver, [(interval, 2)], seed=4).x[-1]
    alpha, sigma = process.marginal(0.1)
    std = math.hypot(alpha * 0.5, sigma)
    assert abs(x.mean() - alpha * 0.7) < 4.5 * std / math.sqrt(n)
    assert abs(x.var() / std**2 - 1) < 4.5 * math.sqrt(2 / n)


def test_tensors_batches_and_the_last_step():
    torch = pytest.importorskip("torch")
    process = sk.VP()
    rev = reverse(process)
    grid = sk.grids.karras(process, 6, final=True)
    intervals = [(sk.grids.karras(process, 3, 0.8, grid[3]), 2)]
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, None)):
        x0 = rev.start((6, 2), seed=0, like=torch.zeros(1, dtype=dtype))
        sol = sk.restart(rev, x0, grid, sk.edm_heun, intervals, seed=1)
        assert sol.x.shape == (1, 6, 2) and sol.x.dtype == dtype and bool(torch.isfinite(sol.x).all())
        assert sol.nfe == 2 * 5 + 1 + 2 * 3 * 2
        if tolerance:
            part = sk.restart(rev, x0[2:5], grid, sk.edm_heun, intervals, seed=1, first_path=2)
            torch.testing.assert_close(part.x, sol.x[:, 2:5], rtol=tolerance, atol=tolerance)
    whole = sk.restart(rev, rev.start((6, 2), seed=0), grid, sk.edm_heun, intervals, seed=1)
    x0 = rev.start((6, 2), seed=0, like=torch.zeros(1, dtype=torch.float64))
    again = sk.restart(rev, x0, grid, sk.edm_heun, intervals, seed=1)
    np.testing.assert_allclose(again.x.numpy(), whole.x, rtol=1e-10, atol=1e-10)


def test_paths_that_fail_stay_nan_and_touch_no_other():
    process = sk.VP()

    def net(t, x):
        return np.where((x > 50) & (t[0] > 0.5), np.inf, x)

    rev = sk.Reverse(process, sk.scores.from_noise(net, process, event_dims=0))
    x0 = np.array([0.5, 100.0, -0.5])
    with pytest.warns(RuntimeWarning, match="1 of 3 paths became non-finite"):
        sol = sk.restart(rev, x0, GRID, sk.ddim, [([0.6, 0.4], 2)])
    assert sol.failed.tolist() == [False, True, False]
    assert np.isfinite(sol.x[0]).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ([([0.9, 0.5], 1)], r"grid misses 0.5, where an interval ends \(nearest: 0.4\); add it there"),
        ([([0.4], 1)], "times must decrease from t_max to t_min"),
        ([([0.4, 0.9], 1)], "times must decrease from t_max to t_min"),
        ([([0.9, 0.4], -1)], "rounds must be an integer >= 0, got -1"),
        ([([0.9, 0.4], 1.5)], "rounds must be an integer >= 0, got 1.5"),
        ([([1.5, 0.4], 1)], "time 1.5 is outside the domain"),
        ([([1.2, 1.0], 1)], "one ends at 1.0, where the grid begins"),
    ],
)
def test_impossible_intervals(intervals, message):
    with pytest.raises(ValueError, match=message):
        sk.restart(reverse(sk.VP()), X, GRID, sk.ddim, intervals)


@pytest.mark.parametrize("grid", [[0.1, 0.5, 1.0], [0.5], [1.0, 0.5, 0.5]])
def test_impossible_grids(grid):
    """A rising one would add noise, step by step."""
    with pytest.raises(ValueError, match="grid must hold two or more decreasing times"):
        sk.restart(reverse(sk.VP()), X, grid, sk.ddim, [])
