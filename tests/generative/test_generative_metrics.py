"""Metrics against closed forms, and their floors on exact samples."""

import math

import numpy as np
import pytest
from backends import needs

needs("torch", "ot", "sklearn")

import torch  # noqa: E402

import sdekit as sk  # noqa: E402
from generative import metrics  # noqa: E402
from generative.data import Set, checkerboard, eight_gaussians, two_moons  # noqa: E402


def gaussian(shift=0.0, std=1.0):
    """N(shift (1, 1), std²) as a set."""
    law = sk.GaussianMixture([1.0], [[shift, shift]], stds=std)
    return Set("gaussian", law.sample, law.log_prob, 6.0)


def normal(n, seed, shift=0.0, std=1.0):
    return shift + std * sk.noise.normal((n, 2), seed)


def test_cell_probabilities_are_products_of_normal_distribution_functions():
    p = metrics.cell_probabilities(gaussian(), cells=30)
    edges = np.linspace(-6, 6, 31)
    cdf = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in edges])
    assert np.allclose(p, np.diff(cdf)[:, None] * np.diff(cdf), rtol=0, atol=1e-9)
    assert metrics.cell_probabilities(checkerboard).max() == pytest.approx(1 / 800, rel=1e-12)


@pytest.mark.parametrize("target", [eight_gaussians, two_moons, checkerboard], ids=lambda s: s.name)
def test_grid_kl_of_exact_samples_is_its_floor(target):
    """Within 10 % (what the count of cells is off by) and 5 standard deviations: false failures below 1e-6."""
    n = 100_000
    value, _, floor = metrics.kl_grid(target.sample(n, seed=5), target)
    cells = 2 * n * floor + 1
    assert abs(value - floor) < 0.1 * floor + 5 * math.sqrt(cells / 2) / n


def test_grid_kl_knows_its_standard_error():
    """Of 40 repetitions with a mode at a third of its weight: their spread is known to 11 %; 5 of these are 6e-7."""
    found = []
    for seed in range(40):
        x = eight_gaussians.sample(20_000, seed=seed)
        first = (x - eight_gaussians.modes[0]).norm(dim=1) < 0.75
        found.append(metrics.kl_grid(x[~first | (torch.arange(len(x)) % 3 == 0)], eight_gaussians))
    values, errors, _ = np.transpose(found)
    assert values.std() == pytest.approx(errors.mean(), rel=0.55)


def test_samples_that_are_not_finite_are_counted_and_left_out():
    class Broken:
        density, nfe = "none", 1

        def sample(self, n, seed=0):
            x = eight_gaussians.sample(n, seed=seed)
            x[: n // 4] = math.nan
            return x

    row = metrics.measure(Broken(), eight_gaussians, 4000, seed=0)
    assert row["finite"] == 0.75 and math.isfinite(row["KL grid"]) and row["modes"] == 8


def test_grid_kl_of_a_missing_mode_and_of_samples_outside():
    """Seven of eight modes: KL = log(8/7), plus the floor. Off the window samples count in the outermost cells."""
    n = 100_000
    x = eight_gaussians.sample(n, seed=5)
    kept = x[(x - eight_gaussians.modes[0]).norm(dim=1) > 0.75]
    value, _, floor = metrics.kl_grid(kept, eight_gaussians)
    assert value - floor == pytest.approx(math.log(8 / 7), abs=5e-3)
    x[:100] = 1e6
    assert metrics.kl_grid(x, eight_gaussians).value > value - math.log(8 / 7) + 0.05
    x[:] = 0.5  # all in one cell: KL = −log p there
    p = metrics.cell_probabilities(eight_gaussians)
    assert metrics.kl_grid(x, eight_gaussians).value == pytest.approx(-math.log(p[28, 28]))
    assert metrics.kl_grid(eight_gaussians.sample(1000, seed=0), checkerboard).value == math.inf
    with pytest.raises(ValueError, match="finite"):
        metrics.kl_grid(x * math.nan, eight_gaussians)


def test_kl_of_gaussians_by_log_prob_and_by_neighbours():
    """KL(N(0, s²) ‖ N(m, 1)) = s² − 1 − 2 log s + m² in two dimensions. By log_prob within 5 standard errors (false
    failures 6e-7); by neighbours within 0.1, about 5 standard deviations."""
    model, target = gaussian(std=0.8), gaussian(shift=0.5)
    exact = 0.8**2 - 1 - 2 * math.log(0.8) + 0.5**2
    estimate = metrics.kl_exact(model, target, seed=0)
    assert abs(estimate.value - exact) < 5 * estimate.stderr < 0.1
    assert metrics.kl_exact(target, target, seed=0) == (0.0, 0.0, 0.0)
    assert metrics.kl_knn(normal(10_000, 1, std=0.8), normal(10_000, 2, shift=0.5)) == pytest.approx(exact, abs=0.1)
    entropy = metrics.nll(target, target.sample(10_000, seed=1))
    assert abs(entropy.value - (1 + math.log(2 * math.pi))) < 5 * entropy.stderr


def test_distances_of_shifted_samples():
    """Y = X + (3, 4) for the same X: W₁ = W₂ = 5 exactly; its projections have mean square 25/2."""
    x = normal(500, 1)
    y = x + np.array([3.0, 4.0])
    assert metrics.wasserstein(x, y, order=1) == pytest.approx(5, rel=1e-9)
    assert metrics.wasserstein(x, y, order=2) == pytest.approx(5, rel=1e-9)
    directions = 500  # the mean of 25 cos² over directions has relative standard deviation √(1/2)/√500 = 0.03
    assert metrics.sliced_w2(x, y, directions, seed=0) ** 2 == pytest.approx(12.5, rel=0.16)


def test_mmd_and_energy_distance_against_their_sums():
    x, y = normal(40, 1), normal(30, 2, shift=1.0)

    def mean(kernel, a, b):
        return np.mean([kernel(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if a is not b or i != j])

    def distance(p, q):
        return math.dist(p, q)

    width = np.median([distance(p, q) for p in y for q in y])

    def kernel(p, q):
        return math.exp(-0.5 * (distance(p, q) / width) ** 2)

    energy = 2 * mean(distance, x, y) - mean(distance, x, x) - mean(distance, y, y)
    discrepancy = mean(kernel, x, x) + mean(kernel, y, y) - 2 * mean(kernel, x, y)
    assert metrics.energy_distance(x, y) == pytest.approx(energy)
    assert metrics.mmd(x, y) == pytest.approx(discrepancy)


def test_distances_of_equal_laws_are_at_their_floor():
    """Unbiased: means near 0 and not above; a standard deviation is about 1/1000 here, the bounds are 8 of them."""
    x, y = normal(1000, 1), normal(1000, 2)
    assert abs(metrics.mmd(x, y)) < 8e-3 and abs(metrics.energy_distance(x, y)) < 8e-3
    assert abs(metrics.kl_knn(x, y)) < 0.3  # 6 standard deviations


def test_modes_found():
    modes = eight_gaussians.modes
    found, quality = metrics.modes_found(eight_gaussians.sample(20_000, seed=1), modes, 0.2)
    assert found == 8 and quality == pytest.approx(1 - math.exp(-4.5), abs=5e-3)  # 6.8 standard errors
    x = modes[torch.arange(1000) % 3]
    assert metrics.modes_found(x, modes, 0.2) == (3, 1.0)
    x[:10] = modes[5]  # 1 % is less than a fifth of 1/8
    assert metrics.modes_found(x, modes, 0.2)[0] == 3
    assert metrics.modes_found(x + 0.7, modes, 0.2) == (0, 0.0)


def test_measure_gives_every_metric():
    row = metrics.measure(eight_gaussians, eight_gaussians, n=500, seed=0)
    assert row["KL exact"] == 0 and row["modes"] == 8 and {"KL grid", "W1", "W2", "MMD²", "NFE", "NLL"} < set(row)

    class Sampler:
        density = "none"

        def sample(self, n, c=None, seed=0):
            return two_moons.sample(n, seed=seed)

    other = metrics.measure(Sampler(), eight_gaussians, n=500, seed=0)
    assert "NLL" not in other and other["W2"] > 2 * row["W2"]
