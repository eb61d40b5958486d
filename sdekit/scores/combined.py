"""Scores made from one score: inpainting, and another path. Each is evaluated through the score it holds, once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from .. import math as sm
from ..checks import shown
from ..processes import forms
from ..protocols import Array, NoisingProcess, Score
from ..reprs import line
from .evaluation import floating, holds, like, marginal, nonzero, schedule, weak
from .predictions import gradient


class Holder:
    """What a score has of the one that it holds. It stands behind a NamedTuple, which takes no base of its own."""

    __slots__ = ()

    @property
    def process(self: Any) -> Any:
        return self.score.process

    @property
    def event_dims(self: Any) -> Any:
        return self.score.event_dims

    def given(self: Any, c: Any) -> Any:
        """The same with the score inside conditioned on c."""
        return self._replace(score=self.score.given(c))

    __call__ = gradient


def _must_be_score(name, score):
    if not hasattr(score, "pair"):
        raise ValueError(f"{name} must be a Score, as from_noise and its kin make one of a network, got {score!r}")


def _replaced(score, t, x, change):
    """The pair with `change(D)` for D, and the ε that goes with it: ε + (alpha/sigma) (D − change(D))."""
    t, x = weak(t), floating(x)
    alpha, sigma = marginal(score.process, t, x)
    nonzero(sigma, t, "sigma", "another denoised state does not give the noise there")
    clean, eps = score.pair(t, x)
    new = change(clean)
    return new, eps + alpha / sigma * (clean - new)


class Inpainted(NamedTuple("Inpainted", [("score", Any), ("known", Any), ("mask", Any)]), Holder):
    """Made by `inpainted`."""

    __repr__ = line

    def pair(self, t, x) -> tuple[Any, Any]:
        def change(clean):
            for name, value in (("known", self.known), ("mask", self.mask)):
                try:
                    whole = np.broadcast_shapes(value.shape, clean.shape) == tuple(clean.shape)
                except ValueError:
                    whole = False
                if not whole:
                    raise ValueError(
                        f"{name} has shape {tuple(value.shape)}, which x of {tuple(clean.shape)} does not take"
                    )
            return sm.where(like(self.mask, clean) != 0, like(self.known, clean), clean)

        return _replaced(self.score, t, x, change)


def inpainted(score: Score, known: Array, mask: Array) -> Inpainted:
    """The score given the data where `mask` is true: there D = known, and elsewhere what it was.

        D = mask·known + (1 − mask)·D,   ε = (x − alpha D) / sigma

    `known` and `mask` have the shape of one state, or broadcast with x; entries of `known` outside the mask are
    not looked at. The pair is undefined where sigma = 0 and raises there.

    For the known entries this D is E[x_0 | x_t, known], and samples end at them exactly. For the others D knows
    of the known data only what x_t shows of them through its noise. It is exact where the two groups are
    independent (a Gaussian with diagonal covariance) and else **biased towards the unconditional law**: at high
    noise, where the others begin to be decided, x_t shows little. Two values of unit variance and correlation 0.8, one
    known to be 1: the mean of the other, 0.8, comes out as 0.35 on `FlowPath`. What is missing is
    sigma² ∇ log p(known | x_t)/alpha, which takes derivatives of the network: `measured`, which gives 0.76.
    Source: Y. Wang, J. Yu, J. Zhang, "Zero-shot image restoration using denoising diffusion null-space model",
    ICLR 2023, arXiv:2212.00490.
    """
    _must_be_score("score", score)
    known, mask = (value if arrays.is_tensor(value) else np.asarray(value) for value in (known, mask))
    if not arrays.is_real(known):
        raise ValueError(f"known must be an array of real numbers, got {shown(known)}")
    if not holds((mask == 0) | (mask == 1)):
        raise ValueError(f"mask must be true (1) where data are known and false (0) elsewhere, got {shown(mask)}")
    return Inpainted(score, known, mask)


class OnPath(NamedTuple("OnPath", [("score", Any), ("process", Any)]), Holder):
    """Made by `on_path`."""

    __repr__ = line

    def pair(self, t, x) -> tuple[Any, Any]:
        t, x, own = weak(t), floating(x), self.score.process
        log_snr, end = forms.log_ratio(self.process, t), own.domain[1]
        if end < math.inf:
            log_snr = sm.maximum(log_snr, forms.log_ratio(own, end))
        u = weak(forms.time_of(own, log_snr))
        if not holds(sm.isfinite(u)):
            raise forms.unreached(own, log_snr)
        alpha, sigma = schedule(self.process.marginal(t), x)
        a, s = schedule(own.marginal(u), x)
        total = alpha * alpha + sigma * sigma
        clean, eps = self.score.pair(u, x * sm.sqrt((a * a + s * s) / total))
        rest = (x - alpha * clean - sigma * eps) / total  # rounding, or where u is clamped the signal left out
        return clean + alpha * rest, eps + sigma * rest


def on_path(score: Score, process: NoisingProcess) -> OnPath:
    """A score of one process, (alpha′, sigma′) say, as the score of another, (alpha, sigma), of the same data.

    States of equal alpha/sigma differ by a factor alone: with t′ the time at which the score's own process
    has log(alpha′/sigma′) = log(alpha/sigma),

        (D, ε)(t, x) = (D′, ε′)(t′, x √(alpha′² + sigma′²) / √(alpha² + sigma²)).

    Where t is noisier than any time of the score's process, alpha = 0 included, t′ is the noisiest one, which
    sees no signal where there is very little, as a start from the prior does; ε then keeps
    x = alpha·D + sigma·ε. Where t is less noisy than any time of the score's process it raises.
    """
    _must_be_score("score", score)
    for name, owner in (("score", score.process), ("process", process)):
        if not hasattr(owner, "marginal"):
            raise ValueError(f"{name}: {type(owner).__name__} has no marginal, which on_path needs")
    return OnPath(score, process)
