"""Samplers in graphs: equal to eager steps, compiled once, and refused by name where they are not."""

import numpy as np
import pytest
from graphs import COMPILED, compare, graphs, methods, start

import sdekit as sk
from tests.backends import Later, needs

needs("torch")
torch = Later("torch")

SAMPLERS = methods(samplers=True)


def sampled(process=None, rule="from_noise", dtype=None):
    """A `Reverse` with a network of four weights, which no graph has seen before."""
    process, dtype = process or sk.VP(), dtype or torch.float64
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2, dtype=dtype).requires_grad_(False)
    score = getattr(sk.scores, rule)(lambda t, x: net(x).tanh() * t[:, None], process, 1, module=net)
    return sk.Reverse(process, score)


GRID = np.array([0.9, 0.85, 0.7, 0.55, 0.4, 0.22, 0.1, 0.01])


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_compile(traced, name):
    """Coefficients are numbers of the host: another grid compiles nothing."""
    method = sk.edm_heun(churn=2.0, steps=7) if name == "edm_heun" else SAMPLERS[name]
    process, x = sampled(), start(5, 2, dtype=torch.float64)
    before = graphs()
    half = compare(process, x, method, ts=None, h=None, grid=GRID[:5])
    assert graphs() - before <= 4  # those of the first steps of multistep methods
    before = graphs()
    compare(process, x, method, ts=None, h=None, grid=0.97 * GRID, seed=1)
    how = {"ts": None, "h": None, "grid": GRID[4:], "seed": None}
    compare(process, half, method, **how)  # with the memory of the first half
    assert graphs() == before
    compare(process, x, method, ts=None, h=None, grid=np.append(GRID, 0.0))  # the last step returns D


@pytest.mark.slow
def test_samplers_on_the_host(traced, monkeypatch):
    """Other scores and processes, a table, noise that the graph makes; the eager errors."""
    how = {"ts": None, "h": None, "grid": GRID}
    compare(sampled(dtype=torch.float32), start(5, 2), sk.unipc, **how)
    exact = sk.Gaussian(np.zeros(2), std=0.5).score(sk.VP())
    compare(sk.Reverse(sk.VP(), exact), start(5, 2, dtype=torch.float64), sk.dpmpp_2m, **how)
    table = sampled(sk.DiscreteVP(np.linspace(0.99, 0.1, 20)), "from_v")
    for method in (sk.ancestral, sk.annealed_langevin):
        compare(table, start(5, 2, dtype=torch.float64), method, **how | {"grid": [18.5, 7, 2, 0]})
    compare(sk.Linear(a=lambda t: t - 2.0, b=lambda t: 1.0), start(5, dtype=torch.float64), sk.exact)
    monkeypatch.setattr(traced, "makes", lambda problem: True)
    compare(sampled(), start(5, 2, dtype=torch.float64), sk.ancestral, **how)
    with pytest.raises(ValueError, match=r"alpha\(t\) = 0"):
        sk.solve(sampled(sk.FlowPath()), start(5, 2), grid=[1.0, 0.5], method=sk.ddim, backend=COMPILED)


def test_a_sampler_of_another_kind_is_refused():
    @sk.methods.method(noise=("none", "additive"), normals=0, needs=("pair",))
    def squared(sde, t, t1, x, h):
        return x * x

    with pytest.raises(ValueError, match="squared on Reverse does not compile: .* leave compile out"):
        sk.solve(sampled(), start(5, 2), grid=GRID, method=squared, backend=COMPILED)


def own(step, init=None):
    """A sampler of one's own."""
    return sk.methods.method(noise=("none", "additive"), normals=0, needs=("pair",), init=init)(step)


def solve(method):
    return sk.solve(sampled(), start(5, 2, dtype=torch.float64), grid=GRID, method=method, seed=0, backend=COMPILED)


def adams(pack, unpack):
    """Adams–Bashforth of two steps in x/alpha over sigma/alpha, with its memory packed in one way or another."""

    def adams(sde, t, t1, x, h, memory):
        (a0, s0), (a1, s1) = sde.process.marginal(t), sde.process.marginal(t1)
        eps = sde.process.pair(t, x)[1]
        slope = 1.5 * eps - 0.5 * unpack(memory) if memory else eps
        return sk.methods.Taken(a1 / a0 * x + a1 * (s1 / a1 - s0 / a0) * slope, memory=pack(eps))

    return own(adams, init=lambda sde, t, x: [])


@pytest.mark.parametrize(
    "pack, unpack",
    [
        (lambda v: [v], lambda m: m[0]),
        (lambda v: {"last": (v, 1)}, lambda m: m["last"][0]),
        (lambda v: ([{"last": v}], "one", None), lambda m: m[0][0]["last"]),
    ],
)
def test_memories_of_lists_and_dicts(traced, pack, unpack):
    compare(sampled(), start(5, 2, dtype=torch.float64), adams(pack, unpack), ts=None, h=None, grid=GRID)


def test_memories_of_another_kind_are_refused(traced):
    with pytest.raises(ValueError, match="adams on Reverse does not compile: .*it remembers a set.* leave compile out"):
        solve(adams(lambda v: {v}, lambda m: next(iter(m))))


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "ancestral", "exponential_euler", "unipc"])
def test_schedules_of_tensors(traced, name):
    """Without axes they are numbers; one per path is refused by name, of the process as of that of the score."""
    number, x = torch.tensor(5.0, dtype=torch.float64), start(5, 2, dtype=torch.float64)
    how = {"grid": GRID, "method": SAMPLERS[name], "seed": 0}
    ours = sk.solve(sampled(sk.VP(beta_max=number)), x, **how, backend=COMPILED)
    torch.testing.assert_close(ours.x, sk.solve(sampled(sk.VP(beta_max=5.0)), x, **how).x, rtol=1e-12, atol=1e-12)
    many = sampled(sk.VP(beta_max=number * torch.arange(1.0, 5.0)))
    for process in (many, many._replace(process=sk.VP())):
        with pytest.raises(ValueError, match="compile=True.*Reverse has one schedule per path"):
            sk.solve(process, start(4, 2), **how, backend=COMPILED)


@pytest.mark.parametrize(
    "step, what",
    [
        (lambda x: x * x, "an array of shape"),
        (lambda x: x * torch.ones(2), "an array of shape"),
        (lambda x: x**2, "pow"),
        (lambda x: 1.0 / x, "rtruediv"),
        (lambda x: sk.math.sin(x), "sin"),
        (lambda x: torch.sin(x), "sin"),
        (lambda x: x.sin(), r"\.sin"),
        (lambda x: np.asarray(x), "array"),
        (lambda x: x[..., :1], "getitem"),
        (lambda x: x if x > 0 else -x, "gt"),
        (lambda x: x if x == 0 else -x, "eq"),
        (lambda x: x or -x, "bool"),
        (lambda x: torch.add(x, x, alpha=2), "add"),
        (lambda x: 1.0, "float of its own"),
    ],
)
def test_other_operations_are_refused(step, what):
    def mine(sde, t, t1, x, h):
        return step(x)

    with pytest.raises(ValueError, match=rf"mine on Reverse does not compile: .*\(it.*{what}.*\); leave compile out"):
        solve(own(mine))


def test_other_functions_of_the_process_are_refused():
    for step in (lambda sde, t, x: sde.drift(t, x), lambda sde, t, x: sde.process.drift(t, x)):

        def mine(sde, t, t1, x, h, step=step):
            return step(sde, t, x)

        with pytest.raises(ValueError, match="mine on Reverse does not compile: .* leave compile out"):
            solve(own(mine))


def test_numbers_of_all_kinds_are_recorded(traced):
    def mine(sde, t, t1, x, h):
        y = np.float64(2.0) * x - torch.tensor(0.5) * x + x / np.float32(4.0) - x / torch.tensor(2)
        return np.float64(1.0) + y - (torch.tensor(3.0) - x) * True

    compare(sampled(), start(5, 2, dtype=torch.float64), own(mine), ts=None, h=None, grid=GRID[:4])


@pytest.mark.parametrize("error", [AttributeError, TypeError, RuntimeError])
def test_other_errors_come_through(error):
    def mine(sde, t, t1, x, h):
        raise error("a slip")

    with pytest.raises(error, match="^a slip$"):
        solve(own(mine))


def test_parameters_become_numbers_once(traced, monkeypatch):
    """On a device each waits."""
    from sdekit.backends import recorded

    asked, numeric = [], recorded.numeric
    monkeypatch.setattr(recorded, "numeric", lambda process: asked.append(process) or numeric(process))
    solve(sk.ddim)
    assert len({id(process) for process in asked}) == len(asked) == 2  # the process, and that of its score


class Pulled:
    """Two components, with the pair of a standard normal law in `VP`."""

    additive, noise, marginal = True, "none", sk.VP().marginal

    def drift(self, t, x, y):
        return -x, -y

    def pair(self, t, x):
        alpha, sigma = self.marginal(t)
        return alpha * x, sigma * x


def test_memory_begins_at_the_state_of_steps(traced):
    """`init` sees components first, as steps do, and what it evaluates counts."""
    seen = []

    def init(sde, t, x):
        seen.append(tuple(x.shape))
        return [sde.process.pair(t, x)[1]]

    def mine(sde, t, t1, x, h, memory):
        eps = sde.process.pair(t, x)[1]
        return sk.methods.Taken(x + h * (eps + memory[0]), memory=[eps])

    how = {"ts": None, "h": None, "grid": GRID}
    assert compare(sampled(), start(5, 2, dtype=torch.float64), own(mine, init), **how).nfe == len(GRID)
    compare(Pulled(), start(5, 2, dtype=torch.float64), own(mine, init), **how)
    assert seen == [(5, 2), (5, 2), (2, 5), (2, 5)]
