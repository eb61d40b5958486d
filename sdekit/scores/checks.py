"""Whether a network is what it was given as, from its losses under this reading and others."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from .. import noise
from ..processes import EDM, VE, VP, CosineVP, DiscreteVP, FlowPath, SubVP, forms
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
    times in the other direction (with either sign), the other predictions, times on other scales (0 … 999, log sigma),
    another of the usual processes and tables, EDM's inner network, and data of another scale ([0, 1], no factor). The
    best of them is named where its loss is clearly below that of the given reading and of no output at all, and not
    far above the linear denoiser's. Otherwise it raises only where the given reading is far worse than the linear
    denoiser and than no output.

    The network is called with all rows, once and for each of these, more often where the data have fewer than 4096
    entries. A condition (`score.given(c)`) holds for each row, or for all. Draws depend on `seed`.
    """
    if getattr(score, "process", None) is None:
        raise ValueError(f"score must be a Score of a noising process, got {score!r}")
    if not hasattr(score, "network"):
        score = from_noise(as_noise(score), score.process, score.event_dims)
    kind = next(name for name, rule in RULES.items() if rule is score.to_pair)
    data = floating(data)
    data = data.reshape((-1, *data.shape[len(path_axes(data, score.event_dims)) :]))
    trial = _trial(score.process, forms.on_host(data), seed)

    reading, others = _readings(score, kind, trial, data, seed)
    given, linear, out = reading.losses(), trial.linear, reading.out
    best = min(others, key=lambda other: (other.losses() / other.trial.linear.mean()).mean())
    losses, silent = best.losses(), best._replace(out=0 * best.out).losses()
    what = f"the network does not predict {NAMES[kind]}"
    if not np.isfinite(out).all():
        raise ValueError(f"{what}: its output is not finite")
    numbers = f"as given its loss is {given.mean():.3g}, that of the best linear denoiser {linear.mean():.3g}"
    if _below(losses, given) and _below(losses, silent) and losses.mean() < PLAUSIBLE * best.trial.linear.mean():
        raise ValueError(f"{what}: {best.reason} ({numbers}, and read so {losses.mean():.3g})")
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


class Reading(NamedTuple):
    """One way to understand the network, and what is wrong if it is the right one."""

    reason: str
    trial: Trial
    kind: str
    out: np.ndarray

    def losses(self):
        return self.trial.loss(self.kind, self.out)


def _readings(score, kind, trial, data, seed):
    """The reading as given, and those of other mistakes."""
    process, t = score.process, trial.t

    def output(trial, t=None, x=None):
        t, x = known_time(process, trial.t) if t is None else t, trial.x if x is None else x
        rounds = len(t) // len(data)
        calls = zip(np.split(t, rounds), np.split(x, rounds), strict=True)
        outs = [evaluate(score.network, s, like(x, data), score.event_dims, score.condition) for s, x in calls]
        return np.concatenate([forms.on_host(out) for out in outs])

    out = output(trial)
    sigma = np.reshape(process.marginal(t)[1], (-1, *[1] * (out.ndim - 1)))
    given = Reading("", trial, kind, out)
    others = [
        given._replace(reason="its output has the wrong sign", out=-out),
        given._replace(reason="its output is multiplied by sigma", out=out / sigma),
        given._replace(reason="its output is divided by sigma", out=out * sigma),
    ]
    start, end = process.domain
    if end < math.inf:
        back, reason = output(trial, start + end - t), f"its times run the other way, with clean data at {end:g}"
        others += [given._replace(reason=reason, out=back)]
        others += [given._replace(reason=f"{reason}, and its output has the wrong sign", out=-back)]
    for name in RULES:
        if name != kind and (name != "velocity" or hasattr(process, "rates")):
            others.append(given._replace(reason=f"it predicts {NAMES[name]}; use from_{name}", kind=name))
    clean = forms.on_host(data)
    probes = [functools.partial(_timed, given, output, why, time) for why, time in _times(process, t)]
    if isinstance(process, EDM) and kind == "denoiser":
        scales = {round(float(scale), 3) for scale in (0.5, 1.0, clean.std())}
        probes += [functools.partial(_raw, given, output, scale) for scale in sorted(scales)]
    probes += [functools.partial(_elsewhere, given, output, clean, seed, *other) for other in _others(process, kind)]
    for reason, scaled in _rescaled(clean):
        other = _trial(process, scaled, seed)
        others.append(Reading(reason, other, kind, output(other)))
    return given, [*others, *_answered(probes)]


def _answered(probes):
    """The readings for which the network has an answer: at times that it does not know it may raise what it likes."""
    for probe in probes:
        with contextlib.suppress(Exception), np.errstate(all="ignore"):
            reading = probe()
            if np.isfinite(reading.out).all():
                yield reading


def _timed(given, output, reason, t):
    return given._replace(reason=reason, out=output(given.trial, t))


def _times(process, t):
    """(what is wrong, the times at which the network is then right)."""
    if isinstance(process, EDM):
        yield "its times are log(sigma)", np.log(t)
        yield "its times are log(sigma)/4", 0.25 * np.log(t)
    elif process.domain == (0.0, 1.0):
        yield "its times run from 0 to 999", 999.0 * t
    elif isinstance(process, DiscreteVP):
        yield "its times run from 0 to 1", t.clip(0.0) / max(process.domain[1], 1.0)


def _betas(first, last, power):
    return DiscreteVP(np.cumprod(1.0 - np.linspace(first ** (1.0 / power), last ** (1.0 / power), 1000) ** power))


ANGLES = (np.arange(1001) / 1000 + 0.008) / 1.008 * math.pi / 2
TABLES = {
    "betas linear from 1e-4 to 0.02": _betas(1e-4, 0.02, 1),
    "√betas linear from √0.00085 to √0.012": _betas(0.00085, 0.012, 2),
    "the cosine schedule": DiscreteVP(
        np.cumprod(1.0 - (1.0 - (np.cos(ANGLES[1:]) / np.cos(ANGLES[:-1])) ** 2).clip(0, 0.999))
    ),
}
USUAL = VP(), VP(0.01, 10.0), SubVP(), CosineVP(), FlowPath(), VE(), EDM()


def _others(process, kind):
    """(what is wrong, the network's own process, the factor of its times): those that could be meant."""
    if kind == "velocity":  # depends on the unit of time
        return
    last = process.domain[1] if isinstance(process, DiscreteVP) else 1.0
    for name, other in TABLES.items():
        yield f"its table is that of {name}", other, last / other.domain[1]
    for other in USUAL:
        if other != process:
            yield f"its process is {other!r}", other, 1.0 if isinstance(other, EDM) else last


def _elsewhere(given, output, clean, seed, reason, process, factor):
    trial = _trial(process, clean, seed)
    return Reading(reason, trial, given.kind, output(trial, factor * known_time(process, trial.t)))


def _raw(given, output, scale):
    """A network F of D = c_skip x + c_out F(c_in x, log(sigma)/4), given as D itself."""
    trial = given.trial
    t = trial.t.reshape(-1, *[1] * (trial.x.ndim - 1))
    total = t * t + scale * scale
    inner = output(trial, 0.25 * np.log(trial.t), trial.x / np.sqrt(total))
    clean = scale * scale / total * trial.x + t * scale / np.sqrt(total) * inner
    reason = f"it is EDM's network inside its preconditioning, with sigma_data = {scale:g}"
    return given._replace(reason=reason, out=clean)


SPREADS = 1.0, 0.5, 0.7, 1.4  # standard deviations to which data are scaled for training


def _rescaled(clean):
    """(what is wrong with the data, the data put right)."""
    low, high, spread = clean.min(), clean.max(), clean.std()
    for top in (1.0, 255.0):
        if low >= 0.0 and 0.5 * top < high <= top:
            yield f"the data lie in [0, {top:g}], but it knows [-1, 1]", 2.0 / top * clean - 1.0
    for known in SPREADS:
        if not 0.8 < spread / known < 1.25:
            factor = known / spread
            what = f"it knows them times about {factor:.2g}, of standard deviation {known:g}"
            yield f"the data lack a factor: {what}", factor * clean


def _squares(residual):
    return (residual * residual).reshape(len(residual), -1).sum(1)


def _below(losses, others):
    """Whether one mean loss is below another by the factor, and by the standard errors of the paired difference."""
    gap = others - losses
    sure = gap.mean() > CERTAINTY * gap.std() / math.sqrt(len(gap))
    return sure and losses.mean() < MARGIN * others.mean()
