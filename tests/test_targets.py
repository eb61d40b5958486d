"""Exact scores of known distributions, against linear algebra, autograd and direct sums."""

import math
import pickle
import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest

from sdekit import processes, targets

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
FACTOR = RNG.normal(size=(3, 3))
COV = FACTOR @ FACTOR.T + 0.1 * np.eye(3)
MEAN = np.array([1.0, -2.0, 0.5])
COVS = np.stack([COV, np.diag([0.2, 1.0, 3.0]), COV[::-1, ::-1]])
MEANS = np.array([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0], [-2.0, 0.0, 2.0]])
WEIGHTS = np.array([0.5, 0.2, 0.3])
MIXTURE = targets.GaussianMixture(WEIGHTS, MEANS, covs=COVS)
DATA = RNG.normal(size=(40, 3))
PATHS = [processes.VP(), processes.EDM(), processes.FlowPath(), processes.OU(sigma=2.0)]


class At(NamedTuple):
    """A path that stands still at one alpha and sigma."""

    alpha: float
    sigma: float

    def marginal(self, t):
        return self.alpha, self.sigma


def mixture_log_prob(weights, means, covs, x):
    """log Σ w N(x; m, C) by torch's own distributions."""
    parts = [
        math.log(w) + torch.distributions.MultivariateNormal(torch.as_tensor(m), torch.as_tensor(c)).log_prob(x)
        for w, m, c in zip(weights, means, covs, strict=True)
    ]
    return torch.logsumexp(torch.stack(parts), 0)


def direct(data, bandwidth, alpha, sigma, x):
    """(D, ε) of a blurred data set by the sums as they are written, in extended precision."""
    data, x = data.astype(np.longdouble), x.astype(np.longdouble)
    v = np.longdouble(alpha) ** 2 * np.longdouble(bandwidth) ** 2 + np.longdouble(sigma) ** 2
    square = ((x[:, None] - alpha * data) ** 2).sum(-1) / (2 * v)
    weight = np.exp(square.min(1, keepdims=True) - square)
    weight /= weight.sum(1, keepdims=True)
    mean = weight @ data
    clean = (np.longdouble(sigma) ** 2 * mean + alpha * np.longdouble(bandwidth) ** 2 * x) / v
    return clean, sigma * (x - alpha * mean) / v


# --- Gaussians and mixtures ----------------------------------------------------------------------


@pytest.mark.parametrize("process", PATHS, ids=lambda p: type(p).__name__)
def test_gaussian_pair_is_linear_algebra(process):
    score, x = targets.Gaussian(MEAN, COV).score(process), RNG.normal(size=(20, 3))
    for t in (0.1, 0.6, 1.0):
        alpha, sigma = process.marginal(t)
        inverse = np.linalg.inv(alpha**2 * COV + sigma**2 * np.eye(3))
        r = x - alpha * MEAN
        clean, eps = score.pair(t, x)
        np.testing.assert_allclose(clean, MEAN + alpha * r @ inverse @ COV, rtol=0, atol=1e-12)
        np.testing.assert_allclose(eps, sigma * r @ inverse, rtol=0, atol=1e-12)
        np.testing.assert_allclose(score(t, x), -r @ inverse, rtol=0, atol=1e-11)
        np.testing.assert_allclose(alpha * clean + sigma * eps, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("process", PATHS, ids=lambda p: type(p).__name__)
def test_mixture_score_is_the_gradient_of_its_log_density(process):
    score = MIXTURE.score(process)
    for t in (0.05, 0.5, 1.0):
        alpha, sigma = process.marginal(t)
        x = torch.tensor(RNG.normal(size=(30, 3)) * 2, requires_grad=True)
        log = mixture_log_prob(WEIGHTS, alpha * MEANS, alpha**2 * COVS + sigma**2 * np.eye(3), x)
        (gradient,) = torch.autograd.grad(log.sum(), x)
        x = x.detach()
        torch.testing.assert_close(score(t, x), gradient, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(score.log_prob(t, x), log.detach(), rtol=1e-12, atol=1e-12)
        clean, eps = score.pair(t, x)
        torch.testing.assert_close(eps, -sigma * gradient, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(alpha * clean + sigma * eps, x, rtol=0, atol=1e-12)


def test_one_component_and_diagonal_covariances_agree_with_the_general_case():
    x, std = RNG.normal(size=(6, 3)), np.array([0.3, 1.0, 2.0])
    for process in PATHS:
        pairs = [
            targets.Gaussian(MEAN, np.diag(std**2)).score(process).pair(0.4, x),
            targets.Gaussian(MEAN, std=std).score(process).pair(0.4, x),
            targets.GaussianMixture([2.0, 6.0], [MEAN, MEAN], stds=[std, std]).score(process).pair(0.4, x),
            targets.GaussianMixture([1.0], [MEAN], covs=[np.diag(std**2)]).score(process).pair(0.4, x),
        ]
        for pair in pairs[1:]:
            np.testing.assert_allclose(pair, pairs[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("target", [targets.Gaussian(MEAN, COV), MIXTURE, targets.Empirical(DATA, 0.3)])
def test_both_ends(target):
    """At sigma = 0 the state is the data; at alpha = 0 it says nothing, and D is the mean."""
    x = RNG.normal(size=(5, 3))
    clean, eps = target.score(At(0.5, 0.0)).pair(0.0, x)
    np.testing.assert_allclose(clean, x / 0.5, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(eps, np.zeros_like(x))
    tiny = target.score(At(0.5, 1e-12)).pair(0.0, x)
    np.testing.assert_allclose(tiny[1], -1e-12 * target.score(At(0.5, 0.0))(0.0, x), rtol=1e-10)
    clean, eps = target.score(At(0.0, 3.0)).pair(0.0, x)
    mean = {"Gaussian": MEAN, "GaussianMixture": WEIGHTS @ MEANS, "Empirical": DATA.mean(0)}[type(target).__name__]
    np.testing.assert_allclose(clean, np.broadcast_to(mean, x.shape), rtol=0, atol=1e-13)
    np.testing.assert_allclose(eps, x / 3.0, rtol=1e-13)  # turned to the eigenvectors and back


def test_singular_covariances():
    """Zero eigenvalues are exactly zero: the state is projected, not left with noise."""
    direction = np.array([1.0, 2.0, 2.0]) / 3
    target = targets.Gaussian(MEAN, np.outer(direction, direction))
    assert sorted(target.eigen()[0])[:2] == [0.0, 0.0]
    x = RNG.normal(size=(4, 3))
    clean, eps = target.score(At(1.0, 0.0)).pair(0.0, x)
    np.testing.assert_allclose(clean, MEAN + np.outer((x - MEAN) @ direction, direction), atol=1e-14)
    np.testing.assert_array_equal(eps, np.zeros_like(x))
    with pytest.raises(ValueError, match="singular"):
        target.log_prob(x)
    point = targets.Gaussian(MEAN, std=0.0).score(processes.VP())
    np.testing.assert_allclose(point.pair(0.5, x)[0], np.broadcast_to(MEAN, x.shape), rtol=1e-14)


def test_log_prob_of_clean_targets():
    x = torch.tensor(RNG.normal(size=(2, 4, 3)))
    log = mixture_log_prob(WEIGHTS, MEANS, COVS, x)
    np.testing.assert_allclose(MIXTURE.log_prob(x.numpy()), log, rtol=1e-12)
    one = mixture_log_prob([1.0], [MEAN], [COV], x)
    np.testing.assert_allclose(targets.Gaussian(MEAN, COV).log_prob(x.numpy()), one, rtol=1e-12)
    blurred = mixture_log_prob(np.full(40, 1 / 40), DATA, np.stack([0.09 * np.eye(3)] * 40), x)
    np.testing.assert_allclose(targets.Empirical(DATA, 0.3).log_prob(x.numpy()), blurred, rtol=1e-12)
    assert targets.Gaussian(1.0, std=2.0).log_prob(0.0) == pytest.approx(-0.125 - math.log(2 * math.sqrt(2 * math.pi)))


def test_scalar_targets_act_on_each_entry():
    x = RNG.normal(size=(4, 5))
    gaussian, mixture = targets.Gaussian, targets.GaussianMixture
    w, m, columns = [1, 3], [-1, 2], [[-1], [2]]
    pairs = [
        (gaussian(0.7, std=0.5), gaussian([0.7], std=0.5)),
        (gaussian(0.7, 0.25), gaussian([0.7], [[0.25]])),
        (mixture(w, m, stds=0.5), mixture(w, columns, stds=0.5)),
        (mixture(w, m, covs=[0.1, 4]), mixture(w, columns, covs=[[[0.1]], [[4]]])),
        (targets.Empirical(DATA[:, 0], 0.1), targets.Empirical(DATA[:, :1], 0.1)),
    ]
    for scalar, vector in pairs:
        assert scalar.event_dims == 0 and vector.event_dims == 1
        got, want = (
            scalar.score(PATHS[0]).pair(0.4, x),
            vector.score(PATHS[0]).pair(0.4, x[..., None]),
        )
        np.testing.assert_array_equal(got, np.asarray(want)[..., 0])
        assert scalar.log_prob(x).shape == (4, 5)
        assert scalar.sample(7, seed=0).shape == (7,) and vector.sample(7, seed=0).shape == (7, 1)


def test_images_and_times_per_path():
    """B = C = H = W: a time on the wrong axis would not change the shape."""
    images = RNG.normal(size=(6, 3, 3, 3))
    x, t = RNG.normal(size=(3, 3, 3, 3)), np.array([0.1, 0.5, 1.0])
    for target in (
        targets.Gaussian(images[0], std=np.abs(images[1])),
        targets.GaussianMixture(np.ones(6), images, stds=0.2),
        targets.Empirical(images, 0.2),
    ):
        score = target.score(PATHS[0])
        assert target.event_dims == score.event_dims == 3
        together = np.asarray(score.pair(t, x))
        alone = np.stack([score.pair(t[i], x[i]) for i in range(3)], 1)
        np.testing.assert_allclose(together, alone, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(score(t, x)[1], score(0.5, x[1:2])[0], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(score.log_prob(t, x)[2], score.log_prob(1.0, x[2]), rtol=1e-12)
        two = score.pair(np.array([0.1, 0.5]), np.stack([x, x]))[0]
        np.testing.assert_allclose(two[1], score.pair(0.5, x)[0], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(
            score.pair(torch.tensor(t, dtype=torch.float64), torch.tensor(x))[0],
            together[0],
            rtol=1e-12,
            atol=1e-12,
        )


@pytest.mark.parametrize("target", [targets.Gaussian(MEAN, COV), MIXTURE, targets.Empirical(DATA, 0.3)])
def test_types_are_kept_and_float32_is_as_good_as_its_input(target):
    score, x = target.score(processes.VP()), RNG.normal(size=(6, 3)).astype(np.float32)
    want = np.asarray(score.pair(0.3, x.astype(np.float64)))
    for y in (x, torch.tensor(x), torch.tensor(x).to(torch.bfloat16)):
        for time in (0.3, 0.3 + 0 * y[:, 0]):
            pair = score.pair(time, y)
            assert all(type(p) is type(y) and p.dtype == y.dtype for p in pair)
            assert score(time, y).dtype == score.log_prob(time, y).dtype == y.dtype
            if y.dtype in (np.float32, torch.float32):
                np.testing.assert_allclose(np.stack([np.asarray(p) for p in pair]), want, rtol=2e-6, atol=2e-6)
    assert score.pair(0.3, np.ones((2, 3), int))[0].dtype == np.float64


@pytest.mark.parametrize("target", [targets.Gaussian(MEAN, COV), MIXTURE, targets.Empirical(DATA, 0.3)])
def test_differentiable(target):
    """The Jacobian of D, posterior covariance times alpha/sigma², is symmetric; by differences."""
    score, x = target.score(processes.VP()), torch.tensor([0.3, -0.2, 0.8], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda y: score.pair(0.4, y)[0], x)
    h = 1e-6 * torch.eye(3, dtype=torch.float64)
    columns = [(score.pair(0.4, x + e)[0] - score.pair(0.4, x - e)[0]) / 2e-6 for e in h]
    torch.testing.assert_close(jacobian, torch.stack(columns, 1), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(jacobian, jacobian.T, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("target", [targets.Gaussian(MEAN, COV), MIXTURE, targets.Empirical(DATA, 0.3)])
def test_constants_follow_x_to_its_device(target, device):
    score, x = target.score(processes.VP()), RNG.normal(size=(6, 3))
    y = torch.tensor(x, device=device)
    for time in (0.3, torch.full((6,), 0.3, dtype=torch.float64, device=device)):
        clean, eps = score.pair(time, y)
        assert clean.device == eps.device == y.device
        np.testing.assert_allclose(clean.cpu(), score.pair(0.3, x)[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(score(time, y).cpu(), score(0.3, x), rtol=0, atol=1e-11)
        np.testing.assert_allclose(score.log_prob(time, y).cpu(), score.log_prob(0.3, x), rtol=1e-12)
    assert target.sample(4, seed=0, like=y).device == y.device


# --- the data set --------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PATHS, ids=lambda p: type(p).__name__)
def test_empirical_is_a_mixture_of_equal_weights(process):
    mixture = targets.GaussianMixture(np.ones(40), DATA, stds=0.3).score(process)
    empirical, x = targets.Empirical(DATA, 0.3).score(process), RNG.normal(size=(9, 3))
    for t in (0.01, 0.3, 1.0):
        np.testing.assert_allclose(empirical.pair(t, x), mixture.pair(t, x), rtol=0, atol=2e-13)
        np.testing.assert_allclose(empirical(t, x), mixture(t, x), rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(empirical.log_prob(t, x), mixture.log_prob(t, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bandwidth", [0.0, 0.2])
def test_chunks_do_not_matter(bandwidth, monkeypatch):
    score, x = targets.Empirical(DATA, bandwidth).score(At(0.8, 0.3)), RNG.normal(size=(11, 3))
    whole = np.asarray([*score.pair(0.0, x), score(0.0, x)]), score.log_prob(0.0, x)
    for rows, entries in [(1, 1), (3, 8), (4, 100), (11, 40)]:
        monkeypatch.setattr(targets.empirical, "PATHS", rows)
        monkeypatch.setattr(targets.empirical, "ENTRIES", entries)
        parts = np.asarray([*score.pair(0.0, x), score(0.0, x)]), score.log_prob(0.0, x)
        for part, all_at_once in zip(parts, whole, strict=True):
            np.testing.assert_allclose(part, all_at_once, rtol=1e-12, atol=1e-13)
        torch_clean = score.pair(0.0, torch.tensor(x))[0]
        np.testing.assert_allclose(torch_clean, whole[0][0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("sigma", [1.0, 1e-1, 1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_cancellation_at_small_noise(dtype, sigma, offset):
    """|x|² − 2xy + |y|² against direct differences, near data points and between pairs of them.

    Pairs lie 2 sigma apart, where the posterior is undecided; the offset is large for the spread.
    """
    rng = np.random.default_rng(1)
    data = rng.normal(size=(30, 64)) + offset
    step = np.zeros(64)
    step[0] = 2 * sigma
    data = np.concatenate([data, data + step])
    x = np.concatenate([data[:30] + 0.5 * step, data[:10] + sigma * rng.normal(size=(10, 64))]).astype(dtype)
    clean, _ = targets.Empirical(data).score(At(1.0, sigma)).pair(0.0, x)
    want, _ = direct(data, 0.0, 1.0, sigma, x)
    error = np.abs(clean - want).max()
    # exponents are off by a few ulp·|x||y|/sigma², and so is D by that times sigma/2
    bound = 3e-15 * 64 / sigma + (1e-13 + np.finfo(dtype).eps) * (1 + offset)
    assert error < bound


def test_bandwidth_zero_at_no_noise_is_the_nearest_point():
    score, x = targets.Empirical(DATA).score(processes.FlowPath()), RNG.normal(size=(50, 3))
    nearest = DATA[((x[:, None] - DATA) ** 2).sum(-1).argmin(1)]
    for y in (x, x.astype(np.float32), torch.tensor(x)):
        for t in (0.0, 1e-9, 1e-150, 0.0 * y[:, 0]):
            clean, eps = score.pair(t, y)
            np.testing.assert_allclose(clean, nearest, rtol=0, atol=1e-6 if y.dtype == np.float32 else 1e-8)
            assert np.isfinite(np.asarray(eps)).all() or t == 1e-150  # (x − D)/1e-150 leaves float32
    assert not score.pair(0.0, x)[1].any()
    for undefined in (lambda: score(0.0, x), lambda: targets.Empirical(DATA).log_prob(x)):
        with pytest.raises(ValueError, match="bandwidth"):
            undefined()
    np.testing.assert_allclose(score(0.3, x), -score.pair(0.3, x)[1] / 0.3, rtol=1e-12)


def test_empirical_memory_is_bounded():
    """All 2000 x 8000 distances would be 128 MB; the result is 0.5 MB."""
    data, x = RNG.normal(size=(8000, 16)), RNG.normal(size=(2000, 16))
    score = targets.Empirical(data, 0.1).score(processes.VP())
    tracemalloc.start()
    score.pair(0.5, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15e6


def test_empirical_takes_tensors():
    tensor = targets.Empirical(torch.tensor(DATA), 0.3)
    x = RNG.normal(size=(5, 3))
    want = targets.Empirical(DATA, 0.3).score(PATHS[0]).pair(0.4, x)
    np.testing.assert_allclose(tensor.score(PATHS[0]).pair(0.4, torch.tensor(x))[0], want[0], rtol=1e-13)
    np.testing.assert_allclose(tensor.score(PATHS[0]).pair(0.4, x)[0], want[0], rtol=1e-13)
    draws = tensor.sample(6, seed=0)
    assert isinstance(draws, torch.Tensor) and draws.shape == (6, 3)


# --- draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [targets.Gaussian(MEAN, COV), MIXTURE, targets.Empirical(DATA, 0.5)])
def test_samples_have_the_moments(target):
    """Means and covariances of 1e5 draws within 5 standard errors.

    12 statistics fail by chance with probability 12 · 5.7e-7 < 1e-5 (normal approximation).
    """
    n = 100_000
    draws = target.sample(n, seed=3)
    if isinstance(target, targets.Gaussian):
        mean, cov = MEAN, COV
    elif isinstance(target, targets.GaussianMixture):
        mean = WEIGHTS @ MEANS
        cov = np.einsum("k,kij->ij", WEIGHTS, COVS) + np.cov(MEANS.T, aweights=WEIGHTS, bias=True)
    else:
        mean, cov = DATA.mean(0), np.cov(DATA.T, bias=True) + 0.25 * np.eye(3)
    centred = draws - mean
    products = centred[:, :, None] * centred[:, None, :]
    assert (np.abs(centred.mean(0)) < 5 * np.sqrt(np.diag(cov) / n)).all()
    assert (np.abs(products.mean(0) - cov) < 5 * products.std(0) / math.sqrt(n)).all()


def test_samples_are_reproducible_and_append():
    for target in (
        targets.Gaussian(MEAN, COV),
        MIXTURE,
        targets.Empirical(DATA, 0.5),
        targets.Empirical(DATA),
    ):
        draws = target.sample(50, seed=1)
        assert draws.shape == (50, 3) and draws.dtype == np.float64
        np.testing.assert_array_equal(draws[:20], target.sample(20, seed=1))
        assert not np.array_equal(draws, target.sample(50, seed=2))
        single = target.sample(50, seed=1, like=torch.zeros(1))
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single, draws, rtol=1e-5, atol=1e-5)
        assert not np.array_equal(target.sample(50), target.sample(50))  # equal with probability 40^-50
        assert target.sample(np.int64(0), seed=1).shape == (0, 3)
    exact = targets.Empirical(DATA).sample(1000, seed=0)
    assert (exact[:, None] == DATA).all(-1).any(1).all()
    images = targets.GaussianMixture([1, 1], RNG.normal(size=(2, 2, 4)), covs=np.stack([np.eye(8)] * 2))
    assert images.sample(5, seed=0).shape == (5, 2, 4)


def test_scalar_mixture_draws_follow_its_distribution_function():
    """Kolmogorov's distance of 1e5 draws; a true sampler exceeds 2.6/√n with probability 2e-6."""
    from scipy.stats import norm

    x = np.sort(targets.GaussianMixture([1.0, 3.0], [-1.0, 2.0], stds=[0.5, 1.0]).sample(100_000, seed=5))
    cdf = 0.25 * norm.cdf(x, -1, 0.5) + 0.75 * norm.cdf(x, 2, 1)
    assert np.abs(cdf - (np.arange(len(x)) + 0.5) / len(x)).max() < 2.6 / math.sqrt(len(x))


# --- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [targets.Gaussian(MEAN, COV), MIXTURE, targets.Empirical(DATA, 0.5)])
def test_records_pickle(target):
    x = RNG.normal(size=(2, 3))
    copy = pickle.loads(pickle.dumps(target))
    assert type(copy) is type(target)
    score = pickle.loads(pickle.dumps(copy.score(processes.VP())))
    np.testing.assert_array_equal(score.pair(0.5, x), target.score(processes.VP()).pair(0.5, x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: targets.Gaussian(MEAN), "either cov or std"),
        (lambda: targets.Gaussian(MEAN, COV, 1.0), "either cov or std"),
        (lambda: targets.Gaussian(MEAN, COV[:2, :2]), "3 by 3"),
        (lambda: targets.Gaussian(MEAN, FACTOR), "symmetric"),
        (lambda: targets.Gaussian(MEAN, -COV).score(), "negative eigenvalue"),
        (lambda: targets.Gaussian(MEAN, std=-1.0), "std must be >= 0"),
        (lambda: targets.Gaussian(MEAN * np.nan, std=1.0), "mean must be finite"),
        (
            lambda: targets.GaussianMixture([1.0, 0.0], MEANS[:2], stds=1.0),
            "weights must be positive",
        ),
        (lambda: targets.GaussianMixture([1.0], MEANS, stds=1.0), "one per mean"),
        (lambda: targets.Gaussian(1j, std=1.0), "mean must be an array of real numbers"),
        (lambda: targets.Gaussian("1", std=1.0), "mean must be an array of real numbers"),
        (lambda: targets.Gaussian([[0.0], [0.0, 1.0]], std=1.0), "mean must be an array of real numbers"),
        (lambda: targets.Gaussian(MEAN, std=np.ma.array([1.0, 1.0, 1.0], mask=[0, 0, 1])), "std must be an array"),
        (lambda: targets.GaussianMixture([1.0], np.array(["2020"], "M8[Y]"), stds=1.0), "means must be an array"),
        (lambda: targets.Empirical(DATA + 1j), "data must be an array of real numbers"),
        (lambda: targets.Empirical(torch.tensor(DATA) + 1j), "data must be an array of real numbers"),
        (lambda: targets.Empirical(DATA, "1"), "bandwidth must be"),
        (lambda: targets.Empirical(DATA, np.ones(3)), "bandwidth must be"),
        (lambda: MIXTURE.sample(-1), "n must be an integer >= 0, got -1"),
        (lambda: targets.Gaussian(MEAN, COV).sample(2.5), "n must be an integer >= 0, got 2.5"),
        (lambda: targets.Empirical(DATA).sample(True, seed=0), "n must be an integer >= 0, got True"),
        (lambda: targets.Empirical(DATA).sample((3,)), "n must be an integer >= 0"),
        (lambda: targets.Empirical(DATA).sample(3, seed=-1), "seed must be an integer"),
        (lambda: targets.Empirical(DATA, -1.0), "bandwidth must be"),
        (lambda: targets.Empirical(DATA[:0]), "not empty"),
        (lambda: targets.Empirical(DATA * np.inf), "finite"),
        (lambda: MIXTURE.score(processes.GBM()), "process must be a noising process with a marginal, .* got GBM"),
        (lambda: MIXTURE.log_prob(np.ones((4, 2))), "must hold 3 values"),
        (lambda: targets.Empirical(DATA, 1.0).log_prob(np.ones(2)), "must hold 3 values"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
