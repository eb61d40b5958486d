"""Barriers: first passage of Brownian motion and Ornstein–Uhlenbeck processes against exact laws, on all backends.

Statistical bounds are 4 standard errors (one of the tests fails by chance with probability 1e-3 over all of them) on
seeds that are fixed.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import Later, each_backend, solve
from equations import Mixed, Walk
from scipy import integrate

import sdekit as sk
from sdekit import events, noise
from sdekit import math as sm

stats = Later("scipy.stats")

N = 100_000


def survival(level, t):
    """P(no hit of `level` by t) of a Brownian motion from 0: the reflection principle."""
    return 1 - 2 * stats.norm.sf(abs(level) / math.sqrt(t))


def mean_time(level, end):
    """E[min(hit, end)]."""
    return integrate.quad(lambda t: survival(level, t) if t else 1.0, 0, end)[0]


def score(values, wanted):
    return (values.mean() - wanted) / (values.std() / math.sqrt(values.size))


def times(sol, end):
    return np.where(np.isnan(sol.stopped), end, sol.stopped)


# --- the law -------------------------------------------------------------------------------------


@pytest.mark.parametrize("a, b, spread", [(0.3, 0.5, 0.4), (0.3, -0.2, 0.4), (0.2, 0.0, 1.0), (-1.0, 0.4, 0.1)])
def test_hit_times_follow_their_law(a, b, spread):
    """s/(h − s) is inverse Gaussian of mean |a/b| and shape a²/(v h), Lévy's law at b = 0. p > 1e-3."""
    words = np.random.default_rng(4).integers(0, 2**32, (3, 20_000)).astype(float)
    s = events.hit(np.full(20_000, a), np.full(20_000, b), np.full(20_000, spread), *words)
    shape = a * a / spread
    law = stats.invgauss(abs(a / b) / shape, scale=shape) if b else stats.levy(scale=shape)
    assert stats.kstest(s / (1 - s), law.cdf).pvalue > 1e-3


def test_hits_without_noise_and_at_the_start():
    """Where v = 0 the path is a straight line; a path that begins at the level has met it at once."""
    words = np.full(2, 2.0**31)
    a, b = np.array([0.3, 0.0]), np.array([-0.1, 0.2])
    with np.errstate(all="ignore"):
        s = events.hit(a, b, np.array([0.0, 0.5]), *[words] * 3)
    np.testing.assert_allclose(s, [0.75, 0.0])


@pytest.mark.slow
@pytest.mark.parametrize("h", [0.25, 0.04])
def test_brownian_motion_has_no_error(h):
    sol = sk.solve(sk.Brownian(), np.zeros(N), [0, 1], h=h, seed=2, events=[sk.Barrier(1.0)])
    alive = np.isnan(sol.stopped)
    assert abs(score(alive, survival(1.0, 1.0))) < 4
    assert abs(score(times(sol, 1.0), mean_time(1.0, 1.0))) < 4
    assert (sol.final[~alive] == 1.0).all() and (sol.final[alive] < 1.0).all()
    assert (sol.event == np.where(alive, -1, 0)).all() and not sol.failed.any()


def test_only_looking_at_the_ends_is_wrong():
    """An Event on the same steps loses hits: P(alive) is too large by 20 standard errors and more."""
    sol = sk.solve(sk.Brownian(), np.zeros(N), [0, 1], h=0.04, seed=2, events=[sk.Event(lambda t, x: x - 1.0)])
    assert score(np.isnan(sol.stopped), survival(1.0, 1.0)) > 20
    stopped = sol.stopped[~np.isnan(sol.stopped)]
    np.testing.assert_allclose(stopped / 0.04, np.round(stopped / 0.04), atol=1e-9)


@pytest.mark.slow
def test_two_barriers():
    """P(alive) between −0.8 and 1.2 by the sine series."""
    width, x, t = 2.0, 0.8, 1.0
    n = np.arange(1, 60)
    terms = 2 / (n * np.pi) * (1 - (-1.0) ** n) * np.sin(n * np.pi * x / width)
    wanted = (terms * np.exp(-0.5 * (n * np.pi / width) ** 2 * t)).sum()
    sol = sk.solve(sk.Brownian(), np.zeros(N), [0, t], h=0.05, seed=3, events=[sk.Barrier(1.2), sk.Barrier(-0.8)])
    assert abs(score(np.isnan(sol.stopped), wanted)) < 4
    assert (sol.final[sol.event == 0] == 1.2).all() and (sol.final[sol.event == 1] == -0.8).all()


def test_of_two_levels_on_one_side_the_nearer_stops():
    sol = sk.solve(sk.Brownian(), np.zeros(2000), [0, 4], h=0.5, seed=3, events=[sk.Barrier(0.3), sk.Barrier(0.2)])
    assert set(np.unique(sol.event)) == {-1, 1}


def ou_alive(t, level, sigma=1.0, points=4000):
    """(P(alive), E[min(hit, t)]) of dX = −X dt + σ dW from 0 under a level: Crank–Nicolson on the backward equation."""
    low = -5 * sigma
    x = np.linspace(low, level, points + 1)
    dx, steps = x[1] - x[0], 2000
    dt = t / steps
    lower = sigma**2 / 2 / dx**2 + x / (2 * dx)
    upper = sigma**2 / 2 / dx**2 - x / (2 * dx)
    from scipy.linalg import solve_banded

    u, total = np.ones(points + 1), 0.0
    u[-1] = 0.0
    for step in range(steps):
        w = 1.0 if step < 4 else 0.5  # first steps implicit: the data do not fit the boundary
        right = u.copy()
        right[1:-1] += (1 - w) * dt * (lower[1:-1] * u[:-2] - (lower + upper)[1:-1] * u[1:-1] + upper[1:-1] * u[2:])
        bands = np.zeros((3, points + 1))
        bands[1] = 1.0
        bands[1, 1:-1] += w * dt * (lower + upper)[1:-1]
        bands[0, 2:] = -w * dt * upper[1:-1]
        bands[2, :-2] = -w * dt * lower[1:-1]
        bands[0, 1], bands[2, -2] = -1.0, 0.0  # flat far away, zero at the level
        right[0], right[-1] = 0.0, 0.0
        before, u = np.interp(0.0, x, u), solve_banded((1, 1), bands, right)
        total += 0.5 * dt * (before + np.interp(0.0, x, u))
    return np.interp(0.0, x, u), total


@pytest.mark.slow
def test_exact_steps_of_ou():
    sol = sk.solve(
        sk.OU(sigma=1.0), np.zeros(4 * N), [0, 1], sk.exact, h=0.04, seed=5, events=[sk.Barrier(1.0)]
    )  # fmt: skip
    alive, mean = ou_alive(1.0, 1.0)
    assert abs(score(np.isnan(sol.stopped), alive)) < 4
    assert abs(score(times(sol, 1.0), mean)) < 4


def test_weak_order_of_ou():
    """Euler–Maruyama: errors of P(alive) and of the mean time fall with order 1, where ends alone have 1/2.

    By quadrature (`benchmarks.passage`) the orders over these h are 0.902 and 0.914, and come near to 1 as h falls;
    here their standard error is 0.04.
    """
    alive, mean = ou_alive(1.0, 1.0)
    errors = []
    for h in (0.1, 0.025):
        sol = sk.solve(sk.OU(sigma=1.0), np.zeros(2_000_000), [0, 1], h=h, seed=7, events=[sk.Barrier(1.0)])
        errors.append((np.isnan(sol.stopped).mean() - alive, times(sol, 1.0).mean() - mean))
    orders = np.log(np.divide(*errors)) / math.log(4)
    assert (orders > 0.8).all(), orders


# --- the same on all backends --------------------------------------------------------------------


PROBLEMS = {
    "OU": (sk.OU(sigma=1.0), np.zeros(300), [sk.Barrier(0.7), sk.Barrier(-0.9, direction=-1)]),
    "walk": (Walk(), np.zeros((300, 2)), [sk.Barrier(0.7), sk.Barrier(-0.4, component=1)]),
    "general": (Mixed(), np.zeros((300, 2)), [sk.Barrier(1.0, component=1)]),
}


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("problem", PROBLEMS)
def test_backends_agree(name, problem):
    """With numpy, to rounding: states, times and events."""
    process, x0, found = PROBLEMS[problem]
    kw = {"ts": [0, 0.5, 2], "method": sk.euler_maruyama, "h": 0.1, "seed": 9, "first_path": 7, "events": found}
    a, b = solve(name, process, x0, **kw), solve("numpy", process, x0, **kw)
    np.testing.assert_allclose(a.x, b.x, atol=1e-9)
    np.testing.assert_allclose(np.asarray(a.stopped), b.stopped, atol=1e-9)
    assert (np.asarray(a.event) == b.event).all() and len(np.unique(b.event)) == 1 + len(found)
    here = np.flatnonzero(b.event == 0)[0]
    assert b.x[-1].reshape(300, -1)[here, found[0].component] == found[0].level
    for (t, x), (t_, x_) in zip(a.events, b.events, strict=True):
        np.testing.assert_allclose(np.asarray(t), t_, atol=1e-9)
        np.testing.assert_allclose(np.asarray(x), x_, atol=1e-9)


def test_the_same_bits_for_any_threads_and_split():
    found = [sk.Barrier(0.4)]

    def run(a, b, threads=1):
        sol = sk.solve(
            sk.OU(sigma=1.0), np.zeros(b - a), [0, 1, 2], h=0.02, seed=1, first_path=a, events=found,
            backend=sk.backends.numba(threads),
        )  # fmt: skip
        return sol.x, sol.stopped[None]

    whole = run(0, 700)
    for other in (run(0, 700, 2), [np.concatenate(p, 1) for p in zip(run(0, 3), run(3, 259), run(259, 700))]):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(whole, other))


@each_backend
def test_going_on_keeps_what_has_stopped(name):
    kw = {"h": 0.1, "events": [sk.Barrier(0.5)]}
    whole = solve(name, sk.OU(sigma=1.0), np.zeros(200), [0, 1, 2], seed=4, **kw)
    backend = getattr(sk.backends, name)()
    x0 = np.zeros(200)
    if name == "torch":
        x0 = pytest.importorskip("torch").as_tensor(x0)
    half = sk.solve(sk.OU(sigma=1.0), x0, [0, 1], seed=4, backend=backend, **kw)
    rest = sk.solve(sk.OU(sigma=1.0), half, [1, 2], backend=backend, **kw)
    np.testing.assert_array_equal(np.asarray(rest.final), whole.final)
    np.testing.assert_array_equal(np.asarray(rest.stopped), np.asarray(whole.stopped))
    then = sk.solve(sk.OU(sigma=1.0), half, [1, 2], h=0.1, backend=backend)  # without events: who has stopped stays
    held = np.asarray(half.event) == 0
    assert held.any() and (np.asarray(then.final)[held] == 0.5).all() and (np.asarray(then.final)[~held] != 0.5).all()
    assert (np.asarray(then.event) == np.asarray(half.event)).all()


class Louder(NamedTuple):
    """Two Brownian motions of correlation 0.8, whose noise grows from ½ to 3/2 at a time between those of the grid."""

    noise = "diagonal"
    jumps = (0.53,)
    correlation = ((1.0, 0.8), (0.8, 1.0))

    def drift(self, t, x, y):
        return 0.0 * x, 0.0 * y

    def diffusion(self, t, x, y):
        size = sm.where(t < 0.53, 0.5, 1.5)
        return size + 0.0 * x, size + 0.0 * y


@pytest.mark.slow
def test_correlated_noise_and_jumps():
    """The component's own variance decides, on its side of the jump; the other one is what the correlation makes it.

    In the time ∫ σ² dt the component is a Brownian motion, and x − 0.8 y is one that knows nothing of it. A step of
    0.03 on the wrong side of the jump would move P(alive) by 8 standard errors.
    """
    sol = sk.solve(Louder(), np.zeros((N, 2)), [0, 1], h=0.1, seed=2, events=[sk.Barrier(1.0, component=1)])
    alive, end = np.isnan(sol.stopped), 0.25 * 0.53 + 2.25 * 0.47
    assert abs(score(alive, survival(1.0, end))) < 4
    x, y = sol.final[alive].T
    assert abs(score((x - 0.8 * y) * y, 0.0)) < 4
    assert abs(score((x - 0.8 * y) ** 2, 0.36 * end)) < 4


def test_uses_of_numbers_do_not_overlap():
    assert len({int(s) for s in noise.Stream}) == len(noise.Stream.__members__)
    lanes = np.arange(50)
    uses = [noise.words(lanes, 3, 11, s)[0] for s in noise.Stream]
    assert len(np.unique(np.stack(uses))) == 50 * len(uses)


def test_errors():
    def refused(match, *args, **kwargs):
        with pytest.raises(ValueError, match=match):
            sk.solve(*args, **kwargs)

    bar = [sk.Barrier(1.0)]
    refused("no noise", sk.noiseless(sk.OU()), 0.0, [0, 1], h=0.1, events=bar)
    refused("component of a Barrier is 2", Walk(), [0.0, 0.0], [0, 1], h=0.1, events=[sk.Barrier(1.0, component=2)])
    refused("events must be a list", sk.OU(), 0.0, [0, 1], h=0.1, events=sk.Barrier(1.0))
    for direction in (2, np.array([1, 0]), True, "up"):
        with pytest.raises(ValueError, match="direction must be an integer from -1 to 1, got"):
            sk.Barrier(1.0, direction=direction)
    with pytest.raises(ValueError, match="level"):
        sk.Barrier(math.nan)
    torch = pytest.importorskip("torch")
    refused("no gradients", sk.OU(), torch.zeros(3, requires_grad=True), [0, 1], h=0.1, events=bar)
