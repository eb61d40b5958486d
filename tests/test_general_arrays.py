"""General noise on states of several entries in one argument: diffusion (*path axes, *event, m), dw (*path, m)."""

import numpy as np
import pytest
from backends import solve

import sdekit as sk

torch = pytest.importorskip("torch")
BOTH = pytest.mark.parametrize("name", ["numpy", "torch"])
A = np.array([[1.0, 0.5, 0.0], [0.2, -1.0, 2.0]])


def constant(like, values):
    return torch.as_tensor(values, dtype=like.dtype) if isinstance(like, torch.Tensor) else values.astype(like.dtype)


class Whole:
    """dx_i = −x_i dt + Σ_j x_i A_ij dW_j, in one argument."""

    noise = "general"
    event_dims = 1

    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return x[..., None] * constant(x, A)


class Parts:
    """The same by components."""

    noise = "general"

    def drift(self, t, x, y):
        return -x, -y

    def diffusion(self, t, x, y):
        return tuple(a * x for a in A[0].tolist()), tuple(a * y for a in A[1].tolist())


class Square:
    """A 2 × 2 state with m noises, each of which moves all entries."""

    noise = "general"
    event_dims = 2
    additive = True

    def __init__(self, g):
        self.g = g

    def drift(self, t, x):
        return 0 * x

    def diffusion(self, t, x):
        return constant(x, self.g)


@BOTH
@pytest.mark.parametrize("method", [sk.euler_maruyama, sk.heun], ids=repr)
@pytest.mark.parametrize("path", [(), (4,), (2, 3)], ids=str)
def test_it_is_the_process_by_components(name, method, path):
    whole, parts = Whole(), Parts()
    whole.calculus = parts.calculus = method.calculus
    x0 = np.random.default_rng(0).uniform(0.5, 1.5, (*path, 2))
    how = {"ts": [0, 0.3, 1], "method": method, "h": 0.1}
    a, b = solve(name, whole, x0, seed=3, **how), solve(name, parts, x0, seed=3, **how)
    assert a.x.shape == (3, *path, 2) and a.failed.shape == path
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    z = np.random.default_rng(1).standard_normal((10, *path, 3))
    a, b = solve(name, whole, x0, noise=z, **how), solve(name, parts, x0, noise=z, **how)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    assert solve(name, whole, x0.astype(np.float32), seed=3, **how).x.dtype == np.float32


@BOTH
def test_one_noise_for_all_entries(name):
    class Scalar(Whole):
        def diffusion(self, t, x):
            return x[..., None]

    z = np.random.default_rng(0).standard_normal((4, 5, 1))
    x = solve(name, Scalar(), np.ones((5, 3)), [0, 1], h=0.25, noise=z).x[-1]
    true = np.prod(1 - 0.25 + 0.5 * z[..., 0], axis=0)
    np.testing.assert_allclose(x, np.repeat(true[:, None], 3, 1), rtol=1e-12)


@BOTH
@pytest.mark.parametrize("path", [(), (5,), (2, 3)], ids=str)
def test_a_constant_matrix_of_a_state_with_two_axes(name, path):
    """g of shape (2, 2, m) without path axes serves all paths."""
    g = np.random.default_rng(2).standard_normal((2, 2, 3))
    z = np.random.default_rng(3).standard_normal((2, *path, 3))
    x = solve(name, Square(g), np.zeros((*path, 2, 2)), [0, 0.5], h=0.25, noise=z).x[-1]
    np.testing.assert_allclose(x, 0.5 * np.einsum("abm,...m->...ab", g, z.sum(0)), atol=1e-12)


@BOTH
def test_wrong_shapes(name):
    for g in (np.ones((2, 2)), np.ones(3), np.ones((3, 2, 2)), np.float64(1.0)):
        with pytest.raises(ValueError, match=r"Square declares noise = 'general' on states of shape \(2, 2\)"):
            solve(name, Square(g), np.zeros((5, 2, 2)), [0, 1], h=1)
    for shape in ((1, 5, 2), (1, 5, 2, 3), (5, 3), (2, 5, 3)):
        with pytest.raises(ValueError, match=r"noise has shape .*, but 1 steps of euler_maruyama take \(1, 5, 3\)"):
            solve(name, Whole(), np.ones((5, 2)), [0, 1], h=1, noise=np.zeros(shape))
    with pytest.raises(ValueError, match=r"milstein serves .* but that of Whole is general"):
        solve(name, Whole(), np.ones((5, 2)), [0, 1], sk.milstein, h=1)


def test_numba_names_the_backends_that_run_it():
    with pytest.raises(ValueError, match="numba"):
        sk.solve(Whole(), np.ones((5, 2)), [0, 1], h=1, backend=sk.backends.numba())
    assert sk.solve(Whole(), np.ones((5, 2)), [0, 1], h=1).how["backend"] == repr(sk.backends.numpy())


def test_gradients():
    """Of the start and of a parameter, against central differences; and of a solve within `torch.func`."""

    class Scaled(Whole):
        def __init__(self, s):
            self.s = s

        def diffusion(self, t, x):
            return self.s * super().diffusion(t, x)

    z = np.random.default_rng(0).standard_normal((4, 3, 3))

    def value(s, x0):
        return sk.solve(Scaled(s), x0, [0, 1], h=0.25, noise=z).final.square().sum()

    s = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    x0 = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (s, x0))
    found = torch.func.grad(lambda x: value(0.4, x))(x0.detach())
    np.testing.assert_allclose(found, torch.autograd.grad(value(0.4, x0), x0)[0], rtol=1e-12)
