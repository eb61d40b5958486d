"""The exact law of what a method makes of a Gaussian target: discretisation errors without sampling noise."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..backends import numpy
from ..checks import integer
from ..solution import State
from ..solve import solve
from ..steps import decreasing
from ..targets import Gaussian
from ..transforms import Reverse

__all__ = ["Law", "exact_law", "gaussian_law"]

SLACK = 1e-8  # relative: a step that is further from affine than this is not affine


class Law(NamedTuple):
    """A Gaussian law with the principal axes of a target, independent along them.

    mean   (d,) means along the axes
    std    (d,) standard deviations along the axes, √λ
    basis  (d, d) with the axes as columns, over the flattened state; None: the axes of the state itself
    nfe    network evaluations per sample that it took to draw from it; 0 for exact laws
    """

    mean: Any
    std: Any
    basis: Any = None
    nfe: int = 0

    @property
    def cov(self):
        """The covariance (d, d) of the flattened state."""
        axes = np.eye(len(self.std)) if self.basis is None else self.basis
        return (axes * self.std**2) @ axes.T

    def w2(self, other):
        """The 2-Wasserstein distance: W2² = Σ (√λ − √λ′)² + Σ (m − m′)². Another `Law` of the same axes."""
        self._same_axes(other)
        return float(np.sqrt(((self.std - other.std) ** 2).sum() + ((self.mean - other.mean) ** 2).sum()))

    def kl(self, other):
        """KL(self ‖ other) = ½ Σ [r − log(1 + r) + (m − m′)²/λ′] with r = λ/λ′ − 1, in nats."""
        self._same_axes(other)
        excess = (self.std - other.std) * (self.std + other.std) / other.std**2
        return float(0.5 * (excess - np.log1p(excess) + ((self.mean - other.mean) / other.std) ** 2).sum())

    def _same_axes(self, other):
        a, b = self.basis, other.basis
        if self.std.shape != other.std.shape or (a is not b and not np.array_equal(a, b)):
            raise ValueError("other must be a law with the same principal axes, of the same target")


def exact_law(target, process=None, t=None):
    """The law of x_t = alpha·x_0 + sigma·ε for a Gaussian target; without a process, of the data x_0 themselves."""
    if not isinstance(target, Gaussian):
        raise ValueError(f"target must be a sdekit.Gaussian, got {target!r}")
    variances, basis = target.eigen()
    mean = target.mean.reshape(-1) if basis is None else basis.T @ target.mean.reshape(-1)
    if process is None:
        return Law(mean, np.sqrt(variances), basis)
    alpha, sigma = process.marginal(float(t))
    return Law(alpha * mean, np.sqrt(alpha * alpha * variances + sigma * sigma), basis)


def gaussian_law(target, process, method, grid, *, eta=None, start="prior", exact=0):
    """The exact law of the samples that `solve` draws for a Gaussian target, with its exact score.

    target   a `sdekit.Gaussian`.
    process  the noising process; samples are drawn by `Reverse(process, target.score(process), eta)`.
    method   a method whose step is affine in state, memory and normals, as all are that have neither noise that
             depends on the state, nor clipping, nor norms of the state.
    grid     decreasing times of all steps.
    eta      of `Reverse`. Default: 0 for methods of ODEs alone, else 1. Samplers have their own and ignore it.
    start    law at grid[0]: "prior", N(0, sigma²); "exact", that of x_t; or a `Law` of the target's axes.
    exact    the first so many steps move x by the exact flow of the probability-flow ODE, while the method still
             makes its memory: a multistep method starts at its full order. For methods without normals.

    A step is affine in (x, memory, normals), and along the target's axes it acts on d numbers independently. So the
    law is carried by a few paths of the actual code: that of the means, and those of its deviations in unit steps of
    each source of randomness; where there are more sources than numbers in (x, memory) an orthogonal transformation
    merges them. Every step is checked at a random point; a ValueError says where it is not affine.
    A law that overflows is NaN. The law's `nfe` is the count of `solve`. Compare with
    `exact_law(target, process, grid[-1])`, what the sampler aims at, or `exact_law(target)`, the data.
    """
    times = decreasing("grid", grid).tolist()
    eta = (0.0 if method.noise == ("none",) else 1.0) if eta is None else eta
    if integer("exact", exact) and method.normals:
        raise ValueError(f"exact is {exact}, but {method!r} draws normals; exact steps are those of the ODE")
    data = exact_law(target)
    sampler = Reverse(process, Gaussian(data.mean, std=data.std).score(process), eta)
    first = _start(start, target, process, times[0])
    rng = np.random.default_rng(0)
    mean, sources, memory, nfe = first.mean[None], first.std[None, None], None, 0
    for s, (t, t1) in enumerate(pairwise(times)):
        flow = _flow(target, process, t, t1) if s < exact else None
        mean, sources, memory, count = _advance(sampler, method, t, t1, mean, sources, memory, flow, rng)
        nfe += count
        if not (np.isfinite(mean).all() and np.isfinite(sources).all()):
            nothing = np.full_like(data.mean, np.nan)
            return Law(nothing, nothing, data.basis, nfe)
    return Law(mean[0], np.sqrt((sources[:, 0] ** 2).sum(0)), data.basis, nfe)


# --- one step ------------------------------------------------------------------------------------
#
# A state is (q, d): x and the arrays in the memory, along d axes. `sources` (r, q, d) holds the deviation from the mean
# that one unit of each of r independent standard normals makes: the covariance along an axis is Σ_r s sᵀ.


def _advance(sampler, method, t, t1, mean, sources, memory, flow, rng):
    """(mean, sources, memory, evaluations) after a step from t to t1 of all paths at once."""
    r, n, d = len(sources), method.normals, mean.shape[-1]
    weights, draws = rng.standard_normal((r, 1, d)), rng.standard_normal((n, d))
    trial = mean + (weights * sources).sum(0)
    states = np.concatenate([mean[None], mean + sources, np.repeat(mean[None], n, 0), trial[None]])
    z = np.zeros((n, 1, len(states), d))
    z[range(n), 0, range(1 + r, 1 + r + n)] = 1.0
    z[:, 0, -1] = draws
    after, memory, count = _solved(sampler, method, t, t1, states, memory, z, flow)
    mean, moved = after[0], after[1:-1] - after[0]
    expected = mean + (np.concatenate([weights, draws[:, None]]) * moved).sum(0)
    _affine(method, t, after[-1] - expected, states, after)
    return mean, _merged(moved), memory, count


def _solved(sampler, method, t, t1, states, memory, z, flow):
    """The states after one step by `solve`, or by the exact flow, with the memory that the step left."""
    memory = _filled(memory, iter(states.swapaxes(0, 1)[1:]))
    noise = (z[0] if len(z) == 1 else z) if len(z) else None
    x0 = np.ascontiguousarray(states[:, 0])
    sol = solve(sampler, State(x0, t, memory=memory), grid=[t, t1], method=method, noise=noise, backend=numpy())
    x, memory = sol.final, sol.memory
    if flow is not None:
        x = flow(x0)
        if getattr(memory, "x", None) is not None:  # the state of a method that corrects it: it needs no correction
            memory = memory._replace(x=x0)
    return np.stack([x, *_arrays(memory)], 1), memory, sol.nfe


def _merged(sources):
    """At most q sources of the same covariance: the triangular factor of a QR decomposition along each axis."""
    if len(sources) <= sources.shape[1]:
        return sources
    return np.linalg.qr(sources.transpose(2, 0, 1), mode="r").transpose(1, 2, 0)


def _affine(method, t, error, states, after):
    """Raise where a step at a random point is not what its responses add up to."""
    size = SLACK * max(np.abs(states).max(), np.abs(after).max())
    if (np.abs(error) > size).any():
        raise ValueError(
            f"method {method!r} is not affine at t = {t:.6g}: off by {np.abs(error).max():.3g} at a random point. Its "
            f"law is not Gaussian, or it couples the target's axes; draw samples instead"
        )


def _flow(target, process, t, t1):
    """The exact map of the probability-flow ODE from t to t1 along the axes: law to law, in the same order."""
    a, b = exact_law(target, process, t), exact_law(target, process, t1)
    return lambda x: b.mean + b.std / a.std * (x - a.mean)


def _arrays(memory):
    """The arrays in a memory, in order; numbers and None in it are the same for all paths."""
    if isinstance(memory, (tuple, list)):
        return [array for item in memory for array in _arrays(item)]
    return [memory] if getattr(memory, "ndim", 0) else []


def _filled(memory, values):
    """The memory with the next of `values` in place of each of its arrays."""
    if isinstance(memory, (tuple, list)):
        items = [_filled(item, values) for item in memory]
        return type(memory)(*items) if hasattr(memory, "_fields") else type(memory)(items)
    return next(values) if getattr(memory, "ndim", 0) else memory


# --- arguments -----------------------------------------------------------------------------------


def _start(start, target, process, t):
    law = exact_law(target, process, t)
    if isinstance(start, Law):
        law._same_axes(start)
        return start
    if start == "exact":
        return law
    if start == "prior":
        return law._replace(mean=0.0 * law.mean, std=0.0 * law.std + process.marginal(t)[1])
    raise ValueError(f"start must be 'prior', 'exact' or a Law, got {start!r}")
