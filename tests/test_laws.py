"""Laws: densities, scores, moments and draws, against quadrature, mpmath and differentiation."""

import itertools
import math
import pickle

import mpmath
import numpy as np
import pytest
from backends import Later
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from sdekit.laws import LogNormal, NoncentralChiSquare, Normal
from sdekit.noise import normal

stats = Later("scipy.stats")

LAWS = [
    Normal(0.7, 0.3),
    Normal(-2.0, 9.0),
    LogNormal(1.5, 0.2),
    LogNormal(-0.4, 0.5),
    NoncentralChiSquare(5.0, 0.3, 1.2),
    NoncentralChiSquare(2.0, 0.1, 0.4),
    NoncentralChiSquare(1.4, 0.2, 0.5),
    NoncentralChiSquare(6.0, 0.5, 0.0),
    NoncentralChiSquare(900.0, 0.002, 0.6),
]


def expectation(law, f):
    """∫ f(y) p(y) dy, from the side of the support, in pieces of the standard deviation."""
    cuts = law.mean + law.std * np.array([-14.0, -7, -4, -2, -1, 0, 1, 2, 4, 7, 14, 30, 60])
    if isinstance(law, LogNormal):
        cuts = law.median * np.exp(np.sqrt(law.log_var) * np.arange(-12.0, 13.0, 2.0))
    elif isinstance(law, NoncentralChiSquare):
        cuts = np.concatenate([[0.0, 1e-9, 1e-6, 1e-3 * law.std], cuts[cuts > 1e-2 * law.std]])
    cuts = np.sort(cuts)

    def integrand(y):
        return f(y) * math.exp(law.log_prob(y))

    options = {"epsabs": 1e-14, "epsrel": 1e-12, "limit": 200}
    return sum(quad(integrand, a, b, **options)[0] for a, b in itertools.pairwise(cuts))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_density_is_normalised_and_has_the_stated_moments(law):
    slack = 1e-5 if isinstance(law, NoncentralChiSquare) and law.df < 2 else 1e-9  # pole at 0
    assert expectation(law, lambda y: 1.0) == pytest.approx(1.0, abs=slack)
    assert expectation(law, lambda y: y) == pytest.approx(law.mean, rel=slack)
    assert expectation(law, lambda y: (y - law.mean) ** 2) == pytest.approx(law.var, rel=slack)
    assert law.std == pytest.approx(math.sqrt(law.var), rel=1e-14)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_score_is_the_derivative_of_log_prob(law):
    for y in law.mean + law.std * np.array([-1.3, -0.4, 0.0, 0.6, 2.5]):
        if not np.isfinite(law.log_prob(y)):
            continue
        h = 1e-3 * min(law.std, abs(y))
        values = [law.log_prob(y + k * h) for k in (-3, -2, -1, 1, 2, 3)]
        slope = np.dot(values, [-1 / 60, 3 / 20, -3 / 4, 3 / 4, -3 / 20, 1 / 60]) / h
        assert law.score(y) == pytest.approx(slope, rel=1e-8, abs=1e-8 / law.std)


@pytest.mark.parametrize("law", [law for law in LAWS if not isinstance(law, NoncentralChiSquare)], ids=str)
def test_sample_has_the_law(law):
    """By Gauss–Hermite quadrature over z: nothing random. The map is monotone, so the law's
    distribution function at sample(z) is that of z."""
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    draws = law.sample(z)
    assert weights @ draws == pytest.approx(law.mean, rel=1e-12)
    assert weights @ (draws - law.mean) ** 2 == pytest.approx(law.var, rel=1e-12)
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    slope = (law.sample(z + 1e-5) - law.sample(z - 1e-5)) / 2e-5
    middle = abs(z) < 5
    change = np.exp(law.log_prob(draws)) * abs(slope)
    np.testing.assert_allclose(change[middle], density[middle], rtol=1e-8)


@pytest.mark.parametrize("law", [law for law in LAWS if isinstance(law, NoncentralChiSquare)], ids=str)
def test_draws_are_quantiles_of_the_density(law):
    """∫ p(y) dy up to sample(z) is Φ(z), by quadrature of the density in √y, which takes the pole at 0."""
    for z in (-2.5, -0.6, 0.0, 1.2, 3.0):
        end = math.sqrt(law.sample(z))
        start = math.sqrt(max(law.mean - 9 * law.std, 0.0))

        def integrand(root):
            return 2 * root * math.exp(law.log_prob(root * root))

        mass = quad(integrand, start, end, epsabs=1e-13, epsrel=1e-11, limit=200)[0]
        assert mass == pytest.approx(ndtr(z), rel=1e-8)


@pytest.mark.parametrize("df", [0.02, 0.5, 2.0, 30.0, 2e4, 1e6])
@pytest.mark.parametrize("noncentrality", [0.0, 1e-6, 3.0, 400.0, 9.9e3, 1.1e4, 1e6])
def test_draws_far_out_and_for_all_sizes(df, noncentrality):
    """Root search and expansion invert scipy's distribution functions, from each side of the median."""
    z = np.array([-6.0, -4.0, -1.0, 0.0, 0.5, 3.0, 6.0])
    x = NoncentralChiSquare(df, 0.5, 0.5 * noncentrality).sample(z) / 0.5
    assert np.all(np.diff(x) >= 0) and np.all(x >= 0)
    back = np.where(z < 0, ndtri(stats.ncx2.cdf(x, df, noncentrality)), -ndtri(stats.ncx2.sf(x, df, noncentrality)))
    seen = x > 1e-200  # with df = 0.02 the median is 1e-30, and lower quantiles leave the floats
    tolerance = 1e-6 if max(df, noncentrality) < 1e5 else 1e-4  # of scipy's tails, not of the draws
    np.testing.assert_allclose(back[seen], z[seen], rtol=0, atol=tolerance)


def test_draws_without_degrees_of_freedom():
    """A Poisson mixture with mass e^{−λ/2} at 0; the mean is ∫ quantile(p) dp."""
    law = NoncentralChiSquare(0.0, 0.4, 1.2)
    atom = math.exp(-1.5)
    assert law.sample(ndtri(atom) - 1e-9) == 0.0 and law.sample(ndtri(atom + 1e-3)) > 0.0
    mean = quad(lambda p: law.sample(float(ndtri(p))), atom, 1.0, epsabs=1e-9, limit=200)[0]
    assert mean == pytest.approx(law.mean, rel=1e-7)


def test_draws_follow_the_law():
    """Kolmogorov's distance and mean of 2e4 draws; a true sampler exceeds 2.6/√n with probability 3e-6, and 5
    standard errors with 6e-7."""
    z = normal((20_000,), seed=5)
    law = NoncentralChiSquare(1.3, 0.3, np.float64(0.7))
    x = np.sort(law.sample(z))
    cdf = stats.ncx2.cdf(x / 0.3, 1.3, 0.7 / 0.3)
    assert np.abs(cdf - (np.arange(len(x)) + 0.5) / len(x)).max() < 2.6 / math.sqrt(len(x))
    assert abs(x.mean() - law.mean) < 5 * law.std / math.sqrt(len(x))


def test_noncentral_chi_square_has_array_types_but_no_gradient():
    torch = pytest.importorskip("torch")
    law = NoncentralChiSquare(3.0, 0.3, torch.tensor([0.0, 0.5, 2.0]))
    plain = NoncentralChiSquare(3.0, 0.3, np.array([0.0, 0.5, 2.0]))
    for name in ("sample", "log_prob", "score"):
        got, want = getattr(law, name)(torch.tensor([0.5, 0.2, 1.0])), getattr(plain, name)(np.array([0.5, 0.2, 1.0]))
        assert got.dtype == torch.float32 and want.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-5)
        with pytest.raises(ValueError, match="without a gradient"):
            getattr(law, name)(torch.ones(3, requires_grad=True))
        with torch.no_grad():
            getattr(law, name)(torch.ones(3, requires_grad=True))


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: Normal(0, -1), "var"),
        (lambda: Normal(0.0, np.array([1.0, -1e-9])), "var"),
        (lambda: Normal([0.0, 1.0], 1.0), "mean"),
        (lambda: Normal(1j, 1.0), "mean"),
        (lambda: Normal(0.0, "1"), "var"),
        (lambda: Normal(np.ma.array([0.0, 1.0], mask=[0, 1]), 1.0), "mean"),
        (lambda: LogNormal(1.0, -0.1), "log_var"),
        (lambda: LogNormal(np.datetime64("2020-01-01"), 1.0), "median"),
        (lambda: NoncentralChiSquare(-1.0, 1.0, 0.0), "df"),
        (lambda: NoncentralChiSquare(1.0, -1.0, 0.0), "scale"),
        (lambda: NoncentralChiSquare(1.0, 1.0, -1.0), "shift"),
        (lambda: NoncentralChiSquare(1.0, None, 1.0), "scale"),
    ],
)
def test_parameters_that_make_no_law_are_named(make, name):
    """A13: a negative variance and its kin."""
    with pytest.raises(ValueError, match=rf"^\w+: {name} = "):
        make()


@pytest.mark.parametrize("df", [0.3, 1.0, 2.0, 3.7, 40.0, 290.0, 310.0, 2e3])
@pytest.mark.parametrize("noncentrality", [0.0, 1e-12, 1e-3, 2.0, 300.0, 5e3])
def test_noncentral_chi_square_against_mpmath(df, noncentrality):
    mpmath.mp.dps = 30
    scale = 0.3
    law = NoncentralChiSquare(df, scale, scale * noncentrality)
    mean, std = df + noncentrality, math.sqrt(2 * df + 4 * noncentrality)
    for u in (1e-9, 1e-3 * mean, 0.7 * mean, mean, mean + 4 * std):
        order, lam = mpmath.mpf(df) / 2 - 1, mpmath.mpf(law.shift) / mpmath.mpf(scale)
        x = mpmath.mpf(scale * u) / mpmath.mpf(scale)

        def log_density(x, order=order, lam=lam):
            series = mpmath.hyp0f1(order + 1, lam * x / 4, maxterms=10**6)  # a Poisson mixture
            power = order * mpmath.log(x / 2) - mpmath.loggamma(order + 1)
            return power - (x + lam) / 2 + mpmath.log(series) - mpmath.log(2 * mpmath.mpf(scale))

        want = log_density(x)
        slack = 1e-11 * max(1.0, 0.01 * df)
        assert law.log_prob(scale * u) == pytest.approx(float(want), rel=1e-11, abs=slack)
        upper = mpmath.hyp0f1(order + 2, lam * x / 4, maxterms=10**6) / (order + 1)
        lower = mpmath.hyp0f1(order + 1, lam * x / 4, maxterms=10**6)
        slope = order / x - mpmath.mpf(1) / 2 + lam / 4 * upper / lower
        size = float(abs(order / x) + 0.5) / scale
        assert law.score(scale * u) == pytest.approx(float(slope) / scale, abs=1e-10 * size)


def test_noncentral_chi_square_at_and_below_zero():
    for df, want in ((1.0, math.inf), (2.0, math.log(0.5) - 0.5), (3.0, -math.inf)):
        assert NoncentralChiSquare(df, 1.0, 1.0).log_prob(0.0) == want
    want = math.log(0.25) - 0.75  # e^{−λ/2}/(2 scale)
    assert NoncentralChiSquare(2.0, 2.0, 3.0).log_prob(0.0) == pytest.approx(want, rel=1e-15)
    law = NoncentralChiSquare(3.0, 1.0, 1.0)
    assert law.log_prob(-1.0) == -math.inf
    assert math.isnan(law.score(-1.0))


@pytest.mark.parametrize(
    "law, point",
    [
        (Normal(2.0, 0.0), 2.0),
        (LogNormal(2.0, 0.0), 2.0),
        (LogNormal(0.0, 0.3), 0.0),
        (NoncentralChiSquare(3.0, 0.0, 2.0), 2.0),
    ],
    ids=str,
)
def test_a_law_without_variance_is_a_point_mass(law, point):
    assert law.mean == point
    assert law.var == 0.0
    assert law.std == 0.0
    y = np.array([point - 1.0, point, point + 1.0])
    np.testing.assert_array_equal(law.log_prob(y), [-math.inf, math.inf, -math.inf])
    np.testing.assert_array_equal(law.score(y), [math.inf, 0.0, -math.inf])
    assert [law.log_prob(v) for v in y.tolist()] == [-math.inf, math.inf, -math.inf]
    assert [law.score(v) for v in y.tolist()] == [math.inf, 0.0, -math.inf]
    assert law.sample(1.7) == point


def test_log_normal_outside_of_its_support():
    law = LogNormal(2.0, 0.3)
    for y in (-1.0, 0.0):
        assert law.log_prob(y) == -math.inf
        assert math.isnan(law.score(y))
    np.testing.assert_allclose(LogNormal(-2.0, 0.3).log_prob(np.array([-1.0, 1.0])), [law.log_prob(1.0), -math.inf])


@pytest.mark.parametrize("law", [Normal, LogNormal])
def test_array_types_and_precision_are_kept(law):
    torch = pytest.importorskip("torch")
    first = np.array([1.0, 2.0, 3.0])
    second = np.array([0.0, 0.5, 2.0])
    y, z = np.array([1.0, 1.5, 0.7]), np.array([0.3, -1.0, 2.0])
    want = law(first, second)
    names = ("mean", "var", "std")
    for cast in (
        lambda a: a.astype(np.float32),
        lambda a: torch.tensor(a),
        lambda a: torch.tensor(a, dtype=torch.float32),
    ):
        got = law(cast(first), cast(second))
        values = [getattr(got, name) for name in names]
        values += [got.log_prob(cast(y)), got.score(cast(y)), got.sample(cast(z))]
        wants = [getattr(want, name) for name in names]
        wants += [want.log_prob(y), want.score(y), want.sample(z)]
        for value, expected in zip(values, wants, strict=True):
            assert type(value) is type(cast(y))
            assert value.dtype == cast(y).dtype
            np.testing.assert_allclose(np.asarray(value), expected, rtol=2e-6)
    weak = law(2.0, 0.3)
    single = cast(y)
    assert weak.log_prob(single).dtype == single.dtype
    assert weak.score(single).dtype == single.dtype
    assert weak.sample(single).dtype == single.dtype


def test_noncentral_chi_square_broadcasts_and_laws_pickle():
    law = NoncentralChiSquare(np.array([3.0, 4.0])[:, None], 0.5, np.array([0.0, 1.0, 2.0]))
    assert law.log_prob(1.0).shape == law.score(1.0).shape == (2, 3)
    one = NoncentralChiSquare(4.0, 0.5, 2.0)
    assert law.log_prob(1.0)[1, 2] == one.log_prob(1.0)
    for each in LAWS:
        assert pickle.loads(pickle.dumps(each)) == each
