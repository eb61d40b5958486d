"""Processes made from scores: time reversal and Langevin dynamics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from . import arrays, noise, reprs
from .arrays import combined
from .checks import integer, real, shown
from .processes import forms
from .scores import checked, differs, example, finite, floating, from_score, parameter, schedule, weak

__all__ = ["Langevin", "Reverse"]


def _reverse(process, score, eta=1.0):
    name = type(process).__name__
    for method in ("marginal", "rates", "diffusion"):
        if not hasattr(process, method):
            raise ValueError(f"process: {name} has no {method}(t); Reverse needs a process with a marginal")
    if not getattr(process, "additive", False) or getattr(process, "noise", "diagonal") == "general":
        raise ValueError(f"process: the noise of {name} depends on its state; Reverse needs g(t) alone")
    if getattr(process, "correlation", None) is not None:
        raise ValueError(f"process: {name} has a correlation, but Reverse needs independent noise in each entry")
    if not hasattr(score, "pair"):
        if not callable(score):
            raise ValueError(f"score must be a Score or a function (t, x) -> score, got {score!r}")
        if parameter(score) is not None:
            raise ValueError(
                f"score is the network {shown(score)}: say what it predicts, as in sdekit.scores.from_noise(network, "
                f"process), or from_score where it is the score"
            )
        score = from_score(score, process)
    elif differs(score.process, process):
        raise ValueError(f"score belongs to {score.process}, but the process is {process}")
    return process, score, real("eta", eta, 0, below=math.inf)


@checked(_reverse)
class Reverse(NamedTuple):
    """The process run backwards, from noise to data, along the same densities p_t:

        dX = [alpha′ D + sigma′ ε + ½ η² (g²/sigma) ε] dt + η g dW,   times decreasing.

    The first two terms are f − ½ g² ∇log p_t and the third is −½ η² g² ∇log p_t, for the process
    dX = f dt + g dW. eta = 1 is the reverse-time SDE, eta = 0 the probability-flow ODE, and for any
    eta the law at each time is p_t. `score` is a `Score` of this process, or a function
    (t, x) -> ∇ log p_t(x); of a torch network `sdekit.scores.from_noise` and its kin make one.

    The drift is undefined where sigma(t) = 0 with eta > 0 and where sigma′ or g is infinite (`VP`
    at t = 0, `FlowPath` at t = 1 with eta > 0): there it raises for a single time.
    Source: B. D. O. Anderson, "Reverse-time diffusion equation models", Stochastic Processes and
    their Applications 12, 1982, doi:10.1016/0304-4149(82)90051-5; Y. Song et al., "Score-based
    generative modeling through stochastic differential equations", ICLR 2021, arXiv:2011.13456,
    section 4.3.
    """

    process: Any
    score: Any
    eta: float = 1.0

    __repr__ = reprs.line

    calculus = "ito"
    additive = True

    @property
    def noise(self):
        return "diagonal" if self.eta else "none"

    @property
    def event_dims(self):
        return self.score.event_dims

    @property
    def domain(self):
        return self.process.domain

    def drift(self, t, x):
        """alpha′ D + (sigma′ + ½ η² g²/sigma) ε."""
        t, x = weak(t), floating(x)
        rates = _rates(self.process, self.eta, t, x)
        clean, eps = self.score.pair(t, x)
        return combined((rates[0], clean), (rates[1], eps))

    def diffusion(self, t, x):
        """η g(t), a number or an array that broadcasts with x."""
        t, x = weak(t), floating(x)
        return self.eta * schedule([self.process.diffusion(t, x)], x)[0]

    def pair(self, t, x):
        """(D, ε) with D = E[x_0 | x_t = x] and x = alpha·D + sigma·ε: one evaluation of the network."""
        return self.score.pair(t, x)

    def denoise(self, t, x):
        """D = E[x_0 | x_t = x]."""
        return self.score.pair(t, x)[0]

    def marginal(self, t):
        """(alpha, sigma) of x_t = alpha·x_0 + sigma·ε."""
        return self.process.marginal(t)

    def sigma(self, t):
        """The standard deviation of the noise in x_t."""
        return self.process.marginal(t)[1]

    def time(self, log_snr):
        """The time at which log(alpha/sigma) = log_snr."""
        return forms.time_of(self.process, log_snr)

    def start(self, shape, seed=None, like=None, t=None, first_path=0):
        """Draws of the prior N(0, sigma(t)²) at the end of the domain, or at another time t: a grid means its first.

        **Where the grid begins elsewhere say so: `start(shape, t=grid)`.** `seed` is one, or one for each entry of the
        first axis, whose draws are those of `start((1, *shape[1:]), seed)`. Rows a … b of a batch alone are those of
        first_path = a.

        `shape` holds the path axes and the state. The type, floating-point type and device are those of
        `like`; without it those of a torch network's parameters (float32 at least), else numpy float64.
        The data's share alpha(t)·x_0 is left out.
        """
        t = self.domain[1] if t is None else t
        if math.isinf(t if isinstance(t, float) else 0.0):
            raise ValueError(f"the domain of {type(self.process).__name__} ends at {t}; give start a time t")
        if np.ndim(t) and len(t):
            t = t[0]
        shape = tuple(integer("shape", n) for n in (shape if isinstance(shape, Iterable) else (shape,)))
        if like is not None and not hasattr(like, "dtype"):
            raise ValueError(f"like must be an array or a tensor, got {shown(like)}")
        like = example(self.score) if like is None else like
        draws = _draws(shape, seed, like, integer("first_path", first_path))
        return self.sigma(real("t, a time or a grid,", t, below=math.inf)) * draws


def _draws(shape, seed, like, first_path):
    """Standard normals of the start, with one seed or one for each row."""
    if not np.ndim(seed) or seed is None:
        return noise.normal(shape, seed, noise.Stream.START, like, first=first_path * math.prod(shape[1:]))
    if first_path or len(seed) != shape[0]:
        raise ValueError(f"seed holds {len(seed)} seeds: give one for each of {shape[0]} rows, and no first_path")
    return arrays.stack([noise.normal(shape[1:], int(s), noise.Stream.START, like) for s in seed])


def _rates(process, eta, t, x):
    """alpha′ and sigma′ + ½ η² g²/sigma: the factors of D and ε in the reverse drift."""
    sigma, dalpha, dsigma = schedule((process.marginal(t)[1], *process.rates(t)), x)
    single = isinstance(t, float)
    if eta:
        if single and isinstance(sigma, float) and sigma == 0.0:
            raise ValueError(f"sigma(t) = 0 at t = {t}: the reverse drift is infinite there; stop earlier")
        (g,) = schedule([process.diffusion(t, x)], x)
        dsigma = dsigma + 0.5 * eta * eta * (g * g / sigma)
    if single and not (finite(dalpha) and finite(dsigma)):
        raise ValueError(f"the reverse drift is infinite at t = {t}; keep t inside the domain")
    return dalpha, dsigma


def _langevin(score):
    if not callable(score):
        raise ValueError(f"score must be a function (t, x) -> score, got {score!r}")
    return (score if hasattr(score, "pair") else from_score(score),)


@checked(_langevin)
class Langevin(NamedTuple):
    """Overdamped Langevin dynamics: dX = ∇ log p(X) dt + √2 dW, whose stationary law is p.

    `score` is a function (t, x) -> ∇ log p(x) or a `Score`: `target.score()` for a target itself.
    Its t is the time of this process.
    Source: G. O. Roberts, R. L. Tweedie, "Exponential convergence of Langevin distributions and
    their discrete approximations", Bernoulli 2(4), 1996, doi:10.2307/3318418.
    """

    score: Any

    __repr__ = reprs.line

    calculus = "ito"
    noise = "diagonal"
    additive = True
    domain = (-math.inf, math.inf)

    @property
    def event_dims(self):
        return self.score.event_dims

    def drift(self, t, x):
        return self.score(t, x)

    def diffusion(self, t, x):
        return math.sqrt(2.0)
