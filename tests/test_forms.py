"""What a process may be: forms of records and objects, several components, parameters per path."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from backends import NAMES, each_backend, solve

import sdekit as sk
from sdekit import math as sm

REFERENCE = {"backend": sk.backends.numpy()}


# --- forms of a process --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Pull:
    """A dataclass with a helper method, a static constant and a default."""

    rate: float = 1.0
    level: Any = 0.5
    TWO: ClassVar[float] = 2.0

    def towards(self, x):
        return self.level - x

    def drift(self, t, x):
        return self.TWO * self.rate * self.towards(x)

    def diffusion(self, t, x):
        return 0.3


class Shifted(NamedTuple):
    """A process that holds another one, and a function."""

    base: Any
    wind: Any

    def drift(self, t, x):
        return self.base.drift(t, x) + self.wind(t)

    def diffusion(self, t, x):
        return self.base.diffusion(t, x)


class Bare(NamedTuple):
    """No fields at all."""

    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return 0.5


class Faster(sk.OU):
    """A subclass that changes the drift and inherits the rest."""

    def drift(self, t, x):
        return 2.0 * self.theta * (self.mu - x)


class Named(NamedTuple):
    """Fields may have any name."""

    f: float = 2.0
    g: float = 0.5

    def drift(self, t, x):
        return -self.f * x

    def diffusion(self, t, x):
        return self.g


def gust(t):
    return sm.sin(3 * t)


def outer(rate):
    def drift(t, x):
        return -rate * x

    return drift


def scaled(t, x, scale=0.25):
    return scale * x


def rotate(t, x, y):
    return y, -x


FORMS = {
    "dataclass": (Pull(), lambda t, x: 2.0 * (0.5 - x), lambda t, x: 0.3),
    "nested": (Shifted(Pull(level=0.0), gust), lambda t, x: -2 * x + math.sin(3 * t), lambda t, x: 0.3),
    "deep": (Shifted(Shifted(sk.OU(), gust), gust), lambda t, x: -x + 2 * math.sin(3 * t), lambda t, x: 1.0),
    "no fields": (Bare(), lambda t, x: -x, lambda t, x: 0.5),
    "subclass": (Faster(), lambda t, x: -2 * x, lambda t, x: 1.0),
    "fields f and g": (Named(), lambda t, x: -2 * x, lambda t, x: 0.5),
    "closure and default": (sk.process(outer(3.0), scaled), lambda t, x: -3 * x, lambda t, x: 0.25 * x),
}


@each_backend
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_process(name, form):
    process, drift, diffusion = FORMS[form]
    z = np.random.default_rng(0).normal(size=(4, 6))
    sol = solve(name, process, np.linspace(1, 2, 6), [0, 1], h=0.25, noise=z)
    x = np.linspace(1, 2, 6)
    for i in range(4):
        x = x + drift(i / 4, x) * 0.25 + diffusion(i / 4, x) * 0.5 * z[i]
    np.testing.assert_allclose(sol.x[-1], x, rtol=1e-13)


@each_backend
def test_plain_functions_of_several_components(name):
    """Diagonal and general noise, and no noise, from lambdas."""
    z = np.random.default_rng(0).normal(size=(1, 6, 2))
    x0 = np.random.default_rng(1).normal(size=(6, 2))
    turn = np.stack([x0[:, 1], -x0[:, 0]], -1)
    diagonal = sk.process(rotate, lambda t, x, y: (0.5, 2.0))
    sol = solve(name, diagonal, x0, [0, 0.25], noise=z, h=0.25)
    np.testing.assert_allclose(sol.x[-1], x0 + 0.25 * turn + 0.5 * z[0] * [0.5, 2.0], rtol=1e-13)
    general = sk.process(rotate, lambda t, x, y: ((1.0, y), (0.0, x)), noise="general")
    sol = solve(name, general, x0, [0, 0.25], noise=z, h=0.25)
    push = np.stack([z[0, :, 0] + x0[:, 1] * z[0, :, 1], x0[:, 0] * z[0, :, 1]], -1)
    np.testing.assert_allclose(sol.x[-1], x0 + 0.25 * turn + 0.5 * push, rtol=1e-13)
    free = sk.process(rotate, noise="none")
    np.testing.assert_allclose(solve(name, free, x0, [0, 0.25], sk.euler, h=0.25).x[-1], x0 + 0.25 * turn, rtol=1e-13)


@each_backend
def test_any_number_of_components(name):
    """`*x` takes the length of the last axis."""

    class Ring(NamedTuple):
        def drift(self, t, *x):
            return x[1:] + x[:1]

        def diffusion(self, t, *x):
            return x

    x0 = np.random.default_rng(0).normal(size=(5, 4))
    sol = solve(name, Ring(), x0, [0, 0.25], noise=np.zeros((1, 5, 4)), h=0.25)
    np.testing.assert_allclose(sol.x[-1], x0 + 0.25 * np.roll(x0, -1, axis=1), rtol=1e-13)
    assert sol.failed.shape == (5,)
    with pytest.raises(ValueError, match="has several components"):
        solve(name, Ring(), 1.0, [0, 1], h=1)


def test_any_object_on_torch_and_reference():
    torch = pytest.importorskip("torch")

    class Plain:
        def __init__(self):
            self.rate = 2.0

        def drift(self, t, x):
            return -self.rate * x

        def diffusion(self, t, x):
            return 0.5 * x

    class Network(torch.nn.Module):
        additive = True
        event_dims = 1

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)

        def drift(self, t, x):
            return self.linear(x)

        def diffusion(self, t, x):
            return 0.5

    sols = [solve(name, Plain(), np.ones(4), [0, 1], h=0.5, seed=1) for name in ("numpy", "torch")]
    np.testing.assert_allclose(sols[0].x, sols[1].x, atol=1e-12)
    net = Network()
    sol = sk.solve(net, torch.ones(4, 3), [0, 1], h=0.5, seed=0)
    assert sol.x.shape == (2, 4, 3) and sol.failed.shape == (4,) and sol.nfe == 2
    sol.x[-1].sum().backward()
    assert net.linear.weight.grad.abs().sum() > 0
    wrapped = sk.process(lambda t, x: net.linear(x), lambda t, x: 0.5, additive=True, event_dims=1)
    torch.testing.assert_close(sk.solve(wrapped, torch.ones(4, 3), [0, 1], h=0.5, seed=0).x, sol.x)
    with pytest.raises(ValueError, match=r"numba backend needs .*; pass x0 as a torch tensor, or backend=sdekit"):
        sk.solve(Plain(), np.ones(4), [0, 1], h=1, seed=0)


# --- parameters ----------------------------------------------------------------------------------

THETA = np.array([0.5, 1.0, 2.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_backend
def test_parameters_over_the_path_axes(name, dtype):
    """Each path reads its own: the sweep is what the paths give one by one."""
    sweep = sk.OU(theta=THETA, sigma=np.array([[0.1], [0.2]]))
    z = np.random.default_rng(0).normal(size=(4, 2, 3))
    sol = solve(name, sweep, np.ones((2, 3), dtype), [0, 1], h=0.25, noise=z)
    assert sol.x.dtype == dtype
    for i in range(2):
        for j in range(3):
            one = sk.OU(theta=float(THETA[j]), sigma=[0.1, 0.2][i])
            want = sk.solve(one, np.ones((), dtype), [0, 1], h=0.25, noise=z[:, i, j], **REFERENCE)
            np.testing.assert_allclose(sol.x[:, i, j], want.x, rtol=1e-6 if dtype == np.float32 else 1e-14)


@each_backend
def test_parameters_of_coupled_and_nested_processes(name):
    """Against the reference's paths of single numbers."""
    sol = solve(name, sk.Lorenz(rho=np.array([20.0, 28.0])), np.ones((2, 3)), [0, 0.1], h=0.01, seed=2)
    for i, rho in enumerate((20.0, 28.0)):
        want = sk.solve(sk.Lorenz(rho=rho), np.ones((2, 3)), [0, 0.1], h=0.01, seed=2, **REFERENCE)
        np.testing.assert_allclose(sol.x[:, i], want.x[:, i], rtol=1e-11)
    sol = solve(name, Shifted(sk.OU(theta=THETA), gust), np.ones((3,)), [0, 1], h=0.25, seed=2)
    for i in range(3):
        one = Shifted(sk.OU(theta=float(THETA[i])), gust)
        want = sk.solve(one, np.ones(3), [0, 1], h=0.25, seed=2, **REFERENCE)
        np.testing.assert_allclose(sol.x[:, i], want.x[:, i], rtol=1e-11)
    sol = solve(name, sk.OU(mu=np.arange(4.0)), 1.0, [0, 1], paths=4, noise=np.zeros((1, 4)), h=1)
    np.testing.assert_allclose(sol.x[-1], np.arange(4.0))


@pytest.mark.parametrize("number", [np.float64(2.0), np.float32(2.0), np.array(2.0), np.int64(2), 2])
@each_backend
def test_numbers_of_any_type_are_weak_parameters(name, number):
    seen = []

    class Spy(NamedTuple):
        theta: Any

        def drift(self, t, x):
            return -self.theta * x

        def diffusion(self, t, x):
            return 0.5

    @sk.method()
    def watching(sde, t, t1, x, h, dw):
        new = x + sde.drift(t, x) * h + sde.noise(t, x, dw)
        seen.append(str(new.dtype))
        return new

    method = sk.euler_maruyama if name == "numba" else watching
    process = sk.OU(theta=number) if name == "numba" else Spy(number)
    assert solve(name, process, np.ones(3, np.float32), [0, 1], method, h=1).x.dtype == np.float32
    assert {s.removeprefix("torch.") for s in seen} <= {"float32"}


def test_parameters_of_the_other_array_type():
    torch = pytest.importorskip("torch")
    want = sk.solve(sk.OU(theta=THETA), np.ones(3), [0, 1], h=0.5, seed=0, **REFERENCE).x
    for name in NAMES:
        for theta in (THETA, torch.as_tensor(THETA), THETA.astype(np.float32), torch.as_tensor(THETA).float()):
            np.testing.assert_allclose(solve(name, sk.OU(theta=theta), np.ones(3), [0, 1], h=0.5).x, want, rtol=1e-13)
