"""What goes into `solve` and comes out: types and shapes of states, and gradients."""

import math

import numpy as np
import pytest
from backends import each_backend, solve

import sdekit as sk

REFERENCE = {"backend": sk.backends.numpy()}


# --- types of arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["numba", "numpy"])
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
    sol = sk.solve(clock, torch.ones(2, dtype=getattr(torch, name)), [0, 0.5], sk.euler, h=5e-4, seed=0)
    assert sol.x[-1].tolist() == [1.5, 1.5]
    if name == "float16":
        sol = sk.solve(clock, np.ones(2, np.float16), [0, 0.5], sk.euler, h=5e-4, seed=0, **REFERENCE)
        assert sol.x[-1].tolist() == [1.5, 1.5]


@each_backend
@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 3, 4)])
def test_shapes(name, shape):
    sol = solve(name, sk.OU(), np.ones(shape), [0, 0.5, 1], seed=1, h=0.5)
    assert sol.x.shape == (3, *shape) and sol.failed.shape == shape
    flat = solve(name, sk.OU(), np.ones(math.prod(shape)), [0, 0.5, 1], seed=1, h=0.5)
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
        sol = solve(name, sk.OU(), x0, [0, 1], seed=1, h=1)
        np.testing.assert_array_equal(sol.x, solve(name, sk.OU(), before, [0, 1], seed=1, h=1).x)
        np.testing.assert_array_equal(x0, before)
    coupled = np.random.default_rng(0).normal(size=(3, 5)).T
    sol = solve(name, sk.Lorenz(), coupled, [0, 0.01], h=0.01)
    np.testing.assert_array_equal(sol.x, solve(name, sk.Lorenz(), coupled.copy(), [0, 0.01], h=0.01).x)
    z = np.random.default_rng(1).normal(size=(5, 2)).T
    sol = solve(name, sk.OU(), np.ones(5), [0, 1], h=0.5, noise=z)
    np.testing.assert_array_equal(sol.x, solve(name, sk.OU(), np.ones(5), [0, 1], h=0.5, noise=z.copy()).x)


@each_backend
def test_the_start_is_not_the_result(name):
    x0 = np.ones(4)
    sol = solve(name, sk.OU(), x0, [0, 1], h=1)
    sol.x[:] = 7.0
    assert (x0 == 1).all()


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
    sol = sk.solve(sk.OU(theta=theta), torch.ones(3), [0, 0.5], noise=np.zeros((1, 3)), h=0.5)
    sol.x[-1].sum().backward()
    torch.testing.assert_close(theta.grad, torch.full((3,), -0.5))
