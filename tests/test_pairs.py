"""Embedded Runge–Kutta pairs: conditions of order of the steps themselves, their estimates and dense output."""

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve

import sdekit as sk
from sdekit import math as sm

PAIRS = (sk.bosh3, sk.dopri5, sk.tsit5, sk.dop853)
DENSE = {"bosh3": 3, "dopri5": 4, "tsit5": 4, "dop853": 7}
ERRORS = {"bosh3": (2,), "dopri5": (4,), "tsit5": (4,), "dop853": (5, 3)}  # orders of the solutions compared with
each_pair = pytest.mark.parametrize("method", PAIRS, ids=repr)


# --- what a step computes, read off the step itself ----------------------------------------------


class Tableau(NamedTuple):
    c: np.ndarray  # of all slopes, in the order of evaluation
    a: np.ndarray
    b: np.ndarray
    errors: list
    place: list  # where the slopes of a complete `Taken` stand in the order of evaluation


@functools.cache
def tableau(method):
    """The coefficients of a step from 0 to 1 whose slopes are unit vectors."""
    most = 16
    units, times, states = np.eye(most), [0.0], [np.zeros(most)]

    class Equation:
        def drift(self, t, x):
            times.append(t)
            states.append(x)
            return units[len(times) - 1]

    taken = method.step(Equation(), 0.0, 1.0, np.zeros(most), 1.0, units[0])
    n = len(times)
    assert n == method.drifts + 1 and all((s == u).all() for s, u in zip(taken.slopes, units))
    if method.further is not None:
        taken = method.further(Equation(), 0.0, np.zeros(most), 1.0, taken)
    errors = taken.error if isinstance(taken.error, tuple) else (taken.error,)
    place = [int(np.argmax(s)) for s in taken.slopes]
    assert sorted(place) == list(range(len(times))) and place[-1] == method.drifts
    return Tableau(np.array(times), np.array(states), taken.x, list(errors), place)


@functools.cache
def trees(order):
    """Rooted trees of so many nodes, each the sorted tuple of the trees at its root."""
    return sorted(set(_forests(order - 1)))


@functools.cache
def _forests(nodes):
    """Sorted tuples of trees of so many nodes together."""
    if nodes == 0:
        return [()]
    return [
        tuple(sorted((tree, *rest)))
        for first in range(1, nodes + 1)
        for tree in trees(first)
        for rest in _forests(nodes - first)
    ]


def size(tree):
    return 1 + sum(map(size, tree))


def density(tree):
    """γ of a tree."""
    return size(tree) * math.prod(map(density, tree))


def weight(tree, a):
    """Φ_i of a tree for every stage i."""
    result = np.ones(len(a))
    for branch in tree:
        result = result * (a @ weight(branch, a))
    return result


def residuals(weights, a, order, theta=1.0):
    """Σ w_i Φ_i − θ^|tree|/γ for the trees of this order; of an estimate, theta = 0."""
    n = len(a)
    return np.array([weights[:n] @ weight(tree, a[:, :n]) - theta**order / density(tree) for tree in trees(order)])


def test_trees_are_all_there():
    """Their number by order: A. Cayley, 1857; sequence A000081."""
    assert [len(trees(n)) for n in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert density(((), ((),))) == 8 and density(((((),),),)) == 24


# --- conditions of order -------------------------------------------------------------------------


@each_pair
def test_the_step_has_its_order(method):
    made = tableau(method)
    assert np.abs(made.a.sum(1) - made.c).max() < 1e-13 and abs(made.b.sum() - 1) < 1e-14
    for order in range(1, method.order + 1):
        assert np.abs(residuals(made.b, made.a, order)).max() < 2e-14 * max(1, np.abs(made.b).sum())
    assert np.abs(residuals(made.b, made.a, method.order + 1)).max() > 1e-7  # and no more


@each_pair
def test_the_estimate_has_its_order(method):
    """It vanishes up to the order of the solution that is compared with, and not beyond."""
    made = tableau(method)
    for error, lower in zip(made.errors, ERRORS[method.name], strict=True):
        for order in range(1, lower + 1):
            assert np.abs(residuals(error, made.a, order, 0.0)).max() < 1e-14 * max(1, np.abs(error).sum())
        assert np.abs(residuals(error, made.a, lower + 1, 0.0)).max() > 1e-5
    fifth, third = (2 * ERRORS["dop853"][0] + 2, ERRORS["dop853"][1] + 1)
    wanted = fifth - third if method is sk.dop853 else ERRORS[method.name][0] + 1
    assert method.error_order + 1 == wanted


@each_pair
@pytest.mark.parametrize("theta", [0.0, 0.1, 0.37, 0.5, 0.8, 1.0])
def test_the_dense_output_has_its_order(method, theta):
    made = tableau(method)
    slopes = tuple(np.eye(16)[i] for i in made.place)
    weights = method.interpolate(np.zeros(16), sk.Taken(made.b, slopes=slopes), 1.0, theta)
    for order in range(1, DENSE[method.name] + 1):
        assert np.abs(residuals(weights, made.a, order, theta)).max() < 1e-14 * (1 + np.abs(weights).sum())
    if 0 < theta < 1:
        assert np.abs(residuals(weights, made.a, DENSE[method.name] + 1, theta)).max() > 1e-7


@each_pair
def test_dense_output_joins_smoothly(method):
    """Value and slope are those of the step at both of its ends."""
    made = tableau(method)
    taken = sk.Taken(made.b, slopes=tuple(np.eye(16)[i] for i in made.place))

    def at(theta):
        return method.interpolate(np.zeros(16), taken, 1.0, theta)

    d = 1e-6
    np.testing.assert_allclose(at(1.0), made.b, atol=1e-15)
    np.testing.assert_allclose((at(d) - at(-d)) / (2 * d), np.eye(16)[0], atol=1e-8)
    np.testing.assert_allclose((at(1 + d) - at(1 - d)) / (2 * d), np.eye(16)[method.drifts], atol=1e-8)


# --- on fixed steps ------------------------------------------------------------------------------


class Growing(NamedTuple):
    """Growth with seasons, up to what there is room for."""

    rate: float = 0.3
    noise = "none"

    def drift(self, t, x):
        return sm.cos(t) * x - self.rate * x * x


@functools.cache
def grown():
    return float(sk.solve(Growing(), 1.0, [0, 10], sk.dop853, h=0.005, backend=sk.backends.numpy()).final)


@each_backend
@each_pair
def test_orders_on_fixed_steps(name, method):
    """Errors at t = 10 on steps that halve; deterministic."""
    counts = (16, 64) if method is sk.dop853 else (64, 128)
    errors = [abs(solve(name, Growing(), 1.0, [0, 10], method, h=10 / n).final - grown()) for n in counts]
    order = math.log(errors[0] / errors[1]) / math.log(counts[1] / counts[0])
    assert abs(order - method.order) < 0.4, errors


@each_backend
@each_pair
def test_slopes_are_kept(name, method):
    """One evaluation more than n · drifts, and as many after a jump; the numbers are those of numpy."""
    sol = solve(name, Growing(np.array([0.2, 0.3])), 1.0, [0, 0.3, 1], method, h=0.1)
    assert sol.nfe == 10 * method.drifts + 1
    want = solve("numpy", Growing(np.array([0.2, 0.3])), 1.0, [0, 0.3, 1], method, h=0.1)
    np.testing.assert_allclose(sol.x, want.x, rtol=1e-14)
    back = solve(name, Growing(), sol.final[1], [1, 0], method, h=0.1).final
    assert back == pytest.approx(1.0, abs=1e-4)


class Kicked(NamedTuple):
    """A slope that jumps from 1 to 3 at t = 1."""

    jumps: tuple = (1.0,)
    noise = "none"

    def drift(self, t, x):
        return sm.where(t < 1.0, 1.0, 3.0) + 0.0 * x


@each_backend
@each_pair
def test_slopes_are_dropped_at_jumps(name, method):
    sol = solve(name, Kicked(), 0.0, [0, 2], method, h=0.4)
    assert sol.final == pytest.approx(4.0, abs=1e-12)
    assert sol.nfe == 6 * method.drifts + 2


def test_a_lost_path_leaves_the_gradients_of_others_alone():
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.0, -60.0], dtype=torch.float64, requires_grad=True)
    with pytest.warns(RuntimeWarning, match="1 of 2 paths became non-finite"):
        sol = sk.solve(Growing(), x, [0, 4], sk.tsit5, h=0.5)
    sol.final[0].backward()
    assert sol.failed.tolist() == [False, True]
    alone = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    sk.solve(Growing(), alone, [0, 4], sk.tsit5, h=0.5).final.backward()
    assert float(x.grad[0]) == pytest.approx(float(alone.grad), rel=1e-12)
