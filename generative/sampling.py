"""What diffusion and flows share: times, labels, and the way from noise to data."""

from __future__ import annotations

import math

import numpy as np
import torch

import sdekit as sk

from .standard import labelled, trained

MOST, PROBES = 2**32, 2**16  # of samples, of probes: more is a slip of the pen
CHUNK = 2**13  # paths that are solved at a time: their activations stay in cache
FAINTEST = 1e-3  # alpha/sigma at the first time where the process ends without any signal
CLEAREST = 1e2  # alpha/sigma at the last time where the process names no `finest`


def one_of(name, value, known):
    """A `ValueError` unless the value is one of the names that are known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {sk.checks.shown(value)}")


def evaluated(net, t, x, c):
    """net(t, x), or net(t, x, c) where there are labels; it must keep the shape of x."""
    out = net(t, x) if c is None else net(t, x, c)
    if out.shape != x.shape:
        raise ValueError(f"the network returned {tuple(out.shape)} for x of shape {tuple(x.shape)}; it must keep that")
    return out


def eta_of(method, eta):
    """eta, by default 1 for methods that draw noise and 0 for others."""
    if not isinstance(method, sk.Method):
        raise ValueError(f"method must be one of sdekit, such as sk.unipc(3), got {method!r}")
    return float(method.normals > 0) if eta is None else sk.checks.real("eta", eta, 0, below=math.inf)


def times_of(process, end=None):
    """(time of clean data, earliest, last time at which a network is used)."""
    if isinstance(process, type) or not hasattr(process, "marginal"):
        raise ValueError(f"process must be a noising process with a marginal, such as sk.VP(), got {process!r}")
    first, last = process.domain
    end = last if end is None else sk.checks.real("end", end)
    clean = first if math.isfinite(first) else 0.0
    rough = clean if process.marginal(clean)[1] > 0 else time_of(process, math.log(CLEAREST))
    begin = getattr(process, "finest", rough)
    if not begin < end <= last or not math.isfinite(end):
        raise ValueError(f"end is {end}; give the last time of {type(process).__name__}, above {begin}, at most {last}")
    return clean, begin, end


def time_of(process, log_snr):
    """The time at which log(alpha/sigma) = log_snr: by bisection for processes that have no `time`."""
    return sk.Reverse(process, lambda t, x: x).time(log_snr)


def with_signal(process, end):
    """`end`, or where alpha/sigma = 1e-3 if nothing is left of the data there."""
    return end if process.marginal(end)[0] > 0 else time_of(process, math.log(FAINTEST))


def spread(x):
    """One uniform number for each of x (B, …), a single draw spread evenly over [0, 1)."""
    return (torch.rand((), device=x.device) + torch.arange(len(x), device=x.device) / len(x)) % 1


def dropped(net, c, share):
    """Labels of the network's classes with a random share replaced by −1, the null class."""
    labelled(net, c)
    return c if c is None else torch.where(torch.rand(c.shape, device=c.device) < share, -1, c)


def spaced(spacing, process, steps, times, final=True):
    """A grid of `steps` over times (clean, begin, end), with a last step to the clean end where sigma = 0 there."""
    steps, (clean, begin, end) = sk.checks.integer("steps", steps, 1), times
    final = final and clean < begin and process.marginal(clean)[1] == 0
    grid = spacing(process, steps - final, end, begin) if steps > final else np.array([end])
    return np.append(grid, clean) if final else grid


def conditioned(net, score, c, guidance=1.0):
    """The score given labels of the network's classes; −1 is the null class."""
    guidance = sk.checks.real("guidance", guidance, above=-math.inf, below=math.inf)
    if c is None:
        if guidance != 1:
            raise ValueError(f"guidance = {guidance} is towards labels: give c, or leave it out")
        return score
    labelled(net, c)
    return score.given(c) if guidance == 1 else sk.scores.guided(score.given(c), score.given(-1), guidance)


def draw(model, backwards, n, c, seed, grid, method, guidance=1.0):
    """n samples of a model with units and `score(c, guidance)`, from noise along `backwards(score)`; sets its nfe."""
    n, seed, grid = sk.checks.integer("n", n, 1, MOST), sk.noise.fresh(seed), falling(grid)
    parts = []
    if c is not None:
        try:
            c = torch.as_tensor(c, device=model.units.shift.device)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"labels c must be an integer or {n} of them, got {sk.checks.shown(c)}") from None
        if c.is_floating_point() or c.shape not in ((), (1,), (n,)):
            raise ValueError(f"labels c must be an integer or {n} of them, got {c.dtype} of shape {tuple(c.shape)}")
        c = c.long().expand(n)
    backwards(model.score(c, guidance))  # refuses what makes no sense
    trained(model, model.units.known or getattr(model.net, "trained", True))
    start = sk.Reverse(model.process, model.score()).start((n, *model.units.shape), seed, model.units.shift, t=grid[0])
    for first in range(0, n, CHUNK):
        rows = slice(first, first + CHUNK)
        process = backwards(model.score(None if c is None else c[rows], guidance))
        solution = sk.solve(process, start[rows], grid=grid, method=method, seed=seed, first_path=first)
        parts.append(solution.x[-1])
    model.nfe = solution.nfe
    return model.units.inverse(torch.cat(parts))


def falling(grid):
    """The times of a grid as an array; a `ValueError` unless they fall from noise to data."""
    try:
        times = np.asarray(grid, np.float64)
    except (TypeError, ValueError):
        times = np.zeros(0)
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) < 0).all():
        raise ValueError(f"grid must hold decreasing times, from noise to data, got {sk.checks.shown(grid)}")
    return times


def log_density(model, score, x, grid, method, probes=None, seed=None, learn=False):
    """log p(x) along the ODE of a model with units and process; computed in float64 but for the network.

    It carries gradients with respect to x where x wants them, and to the weights where it is to `learn`.
    """
    probes = None if probes is None else sk.checks.integer("probes", probes, 1, PROBES)
    x = torch.as_tensor(x)
    kept = x.dtype if x.is_floating_point() else model.units.shift.dtype
    with torch.set_grad_enabled(torch.is_grad_enabled() and (learn or x.requires_grad)):
        u, flow, seed = model.units(x).double(), sk.Reverse(model.process, score, 0.0), sk.noise.fresh(seed)
        log = sk.likelihood.log_prob(flow, u, grid, method, probes=probes, seed=seed)
        return (log - model.units.log_volume()).to(kept)
