"""A network read as a score, whatever it predicts, and a score read as a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import math as sm
from ..arrays import combined
from ..checks import integer, shown
from ..processes import forms
from ..protocols import Network as Client
from ..protocols import NoisingProcess, Score
from ..reprs import line
from .evaluation import Held, evaluate, floating, holds, known_time, marginal, nonzero, schedule, weak


def gradient(score, t, x) -> Any:
    """∇ log p_t(x) = −ε/sigma; raises where sigma = 0."""
    t, x = weak(t), floating(x)
    _, sigma = marginal(score.process, t, x)
    nonzero(sigma, t, "sigma", "the score −ε/sigma is undefined there; use the pair")
    return score.pair(t, x)[1] * (-1.0 / sigma)


# --- a network read as a score -------------------------------------------------------------------


def _given(score, c) -> Any:
    """The score whose network is called `(t, x, c)`, in one step for all the paths of a state.

    c holds one value per path, (B, …), or a single one for all: a number, or (1, …). None takes a condition
    away. An object of any other kind is handed to the network as it is.
    """
    return score._replace(condition=c)


def _check(score, data, seed=0):
    """The score itself; raises where `check` finds that its network is not what it was given as."""
    from .checks import check

    return check(score, data, seed)


class Prediction(NamedTuple):
    """A network together with the rule that turns its output into the pair; the score itself needs no process."""

    network: Callable
    process: Any
    event_dims: int | None
    to_pair: Callable
    condition: Any = None

    __repr__ = line

    def _output(self, t, x):
        t = known_time(self.process, t)
        return evaluate(self.network, t, x, self.event_dims, self.condition)

    def pair(self, t, x) -> tuple[Any, Any]:
        t, x = weak(t), floating(x)
        return self.to_pair(self.process, t, x, self._output(t, x))

    def __call__(self, t, x) -> Any:
        return self._output(weak(t), floating(x)) if self.to_pair is _score else gradient(self, t, x)

    given = _given
    check = _check


def _prediction(net, process, event_dims, to_pair, module):
    dims = None if event_dims is None else integer("event_dims", event_dims)
    return Prediction(_held(net, module), forms.noising(process), dims, to_pair)


def _held(net, module):
    if not callable(net) or isinstance(net, type):
        raise ValueError(f"a network must be a function or a module (t, x), got {shown(net)}")
    if module is not None and not callable(getattr(module, "parameters", None)):
        raise ValueError(f"module must be a torch module, whose parameters tell type and device, got {module!r}")
    return net if module is None else Held(net, module)


def from_score(
    fn: Client, process: NoisingProcess | None = None, event_dims: int | None = None, *, module: Any = None
) -> Prediction:
    """A network that predicts the score s = ∇ log p_t:  D = (x + sigma² s) / alpha,  ε = −sigma s.

    The pair is undefined at both ends, alpha = 0 and sigma = 0, and raises there.
    """
    dims = None if event_dims is None else integer("event_dims", event_dims)
    return Prediction(_held(fn, module), process, dims, _score)


def from_noise(
    net: Client, process: NoisingProcess, event_dims: int | None = None, *, module: Any = None
) -> Prediction:
    """A network that predicts the noise ε:  D = (x − sigma ε) / alpha.

    The pair is undefined where alpha = 0 and raises there; so does the score where sigma = 0.
    """
    return _prediction(net, process, event_dims, _noise, module)


def from_denoiser(
    net: Client, process: NoisingProcess, event_dims: int | None = None, *, module: Any = None
) -> Prediction:
    """A network that predicts the clean data D:  ε = (x − alpha D) / sigma.

    The pair and the score are undefined where sigma = 0 and raise there.
    """
    return _prediction(net, process, event_dims, _denoiser, module)


def from_v(net: Client, process: NoisingProcess, event_dims: int | None = None, *, module: Any = None) -> Prediction:
    """A network that predicts v = alpha ε − sigma D.

        D = (alpha x − sigma v) / (alpha² + sigma²),   ε = (sigma x + alpha v) / (alpha² + sigma²)

    Defined at both ends; the score raises where sigma = 0.
    Source: T. Salimans, J. Ho, "Progressive distillation for fast sampling of diffusion models",
    ICLR 2022, arXiv:2202.00512, appendix D (there alpha² + sigma² = 1).
    """
    return _prediction(net, process, event_dims, _v, module)


def from_velocity(
    net: Client, process: NoisingProcess, event_dims: int | None = None, *, module: Any = None
) -> Prediction:
    """A network that predicts the velocity u = alpha′ D + sigma′ ε, in the process's own time.

        D = (sigma′ x − sigma u) / w,   ε = (alpha u − alpha′ x) / w,
        w = alpha sigma′ − alpha′ sigma

    Defined wherever the rates are finite, as at both ends of `FlowPath`, where u = ε − x_0; raises
    elsewhere (`VP` at t = 0, where sigma′ is infinite).
    Source: Y. Lipman et al., "Flow matching for generative modeling", ICLR 2023, arXiv:2210.02747.
    """
    return _prediction(net, process, event_dims, _velocity, module)


def _score(process, t, x, score):
    alpha, sigma = marginal(process, t, x)
    nonzero(alpha, t, "alpha", "a score does not give the denoised state there")
    nonzero(sigma, t, "sigma", "a score does not give the noise there")
    return combined((1 / alpha, x), (sigma * sigma / alpha, score)), -sigma * score


def _noise(process, t, x, eps):
    alpha, sigma = schedule(process.marginal(t), x)
    nonzero(alpha, t, "alpha", "predicted noise does not give the denoised state there")
    return combined((1 / alpha, x), (-sigma / alpha, eps)), eps


def _denoiser(process, t, x, clean):
    alpha, sigma = schedule(process.marginal(t), x)
    nonzero(sigma, t, "sigma", "a denoised state does not give the noise there")
    return clean, combined((1 / sigma, x), (-alpha / sigma, clean))


def _v(process, t, x, v):
    alpha, sigma = schedule(process.marginal(t), x)
    total = alpha * alpha + sigma * sigma
    a, s = alpha / total, sigma / total
    return combined((a, x), (-s, v)), combined((s, x), (a, v))


def _velocity(process, t, x, u):
    alpha, sigma = schedule(process.marginal(t), x)
    dalpha, dsigma = _rates(process, t, x)
    det = alpha * dsigma - dalpha * sigma
    return combined((dsigma / det, x), (-sigma / det, u)), combined((alpha / det, u), (-dalpha / det, x))


def _rates(process, t, x):
    rates = schedule(process.rates(t), x)
    if not all(holds(sm.isfinite(rate)) for rate in rates):
        raise ValueError(f"alpha′ or sigma′ is infinite at t = {t}: a velocity and the pair do not give each other")
    return rates


RULES = {"noise": _noise, "denoiser": _denoiser, "v": _v, "velocity": _velocity, "score": _score}


# --- a score read as a network -------------------------------------------------------------------


class Network(NamedTuple):
    """What a perfect network of one kind predicts; callable `(t, x)` or, with a condition, `(t, x, c)`."""

    score: Any
    read: Callable

    __repr__ = line

    def __call__(self, t, x, c=None) -> Any:
        score = self.score if c is None else self.score.given(c)
        return self.read(score, weak(t), floating(x))


def as_score(score: Score) -> Network:
    """The network `from_score` takes: ∇ log p_t(x) = −ε/sigma. Raises where sigma = 0."""
    return Network(score, _as_score)


def as_noise(score: Score) -> Network:
    """The network `from_noise` takes: ε. Like all of these it raises where the score has no pair."""
    return Network(score, _as_noise)


def as_denoiser(score: Score) -> Network:
    """The network `from_denoiser` takes: D."""
    return Network(score, _as_denoiser)


def as_v(score: Score) -> Network:
    """The network `from_v` takes: alpha ε − sigma D."""
    return Network(score, _as_v)


def as_velocity(score: Score) -> Network:
    """The network `from_velocity` takes: alpha′ D + sigma′ ε. Raises where a rate is infinite."""
    return Network(score, _as_velocity)


def _as_score(score, t, x):
    return score(t, x)


def _as_noise(score, t, x):
    return score.pair(t, x)[1]


def _as_denoiser(score, t, x):
    return score.pair(t, x)[0]


def _as_v(score, t, x):
    (alpha, sigma), (clean, eps) = schedule(score.process.marginal(t), x), score.pair(t, x)
    return combined((alpha, eps), (-sigma, clean))


def _as_velocity(score, t, x):
    (dalpha, dsigma), (clean, eps) = _rates(score.process, t, x), score.pair(t, x)
    return combined((dalpha, clean), (dsigma, eps))
