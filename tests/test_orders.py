"""Every claim of a method's record, measured; and the functions that measure.

Strong orders are measured on at least 1,000 coupled paths, weak ones with the solution on the same
path as control variate, on problems whose leading error term is the generic one. A claim passes
within 0.15 and three standard errors: a true claim would fail with probability 0.003 for a seed
drawn at random, 0.1 for one of all those of this file. Seeds are fixed, so that this was decided
once, and a failure means a change.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
from backends import Later
from equations import Twist

import sdekit as sk
from sdekit import convergence, methods
from sdekit import math as sm
from sdekit.convergence import coarsen, orders, strong_order, weak_order

stats = Later("scipy.stats")

# samplers read the score of `Reverse`; their orders are in test_exponential.py and test_multistep.py
METHODS = [m for m in (getattr(methods, name) for name in methods.__all__) if "pair" not in m.needs]
REFERENCE = {"backend": sk.backends.numpy()}  # no compilation: cheaper for some thousand paths
DOUBLING = tuple(16 * 2**i for i in range(6))  # 16 … 512


# --- the problems --------------------------------------------------------------------------------


def stratonovich(cls):
    """The process of the same drift and diffusion, meant in the Stratonovich sense."""
    return type(f"{cls.__name__}Stratonovich", (cls,), {"calculus": "stratonovich", "__slots__": ()})


class Slope(NamedTuple):
    """Nonlinear additive noise: the drift is curved, drift and noise change with time."""

    noise = "diagonal"
    additive = True

    def drift(self, t, x):
        return sm.sin(x) * (1 + t)

    def diffusion(self, t, x):
        return 1 + sm.sin(2 * t)


class Slopes(NamedTuple):
    """Additive matrix noise in two coupled components."""

    noise = "general"
    additive = True

    def drift(self, t, x, y):
        return sm.sin(x + y), sm.cos(x) * (1 + t) - 0.5 * y

    def diffusion(self, t, x, y):
        return (1 + 0.5 * t, 0.5), (0.4 * sm.cos(t), 1.0)


class Wave(NamedTuple):
    """Diagonal noise that does not commute with the drift; `half` = 0.5 adds ½ g ∂g/∂x to it."""

    half: float = 0.0

    noise = "diagonal"

    def drift(self, t, x):
        s = 0.4 + 0.2 * t
        g, slope = s * (1.5 + sm.sin(x)), s * sm.cos(x)
        return 0.5 * sm.cos(t) - 0.4 * sm.sin(x) + self.half * g * slope

    def diffusion(self, t, x):
        return (0.4 + 0.2 * t) * (1.5 + sm.sin(x))


class Waves(NamedTuple):
    """Diagonal noise in two components that are coupled by the drift; `half` as in `Wave`."""

    half: float = 0.0

    noise = "diagonal"

    def drift(self, t, x, y):
        s, r = 0.4 + 0.2 * t, 0.6 - 0.25 * t
        dx = 0.4 * sm.sin(y) - 0.3 * x * sm.cos(t) + self.half * s * s * (1.5 + sm.sin(x)) * sm.cos(x)
        dy = 0.4 * sm.cos(x) - 0.3 * y - self.half * r * r * (1.3 + sm.cos(y)) * sm.sin(y)
        return dx, dy

    def diffusion(self, t, x, y):
        return (0.4 + 0.2 * t) * (1.5 + sm.sin(x)), (0.6 - 0.25 * t) * (1.3 + sm.cos(y))


class Sinh(NamedTuple):
    """X = sinh(Y), dY = (a − λ (Y − c − a t)) dt + s e^{−λt} dW, Y_t = c + a t + s e^{−λt} W_t.

    Stratonovich calculus is that of ordinary derivatives, dX = √(1 + X²) ∘ dY; in the Itô sense the
    drift gains ½ s² e^{−2λt} X (half = 0.5).
    """

    half: float = 0.0
    a: float = 0.3
    decay: float = 0.5
    s: float = 0.7
    c: float = math.asinh(0.4)

    noise = "diagonal"
    x0 = 0.4

    def drift(self, t, x):
        root = sm.sqrt(1 + x * x)
        g = self.s * sm.exp(-self.decay * t)
        pull = self.a - self.decay * (sm.log(x + root) - self.c - self.a * t)
        return pull * root + self.half * g * g * x

    def diffusion(self, t, x):
        return self.s * sm.exp(-self.decay * t) * sm.sqrt(1 + x * x)

    def solution(self, t, x0, w):
        return np.sinh(self.c + self.a * t[-1] + self.s * np.exp(-self.decay * t[-1]) * w[-1])


class Bent(NamedTuple):
    """X = sinh(aU + bV + const), Z = cU + dV + ½X² + const of two Brownian motions (U, V).

    In the Itô sense both components drift (half = 0.5): ½ (a² + b²) times the second derivatives of
    sinh and of ½ sinh².
    """

    half: float = 0.0
    a: float = 0.5
    b: float = 0.3
    c: float = -0.4
    d: float = 0.6

    noise = "general"
    x0 = (0.4, 0.2)

    def drift(self, t, x, z):
        q = self.half * (self.a * self.a + self.b * self.b)
        return q * x, q * (1 + 2 * x * x)

    def diffusion(self, t, x, z):
        r = sm.sqrt(1 + x * x)
        return (self.a * r, self.b * r), (self.c + self.a * x * r, self.d + self.b * x * r)

    def solution(self, t, x0, w):
        u, v = w[-1][..., 0], w[-1][..., 1]
        x = np.sinh(np.arcsinh(x0[0]) + self.a * u + self.b * v)
        return np.stack([x, x0[1] - 0.5 * x0[0] ** 2 + self.c * u + self.d * v + 0.5 * x * x], -1)


class Fading(NamedTuple):
    """dX = −λX dt + s e^{−λt} dW: X_t = e^{−λt} (x_0 + s W_t), the additive noise with such a form."""

    decay: float = 0.8
    s: float = 1.2

    noise = "diagonal"
    additive = True
    x0 = 0.5

    def drift(self, t, x):
        return -self.decay * x

    def diffusion(self, t, x):
        return self.s * sm.exp(-self.decay * t)

    def solution(self, t, x0, w):
        return math.exp(-self.decay * t[-1]) * (x0 + self.s * w[-1])


class Growing(NamedTuple):
    """Noise whose slope grows with time, where a weak error of order 3/2 is large."""

    noise = "diagonal"

    def drift(self, t, x):
        return 0.2 * sm.cos(x)

    def diffusion(self, t, x):
        return 1 + 0.5 * t * sm.sin(x)


def meant(cls, method):
    """The process with a known solution, in the calculus of `method` (Itô: with half = 0.5)."""
    return cls(half=0.5) if method.calculus == "ito" else stratonovich(cls)()


def by_ito(process, seed):
    """A solution by SRI1W1 of an Itô equation: of the path on the grid it needs the areas, too,
    which the method under test does not see, so that any independent normals will do."""

    def solution(t, x0, w):
        dw = np.diff(w, axis=0) / math.sqrt(t[1] - t[0])
        dz = np.random.default_rng(seed).standard_normal(dw.shape)
        z = np.stack([dw, dz])
        return sk.solve(process, x0, grid=t, method=sk.sri1w1, paths=w.shape[1], noise=z, **REFERENCE).x[-1]

    return solution


# --- strong orders -------------------------------------------------------------------------------


def additive(method, claim):
    """Measured against SRA1, itself included; matrix noise in time that runs backwards."""
    steps = DOUBLING[1:5] if claim <= 1 else DOUBLING[2:]
    given = {"steps": steps, "reference": sk.sra1, "fine": (2 if claim <= 1 else 4) * steps[-1]}
    return [(Slope(), 0.5, given), (Slopes(), (0.3, -0.2), {**given, "ts": (1.0, 0.0)})]


def diagonal(method, claim):
    """Measured against SRI1W1, itself included; of the equivalent Itô equation for Stratonovich."""
    steps = DOUBLING[1:5] if claim == 1 else DOUBLING[2:]
    given = {"steps": steps, "fine": (2 if claim <= 1 else 4) * steps[-1]}
    if method.calculus == "ito":
        given["reference"] = sk.sri1w1
        return [(Wave(), 0.3, given), (Waves(), (0.3, -0.2), given)]
    return [
        (stratonovich(cls)(), x0, {**given, "solution": by_ito(cls(half=0.5), 11)})
        for cls, x0 in ((Wave, 0.3), (Waves, (0.3, -0.2)))
    ]


def general(method, claim):
    """Nothing of higher order serves general noise: the reference is 32 times finer, or 16 times for order 1."""
    process = Twist() if method.calculus == "ito" else stratonovich(Twist)()
    return [(process, (0.3, -0.2), {"steps": DOUBLING[:4], "fine": (32 if claim == 0.5 else 16) * DOUBLING[3]})]


STRONG_PROBLEMS = {"additive": additive, "diagonal": diagonal, "general": general}
STRONG = [
    pytest.param(m, kind, i, id=f"{m.name}-{kind}-{i}")
    for m in METHODS
    for kind in m.strong or ()
    for i in range(1 if kind == "general" else 2)
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kind", "i"), STRONG)
def test_strong_order(method, kind, i):
    claim = method.strong[kind]
    process, x0, given = STRONG_PROBLEMS[kind](method, claim)[i]
    found = strong_order(process, method, x0, paths=1000, seed=1, **given, **REFERENCE)
    assert found.within(claim), found


@pytest.mark.parametrize("method", [m for m in METHODS if m.strong], ids=repr)
def test_the_limit_is_the_right_solution(method):
    """Against closed forms along the path: with a wrong correction the errors would not fall.

    These equations commute, so that the order may be better than claimed. The order's standard
    error is below 0.03, and 0.15 five times that.
    """
    kind = next(kind for kind in ("general", "diagonal", "additive") if kind in method.strong)
    process = {
        "additive": Fading(),
        "diagonal": meant(Sinh, method),
        "general": meant(Bent, method),
    }[kind]
    given = {"steps": DOUBLING[2:], "paths": 1000, "seed": 2, "solution": process.solution}
    found = strong_order(process, method, process.x0, **given, **REFERENCE)
    assert found.order > method.strong[kind] - 0.15, found


# --- weak orders ---------------------------------------------------------------------------------


def square(x):
    return x * x


def first_sine(x):
    return np.sin(x[..., 0])


def restoring(t, x):
    return 0.5 * sm.sin(x) - x


def weak_problem(method):
    """(process, x0, functional, the rest): the most general noise that the method serves.

    But for ri6, whose errors for noise that depends on the state drown in those of the mean: see test_general_noise.py.
    """
    steps = {"steps": DOUBLING[:4], "paths": 20_000}
    if method.name == "langevin":
        return sk.Langevin(restoring), 1.5, square, {**steps, "reference": sk.sra1, "fine": 256}
    if method.name == "sri1w1":
        given = {"steps": (8, 16, 32, 64), "fine": 256, "paths": 10_000}
        return Growing(), 0.0, square, given
    if "general" in method.strong and method.weak == 1.0:
        process = meant(Bent, method)
        paths = 60_000 if method.strong["diagonal"] == 0.5 else 20_000  # the variance falls slower
        given = {**steps, "paths": paths, "solution": process.solution}
        if method.strong["general"] == 1.0:  # and here faster, so that of long steps terms of order h² are seen
            given |= {"steps": DOUBLING[1:5], "paths": 10_000}
        return process, process.x0, first_sine, given
    if "diagonal" in method.strong and method.weak == 1.0:
        process = meant(Sinh, method)
        return process, process.x0, square, {**steps, "solution": process.solution}
    steps, paths = ((8, 16, 32), 20_000) if method.strong["additive"] == 1.5 else ((4, 8, 16), 40_000)
    given = {"steps": steps, "reference": sk.sra1, "fine": 256, "paths": paths}
    return Slopes(), (0.3, -0.2), square, given


@pytest.mark.parametrize("method", [m for m in METHODS if m.weak is not None], ids=repr)
def test_weak_order(method):
    process, x0, functional, given = weak_problem(method)
    found = weak_order(process, method, x0, functional, seed=3, **given, **REFERENCE)
    assert (found.errors > 4 * found.stderrs).all(), found.errors / found.stderrs
    assert found.within(method.weak), found


# --- orders on ordinary differential equations ---------------------------------------------------


class Falling(NamedTuple):
    """x′ = −2 t x²: x = 1/(1/x_0 + t²)."""

    noise = "none"

    def drift(self, t, x):
        return -2 * t * x * x

    def solution(self, t, x0, w):
        return np.full(w.shape[1:], 1 / (1 / x0 + t[-1] ** 2 - t[0] ** 2))


class Hunting(NamedTuple):
    """Lotka and Volterra's hares and foxes, with seasons."""

    noise = "none"

    def drift(self, t, x, y):
        return x * (1 - y) + 0.3 * sm.sin(2 * t), y * (x - 1) * (1 + 0.5 * t)


@pytest.mark.parametrize("method", [m for m in METHODS if m.order is not None and m.error_order is None], ids=repr)
def test_order_on_odes(method):
    """Forwards and backwards; deterministic. Those of pairs, which are higher, are in test_pairs.py."""
    process = Falling()
    for ts in ((0.0, 1.0), (1.0, 0.5)):
        found = strong_order(process, method, 0.8, ts=ts, solution=process.solution, **REFERENCE)
        assert found.within(method.order), found
    found = strong_order(Hunting(), method, (1.5, 0.6), reference=sk.rk4, fine=512, **REFERENCE)
    assert found.within(method.order), found


# --- what a step evaluates -----------------------------------------------------------------------

LOOKS = {  # times of drift and diffusion in a step from 0 to 1
    "euler": ([0], []),
    "midpoint": ([0, 0.5], []),
    "rk4": ([0, 0.5, 0.5, 1], []),
    "euler_maruyama": ([0], [0]),
    "heun": ([0, 1], [0, 1]),
    "stratonovich_midpoint": ([0, 0.5], [0, 0.5]),
    "milstein": ([0], [0, 0, 0]),
    "milstein_strat": ([0], [0, 0, 0, 0]),
    "sra1": ([0, 0.75], [0, 1, 1]),
    "sri1w1": ([0, 0.75], [0, 0, 0, 0, 0, 0.25, 0.25, 0.25, 1, 1]),
    "predictor_corrector": ([0, 1], [0]),
}


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_step_looks_where_its_record_and_its_formula_say(method):
    """The claims `drifts` and `evaluates_end`, and times that an order alone does not tell apart.

    A diffusion counts for each product with a noise. A score counts as a drift.
    """
    drifts, diffusions = [], []
    ou = sk.OU()

    def drift(self, t, x):
        drifts.append(t)
        return -x

    def diffusion(self, t, x):
        diffusions.append(t)
        return 1.0

    members = {
        "noise": "none" if method.noise == ("none",) else "diagonal",
        "additive": True,
        "drift": drift,
        "score": drift,
        "diffusion": diffusion,
        "sigma": lambda self, t: 1.0,
        "transition": lambda self, s, t, x: ou.transition(s, t, x),
    }
    process = type("Recorder", (), members)()
    sk.solve(process, 1.0, [0.0], method=method, paths=2, grid=[0.0], seed=0, **REFERENCE)
    probes = len(diffusions)  # those of `solve` itself
    sk.solve(process, 1.0, [0.0, 1.0], method=method, paths=2, h=1.0, seed=0, **REFERENCE)
    begins = method.first_same_as_last + (method is sk.reversible_heun)  # which look at the start too
    assert len(drifts) == method.drifts + begins + method.jacobian
    assert (1.0 in drifts) == method.evaluates_end
    if method.name in LOOKS:
        assert (sorted(drifts), sorted(diffusions[2 * probes :])) == LOOKS[method.name]


# --- exact ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "x0"),
    [(sk.OU(theta=1.3, mu=0.4, sigma=0.8), 2.0), (sk.GBM(mu=0.3, sigma=0.6), 1.5), (sk.VP(), 1.0)],
    ids=lambda p: type(p).__name__,
)
def test_exact_is_exact_in_law_in_one_step_or_many(process, x0):
    """Mean and variance within 4 standard errors of the closed form, and Kolmogorov–Smirnov at 1e-4.

    False failures: 1e-4 each for mean and variance, 1e-4 for KS, six times over.
    """
    n, law = 20_000, process.transition(0.0, 1.0, x0)
    fourth = 3 * law.var**2 if isinstance(law, sk.laws.Normal) else None
    for steps, seed in ((1, 4), (13, 5)):
        grid = np.linspace(0.0, 1.0, steps + 1)
        x = sk.solve(process, x0, grid=grid, method=sk.exact, paths=n, seed=seed, **REFERENCE).x[-1]
        spread = ((x - x.mean()) ** 4).mean() if fourth is None else fourth
        assert abs(x.mean() - law.mean) < 4 * math.sqrt(law.var / n)
        assert abs(x.var() - law.var) < 4 * math.sqrt((spread - law.var**2) / n)
        if isinstance(law, sk.laws.Normal):
            cdf = stats.norm(law.mean, law.std).cdf
        else:
            log_var = math.log1p(law.var / law.mean**2)
            cdf = stats.lognorm(math.sqrt(log_var), scale=law.mean * math.exp(-log_var / 2)).cdf
        assert stats.kstest(x, cdf).pvalue > 1e-4


def test_exact_steps_have_the_law_of_each_interval():
    """Increments over unequal steps, given the state before: the covariance of an OU path.

    Correlations of 20,000 paths have a standard error below 0.0071; 4 of them, false failures 1e-4.
    """
    grid = [0.0, 0.1, 0.7, 1.0]
    x = sk.solve(sk.OU(), 0.0, ts=grid, method=sk.exact, paths=20_000, seed=6, **REFERENCE).x[1:]
    s, t = np.meshgrid(grid[1:], grid[1:])
    cov = 0.5 * (np.exp(-abs(s - t)) - np.exp(-(s + t)))
    scale = np.sqrt(np.diag(cov))
    np.testing.assert_allclose(np.corrcoef(x), cov / np.outer(scale, scale), atol=4 * 0.0071)


# --- coarsening ----------------------------------------------------------------------------------


def brownian(normals, h):
    """dW and I₍₁,₀₎ of each step, from standard normals (2, steps)."""
    dw, dz = normals * math.sqrt(h)
    return dw, 0.5 * h * (dw + dz / math.sqrt(3))


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_coarsening_keeps_the_path_and_its_area(factor):
    """Against W at the ends of the coarse steps and the area under the path, summed step by step."""
    h = 0.3
    fine = np.random.default_rng(0).standard_normal((2, 24))
    coarse = coarsen(fine, factor)
    dw, area = brownian(fine, h)
    coarse_dw, coarse_area = brownian(coarse, h * factor)
    for step in range(24 // factor):
        w = integral = 0.0
        for i in range(step * factor, (step + 1) * factor):
            integral += area[i] + h * w
            w += dw[i]
        assert coarse_dw[step] == pytest.approx(w, rel=1e-12)
        assert coarse_area[step] == pytest.approx(integral, rel=1e-12)


def test_coarse_normals_are_standard_and_independent():
    """Exactly: the linear map from fine to coarse normals has orthonormal rows."""
    maps = np.stack([coarsen(e.reshape(2, 6), 3).ravel() for e in np.eye(12)], axis=1)
    np.testing.assert_allclose(maps @ maps.T, np.eye(4), atol=1e-15)


def test_coarsening_composes_and_keeps_shapes():
    fine = np.random.default_rng(1).standard_normal((2, 12, 5, 3))
    np.testing.assert_allclose(coarsen(coarsen(fine, 2), 3), coarsen(fine, 6), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(coarsen(fine[:1], 4), coarsen(fine, 4)[:1])
    np.testing.assert_array_equal(coarsen(fine, 1), fine)
    assert coarsen(fine.astype(np.float32), 4).dtype == np.float32


# --- the measurement itself ----------------------------------------------------------------------


def test_the_standard_error_is_that_of_the_slope():
    """1,000 repetitions with errors that share their paths; the spread of the slopes is known to
    2.2 % (one standard error), 12 % is 5 of them."""
    rng = np.random.default_rng(7)
    h = 0.5 ** np.arange(4)
    common, own = rng.exponential(size=(1000, 1, 400)), rng.exponential(size=(1000, 4, 400))
    differences = h[:, None] * (common + 0.5 * own)
    found = [orders._estimate(h, d) for d in differences]
    slopes = np.array([f.order for f in found])
    assert slopes.mean() == pytest.approx(1.0, abs=5 * slopes.std() / math.sqrt(1000))
    assert np.mean([f.stderr for f in found]) == pytest.approx(slopes.std(), rel=0.12)
    assert np.mean([f.stderrs for f in found], 0) == pytest.approx(np.std([f.errors for f in found], 0), rel=0.12)


def test_an_estimate_says_what_it_found():
    found = convergence.Estimate(0.52, 0.01, np.array([0.5]), np.array([0.1]), np.array([0.01]))
    assert found.within(0.5)
    assert not found.within(0.48)
    assert not found._replace(stderr=1.0).within(0.7)
    assert found._replace(stderr=0.0).within(0.6)
    assert found.interval == pytest.approx((0.5004, 0.5396))
    assert "0.520 ± 0.010" in repr(found)


def test_errors_are_those_of_a_hand_made_loop():
    """E‖X_h − X‖ over components, and E f(X_h) − E f(X): plain numpy on the same normals."""
    process, paths, n = Bent(half=0.5), 50, 8
    given = {"steps": (4, 8), "paths": paths, "seed": 9, "solution": process.solution, **REFERENCE}
    z = np.random.default_rng(9).standard_normal((1, n, paths, 2))[0]
    dw = z * math.sqrt(1 / n)
    w = dw.sum(0, keepdims=True)
    x = np.tile(process.x0, (paths, 1))
    for i in range(n):
        (f, g), rows = process.drift(0.0, *x.T), process.diffusion(0.0, *x.T)
        kick = [row[0] * dw[i, :, 0] + row[1] * dw[i, :, 1] for row in rows]
        x = x + np.stack([f / n + kick[0], g / n + kick[1]], -1)
    true = process.solution([1.0], process.x0, w)
    found = strong_order(process, sk.euler_maruyama, process.x0, **given)
    assert found.errors[-1] == pytest.approx(np.linalg.norm(x - true, axis=-1).mean(), rel=1e-12)
    np.testing.assert_array_equal(found.h, [0.25, 0.125])
    found = weak_order(process, sk.euler_maruyama, process.x0, square, **given)
    assert found.errors[-1] == pytest.approx(abs((x * x - true * true).mean()), rel=1e-10)


def test_every_kind_of_state_is_measured():
    """Components, path axes, an event of several axes, one noise for a row: order 1 of additive noise.

    0.2 are 5 standard errors of the 200 paths and more.
    """
    event = sk.process(
        lambda t, x: 0.0 * x - x.mean(-1, keepdims=True),
        lambda t, x: 0.4,
        additive=True,
        event_dims=2,
    )
    row = sk.process(lambda t, x: sm.sin(x), lambda t, x: ((0.5, 0.3),), noise="general", additive=True)
    states = [
        (sk.Lorenz(), (1.0, 1.0, 20.0), {"ts": (0.0, 0.2)}),
        (sk.OU(), np.zeros((2, 3)), {}),
        (sk.OU(theta=np.array([0.5, 1.0])), np.ones(2), {}),
        (event, np.ones((2, 3)), {}),
        (row, 0.5, {}),
        (sk.Reverse(sk.VP(), lambda t, x: -x), 1.0, {"ts": (0.9, 0.2)}),
    ]
    for process, x0, given in states:
        found = strong_order(
            process, sk.euler_maruyama, x0, steps=(32, 64, 128), fine=1024, paths=200, **given, **REFERENCE
        )
        assert found.order == pytest.approx(1.0, abs=0.2), (process, found)


def test_batches_and_backends_measure_the_same(monkeypatch):
    """Numba with the same normals, to rounding; batches with others, to 5 standard errors."""
    given = {"steps": (8, 16), "fine": 64, "paths": 600, "seed": 4}
    whole = strong_order(sk.GBM(), sk.sri1w1, 1.0, **given, **REFERENCE)
    compiled = strong_order(sk.GBM(), sk.sri1w1, 1.0, **given)
    np.testing.assert_allclose(compiled.errors, whole.errors, rtol=1e-9)
    monkeypatch.setattr(orders, "BATCH", 2 * 64 * 250)
    parts = strong_order(sk.GBM(), sk.sri1w1, 1.0, **given, **REFERENCE)
    assert (abs(parts.errors - whole.errors) < 5 * np.hypot(parts.stderrs, whole.stderrs)).all()
    assert (parts.errors != whole.errors).all()
    assert parts.stderr == pytest.approx(whole.stderr, rel=0.5)


def test_tensors_are_measured_by_torch():
    torch = pytest.importorskip("torch")
    process = meant(Sinh, sk.milstein)
    given = {"steps": (8, 16), "paths": 50, "seed": 4}

    def solution(t, x0, w):
        return torch.as_tensor(process.solution(t, 0.4, w.numpy()))

    for measure, extra in ((strong_order, ()), (weak_order, (square,))):
        x0 = torch.tensor(0.4, dtype=torch.float64)
        tensors = measure(process, sk.milstein, x0, *extra, solution=solution, **given)
        arrays = measure(process, sk.milstein, 0.4, *extra, solution=process.solution, **given, **REFERENCE)
        np.testing.assert_allclose(tensors.errors, arrays.errors, rtol=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": (8,)}, "steps must be two or more increasing"),
        ({"steps": (16, 8)}, "steps must be two or more increasing"),
        ({"steps": (0, 8)}, "steps must be an integer >= 1"),
        ({"steps": 8}, "steps must be two or more increasing"),
        ({"paths": 1}, "paths must be an integer >= 2"),
        ({"seed": -1}, "seed must be"),
        ({"ts": (0.0, 0.0)}, "ts must be two different finite times"),
        ({"ts": (0.0, math.inf)}, "ts must be two different finite times"),
        ({"ts": (0.0, 0.5, 1.0)}, "ts must be two different finite times"),
        ({"fine": 24}, "fine must be a multiple of 16"),
        ({"fine": 16}, "fine must be a multiple of 16 steps and more than 16"),
        ({"reference": sk.sri1w1, "solution": lambda t, x0, w: w[-1]}, "both given"),
        ({"solution": 1.0}, "solution must be a function"),
        ({"solution": lambda t, x0, w: w}, "solution must return states of shape"),
        ({"solution": lambda t, x0, w: w[-1] * math.nan}, "is nan, which has no order"),
        ({"reference": "sri1w1"}, "reference must be a Method"),
        ({"method": "euler_maruyama"}, "method must be a Method"),
        ({"method": sk.predictor_corrector}, "draws from the streams"),
        ({"method": sk.heun}, "stratonovich"),
    ],
)
def test_nonsense_raises(given, message):
    given = {"method": sk.euler_maruyama, "steps": (8, 16), "paths": 10, **REFERENCE, **given}
    for measure, extra in ((strong_order, {}), (weak_order, {"functional": square})):
        with pytest.raises(ValueError, match=message):
            measure(sk.GBM(), x0=1.0, **extra, **given)


def test_more_nonsense_raises():
    given = {"steps": (8, 16), "paths": 10, **REFERENCE}
    with pytest.raises(ValueError, match=r"h = 0\.125 is 0\.0, which has no order"):
        strong_order(sk.process(lambda t, x: 0 * x, noise="none"), sk.euler, 0.0, **given)
    with pytest.raises(ValueError, match="functional must be a function"):
        weak_order(sk.GBM(), sk.euler_maruyama, 1.0, 2.0, **given)
    with pytest.raises(ValueError, match="functional must keep the axis of paths"):
        weak_order(sk.GBM(), sk.euler_maruyama, 1.0, np.mean, **given)
    with pytest.raises(ValueError, match="normals must have shape"):
        coarsen(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="factor is 3, which does not divide the 4 steps"):
        coarsen(np.zeros((1, 4)), 3)
    with pytest.raises(ValueError, match="factor must be an integer"):
        coarsen(np.zeros((1, 4)), 0.5)
