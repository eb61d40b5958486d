"""Data: six distributions in the plane with exact densities, and scikit-learn's digits as images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

import sdekit as sk

__all__ = [
    "Digits", "Set", "checkerboard", "digits", "eight_gaussians", "pinwheel", "rings", "sets", "swiss_roll",
    "two_moons",
]  # fmt: skip


class Set(NamedTuple):
    """A distribution in the plane, whose `sample` and `log_prob` are exact (docstrings of the sets say how).

    `box` is half the side of the window [−box, box]², outside of which lies less than 1e-9 of the mass. `modes` (K, 2)
    and their standard deviation `std` are there where the distribution is a mixture of K equal, separate Gaussians.
    """

    name: str
    draw: Callable
    log_density: Callable
    box: float
    modes: torch.Tensor | None = None
    std: float | None = None

    density, nfe = "exact", 0  # as models say it

    def sample(self, n, c=None, seed=None):
        """n draws, float32 (n, 2), a function of the seed; more draws append to fewer."""
        return torch.as_tensor(self.draw(sk.checks.integer("n", n, 1), sk.noise.fresh(seed))).float()

    def log_prob(self, x):
        """log p(x) of x (n, 2), computed in float64 and returned in x's type; −inf where p = 0."""
        x = torch.as_tensor(x)
        return self.log_density(x if x.is_floating_point() else x.float())


def _eight_gaussians(radius=2.0, std=0.2):
    """Eight equal Gaussians on a circle."""
    angle = np.arange(8) * (math.pi / 4)
    mixture = sk.GaussianMixture(np.ones(8), radius * np.stack([np.cos(angle), np.sin(angle)], 1), stds=std)
    modes = torch.as_tensor(mixture.means).float()
    return Set("eight_gaussians", mixture.sample, mixture.log_prob, 2 * radius, modes, std)


def _blurred(name, curves, std, box, nodes):
    """Curves γ_k(u), u ~ U(0, 1), with equal shares, blurred by N(0, std²).

        p(x) = mean over k of ∫₀¹ N(x; γ_k(u), std²) du,   by Gauss–Legendre quadrature with `nodes` points

    The integrand is analytic: with nodes about std apart the error is below 1e-9 of the largest density.
    """
    u, weights = np.polynomial.legendre.leggauss(nodes)
    means = torch.as_tensor(np.concatenate([np.stack(curve((1 + u) / 2), 1) for curve in curves]))
    log_weights = torch.as_tensor(np.tile(weights, len(curves)) / (2 * len(curves))).log()
    const = log_weights - (means**2).sum(1) / (2 * std**2) - math.log(2 * math.pi * std**2)

    def density(x):
        x = torch.as_tensor(x)
        y = x.double()
        log_p = torch.logsumexp(y @ (means.T / std**2) + const, 1) - (y**2).sum(1) / (2 * std**2)
        return log_p.to(x.dtype)

    def draw(n, seed):
        part, u = np.divmod(len(curves) * sk.noise.uniform((n,), seed, sk.noise.Stream.PLACE), 1.0)
        points = np.stack([np.stack(curve(u), 1) for curve in curves])[part.astype(int), np.arange(n)]
        return points + std * sk.noise.normal((n, 2), seed, sk.noise.Stream.DATA)

    return Set(name, draw, density, box)


def _two_moons(std=0.1):
    """Two half circles of radius 1 that reach into each other (about the origin), blurred."""

    def upper(u):
        return np.cos(math.pi * u) - 0.5, np.sin(math.pi * u) - 0.25

    def lower(u):
        return 0.5 - np.cos(math.pi * u), 0.25 - np.sin(math.pi * u)

    return _blurred("two_moons", (upper, lower), std, 2.5, nodes=60)


def _swiss_roll(std=0.1):
    """The spiral of radius angle/7, from 1.5π to 4.5π, blurred."""

    def spiral(u):
        angle = math.pi * (1.5 + 3 * u)
        return angle * np.cos(angle) / 7, angle * np.sin(angle) / 7

    return _blurred("swiss_roll", (spiral,), std, 3.0, nodes=260)


def _rings(radii=(0.6, 1.2, 1.8), std=0.08):
    """Concentric circles, blurred."""

    def circle(radius):
        return lambda u: (radius * np.cos(2 * math.pi * u), radius * np.sin(2 * math.pi * u))

    return _blurred("rings", tuple(map(circle, radii)), std, 2.5, nodes=250)


def _pinwheel(arms=5, twist=1.0):
    """Gaussian arms N(1.4, 0.35²) × N(0, 0.12²), rotated about the origin and twisted: x = R(twist·|y|) y.

    The twist keeps |y| and areas, so that p(x) is the mixture's density at y = R(−twist·|x|) x.
    """
    angle = np.arange(arms) * (2 * math.pi / arms)
    along, across = np.stack([np.cos(angle), np.sin(angle)], 1), np.stack([-np.sin(angle), np.cos(angle)], 1)
    covs = 0.35**2 * along[:, :, None] * along[:, None] + 0.12**2 * across[:, :, None] * across[:, None]
    mixture = sk.GaussianMixture(np.ones(arms), 1.4 * along, covs)

    def turn(x, rate):
        x = torch.as_tensor(x)
        angle = rate * x.norm(dim=1)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)

    def draw(n, seed):
        return turn(mixture.sample(n, seed), twist)

    return Set("pinwheel", draw, lambda x: mixture.log_prob(turn(x, -twist)), 4.0)


def _checkerboard():
    """Uniform on eight of the sixteen unit squares of [−2, 2]²: p = 1/8 there and 0 elsewhere."""

    def uniform(n, seed, k):
        """Of 20 bits, so that points of float32 stay on their squares."""
        return np.floor(sk.noise.uniform((n,), seed, sk.noise.Stream.PLACE, n=k) * 2**20) / 2**20

    def draw(n, seed):
        x, (row, y) = 4 * uniform(n, seed, 0) - 2, np.divmod(2 * uniform(n, seed, 1), 1.0)
        return np.stack([x, y - 2 * row + np.floor(x) % 2], 1)

    def density(x):
        x = torch.as_tensor(x)
        inside = ((x >= -2) & (x < 2)).all(1) & (x.floor().sum(1) % 2 == 0)
        return torch.where(inside, -math.log(8), -math.inf).to(x.dtype)

    return Set("checkerboard", draw, density, 2.5)


eight_gaussians, two_moons, checkerboard = _eight_gaussians(), _two_moons(), _checkerboard()
swiss_roll, pinwheel, rings = _swiss_roll(), _pinwheel(), _rings()
sets = {s.name: s for s in (eight_gaussians, two_moons, checkerboard, swiss_roll, pinwheel, rings)}


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) in [−1, 1] and labels (N,) 0…9, for training and held out."""

    images: torch.Tensor
    labels: torch.Tensor
    held_images: torch.Tensor
    held_labels: torch.Tensor


def digits(held=0.2):
    """scikit-learn's 1,797 handwritten digits of 8 × 8 pixels, pixel/8 − 1, with a fixed split by class.

    Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI, 1998, doi:10.24432/C50P49.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    held = sk.checks.real("held", held, above=0, below=1)
    images, labels = load_digits(return_X_y=True)
    x, held_x, y, held_y = train_test_split(images, labels, test_size=held, random_state=0, stratify=labels)
    as_images = [torch.tensor(a / 8 - 1, dtype=torch.float32).reshape(-1, 1, 8, 8) for a in (x, held_x)]
    return Digits(as_images[0], torch.tensor(y), as_images[1], torch.tensor(held_y))
