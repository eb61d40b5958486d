"""Langevin steps, alone, as the corrector of a predictor–corrector method, and over falling noise levels.

`sde.process` must have a score (`Langevin`, `Reverse`).
"""

import math

from .. import math as sm
from .. import noise
from ..checks import integer, real
from .method import Method, family, method
from .stochastic import euler_maruyama

__all__ = ["langevin", "predictor_corrector", "annealed_langevin"]

MOST = 2**20  # of Langevin steps in a step, which holds the normals of all at a time


@family
def langevin(snr=None, steps=1):
    """Unadjusted Langevin steps towards the law whose score the process holds.

        x ← x + τ s(t, x) + √(2τ) z,   `steps` times;   τ = |h|, or 2 (snr · sigma(t))² where snr is given

    Without `snr` it is the unadjusted Langevin algorithm for `Langevin(score)` (Euler–Maruyama of
    dX = s dt + √2 dW). With it, τ follows the noise level: ‖z‖/‖s‖ of the usual rule is replaced by its
    expectation sigma(t), so that a sample's step does not depend on the rest of the batch.
    Cost: `steps` scores.
    Source: G. Roberts, R. Tweedie, "Exponential convergence of Langevin distributions and their
    discrete approximations", 1996; step size after Y. Song et al., "Score-based generative modeling
    through stochastic differential equations", 2021, alg. 4 (arXiv 2011.13456).
    """
    steps = integer("steps", steps, 1, MOST)
    stream = noise.Stream.PATH if snr is None else noise.Stream.CORRECTOR
    ratio = 0.0 if snr is None else real("snr", snr, above=0, below=math.inf)

    @method(
        weak=1.0 if snr is None else None,
        noise=("none", "additive"),
        drifts=steps,
        streams=(stream,) * steps,
        needs=("score",) if snr is None else ("score", "sigma"),
    )
    def langevin(sde, t, t1, x, h, *dws):
        size = 2 * (ratio * sde.process.sigma(t)) ** 2 if ratio > 0 else abs(h)
        for dw in dws:
            x = x + sde.process.score(t, x) * size + dw * sm.sqrt(2 * size / abs(h))
        return x

    return langevin


@family
def predictor_corrector(predictor=euler_maruyama, corrector=langevin(0.16)):
    """A step of `predictor`, then a step of `corrector` at the new time.

        y = predictor(t → t1, x),   x' = corrector(t1, y)

    Cost: that of both. A step to sigma(t1) = 0 evaluates nothing there.
    Source: Y. Song et al., "Score-based generative modeling through stochastic differential
    equations", 2021, alg. 1 (arXiv 2011.13456).
    """
    for name, part in (("predictor", predictor), ("corrector", corrector)):
        if not isinstance(part, Method) or part.init is not None or part.first_same_as_last:
            raise ValueError(f"{name} must be a one-step method, got {part!r}")
    predict, correct, split = predictor.step, corrector.step, predictor.normals
    streams = predictor.streams + tuple(noise.Stream.CORRECTOR for _ in corrector.streams)

    @method(
        noise=tuple(kind for kind in predictor.noise if kind in corrector.noise),
        calculus=predictor.calculus,
        drifts=predictor.drifts + corrector.drifts,
        streams=streams,
        evaluates_end=True,
        needs=(*predictor.needs, *corrector.needs),
    )
    def predictor_corrector(sde, t, t1, x, h, *dws):
        y = predict(sde, t, t1, x, h, *dws[:split])
        return correct(sde, t1, t1, y, h, *dws[split:])

    return predictor_corrector


@method(noise=("none", "additive"), drifts=0, streams=(), needs=("pair",))
def relabel(sde, t, t1, x, h):
    """x' = (a1/a0) x: the same x/alpha, taken for one of the noise level of t1; a1 D + s1 ε where a0 = 0."""
    (a0, _), (a1, s1) = sde.process.marginal(t), sde.process.marginal(t1)
    if a0 > 0:
        return (a1 / a0) * x
    clean, eps = sde.process.pair(t, x)
    return a1 * clean + s1 * eps


@family
def annealed_langevin(snr=0.16, steps=1):
    """Annealed Langevin dynamics: at each noise level of the grid, `steps` Langevin steps of size 2 (snr · sigma)².

        y = (alpha(t1)/alpha(t)) x,   then  y ← y + τ s(t1, y) + √(2τ) z,   `steps` times,   τ = 2 (snr · sigma(t1))²

    Nothing but the Langevin steps moves x/alpha from level to level: use many levels, or many steps. This is
    `predictor_corrector` with a predictor that changes the label alone. A step to sigma = 0 returns D.
    Cost: `steps` scores (one more where alpha(t) = 0).
    Source: Y. Song, S. Ermon, "Generative modeling by estimating gradients of the data distribution", NeurIPS
    2019, arXiv:1907.05600, algorithm 1 (there τ = alpha_i/2 = ½ epsilon sigma_i²/sigma_L²: epsilon = (2 snr sigma_L)²).
    """
    return predictor_corrector(relabel, langevin(real("snr", snr, above=0, below=math.inf), steps))
