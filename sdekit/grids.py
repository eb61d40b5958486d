"""Grids of times for sampling, from noise to data: n steps give n + 1 strictly decreasing times, float64.

All take `(process, n, start=None, end=None, final=False)`:

start   the first time; by default the end of the process's domain. Spacings in log(alpha/sigma) begin by
        default where alpha/sigma = 1e-3 if alpha = 0 there (`FlowPath`).
end     the last time; by default the smallest at which networks are usually evaluated (`process.finest`,
        else the start of the domain).
final   whether one step more leads from there to the start of the domain, where sigma = 0 and the answer is
        the denoised state. It is one of the n.

Both ends are hit exactly. With L = alpha/sigma the levels in between come from the process's `time(log L)`.
Impossible arguments raise a ValueError, as do grids so fine that two times coincide.
"""

import math

import numpy as np

from .checks import integer, real
from .processes import forms

__all__ = ["cosine", "karras", "log_snr", "quadratic", "uniform"]

MOST = 2**24  # steps of a grid: no sampler takes as many
FAINTEST = 1e-3  # alpha/sigma where spacings in its logarithm begin, if it falls to 0


def uniform(process, n, start=None, end=None, final=False):
    """Equal steps of time:  t_i = t_0 + (i/n) (t_n − t_0)."""
    return _grid(process, n, start, end, final, lambda process, t: t, lambda process, y: y)


def quadratic(process, n, start=None, end=None, final=False):
    """Equal steps of √t, with t counted from the start of the domain: finer towards the data.

    Source: J. Song, C. Meng, S. Ermon, "Denoising diffusion implicit models", 2021, arXiv:2010.02502, appendix D.2.
    """

    def root(process, t):
        return math.sqrt(t - process.domain[0])

    return _grid(process, n, start, end, final, root, lambda process, y: process.domain[0] + y * y)


def log_snr(process, n, start=None, end=None, final=False):
    """Equal steps of λ = log(alpha/sigma).

    Source: C. Lu et al., "DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10
    steps", 2022, arXiv:2206.00927, section 3.4.
    """
    start = _faintest(process) if start is None else start
    return _grid(process, n, start, end, final, _log_snr, lambda process, y: forms.time_of(process, y))


def karras(process, n, start=None, end=None, final=False, rho=7.0):
    """Equal steps of (sigma/alpha)^(1/rho): rho = 1 equal steps of noise, rho → ∞ those of `log_snr`.

    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models", 2022,
    arXiv:2206.00364, equation 5.
    """
    rho = real("rho", rho, above=0, below=math.inf)
    start = _faintest(process) if start is None else start

    def level(process, t):
        return math.exp(-_log_snr(process, t) / rho)

    return _grid(process, n, start, end, final, level, lambda process, y: forms.time_of(process, -rho * np.log(y)))


def cosine(process, n, start=None, end=None, final=False):
    """Equal steps of the angle arctan(sigma/alpha), which is finite at both ends: finest where both are alike.

    On a process with the cosine schedule (alpha = cos φ, sigma = sin φ) these are equal steps of φ.
    Source: A. Nichol, P. Dhariwal, "Improved denoising diffusion probabilistic models", 2021, arXiv:2102.09672,
    equation 17 (the schedule).
    """

    def angle(process, t):
        alpha, sigma = process.marginal(t)
        return math.atan2(sigma, alpha)

    return _grid(process, n, start, end, final, angle, lambda process, y: forms.time_of(process, -np.log(np.tan(y))))


def _grid(process, n, start, end, final, forward, backward):
    """Times that `forward` makes equidistant; `backward` inverts it for arrays."""
    process = bare(process)
    n = integer("n", n, 1, MOST)
    low, high = (float(edge) for edge in process.domain)
    start = high if start is None else real("start", start)
    end = float(getattr(process, "finest", low)) if end is None else real("end", end)
    name = type(process).__name__
    if not (low <= end < start <= high and math.isfinite(start - end)):
        raise ValueError(
            f"start = {start} and end = {end} must be finite times with {low} <= end < start <= {high} for {name}"
        )
    if final and low == -math.inf:
        raise ValueError(f"final=True adds a step to the start of the domain, which {name} does not have; leave it out")
    last = process.marginal(low)[1] if final else 0.0
    if final and (last > 0 or end == low):
        found = f"{name} has sigma = {last} there" if last > 0 else f"end = {end} is there already"
        raise ValueError(f"final=True adds a step to sigma = 0 at t = {low}, but {found}; leave it out")
    steps = n - bool(final)
    times = np.array([start])
    if steps:
        between = np.linspace(forward(process, start), forward(process, end), steps + 1)[1:-1]
        times = np.concatenate([times, backward(process, between) if steps > 1 else between, [end]])
    times = np.append(times, low) if final else times
    if not (np.diff(times) < 0).all():
        raise ValueError(f"n = {n} steps from {start} to {end} are more than float64 can tell apart; use fewer")
    return times


def bare(process):
    """The process itself, where a `Reverse` or a score of it is given."""
    return forms.noising(getattr(process, "process", process))


def _log_snr(process, t):
    alpha, sigma = process.marginal(t)
    if not (alpha > 0 and sigma > 0):
        raise ValueError(
            f"log(alpha/sigma) is infinite at t = {t}, where alpha = {alpha} and sigma = {sigma}; move "
            + ("start" if sigma > 0 else "end (final=True goes on to sigma = 0)")
        )
    return math.log(alpha / sigma)


def _faintest(process):
    """The end of the domain, or, where alpha = 0 there, the time where alpha/sigma = 1e-3."""
    process = bare(process)
    high = float(process.domain[1])
    return (
        high if not math.isfinite(high) or process.marginal(high)[0] > 0 else forms.time_of(process, math.log(FAINTEST))
    )
