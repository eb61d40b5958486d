"""What goes into `solve`: types and shapes of states, forms of a process, parameters per path, gradients."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from backends import NAMES, each_backend, solve

import sdekit as sk
from sdekit import math as sm

REFERENCE = {"backend": sk.backends.reference}


# --- types of arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["numba", "reference"])
@pytest.mark.parametrize(
    ("x0", "dtype"),
    [
        (1, np.float64), (1.0, np.float64), (True, np.float64), ([1, 2], np.float64), (np.arange(3), np.float64),
        (np.float32(1), np.float32), (np.ones(3, np.float32), np.float32), (np.ones(3, np.float16), np.float16),
        (np.ones(3, np.uint8), np.float64), (np.ones(3, ">f8"), np.float64), (np.ones(3, np.longdouble), np.float64),
    ],
)  # fmt: skip
def test_numpy_types(name, x0, dtype):
    sol = solve(name, sk.OU(), x0, [0, 1], h=0.5, seed=1)
    assert type(sol.x) is np.ndarray and sol.x.dtype == dtype and sol.x.shape == (2, *np.shape(x0))
    assert sol.t.dtype == np.float64 and sol.failed.dtype == bool and sol.failed.shape == np.shape(x0)
    wide = solve(name, sk.OU(), np.asarray(x0, np.float64), [0, 1], h=0.5, seed=1)
    np.testing.assert_allclose(sol.x.astype(float), wide.x, atol=2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
def test_tensor_types(name, device):
    torch = pytest.importorskip("torch")
    x0 = torch.ones(3, dtype=getattr(torch, name), device=device)
    sol = sk.solve(sk.OU(), x0, [0, 1], h=0.5, seed=1)
    assert sol.x.dtype == (x0.dtype if x0.is_floating_point() else torch.float32) and sol.x.device == x0.device
    assert sol.t.dtype == torch.float64 and sol.failed.dtype == torch.bool and sol.failed.device == x0.device
    wide = sk.solve(sk.OU(), np.ones(3), [0, 1], h=0.5, seed=1, **REFERENCE)
    atol = {"bfloat16": 2e-2, "float16": 2e-3}.get(name, 1e-5)
    np.testing.assert_allclose(sol.x.double().cpu(), wide.x, atol=atol)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_stepped_in_single(name):
    """Only the looks are rounded: a thousand small steps are not lost one by one."""
    torch = pytest.importorskip("torch")
    clock = sk.process(lambda t, x: 1.0 + 0 * x, noise="none")
    sol = sk.solve(clock, torch.ones(2, dtype=getattr(torch, name)), [0, 0.5], sk.euler, h=5e-4)
    assert sol.x[-1].tolist() == [1.5, 1.5]
    if name == "float16":
        assert sk.solve(clock, np.ones(2, np.float16), [0, 0.5], sk.euler, h=5e-4, **REFERENCE).x[-1].tolist() == [1.5] * 2


@each_backend
@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 3, 4)])
def test_shapes(name, shape):
    sol = solve(name, sk.OU(), np.ones(shape), [0, 0.5, 1], seed=1)
    assert sol.x.shape == (3, *shape) and sol.failed.shape == shape
    flat = solve(name, sk.OU(), np.ones(math.prod(shape)), [0, 0.5, 1], seed=1)
    np.testing.assert_array_equal(sol.x.reshape(3, -1), flat.x)


@each_backend
def test_states_of_any_memory_layout(name):
    """Transposed, strided, reversed and read-only arrays give what their copy gives, and are left alone."""
    base = np.random.default_rng(0).normal(size=(6, 4, 3))
    frozen = base.copy()
    frozen.flags.writeable = False
    layouts = [base.T, base[::2], np.asfortranarray(base)]
    layouts += [] if name == "torch" else [base[:, ::-1], frozen, np.broadcast_to(base[:1], base.shape)]
    for x0 in layouts:
        before = x0.copy()
        sol = solve(name, sk.OU(), x0, [0, 1], seed=1)
        np.testing.assert_array_equal(sol.x, solve(name, sk.OU(), before, [0, 1], seed=1).x)
        np.testing.assert_array_equal(x0, before)
    coupled = np.random.default_rng(0).normal(size=(3, 5)).T
    sol = solve(name, sk.Lorenz(), coupled, [0, 0.01])
    np.testing.assert_array_equal(sol.x, solve(name, sk.Lorenz(), coupled.copy(), [0, 0.01]).x)
    z = np.random.default_rng(1).normal(size=(5, 2)).T
    sol = solve(name, sk.OU(), np.ones(5), [0, 1], h=0.5, noise=z)
    np.testing.assert_array_equal(sol.x, solve(name, sk.OU(), np.ones(5), [0, 1], h=0.5, noise=z.copy()).x)


@each_backend
def test_the_start_is_not_the_result(name):
    x0 = np.ones(4)
    sol = solve(name, sk.OU(), x0, [0, 1])
    sol.x[:] = 7.0
    assert (x0 == 1).all()


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
    sol = solve(name, diagonal, x0, [0, 0.25], noise=z)
    np.testing.assert_allclose(sol.x[-1], x0 + 0.25 * turn + 0.5 * z[0] * [0.5, 2.0], rtol=1e-13)
    general = sk.process(rotate, lambda t, x, y: ((1.0, y), (0.0, x)), noise="general")
    sol = solve(name, general, x0, [0, 0.25], noise=z)
    push = np.stack([z[0, :, 0] + x0[:, 1] * z[0, :, 1], x0[:, 0] * z[0, :, 1]], -1)
    np.testing.assert_allclose(sol.x[-1], x0 + 0.25 * turn + 0.5 * push, rtol=1e-13)
    free = sk.process(rotate, noise="none")
    np.testing.assert_allclose(solve(name, free, x0, [0, 0.25], sk.euler).x[-1], x0 + 0.25 * turn, rtol=1e-13)


@each_backend
def test_any_number_of_components(name):
    """`*x` takes the length of the last axis."""

    class Ring(NamedTuple):
        def drift(self, t, *x):
            return x[1:] + x[:1]

        def diffusion(self, t, *x):
            return x

    x0 = np.random.default_rng(0).normal(size=(5, 4))
    sol = solve(name, Ring(), x0, [0, 0.25], noise=np.zeros((1, 5, 4)))
    np.testing.assert_allclose(sol.x[-1], x0 + 0.25 * np.roll(x0, -1, axis=1), rtol=1e-13)
    assert sol.failed.shape == (5,)
    with pytest.raises(ValueError, match="has several components"):
        solve(name, Ring(), 1.0, [0, 1])


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

    sols = [solve(name, Plain(), np.ones(4), [0, 1], h=0.5, seed=1) for name in ("reference", "torch")]
    np.testing.assert_allclose(sols[0].x, sols[1].x, atol=1e-12)
    net = Network()
    sol = sk.solve(net, torch.ones(4, 3), [0, 1], h=0.5)
    assert sol.x.shape == (2, 4, 3) and sol.failed.shape == (4,) and sol.nfe == 2
    sol.x[-1].sum().backward()
    assert net.linear.weight.grad.abs().sum() > 0
    wrapped = sk.process(lambda t, x: net.linear(x), lambda t, x: 0.5, additive=True, event_dims=1)
    torch.testing.assert_close(sk.solve(wrapped, torch.ones(4, 3), [0, 1], h=0.5).x, sol.x)
    with pytest.raises(ValueError, match=r"numba backend needs .*; pass x0 as a torch tensor, or backend=sdekit"):
        sk.solve(Plain(), np.ones(4), [0, 1])


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
            want = solve(name, one, np.ones((), dtype), [0, 1], h=0.25, noise=z[:, i, j])
            np.testing.assert_allclose(sol.x[:, i, j], want.x, rtol=1e-6 if dtype == np.float32 else 1e-14)


@each_backend
def test_parameters_of_coupled_and_nested_processes(name):
    sol = solve(name, sk.Lorenz(rho=np.array([20.0, 28.0])), np.ones((2, 3)), [0, 0.1], h=0.01, seed=2)
    for i, rho in enumerate((20.0, 28.0)):
        want = solve(name, sk.Lorenz(rho=rho), np.ones((2, 3)), [0, 0.1], h=0.01, seed=2)
        np.testing.assert_allclose(sol.x[:, i], want.x[:, i], rtol=1e-12)
    nested = Shifted(sk.OU(theta=THETA), gust)
    sol = solve(name, nested, np.ones((3,)), [0, 1], h=0.25, seed=2)
    for i in range(3):
        want = solve(name, Shifted(sk.OU(theta=float(THETA[i])), gust), np.ones(3), [0, 1], h=0.25, seed=2)
        np.testing.assert_allclose(sol.x[:, i], want.x[:, i], rtol=1e-13)
    sol = solve(name, sk.OU(mu=np.arange(4.0)), 1.0, [0, 1], paths=4, noise=np.zeros((1, 4)))
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
    assert solve(name, process, np.ones(3, np.float32), [0, 1], method).x.dtype == np.float32
    assert {s.removeprefix("torch.") for s in seen} <= {"float32"}


def test_parameters_of_the_other_array_type():
    torch = pytest.importorskip("torch")
    want = sk.solve(sk.OU(theta=THETA), np.ones(3), [0, 1], h=0.5, **REFERENCE).x
    for name in NAMES:
        for theta in (THETA, torch.as_tensor(THETA), THETA.astype(np.float32), torch.as_tensor(THETA).float()):
            np.testing.assert_allclose(solve(name, sk.OU(theta=theta), np.ones(3), [0, 1], h=0.5).x, want, rtol=1e-13)


# --- gradients -----------------------------------------------------------------------------------


def test_gradients_along_the_path():
    """Euler's GBM is x0 Π (1 + mu h + sigma dW): its derivatives by hand, path by path."""
    torch = pytest.importorskip("torch")
    z = torch.as_tensor(np.random.default_rng(0).normal(size=(8, 5)))
    x0 = torch.linspace(1, 2, 5, dtype=torch.float64, requires_grad=True)
    mu, sigma = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, 0.4))
    sol = sk.solve(sk.GBM(mu=mu, sigma=sigma), x0, [0, 0.5, 1], h=0.125, noise=z)
    sol.x[-1].sum().backward()
    dw = math.sqrt(0.125) * z
    factors = (1 + 0.3 * 0.125 + 0.4 * dw).detach()
    end = x0.detach() * factors.prod(0)
    torch.testing.assert_close(sol.x[-1].detach(), end)
    torch.testing.assert_close(x0.grad, factors.prod(0))
    torch.testing.assert_close(mu.grad, (end * (0.125 / factors).sum(0)).sum())
    torch.testing.assert_close(sigma.grad, (end * (dw / factors).sum(0)).sum())


@pytest.mark.parametrize("method", [sk.heun, sk.milstein, sk.sri1w1, sk.exact])
def test_gradients_agree_with_differences(method):
    torch = pytest.importorskip("torch")
    process = sk.process(lambda t, x: torch.sin(x) * theta, lambda t, x: 0.5, additive=True)
    build = (lambda v: sk.OU(theta=v)) if method is sk.exact else (lambda v: process)
    x0 = torch.tensor([0.3, 1.2], dtype=torch.float64)

    def end(value):
        nonlocal theta
        theta = value
        return sk.solve(build(value), x0, [0, 1], method, h=0.25, seed=4).x[-1].sum()

    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(end(theta), theta)
    with torch.no_grad():
        above, below = (end(torch.tensor(v, dtype=torch.float64)) for v in (0.7 + 1e-5, 0.7 - 1e-5))
    assert slope.item() == pytest.approx((above - below).item() / 2e-5, rel=1e-8)


def test_gradients_of_parameters_per_path():
    torch = pytest.importorskip("torch")
    theta = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    sol = sk.solve(sk.OU(theta=theta), torch.ones(3), [0, 0.5], noise=np.zeros((1, 3)))
    sol.x[-1].sum().backward()
    torch.testing.assert_close(theta.grad, torch.full((3,), -0.5))
