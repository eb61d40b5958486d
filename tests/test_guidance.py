"""Scores made from scores: conditions, guidance, clipping, inpainting and another path, against exact laws."""

import itertools
import math
import pickle

import numpy as np
import pytest

import sdekit as sk
from sdekit import processes, scores

torch = pytest.importorskip("torch")

VP, FLOW = sk.VP(), sk.FlowPath()
PATHS = [cls() for cls in (getattr(processes, name) for name in processes.__all__) if hasattr(cls, "marginal")]
MIXTURE = sk.GaussianMixture([0.3, 0.7], [[1.0, -1.0], [-0.5, 2.0]], stds=[0.4, 0.9])
X = np.random.default_rng(0).normal(size=(6, 2))


def name(process):
    return type(process).__name__


def near(got, want, tolerance=1e-12):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def consistent(score, t, x):
    """Whether x = alpha·D + sigma·ε, and the score is −ε/sigma."""
    (alpha, sigma), (clean, eps) = score.process.marginal(t), score.pair(t, x)
    near([alpha * clean + sigma * eps, score(t, x)], [x, -eps / sigma])


def unused(t, x, *c):
    raise AssertionError("evaluated")


# --- conditions ----------------------------------------------------------------------------------


class Seen:
    """A network that remembers its condition; predicts c in every entry where it can."""

    def __call__(self, t, x, *c):
        self.c = c
        return x * 0 + 1.0


KINDS = ["noise", "denoiser", "v", "velocity", "score"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("c", "shape"),
    [
        (3, (4,)),
        (np.int64(3), (4,)),
        ([3, 1, 2, 0], (4,)),
        ([3], (4,)),
        (np.ones((4, 5)), (4, 5)),
        (np.ones((1, 5)), (4, 5)),
    ],
)
def test_a_condition_comes_as_one_value_per_sample(kind, make, c, shape):
    network = Seen()
    score = getattr(scores, f"from_{kind}")(network, VP)
    score.pair(0.5, make(np.ones((4, 2))))
    assert network.c == ()
    c = make(np.asarray(c)) if isinstance(c, (list, np.ndarray)) else c
    conditioned = score.given(c)
    conditioned.pair(0.5, make(np.ones((4, 2))))
    (seen,) = network.c
    assert tuple(seen.shape) == shape and type(seen) is type(make(np.ones(1)))
    np.testing.assert_array_equal(seen, np.broadcast_to(np.asarray(c), shape))
    conditioned.given(None)(0.5, make(np.ones((4, 2))))
    assert network.c == ()


def test_types_and_path_axes_of_conditions():
    network = Seen()
    score = scores.from_noise(network, VP, event_dims=1)
    x = np.ones((2, 3, 5), np.float32)
    score.given(np.arange(6).reshape(2, 3)).pair(0.5, x)
    assert network.c[0].tolist() == [0, 1, 2, 3, 4, 5] and network.c[0].dtype.kind == "i"
    score.given(np.ones((2, 3, 7))).pair(0.5, x)
    assert network.c[0].shape == (6, 7) and network.c[0].dtype == np.float32
    score.given(torch.ones(1, 7, dtype=torch.float64)).pair(0.5, torch.ones(4, 5, dtype=torch.bfloat16))
    assert network.c[0].shape == (4, 7) and network.c[0].dtype == torch.bfloat16
    score.given(2).pair(0.5, np.ones(5))
    assert network.c[0].tolist() == [2]
    score.given({"text": "a cat"}).pair(0.5, x)
    assert network.c == ({"text": "a cat"},)
    for wrong in (np.ones(4), np.ones((3, 2)), np.ones((2, 7))):
        with pytest.raises(ValueError, match=r"c has shape .*one value per path, \(2, 3, '…'\)"):
            score.given(wrong).pair(0.5, x)


def shifted(t, x, c):
    """ε, off by c."""
    return x + c.reshape((len(x),) + (1,) * (x.ndim - 1))


def test_conditions_reach_the_network_through_every_score():
    score = scores.from_noise(shifted, VP)
    c = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    want = scores.from_noise(lambda t, x: x + c[:, None], VP)
    makers = [
        lambda s: scores.clipped(s, -0.5, 0.5),
        lambda s: scores.inpainted(s, np.array([1.0, np.nan]), np.array([True, False])),
        lambda s: scores.on_path(s, FLOW),
        lambda s: scores.from_v(scores.as_v(s), VP),
        lambda s: scores.guided(s, score.given(-1.0), 3.0),
        lambda s: scores.clipped(scores.guided(s, score.given(-1.0), 3.0), -0.5, 0.5),
    ]
    for make in makers:
        near(make(score).given(c).pair(0.4, X), make(want).pair(0.4, X))
    near([scores.as_denoiser(score)(0.4, X, c)], [want.pair(0.4, X)[0]])


def test_a_conditional_network_samples():
    net = torch.nn.Linear(2, 2)
    score = scores.from_noise(lambda t, x, c: net(x) + c[:, None], VP)
    rev = sk.Reverse(VP, score.given(torch.arange(3)), eta=0.0)
    sol = sk.solve(rev, torch.ones(3, 2), [1.0, 0.5], sk.euler, h=0.25, seed=0)
    assert sol.nfe == 2 and not torch.equal(sol.x[-1, 0], sol.x[-1, 1])


# --- guidance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [VP, FLOW, sk.EDM()], ids=name)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 4.0, -1.0])
def test_guidance_between_gaussians_is_exact(process, weight):
    """With equal variances the mean is m_u + weight (m_c − m_u), at every noise level."""
    conditional, unconditional = np.array([1.0, -2.0]), np.array([-0.5, 0.25])
    spread = [0.7, 0.3]
    parts = (sk.Gaussian(mean, std=spread).score(process) for mean in (conditional, unconditional))
    guided = scores.guided(*parts, weight)
    exact = sk.Gaussian(unconditional + weight * (conditional - unconditional), std=spread).score(process)
    for t in (0.1, 0.5, 0.9):
        near(guided.pair(t, X), exact.pair(t, X))
        near([guided(t, X)], [exact(t, X)])
        consistent(guided, t, X)
    assert guided.process == process and guided.event_dims == 1


def test_weights_of_other_conventions():
    """(1 + w) ε_c − w ε_u, as the source writes it, is weight 1 + w here."""
    score = scores.from_noise(shifted, VP)
    (_, eps_c), (_, eps_u) = score.given(0.3).pair(0.4, X), score.given(-0.2).pair(0.4, X)
    w = 2.5
    near(
        scores.guided(score.given(0.3), score.given(-0.2), 1 + w).pair(0.4, X)[1:],
        [(1 + w) * eps_c - w * eps_u],
    )


def test_weights_zero_and_one_evaluate_one_score():
    one, other = MIXTURE.score(VP), scores.from_noise(unused, VP)
    near(scores.guided(one, other, 1).pair(0.5, X), one.pair(0.5, X), 0)
    near(scores.guided(other, one, 0).pair(0.5, X), one.pair(0.5, X), 0)
    near([scores.guided(one, other, 1)(0.5, X), scores.guided(other, one, 0)(0.5, X)], [one(0.5, X)] * 2, 0)
    # given() conditions the conditional score, whatever the weight
    network = Seen()
    null = scores.from_noise(network, VP).given(7)
    scores.guided(null, null, 0.0).given(8).pair(0.5, X)
    assert set(network.c[0]) == {7}


@pytest.mark.parametrize(("weight", "calls"), [(0.0, 1), (1.0, 1), (2.5, 2)])
def test_guidance_counts_what_it_evaluates(weight, calls):
    seen = []

    def network(t, x, c):
        seen.append(c[0])
        return shifted(t, x, c)

    score = scores.from_noise(network, VP)
    guided = scores.clipped(scores.guided(score.given(1.0), score.given(0.0), weight), -3, 3)
    sol = sk.solve(sk.Reverse(VP, guided, eta=0.0), X, [1.0, 0.5], sk.euler, h=0.125, seed=0)
    assert sol.nfe == len(seen) == 4 * calls


def test_guidance_of_a_target_itself_needs_no_process():
    """Langevin dynamics asks for the score alone."""
    a, b = (scores.from_score(lambda t, x, m=m: m - x) for m in (1.0, 3.0))
    near([scores.guided(b, a, 2.0)(0.0, X)], [5.0 - X])


def test_guidance_errors():
    with pytest.raises(ValueError, match=r"conditional belongs to VP.*unconditional to FlowPath.*on_path"):
        scores.guided(MIXTURE.score(VP), MIXTURE.score(FLOW), 2.0)
    for weight in (math.nan, math.inf, "2", None, np.ones(2, bool)):
        with pytest.raises(ValueError, match="weight must be a real number, finite, got"):
            scores.guided(MIXTURE.score(VP), MIXTURE.score(VP), weight)


# --- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_clipping(make):
    plain, x = MIXTURE.score(VP), make(3.0 * X)
    score = scores.clipped(plain, -0.4, 0.9)
    for t in (0.02, 0.3, 1.0, make(np.linspace(0.1, 0.9, 6))):
        clean, eps = plain.pair(t, x)
        got, noise = score.pair(t, x)
        inside = (clean >= -0.4) & (clean <= 0.9)
        near([got], [np.clip(np.asarray(clean), -0.4, 0.9)], 0)
        near([noise[inside]], [eps[inside]], 0)
        assert not (noise[~inside] == eps[~inside]).any()
        if isinstance(t, float):
            assert bool(inside.any()) and (not bool(inside.all()) or t == 1.0)
            consistent(score, t, x)
    assert got.dtype == x.dtype and score.event_dims == 1 and score.process == VP


def test_clipping_errors():
    with pytest.raises(ValueError, match=r"sigma\(t\) = 0 at t = 0"):
        scores.clipped(MIXTURE.score(VP)).pair(0.0, X)
    with pytest.raises(ValueError, match="hi must be a real number, above 1, got -1.0"):
        scores.clipped(MIXTURE.score(VP), 1.0, -1.0)
    with pytest.raises(ValueError, match="lo must be a real number, got None"):
        scores.clipped(MIXTURE.score(VP), None, 1.0)


# --- inpainting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [VP, FLOW, sk.EDM()], ids=name)
def test_inpainting_is_exact_for_independent_entries(process):
    """The law given the first entry is N(known, 0) × N(mean, std²), whose score is known."""
    plain = sk.Gaussian([1.0, -2.0], std=[0.7, 0.3]).score(process)
    score = scores.inpainted(plain, np.array([0.2, np.nan]), np.array([True, False]))
    exact = sk.Gaussian([0.2, -2.0], std=[0.0, 0.3]).score(process)
    for t in (0.1, 0.5, 0.9):
        near(score.pair(t, X), exact.pair(t, X))
        near([score(t, X)], [exact(t, X)])
        consistent(score, t, X)


def test_inpainted_samples_take_the_known_values():
    plain = MIXTURE.score(FLOW)
    for known, mask in ((0.7, [1, 0]), (torch.tensor([0.7, -9.0]), torch.tensor([True, False]))):
        rev = sk.Reverse(FLOW, scores.inpainted(plain, known, mask))
        x0 = rev.start((50, 2), seed=0, like=torch.ones(1))
        sol = sk.solve(rev, x0, method=sk.ddim, grid=sk.grids.uniform(FLOW, 20, final=True), seed=0)
        torch.testing.assert_close(sol.x[-1, :, 0], torch.full((50,), 0.7), rtol=0, atol=1e-6)
        assert sol.x[-1, :, 1].std() > 0.5


def test_the_bias_of_inpainting_is_towards_the_unconditional_law():
    """Unit variances, correlation ρ, first entry known to be a: the mean given it is ρ a; unconditionally 0.

    The flow is affine, so its mean is where the mean of the start goes.
    """
    rho, a = 0.8, 1.0
    plain = sk.Gaussian([0.0, 0.0], cov=[[1.0, rho], [rho, 1.0]]).score(FLOW)
    rev = sk.Reverse(FLOW, scores.inpainted(plain, a, [1, 0]), eta=0.0)
    sol = sk.solve(rev, np.zeros((1, 2)), grid=np.linspace(1.0, 1e-4, 400), method=sk.heun, seed=0)
    assert 0.3 * rho * a < sol.x[-1, 0, 1] < 0.95 * rho * a


def test_inpainting_raises_without_noise():
    with pytest.raises(ValueError, match=r"sigma\(t\) = 0 at t = 0"):
        scores.inpainted(MIXTURE.score(VP), 0.0, [1, 0]).pair(0.0, X)


# --- another path --------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(PATHS, 2)), ids=name)
def test_a_score_on_another_path_is_the_exact_score_there(old, new):
    """At noise levels that both paths have: alpha/sigma from 1/30 to 30."""
    moved, exact = scores.on_path(MIXTURE.score(old), new), MIXTURE.score(new)
    assert moved.process == new and moved.event_dims == 1
    times = [new.time(-math.log(ratio)) for ratio in (1 / 30, 0.3, 1.0, 3.0, 30.0)]
    for t in times:
        alpha, sigma = new.marginal(t)
        x = X * math.hypot(alpha, sigma)
        near(moved.pair(t, x), exact.pair(t, x), 1e-10)
        np.testing.assert_allclose(moved(t, x), exact(t, x), rtol=0, atol=1e-10 / sigma)
    t = np.array([*times, times[2]])
    alpha, sigma = new.marginal(t)
    x = X * np.hypot(alpha, sigma)[:, None]
    near(moved.pair(t, x), exact.pair(t, x), 1e-10)
    pair = moved.pair(torch.as_tensor(t), torch.as_tensor(x))
    assert all(torch.is_tensor(v) for v in pair)
    near(pair, exact.pair(t, x), 1e-10)


@pytest.mark.parametrize("old", PATHS, ids=name)
def test_the_noisy_end_of_another_path(old):
    """`FlowPath` ends in pure noise, alpha = 0: there the network is asked at its noisiest time."""
    moved = scores.on_path(MIXTURE.score(old), FLOW)
    t = np.array([0.9, 1.0, 0.5, 1.0, 1.0, 1.0])
    if old.domain[1] == math.inf:
        with pytest.raises(ValueError, match=f"log_snr = -inf does not occur in {name(old)}"):
            moved.pair(1.0, X)
        return
    for x in (X, torch.as_tensor(X)):
        clean, eps = moved.pair(1.0, x)
        np.testing.assert_allclose(eps, x, rtol=0, atol=1e-15)
        alpha, sigma = old.marginal(old.domain[1])
        want = MIXTURE.score(old).pair(old.domain[1], x * math.hypot(alpha, sigma))[0]
        np.testing.assert_allclose(clean, want, rtol=0, atol=1e-12)
        # the signal left out is alpha/sigma of the data, 0.013 of it at most here (EDM: 1/80)
        np.testing.assert_allclose(clean, np.broadcast_to(MIXTURE.score(FLOW).pair(1.0, X)[0], (6, 2)), atol=0.1)
        got = moved.pair(t if x is X else torch.as_tensor(t), x)
        np.testing.assert_allclose(got[0][1], clean[1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(got[0][0], MIXTURE.score(FLOW).pair(0.9, X[:1])[0][0], rtol=0, atol=1e-10)


def test_the_clean_end_of_another_path():
    for old in PATHS:
        moved = scores.on_path(MIXTURE.score(old), sk.EDM())
        if isinstance(old, sk.VE):  # starts at noise of 0.01
            for t in (0.0, 0.005):
                with pytest.raises(ValueError, match="does not occur in VE"):
                    moved.pair(t, X)
        else:
            near(moved.pair(0.0, X), (X, 0 * X))
    with pytest.raises(ValueError, match=r"sigma\(t\) = 0"):
        scores.on_path(scores.from_denoiser(unused, VP), sk.EDM())(0.0, X)
    with pytest.raises(ValueError, match=r"sigma\(t\) = 0"):
        scores.on_path(scores.from_denoiser(lambda t, x: x, VP), sk.EDM()).pair(0.0, X)


def test_a_moved_score_samples_the_same_points():
    """The flow from the same noise, with x in the units of each path."""
    moved = scores.on_path(MIXTURE.score(VP), sk.EDM())
    t, s = VP.time(-2.0), VP.time(3.0)
    u, v = sk.EDM().time(-2.0), sk.EDM().time(3.0)
    first = sk.solve(
        sk.Reverse(VP, MIXTURE.score(VP), eta=0.0), X, grid=np.linspace(t, s, 300), method=sk.rk4, seed=0
    ).x[-1]
    start = X / VP.marginal(t)[0]
    second = sk.solve(sk.Reverse(sk.EDM(), moved, eta=0.0), start, grid=np.geomspace(u, v, 300), method=sk.rk4, seed=0)
    np.testing.assert_allclose(second.x[-1], first / VP.marginal(s)[0], rtol=0, atol=1e-6)
    assert second.nfe == 4 * 299


class Bare:
    """`EDM` without the inverse of its noise levels."""

    domain = (0.0, 80.0)

    def marginal(self, t):
        return 1.0, t


def test_a_process_without_time_is_inverted_by_bisection():
    exact = MIXTURE.score(VP)
    moved = scores.on_path(scores.from_noise(scores.as_noise(MIXTURE.score(sk.EDM())), Bare(), 1), VP)
    near(moved.pair(0.4, X), exact.pair(0.4, X), 1e-10)


def test_path_errors():
    with pytest.raises(ValueError, match="score: NoneType has no marginal"):
        scores.on_path(scores.from_score(lambda t, x: x), VP)
    with pytest.raises(ValueError, match="process: GBM has no marginal"):
        scores.on_path(MIXTURE.score(VP), sk.GBM())


def test_scores_of_scores_pickle():
    plain = scores.from_noise(shifted, VP)
    for score in (
        scores.clipped(plain, -1, 1),
        scores.guided(plain, plain.given(2), 3.0),
        scores.on_path(plain, FLOW),
        scores.inpainted(plain, 1.0, True),
        scores.from_v(scores.as_v(plain), VP),
    ):
        assert pickle.loads(pickle.dumps(score)) == score


@pytest.mark.parametrize(
    "make",
    [
        lambda f: scores.clipped(f),
        lambda f: scores.guided(f, MIXTURE.score(VP), 2.0),
        lambda f: scores.guided(MIXTURE.score(VP), f, 2.0),
        lambda f: scores.inpainted(f, 0.0, [1, 0]),
        lambda f: scores.on_path(f, VP),
    ],
)
def test_functions_are_no_scores(make):
    with pytest.raises(ValueError, match="must be a Score, as from_noise and its kin make one"):
        make(lambda t, x: -x)
