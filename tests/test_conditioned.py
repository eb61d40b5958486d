"""Scores given an observation, against exact posteriors."""

import math

import numpy as np
import pytest

import sdekit as sk
from sdekit import scores

torch = pytest.importorskip("torch")

VP = sk.VP()
MIXTURE = sk.GaussianMixture([0.3, 0.7], [[1.0, -1.0], [-0.5, 2.0]], stds=[0.4, 0.9])
X = torch.as_tensor(np.random.default_rng(0).normal(size=(6, 2)))
H = np.array([[1.0, 0.5], [0.2, -1.0]])
TIMES = (0.05, 0.4, 0.9)


def near(got, want, tolerance=1e-9):
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("process", [VP, sk.FlowPath(), sk.EDM()], ids=lambda p: type(p).__name__)
def test_the_exact_classifier_of_a_mixture_gives_the_component(process):
    component = sk.Gaussian([1.0, -1.0], std=0.4).score(process)
    mixture = MIXTURE.score(process)

    def log_prob(t, x):
        return math.log(0.3) + component.log_prob(t, x) - mixture.log_prob(t, x)

    given = scores.classified(mixture, log_prob)
    for t in TIMES:
        near(given.pair(t, X), component.pair(t, X))
        with torch.no_grad():
            near([given(t, X)], [component(t, X)])
    doubled = scores.classified(mixture, log_prob, weight=2.0)
    near([doubled(0.4, X)], [2 * component(0.4, X) - mixture(0.4, X)])


def posterior(mean, var, y, noise, matrix=H):
    """N(mean, cov) of x_0 given y = H x_0 + noise z, for the prior N(mean, var)."""
    precision = np.eye(2) / var + matrix.T @ matrix / noise**2
    cov = np.linalg.inv(precision)
    return cov @ (np.asarray(mean) / var + matrix.T @ np.asarray(y) / noise**2), cov


@pytest.mark.parametrize("process", [VP, sk.FlowPath(), sk.EDM()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_measurements_of_a_gaussian_are_exact(process, noise):
    y = np.array([0.7, -0.3])
    mean, cov = posterior([0.4, -0.2], 0.6**2, y, noise)
    exact = sk.Gaussian(mean, cov=cov).score(process)
    given = scores.measured(sk.Gaussian([0.4, -0.2], std=0.6).score(process), y, H, noise, spread=0.6)
    with torch.no_grad():
        for t in TIMES:
            near(given.pair(t, X), exact.pair(t, X))
    each = scores.measured(sk.Gaussian([0.4, -0.2], std=0.6).score(process), np.tile(y, (6, 1)), H, noise, spread=0.6)
    near(each.pair(0.4, X), given.pair(0.4, X))


def test_the_posterior_of_a_mixture():
    """Samples against the exact posterior, itself a mixture, whose means are 0.84 and −0.82.

    With the spread of one component the means are off by 0.03, with that of all data by 0.43 (too near the prior), at D
    alone, as DPS has it, by 0.21 (too narrow), and without a measurement by 0.85.
    """
    y, noise, process = np.array([0.6]), 0.3, VP
    row = np.array([[1.0, 0.3]])
    prior = sk.GaussianMixture([0.5, 0.5], [[1.0, -1.0], [-1.0, 1.0]], stds=0.5)
    parts = [posterior(m, 0.25, y, noise, row) for m in prior.means]
    evidence = [math.exp(-0.5 * (y - row @ m)[0] ** 2 / (0.25 * 1.09 + noise**2)) for m in prior.means]
    share = np.array(evidence) / sum(evidence)
    mean = sum(w * m for w, (m, _) in zip(share, parts))
    spread = math.sqrt(np.abs(prior.means).mean() ** 2 + 0.25)

    def error(score):
        rev = sk.Reverse(process, score)
        x0 = rev.start((4000, 2), seed=0, like=torch.ones(1, dtype=torch.float64))
        with torch.no_grad():
            x = sk.solve(rev, x0, grid=sk.grids.log_snr(process, 60), method=sk.dpmpp_2m_sde, seed=1).final
        return float(np.abs(x.numpy().mean(0) - mean).max())

    plain = prior.score(process)
    plain = prior.score(process)
    local, overall, at_mean = (error(scores.measured(plain, y, row, noise, s)) for s in (0.5, spread, 0.0))
    assert local < 0.09  # 0.03; standard error of a mean: 0.013
    assert 0.12 < at_mean < 0.3 and 0.3 < overall < 0.6 and error(plain) > 0.7


def test_the_bias_of_inpainting_in_numbers():
    """Unit variances, correlation 0.8, first entry known to be 1: the mean of the other is 0.8, and 0 without it.

    Replacing D gives 0.35 on `FlowPath`; with the gradient of the likelihood, which `measured` has, it is 0.76.
    """
    flow = sk.FlowPath()
    plain = sk.Gaussian([0.0, 0.0], cov=[[1.0, 0.8], [0.8, 1.0]]).score(flow)
    ends = {}
    for name, score in {
        "inpainted": scores.inpainted(plain, 1.0, torch.tensor([True, False])),
        "measured": scores.measured(plain, np.array([1.0]), np.array([[1.0, 0.0]]), 1e-3),
    }.items():
        rev, x0 = sk.Reverse(flow, score, eta=0.0), torch.zeros(1, 2, dtype=torch.float64)
        with torch.no_grad():
            ends[name] = sk.solve(rev, x0, grid=np.linspace(0.999, 1e-3, 300), method=sk.heun).final[0, 1].item()
    assert ends["inpainted"] == pytest.approx(0.346, abs=0.01)
    assert ends["measured"] == pytest.approx(0.760, abs=0.01)


def test_errors():
    flow = sk.FlowPath()
    plain = MIXTURE.score(flow)
    given = scores.measured(plain, np.array([0.1, 0.2]), H, 0.1)
    with pytest.raises(ValueError, match=r"alpha\(t\) = 0 at t = 1.*begin later"):
        given.pair(1.0, X)
    with pytest.raises(ValueError, match="x is ndarray; start from a tensor"):
        given.pair(0.4, X.numpy())
    with pytest.raises(ValueError, match="y must hold m = 2 values"):
        scores.measured(plain, np.ones(3), H, 0.1)
    with pytest.raises(ValueError, match="noise = 0 needs spread > 0"):
        scores.measured(plain, np.ones(2), H, 0.0, spread=0.0)
    with pytest.raises(ValueError, match="log_prob must be a function"):
        scores.classified(plain, 3)
    with pytest.raises(ValueError, match="without a history"):
        scores.measured(scores.from_denoiser(torch.no_grad()(lambda t, x: 2 * x), VP), np.ones(2), H, 0.1).pair(0.5, X)
