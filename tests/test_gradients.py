"""Gradient policies of the torch backend: the gradient that each one claims, what it keeps, what it refuses."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import sdekit as sk

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from benchmarks.measures import Live  # noqa: E402
from sdekit.gradients import coupled  # noqa: E402

G = sk.gradients


class Neural(nn.Module):
    """Two components, smooth networks with Lipschitz constants of at most 1."""

    event_dims = 1

    def __init__(self, noise="diagonal", calculus="stratonovich", additive=False, size=2):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.noise, self.calculus, self.additive = noise, calculus, additive
        self.commutative = noise == "diagonal"
        self.a = nn.Parameter(0.5 * torch.randn(size, size, generator=generator, dtype=torch.float64))
        self.b = nn.Parameter(0.3 + 0.2 * torch.rand(size, generator=generator, dtype=torch.float64))

    def drift(self, t, x):
        return torch.tanh(x @ self.a + 0.3 * t)

    def diffusion(self, t, x):
        if self.additive:
            return self.b * (1 + 0.5 * t) + 0 * x
        rows = self.b * torch.sin(1 + x) if self.noise == "diagonal" else self.b * torch.sin(1 + x + x.flip(-1))
        return rows if self.noise == "diagonal" else torch.stack([rows, 0.5 * rows.flip(-1), 0.2 * x], -1)


class Stratonovich(sk.GBM):
    calculus = "stratonovich"


def start(*shape):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def gradients(process, x0, method, gradient, ts=(0.0, 0.35, 1.0), more=(), **how):
    """(x, gradients of a loss of all saved states by x0, the parameters and `more`)."""
    by = [x0, *(process.parameters() if isinstance(process, nn.Module) else ()), *more]
    how = {"seed": 1, **({} if "tol" in how else {"h": 0.05}), **how}
    sol = sk.solve(process, x0, list(ts), method, backend=sk.backends.torch(gradient=gradient), **how)
    weight = 1 + torch.arange(sol.x.numel(), dtype=sol.x.dtype).reshape(sol.x.shape) % 7
    found = torch.autograd.grad((weight * sol.x**2).nansum(), by, allow_unused=True)
    return sol.x.detach(), [torch.zeros_like(b) if g is None else g for b, g in zip(by, found, strict=True)]


def apart(found, wanted):
    """The largest difference, relative to the largest entry of each."""
    scales = [float(w.abs().max()) or 1.0 for w in wanted]
    return max(float((f - w).abs().max()) / s for f, w, s in zip(found, wanted, scales, strict=True))


def map_of(method, gradient):
    """The method whose backpropagation a policy's gradient is."""
    pairs = isinstance(gradient, G.reversible) and method is not sk.reversible_heun
    return coupled.paired(method, gradient.coupling) if pairs else method


# --- the same gradient as backpropagation --------------------------------------------------------


@pytest.mark.parametrize("gradient", [G.checkpointed(1), G.checkpointed(7), G.checkpointed(100)], ids=repr)
@pytest.mark.parametrize(
    ("process", "method"),
    [
        (Neural(), sk.heun),
        (Neural(noise="general"), sk.heun),
        (Neural(calculus="ito"), sk.milstein),
        (Neural(additive=True), sk.sra1),
        (Neural(noise="none"), sk.tsit5),
        (Neural(), sk.reversible_heun),
    ],
    ids=lambda p: getattr(p, "name", getattr(p, "noise", "")),
)
def test_checkpointed_is_backpropagation(process, method, gradient):
    x, wanted = gradients(process, start(5, 2), method, None)
    got, found = gradients(process, start(5, 2), method, gradient)
    assert torch.equal(x, got) and apart(found, wanted) < 1e-13


REVERSED = [
    (Neural(), sk.heun),
    (Neural(noise="general"), sk.stratonovich_midpoint),
    (Neural(), sk.milstein_strat),
    (Neural(additive=True), sk.euler_maruyama),
    (Neural(additive=True), sk.sra1),
    (Neural(noise="none"), sk.dopri5),
    (Neural(), sk.reversible_heun),
    (Neural(noise="general"), sk.reversible_heun),
    (Neural(noise="none"), sk.reversible_heun),
]


@pytest.mark.parametrize("gradient", [G.reversible(), G.reversible(0.9), G.reversible(every=6)], ids=repr)
@pytest.mark.parametrize(("process", "method"), REVERSED, ids=lambda p: getattr(p, "name", getattr(p, "noise", "")))
def test_reversible_is_backpropagation_through_its_map(process, method, gradient):
    x, wanted = gradients(process, start(5, 2), map_of(method, gradient), None)
    got, found = gradients(process, start(5, 2), method, gradient)
    assert torch.equal(x, got) and apart(found, wanted) < 1e-10


POLICIES = [None, G.checkpointed(3), G.reversible()]


@pytest.mark.parametrize("gradient", POLICIES, ids=repr)
@pytest.mark.parametrize("method", [sk.heun, sk.reversible_heun], ids=repr)
def test_gradients_are_central_differences_of_their_own_map(method, gradient):
    """By x0, the parameters and explicit normals, to 1e-6."""
    process, x0, noise = Neural(), start(2, 2), start(20, 2, 2)
    _, found = gradients(process, x0, method, gradient, noise=noise, more=[noise])
    by = [x0, process.a, process.b, noise]

    def loss():
        with torch.no_grad():
            x = sk.solve(process, x0, [0.0, 0.35, 1.0], method, h=0.05, noise=noise, **backend(gradient)).x
        return float(((1 + torch.arange(x.numel()).reshape(x.shape) % 7) * x**2).sum())

    for tensor, slope in zip(by, found, strict=True):
        for at in [(0,) * tensor.ndim, (-1,) * tensor.ndim]:
            moved = []
            for sign in (1, -1):
                with torch.no_grad():
                    tensor[at] += sign * 1e-5
                moved.append(loss())
                with torch.no_grad():
                    tensor[at] -= sign * 1e-5
            assert (moved[0] - moved[1]) / 2e-5 == pytest.approx(float(slope[at]), rel=1e-6, abs=1e-6)


def backend(gradient):
    return {"backend": sk.backends.torch(gradient=gradient)}


@pytest.mark.parametrize("method", [sk.tsit5, sk.bosh3], ids=repr)
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("every", [1, 4, 1000])
def test_adaptive_runs_are_replayed(method, batch, every):
    how = {"tol": sk.Tolerance(1e-6, 1e-6, batch=batch)}
    process = Neural(noise="none")
    x, wanted = gradients(process, start(5, 2), method, None, **how)
    got, found = gradients(process, start(5, 2), method, G.checkpointed(every), **how)
    assert torch.equal(x, got) and apart(found, wanted) < 1e-13


def test_adaptive_runs_across_a_jump():
    process = Neural(noise="none")
    process.jumps = (0.5,)
    process.drift = lambda t, x: torch.tanh(x @ process.a) * sk.math.where(torch.as_tensor(t) < 0.5, 1.0, -2.0)
    x, wanted = gradients(process, start(2), sk.tsit5, None, tol=1e-7)
    got, found = gradients(process, start(2), sk.tsit5, G.checkpointed(2), tol=1e-7)
    assert torch.equal(x, got) and apart(found, wanted) < 1e-13


# --- what is differentiated by -------------------------------------------------------------------


@pytest.mark.parametrize("gradient", [*POLICIES[1:], G.adjoint()], ids=repr)
def test_every_tensor_that_the_process_uses(gradient):
    """A leaf, what is made of it, one for each path, a captured one, one within a container; x0 broadcast."""
    raw = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    held = {"list": [torch.tensor(0.4, dtype=torch.float64, requires_grad=True)]}
    theta = torch.tensor([0.5, 1.0, 0.8], dtype=torch.float64, requires_grad=True)
    x0, by = start(1), [raw, held["list"][0], theta]

    def made():
        sigma = raw.exp()  # raw goes in twice
        return (
            sk.OU(theta=theta, mu=raw, sigma=sigma),
            sk.process(lambda t, x: -raw * x, lambda t, x: held["list"][0] * sigma + 0 * x, additive=True),
        )

    for n in range(2):
        _, wanted = gradients(made()[n], x0, map_of(sk.euler_maruyama, gradient), None, more=by, h=1e-2)
        _, found = gradients(made()[n], x0, sk.euler_maruyama, gradient, more=by, h=1e-2)
        assert apart(found, wanted) < (0.02 if gradient == G.adjoint() else 1e-10)


def test_a_derivative_within_the_drift_is_no_parameter():
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def drift(t, x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return -torch.autograd.grad((scale * torch.cosh(x)).sum(), x, create_graph=True)[0]

    process = sk.process(drift, noise="none")
    x, wanted = gradients(process, start(3), map_of(sk.rk4, G.reversible()), None, more=[scale])
    got, found = gradients(process, start(3), sk.rk4, G.reversible(), more=[scale])
    assert torch.equal(x, got) and apart(found, wanted) < 1e-10


@pytest.mark.parametrize("gradient", [*POLICIES[1:], G.adjoint()], ids=repr)
def test_components_correlation_jumps_and_a_brownian_path(gradient):
    class Pair(nn.Module):
        correlation, jumps, calculus = np.array([[1.0, 0.6], [0.6, 1.0]]), (0.52,), "stratonovich"

        def __init__(self):
            super().__init__()
            self.k = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))

        def drift(self, t, x, y):
            return -self.k * x, torch.sin(x) * (1.0 if t < 0.52 else -1.0)

        def diffusion(self, t, x, y):
            return 0.3 * self.k * x, 0.2 + 0.1 * y

    process, noise = Pair(), sk.BrownianPath(3, 0.0, 1.0)
    for method in (sk.heun, sk.reversible_heun):
        if method is sk.reversible_heun and gradient == G.adjoint():
            continue
        how = {"noise": noise, "seed": None, "h": 2.0**-6}
        _, wanted = gradients(process, start(4, 2), map_of(method, gradient), None, **how)
        _, found = gradients(process, start(4, 2), method, gradient, **how)
        assert apart(found, wanted) < (2e-3 if gradient == G.adjoint() else 1e-10)


# --- the adjoint equation, and the limit ---------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "method", "order", "gradient"),
    [
        (Neural(noise="none"), sk.rk4, 4.0, G.adjoint()),
        (Neural(noise="none"), sk.heun, 2.0, G.adjoint()),
        (Neural(noise="none"), sk.rk4, 4.0, G.reversible()),
        (Neural(), sk.heun, 0.5, G.adjoint()),
        (Neural(), sk.heun, 1.0, G.reversible()),
        (Neural(calculus="ito"), sk.euler_maruyama, 0.5, G.adjoint()),
        (Neural(noise="general", calculus="ito"), sk.euler_maruyama, 0.5, G.adjoint()),
        (Neural(additive=True), sk.sra1, 1.0, G.adjoint()),
        (Neural(additive=True), sk.sra1, 1.0, G.reversible()),
    ],
    ids=lambda p: repr(p) if not isinstance(p, nn.Module) else p.noise,
)
def test_they_approach_backpropagation_at_their_order(process, method, order, gradient):
    """The slope from h = 1/16 on, less 0.2, of the root mean square over four Brownian paths of 64 lanes each.

    Of one alone it would be chance: errors along it are about normal.
    """
    noisy, errors = process.noise != "none", []
    last = 256 if noisy else 64
    for n in (16, last):
        squares = []
        for seed in range(2, 6 if noisy else 3):
            how = {"h": 1 / n} | ({"noise": sk.BrownianPath(seed, 0.0, 1.0), "seed": None} if noisy else {})
            wanted, found = (
                torch.cat([g.flatten() for g in gradients(process, start(64, 2), method, policy, (0.0, 1.0), **how)[1]])
                for policy in (None, gradient)
            )
            squares.append(float((found - wanted).norm() / wanted.norm()) ** 2)
        errors.append(math.sqrt(np.mean(squares)))
    assert math.log(errors[0] / errors[1], last / 16) > order - 0.2, errors


# --- what is kept --------------------------------------------------------------------------------


def peak(method, gradient, steps):
    process, x0 = Neural(size=32), start(64, 32)
    with Live() as live:
        end = sk.solve(process, x0, [0.0, 1.0], method, h=1 / steps, seed=0, **backend(gradient)).final
        end.sum().backward()
    return live.peak


@pytest.mark.slow
@pytest.mark.parametrize("method", [sk.heun, sk.reversible_heun], ids=repr)
def test_memory_does_not_grow_with_the_steps(method):
    few, many = peak(method, G.reversible(), 100), peak(method, G.reversible(), 1000)
    assert abs(many / few - 1) < 0.05
    assert peak(method, None, 100) > 20 * few


@pytest.mark.slow
def test_memory_of_replayed_and_of_checkpointed_runs():
    def flow(gradient, **how):
        with Live() as live:
            sol = sk.solve(
                Neural(noise="none", size=32), start(64, 32), [0.0, 8.0], sk.dopri5, **how, **backend(gradient)
            )
            sol.final.sum().backward()
        return live.peak, sol.final.detach()

    for how in ({"tol": sk.Tolerance(1e-9, 1e-9, batch=True)}, {"h": 0.05}):
        (most, x), (least, y) = flow(None, **how), flow(G.checkpointed(4), **how)
        assert least < most / 5 and torch.equal(x, y)


def test_a_run_goes_on():
    """Cut at a point of its grid it is the uncut run, to the bit, and so is its gradient to rounding."""
    for method in (sk.heun, sk.reversible_heun):
        for gradient in (G.checkpointed(3), G.reversible()):
            x0, process = start(3, 2), Neural()
            how = {"method": method, "h": 0.125, **backend(gradient)}
            whole = sk.solve(process, x0, [0.0, 0.5, 1.0], seed=1, **how)
            half = sk.solve(process, x0, [0.0, 0.5], seed=1, **how)
            rest = sk.solve(process, half, [0.5, 1.0], **how)
            assert torch.equal(whole.final, rest.final)
            wanted = torch.autograd.grad(whole.final.sum(), [x0, process.a])
            assert apart(torch.autograd.grad(rest.final.sum(), [x0, process.a]), wanted) < 1e-12


# --- what goes wrong -----------------------------------------------------------------------------


def test_contraction_is_found_out():
    ou = sk.OU(theta=5.0, mu=0.0, sigma=0.3)
    how = {"ts": [0.0, 10.0], "h": 0.01}
    with pytest.raises(ValueError, match=r"checkpointed\(every\)") as caught:
        gradients(ou, start(4), sk.euler_maruyama, G.reversible(), **how)
    assert "every=" in str(caught.value)
    _, found = gradients(ou, start(4), sk.euler_maruyama, G.reversible(every=20), **how)
    _, wanted = gradients(ou, start(4), map_of(sk.euler_maruyama, G.reversible()), None, **how)
    assert apart(found, wanted) < 1e-5


@pytest.mark.parametrize("gradient", [*POLICIES, G.adjoint()], ids=repr)
def test_a_failed_path_leaves_the_others_alone(gradient):
    """Two paths that explode."""
    k = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    process = sk.process(lambda t, x: k * x**3, lambda t, x: 0.1 + 0 * x, additive=True)
    clean = torch.tensor([0.1, -0.2, 0.3, 0.3], dtype=torch.float64)
    spoilt = torch.tensor([0.1, -0.2, 30.0, 20.0], dtype=torch.float64)
    found = []
    for x0 in (clean, spoilt):
        x0.requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            sol = sk.solve(process, x0, [0.0, 0.5, 1.0], sk.heun, h=0.05, seed=1, **backend(gradient))
        assert sol.failed.tolist() == [False, False, *2 * [x0 is spoilt]]
        found.append(torch.autograd.grad(sol.x[1:, :2].sum(), [x0, k]))
    torch.testing.assert_close(found[0][0][:2], found[1][0][:2], rtol=1e-12, atol=0)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-12, atol=0)


def test_second_derivatives():
    """Checkpointed steps have them; the others say that they do not."""
    x0, process = start(2), Neural(noise="none")

    def hessian(gradient):
        def end(x):
            return (sk.solve(process, x, [0.0, 1.0], sk.rk4, h=0.1, **backend(gradient)).final ** 2).sum()

        return torch.autograd.functional.hessian(end, x0)

    assert apart([hessian(G.checkpointed(3))], [hessian(None)]) < 1e-12
    for gradient in (G.reversible(), G.adjoint()):
        with pytest.raises(ValueError, match="second derivatives"):
            hessian(gradient)
    with pytest.raises(ValueError, match="second derivatives"):
        end = sk.solve(process, x0, [0.0, 1.0], sk.rk4, h=0.1, **backend(G.reversible())).final.sum()
        torch.autograd.grad(end, x0, create_graph=True)


@pytest.mark.parametrize("gradient", [*POLICIES[1:], G.adjoint()], ids=repr)
@pytest.mark.parametrize("name", ["grad", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "vmap"])
def test_transforms_of_functions_refuse_policies_by_name(gradient, name):
    """Without a policy they go through."""
    x, process = torch.tensor([0.5, 1.0], dtype=torch.float64), Stratonovich(0.1, 0.3)

    def applied(**how):
        def end(x):
            return sk.solve(process, x, [0, 1], sk.heun, h=0.25, seed=0, **how).final.sum()

        transform = getattr(torch.func, name)
        return (
            transform(end, (x,), (x,)) if name == "jvp" else transform(end, x) if name == "vjp" else transform(end)(x)
        )

    applied()
    with pytest.raises(ValueError, match=r"torch\.func"):
        applied(**backend(gradient))


class End(nn.Module):
    """x0 to the end of a solve."""

    def __init__(self, process, method):
        super().__init__()
        self.process, self.method = process, method

    def forward(self, x):
        return sk.solve(self.process, x, [0.0, 1.0], self.method, h=0.25, seed=4).final


TRANSFORMED = [
    (Neural(), sk.heun),
    (Neural(noise="general"), sk.heun),
    (Neural(calculus="ito"), sk.milstein),
    (Neural(additive=True), sk.sra1),
    (Neural(noise="none"), sk.dopri5),
    (Neural(), sk.reversible_heun),
]


@pytest.mark.parametrize("by", ["x0", "parameters"])
@pytest.mark.parametrize(("process", "method"), TRANSFORMED, ids=lambda p: getattr(p, "name", getattr(p, "noise", "")))
def test_transforms_of_functions_equal_loops(process, method, by):
    """All transforms, to rounding: derivatives entry by entry with `torch.autograd`, and one call after the other."""
    func, module = torch.func, End(process, method)
    at = (start(2) if by == "x0" else process.a).detach()

    def end(v):
        return module(v) if by == "x0" else func.functional_call(module, {"process.a": v}, (0.3 * at.new_ones(2),))

    def square(v):
        return (end(v) ** 2).sum()

    def slopes(values, v, **how):
        return [torch.autograd.grad(value, v, retain_graph=True, **how)[0] for value in values]

    v = at.clone().requires_grad_()
    jacobian = torch.stack(slopes(end(v), v))
    (slope,) = slopes([square(v)], v, create_graph=True)
    hessian = torch.stack(slopes(slope.flatten(), v)).reshape(*at.shape, *at.shape)
    many = torch.stack([at, 0.5 * at, at + 0.1])
    tangent, cotangent = torch.linspace(1.0, 2.0, at.numel()).to(at).reshape(at.shape), at.new_tensor([0.7, -0.4])
    for found, wanted in (
        (func.jacrev(end)(at), jacobian),
        (func.jacfwd(end)(at), jacobian),
        (func.jvp(end, (at,), (tangent,))[1], (jacobian * tangent).flatten(1).sum(1)),
        (func.vjp(end, at)[1](cotangent)[0], torch.einsum("i,i...", cotangent, jacobian)),
        (func.grad(square)(at), slope.detach()),
        (func.hessian(square)(at), hessian),
        (func.vmap(end)(many), torch.stack([end(w) for w in many])),
        (func.vmap(func.grad(square))(many), torch.stack([func.grad(square)(w) for w in many])),
        (func.vmap(func.jacrev(end))(many), torch.stack([func.jacrev(end)(w) for w in many])),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_steps_of_adaptive_size_within_vmap_raise_by_name():
    process = Neural(noise="none")
    with pytest.raises(ValueError, match="vmap"):
        torch.func.vmap(lambda x: sk.solve(process, x, [0.0, 1.0], tol=1e-6).final)(start(3, 2).detach())


# --- which go together ---------------------------------------------------------------------------

METHODS = [sk.euler_maruyama, sk.milstein, sk.sra1, sk.heun, sk.reversible_heun, sk.rk4]


def number(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


KINDS = {
    "OU": lambda calculus: sk.OU(theta=number(0.8), mu=number(0.1), sigma=number(0.3)),
    "GBM": lambda calculus: (sk.GBM if calculus == "ito" else Stratonovich)(mu=number(0.1), sigma=number(0.3)),
    "neural diagonal": lambda calculus: Neural(calculus=calculus),
    "neural additive": lambda calculus: Neural(additive=True, calculus=calculus),
    "neural general": lambda calculus: Neural(noise="general", calculus=calculus),
    "neural ODE": lambda calculus: Neural(noise="none"),
}
REASONS = {"n": "serves processes whose noise", "i": "is an Itô method", "m": "does not step the adjoint equation"}
LETTERS = {"b": None, "c": G.checkpointed(4), "r": G.reversible(), "a": G.adjoint()}


def difference(process, method, gradient, tensors):
    """(central difference of the loss along a direction of all tensors at once, the direction)."""
    generator = torch.Generator().manual_seed(8)
    way = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in tensors]
    losses = []
    with torch.no_grad():
        for size in (1e-5, -2e-5):
            for v, d in zip(tensors, way, strict=True):
                v += size * d
            losses.append(float(loss(process, tensors[0], method, gradient)))
        for v, d in zip(tensors, way, strict=True):
            v += 1e-5 * d
    return (losses[0] - losses[1]) / 2e-5, way


def loss(process, x0, method, gradient):
    return (sk.solve(process, x0, [0.0, 1.0], method, h=0.0625, seed=1, **backend(gradient)).final ** 2).sum()


def cell(method, kind):
    """What the policies are for a method on a kind of process: their letters, or those of why not."""
    process, x0, letters, exact = KINDS[kind](method.calculus), start(3, 2), [], None
    own = process.parameters() if isinstance(process, nn.Module) else vars(process).values()
    tensors = [x0, *own]
    for letter, gradient in LETTERS.items():
        try:
            value = loss(process, x0, method, gradient)
        except ValueError as error:
            letters += [short for short, text in REASONS.items() if text in str(error)] or [str(error)]
            continue
        found = torch.autograd.grad(value, tensors, allow_unused=True)
        found = [torch.zeros_like(v) if g is None else g for g, v in zip(found, tensors, strict=True)]
        exact = found if letter == "b" else exact
        if letter == "a":  # not of the steps, but near
            right = apart(found, exact) < 0.3
        else:
            wanted, way = difference(process, method, gradient, tensors)
            right = sum(float((g * d).sum()) for g, d in zip(found, way, strict=True)) == pytest.approx(wanted, 1e-6)
        letters.append(letter.upper() if right else "wrong")
    return "–" if letters == ["n"] * len(LETTERS) else " ".join(letters)


def table():
    lines = ["| method | " + " | ".join(KINDS) + " |", "| --- |" + " --- |" * len(KINDS)]
    return lines + [f"| `{m}` | " + " | ".join(cell(m, kind) for kind in KINDS) + " |" for m in METHODS]


def test_the_table_of_the_page_is_what_happens():
    page = (Path(__file__).parents[1] / "docs" / "gradients.md").read_text(encoding="utf-8")
    for line in table():
        assert line in page, line


class Exported(nn.Module):
    """A sampler with its network."""

    def __init__(self, method):
        super().__init__()
        self.net, self.method = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)), method

    def forward(self, x):
        vp = sk.VP()
        reverse = sk.Reverse(
            vp, sk.scores.from_noise(lambda t, x: self.net(x), vp), eta=float(self.method is sk.ancestral)
        )
        return sk.solve(reverse, x, grid=sk.grids.log_snr(vp, 4), method=self.method, seed=3).final


@pytest.mark.parametrize("method", [sk.ddim, sk.ancestral], ids=repr)
def test_a_sampler_is_exported_as_one_graph(method):
    """With the normals of the seed, and for other starts than the one that was traced."""
    torch.manual_seed(0)
    sampler, x = Exported(method), torch.randn(3, 2)
    graph = torch.export.export(sampler, (x,), strict=False).module()
    for start_ in (x, 2 * x + 1):
        torch.testing.assert_close(graph(start_), sampler(start_), rtol=1e-6, atol=1e-6)
    assert not torch.equal(graph(x), graph(2 * x + 1))
