"""Diffusion models: denoising score matching under any noising process with a marginal alpha·x₀ + sigma·ε."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import sdekit as sk

from .checkpoints import recorded
from .sampling import (
    conditioned,
    draw,
    dropped,
    eta_of,
    evaluated,
    log_density,
    one_of,
    spaced,
    spread,
    time_of,
    times_of,
    with_signal,
)
from .standard import Standard, event_shape, standardise

__all__ = ["Diffusion"]

EDM_MEAN, EDM_STD = math.log(2) - 1.2, 1.2  # of log(sigma/alpha); Karras et al. 2022, table 1, for data of unit scale


class Prediction(NamedTuple):
    """What a network predicts, from alpha, sigma and n = √(alpha² + sigma²).

    read    makes it a score (`sk.scores`)
    target  its value of order one, F, for known x₀ and ε
    scale   the prediction is scale · F
    gain    |error of ε| = gain · |error of F|
    """

    read: Callable
    target: Callable
    scale: Callable
    gain: Callable


PREDICTIONS = {
    "noise": Prediction(sk.scores.from_noise, lambda a, s, n, x, eps: eps, lambda a, s, n: 1.0, lambda a, s, n: 1.0),
    "denoiser": Prediction(
        sk.scores.from_denoiser, lambda a, s, n, x, eps: x, lambda a, s, n: 1.0, lambda a, s, n: a / s
    ),
    "v": Prediction(
        sk.scores.from_v, lambda a, s, n, x, eps: (a * eps - s * x) / n, lambda a, s, n: n, lambda a, s, n: a / n
    ),
    "score": Prediction(sk.scores.from_score, lambda a, s, n, x, eps: -eps, lambda a, s, n: 1 / s, lambda a, s, n: 1.0),
}
WEIGHTINGS = ("simple", "sigma2", "likelihood", "lognormal")


@recorded
class Diffusion(nn.Module):
    """A network trained to undo noise, and the samplers of sdekit that turn it into a generator.

    net         network (t, x, c=None) -> x's shape. It sees x / √(alpha² + sigma²) and, for the time, the noise level
                log(sigma/alpha)/4, both of order one; with scaled=False time and state of the process as they are.
    process     OU, VP, VE, SubVP, CosineVP, EDM, FlowPath, DiscreteVP, …; works on data of unit scale.
    prediction  "noise", "denoiser", "v" or "score". "v" is the preconditioning of EDM: for VE and EDM
                D = x/(1 + sigma²) − sigma/√(1 + sigma²) F(log(sigma)/4, x/√(1 + sigma²)), and for each process the
                same at equal alpha/sigma.
    weighting   of E |F − F*|², F being the prediction at order one:
                "simple"      uniform times, weight 1
                "sigma2"      uniform times, sigma² |error of the score|², which is |error of ε|²
                "likelihood"  ½ ∫ g² |error of the score|² dt, the bound on −log p up to a constant, in nats per
                              entry. As g²/sigma² dt = −2 d log(alpha/sigma), times that are uniform in log-SNR are
                              its importance sampling; importance=False draws them uniformly
                "lognormal"   log(sigma/alpha) ~ N(log 2 − 1.2, 1.2²), weight 1: EDM's, with "v"
    levels      None: times are continuous. n: that many, evenly spaced in t (for VE geometric noise levels, as annealed
                Langevin sampling wants them). A DiscreteVP has its own: the integers 0 … N − 1, and is DDPM.
    end         the last time, for processes without one (OU).
    drop        share of labels that are dropped in training, so that guidance has a score without them.
    shape       of one event; default net.shape.

    Sources: Y. Song et al., "Score-based generative modeling through stochastic differential equations", 2021,
    arXiv:2011.13456; Y. Song et al., "Maximum likelihood training of score-based diffusion models", 2021,
    arXiv:2101.09258; D. Kingma et al., "Variational diffusion models", 2021, arXiv:2107.00630 (times); T. Karras et
    al., 2022, arXiv:2206.00364; J. Ho et al., 2020, arXiv:2006.11239; Y. Song, S. Ermon, 2019, arXiv:1907.05600.
    """

    density, nfe = "exact", 0  # of the law that the probability-flow ODE defines, up to the solver's error
    density_of = {"method": sk.rk4, "steps": 64}  # options of `sample` for draws from that law
    standardise = standardise

    def __init__(
        self,
        net,
        process,
        prediction="v",
        weighting="simple",
        *,
        importance=True,
        levels=None,
        end=None,
        drop=0.1,
        scaled=True,
        shape=None,
    ):
        super().__init__()
        one_of("prediction", prediction, PREDICTIONS)
        one_of("weighting", weighting, WEIGHTINGS)
        shape = event_shape(net, shape)
        self.net, self.process, self.prediction, self.weighting = net, process, PREDICTIONS[prediction], weighting
        self.importance, self.drop, self.scaled = importance, sk.checks.real("drop", drop, 0, 1), scaled
        self.units = Standard(shape, shared=len(shape) > 1)
        self.clean, self.begin, self.end = times_of(process, end)
        self.end = with_signal(process, self.end)
        self.levels = None
        if levels is not None:
            self.levels = np.linspace(self.begin, self.end, sk.checks.integer("levels", levels, 2))
        if isinstance(process, sk.DiscreteVP):
            if levels is not None:
                raise ValueError(f"levels = {levels}: DiscreteVP has levels of its own; leave them out")
            self.levels = np.arange(self.end + 1)
        if self.levels is not None and weighting == "lognormal":
            raise ValueError("weighting 'lognormal' draws continuous noise levels; discrete ones need another")

    def forward(self, t, x, c=None):
        """The prediction, in units, at times t (B,) of states x (B, *shape)."""
        if not self.scaled:
            return evaluated(self.net, t, x, c)
        a, s, n = self._scales(t, x)
        level = (sk.math.log(s) - sk.math.log(a)).clamp(-10, 10).reshape(len(x)) / 4
        return self.prediction.scale(a, s, n) * evaluated(self.net, level, x / n, c)

    def _scales(self, t, x):
        alpha, sigma = (sk.math.expand(value, x) for value in self.process.marginal(t))
        return alpha, sigma, sk.math.sqrt(alpha * alpha + sigma * sigma)

    def loss(self, x, c=None):
        """The denoising loss of data x with labels c, at random times and noise."""
        x0 = self.units(x)
        t, weight = self._times(x0)
        eps = torch.randn_like(x0)
        a, s, n = self._scales(t, x0)
        c = dropped(self.net, c, self.drop)
        found = self(t, a * x0 + s * eps, c) / self.prediction.scale(a, s, n)
        error = found - self.prediction.target(a, s, n, x0, eps)
        if self.weighting in ("sigma2", "likelihood"):
            error = error * self.prediction.gain(a, s, n)
        return (sk.math.expand(weight, x0) * error * error).mean()

    def _times(self, x):
        """Times (B,), one draw spread evenly over their law, and the weights that correct for that law."""
        u = spread(x)
        low, high = (math.log(a / s) for a, s in map(self.process.marginal, (self.end, self.begin)))
        if self.weighting == "lognormal":
            level = EDM_MEAN + EDM_STD * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))
            return time_of(self.process, -level.clamp(-high, -low)), 1.0
        if self.weighting == "likelihood" and self.importance and self.levels is None:
            return time_of(self.process, low + (high - low) * u), high - low
        if self.levels is None:
            t = self.begin + (self.end - self.begin) * u
        else:
            t = torch.as_tensor(self.levels, dtype=x.dtype, device=x.device)[(u * len(self.levels)).long()]
        if self.weighting != "likelihood":
            return t, 1.0
        rate = self.process.diffusion(t, t) / self.process.marginal(t)[1]
        return t, 0.5 * rate * rate * (self.end - self.begin)

    def score(self, c=None, guidance=1.0):
        """The `sk.scores.Score` of the data in units, given labels c (one for each path, or one for all).

        guidance  0 ignores the labels, 1 follows them, above 1 overstates them (`sk.scores.guided`).
        """
        return conditioned(self.net, self.prediction.read(self, self.process), c, guidance)

    def grid(self, steps, final=True):
        """Times of the sampler: evenly spaced in log-SNR, or a selection of the discrete levels; then the clean end."""
        spacing = sk.grids.log_snr if self.levels is None else self._selected
        return spaced(spacing, self.process, steps, (self.clean, self.begin, self.end), final)

    def _selected(self, process, steps, end, begin):
        rows = np.linspace(len(self.levels) - 1, 0, min(steps + 1, len(self.levels)))
        return self.levels[rows.round().astype(int)]

    @torch.no_grad()
    def sample(self, n, c=None, seed=None, *, method=sk.unipc(3), steps=32, grid=None, eta=None, guidance=1.0):
        """n samples, given labels c (n,) or one for all; a function of the seed.

        method    any of sdekit that runs on `sk.Reverse`
        steps     of the grid `self.grid(steps)`; or the grid itself, decreasing
        eta       of `sk.Reverse`, for methods that step its drift: 0 the ODE, 1 the SDE, which is the default where
                  the method draws noise
        guidance  see `score`
        Afterwards `nfe` tells how often the network was evaluated for each sample.
        """
        eta = eta_of(method, eta)
        grid = self.grid(steps) if grid is None else grid
        return draw(self, lambda score: sk.Reverse(self.process, score, eta), n, c, seed, grid, method, guidance)

    def log_prob(self, x, c=None, *, steps=64, method=sk.rk4, probes=None, seed=None):
        """log p(x) of the probability-flow ODE, of shape (B,); exact divergence, or estimated by `probes`."""
        return log_density(self, self.score(c), x, self.grid(steps, final=False), method, probes, seed)
