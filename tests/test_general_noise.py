"""Noises that need not commute: Lévy areas, the strong order 1 of milstein_general, the weak order 2 of ri6."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import NAMES, each_backend, solve
from equations import Twist
from scipy.linalg import expm

import sdekit as sk
from sdekit import levy, noise
from sdekit import math as sm
from sdekit.convergence import coarsen, strong_order

REFERENCE = {"backend": sk.backends.numpy()}


class Four(NamedTuple):
    """Two components and four noises, no two of which commute."""

    noise = "general"

    def drift(self, t, x, y):
        return 0.3 * sm.sin(y), 0.3 * sm.cos(x + t)

    def diffusion(self, t, x, y):
        return (
            (0.4 + 0.2 * sm.sin(y), 0.3 * sm.cos(x), 0.2 * y, 0.1),
            (0.3 * sm.sin(x + y + t), 0.3 + 0.2 * sm.cos(y), 0.3 + 0.1 * x, 0.25 * sm.sin(x)),
        )


class Loop(NamedTuple):
    """dX = Y dW₁, dY = dW₂: X is an iterated integral, and no other order of the two is right."""

    def drift(self, t, x, y):
        return 0.0, 0.0

    def diffusion(self, t, x, y):
        return y, 1.0


class Fan(NamedTuple):
    """One component, and three noises that commute."""

    noise = "general"

    def drift(self, t, x):
        return 0.0 * x

    def diffusion(self, t, x):
        return ((0.3 * x, 0.2 * x, -0.1 * x),)


class Commuting(Fan):
    commutative = True


class Linear(NamedTuple):
    """dX = A X dt + Σ_j B_j X dW_j in two components, whose moments have closed equations."""

    noise = "general"

    def drift(self, t, x, y):
        return -x + 0.5 * y, 0.3 * x - 0.7 * y

    def diffusion(self, t, x, y):
        return (0.6 * x, 0.4 * y), (0.3 * y, -0.5 * x)


DRIFT = np.array([[-1.0, 0.5], [0.3, -0.7]])
NOISES = np.array([[[0.6, 0.0], [0.0, 0.3]], [[0.0, 0.4], [-0.5, 0.0]]])


# --- the law of the areas ------------------------------------------------------------------------


def drawn(m, p, lanes, xi=None, seed=0):
    """(ξ, A/h) of one step: (m, lanes) and (m, m, lanes)."""
    where, like = np.arange(lanes), np.empty(0)

    def rows(n, count, stream):
        return noise.rows(where, n, count, seed, stream, like)

    z = rows(0, m, noise.Stream.PATH) if xi is None else np.array(xi)[:, None] + np.zeros(lanes)
    return z, np.stack(levy.areas(z, p, lambda first, count: levy.normals(rows, 3, first, count)))


@pytest.mark.parametrize("p", [1, 3])
def test_moments_to_order_four(p):
    """Of four noises against the exact ones. With a_i = W_i − W_i(h)/2, A_ij is the integral of a_i by W_j, whence

        E A₁₂² = E a², E A₁₂⁴ = 3 E (∫a²)², E A₁₂² A₁₃² = E (∫a²)², E A₁₂ A₁₃ A₂₄ A₃₄ = E (∫a₁ a₄)².

    Where all terms of the series are taken for normal E A₁₂⁴ is 39/144; terms k > p make up Σ 1/k⁴ of the difference.
    Within 5 standard errors, false failures below 2e-5, and that.
    """
    xi, a = drawn(4, p, 300_000)
    part = 1 - sum(k**-4.0 for k in range(1, p + 1)) * 90 / math.pi**4
    values = {
        1 / 4: a[0, 1] ** 2,
        5 / 16: a[0, 1] ** 4,
        5 / 48: a[0, 1] ** 2 * a[0, 2] ** 2,
        1 / 16: a[0, 1] ** 2 * a[2, 3] ** 2,
        1 / 48: a[0, 1] * a[0, 2] * a[1, 3] * a[2, 3],
        5 / 12: a[0, 1] ** 2 * xi[0] ** 2,
        1 / 12: a[0, 1] * a[0, 2] * xi[1] * xi[2],
    }
    zeros = [a[0, 1], a[0, 1] * a[0, 2], a[0, 1] * a[1, 2], a[0, 1] * a[2, 3], a[0, 1] * a[1, 2] * a[2, 0]]
    for exact, value in [*values.items(), *((0.0, v) for v in zeros)]:
        slack = 5 * value.std() / math.sqrt(value.size) + part * abs(5 / 16 - 39 / 144)
        assert abs(value.mean() - exact) < slack, (exact, value.mean(), slack)
    assert (a == -a.swapaxes(0, 1)).all()


@pytest.mark.parametrize("xi", [(0.0, 0.0), (1.5, -0.7)])
def test_the_law_given_the_increments(xi):
    """E exp(iuA) given dW (P. Lévy, 1951), within the error that is stated and 4 standard errors of 100,000 areas."""
    a = drawn(2, 12, 100_000, xi)[1][0, 1]
    for u in (1.0, 3.0, 6.0):
        half = u / 2
        exact = half / math.sinh(half) * math.exp(-(xi[0] ** 2 + xi[1] ** 2) / 2 * (half / math.tanh(half) - 1))
        stated = u * math.sqrt(2) / (2 * math.sqrt(3) * math.pi * 12)
        assert abs(np.exp(1j * u * a).mean() - exact) < 4 / math.sqrt(a.size) + stated


def test_terms_are_as_many_as_the_error_asks_for():
    """h √m/(2√3 π p) ≤ h √(h/scale), and not with a term less; 4 normals of a counter are of one use alone."""
    for m, h, scale in ((2, 0.3, 1.0), (4, 1e-3, 1.0), (7, -1e-4, 0.1), (3, 1e-9, 1e-6)):
        p, most = levy.terms(m, h, scale), math.sqrt(m * scale / (12 * math.pi**2 * abs(h)))
        assert p - 1 < most <= p
    used = [range(levy.quad(5, k), levy.quad(5, k) + 3) for k in range(4)]
    assert sorted(itertools.chain(*used)) == [*range(12)]
    with pytest.raises(ValueError, match="scale is 1e\\+09, for which the areas of 4 noises .* take .* terms"):
        levy.terms(4, 1e-3, 1e9)


# --- strong order --------------------------------------------------------------------------------


def test_areas_join_as_those_of_a_path():
    """Chen's relation: X of `Loop` is the same, whatever the steps; one noise after the other, not before."""
    z = np.random.default_rng(0).standard_normal((3, 12, 5, 2))
    z[1, ..., 0], z[2, ..., 1], z[2, ..., 0] = 0.0, 0.0, -z[1, ..., 1]
    ends = [
        sk.solve(Loop(), np.ones((5, 2)), [0, 3], sk.milstein_general, h=3 / n, noise=coarsen(z, 12 // n), **REFERENCE)
        for n in (12, 4, 1)
    ]
    for sol in ends[1:]:
        np.testing.assert_allclose(sol.final, ends[0].final, rtol=1e-12)
    dw, alone = z[0] * 0.5, np.ones((5, 2))
    for (w, v), skew in zip(np.moveaxis(dw, -1, 1), z[1, ..., 1] * 0.25, strict=True):
        alone = np.stack([alone[:, 0] + alone[:, 1] * w + 0.5 * w * v - skew, alone[:, 1] + v], 1)
    np.testing.assert_allclose(ends[0].final, alone, rtol=1e-12)


@pytest.mark.slow
def test_strong_order_one_on_every_backend():
    """Of `Four`, of 300 paths, within 0.1 and three standard errors; Euler–Maruyama's is 1/2."""
    given = {"steps": (4, 8, 16, 32), "paths": 300, "seed": 1, "fine": 512}
    found = []
    for name in NAMES:
        x0 = (0.3, -0.2) if name != "torch" else pytest.importorskip("torch").as_tensor(np.array([0.3, -0.2]))
        found.append(strong_order(Four(), sk.milstein_general, x0, backend=getattr(sk.backends, name)(), **given))
        assert found[-1].within(1.0, 0.1), found[-1]
        np.testing.assert_allclose(found[-1].errors, found[0].errors, rtol=1e-9)
    assert strong_order(Four(), sk.euler_maruyama, (0.3, -0.2), **given, **REFERENCE).within(0.5, 0.1)


# --- the same numbers everywhere -----------------------------------------------------------------


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_backends_agree(dtype, tolerance):
    """On unequal steps, whose areas take unequal numbers of terms."""
    grid, x0 = [0.0, 0.5, 0.51, 0.5105, 0.9, 1.0], np.linspace(-1, 1, 14, dtype=dtype).reshape(7, 2)
    found = [solve(name, Four(), x0, method=sk.milstein_general, grid=grid, seed=5).x for name in NAMES]
    for x in found:
        assert x.dtype == dtype
        np.testing.assert_allclose(x, found[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "process, method, shape",
    [(Loop(), sk.milstein_general, (7, 2)), (Fan(), sk.ri6, (7,)), (Linear(), sk.ri6, (7, 2))],
    ids=["Loop", "Fan", "Linear"],
)
def test_other_forms_of_noise_on_every_backend(process, method, shape):
    found = [solve(name, process, np.ones(shape), [0, 1], method, h=0.3, seed=5).x for name in NAMES]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-12)


@each_backend
def test_bits_of_splits_and_of_runs_that_go_on(name):
    grid, x0 = np.concatenate([np.linspace(0, 0.5, 8), [0.501, 0.7, 1.0]]), np.linspace(-1, 1, 600).reshape(300, 2)
    whole = solve(name, Four(), x0, method=sk.milstein_general, grid=grid, seed=5).x[-1]
    for a, b in ((0, 1), (1, 60), (60, 300)):
        part = solve(name, Four(), x0[a:b], method=sk.milstein_general, grid=grid, seed=5, first_path=a).x[-1]
        np.testing.assert_array_equal(part, whole[a:b])
    begun = sk.solve(Four(), x0 if name != "torch" else pytest.importorskip("torch").as_tensor(x0), grid=grid[:6],
                     method=sk.milstein_general, seed=5, backend=getattr(sk.backends, name)())  # fmt: skip
    ended = sk.solve(Four(), begun, grid=grid[5:], method=sk.milstein_general, backend=getattr(sk.backends, name)())
    np.testing.assert_array_equal(np.asarray(ended.final), whole)


class Whole:
    """`Four` as one argument of two entries."""

    noise, event_dims = "general", 1

    def drift(self, t, x):
        return self.like(x, Four().drift(t, x[..., 0], x[..., 1]))

    def diffusion(self, t, x):
        rows = Four().diffusion(t, x[..., 0], x[..., 1])
        return self.like(x, [self.like(x, [0 * x[..., 0] + v for v in row]) for row in rows], -2)

    @staticmethod
    def like(x, items, axis=-1):
        if isinstance(x, np.ndarray):
            return np.stack(items, axis)
        return pytest.importorskip("torch").stack(items, axis)


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("method", [sk.milstein_general, sk.ri6], ids=repr)
def test_states_in_one_argument(name, method):
    x0 = np.linspace(-1, 1, 12).reshape(2, 3, 2)
    want = solve("numpy", Four(), x0, [0, 1], method, h=0.25, seed=5).x
    np.testing.assert_allclose(solve(name, Whole(), x0, [0, 1], method, h=0.25, seed=5).x, want, rtol=1e-12)


# --- noises that commute, and what is refused ----------------------------------------------------


def test_the_flag_leaves_the_areas_out():
    """The order stays 1; a Brownian path, which has no areas, will do; without areas, so will increments alone."""
    given = {"steps": (4, 8, 16, 32), "paths": 300, "seed": 1, "fine": 512}
    assert strong_order(Commuting(), sk.milstein_general, 1.0, **given, **REFERENCE).within(1.0)
    path = sk.BrownianPath(0, 0.0, 1.0)
    x = sk.solve(Commuting(), np.ones(1000), h=1 / 64, method=sk.milstein_general, noise=path, **REFERENCE).final
    exact = np.exp(path(1.0, (1000,), 3) @ [0.3, 0.2, -0.1] - 0.07)
    assert abs(x - exact).mean() < 5e-3
    with pytest.raises(ValueError, match="which has no Lévy areas, but milstein_general takes those of the 3 noises"):
        sk.solve(Fan(), np.ones(3), h=0.25, method=sk.milstein_general, noise=path, **REFERENCE)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_flag_is_compared_with_the_diffusion(dtype):
    class Wrong(Four):
        commutative = True

    with pytest.raises(ValueError, match="Wrong declares commutative = True, but its noises 0 and 1 do not"):
        sk.solve(Wrong(), np.ones((3, 2), dtype), [0, 1], h=0.5)
    for scale in (1e-6, 1.0, 1e6):
        sk.solve(Commuting(), np.full(3, scale, dtype), [0, 1], h=0.5, **REFERENCE)


def test_what_has_no_columns_is_refused():
    correlated = sk.process(lambda t, x, y: (0 * x, 0 * y), lambda t, x, y: (y, 1 + 0 * x), correlation=np.eye(2))
    entries = sk.process(lambda t, x: 0 * x, lambda t, x: x[..., ::-1], event_dims=1)
    for method, (process, why) in itertools.product(
        (sk.milstein_general, sk.ri6), ((correlated, "correlated noises"), (entries, "one state argument"))
    ):
        with pytest.raises(ValueError, match=f"{method.name} takes noises that do not commute one by one, .* {why}"):
            sk.solve(process, np.ones((3, 2)), [0, 1], method, h=0.5, **REFERENCE)
    with pytest.raises(ValueError, match="scale must be"):
        sk.milstein_general(0.0)
    with pytest.raises(ValueError, match="noise has shape"):
        sk.solve(Four(), np.ones((3, 2)), [0, 1], sk.milstein_general, h=0.5, noise=np.ones((4, 2, 3, 4)), **REFERENCE)


# --- weak order ----------------------------------------------------------------------------------


def nodes(m):
    """(normals (2, 1, nodes, m), weights) whose mean is the expectation, of polynomials of dW up to degree 9."""
    z, w = np.polynomial.hermite_e.hermegauss(5)
    points = np.array(list(itertools.product(*[z] * m, *[[-1.0, 1.0]] * m)))
    weights = np.array(list(itertools.product(*[w / w.sum()] * m, *[[0.5, 0.5]] * m))).prod(1)
    return points.reshape(1, -1, 2, m).transpose(2, 0, 1, 3), weights


def one_step(name, process, method, t, x, h):
    """The states (starts, nodes, 2) after a step from each of the states x."""
    z = np.tile(nodes(2)[0], (1, 1, len(x), 1))
    x0 = np.repeat(x, z.shape[2] // len(x), 0)
    given = z if method.normals == 2 else z[0]
    return solve(name, process, x0, [t, t + h], method, h=h, noise=given).x[-1].reshape(len(x), -1, 2)


@each_backend
def test_weak_order_two_of_the_moments_of_a_linear_equation(name):
    """Mean and second moments at t = 1 after 4 … 32 steps: a step is linear, so that they are powers of matrices."""
    weights, one = nodes(2)[1], np.eye(2)
    moments = np.kron(DRIFT, one) + np.kron(one, DRIFT) + sum(np.kron(b, b) for b in NOISES)
    x0, errors = np.array([1.0, 0.5]), []
    for n in (4, 8, 16, 32):
        maps = one_step(name, Linear(), sk.ri6, 0.0, one, 1 / n).transpose(1, 2, 0)
        mean = np.einsum("q,qij->ij", weights, maps)
        second = np.einsum("q,qij,qkl->ikjl", weights, maps, maps).reshape(4, 4)
        off = [np.linalg.matrix_power(mean, n) @ x0 - expm(DRIFT) @ x0]
        off.append((np.linalg.matrix_power(second, n) - expm(moments)) @ np.kron(x0, x0))
        errors.append([np.linalg.norm(e) for e in off])
    slopes = -np.polyfit(np.log([4, 8, 16, 32]), np.log(errors), 1)[0]
    assert (abs(slopes - 2) < 0.2).all(), (slopes, errors)


def test_the_step_of_ri6_on_curved_coefficients():
    """E f after one step and after two halves differ by O(h³), and from Euler–Maruyama's by O(h²): weak order 2.

    Then a step is 1 + h L + ½ h² L² + O(h³) in the mean, L being the generator. Exact but for rounding.
    """
    weights, x0 = nodes(2)[1], np.array([[0.3, -0.2]])

    def values(x):
        return np.stack([np.sin(x[..., 0]) * x[..., 1], x[..., 0] ** 2, np.cos(x[..., 0] + 0.5 * x[..., 1])], -1)

    def off(h):
        once = weights @ values(one_step("numpy", Twist(), sk.ri6, 0.1, x0, h)[0])
        middle = one_step("numpy", Twist(), sk.ri6, 0.1, x0, h / 2)[0]
        twice = np.einsum(
            "a,b,abf->f", weights, weights, values(one_step("numpy", Twist(), sk.ri6, 0.1 + h / 2, middle, h / 2))
        )
        euler = weights @ values(one_step("numpy", Twist(), sk.euler_maruyama, 0.1, x0, h)[0])
        return abs(np.stack([once - twice, once - euler]))

    slopes = np.log2(off(0.02) / off(0.01))
    assert (abs(slopes[0] - 3) < 0.2).all() and (abs(slopes[1] - 2) < 0.2).all(), slopes
