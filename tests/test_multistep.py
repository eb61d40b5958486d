"""Multistep samplers: orders from an exact memory, exactness on polynomials, laws, invariance, memory, the ends."""

import itertools
import math
import pickle

import numpy as np
import pytest
from backends import begin

import sdekit as sk
from sdekit.methods.multistep import Memory

REFERENCE = {"backend": sk.backends.numpy()}
VP = sk.VP()
FLOWS = [
    *(sk.dpmpp_2m, sk.dpmpp_3m, *(sk.unipc(p) for p in (1, 2, 3))),
    *(family(k) for family in (sk.deis, sk.lms) for k in (1, 2, 3, 4)),
]
NOISE = ("deis", "lms")  # remember ε
EVERY = [*FLOWS, sk.dpmpp_2m_sde]
GAUSSIAN = sk.GaussianMixture([1.0], [0.7], stds=0.5)
MIXTURE = sk.GaussianMixture([0.3, 0.7], [-1.0, 0.8], stds=[0.5, 0.4])
UNEVEN = (1.0, 2.0, 0.7, 1.6, 0.5)
each = pytest.mark.parametrize("method", EVERY, ids=repr)
each_flow = pytest.mark.parametrize("method", FLOWS, ids=repr)


def log_snr(process, t):
    alpha, sigma = process.marginal(t)
    return math.log(alpha / sigma)


def steps(process, n, start, end, kind="even"):
    """n steps, in log-SNR even or of repeated uneven lengths, or after Karras: in (sigma/alpha)^(1/7)."""
    first, last = log_snr(process, start), log_snr(process, end)
    if kind == "karras":
        between = -7 * np.log(np.linspace(math.exp(-first / 7), math.exp(-last / 7), n + 1)[1:-1])
    else:
        lengths = np.resize((1.0,) if kind == "even" else UNEVEN, n)
        between = first + (last - first) * (np.cumsum(lengths) / lengths.sum())[:-1]
    return np.array([start, *(process.time(float(v)) for v in between), end])


def solve(rev, x0, grid, method, memory=None, first_step=0, seed=0, **kwargs):
    x0 = begin(x0, first_step, memory, seed)
    return sk.solve(rev, x0, grid=grid, method=method, **REFERENCE, **kwargs)


# --- orders --------------------------------------------------------------------------------------


def flow(target, process, x, start, end):
    """The probability flow of a mixture in one dimension, exactly: it keeps the distribution function."""

    def below(t, x):
        alpha, sigma = process.marginal(t)
        parts = zip(target.weights, target.means, np.ravel(target.eigen()[0]), strict=True)
        return sum(w * 0.5 * math.erfc((alpha * m - x) / math.sqrt(2 * (alpha**2 * v + sigma**2))) for w, m, v in parts)

    level, lo, hi = below(start, x), -8.0, 8.0
    while lo < (middle := 0.5 * (lo + hi)) < hi:
        lo, hi = (middle, hi) if below(end, middle) < level else (lo, middle)
    return hi


def exact_memory(method, rev, path, times):
    """What the method would remember after exact steps through `times`, the last of which is the present."""
    values = [rev.pair(t, path(t))[method.name in NOISE] for t in times[:-1]]
    corrected = path(times[-2]) if method.name == "unipc" and values else None
    return Memory(tuple(times[-2::-1]), tuple(values[::-1]), corrected)


def errors(method, target, sizes, kind="even", ends=(0.5, 0.05), own_start=False):
    """The largest error over three starts, at each number of steps; all above what rounding reaches."""
    rev, found = sk.Reverse(VP, target.score(VP), 0.0), []
    before = 0 if own_start else int(method.order) - 1  # evaluations to remember

    def path(t):
        return np.array([flow(target, VP, x, ends[0], t) for x in (-1.2, 0.1, 0.9)])

    for n in sizes:
        grid = steps(VP, n, *ends, kind)
        memory = exact_memory(method, rev, path, grid[: before + 1].tolist())
        x = solve(rev, path(grid[before]), grid[before:], method, memory=memory).x[-1]
        found.append(np.abs(x - path(grid[-1])).max())
    assert min(found) > 1e-11
    return found


def slope(errors):
    return math.log2(errors[-2] / errors[-1])


@each_flow
@pytest.mark.parametrize(
    ("target", "kind"),
    [(GAUSSIAN, "even"), (MIXTURE, "even"), (MIXTURE, "uneven"), (MIXTURE, "karras")],
    ids=["gaussian", "mixture", "mixture-uneven", "mixture-karras"],
)
def test_orders_from_an_exact_memory(method, target, kind):
    """A mixture too: errors that cancel for an affine D are seen there."""
    assert abs(slope(errors(method, target, (100, 200), kind)) - method.order) < 0.15


@each_flow
def test_orders_from_their_own_start(method):
    """The first step leaves h², or h³ where it is corrected."""
    most = 3 if method.name == "unipc" else 2
    assert abs(slope(errors(method, MIXTURE, (400, 800), own_start=True)) - min(method.order, most)) < 0.15


@each_flow
def test_flows_run_both_ways(method):
    """Encoding: from data to noise along increasing times, at the same order."""
    assert abs(slope(errors(method, MIXTURE, (100, 200), ends=(0.1, 0.4))) - method.order) < 0.15


# --- exactness on polynomials --------------------------------------------------------------------


class Polynomial:
    """A pair whose D, or ε, is a polynomial in log(alpha/sigma), whatever x is."""

    event_dims = 0

    def __init__(self, process, coefficients, noise=False):
        self.process, self.noise = process, noise
        self.value = np.polynomial.Polynomial(coefficients)

    def pair(self, t, x):
        alpha, sigma = self.process.marginal(t)
        value = self.value(math.log(alpha / sigma)) + 0.0 * x
        return ((x - sigma * value) / alpha, value) if self.noise else (value, (x - alpha * value) / sigma)

    def __call__(self, t, x):
        return -self.pair(t, x)[1] / self.process.marginal(t)[1]

    def primitive(self, level):
        """Of e^λ D(λ), or of −e^{−λ} ε(λ), times e^{∓λ}: D − D′ + D″ …, ε + ε′ + ε″ …"""
        value, sign = self.value, 1.0
        total = 0.0
        for _ in range(1 + value.degree()):
            total = total + sign * value(level)
            value, sign = value.deriv(), sign if self.noise else -sign
        return total

    def path(self, start, x, t):
        """The flow from x at `start` to t, exactly."""
        (a0, s0), (a1, s1) = self.process.marginal(start), self.process.marginal(t)
        own0, own1 = (s0, s1) if self.noise else (a0, a1)
        other0, other1 = (a0, a1) if self.noise else (s0, s1)
        held = own0 * self.primitive(math.log(a0 / s0))
        return (other1 / other0) * (x - held) + own1 * self.primitive(math.log(a1 / s1))


CUBIC = (0.3, -0.8, 0.25, 0.1)


@pytest.mark.parametrize(
    ("method", "degree"),
    [(sk.dpmpp_3m, 2), (sk.unipc(3), 2), (sk.deis(1), 0), (sk.deis(2), 1), (sk.deis(3), 2), (sk.deis(4), 3)],
    ids=str,
)
def test_polynomials_are_integrated_exactly(method, degree):
    score = Polynomial(VP, CUBIC[: degree + 1], noise=method.name in NOISE)
    rev, grid = sk.Reverse(VP, score, 0.0), steps(VP, 20, 0.9, 0.01, "uneven")
    x0, k = np.array([-1.0, 2.0]), int(method.order) - 1
    memory = exact_memory(method, rev, lambda t: score.path(0.9, x0, t), grid[: k + 1].tolist())
    x = solve(rev, score.path(0.9, x0, grid[k]), grid[k:], method, memory=memory).x[-1]
    np.testing.assert_allclose(x, score.path(0.9, x0, 0.01), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_integrates_polynomials_in_sigma_down_to_zero(order):
    """On EDM x' = ε(t) is a polynomial in t = sigma."""
    edm, cubic = sk.EDM(), np.polynomial.Polynomial(CUBIC[:order])
    rev = sk.Reverse(edm, sk.scores.from_noise(lambda t, x: cubic(t)[:, None] + 0 * x, edm, event_dims=1))
    grid = [5.0, 3.1, 2.5, 1.2, 0.7, 0.0]
    memory = Memory(
        tuple(grid[order - 2 :: -1]) if order > 1 else (),
        tuple(cubic(np.array([[t]])) for t in grid[: order - 1][::-1]),
    )
    x0 = cubic.integ()(np.array([[grid[order - 1]]]))
    sol = solve(rev, x0, grid[order - 1 :], sk.lms(order), memory=memory)
    np.testing.assert_allclose(sol.x[-1], cubic.integ()(0.0), atol=1e-12)
    assert sol.nfe == len(grid) - order


@pytest.mark.parametrize("order", [2, 3])
def test_the_corrector_integrates_one_degree_more(order):
    score, method = Polynomial(VP, CUBIC[: order + 1]), sk.unipc(order)
    rev, grid = sk.Reverse(VP, score, 0.0), steps(VP, 20, 0.9, 0.01, "uneven")
    x0 = np.array([-1.0, 2.0])
    memory = exact_memory(method, rev, lambda t: score.path(0.9, x0, t), grid[: order + 1].tolist())
    sol = solve(rev, score.path(0.9, x0, grid[order]), grid[order:], method, memory=memory)
    np.testing.assert_allclose(sol.memory.x, score.path(0.9, x0, grid[-2]), rtol=1e-12)
    assert np.abs(sol.x[-1] - score.path(0.9, x0, 0.01)).min() > 1e-4


@pytest.mark.parametrize("method", [sk.dpmpp_2m, sk.dpmpp_2m_sde, sk.unipc(1)], ids=repr)
def test_lines_are_taken_at_the_middle_of_the_step(method):
    """Where D is a line in λ, D_0 + (h/(2 h_before)) (D_0 − D_before) and (D_0 + D_1)/2 are its values there."""
    score = Polynomial(VP, CUBIC[:2])
    rev, grid = sk.Reverse(VP, score, 0.0), steps(VP, 6, 0.9, 0.01, "uneven")
    z = np.random.default_rng(0).normal(size=(6, 2))
    rate = 2 if method.normals else 1
    x = corrected = np.array([-1.0, 2.0])
    for i, (t, t1) in enumerate(itertools.pairwise(grid)):
        (a0, s0), (a1, s1) = VP.marginal(t), VP.marginal(t1)
        here, h = math.log(a0 / s0), math.log(a1 / s1) - math.log(a0 / s0)
        fixed = (s1 / s0) * math.exp((1 - rate) * h), a1 * (1 - math.exp(-rate * h))
        x = fixed[0] * corrected + fixed[1] * score.value(here + (h / 2 if i and method.name != "unipc" else 0))
        x = x + (s1 * math.sqrt(1 - math.exp(-2 * h)) * z[i] if rate == 2 else 0)
        corrected = fixed[0] * corrected + fixed[1] * score.value(here + h / 2) if method.name == "unipc" else x
    sol = solve(rev, np.array([-1.0, 2.0]), grid, method, noise=z if rate == 2 else None)
    np.testing.assert_allclose(sol.x[-1], x, rtol=1e-12)


@each_flow
def test_a_constant_is_exact_from_the_first_step_on(method):
    score = Polynomial(VP, CUBIC[:1], noise=method.name in NOISE)
    x0, grid = np.array([-1.0, 2.0]), steps(VP, 7, 0.9, 0.01, "uneven")
    x = solve(sk.Reverse(VP, score), x0, grid, method).x[-1]
    np.testing.assert_allclose(x, score.path(0.9, x0, 0.01), rtol=1e-12)


# --- the stochastic one --------------------------------------------------------------------------


def law(method, x0, grid):
    """(mean, variance) at the end of the grid from x0, exactly: one path per normal, one without."""
    n = len(grid) - 1
    z = np.concatenate([np.eye(n), np.zeros((n, 1))], axis=1)
    x = solve(sk.Reverse(VP, GAUSSIAN.score(VP)), np.full(n + 1, x0), grid, method, noise=z).x[-1]
    return np.array([x[-1], ((x[:-1] - x[-1]) ** 2).sum()])


@pytest.mark.parametrize("kind", ["even", "uneven", "karras"])
def test_weak_order_two(kind):
    """Against the reverse SDE's own law given its start: x_t and x_T are jointly normal.

    Along that SDE D is a martingale, so that the mean is exact here and the variance shows the order.
    """
    x0, start, end = 1.5, 0.4, 0.05
    (a0, s0), (a1, s1) = VP.marginal(start), VP.marginal(end)
    v0, v1, r = a0**2 * 0.25 + s0**2, a1**2 * 0.25 + s1**2, a0 / a1
    gain = r * v1 / v0
    off = []
    for n in (160, 320):
        mean, var = law(sk.dpmpp_2m_sde, x0, steps(VP, n, start, end, kind))
        assert mean == pytest.approx(a1 * 0.7 + gain * (x0 - a0 * 0.7), rel=1e-12)
        off.append(abs(var - (v1 - gain * r * v1)))
    assert off[1] > 1e-11 and abs(slope(off) - sk.dpmpp_2m_sde.weak) < 0.15


def test_first_step_of_the_stochastic_one_is_ancestral():
    """The law of x_{t1} given x_t and x_0 = D, from the process's transitions; and `ancestral`, `ddim(1)` too."""
    rev, t, t1 = sk.Reverse(VP, MIXTURE.score(VP)), 0.6, 0.35
    x0, z = np.array([-1.0, 0.3, 2.0]), np.array([[0.3, -1.2, 2.2]])
    clean = rev.pair(t, x0)[0]
    forward, ratio = VP.transition(t1, t, 1.0), VP.marginal(t)[0] / VP.marginal(t1)[0]
    a1, s1 = VP.marginal(t1)
    var = 1 / (1 / s1**2 + ratio**2 / forward.var)
    expected = var * (a1 * clean / s1**2 + ratio * x0 / forward.var) + math.sqrt(var) * z[0]
    for method in (sk.dpmpp_2m_sde, sk.ancestral, sk.ddim(1.0)):
        np.testing.assert_allclose(solve(rev, x0, [t, t1], method, noise=z).x[-1], expected, rtol=1e-12)


# --- invariance, cost, memory --------------------------------------------------------------------


@each
def test_only_the_signal_to_noise_ratio_matters(method):
    """At equal log-SNR all processes give the same x/alpha, whatever the eta of Reverse."""
    levels = np.linspace(-2.5, 4.0, 12) + 0.1 * np.sin(np.arange(12))
    z = np.random.default_rng(1).normal(size=(11, 4)) if method.normals else None
    answers = []
    for process in (VP, sk.EDM(), sk.FlowPath(), sk.SubVP(), sk.CosineVP(), sk.VE(), sk.FlowPath(2.0)):
        grid = [process.time(float(level)) for level in levels]
        eta = 0.0 if len(answers) % 2 else 1.0
        rev = sk.Reverse(process, MIXTURE.score(process), eta)
        x = solve(rev, process.marginal(grid[0])[0] * np.linspace(-9, 9, 4), grid, method, noise=z).x[-1]
        answers.append(x / process.marginal(grid[-1])[0])
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=1e-12, atol=1e-12)


@each
def test_one_evaluation_a_step(method):
    rev = sk.Reverse(VP, MIXTURE.score(VP))
    assert solve(rev, np.ones(3), steps(VP, 9, 1.0, 0.01), method).nfe == 9 * method.drifts == 9
    edm = sk.Reverse(sk.EDM(), MIXTURE.score(sk.EDM()))
    assert solve(edm, np.ones(3), [3.0, 1.0, 0.3, 0.1, 0.0], method).nfe == 4


@each
@pytest.mark.parametrize("process", [sk.VP(), sk.FlowPath()], ids=["vp", "flow"])
def test_a_run_cut_anywhere_and_continued(method, process):
    rev, grid = sk.Reverse(process, MIXTURE.score(process)), np.linspace(1.0, 0.05, 9)
    x0 = np.linspace(-2, 2, 5)
    whole = sk.solve(rev, x0, grid, method, seed=3, grid=grid, **REFERENCE)
    for cuts in [[1], [2, 3], [5], list(range(1, 8))]:
        x, memory = x0, None
        for a, b in zip([0, *cuts], [*cuts, 8]):
            memory = pickle.loads(pickle.dumps(memory))
            part = solve(rev, x, grid[a : b + 1], method, first_step=a, memory=memory, seed=3)
            np.testing.assert_array_equal(part.x[-1], whole.x[b])
            x, memory = part.x[-1], part.memory
        assert memory.times == whole.memory.times


def test_memory_that_does_not_belong():
    rev, grid = sk.Reverse(VP, MIXTURE.score(VP)), np.linspace(1.0, 0.05, 9)
    memory = solve(rev, np.ones(3), grid[:4], sk.dpmpp_2m).memory
    with pytest.raises(ValueError, match="memory is not that of unipc"):
        solve(rev, np.ones(3), grid[3:], sk.unipc, memory=memory)
    with pytest.raises(ValueError, match=r"memory is of a state of shape \(3,\), not \(1,\)"):
        solve(rev, np.ones(1), grid[3:], sk.dpmpp_2m, memory=memory)
    with pytest.raises(ValueError, match="memory already holds t = "):
        solve(rev, np.ones(3), grid[2:], sk.dpmpp_2m, memory=memory)


@each
def test_memory_is_bounded_and_plain(method):
    rev = sk.Reverse(VP, MIXTURE.score(VP))
    memory = solve(rev, np.ones(3), steps(VP, 9, 1.0, 0.01), method).memory
    corrects = method.name == "unipc"
    size = int(method.order or method.weak) - 1 + corrects  # one more, for where two are too close
    assert method.streams == ((sk.noise.Stream.PATH,) if method is sk.dpmpp_2m_sde else ())
    assert len(memory.times) == len(memory.values) == size and (memory.x is not None) == corrects
    assert all(type(t) is float for t in memory.times) and all(v.shape == (3,) for v in memory.values)


def test_orders_on_offer():
    for call, message in (
        (lambda: sk.unipc(0), "order must be an integer from 1 to 3, got 0"),
        (lambda: sk.unipc(4), "order must be an integer from 1 to 3, got 4"),
        (lambda: sk.deis(5), "order must be an integer from 1 to 4, got 5"),
        (lambda: sk.deis(2.5), "order must be an integer from 1 to 4, got 2.5"),
        (lambda: sk.lms(0), "order must be an integer from 1 to 4, got 0"),
        (lambda: sk.unipc(2.0), "order must be an integer from 1 to 3, got 2.0"),
        (lambda: sk.lms(3.0), "order must be an integer from 1 to 4, got 3.0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert sk.unipc() is sk.unipc(2) and sk.deis() is sk.deis(order=3) and sk.unipc.order == 3 and sk.deis.order == 3
    assert pickle.loads(pickle.dumps(sk.unipc(3))) is sk.unipc(3) and repr(sk.deis(4)) == "deis(4)"


# --- the ends ------------------------------------------------------------------------------------


@each
def test_pure_noise_steps_at_first_order_and_is_no_node(method):
    """FlowPath at t = 1: alpha = 0 and D = E[x_0] there; the later steps are those of a run started after it."""
    process = sk.FlowPath()
    rev = sk.Reverse(process, MIXTURE.score(process), 0.0)
    x0, grid = np.linspace(-2, 2, 5), np.array([1.0, 0.8, 0.5, 0.3, 0.1])
    z = np.random.default_rng(2).normal(size=(4, 5)) if method.normals else None
    sol = sk.solve(rev, x0, grid, method, noise=z, grid=grid, **REFERENCE)
    mean = 0.3 * -1.0 + 0.7 * 0.8
    first = 0.2 * mean + 0.8 * (x0 if z is None else z[0])
    np.testing.assert_allclose(sol.x[1], first, rtol=1e-12)
    rest = solve(rev, sol.x[1], grid[1:], method, noise=None if z is None else z[1:])
    np.testing.assert_allclose(sol.final, rest.final, rtol=1e-12)


@each
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_finite_from_end_to_end_on_every_process(method, dtype):
    torch = pytest.importorskip("torch")
    target = sk.GaussianMixture([0.5, 0.5], [[-1.0, 0.5], [1.0, 0.0]], stds=[0.1, 0.2])
    for process in (sk.VP(), sk.CosineVP(), sk.SubVP(), sk.VE(), sk.EDM(), sk.FlowPath(), sk.DiscreteVP()):
        rev = sk.Reverse(process, target.score(process))
        start, end = process.domain[1], process.domain[0]
        x0 = rev.start((50, 2), seed=1, like=torch.zeros(1, dtype=getattr(torch, dtype)))
        for spacing in (1.0, 3.0):
            grid = end + (start - end) * np.linspace(1.0, 0.0, 9) ** spacing
            sol = sk.solve(rev, x0, grid=grid, method=method, seed=2)
            assert sol.x.dtype is x0.dtype and not sol.failed.any() and sol.x.isfinite().all()


def test_the_memory_of_another_method_is_refused():
    """ε in place of D would be silently wrong."""
    rev, grid = sk.Reverse(VP, MIXTURE.score(VP)), steps(VP, 8, 0.9, 0.01, "even")
    half = solve(rev, np.zeros(3), grid[:5], sk.deis)
    with pytest.raises(ValueError, match="memory is that of deis, not of dpmpp_2m"):
        solve(rev, half.x[-1], grid[4:], sk.dpmpp_2m, memory=half.memory)
