"""Metrics on laws whose distances are known, their floors, and their standard errors.

Random tests have fixed seeds; a bound of 4.5 standard errors fails by chance with probability 7e-6.
"""

import math

import numpy as np
import pytest
from scipy import special

import sdekit as sk
from sdekit.convergence import metrics

LAW = sk.GaussianMixture([0.3, 0.7], [[1.0, 0.5], [-1.0, 0.0]], covs=[[[0.3, 0.1], [0.1, 0.2]], [[0.5, 0], [0, 0.1]]])


def repeated(measure, law, n, times=200):
    """value − floor of exact samples, again and again."""
    found = [measure(law.sample(n, seed=i)) for i in range(times)]
    return np.array([m.value - m.floor for m in found]), np.array([m.stderr for m in found])


# --- the law at a time ---


@pytest.mark.parametrize(
    "target",
    [
        LAW,
        sk.GaussianMixture([1.0, 2.0], [[0.0, 1.0], [2.0, 0.0]], stds=[0.1, 0.4]),
        sk.Gaussian([1.0, 2.0], cov=[[1.0, 0.2], [0.2, 0.5]]),
        sk.Empirical(np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), 0.3),
    ],
    ids=["covs", "stds", "gaussian", "empirical"],
)
def test_the_law_at_a_time_is_the_one_whose_score_targets_give(target):
    x = np.random.default_rng(0).normal(size=(20, 2))
    for process in (sk.VP(), sk.FlowPath(), sk.EDM()):
        want = target.score(process).log_prob(0.4, x)
        np.testing.assert_allclose(metrics.law_at(target, process, 0.4).log_prob(x), want, rtol=1e-10)


# --- against the flow ---


def test_rmse_of_a_shift():
    y = np.random.default_rng(1).normal(size=(50, 3))
    found = metrics.rmse(y, floor=1e-9)(y + 0.25)
    assert found.value == pytest.approx(0.25) and found.stderr < 1e-15 and found.floor == 1e-9
    assert metrics.rmse(y)(y) == (0.0, 0.0, 0.0)


def test_the_standard_error_of_rmse_is_the_spread_of_its_values():
    """300 repetitions know a spread to 4 %; the bound is 5 of them."""
    rng = np.random.default_rng(2)
    found = [metrics.rmse(np.zeros((400, 2)))(rng.normal(size=(400, 2))) for _ in range(300)]
    assert np.std([m.value for m in found]) == pytest.approx(np.mean([m.stderr for m in found]), rel=0.2)
    assert np.mean([m.value for m in found]) == pytest.approx(1, abs=0.01)


def test_misplaced_counts_other_data_points():
    data = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    reference = data[[0, 1, 2, 2]] + 0.1
    found = metrics.misplaced(reference, data)(data[[0, 1, 2, 1]] - 0.05)
    assert found.value == 0.25 and found.stderr == pytest.approx(0.25)


def test_kl_of_affine_maps():
    """y = A x + b of N(0, 1) against N(0, 1): ½ (tr AAᵀ + |b|² − 2 − log det AAᵀ). 4.5 standard errors."""
    torch = pytest.importorskip("torch")
    normal = sk.Gaussian([0.0, 0.0], std=1.0).mixture()
    a, b = torch.tensor([[1.2, 0.1], [-0.2, 0.9]]).double(), torch.tensor([0.1, -0.3]).double()
    want = 0.5 * float((a * a).sum() + b @ b - 2 - torch.logdet(a @ a.T))
    found = metrics.kl(normal, normal)(normal.sample(6000, seed=0), lambda x: x @ a.T + b)
    assert abs(found.value - want) < 4.5 * found.stderr and found.stderr < 0.05 * want
    exact = metrics.kl(normal, normal)(normal.sample(100, seed=0), lambda x: -x)
    assert exact.value < 1e-12


# --- against a law ---


def test_cramer_of_a_shift_on_the_line():
    """∫ (Φ(x) − Φ(x − d))² dx = E|X − Y| − E|X − X'| = 2 [s φ(d/s) + d (Φ(d/s) − ½)] − 2/√π, s = √2."""
    law, d = sk.Gaussian(np.zeros(1), std=1.0).mixture(), 0.7
    gap = 2 * math.exp(-d * d / 4) / math.sqrt(math.pi) + d * math.erf(d / 2)
    want = gap - 2 / math.sqrt(math.pi)
    quantiles = special.ndtri((np.arange(100_000) + 0.5) / 100_000)[:, None]
    assert metrics.sliced_cramer(law)(quantiles).value < 1e-8
    assert metrics.sliced_cramer(law)(quantiles + d).value == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("n", [40, 500])
def test_cramer_is_the_integral_over_the_samples(n):
    """Against the energy form E|X − Y| − ½E|X − X'| − ½E|Y − Y'| of each projection, by quadrature of F."""
    x = LAW.sample(n, seed=3) * 1.1
    across = metrics._directions(2, 16)
    grid = np.linspace(-12, 12, 200_001)
    want = 0.0
    for v, m, s in zip(across.T, *(part.T for part in metrics._projected(LAW, across)), strict=True):
        exact = sum(w * special.ndtr((grid - a) / b) for w, a, b in zip(LAW.weights, m, s, strict=True))
        have = np.searchsorted(np.sort(x @ v), grid, side="right") / n
        want += ((have - exact) ** 2).sum() * (grid[1] - grid[0]) / 16
    assert metrics.sliced_cramer(LAW)(x).value == pytest.approx(want, rel=0.02)


def brute_mmd(x, law, b):
    """MMD² with the expectations under the law by closed form, the samples' by all pairs."""

    def kernel(mean, cov):
        total = cov + b * b * np.eye(2)
        square = np.einsum("...i,ij,...j", mean, np.linalg.inv(total), mean)
        return b * b / math.sqrt(np.linalg.det(total)) * np.exp(-0.5 * square)

    parts = list(zip(law.weights, law.means, law.covs, strict=True))
    own = np.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(-1) / b**2).mean()
    cross = sum(w * kernel(x - mean, cov).mean() for w, mean, cov in parts)
    law_own = sum(u * w * kernel(p - q, c + d) for u, p, c in parts for w, q, d in parts)
    return own - 2 * cross + law_own, 1 - law_own


@pytest.mark.parametrize("b", [0.2, 0.5, 2.0])
def test_mmd_is_the_kernel_formula(b):
    """All pairs in closed form; single precision leaves 1e-6."""
    x = LAW.sample(300, seed=4) + np.array([0.3, 0.0])
    want, spread = brute_mmd(x, LAW, b)
    found = metrics.kernel_mmd(LAW, b)(x)
    assert found.value == pytest.approx(want, abs=2e-6)
    assert found.floor == pytest.approx(spread / 300, rel=1e-6)


def test_mmd_is_for_the_plane():
    with pytest.raises(ValueError, match="states of two numbers"):
        metrics.kernel_mmd(sk.Gaussian(np.zeros(3), std=1.0).mixture())


def test_laws_without_a_density():
    law = sk.GaussianMixture([1.0, 1.0], np.eye(2), stds=0.0)
    with pytest.raises(ValueError, match="law has no density"):
        metrics.sliced_cramer(law)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        metrics.kernel_mmd(law)
    assert metrics.kernel_mmd(law, bandwidth=0.5)(np.eye(2)).value < 1e-9


def test_class_frequencies_are_pearsons():
    data, labels = np.arange(6.0)[:, None], np.array([3, 3, 3, 7, 7, 9])
    x = np.array([[0.1], [1.2], [3.9], [5.0]])
    found = metrics.class_frequencies(data, labels)(x)
    counts, expected = np.array([2, 1, 1]), 4 * np.array([3, 2, 1]) / 6
    assert 4 * found.value == pytest.approx(((counts - expected) ** 2 / expected).sum())
    assert found.floor == pytest.approx(2 / 4)


DATA = np.random.default_rng(5).normal(size=(30, 2))


@pytest.mark.parametrize(
    ("measure", "law"),
    [
        (metrics.sliced_cramer(LAW), LAW),
        (metrics.kernel_mmd(LAW), LAW),
        (metrics.class_frequencies(DATA, np.arange(30) % 4), sk.Empirical(DATA)),
        (metrics.sliced_cramer(metrics.law_at(LAW, sk.VP(), 0.0), directions=3), LAW),
    ],
    ids=["cramer", "mmd", "classes", "three directions"],
)
def test_exact_samples_have_the_floor(measure, law):
    """Mean of 200 repetitions within 4.5 standard errors; the jackknife is right, or up to 1.6 too large here."""
    off, errors = repeated(measure, law, 500)
    assert abs(off.mean()) < 4.5 * off.std() / math.sqrt(len(off))
    assert 0.85 * off.std() < errors.mean() < 1.7 * off.std()


def test_away_from_the_law_the_standard_error_is_right():
    """200 repetitions know a spread to 5 %; the bound is 5 of them."""
    for make in (metrics.sliced_cramer, metrics.kernel_mmd):
        measure = make(LAW)
        found = [measure(LAW.sample(500, seed=i) + 0.5) for i in range(200)]
        assert np.mean([m.stderr for m in found]) == pytest.approx(np.std([m.value for m in found]), rel=0.25)


def test_samples_that_failed_make_no_number():
    x = LAW.sample(100, seed=0)
    x[3, 0] = np.nan
    for make in (metrics.sliced_cramer, metrics.kernel_mmd):
        assert math.isnan(make(LAW)(x).value)
    assert metrics.sliced_cramer(LAW)(1e300 * LAW.sample(100, seed=0)).value < 10  # clipped to the box


def test_tensors_are_measured_alike():
    torch = pytest.importorskip("torch")
    x = LAW.sample(200, seed=6)
    for make in (metrics.sliced_cramer, metrics.kernel_mmd):
        assert make(LAW)(torch.as_tensor(x)) == make(LAW)(x)
    assert metrics.rmse(torch.as_tensor(x))(x + 1).value == pytest.approx(1)


def test_directions_are_unit_and_fixed():
    for d in (1, 2, 7):
        v = metrics._directions(d, 5)
        np.testing.assert_allclose(np.linalg.norm(v, axis=0), 1)
        np.testing.assert_array_equal(v, metrics._directions(d, 5))
