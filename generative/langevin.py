"""Langevin sampling of any density: unadjusted through sdekit's process and method, and with the Metropolis test."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

import sdekit as sk

__all__ = ["Chains", "langevin_sample", "mala", "score_of"]


def score_of(log_prob):
    """∇ log p as a function (t, x), by autograd from a function x (B, *event) -> log p (B,) up to a constant.

    For an energy E pass `lambda x: -E(x)`; for a fitted model its `log_prob`.
    """

    def score(t, x):
        return _value_and_score(log_prob, x)[1]

    return score


def langevin_sample(log_prob, x0, step, n, seed=None, every=None):
    """n steps of the unadjusted Langevin algorithm from x0 (B, *event):  x ← x + step ∇ log p(x) + √(2 step) z.

    Its stationary law differs from p by O(step): for N(m, s²) the variance is s²/(1 − step/2s²).
    every  None: the last states alone, (B, *event). k: those after each k steps, (n/k, B, *event)
    """
    process, (x0, step, n, seed, k) = sk.Langevin(score_of(log_prob)), started(x0, step, n, seed, every)
    x = sk.solve(process, x0, ts=np.arange(0, n + 1, k) * step, h=step, method=sk.langevin, seed=seed).x
    return x[-1] if every is None else x[1:]


class Chains(NamedTuple):
    """The chains' states, (B, *event) or (n/k, B, *event), and the share of accepted proposals of each (B,)."""

    x: torch.Tensor
    acceptance: torch.Tensor


@torch.no_grad()
def mala(log_prob, x0, step, n, seed=None, every=None):
    """n steps of the Metropolis-adjusted Langevin algorithm from x0 (B, *event), whose stationary law is p exactly.

        y = x + step ∇ log p(x) + √(2 step) z,   accepted with probability min(1, p(y) q(x | y) / p(x) q(y | x)),
        log q(y | x) = −‖y − x − step ∇ log p(x)‖² / (4 step) + const

    A proposal where log p is −∞ or NaN is rejected. Acceptance near 0.57 is best in many dimensions. `every` is that
    of `langevin_sample`.
    Source: G. Roberts, R. Tweedie, "Exponential convergence of Langevin distributions and their discrete
    approximations", 1996, doi:10.2307/3318418; G. Roberts, J. Rosenthal, "Optimal scaling of discrete approximations to
    Langevin diffusions", 1998, doi:10.1111/1467-9868.00123.
    """
    (x, step, n, seed, often), kept = started(x0, step, n, seed, every), []
    wide = (-1,) + (1,) * (x.ndim - 1)
    value, score = _value_and_score(log_prob, x)
    accepted = torch.zeros_like(value)

    def log_q(to, origin, slope):
        return -((to - origin - step * slope) ** 2).flatten(1).sum(1) / (4 * step)

    for k in range(n):
        y = x + step * score + (2 * step) ** 0.5 * sk.noise.normal(x.shape, seed, sk.noise.Stream.PROPOSAL, like=x, n=k)
        new_value, new_score = _value_and_score(log_prob, y)
        log_ratio = new_value - value + log_q(x, y, new_score) - log_q(y, x, score)
        accept = sk.noise.uniform(value.shape, seed, sk.noise.Stream.ACCEPTANCE, like=x, n=k).log() < log_ratio
        value, accepted = torch.where(accept, new_value, value), accepted + accept
        x, score = (torch.where(accept.reshape(wide), a, b) for a, b in ((y, x), (new_score, score)))
        if (k + 1) % often == 0:
            kept.append(x)
    return Chains(x if every is None else torch.stack(kept), accepted / n)


def started(x0, step, n, seed, every):
    """The arguments of a sampler: starts as a tensor, the size of a step, their number, the seed, which to keep."""
    x0 = torch.as_tensor(x0)
    if x0.ndim < 1 or not x0.is_floating_point() or not x0.isfinite().all():
        raise ValueError(f"x0 must be finite numbers (B, *event), got {x0.dtype} of shape {tuple(x0.shape)}")
    step, n = sk.checks.real("step", step, above=0, below=math.inf), sk.checks.integer("n", n, 1)
    every = n if every is None else sk.checks.integer("every", every, 1, n)
    return x0, step, n, sk.noise.fresh(seed), every


@torch.enable_grad()
def _value_and_score(log_prob, x):
    """log p(x) (B,) and its gradient."""
    x = x.detach().requires_grad_()
    value = log_prob(x)
    if value.shape != x.shape[:1]:
        raise ValueError(f"log_prob must return one value for each of {len(x)} rows, got shape {tuple(value.shape)}")
    (score,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), score
