"""Events of equations without noise: roots on the dense output, direction, records, and what is not seen."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import NAMES, each_backend, solve

import sdekit as sk
from sdekit import math as sm


def swing(t, x, y):
    return y, -x


OSCILLATOR = sk.process(swing, noise="none")  # x = r cos t, y = −r sin t
STARTS = np.stack([np.linspace(0.5, 2.0, 40), np.zeros(40)], 1)


def x_is_zero(t, x, y):
    return x


def y_is_zero(t, x, y):
    return y


STOPS = [sk.Event(x_is_zero, terminal=False, most=4), sk.Event(y_is_zero, direction=-1)]


def check(sol, error, saves):
    """Records at t = π/2 and 3π/2, a stop after the whole turn: y begins at 0 and falls through it at 2π."""
    t, x = (np.asarray(v) for v in sol.events[0])
    assert t.shape == (4, 40) and x.shape == (4, 40, 2)
    assert abs(t[:2] - np.array([[0.5], [1.5]]) * math.pi).max() < error and np.isnan(t[2:]).all()
    assert abs(x[:2, :, 0]).max() < error and abs(abs(x[:2, :, 1]) - STARTS[:, 0]).max() < error
    stopped = np.asarray(sol.stopped)
    assert abs(stopped - 2 * math.pi).max() < error and (np.asarray(sol.event) == 1).all()
    assert np.array_equal(np.asarray(sol.events[1][0])[0], stopped) and not np.asarray(sol.failed).any()
    where = np.minimum(saves, 2 * math.pi)[:, None]  # stopped paths stay where they are
    wanted = STARTS[:, 0] * np.array([np.cos(where), -np.sin(where)])
    assert abs(np.moveaxis(np.asarray(sol.x), 2, 0) - wanted).max() < error


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("method", [sk.tsit5, sk.dop853], ids=repr)
def test_adaptive_steps(name, method):
    """Time and state within 10 tolerances, output between, before and after the stop."""
    saves = np.array([0, 0.3, 1, 6.2, 6.5, 20])
    check(solve(name, OSCILLATOR, STARTS, saves, method, tol=1e-7, events=STOPS), 1e-6, saves)


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("method, error", [(sk.dopri5, 1e-7), (sk.rk4, 2e-5)], ids=["dopri5", "rk4"])
def test_steps_of_given_size(name, method, error):
    """On dense output, and on Hermite's cubic for a method that has none."""
    saves = np.array([0, 1, 6.2, 6.5, 10])
    check(solve(name, OSCILLATOR, STARTS, saves, method, h=0.1, events=STOPS), error, saves)


def test_backends_agree_to_rounding():
    kw = {"ts": [0, 3, 9], "tol": 1e-6, "events": STOPS}
    oracle = solve("numpy", OSCILLATOR, STARTS, **kw)
    for name in NAMES:
        sol = solve(name, OSCILLATOR, STARTS, **kw)
        for got, want in ((sol.x, oracle.x), (sol.stopped, oracle.stopped), (sol.events[0][0], oracle.events[0][0])):
            np.testing.assert_allclose(np.asarray(got), want, atol=1e-11)


@pytest.mark.parametrize("how", [{"tol": 1e-8}, {"h": 0.05}], ids=["tol", "h"])
@pytest.mark.parametrize("direction, wanted", [(0, 0.5), (-1, 0.5), (1, 1.5)])
def test_direction(direction, wanted, how):
    event = sk.Event(x_is_zero, direction=direction)
    sol = solve("numpy", OSCILLATOR, [1.0, 0.0], [0, 10], sk.tsit5, events=[event], **how)
    assert abs(sol.stopped / math.pi - wanted) < 1e-6


def test_backwards_in_time():
    sol = solve("numpy", OSCILLATOR, [1.0, 0.0], [0, -10], tol=1e-9, events=[sk.Event(x_is_zero)])
    assert abs(sol.stopped + math.pi / 2) < 1e-7


@pytest.mark.slow
@each_backend
def test_going_on_keeps_what_has_stopped(name):
    torch = pytest.importorskip("torch") if name == "torch" else None
    x0 = STARTS + 0.3 * (np.arange(40) >= 20)[:, None]  # some later
    x0 = torch.as_tensor(x0) if torch else x0
    kw = {"events": [sk.Event(x_is_zero)], "backend": getattr(sk.backends, name)(), "tol": 1e-8}
    half = sk.solve(OSCILLATOR, x0, [0, 1.6], **kw)
    rest = sk.solve(OSCILLATOR, half, [1.6, 9], **kw)
    first = np.asarray(half.event) == 0
    assert first.any() and not first.all() and (np.asarray(rest.event) == 0).all()
    assert np.array_equal(np.asarray(rest.final)[first], np.asarray(half.final)[first])
    assert np.array_equal(np.asarray(rest.stopped)[first], np.asarray(half.stopped)[first])
    whole = sk.solve(OSCILLATOR, x0, [0, 9], **kw)
    np.testing.assert_allclose(np.asarray(rest.stopped), np.asarray(whole.stopped), atol=1e-6)
    assert np.isnan(np.asarray(rest.events[0][0])[0][first]).all()  # of this run alone


def test_two_roots_in_one_step_and_grazing():
    """Two roots within a step are not seen, a smaller step parts them; nor is a touch without a change of sign."""
    top = sk.Event(lambda t, x, y: x - 0.999, terminal=False)  # ±0.0447 about 2π

    def records(**how):
        return solve("numpy", OSCILLATOR, [0.0, 1.0], [0, 4], sk.tsit5, events=[top], **how).events[0][0]

    assert np.isnan(records(grid=[0, 1, 2, 3, 4])).all()
    found = records(h=0.02)
    np.testing.assert_allclose(found[:2], math.pi / 2 + np.array([-1, 1]) * math.acos(0.999), atol=1e-6)
    touch = sk.Event(lambda t, x, y: x * x, terminal=False)
    assert np.isnan(solve("numpy", OSCILLATOR, [1.0, 0.0], [0, 4], tol=1e-6, events=[touch]).events[0][0]).all()
    slope = sk.Event(lambda t, x, y: 2 * x * y, terminal=False)  # the root of its derivative is seen
    found = solve("numpy", OSCILLATOR, [1.0, 0.0], [0, 2], tol=1e-9, events=[slope]).events[0][0]
    assert abs(found[0] - math.pi / 2) < 1e-8


def test_a_root_at_the_start_and_at_the_end_of_a_step():
    clock = sk.process(lambda t, x: 1.0 + 0.0 * x, noise="none")
    event = sk.Event(lambda t, x: x, terminal=False)
    sol = solve("numpy", clock, [0.0, -0.5], [0, 2], sk.tsit5, h=0.25, events=[event])
    assert np.isnan(sol.events[0][0][:, 0]).all()  # begins there
    assert abs(sol.events[0][0][0, 1] - 0.5) < 1e-15 and np.isnan(sol.events[0][0][1:, 1]).all()  # counted once


class Switched(NamedTuple):
    jumps = (0.5,)
    noise = "none"

    def drift(self, t, x):
        return sm.where(t < 0.5, 1.0, 3.0) + 0.0 * x


class Kicked(NamedTuple):
    jumps = (0.5,)
    noise = "diagonal"
    drift = Switched.drift

    def diffusion(self, t, x):
        return 0.1


AT_TIMES = [
    (lambda t, x: t - 0.5, 0.5),
    (lambda t, x: sm.where(t < 0.5, x - 1.0, x), 0.5),  # one side of the jump has the value at the jump itself
    (lambda t, x: sm.where(t <= 0.5, x - 1.0, x), 0.5),
    (lambda t, x: x - 0.5, 0.5),
    (lambda t, x: t - 0.4, 0.4),  # a point of the grid
    (lambda t, x: t - 1.0, 1.0),  # the last time
    (lambda t, x: t, math.nan),  # the first one: begins on its root
]


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("how", [{"h": 0.1, "method": sk.rk4}, {"tol": 1e-6}], ids=["h", "tol"])
def test_signs_that_change_at_a_jump_are_found_once(name, how):
    """Steps see their own side of a jump, events its very time."""
    events = [sk.Event(f, terminal=False, most=2) for f, _ in AT_TIMES]
    sol = solve(name, Switched(), np.zeros(3), [0, 1], events=events, **how)
    for (t, x), (_, wanted) in zip(sol.events, AT_TIMES, strict=True):
        np.testing.assert_allclose(np.asarray(t), [[wanted] * 3, [math.nan] * 3], atol=1e-12)
        np.testing.assert_allclose(np.asarray(x)[0], [wanted if wanted <= 0.5 else 3 * wanted - 1] * 3, atol=1e-12)


@pytest.mark.slow
@each_backend
def test_signs_that_change_at_a_jump_stop_paths_with_noise(name):
    sol = solve(name, Kicked(), np.zeros(3), [0, 1], h=0.1, events=[sk.Event(lambda t, x: t - 0.5)])
    assert (np.asarray(sol.stopped) == 0.5).all()


def test_records_are_as_many_as_fit():
    sol = solve("numpy", OSCILLATOR, [1.0, 0.0], [0, 40], tol=1e-6, events=[sk.Event(x_is_zero, 0, False, 3)])
    assert sol.events[0][0].shape == (3,) and np.isfinite(sol.events[0][0]).all() and np.isnan(sol.stopped)


@pytest.mark.slow
@each_backend
def test_bouncing_heights_as_sweeps(name):
    """Free fall from many heights: t = √(2 z), with a parameter of each path."""
    fall = sk.process(lambda t, z, v: (v, -1.0 + 0.0 * z), noise="none")
    heights = np.linspace(0.5, 8, 50)
    x0 = np.stack([heights, 0 * heights], 1)
    sol = solve(name, fall, x0, [0, 10], sk.bosh3, tol=1e-9, events=[sk.Event(lambda t, z, v: z)])
    np.testing.assert_allclose(np.asarray(sol.stopped), np.sqrt(2 * heights), atol=1e-8)


@each_backend
def test_equations_with_noise_stop_where_a_step_ends(name):
    kw = {"h": 0.1, "events": [sk.Event(lambda t, x: x - 0.3)], "seed": 3}
    sol = solve(name, sk.Brownian(), np.zeros(50), np.linspace(0, 1, 11), **kw)
    free = solve(name, sk.Brownian(), np.zeros(50), np.linspace(0, 1, 11), h=0.1, seed=3)
    above = (free.x > 0.3).argmax(0)
    wanted = np.where(free.x.max(0) > 0.3, above / 10, np.nan)
    np.testing.assert_allclose(np.asarray(sol.stopped), wanted, atol=1e-12)
    assert np.array_equal(sol.final, np.where(above > 0, free.x[above, np.arange(50)], free.final))


def test_errors():
    def refused(match, **kwargs):
        with pytest.raises(ValueError, match=match):
            sk.solve(OSCILLATOR, np.ones((3, 2)), [0, 1], backend=sk.backends.numpy(), **kwargs)

    refused("one value per path", events=[sk.Event(lambda t, x, y: np.ones(7))])
    refused("one by one", tol=sk.Tolerance(batch=True), events=STOPS)
    refused("must be a list", events=STOPS[0])
    refused("most of each path, of shape .* smaller most", events=[sk.Event(x_is_zero, terminal=False, most=10**12)])
    wrongs = ({"f": 3}, {"direction": 5}, {"direction": np.array([1, 0])}, {"terminal": 1}, {"most": 0})
    for wrong in wrongs:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            sk.Event(**{"f": x_is_zero} | wrong)
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="no gradients"):
        sk.solve(OSCILLATOR, torch.ones(3, 2, requires_grad=True), [0, 1], events=STOPS)
    level = torch.tensor(0.5, requires_grad=True)
    with pytest.raises(ValueError, match="no gradients"):
        sk.solve(OSCILLATOR, torch.ones(3, 2), [0, 1], events=[sk.Event(lambda t, x, y: x - level)])


def change(t, x):
    x -= 1
    return x


@pytest.mark.parametrize("how", [{"tol": 1e-6}, {"h": 0.1, "method": sk.rk4}], ids=["tol", "h"])
@pytest.mark.parametrize(
    ("f", "message"),
    [
        (change, "f of an Event changes its argument in place"),
        (lambda x, t: x, "f of an Event takes \\(x, t\\), but the time t comes first"),
        (lambda t, x, y: x, "f of an Event must take"),
        (lambda t, x: None, "f of an Event must return real numbers, got None"),
        (lambda t, x: x - 0.5j, "f of an Event must return real numbers"),
        (lambda t, x: 1.0 if x > 0.5 else -1.0, "sdekit.math.where"),
    ],
    ids=["in place", "swapped", "two", "None", "complex", "if"],
)
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_functions_of_events_are_checked(name, f, message, how):
    """Rows A4 and A6, for events."""
    with pytest.raises(ValueError, match=message):
        solve(name, sk.process(lambda t, x: -x, noise="none"), np.ones(3), [0, 1], events=[sk.Event(f)], **how)


@each_backend
def test_no_paths_have_no_events(name):
    process = sk.process(lambda t, x: -x, noise="none")
    sol = solve(name, process, np.zeros(0), [0, 1], tol=1e-6, events=[sk.Event(lambda t, x: x - 0.5)])
    assert sol.x.shape == (2, 0) and sol.stopped.shape == (0,)
