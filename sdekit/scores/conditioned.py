"""Scores given an observation, by gradients through a score (torch): of a classifier, or of a linear measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from ..checks import real
from ..protocols import Array, Score
from ..reprs import line
from .combined import Holder, _must_be_score
from .evaluation import floating, marginal, nonzero, path_axes, weak


def _shifted(score, t, x, pair, slope):
    """The pair of the score ∇log p + slope: D + (sigma²/alpha) slope, ε − sigma slope."""
    alpha, sigma = marginal(score.process, t, x)
    clean, eps = pair
    nonzero(alpha, t, "alpha", "a gradient does not give the denoised state there; begin later, as grids.log_snr does")
    return clean + sigma * sigma / alpha * slope, eps - sigma * slope


def _tracked(x, name):
    if not arrays.is_tensor(x):
        raise ValueError(f"{name} takes gradients, which tensors have: x is {type(x).__name__}; start from a tensor")
    return x.detach().clone().requires_grad_()


class Classified(NamedTuple("Classified", [("score", Any), ("log_prob", Callable), ("weight", float)]), Holder):
    """Made by `classified`."""

    __repr__ = line

    def pair(self, t, x) -> tuple[Any, Any]:
        t, x = weak(t), floating(x)
        torch = arrays.torch()
        with torch.inference_mode(False), torch.enable_grad():
            tracked = _tracked(x, "classified")
            total = self.log_prob(t, tracked).sum()
            if not total.requires_grad:
                raise ValueError("log_prob gives numbers without a history; let torch record what it does to x")
            (slope,) = torch.autograd.grad(total, tracked)
        return _shifted(self, t, x, self.score.pair(t, x), self.weight * slope)


def classified(score: Score, log_prob: Callable[[Any, Any], Any], weight: float = 1.0) -> Classified:
    """Classifier guidance: the score of p_t(x) p(c | x_t)^weight; exact for weight 1 and the classifier's own law.

        ∇ log p_t(x) + weight ∇ log p(c | x_t)

    `log_prob(t, x)` is log p(c | x_t), one value per path, of the noised state; torch differentiates it.
    Source: P. Dhariwal, A. Nichol, "Diffusion models beat GANs on image synthesis", NeurIPS 2021, arXiv:2105.05233.
    """
    _must_be_score("score", score)
    if not callable(log_prob):
        raise ValueError(f"log_prob must be a function (t, x) -> log p(c | x_t) of each path, got {log_prob!r}")
    return Classified(score, log_prob, real("weight", weight, below=math.inf))


class Measurement(NamedTuple):
    """A measurement; `basis` (m, m) diagonalises H Hᵀ, with eigenvalues `gains` (m,)."""

    score: Any
    y: Any
    operator: Any
    noise: float
    spread: float
    basis: Any
    gains: Any


class Measured(Measurement, Holder):
    """Made by `measured`."""

    __repr__ = line

    def pair(self, t, x) -> tuple[Any, Any]:
        t, x = weak(t), floating(x)
        torch = arrays.torch()
        with torch.inference_mode(False), torch.enable_grad():
            tracked = _tracked(x, "measured")
            clean, eps = self.score.pair(t, tracked)
            if not clean.requires_grad:
                raise ValueError("score gives a D without a history, whose derivative is lost; let torch record it")
            path = path_axes(x, self.event_dims)
            pull = self._pull(t, clean.reshape(*path, -1))
            (slope,) = torch.autograd.grad((pull.detach() * clean.reshape(*path, -1)).sum(), tracked)
        return _shifted(self, t, x, (clean.detach(), eps.detach()), slope)

    def _pull(self, t, clean):
        """Hᵀ (r² H Hᵀ + noise²)⁻¹ (y − H D), of shape (*path axes, d)."""
        H, y, basis, gains = (arrays.beside(v, clean) for v in (self.operator, self.y, self.basis, self.gains))
        alpha, sigma = marginal(self.process, t, clean[..., :1])
        rest = sigma * sigma * self.spread**2 / (alpha * alpha * self.spread**2 + sigma * sigma)  # r²
        inside = ((y - clean @ H.T) @ basis) / (rest * gains + self.noise**2)
        return inside @ basis.T @ H


def measured(score: Score, y: Array, operator: Array, noise: float, spread: float = 1.0) -> Measured:
    """The score given a linear measurement y = H x_0 + noise·z of the data, by the gradient of its likelihood.

        p(x_0 | x_t) ≈ N(D, r²),   r² = sigma² spread²/(alpha² spread² + sigma²)
        ∇ log p(y | x_t) ≈ (∂D/∂x)ᵀ Hᵀ (r² H Hᵀ + noise²)⁻¹ (y − H D)

    y         (m,), or one per path (*path axes, m)
    operator  H, (m, d) on the d values of a state in a row; rows of the unit matrix are inpainting
    noise     standard deviation of the measurement's noise, above 0, or 0 where H Hᵀ is regular and spread > 0
    spread    standard deviation of the data (ΠGDM); 0 is the likelihood at D itself (DPS, with its step of theory)

    Exact for data N(mean, spread²) of independent values, whatever H. Else biased: of two components with standard
    deviation 0.5 around (1, −1) and (−1, 1), measured by x₁ + 0.3 x₂ = 0.6 with noise 0.3, the posterior's means are
    0.84 and −0.82, and come off by 0.03 with spread = 0.5, by 0.43 with the spread 1.12 of all data, by 0.21 with 0.
    One derivative of the network for each evaluation; works under torch.no_grad().
    Sources: J. Song et al., "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023; H. Chung et al.,
    "Diffusion posterior sampling for general noisy inverse problems", ICLR 2023, arXiv:2209.14687.
    """
    _must_be_score("score", score)
    H = np.asarray(arrays.on_host(operator))
    if H.ndim != 2:
        raise ValueError(f"operator must be a matrix (m, d), got shape {H.shape}")
    if not arrays.is_real(y) or y.ndim < 1 or y.shape[-1] != len(H):
        raise ValueError(f"y must hold m = {len(H)} values on its last axis, got shape {tuple(np.shape(y))}")
    noise, spread = real("noise", noise, 0, below=math.inf), real("spread", spread, 0, below=math.inf)
    gains, basis = np.linalg.eigh(H @ H.T)
    if noise == 0 and not (spread and gains[0] > 1e-12 * gains[-1]):
        raise ValueError("noise = 0 needs spread > 0 and an operator of full row rank; give the noise")
    return Measured(score, y, H, noise, spread, basis, gains)
