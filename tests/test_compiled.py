"""Compiled steps: equal to eager ones, compiled once, and refused by name where they are not."""

import re
from pathlib import Path

import numpy as np
import pytest
from graphs import COMPILED, STEPS, compare, graphs, methods, start

import sdekit as sk
from sdekit import noise
from tests.backends import Later, needs

needs("torch")
torch = Later("torch")


def test_steps_compile_once(device):
    """Four steps and a single one: other seeds, times, step sizes and parameters take the same two graphs."""
    before = graphs()
    compare(sk.OU(theta=1.0, mu=0.0, sigma=0.3), start(37, device=device))
    assert graphs() - before == 2
    compare(sk.OU(theta=2, mu=0.1, sigma=0.5), start(37, device=device), ts=[1, 2.9, 3.0], h=0.1, seed=3, first_path=5)
    ran = compare(sk.OU(), start(37, device=device), ts=[0, 0.07], h=0.01)
    assert graphs() - before == 2
    on = sk.solve(sk.OU(), ran, ts=[0.07, 0.2], h=0.01, backend=COMPILED)  # begins within a counter
    whole = sk.solve(sk.OU(), start(37, device=device), ts=[0, 0.07, 0.2], h=0.01, seed=STEPS["seed"])
    torch.testing.assert_close(on.final, whole.final, rtol=0, atol=4e-6)
    assert graphs() - before == 2


@pytest.mark.parametrize(
    "other, why",
    [
        ({"h": None, "tol": 1e-3, "process": sk.noiseless(sk.OU())}, "takes fixed steps"),
        ({"events": [sk.Barrier(2.0)]}, "does not run events"),
        ({"method": sk.reversible_heun, "process": sk.DoubleWell()}, "remembers earlier steps"),
        ({"method": sk.exact, "process": sk.CIR()}, "computed on the host"),
        ({"x0": np.ones(3)}, "takes tensors"),
    ],
)
def test_refused_by_name(other, why):
    how = {"process": sk.OU(), "x0": torch.ones(3), "ts": [0, 0.1], "h": 0.1} | other
    how = {k: v for k, v in how.items() if v is not None}
    with pytest.raises(ValueError, match=f"compile=True.*{why}"):
        sk.solve(**how, backend=COMPILED)


def test_gradients_are_refused():
    with pytest.raises(ValueError, match="gives no gradients"):
        sk.solve(sk.OU(), torch.ones(3, requires_grad=True), [0, 0.1], h=0.1, backend=COMPILED)
    with pytest.raises(ValueError, match="gives no gradients"):
        sk.solve(sk.OU(theta=torch.ones(3, requires_grad=True)), torch.ones(3), [0, 0.1], h=0.1, backend=COMPILED)
    with pytest.raises(ValueError, match="compile is True"):
        sk.backends.torch(compile=True, gradient=sk.gradients.adjoint())
    with pytest.raises(ValueError, match="compile must be True or False"):
        sk.backends.torch(compile="yes")


def test_changes_in_place_are_refused():
    def drift(t, x):
        return x.mul_(-1.0)

    with pytest.raises(ValueError, match="changes its argument in place"):
        sk.solve(sk.process(drift, lambda t, x: 0.1), torch.ones(3), [0, 0.1], h=0.1, backend=COMPILED)


def test_a_branch_is_an_error(traced):
    """On a time as on a state: no graph is broken in two."""
    branching = sk.process(lambda t, x: -x if t < 1 else x, lambda t, x: 0.1 + 0 * x)
    with pytest.raises(ValueError, match="does not compile into one graph.*sdekit.math"):
        sk.solve(branching, torch.ones(3), [0, 0.1], h=0.1, backend=COMPILED)


def test_a_missing_compiler_is_named():
    from torch._inductor.exc import InvalidCxxCompiler

    from sdekit.backends import refused

    class Problem:
        system, method = sk.system.bind(sk.OU(), np.ones(1), 0.0), sk.heun

    with pytest.raises(ValueError, match=r"C\+\+ compiler.*apt install g\+\+"), refused.explained(Problem):
        raise InvalidCxxCompiler()


def test_normals_of_a_graph_are_those_of_the_generator(traced, monkeypatch):
    """What a GPU runs, on the CPU."""
    monkeypatch.setattr(traced, "makes", lambda problem: True)
    compare(sk.OU(), start(37, dtype=torch.float64), ts=[0, 0.2], first_path=2**33)


correlated = sk.process(
    lambda t, x, y: (-x, x - y), lambda t, x, y: (0.3 * x, 0.2 * y), correlation=np.array([[1, 0.5], [0.5, 1]])
)


class Network:
    """General noise on states of one axis."""

    noise, calculus, event_dims = "general", "ito", 1

    def __init__(self, dtype):
        self.net = torch.nn.Linear(3, 3, dtype=dtype).requires_grad_(False)
        self.g = torch.linspace(-0.2, 0.2, 6, dtype=dtype).reshape(3, 2)

    def drift(self, t, x):
        return self.net(x).tanh() * sk.math.cos(t)

    def diffusion(self, t, x):
        return self.g * (1 + x[..., None] ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("made", [False, True])
def test_structures_of_noise(traced, monkeypatch, made):
    """One value, components, two normals in a step, correlated and general noise, sweeps, jumps, one number."""
    if made:
        monkeypatch.setattr(traced, "makes", lambda problem: True)
    double = torch.float64
    compare(sk.Lorenz(), start(5, 3, dtype=double))
    compare(sk.DoubleWell(), start(5, dtype=double), sk.sra1)
    compare(correlated, start(5, 2, dtype=double), sk.milstein)
    compare(sk.Heston(), start(5, 2, dtype=double))
    compare(Network(double), start(4, 3, dtype=double))
    compare(sk.OU(theta=np.linspace(1, 2, 5)), torch.tensor(1.0, dtype=double))
    compare(sk.Linear(a=lambda t: -2.0, jumps=[0.1, 0.13]), start(5, dtype=double))
    compare(sk.VP(), start(5, dtype=double))
    compare(sk.OU(), torch.tensor(1.0))
    compare(sk.OU(), start(5))


@pytest.mark.slow
def test_given_noise(traced):
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 5)))
    compare(sk.OU(), start(5, dtype=torch.float64), noise=z)
    compare(sk.OU(), start(5, dtype=torch.float64), noise=sk.BrownianPath(3, 0.0, 0.4), seed=None)
    compare(sk.Heston(), start(5, 2, dtype=torch.float64), sk.milstein_general)  # with areas


@pytest.mark.slow
def test_lost_paths_stay_lost(traced):
    """One path of five explodes, and its neighbours are none the worse."""
    x = torch.tensor([0.1, 0.2, 60.0, 0.3, 0.4])
    with pytest.warns(RuntimeWarning, match="1 of 5 paths became non-finite"):
        ours = compare(sk.process(lambda t, x: x**5, lambda t, x: 0.1 + 0 * x), x)
    assert ours.failed.tolist() == [False, False, True, False, False]


@pytest.mark.slow
def test_a_process_of_functions_compiles_once(traced):
    """What its functions capture is in the graph: functions with another number are right, and compile anew."""
    first = _decay(1.5)
    compare(first, start(5))
    before = graphs()
    compare(first, start(5))
    assert graphs() == before
    compare(_decay(1.7), start(5))


def _decay(rate):
    return sk.process(lambda t, x: -rate * x, lambda t, x: 0.1 * x)


def listed(page, heading):
    """(names, answer) of each row of a table of the documentation."""
    text = (Path(__file__).parents[1] / "docs" / page).read_text(encoding="utf-8")
    rows = text.partition(f"| {heading} | compiled steps |\n| --- | --- |\n")[2].partition("\n\n")[0].splitlines()
    return [(re.findall(r"`(\w+)`", row.split("|")[1]), row.split("|")[2].strip()) for row in rows]


def test_the_documentation_lists_all_methods():
    from sdekit.backends import refused

    system, rows = sk.system.bind(sk.OU(), np.ones(1), 0.0), listed("torch.md", "method")
    assert sorted(n for names, _ in rows for n in names) == sorted(sk.methods.__all__)
    for names, answer in rows:
        for name in names:
            assert (refused.by_method(getattr(sk, name), system) is None) == (not answer.startswith("no")), name


PROCESSES = [(name, answer) for names, answer in listed("torch.md", "process") for name in names]


def test_the_documentation_lists_all_processes():
    names = {name for name, _ in PROCESSES}
    assert names == {*sk.processes.__all__, "process", "noiseless", "Reverse", "Langevin"}


@pytest.mark.slow
@pytest.mark.parametrize("name, answer", [p for p in PROCESSES if p[0] in sk.processes.__all__])
def test_processes_compile(traced, name, answer):
    process = sk.DiscreteVP(np.array([0.99, 0.9, 0.5])) if name == "DiscreteVP" else getattr(sk, name)()
    x = start(3, *np.shape(process.x0), dtype=torch.float64)
    if answer == "yes" or name == "Linear":
        compare(process, x)
    else:
        with pytest.raises(ValueError, match="does not compile into one graph"):
            sk.solve(process, x, **STEPS, backend=COMPILED)


def equation(method):
    """A process that the method serves, and the shape of its states."""
    if method.noise == ("none",):
        return sk.noiseless(sk.Lorenz()), (3, 3)
    if method.calculus == "stratonovich":
        return sk.process(lambda t, x: -x, lambda t, x: 0.3 * x, calculus="stratonovich"), (5,)
    return (sk.DoubleWell() if method is sk.sra1 else sk.GBM()), (5,)


GENERAL = methods(samplers=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, m in GENERAL.items() if m.init is None and not {"score"} & set(m.needs)])
def test_methods_compile(traced, name):
    process, shape = equation(GENERAL[name])
    compare(process, start(*shape, dtype=torch.float64), GENERAL[name])


@pytest.mark.slow
@pytest.mark.parametrize("dtype, slack", [("float32", 5e-6), ("float64", 1e-12)])
def test_normals_of_one_kernel(monkeypatch, dtype, slack):
    """The kernel of devices, made for the CPU: `start`, `sample` and probes ask `noise.normal` for them."""
    like = torch.empty(0, dtype=getattr(torch, dtype))
    calls = [
        lambda: noise.normal((7, 3), 5, noise.Stream.START, like, n=6, first=2**33 - 4),
        lambda: noise.normal((64,), 2**63 + 1, noise.Stream.PROBE, like),
        lambda: noise.uniform((9,), 1, like=like, n=3),
    ]
    expected = [call() for call in calls]
    monkeypatch.setattr(noise, "_fuses", lambda like: True)
    before = graphs()
    for call, value in zip(calls, expected, strict=True):
        torch.testing.assert_close(call(), value, rtol=0, atol=slack)
    assert graphs() - before == 2  # one for normals, one for words; none for a shape


@pytest.mark.slow
@pytest.mark.parametrize("dtype, slack", [("float32", 2e-6), ("float64", 1e-12)])
def test_many_steps_stay_together(device, dtype, slack):
    """1,000 steps of OU, GBM and an additive problem: within rounding of eager ones, in units of the state."""
    for process, method in ((sk.OU(), None), (sk.GBM(), sk.milstein), (sk.DoubleWell(), sk.sra1)):
        how = {"ts": [0, 1], "h": 1e-3, "seed": 1, "method": method}
        x = torch.ones(1000, dtype=getattr(torch, dtype), device=device)
        ours, eager = (sk.solve(process, x, backend=b, **how).final for b in (COMPILED, sk.backends.torch()))
        torch.testing.assert_close(ours, eager, rtol=0, atol=slack * float(eager.abs().max()))
