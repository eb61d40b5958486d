"""The stochastic Heun sampler of Karras et al., in x/alpha over sigma/alpha, so that it runs on any process."""

import math

from ..arrays import combined
from ..checks import integer, real
from ..noise import Stream
from .exponential import schedule
from .method import family, method

__all__ = ["edm_heun"]

MOST = math.sqrt(2) - 1  # of gamma: at most as much variance is added as there is


@family
def edm_heun(churn=0.0, steps=None, low=0.0, high=math.inf, noise=1.0):
    """Heun's method for the flow in x/alpha over sigma/alpha, each step from a raised noise level ("churn").

        σ = s0/a0,   σ̂ = (1 + γ) σ,   γ = min(churn/steps, √2 − 1) where low <= σ <= high, else 0
        x̂ = (â/a0) x + â √(σ̂² − σ²) noise z,   â = alpha at σ̂,   (D, ε) of x̂,   h = log(σ̂ a1/s1)
        y = a1 D + s1 ε,   x' = y − ½ s1 (e^h − 1) (ε(y) − ε)

    `steps` is the number of steps of the grid, which a step does not know: with churn > 0 it must be given.
    σ̂ stays inside the domain. Without churn no normals are drawn. A step to sigma = 0 returns D, without churn or a
    second stage.
    Order: 2 without churn. Cost: 2 evaluations.
    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS
    2022, arXiv:2206.00364, algorithm 2 (churn, low, high and noise are S_churn, S_tmin, S_tmax, S_noise).
    """
    churn, noise = real("churn", churn, 0, below=math.inf), real("noise", noise, 0, below=math.inf)
    low = real("low", low, 0)
    high = real("high", high, low)
    if churn or steps is not None:
        steps = integer("steps, the number of steps of the grid where churn > 0,", steps, 1)
    raising = min(churn / steps, MOST) if churn else 0.0

    @method(
        noise=("none", "additive"),
        order=None if churn else 2,
        drifts=2,
        streams=(Stream.CORRECTOR,) if churn else (),
        evaluates_end=True,
        needs=("pair",),
    )
    def edm_heun(sde, t, t1, x, dt, *dws):
        process = sde.process
        for dw in dws:
            level = _level(process, t)
            raised = min(level * (1 + raising), _level(process, process.domain[1]))
            if low <= level <= high and level < raised < math.inf:
                before = process.marginal(t)[0]
                t = process.time(-math.log(raised))
                after = process.marginal(t)[0]
                spread = noise * math.sqrt((raised - level) * (raised + level) / abs(dt))
                x = combined((after / before, x), (after * spread, dw))
        _, _, a1, s1, h = schedule(sde, t, t1)
        clean, eps = process.pair(t, x)
        y = combined((a1, clean), (s1, eps))
        if not h < math.inf:
            return y
        bend = 0.5 * s1 * math.expm1(h)
        return combined((a1, clean), (s1 + bend, eps), (-bend, process.pair(t1, y)[1]))

    return edm_heun


def _level(process, t):
    """sigma/alpha, inf where alpha = 0."""
    alpha, sigma = process.marginal(t)
    return sigma / alpha if alpha > 0 else math.inf
