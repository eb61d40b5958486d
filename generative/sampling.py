"""What diffusion and flows share: times, labels, the way from noise to data, and the likelihood along it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

import sdekit as sk

from .standard import Standard, event_shape, labelled, optional, standardise, trained

MOST, PROBES = 2**32, 2**16  # of samples, of probes: more is a slip of the pen
CHUNK = 2**13  # paths that are solved at a time: their activations stay in cache
FAINTEST = 1e-3  # alpha/sigma at the first time where the process ends without any signal
CLEAREST = 1e2  # alpha/sigma at the last time where the process names no `finest`
LARGEST = 2.0  # √(alpha² + sigma²) that a network can be shown as it is
EDM_MEAN, EDM_STD = math.log(2) - 1.2, 1.2  # of log(sigma/alpha); Karras et al. 2022, table 1, for data of unit scale


class Sampler(nn.Module):
    """A network and a noising process, from whose noise it makes data: the base of diffusion and flows.

    `read(network, process)` makes the model, called (t, x, c), a score of data in units; `usual` is the method and the
    number of steps of `sample` unless told. Subclasses have `forward`, `loss`, and `grid(steps, method, eta, final)`.
    """

    density, nfe = "exact", 0  # of the law that the ODE defines, up to the solver's error
    density_of = {"method": sk.rk4, "steps": 32}  # options of `sample` for draws from that law
    usual, read = (sk.rk4, 32), staticmethod(sk.scores.from_velocity)
    standardise = standardise

    def __init__(self, net, process, shape=None, end=None, drop=0.0):
        super().__init__()
        shape = event_shape(net, shape)
        sk.scores.from_velocity(net, process)  # refuses what is no noising process
        self.net, self.process, self.drop = net, process, sk.checks.real("drop", drop, 0, 1)
        self.units = Standard(shape, shared=len(shape) > 1)
        self.clean, self.begin, self.end = times_of(process, end)

    def score(self, c=None, guidance=1.0):
        """The `sk.scores.Score` of the data in units, given labels c (one for each path, or one for all).

        guidance  0 ignores the labels, 1 follows them, above 1 overstates them (`sk.scores.guided`).
        """
        guidance = sk.checks.real("guidance", guidance, above=-math.inf, below=math.inf)
        score = self.read(self, self.process)
        if c is None:
            if guidance != 1:
                raise ValueError(f"guidance = {guidance} is towards labels: give c, or leave it out")
            return score
        labelled(self.net, c)
        return score.given(c) if guidance == 1 else sk.scores.guided(score.given(c), score.given(-1), guidance)

    @torch.no_grad()
    def sample(
        self,
        n,
        c=None,
        seed=None,
        *,
        method=None,
        steps=None,
        grid=None,
        eta=None,
        guidance=1.0,
        trajectory=False,
    ):
        """n samples (n, *shape), given labels c (n,) or one for all; a function of the seed.

        method      any of sdekit that runs on the process; None is the model's own, `usual`
        steps       of the grid `self.grid(steps, method, eta)`
        grid        or the grid itself, decreasing
        eta         of `sk.Reverse`, for methods that step its drift: 0 the ODE, 1 the SDE, which is the default where
                    the method draws noise
        guidance    see `score`
        trajectory  whether to return the states at all times of the grid, (times, n, *shape), the samples last
        Afterwards `nfe` tells how often the network was evaluated for each sample.
        """
        method, steps = self.usual[0] if method is None else method, self.usual[1] if steps is None else steps
        eta, n, seed = eta_of(method, eta), sk.checks.integer("n", n, 1, MOST), sk.noise.fresh(seed)
        along = self._along(method, eta)
        grid = self.grid(steps, method, eta) if grid is None else falling(grid)
        c = labels_of(c, n, self.units.shift.device)
        along(self.score(c, guidance))  # refuses what makes no sense
        trained(self, self.units.known or getattr(self.net, "trained", True))
        start = sk.Reverse(self.process, self.score()).start((n, *self.units.shape), seed, self.units.shift, t=grid[0])
        parts = []
        for first in range(0, n, CHUNK):
            rows = slice(first, first + CHUNK)
            process = along(self.score(None if c is None else c[rows], guidance))
            times = grid if trajectory else None  # to keep
            solution = sk.solve(process, start[rows], times, method, grid=grid, seed=seed, first_path=first)
            parts.append(solution.x if trajectory else solution.x[-1])
        self.nfe = solution.nfe
        return self.units.inverse(torch.cat(parts, int(trajectory)))

    def _along(self, method, eta):
        """The process that `sample` moves along, as a function of the score."""
        return lambda score: sk.Reverse(self.process, score, eta)

    def log_prob(self, x, c=None, *, steps=None, method=sk.rk4, probes=None, seed=None):
        """log p(x) of the ODE, of shape (B,); exact divergence, or estimated by `probes`. steps: see `density_of`."""
        grid = self.grid(self.density_of["steps"] if steps is None else steps, method, final=False)
        return self._log_density(x, c, grid, method, probes, seed)

    def _log_density(self, x, c, grid, method, probes, seed, learn=False):
        """log p(x), in float64 but for the network.

        It carries gradients with respect to x where x wants them, and to the weights where it is to `learn`.
        """
        probes, x = optional(sk.checks.integer, "probes", probes, 1, PROBES), torch.as_tensor(x)
        kept = x.dtype if x.is_floating_point() else self.units.shift.dtype
        with torch.set_grad_enabled(torch.is_grad_enabled() and (learn or x.requires_grad)):
            flow, seed = sk.Reverse(self.process, self.score(c), 0.0), sk.noise.fresh(seed)
            log = sk.likelihood.log_prob(flow, self.units(x).double(), grid, method, probes=probes, seed=seed)
            return (log - self.units.log_volume()).to(kept)

    def _evaluated(self, t, x, c):
        """net(t, x), or net(t, x, c) where there are labels; it must keep the shape of x."""
        out = self.net(t, x) if c is None else self.net(t, x, c)
        if out.shape != x.shape:
            told = f"{tuple(out.shape)} for x of shape {tuple(x.shape)}"
            raise ValueError(f"the network returned {told}; it must keep that")
        return out

    def _scaled(self, t, x, c):
        """The network at x/√(alpha² + sigma²) and the noise level log(sigma/alpha)/4, both of order one."""
        a, s, n = self._scales(t, x)
        level = (sk.math.log(s) - sk.math.log(a)).clamp(-10, 10).reshape(len(x)) / 4
        return self._evaluated(level.to(x), (x / n).to(x), c)

    def _scales(self, t, x):
        """alpha, sigma and √(alpha² + sigma²) at times t of states x."""
        a, s = (sk.math.expand(value, x) for value in self.process.marginal(t))
        return a, s, sk.math.sqrt(a * a + s * s)

    def _dropped(self, c):
        """Labels of the network's classes with a random share replaced by −1, the null class."""
        labelled(self.net, c)
        return c if c is None else torch.where(torch.rand(c.shape, device=c.device) < self.drop, -1, c)

    def _spaced(self, spacing, steps, end, begin, final):
        """A grid of `steps` from end to begin, with a last step to the clean end where sigma = 0 there."""
        steps = sk.checks.integer("steps", steps, 1)
        final = final and self.clean < begin and self.process.marginal(self.clean)[1] == 0
        grid = spacing(self.process, steps - final, end, begin) if steps > final else np.array([end])
        return np.append(grid, self.clean) if final else grid

    def _grows(self):
        """Whether the noise leaves the scale of the data behind, as in VE and EDM."""
        return math.hypot(*self.process.marginal(self.end)) > LARGEST

    def _lognormal(self, u):
        """Times at which log(sigma/alpha) ~ N(log 2 − 1.2, 1.2²), from u uniform on [0, 1]."""
        low, high = self._ends()
        level = EDM_MEAN + EDM_STD * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))
        return time_of(self.process, -level.clamp(-high, -low))

    def _ends(self):
        """log(alpha/sigma) at the last and the first time."""
        return (math.log(a / s) for a, s in map(self.process.marginal, (self.end, self.begin)))


def one_of(name, value, known):
    """A `ValueError` unless the value is one of the names that are known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {sk.checks.shown(value)}")


def eta_of(method, eta):
    """eta, by default 1 for methods that draw noise and 0 for others."""
    if not isinstance(method, sk.Method):
        raise ValueError(f"method must be one of sdekit, such as sk.unipc(3), got {method!r}")
    return float(method.normals > 0) if eta is None else sk.checks.real("eta", eta, 0, below=math.inf)


def times_of(process, end=None):
    """(time of clean data, earliest, last time at which a network is used)."""
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


def labels_of(c, n, device):
    """Labels as one integer for each of n samples; None stays."""
    if c is None:
        return None
    try:
        c = torch.as_tensor(c, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"labels c must be an integer or {n} of them, got {sk.checks.shown(c)}") from None
    if c.is_floating_point() or c.shape not in ((), (1,), (n,)):
        raise ValueError(f"labels c must be an integer or {n} of them, got {c.dtype} of shape {tuple(c.shape)}")
    return c.long().expand(n)


def falling(grid):
    """The times of a grid as an array; a `ValueError` unless they fall from noise to data."""
    try:
        times = np.asarray(grid, np.float64)
    except (TypeError, ValueError):
        times = np.zeros(0)
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) < 0).all():
        raise ValueError(f"grid must hold decreasing times, from noise to data, got {sk.checks.shown(grid)}")
    return times
