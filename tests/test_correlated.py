"""Diagonal noise whose components are correlated: every normal of a step is multiplied by one factor."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from backends import NAMES, each_backend, solve
from equations import both

import sdekit as sk
from sdekit import math as sm

NUMPY = sk.backends.numpy()
MATRIX = np.array([[1.0, 0.7, -0.2], [0.7, 1.0, 0.3], [-0.2, 0.3, 1.0]])


class Three(NamedTuple):
    """Brownian motions with unit noise each."""

    correlation: Any = MATRIX
    additive = True

    def drift(self, t, x, y, z):
        return 0.0, 0.0, 0.0

    def diffusion(self, t, x, y, z):
        return 1.0, 1.0, 1.0


class Two(NamedTuple):
    """Coupled nonlinear drifts, multiplicative noise of each component in itself."""

    correlation: Any = np.array([[1.0, 0.7], [0.7, 1.0]])

    def drift(self, t, x, y):
        return sm.sin(y) - x, 0.5 * x - y

    def diffusion(self, t, x, y):
        return 0.6 * x, 0.4 * sm.sqrt(1.0 + y * y)


class Swapped(NamedTuple):
    """dX = Y dW₁, dY = dW₂: diagonal in form, and not commutative."""

    def drift(self, t, x, y):
        return 0.0 * x, 0.0 * y

    def diffusion(self, t, x, y):
        return y, 1.0 + 0.0 * x


class Declared(Swapped):
    commutative = True


SINGULAR = {
    "equal": np.ones((3, 3)),
    "opposite": np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 1.0]]),
    "rank 2": np.array([[1, 0, 0.6], [0, 1, 0.8], [0.6, 0.8, 1]]),
}


@each_backend
@pytest.mark.parametrize("matrix", [MATRIX, *SINGULAR.values()], ids=["regular", *SINGULAR])
def test_the_covariance_of_the_increments(name, matrix):
    """x is linear in the normals: unit ones show the factor, whose square is h times the matrix."""
    x = solve(name, Three(matrix), np.zeros((3, 3)), [0, 0.25], h=0.25, noise=np.eye(3)[None]).x[-1]
    np.testing.assert_allclose(x.T @ x, 0.25 * matrix, atol=1e-12)


@each_backend
def test_dw_and_dz_alike(name):
    z = np.concatenate([np.eye(3), np.zeros((3, 3))]), np.concatenate([np.zeros((3, 3)), np.eye(3)])
    x = solve(name, Three(), np.zeros((6, 3)), [0, 1], both, h=1, noise=np.stack(z)[:, None]).x[-1]
    np.testing.assert_allclose(x[:3].T @ x[:3], MATRIX, atol=1e-12)
    np.testing.assert_allclose(x[3:].T @ x[3:], 100 * MATRIX, atol=1e-10)


def test_the_same_path_on_all_backends():
    """Generated normals, 37 paths, three path axes, cut at a time that is no multiple of four steps."""
    paths = [solve(n, Two(), np.ones((37, 1, 2)), [0, 0.3, 1], h=0.1, seed=3).x for n in NAMES]
    for x in paths[1:]:
        np.testing.assert_allclose(x, paths[0], rtol=1e-12)
    single = solve("numpy", Two(), np.ones((37, 1, 2), np.float32), [0, 0.3, 1], h=0.1, seed=3).x
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, paths[0], rtol=2e-5)


def test_the_law_of_generated_increments():
    """Sample covariances of 2e5 paths within 5 standard errors √((1 + r²)/n): 6 of them, false failures below 4e-6."""
    n = 200_000
    x = sk.solve(Three(), np.zeros(3), [0, 1], h=0.5, paths=n, seed=1, backend=NUMPY).final
    assert (np.abs(x.T @ x / n - MATRIX) / np.sqrt((1 + MATRIX**2) / n)).max() < 5


def test_given_normals_are_the_independent_ones():
    factor = np.linalg.cholesky(MATRIX)
    z = np.random.default_rng(0).standard_normal((4, 5, 3))
    x = sk.solve(Three(), np.zeros((5, 3)), [0, 1], h=0.25, noise=z, backend=NUMPY).final
    np.testing.assert_allclose(x, 0.5 * z.sum(0) @ factor.T, atol=1e-12)


@each_backend
def test_a_factor_or_its_matrix(name):
    how = {"h": 0.25, "seed": 2}
    whole = solve(name, Three(), np.zeros((5, 3)), [0, 1], **how).x
    np.testing.assert_allclose(solve(name, Three(np.linalg.cholesky(MATRIX)), np.zeros((5, 3)), [0, 1], **how).x, whole)
    none = solve(name, Three(None), np.zeros((5, 3)), [0, 1], **how).x
    np.testing.assert_allclose(solve(name, Three(np.eye(3)), np.zeros((5, 3)), [0, 1], **how).x, none)
    assert np.abs(none - whole).max() > 0.1
    # a lower factor with other signs is taken as it is
    lower = np.array([[1.0, 0, 0], [0.6, -0.8, 0], [0, 0, 1]])
    x = solve(name, Three(lower), np.zeros((3, 3)), [0, 1], h=1, noise=np.eye(3)[None]).x[-1]
    np.testing.assert_allclose(x, lower.T, atol=1e-15)


def test_a_correlation_of_a_class_and_of_components_that_come_as_many():
    class Many:
        correlation = 0.5 * np.eye(6) + 0.5
        additive = True

        def drift(self, t, *x):
            return tuple(0.0 * v for v in x)

        def diffusion(self, t, *x):
            return (1.0,) * len(x)

    x = sk.solve(Many(), np.zeros((6, 6)), [0, 1], h=1, noise=np.eye(6)[None], backend=NUMPY).final
    np.testing.assert_allclose(x.T @ x, Many.correlation, atol=1e-12)


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (Three(np.eye(2)), r"correlation of Three must be a matrix of shape \(3, 3\)"),
        (Three(np.stack([MATRIX] * 4)), r"shape \(3, 3\), the same for all paths; got shape \(4, 3, 3\)"),
        (Three(np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])), "positive semidefinite"),
        (Three(2 * MATRIX), "ones on its diagonal"),
        (Three(MATRIX + np.triu(np.ones((3, 3)), 1)), "symmetric"),
        (Three(2 * np.eye(3)), "rows must have norm 1"),
        (Three(MATRIX + 0j), "correlation"),
        (Three(np.full((3, 3), math.nan)), "correlation"),
        (Three(0.5), "correlation"),
        (Three("half"), "correlation"),
        (sk.process(lambda t, x: -x, lambda t, x: 1.0, correlation=np.eye(1)), "two or more components"),
    ],
)
def test_what_is_no_correlation(process, message):
    x0 = np.zeros(3) if isinstance(process, Three) else 0.0
    with pytest.raises(ValueError, match=message):
        sk.solve(process, x0, [0, 1], h=1, backend=NUMPY)


def test_where_it_does_not_belong():
    class General(Three):
        noise = "general"

        def diffusion(self, t, x, y, z):
            return (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)

    with pytest.raises(ValueError, match="correlation of General is given, but it is for diagonal noise"):
        sk.solve(General(), np.zeros(3), [0, 1], h=1, backend=NUMPY)

    class Closed(Three):
        def transition(self, s, t, x):
            return sk.laws.Normal(x, t - s)

    with pytest.raises(ValueError, match="exact draws each component alone, but Closed has a correlation"):
        sk.solve(Closed(), np.zeros(3), [0, 1], sk.exact, backend=NUMPY)

    class Noising(Three):
        def marginal(self, t):
            return 1.0, t**0.5

        def rates(self, t):
            return 0.0, 0.5 * t**-0.5

    with pytest.raises(ValueError, match="correlation"):
        sk.Reverse(Noising(), lambda t, x: x)
    with pytest.raises(ValueError, match="Noising has noise; a likelihood needs an ODE"):
        sk.likelihood.log_prob(Noising(), np.zeros((2, 3)), grid=[0.1, 1.0])


@pytest.mark.parametrize(("method", "order"), [(sk.milstein, 1.0), (sk.sri1w1, 1.5)], ids=["milstein", "sri1w1"])
def test_strong_orders_stay(method, order):
    """Errors against the method itself on 16 times finer steps, 2,000 paths, within 0.15 of the order."""
    found = sk.convergence.strong_order(
        Two(), method, np.ones(2), steps=(8, 16, 32, 64), fine=1024, paths=2000, seed=1, backend=NUMPY
    )
    assert abs(found.order - order) < 0.15, found


@pytest.mark.parametrize("method", [sk.milstein, sk.sri1w1, sk.milstein_strat], ids=repr)
def test_noise_that_does_not_commute_is_refused(method):
    """A18."""
    with pytest.raises(ValueError, match="component 0 of its diffusion depends on component 1.* commutative = True"):
        sk.solve(Swapped(), np.ones(2), [0, 1], method, h=0.5, backend=NUMPY)


def test_declared_commutative_and_slow_methods_run():
    ones = {"h": 0.5, "seed": 0, "backend": NUMPY}
    assert sk.solve(Declared(), np.ones(2), [0, 1], sk.milstein, **ones).x.shape == (2, 2)
    assert sk.solve(Swapped(), np.ones(2), [0, 1], sk.euler_maruyama, **ones).x.shape == (2, 2)


def test_a_diffusion_that_crosses_only_later_is_found():
    """t·Y dW₁ vanishes at the start whatever the state; so does noise that is falsely declared additive."""
    late = sk.process(lambda t, x, y: (0 * x, 0 * y), lambda t, x, y: (t * y, 1.0 + 0 * x))
    with pytest.raises(ValueError, match="component 0 of its diffusion depends on component 1"):
        sk.solve(late, np.ones(2), [0, 1], sk.milstein, h=0.5, backend=NUMPY)
    false = sk.process(lambda t, x: 0 * x, lambda t, x: t * x, additive=True)
    with pytest.raises(ValueError, match="declares additive = True, but its diffusion depends on the state"):
        sk.solve(false, 1.0, [0, 1], h=0.5, backend=NUMPY)
