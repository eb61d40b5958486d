"""Known jumps of the coefficients: steps end there, and each sees its own side."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve

import sdekit as sk
from sdekit import math as sm

NUMPY = sk.backends.numpy()


class Pulse(NamedTuple):
    """x' = −x + 1[t < ½]: x(1) = e^{−½}(1 − e^{−½}) from x(0) = 0."""

    jumps: Any = (0.5,)
    noise = "none"

    def drift(self, t, x):
        return sm.where(t < 0.5, 1.0, 0.0) - x


class Counting(NamedTuple):
    """x' = floor(t/p), which jumps at the multiples of p."""

    p: float
    jumps: Any
    noise = "none"

    def drift(self, t, x):
        return sm.floor(t / self.p) + 0.0 * x


class Late(NamedTuple):
    """Brownian motion whose noise is switched on at t = 1."""

    jumps: Any = (1.0,)
    additive = True

    def drift(self, t, x):
        return 0.0 * x

    def diffusion(self, t, x):
        return sm.where(t >= 1.0, 1.0, 0.0)


def seen(jumps, ts=None, **how):
    """The (t, t1, h) of each step."""
    steps = []

    @sk.method(noise="none")
    def spy(sde, t, t1, x, h):
        steps.append((t, t1, h))
        return x

    still = sk.process(lambda t, x: -x, noise="none", jumps=jumps)
    return steps, sk.solve(still, 0.0, ts, spy, backend=NUMPY, **how)


@each_backend
@pytest.mark.parametrize(("method", "order"), [(sk.rk4, 4), (sk.heun, 2)], ids=["rk4", "heun"])
def test_the_order_is_kept_across_a_jump(name, method, order):
    """A17. Without the jump the same steps have order 1 at best."""
    true = math.exp(-0.5) * (1 - math.exp(-0.5))

    def errors(jumps):
        return [abs(solve(name, Pulse(jumps), 0.0, [0, 1], method, h=1 / n).x[-1] - true) for n in (3, 6, 12, 24)]

    kept, lost = errors((0.5,)), errors(())
    assert abs(math.log2(kept[2] / kept[3]) - order) < 0.25
    assert lost[0] > 3 * kept[0] and lost[3] > 50 * kept[3]


@each_backend
def test_noise_that_is_switched_on(name):
    """A17: Var x(2) = 1 with sra1. x is linear in the normals, so that unit ones give the variance."""
    for how in ({"ts": [0, 2], "h": 0.5}, {"ts": [0, 2], "grid": [0.0, 0.75, 2.0]}):
        n = 4 if "h" in how else 3
        z = np.zeros((2, n, 2 * n))
        z[0, :, :n], z[1, :, n:] = np.eye(n), np.eye(n)
        x = solve(name, Late(), 0.0, method=sk.sra1, noise=z, paths=2 * n, **how).x[-1]
        assert (x**2).sum() == pytest.approx(1.0, abs=1e-12)


@each_backend
@pytest.mark.parametrize("p", [0.1, 1 / 3, 0.7])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_step_sees_its_own_side(name, p, sign):
    """∫ floor(t/p) over n periods is p n(n − 1)/2, also backwards; one ulp would not be enough for floor(t/p)."""
    n, whole = 20, p * 20 * 19 / 2
    ts = [0.0, n * p][::sign]
    process = Counting(p, p * np.arange(n + 1))
    for method in (sk.rk4, sk.heun, sk.euler):
        x = solve(name, process, 0.0, ts, method, h=0.4 * p).x[-1]
        assert x == pytest.approx(sign * whole, rel=1e-11)


def test_steps_end_at_jumps_and_outputs():
    steps, sol = seen((0.4, 0.15), [0, 0.3, 1], h=0.25)
    np.testing.assert_allclose([s[0] for s in steps], [0, 0.15, 0.3, 0.4, 0.6, 0.8], atol=1e-12)
    np.testing.assert_allclose([s[2] for s in steps], [0.15, 0.15, 0.1, 0.2, 0.2, 0.2], rtol=1e-12)
    assert sol.t.tolist() == [0, 0.3, 1] and sol.steps == 6
    assert steps[0][1] < 0.15 < steps[1][0] and steps[2][1] < 0.4 < steps[3][0]  # moved inwards, h unmoved
    assert steps[1][1] == 0.3 == steps[2][0]


def test_a_grid_is_cut_at_jumps():
    steps, sol = seen((0.4,), grid=[0.0, 0.5, 1.0])
    np.testing.assert_allclose([s[1] for s in steps], [0.4, 0.5, 1.0], atol=1e-12)
    assert sol.t.tolist() == [1.0]
    steps, sol = seen((0.4,), [0.5, 1.0], grid=[0.5, 1.0])
    assert sol.steps == 1 and steps[0][0] == 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_jumps_at_the_ends_and_outside(sign):
    """They add no step, and a step from the first or to the last time sees the inside."""
    steps, sol = seen((0.0, 1.0, 2.0, -1.0), [0.0, 1.0][::sign], h=1.0)
    ((t, t1, h),) = steps
    assert 0 < min(t, t1) < 1e-13 and 0 < 1 - max(t, t1) < 1e-13 and h == sign
    assert sol.t.tolist() == [0.0, 1.0][::sign]


def test_jumps_near_output_times_are_one_with_them():
    """0.1 + 0.2 is not 0.3: no step of 5e-17 in between."""
    steps, sol = seen((0.1 + 0.2,), [0, 0.3, 0.6], h=0.3)
    assert sol.steps == 2 and steps[0][1] < 0.3 < steps[1][0]
    steps, sol = seen((0.1 + 0.2,), [0, 0.3, 0.6], grid=[0, 0.3, 0.6])
    assert sol.steps == 2 and steps[0][1] < 0.3 < steps[1][0]
    steps, sol = seen((0.3 + 1e-6,), [0, 0.3, 0.6], h=0.3)
    assert sol.steps == 3 and steps[1][2] == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.parametrize("h", [1.0, 1e6, 1e9, 1e300])
def test_a_large_step_moves_no_end_onto_a_jump(h):
    late = sk.process(lambda t, x: sm.where(t < 0.35, 2.0, 1.0) + 0 * x, noise="none", jumps=[0.35])
    sol = sk.solve(late, 0.0, [0, 1], sk.euler, h=h, backend=NUMPY)
    assert sol.steps == 2 and sol.final == pytest.approx(2 * 0.35 + 0.65, rel=1e-12)


def test_times_are_reached_exactly():
    """x' = 1 over steps cut by jumps: the lengths add up."""
    clock = sk.process(lambda t, x: 1.0 + 0 * x, noise="none", jumps=(0.123, 0.77, 0.9))
    sol = sk.solve(clock, 0.0, [0, 0.5, 1], sk.rk4, h=0.03, backend=NUMPY)
    np.testing.assert_allclose(sol.x, [0, 0.5, 1.0], atol=1e-15)


def test_without_jumps_nothing_changes():
    for jumps in ((), None, np.array([]), (5.0,)):
        steps, _ = seen(jumps, [0, 1], h=0.5)
        assert [s[:2] for s in steps] == [(0.0, 0.5), (0.5, 1.0)]


@pytest.mark.parametrize("jumps", ["1", 0.5, [[0.5]], [math.nan], [math.inf], [None], [1j], [True], ["2020-01-01"]])
def test_what_is_no_sequence_of_times(jumps):
    with pytest.raises(ValueError, match="jumps"):
        seen(jumps, [0, 1], h=0.5)


def test_jumps_of_a_linear_process_cut_its_quadrature():
    """A3: b = 1[t < 0.501], a dose for 0.501 of a unit of time."""
    dose = sk.Linear(lambda t: 0.0, lambda t: 1.0 if t < 0.501 else 0.0, lambda t: 0.0, jumps=(0.501,))
    assert dose.transition(0.0, 1.0, 0.0).mean == pytest.approx(0.501, abs=1e-12)
