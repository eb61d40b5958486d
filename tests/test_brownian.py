"""Brownian paths as functions of time: their law, the same numbers however they are asked for, and steps along them."""

import itertools
import math

import numpy as np
import pytest
from backends import NAMES, Later, each_backend

import sdekit as sk
from sdekit import brownian, noise

stats = Later("scipy.stats")

PATH = sk.BrownianPath(5, -1.0, 2.0)
LANES = (50_000,)
INTERVALS = [(-1.0, 2.0), (-1.0, 0.5), (0.5, 0.875), (0.1, 0.1003), (1 / 3, 1.9)]


@pytest.mark.parametrize("s, t", INTERVALS)
def test_increments_and_areas_have_their_law(s, t):
    """Kolmogorov–Smirnov at p = 1e-6, and a correlation within five standard errors: fails falsely once in 2e5."""
    u = PATH.increment(s, t, LANES) / math.sqrt(t - s)
    v = PATH.area(s, t, LANES) * math.sqrt(12 / (t - s))
    assert min(stats.kstest(z, "norm").pvalue for z in (u, v)) > 1e-6
    assert abs(np.corrcoef(u, v)[0, 1]) < 5 / math.sqrt(LANES[0])


def test_increments_and_areas_of_disjoint_intervals_are_independent():
    """All correlations of 5 increments and 5 areas, on the tree and off it, within 5.5 standard errors: 2e-6."""
    times = [-1.0, -0.25, 0.1, 0.5, 1 / 3 + 1, 2.0]
    pairs = list(itertools.pairwise(times))
    z = np.stack([f(s, t, LANES) for f in (PATH.increment, PATH.area) for s, t in pairs])
    off = np.corrcoef(z) - np.eye(len(z))
    assert abs(off).max() < 5.5 / math.sqrt(LANES[0])
    w = PATH(times[1:], LANES)
    want = np.minimum.outer(times[1:], times[1:]) + 1
    assert np.abs(np.cov(w) / want - 1).max() < 0.05


def test_lanes_and_channels_are_independent():
    w = PATH(1.0, (20_000,), channels=3)
    assert w.shape == (20_000, 3)
    assert abs(np.corrcoef(w.T) - np.eye(3)).max() < 5 / math.sqrt(20_000)
    assert abs(np.corrcoef(w[:-1, 0], w[1:, 0])[0, 1]) < 5 / math.sqrt(20_000)
    np.testing.assert_array_equal(w[:, 0], PATH(1.0, (20_000,)))


def test_the_coarse_is_the_sum_of_the_fine():
    s, t = -0.4, 1.1
    cuts = np.sort(np.concatenate([[s, t], np.random.default_rng(0).uniform(s, t, 30)]))
    w, area, length = 0.0, 0.0, 0.0
    for a, b in itertools.pairwise(cuts):
        h, w2, area2 = b - a, PATH.increment(a, b, (9,)), PATH.area(a, b, (9,))
        area = (length * area + h * area2 + 0.5 * (h * w - length * w2)) / (length + h)
        w, length = w + w2, length + h
    np.testing.assert_allclose(w, PATH.increment(s, t, (9,)), rtol=0, atol=1e-13)
    np.testing.assert_allclose(area, PATH.area(s, t, (9,)), rtol=0, atol=3e-9)  # times are rounded to 2**-32


def test_any_order_of_questions_gives_the_same_bits():
    times = np.random.default_rng(1).uniform(-1, 2, 40)
    whole = PATH(times, (7,))
    for i in reversed(range(40)):
        np.testing.assert_array_equal(PATH(times[i], (7,)), whole[i])
    np.testing.assert_array_equal(PATH(times[0], 3), whole[0, :3])


def test_torch_has_the_same_numbers(device):
    torch = pytest.importorskip("torch")
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 2e-5)):
        w = PATH([0.3, 1.0], (500,), channels=2, like=torch.empty(0, dtype=dtype, device=device))
        assert w.dtype == dtype
        np.testing.assert_allclose(w.cpu().numpy(), PATH([0.3, 1.0], (500,), channels=2), rtol=0, atol=tolerance)


def test_words_of_the_bridge_are_those_of_no_other_use():
    words = {noise.word(noise.Stream.BRIDGE, channel) for channel in range(1000)}
    assert len(words) == 1000
    assert words & {int(s) for s in noise.Stream} == {int(noise.Stream.BRIDGE)}
    assert max(words) < 2**32
    assert 2 * (2**brownian.LEVELS - 1) + 1 < 2**34  # nodes, two normals each


# --- steps along it ------------------------------------------------------------------------------


def along(name, process, x0, ts=None, method=None, path=PATH, **kwargs):
    torch = pytest.importorskip("torch") if name == "torch" else None
    x0 = torch.as_tensor(x0) if torch else x0
    return sk.solve(process, x0, ts, method, noise=path, backend=getattr(sk.backends, name)(), **kwargs)


GENERAL = sk.process(
    lambda t, x, y: (-x, -y), lambda t, x, y: ((0.1 * x, 0.2, 0.0), (0.0, 0.3 * y, 0.1)), noise="general"
)
CASES = [
    (sk.GBM(0.1, 0.5), np.ones(300), [0.0, 1.0], sk.sri1w1, 1 / 32),
    (sk.GBM(0.1, 0.5), np.ones(300), [-1.0, 0.1, 1 / 3], sk.milstein, 0.1),
    (sk.OU(), np.ones((3, 100)), [1.9, 1.0, -0.3], sk.sra1, 0.07),
    (sk.Lorenz(), np.ones((300, 3)), [0.0, 0.3], sk.sra1, 0.01),
    (GENERAL, np.ones((300, 2)), [0.0, 0.3], sk.euler_maruyama, 0.02),
]


@pytest.mark.slow
@pytest.mark.parametrize("process, x0, ts, method, h", CASES)
def test_backends_move_along_the_same_path(process, x0, ts, method, h):
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        found = [along(n, process, x0.astype(dtype), ts, method, h=h, first_path=9) for n in NAMES]
        for sol in found:
            np.testing.assert_allclose(np.asarray(sol.x), found[0].x, rtol=tolerance, atol=tolerance)


@each_backend
def test_a_walk_is_the_path(name):
    """Whatever the steps, forwards and backwards; without ts they fill the path."""
    walk = sk.Brownian()
    for how in ({"h": 0.3}, {"h": 3.0}, {"grid": [-1, -0.9, 0.123, 2]}):
        final = along(name, walk, np.zeros(40), **how).final
        np.testing.assert_allclose(np.asarray(final), PATH(2.0, (40,)), atol=1e-12)
    back = along(name, walk, np.zeros(40), [1.7, 0.4, 0.1], h=0.2)
    np.testing.assert_allclose(np.asarray(back.x), PATH([1.7, 0.4, 0.1], (40,)) - PATH(1.7, (40,)), atol=3e-9)


def test_steps_are_dyadic_but_where_a_stop_cuts_one():
    sol = along("numpy", sk.Brownian(), 0.0, [-1, 0.1, 2], h=0.4)
    assert sol.steps == 9  # eight of 3/8, and one more
    assert along("numpy", sk.Brownian(), 0.0, h=3 / 64).steps == 64


@each_backend
def test_strong_errors_fall_along_one_path(name):
    exact = np.exp((0.1 - 0.18) * 3 + 0.6 * PATH(2.0, (400,)))
    errors = []
    for n in (16, 64):
        final = along(name, sk.GBM(0.1, 0.6), np.ones(400), h=3 / n, method=sk.sri1w1).final
        errors.append(np.abs(np.asarray(final) - exact).mean())
    assert 1.3 < math.log(errors[0] / errors[1], 4) < 2.2


@each_backend
def test_a_run_goes_on_along_its_path(name):
    whole = along(name, sk.GBM(), np.ones(20), [-1, 0.5, 2], sk.milstein, h=3 / 64)
    half = along(name, sk.GBM(), np.ones(20), [-1, 0.5], sk.milstein, h=3 / 64)
    rest = sk.solve(sk.GBM(), half, None, sk.milstein, h=3 / 64, backend=getattr(sk.backends, name)())
    np.testing.assert_array_equal(np.asarray(rest.final), np.asarray(whole.final))


def test_adaptive_runs_go_on_along_a_path_that_is_long_enough():
    """The path of a run to which none was given ends with it: another one would be needed from its end on."""
    half = along("numpy", sk.GBM(), np.ones(5), [-1, 0.5], sk.milstein, tol=1e-2)
    rest = along("numpy", sk.GBM(), np.ones(5), [-1, 0.5, 2], sk.milstein, tol=1e-2)
    more = sk.solve(sk.GBM(), half, [0.5, 2], sk.milstein, tol=1e-2, backend=sk.backends.numpy())
    np.testing.assert_array_equal(more.final, rest.final)
    own = sk.solve(sk.GBM(), np.ones(5), [0, 1], sk.milstein, tol=1e-2)
    with pytest.raises(ValueError, match="noise=sdekit.BrownianPath"):
        sk.solve(sk.GBM(), own, [1, 2], sk.milstein, tol=1e-2)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: sk.BrownianPath(-1, 0, 1), "seed must be an integer"),
        (lambda: sk.BrownianPath(0, 1, 1), "to a later, finite t1"),
        (lambda: sk.BrownianPath(0, 0, math.inf), "t1 must be a real number"),
        (lambda: sk.BrownianPath(0, -1e308, 1e308), "to a later, finite t1"),
        (lambda: sk.BrownianPath(0, 0, 1e-320), "to a later, finite t1"),
        (lambda: PATH(2.5), "outside of the path's"),
        (lambda: PATH(math.nan), "t must be a real number, finite, got nan"),
        (lambda: PATH([0.1, math.nan]), "t must be finite"),
        (lambda: PATH("0.5"), "t must be a sequence of times, got '0.5'"),
        (lambda: PATH(None), "t must be a real number"),
        (lambda: PATH([[0.1, 0.2]]), r"t must be a non-empty sequence of times, got shape \(1, 2\)"),
        (lambda: PATH([0.1, [0.2]]), "t must be a sequence of times"),
        (lambda: PATH([]), "t must be a time or a non-empty sequence"),
        (lambda: PATH.increment([0.1], 0.2), r"s must be a real number, finite, got \[0.1\]"),
        (lambda: PATH.area(0.1, 1j), "t must be a real number"),
        (lambda: PATH.area(-3.0, 1.0), "s: time -3.0 is outside"),
        (lambda: PATH(0.5, (2.5,)), "shape: a length must be an integer >= 0, got 2.5"),
        (lambda: PATH(0.5, "3"), "shape: a length must be an integer"),
        (lambda: PATH(0.5, (10**12,)), "GiB, more than this machine has"),
        (lambda: PATH(0.5, (3,), channels=0), "channels must be an integer >= 1, got 0"),
        (lambda: PATH(0.5, like=3), "like must be an array or a tensor of floating-point numbers, got 3"),
        (lambda: PATH(0.5, like=np.float32), "like must be an array or a tensor of floating-point numbers"),
        (lambda: along("numpy", sk.OU(), 0.0, [0, 3], h=0.1), "time 3.0 is outside"),
        (lambda: along("numpy", sk.OU(), 0.0, h=0.1, seed=1), "leave seed out"),
        (lambda: along("numpy", sk.OU(), 0.0), "how to step is not said"),
        (lambda: along("numpy", sk.OU(), 0.0, grid=[0, 1e-11, 1]), "smaller than the resolution"),
        (lambda: along("numpy", sk.noiseless(sk.OU()), 0.0, [0, 1], sk.rk4, h=0.1), "takes no normals"),
    ],
)
def test_what_makes_no_sense_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
