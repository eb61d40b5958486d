"""Rosenbrock steps for stiff equations: conditions of order, accuracy against scipy's Radau, and the Jacobian."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve
from scipy.integrate import solve_ivp
from test_pairs import density, trees

import sdekit as sk
from benchmarks.stiff import PROBLEMS, Robertson
from sdekit import elimination
from sdekit import math as sm
from sdekit.methods.tableaus import RODAS5P

# --- conditions of order -------------------------------------------------------------------------


def matrices(tableau):
    """(α, Γ, weights of u) of a Rosenbrock method k_i = h f(x + Σ α_ij k_j) + h J Σ γ_ij k_j, where u = Γ k."""
    n = len(tableau.C) + 1
    a, c = np.zeros((n, n)), np.zeros((n, n))
    for i in range(1, n):
        row = tableau.a[i - 1] if i <= len(tableau.a) else (*a[i - 1, : i - 1], 1.0)
        a[i, :i], c[i, :i] = row, tableau.C[i - 1]
    gamma = np.linalg.inv(np.eye(n) / tableau.gamma - c)
    return a @ gamma, gamma, np.append(a[-1, :-1], 1.0)


def weight(tree, alpha, beta):
    """Φ_i of a tree: α for each of several branches, β = α + Γ for a single one (Hairer and Wanner II, sec. IV.7)."""
    result = np.ones(len(alpha))
    for branch in tree:
        result = result * ((beta if len(tree) == 1 else alpha) @ weight(branch, alpha, beta))
    return result


def residuals(weights, order, theta=1.0):
    alpha, gamma, _ = matrices(RODAS5P)
    found = [weights @ gamma @ weight(tree, alpha, alpha + gamma) for tree in trees(order)]
    return np.abs(np.array(found) - [theta**order / density(tree) for tree in trees(order)]).max()


def test_the_step_and_its_estimate_have_their_orders():
    alpha, gamma, m = matrices(RODAS5P)
    np.testing.assert_allclose(alpha.sum(1), [0, *RODAS5P.c, 1, 1, 1], atol=1e-12)
    np.testing.assert_allclose(gamma.sum(1), [*RODAS5P.d, 0, 0, 0], atol=1e-12)
    compared = np.append(m[:-1], 0.0)  # the last increment is the estimate
    for weights, order in ((m, sk.rodas5p.order), (compared, sk.rodas5p.error_order)):
        assert max(residuals(weights, n) for n in range(1, order + 1)) < 1e-12
        assert residuals(weights, order + 1) > 1e-5


@pytest.mark.parametrize("theta", [0.0, 0.1, 0.37, 0.8, 1.0])
def test_the_dense_output_has_its_order(theta):
    m = matrices(RODAS5P)[2]
    taken = sk.Taken(m, slopes=(*np.array(RODAS5P.dense), None))
    weights = sk.rodas5p.interpolate(np.zeros(8), taken, 1.0, theta)
    assert max(residuals(weights, n, theta) for n in range(1, 5)) < 1e-11
    if 0 < theta < 1:
        assert residuals(weights, 5, theta) > 1e-6


def test_elimination_is_that_of_lapack():
    """With matrices that have no factors without pivoting, one per path."""
    random = np.random.default_rng(0)
    m, b = random.normal(size=(5, 5, 40)), random.normal(size=(5, 40))
    m[0, 0] = m[1, 1] = 0.0
    x = np.array(elimination.solved(elimination.factored(m), b))
    np.testing.assert_allclose(x, np.linalg.solve(m.transpose(2, 0, 1), b.T[..., None])[..., 0].T, rtol=1e-9)


# --- equations -----------------------------------------------------------------------------------


class Growing(NamedTuple):
    """Growth with seasons, up to what there is room for: one argument, not autonomous."""

    rate: float = 0.3
    noise = "none"

    def drift(self, t, x):
        return sm.cos(t) * x - self.rate * x * x


class Relaxing(NamedTuple):
    """x' = λ (sin t − x) + cos t (Prothero and Robinson, 1974) beside y' = −x y: sin t and e^(cos t − 1)."""

    speed: float = 1e5
    noise = "none"

    def drift(self, t, x, y):
        return self.speed * (sm.sin(t) - x) + sm.cos(t), -x * y

    def jacobian(self, t, x, y):
        return (-self.speed, 0.0), (-y, -x)


@pytest.mark.parametrize(("process", "x0", "end", "true"), PROBLEMS, ids=lambda p: type(p).__name__)
def test_accuracy_and_cost_beside_radau(process, x0, end, true):
    """At 1e-6: errors of at most 100 tol, no more than 3 times the evaluations, those for Jacobians counted."""
    count = 0

    def f(t, x):
        nonlocal count
        count += 1
        return np.array(process.drift(t, *x))

    solve_ivp(f, (0, end), x0, method="Radau", rtol=1e-6, atol=1e-6)
    sol = solve("numpy", process, x0, [0, end], sk.rodas5p, tol=1e-6)
    assert np.abs(sol.final - true).max() < 1e-4 and int(sol.nfe) < 3 * count


@pytest.mark.slow
@each_backend
def test_the_backends_agree(name):
    """Robertson with a rate per path: output between steps, and numbers to the rounding of differences."""
    ts, process = [0, 0.3, 40.0, 1e4], Robertson(np.array([0.02, 0.04, 0.07]))
    sol, want = (solve(n, process, [1.0, 0.0, 0.0], ts, sk.rodas5p, tol=1e-6) for n in (name, "numpy"))
    np.testing.assert_allclose(sol.x, want.x, rtol=1e-6, atol=1e-9)
    assert np.abs(np.asarray(sol.steps) - want.steps).max() <= 1
    assert (np.asarray(sol.nfe) == 2 + 12 * np.asarray(sol.steps)).all()
    true = solve_ivp(lambda t, u: Robertson().drift(t, *u), (0, 1e4), [1.0, 0, 0], "Radau", ts, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sol.x[:, 1], true.y.T, atol=1e-5)


@each_backend
def test_orders_on_fixed_steps(name):
    """One argument, an equation that is not autonomous, errors on steps that halve; deterministic."""
    ts = np.linspace(0, 10, 9)
    true = sk.solve(Growing(), 1.0, ts, sk.dop853, h=0.005, backend=sk.backends.numpy()).x
    sols = [solve(name, Growing(), 1.0, ts, sk.rodas5p, h=10 / n) for n in (64, 128)]
    errors = [np.abs(sol.x - true).max() for sol in sols]
    assert abs(math.log2(errors[0] / errors[1]) - 5) < 0.3, errors
    assert sols[0].nfe == 64 * 10 + 1


@each_backend
def test_a_given_jacobian_is_used(name):
    """Against the closed form, where an explicit pair would take 30,000 steps."""
    sol = solve(name, Relaxing(np.array([1e3, 1e5])), [0.0, 1.0], [0, 1.3, 3.0], sk.rodas5p, tol=1e-6)
    want = [[math.sin(t), math.exp(math.cos(t) - 1)] for t in (1.3, 3.0)]
    np.testing.assert_allclose(sol.x[1:], np.repeat(np.array(want)[:, None], 2, 1), atol=1e-5)
    assert (np.asarray(sol.steps) < 60).all() and (np.asarray(sol.nfe) == 2 + 9 * np.asarray(sol.steps)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_stay_and_backwards_in_time(dtype):
    start = np.array([math.sin(2), math.exp(math.cos(2) - 1)], dtype)
    sol = solve("numpy", Relaxing(-50.0), start, [2, 1], sk.rodas5p, tol=1e-4)
    assert sol.x.dtype == dtype
    np.testing.assert_allclose(sol.final, [math.sin(1), math.exp(math.cos(1) - 1)], atol=1e-3)


def test_gradients_are_those_of_differences():
    torch = pytest.importorskip("torch")

    def final(slow):
        x0 = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        return sk.solve(Robertson(slow), x0, [0, 1.0], sk.rodas5p, tol=1e-8).final[2]

    slow = torch.tensor(0.04, dtype=torch.float64, requires_grad=True)
    final(slow).backward()
    d = 1e-5
    assert float(slow.grad) == pytest.approx(float(final(slow.item() + d) - final(slow.item() - d)) / (2 * d), rel=1e-3)


# --- errors --------------------------------------------------------------------------------------


class Wrong(NamedTuple):
    noise = "none"

    def drift(self, t, x, y):
        return -x, -y

    def jacobian(self, t, x, y):
        return -1.0, -1.0


def test_what_does_not_go_is_refused():
    for name in ("numba", "numpy"):
        with pytest.raises(ValueError, match="jacobian must return 2 rows of 2 values"):
            solve(name, Wrong(), [1.0, 1.0], [0, 1], sk.rodas5p, tol=1e-3)
    whole = type("Whole", (), {"noise": "none", "event_dims": 1, "drift": lambda self, t, x: -x})()
    with pytest.raises(ValueError, match="components of a state one by one, for the Jacobian of its drift, but Whole"):
        sk.solve(whole, np.ones(3), [0, 1], sk.rodas5p, tol=1e-3)
    many = sk.process(lambda t, *x: tuple(-v for v in x), noise="none")
    with pytest.raises(ValueError, match="rodas5p, which solves linear systems, for up to 8 components"):
        sk.solve(many, np.ones(9), [0, 1], sk.rodas5p, tol=1e-3)
    assert solve("numpy", many, np.ones(9), [0, 1], sk.rodas5p, tol=1e-8).final == pytest.approx(math.exp(-1))
