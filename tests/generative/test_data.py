"""Sets in the plane: samples and densities belong to each other. Digits: a fixed split."""

import math

import numpy as np
import pytest
from backends import needs

needs("torch", "sklearn")

import torch  # noqa: E402

from generative.data import digits, eight_gaussians, sets  # noqa: E402

SETS = pytest.mark.parametrize("target", sets.values(), ids=sets)


def grid(box, cells):
    """Midpoints of cells² squares in [−box, box]², and the area of one."""
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) * (2 * box / cells) - box
    return torch.cartesian_prod(x, x), (2 * box / cells) ** 2


@SETS
def test_the_density_integrates_to_one_and_lives_in_the_window(target):
    points, area = grid(target.box, 120)
    assert float(target.log_prob(points).exp().sum()) * area == pytest.approx(1, abs=1e-6)
    edge = torch.linspace(-target.box, target.box, 101, dtype=torch.float64)
    border = torch.cat([torch.stack(pair, 1) for side in (-target.box, target.box)
                        for pair in ((edge, edge * 0 + side), (edge * 0 + side, edge))])  # fmt: skip
    assert float(target.log_prob(border).exp().max()) < 1e-9


@SETS
def test_samples_follow_the_density(target):
    """Means of six functions of the samples against integrals over the density, each within 5 standard errors: false
    failures 4e-6 per set."""
    n = 20_000
    x, (points, area) = target.sample(n, seed=3).double(), grid(target.box, 120)
    p = target.log_prob(points).exp() * area

    def features(x):
        a, b = x.T
        return torch.stack([a, b, a * b, a * a, (3 * a + b).cos(), (2 * a - 5 * b).sin()])

    f, expected = features(x), features(points) @ p
    assert ((f.mean(1) - expected).abs() < 5 * f.std(1) / n**0.5).all()
    assert (target.log_prob(x) > -25).all()  # each draw is where the density is


@SETS
def test_entropy_from_samples_and_from_the_density(target):
    """−log p averages to the same number both ways (5 standard errors: false failures 6e-7); the checkerboard's is
    log 8 for every sample."""
    points, area = grid(target.box, 120)
    log_p = target.log_prob(points)
    entropy = -float(torch.xlogy(log_p.exp(), log_p.exp()).sum()) * area
    values = -target.log_prob(target.sample(20_000, seed=4).double())
    assert abs(float(values.mean()) - entropy) < 5 * float(values.std()) / 20_000**0.5 + 1e-6


@SETS
def test_samples_are_a_function_of_the_seed_and_append(target):
    x = target.sample(500, seed=1)
    assert x.shape == (500, 2) and x.dtype == torch.float32 and x.abs().max() < target.box
    assert torch.equal(x, target.sample(1000, seed=1)[:500])
    assert not torch.equal(x, target.sample(500, seed=2))
    assert target.log_prob(x).dtype == torch.float32 and target.log_prob(x).shape == (500,)


def test_eight_gaussians_as_they_are_defined():
    radius = eight_gaussians.modes.norm(dim=1)
    assert torch.allclose(radius, torch.full((8,), 2.0)) and eight_gaussians.std == 0.2
    at_mode = -np.log(8 * 2 * np.pi * 0.04)  # the others are 7.6 std away
    assert float(eight_gaussians.log_prob(eight_gaussians.modes[:1].double())) == pytest.approx(at_mode, abs=1e-6)


def test_rings_have_the_density_of_a_blurred_circle():
    """exp(−(r² + R²)/2s²) I₀(rR/s²) / (2πs²): the mean of N(x; R(cos θ, sin θ), s²) over θ, in closed form."""
    r, s = torch.linspace(0, 2.4, 200, dtype=torch.float64), 0.08
    p = sum(torch.exp(-((r - R) ** 2) / (2 * s**2)) * torch.special.i0e(r * R / s**2) for R in (0.6, 1.2, 1.8)) / 3
    angle = 7 * r
    x = torch.stack([r * angle.cos(), r * angle.sin()], 1)
    assert torch.allclose(sets["rings"].log_prob(x).exp(), p / (2 * math.pi * s**2), rtol=1e-6, atol=1e-9)


def test_checkerboard_stays_on_its_squares():
    """Rounding to float32 moves no point to the next square."""
    x = sets["checkerboard"].sample(3_000_000, seed=1)
    assert torch.isfinite(sets["checkerboard"].log_prob(x)).all()


def test_digits_are_images_with_a_fixed_split():
    data, again = digits(), digits()
    assert data.images.shape == (1437, 1, 8, 8) and data.held_images.shape == (360, 1, 8, 8)
    assert data.images.min() == -1 and data.images.max() == 1
    assert set(data.labels.tolist()) == set(range(10))
    share = torch.bincount(data.held_labels) / torch.bincount(data.labels)
    assert (share - 0.25).abs().max() < 0.01  # split within each class
    assert all(torch.equal(a, b) for a, b in zip(data, again, strict=True))
