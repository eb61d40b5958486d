"""Diffusion models: denoising score matching under any noising process with a marginal alpha·x₀ + sigma·ε."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

import sdekit as sk

from .checkpoints import recorded
from .sampling import Sampler, one_of, spread, time_of, with_signal

__all__ = ["Diffusion"]

WIDEST = 5.0  # gap between neighbouring levels in log(alpha/sigma), a factor of 150 in noise, that one step can bridge


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
class Diffusion(Sampler):
    """A network trained to undo noise, and the samplers of sdekit that turn it into a generator.

    net         network (t, x, c=None) -> x's shape. It sees x / √(alpha² + sigma²) and, for the time, the noise level
                log(sigma/alpha)/4, both of order one; with scaled=False time and state of the process as they are.
    process     OU, VP, VE, SubVP, CosineVP, EDM, FlowPath, DiscreteVP, …; works on data of unit scale.
    prediction  "noise", "denoiser", "v" or "score". "v" is the preconditioning of EDM: for VE and EDM
                D = x/(1 + sigma²) − sigma/√(1 + sigma²) F(log(sigma)/4, x/√(1 + sigma²)), and for each process the
                same at equal alpha/sigma.
    weighting   of E |F − F*|², F being the prediction at order one:
                "simple"      uniform times, weight 1: the default, unless noise leaves the scale of the data behind
                "sigma2"      uniform times, sigma² |error of the score|², which is |error of ε|²
                "likelihood"  ½ ∫ g² |error of the score|² dt, the bound on −log p up to a constant, in nats per
                              entry. As g²/sigma² dt = −2 d log(alpha/sigma), times that are uniform in log-SNR are
                              its importance sampling; importance=False draws them uniformly
                "lognormal"   log(sigma/alpha) ~ N(log 2 − 1.2, 1.2²), weight 1: EDM's, with "v"; the default for VE
                              and EDM, whose uniform times are nearly all noise
    levels      None: times are continuous. n: that many, at even quantiles of the weighting's law of times: evenly
                spaced in t but for "lognormal" and importance sampling (for VE geometric noise levels, as annealed
                Langevin sampling wants them). A DiscreteVP has its own: the integers 0 … N − 1, and is DDPM.
    end         the last time, for processes without one (OU).
    drop        share of labels that are dropped in training, so that guidance has a score without them.
    shape       of one event; default net.shape.

    `sample` takes `unipc(3)` unless told, and `deis(3)` on n levels, between which steps are uneven; 32 steps.
    Sources: Y. Song et al., "Score-based generative modeling through stochastic differential equations", 2021,
    arXiv:2011.13456; Y. Song et al., "Maximum likelihood training of score-based diffusion models", 2021,
    arXiv:2101.09258; D. Kingma et al., "Variational diffusion models", 2021, arXiv:2107.00630 (times); T. Karras et
    al., 2022, arXiv:2206.00364; J. Ho et al., 2020, arXiv:2006.11239; Y. Song, S. Ermon, 2019, arXiv:1907.05600.
    """

    usual, density_of = (sk.unipc(3), 32), {"method": sk.rk4, "steps": 64}

    def __init__(
        self,
        net,
        process,
        prediction="v",
        weighting=None,
        *,
        importance=True,
        levels=None,
        end=None,
        drop=0.1,
        scaled=True,
        shape=None,
    ):
        one_of("prediction", prediction, PREDICTIONS)
        super().__init__(net, process, shape, end, drop)
        self.prediction, self.importance, self.scaled = PREDICTIONS[prediction], importance, scaled
        self.read = self.prediction.read
        self.end = with_signal(process, self.end)
        self.weighting = ("lognormal" if self._grows() else "simple") if weighting is None else weighting
        one_of("weighting", self.weighting, WEIGHTINGS)
        self.levels = self._levels(levels)

    def _levels(self, n):
        """The discrete times, None where there are none."""
        if isinstance(self.process, sk.DiscreteVP):
            if n is not None:
                raise ValueError(f"levels = {n}: DiscreteVP has levels of its own; leave them out")
            if self.weighting == "lognormal":
                raise ValueError("'lognormal' draws continuous noise levels, DiscreteVP has its own: another weighting")
            return np.arange(self.end + 1)
        if n is None:
            return None
        n = sk.checks.integer("levels", n, 2)
        levels = self._law(torch.linspace(0, 1, n, dtype=torch.float64, device="cpu")).numpy()
        levels = np.unique(np.concatenate([[self.begin], levels[1:-1], [self.end]]))
        gap = np.abs(np.diff(self._log_snr(levels))).max()
        if gap > WIDEST:
            told = f"levels = {n} leave a gap of {gap:.1f} in log(alpha/sigma), at most {WIDEST} can be stepped over"
            raise ValueError(f"{told}; take more, or weighting='lognormal'")
        self.usual = sk.deis(3), 32
        return levels

    def _log_snr(self, t):
        alpha, sigma = self.process.marginal(t)
        return np.log(alpha / sigma)

    def forward(self, t, x, c=None):
        """The prediction, in units, at times t (B,) of states x (B, *shape)."""
        if not self.scaled:
            return self._evaluated(t, x, c)
        return self.prediction.scale(*self._scales(t, x)) * self._scaled(t, x, c)

    def loss(self, x, c=None):
        """The denoising loss of data x with labels c, at random times and noise."""
        x0 = self.units(x)
        t, weight = self._times(x0)
        eps = torch.randn_like(x0)
        a, s, n = self._scales(t, x0)
        c = self._dropped(c)
        found = self(t, (a * x0 + s * eps).to(x0), c) / self.prediction.scale(a, s, n)
        error = found - self.prediction.target(a, s, n, x0, eps)
        if self.weighting in ("sigma2", "likelihood"):
            error = error * self.prediction.gain(a, s, n)
        return (sk.math.expand(weight, x0) * error * error).mean()

    def _law(self, u):
        """The times whose quantiles u are, for u in [0, 1]."""
        if self.weighting == "lognormal":
            return self._lognormal(u)
        if self._importance():
            low, high = self._ends()
            return time_of(self.process, low + (high - low) * u)
        return self.begin + (self.end - self.begin) * u

    def _importance(self):
        return self.weighting == "likelihood" and self.importance

    def _times(self, x):
        """Times (B,), one draw spread evenly over their law, and the weights that correct for that law."""
        u = spread(x)
        if self.levels is None:
            t = self._law(u)
        else:
            t = torch.as_tensor(self.levels, dtype=x.dtype, device=x.device)[(u * len(self.levels)).long()]
        if self.weighting != "likelihood":
            return t, 1.0
        if self._importance() and not isinstance(self.process, sk.DiscreteVP):
            low, high = self._ends()
            return t, high - low
        rate = self.process.diffusion(t, t) / self.process.marginal(t)[1]
        return t, 0.5 * rate * rate * (self.end - self.begin)

    def grid(self, steps, method=None, eta=0.0, final=True):
        """Times of the sampler: even in log-SNR, or nearly so, among the discrete levels; then the clean end."""
        spacing = sk.grids.log_snr if self.levels is None else self._selected
        return self._spaced(spacing, steps, self.end, self.begin, final)

    def _selected(self, process, steps, end, begin):
        """steps + 1 of the levels, all if there are fewer: each nearest to an equal share of what is left."""
        place, rows = self._log_snr(self.levels), [0]
        for left in range(min(steps, len(place) - 1), 1, -1):
            first, last = rows[-1] + 1, len(place) - left + 1
            target = place[rows[-1]] + (place[-1] - place[rows[-1]]) / left
            rows.append(first + int(np.abs(place[first:last] - target).argmin()))
        return self.levels[[*rows, len(place) - 1]][::-1]
