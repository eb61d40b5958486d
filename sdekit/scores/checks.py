"""Whether a network is what it was given as, from its losses under this reading and others."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import noise
from ..processes import forms
from ..protocols import Array, Score
from .evaluation import evaluate, floating, known_time, like, path_axes
from .predictions import RULES, as_noise, from_noise

NAMES = {"noise": "the noise", "denoiser": "the clean data", "v": "v", "velocity": "the velocity", "score": "the score"}

RANGE = 2.0  # |log(alpha·s/sigma)| for data of standard deviation s: there D and ε both matter
VALUES = 4096  # at least so many entries of noised data: small data are used several times
MARGIN, CERTAINTY = 0.95, 5.0  # factor, and standard errors, by which one loss has to be below another
PLAUSIBLE, HOPELESS = 1.2, 2.0  # how far above the loss of a trivial denoiser is still normal, and is too far
CAP = 100.0  # on the loss of one row, so that a few do not decide


def check(score: Score, data: Array, seed: int = 0) -> Score:
    """The score itself; raises a ValueError that names the likely mistake where its network predicts something else.

    The rows of `data` (N, *event), a few hundred will do, are noised, x = alpha·x_0 + sigma·z, with log(alpha/sigma)
    drawn uniformly where the data are neither clear nor lost. The loss of a reading is

        mean of |D − x_0|² / Σ v_j,    v_j = s_j² sigma² / (alpha² s_j² + sigma²),

    which is about 1 for the best linear denoiser of independent entries that have the data's means and standard
    deviations s_j. Other readings of the network are: the output's sign flipped, the output times or over sigma,
    times in the other direction (with either sign), and the other predictions. The best of them is named where its
    loss is clearly below that of the given reading and of no output at all, and not far above the linear denoiser's.
    Otherwise it raises only where the given reading is far worse than the linear denoiser and than no output.

    The network is called with all rows, twice, or more often where the data have fewer than 4096 entries. A
    condition (`score.given(c)`) holds for each row, or for all. Draws depend on `seed`.
    """
    if getattr(score, "process", None) is None:
        raise ValueError(f"score must be a Score of a noising process, got {score!r}")
    if not hasattr(score, "network"):
        score = from_noise(as_noise(score), score.process, score.event_dims)
    kind = next(name for name, rule in RULES.items() if rule is score.to_pair)
    data = floating(data)
    data = data.reshape((-1, *data.shape[len(path_axes(data, score.event_dims)) :]))
    trial = _trial(score.process, forms.on_host(data), seed)

    others = _others(score, kind, trial, data)
    out = others.pop(None)
    given = trial.loss(kind, out)
    losses = {reason: trial.loss(*reading) for reason, reading in others.items()}
    reason = min(losses, key=lambda reason: losses[reason].mean())
    best, silent, linear = losses[reason], trial.loss(others[reason][0], 0 * out), trial.linear
    what = f"the network does not predict {NAMES[kind]}"
    if not np.isfinite(out).all():
        raise ValueError(f"{what}: its output is not finite")
    numbers = f"as given its loss is {given.mean():.3g}, that of the best linear denoiser {linear.mean():.3g}"
    if _below(best, given) and _below(best, silent) and best.mean() < PLAUSIBLE * linear.mean():
        raise ValueError(f"{what}: {reason} ({numbers}, and read so {best.mean():.3g})")
    if _below(linear, given / HOPELESS) and _below(trial.loss(kind, 0 * out), given / PLAUSIBLE):
        raise ValueError(f"{what} of these data at all ({numbers}); is their scale that of training, and the process?")
    return score


class Trial(NamedTuple):
    """Noised data: times t (M,), states x and clean states (M, *event), in float64 on the host."""

    process: Any
    t: np.ndarray
    x: np.ndarray
    clean: np.ndarray
    scale: np.ndarray  # (M,), what losses are relative to
    linear: np.ndarray  # (M,), losses of the linear denoiser

    def loss(self, kind, out):
        """The losses (M,) of an output read as this kind."""
        losses = _squares(RULES[kind](self.process, self.t, self.x, out)[0] - self.clean) / self.scale
        return np.minimum(losses, CAP)


def _trial(process, clean, seed):
    if not clean.size or not (clean != clean[0]).any():
        raise ValueError(f"data of shape {clean.shape} must hold samples that differ from each other")
    mean, var = clean.mean(0), clean.var(0)
    clean = np.concatenate([clean] * -(-VALUES // clean.size))
    u = noise.uniform((len(clean),), seed, noise.Stream.LEVEL)
    t = forms.time_of(process, _within(process, RANGE * (2.0 * u - 1.0) - 0.5 * math.log(var.mean())))
    alpha, sigma = (np.broadcast_to(v, t.shape).reshape(-1, *[1] * mean.ndim) for v in process.marginal(t))
    x = alpha * clean + sigma * noise.normal(clean.shape, seed, noise.Stream.CHECK)
    total = alpha * alpha * var + sigma * sigma
    scale = (var * sigma * sigma / total).reshape(len(t), -1).sum(1)
    linear = mean + alpha * var / total * (x - alpha * mean)
    return Trial(process, t, x, clean, scale, _squares(linear - clean) / scale)


def _within(process, log_snr):
    """log(alpha/sigma) clipped to what the process reaches."""
    start, end = process.domain
    low = forms.log_ratio(process, end) if end < math.inf else -math.inf
    return np.clip(log_snr, low, forms.log_ratio(process, start if start > -math.inf else 0.0))


def _others(score, kind, trial, data):
    """{what is wrong: (kind, output) of the reading that puts it right}, and the output itself under None."""

    process = score.process

    def output(t):
        rounds = len(t) // len(data)
        calls = zip(np.split(t, rounds), np.split(trial.x, rounds), strict=True)
        outs = [
            evaluate(score.network, known_time(process, s), like(x, data), score.event_dims, score.condition)
            for s, x in calls
        ]
        return np.concatenate([forms.on_host(out) for out in outs])

    t, out = trial.t, output(trial.t)
    sigma = np.reshape(process.marginal(t)[1], (-1, *[1] * (out.ndim - 1)))
    readings = {
        None: out,
        "its output has the wrong sign": (kind, -out),
        "its output is multiplied by sigma": (kind, out / sigma),
        "its output is divided by sigma": (kind, out * sigma),
    }
    start, end = process.domain
    if end < math.inf:
        back, reason = output(start + end - t), f"its times run the other way, with clean data at {end:g}"
        readings |= {reason: (kind, back), f"{reason}, and its output has the wrong sign": (kind, -back)}
    for name in RULES:
        if name != kind and (name != "velocity" or hasattr(process, "rates")):
            readings[f"it predicts {NAMES[name]}; use from_{name}"] = name, out
    return readings


def _squares(residual):
    return (residual * residual).reshape(len(residual), -1).sum(1)


def _below(losses, others):
    """Whether one mean loss is below another by the factor, and by the standard errors of the paired difference."""
    gap = others - losses
    sure = gap.mean() > CERTAINTY * gap.std() / math.sqrt(len(gap))
    return sure and losses.mean() < MARGIN * others.mean()
