"""Guidance between scores, and bounds on D. Each is evaluated through the scores it holds, once each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from .. import math as sm
from ..checks import real, shown
from ..protocols import Array, Score
from ..reprs import line
from .combined import Holder, _must_be_score, _replaced
from .evaluation import differs, floating, like, marginal, path_axes, weak
from .predictions import RULES, gradient


class Bounded(NamedTuple("Bounded", [("score", Any), ("change", Callable), ("kept", bool)]), Holder):
    """Made by `clipped` and `thresholded`."""

    __repr__ = line

    def pair(self, t, x) -> tuple[Any, Any]:
        def change(clean):
            return self.change(clean, clean.ndim - len(path_axes(clean, self.event_dims)))

        if not self.kept:
            return _replaced(self.score, t, x, change)
        clean, eps = self.score.pair(t, x)
        return change(clean), eps


def _bounded(score, change, noise):
    _must_be_score("score", score)
    if noise not in ("moved", "kept"):
        raise ValueError(f"noise must be 'moved' (x = alpha D + sigma ε goes on to hold) or 'kept', got {noise!r}")
    return Bounded(score, change, noise == "kept")


class Clip(NamedTuple):
    """D clipped to [lo, hi]."""

    lo: float
    hi: float

    def __call__(self, clean, event_dims):
        return sm.minimum(sm.maximum(clean, self.lo), self.hi)


def clipped(score: Score, lo: float = -1.0, hi: float = 1.0, *, noise: str = "moved") -> Bounded:
    """The score with D clipped to [lo, hi], the range of the data, and ε = (x − alpha D) / sigma after that.

    Entries whose D lies inside keep their ε to the last bit. The pair is undefined where sigma = 0 and raises
    there. With guidance, clip the guided score. noise="kept" leaves ε what it was, as DDIM in diffusers does:
    then x = alpha D + sigma ε no longer holds, and samplers that eliminate one of the two differ from each other.
    """
    lo = real("lo", lo)
    return _bounded(score, Clip(lo, real("hi", hi, above=lo)), noise)


class Threshold(NamedTuple):
    """D of each path clipped to ±s and divided by s."""

    ratio: float
    most: float

    def __call__(self, clean, event_dims):
        rows = abs(clean.reshape((*clean.shape[: clean.ndim - event_dims], -1)))
        if arrays.is_tensor(clean):
            rows = rows if rows.element_size() >= 4 else rows.float()  # quantile knows no half precision
            s = rows.quantile(self.ratio, -1).to(clean.dtype)
        else:
            s = np.quantile(rows, self.ratio, -1).astype(clean.dtype)
        s = sm.minimum(sm.maximum(s, 1.0), max(self.most, 1.0)).reshape((*s.shape, *[1] * event_dims))
        return sm.minimum(sm.maximum(clean, -s), s) / s


def thresholded(score: Score, ratio: float = 0.995, most: float = math.inf, *, noise: str = "moved") -> Bounded:
    """Dynamic thresholding: the D of each path clipped to ±s and divided by s, for data in [−1, 1].

        s = the quantile `ratio` of |D| over the entries of one state, at least 1 and at most `most`

    Keeps strong guidance from saturating. ε follows D unless noise="kept", as in `clipped`.
    Source: C. Saharia et al., "Photorealistic text-to-image diffusion models with deep language understanding",
    NeurIPS 2022, arXiv:2205.11487, section 2.3.
    """
    ratio = real("ratio", ratio, above=0, most=1)
    return _bounded(score, Threshold(ratio, real("most", most, 1.0)), noise)


class Guided(NamedTuple):
    """Made by `guided`."""

    conditional: Any
    unconditional: Any
    weight: Any
    rescale: float = 0.0
    interval: tuple[float, float] | None = None

    __repr__ = line

    @property
    def process(self):
        return getattr(self.conditional, "process", None)

    @property
    def event_dims(self):
        return getattr(self.conditional, "event_dims", None)

    def _weight(self, t, x):
        """The weight beside x: a number, or an array of one per path."""
        weight = self.weight(t) if callable(self.weight) else self.weight
        if not arrays.is_tensor(weight) and not np.ndim(weight):
            weight = real("weight(t)", weight, above=-math.inf, below=math.inf)
        if self.interval is not None:
            inside = (t >= self.interval[0]) & (t <= self.interval[1])
            weight = sm.where(inside, weak(weight), 1.0)
        weight = weak(weight)
        if isinstance(weight, float):
            return weight
        shape, path = tuple(weight.shape), path_axes(x, self.event_dims)
        if shape != path[: len(shape)]:
            raise ValueError(f"weight has shape {shape}; expected a number or one value per path, {path}")
        return sm.expand(like(weight, x), x)

    def _terms(self, t, x):
        weight = self._weight(t, x)
        terms = (1.0 - weight, self.unconditional), (weight, self.conditional)
        return [(w, score) for w, score in terms if not isinstance(w, float) or w]

    def pair(self, t, x) -> tuple[Any, Any]:
        t, x = weak(t), floating(x)
        terms = [(w, *score.pair(t, x)) for w, score in self._terms(t, x)]
        clean, eps = (sum(w * values[i] for w, *values in terms) for i in (0, 1))
        if not self.rescale or len(terms) == 1:
            return clean, eps
        return _rescaled(self, t, x, (clean, eps), terms[1][1:])

    def __call__(self, t, x) -> Any:
        t, x = weak(t), floating(x)
        if self.rescale:
            return gradient(self, t, x)
        return sum(w * score(t, x) for w, score in self._terms(t, x))

    def given(self, c):
        return self._replace(conditional=self.conditional.given(c))


# What a network predicted, from (alpha, sigma, D, ε). Kinds that are not here are taken as v, defined at both ends.
OUTPUTS = {
    RULES["noise"]: lambda a, s, clean, eps: eps,
    RULES["denoiser"]: lambda a, s, clean, eps: clean,
    RULES["v"]: lambda a, s, clean, eps: a * eps - s * clean,
}


def _rescaled(guided, t, x, pair, conditional):
    """The pair with the guided output drawn towards the standard deviation of the conditional one, path by path."""
    rule = getattr(guided.conditional, "to_pair", None)
    rule = rule if rule in OUTPUTS else RULES["v"]
    ends = marginal(guided.process, t, x)
    out, plain = (OUTPUTS[rule](*ends, *values) for values in (pair, conditional))
    axes = tuple(range(len(path_axes(x, guided.event_dims)), x.ndim))
    spread = [sm.sqrt(arrays.mean_of((v - arrays.mean_of(v, axes)) ** 2, axes)) for v in (plain, out)]
    return rule(guided.process, t, x, out * (1.0 - guided.rescale + guided.rescale * spread[0] / spread[1]))


def guided(
    conditional: Score,
    unconditional: Score,
    weight: float | Array | Callable[[Any], Any],
    *,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> Guided:
    """Classifier-free guidance: D = D_u + weight (D_c − D_u), the same for ε, hence for the score.

    **weight = 0 is the unconditional score, 1 the conditional one**, and above 1 the condition is
    overstated: the score of p(x) p(c | x)^weight at each noise level. This is `guidance_scale` in diffusers
    (there in force above 1 only); Ho and Salimans' own w, and that of libraries which follow them, is weight − 1.

    weight    a number, an array of one per path, or a function of the time t that returns either.
    rescale   share φ, 0 to 1, by which what the network predicts is brought to the standard deviation that its
              conditional prediction has over the entries of each state: out (1 − φ + φ std_c/std).
    interval  (first, last) time between which weight is in force; outside it is 1, the conditional score alone.

    Both scores are evaluated, two network calls per pair, except the one that weight 0 or 1 leaves out. With
    one network and a null condition: `guided(score.given(c), score.given(null), weight)`. `given(c)`
    conditions the conditional score alone. A score of your own needs `process`, `event_dims`, `pair` and a call.
    Sources: J. Ho, T. Salimans, "Classifier-free diffusion guidance", 2022, arXiv:2207.12598, equation 6; S. Lin et
    al., "Common diffusion noise schedules and sample steps are flawed", WACV 2024, arXiv:2305.08891, section 3.4
    (rescale); T. Kynkäänniemi et al., "Applying guidance in a limited interval improves sample and distribution
    quality in diffusion models", NeurIPS 2024, arXiv:2404.07724 (interval).
    """
    _must_be_score("conditional", conditional)
    _must_be_score("unconditional", unconditional)
    processes = [getattr(score, "process", None) for score in (conditional, unconditional)]
    if differs(*processes):
        raise ValueError(
            f"conditional belongs to {processes[0]}, but unconditional to {processes[1]}; "
            f"on_path takes one to the process of the other"
        )
    if not callable(weight) and not (arrays.is_real(weight) and getattr(weight, "ndim", 0)):
        weight = real("weight", weight, above=-math.inf, below=math.inf)
    if interval is not None:
        if not isinstance(interval, (tuple, list)) or len(interval) != 2:
            raise ValueError(f"interval must be two times (first, last), got {shown(interval)}")
        first = real("interval: first", interval[0])
        interval = first, real("interval: last", interval[1], first)
        start, end = getattr(processes[0], "domain", (-math.inf, math.inf))
        if interval[0] > end or interval[1] < start:
            raise ValueError(f"interval is {interval}, outside the times {(start, end)} of {processes[0]}")
    return Guided(conditional, unconditional, weight, real("rescale", rescale, 0, 1), interval)
