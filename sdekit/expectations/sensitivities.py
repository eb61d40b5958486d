"""`sensitivities`: derivatives of expectations, the Greeks of a price, from the paths that make the expectation.

    pathwise          ∂/∂θ E f(X_T) = E f′(X_T) ∂X_T/∂θ
    likelihood ratio  ∂/∂θ E f(X_T) = E f(X_T) ∂/∂θ log p(X; θ),   p the density of the steps

Source: P. Glasserman, "Monte Carlo Methods in Financial Engineering", 2004, doi:10.1007/978-0-387-21617-1, chapter 7.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import arguments, arrays, noise
from ..backends.guard import asked
from ..checks import integer, named, real, shown
from ..laws import NoncentralChiSquare
from ..methods import Method, euler_maruyama, exact
from ..protocols import Process
from ..records import fields, replaced
from ..solve import solve
from ..steps import Times, fitted, on_grid
from ..system import bind
from .quantity import Failed, interval

if TYPE_CHECKING:
    import torch

BLOCK = 2**21  # numbers that a block of paths holds
SINGULAR = 1e-12  # share of a component's variance that is left when the others are known: rounding


class Sensitivity(NamedTuple):
    """A derivative and its standard error: numbers, or arrays of the shape of x0."""

    value: Any
    stderr: Any


@named
def sensitivities(
    f: Callable[[torch.Tensor], torch.Tensor],
    process: Process,
    x0: Any,
    t: float | tuple[float, float],
    wrt: Sequence[str],
    *,
    likelihood_ratio: bool = False,
    method: Method | None = None,
    h: float | None = None,
    paths: int = 2**16,
    seed: int | None = None,
) -> dict[str, Sensitivity]:
    """∂/∂θ E f(X_t) of x0 and of parameters θ of a process, each with its standard error: {name: `Sensitivity`}.

    f        function of states at the end, float64 tensors (paths,) or (paths, k): one number per path. For pathwise
             derivatives it has to be continuous, and is differentiated by torch; a jump would be missed.
    process  a record whose parameters in `wrt` are numbers; its arithmetic has to be that of `sdekit.math`.
    x0       one state: a number, or k of them.
    t        the time, from 0 on; or (from, to).
    wrt      names: "x0", and those of the process's parameters.
    likelihood_ratio  whether f is weighted with the score of the steps, and nothing else is asked of it: for payoffs
             that jump. Steps are those of the process's `transition`, or of `euler_maruyama`, whose noise has to reach
             each component; then the variance grows as 1/h. The mean of f over the other paths is taken off, which
             changes no mean.
    method   of the steps. Default: `exact` for one number with a `transition` where h is not given, else that of
             `solve`. The law of `CIR` has no derivatives: give h.
    h        the largest step; steps end where the process jumps.
    paths    over which is averaged, 2 at least.
    seed     of the result, which is a function of it and the other arguments.
    """
    if not callable(f):
        raise ValueError(f"f must be a function of states, got {shown(f)}")
    if type(likelihood_ratio) is not bool:
        raise ValueError(f"likelihood_ratio must be True or False, got {shown(likelihood_ratio)}")
    (start, end), seed, paths = interval(t), noise.fresh(seed), integer("paths", paths, least=2)
    x0, wrt = np.asarray(arguments.state(x0)[0], np.float64), _names(wrt, process)
    system = bind(process, x0, start)
    if system.path_shape or system.noise == "none" or (system.components is None and x0.ndim):
        raise ValueError(f"x0 must be one state of a process with noise, a number or k of them; got {shown(x0)}")
    ends = Times(np.array([start, end]), 0.0)
    if method is None and h is None and not x0.ndim and _differentiable(process, start, end):
        method = exact
    if likelihood_ratio and method not in (None, exact, euler_maruyama):
        raise ValueError(f"the density of a step of {method!r} is not known; give sdekit.exact or euler_maruyama")
    if method is not exact:
        h = min(real("h", h, above=0, below=math.inf), end - start)  # jumps are told from the ends by a share of h
    steps = on_grid(ends) if method is exact else fitted(ends, h, system.jumps)
    of = _scores if likelihood_ratio else _pathwise
    block = max(256, BLOCK // (len(steps) * max(1, x0.size)))
    blocks = [(first, min(block, paths - first)) for first in range(0, paths, block)]
    parts = [of(f, process, x0, steps, method, wrt, seed, *which) for which in blocks]
    if likelihood_ratio and np.ptp(np.concatenate([values for values, _ in parts])) == 0:
        text = f"sensitivities: f is the same on all {paths} paths: what is rarer than {3 / paths:.2g} was not seen"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return {name: _mean([values for values, _ in parts], [found[name] for _, found in parts]) for name in wrt}


def _differentiable(process, start, end):
    """Whether the process has a transition, of a law that torch differentiates."""
    transition = getattr(process, "transition", None)
    return callable(transition) and not isinstance(transition(start, end, 1.0), NoncentralChiSquare)


def _names(wrt, process):
    known = ("x0", *(fields(type(process)) or ()))
    if isinstance(wrt, str):
        wrt = (wrt,)
    if not isinstance(wrt, Iterable) or not (wrt := tuple(wrt)):
        raise ValueError(f"wrt must be names of {', '.join(known)}, one at least; got {shown(wrt)}")
    for name in wrt:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"wrt: {shown(name)} is none of {', '.join(known)}")
        if name != "x0":
            real(f"wrt: {name} of {type(process).__name__}", getattr(process, name), least=-math.inf, below=math.inf)
    return wrt


def _mean(values, scores):
    """The `Sensitivity` of scores (paths, …), weighted with the values less the mean of the others, or as they are."""
    terms = np.concatenate(scores)
    if values[0] is not None:
        f = np.concatenate(values)
        f = (f - f.mean()) * (len(f) / (len(f) - 1))
        terms = terms * f.reshape(-1, *(1,) * (terms.ndim - 1))
    mean, stderr = terms.mean(0), terms.std(0, ddof=1) / math.sqrt(len(terms))
    return Sensitivity(mean, stderr) if mean.ndim else Sensitivity(float(mean), float(stderr))


def _leaves(process, x0, wrt, paths) -> tuple[Any, Any, dict[str, Any]]:
    """(x0, the process, {name: tensor}), a value for each path, whose gradients are those of the paths one by one."""
    import torch

    x = torch.as_tensor(x0).expand(paths, *x0.shape).clone().requires_grad_("x0" in wrt)
    own = {
        n: torch.full((paths,), float(getattr(process, n)), dtype=x.dtype, requires_grad=True) for n in wrt if n != "x0"
    }
    return x, replaced(process, **own), {"x0": x, **own}


def _gradients(total, leaves, wrt):
    import torch

    found = torch.autograd.grad(total, [leaves[name] for name in wrt], allow_unused=True, materialize_grads=True)
    return {name: value.numpy() for name, value in zip(wrt, found)}


def _values(f, x):
    try:
        y = asked("f", f, x)
    except RuntimeError as error:
        if "numpy()" not in str(error):
            raise
        raise ValueError("f must be made of torch or sdekit.math, for its derivative; it calls numpy") from error
    if not arrays.is_tensor(y) or y.shape != (len(x),) or y.is_complex():
        raise ValueError(f"f must return a tensor of one real number per path, shape ({len(x)},), got {shown(y)}")
    if infinite := int((~y.isfinite()).sum()):
        raise ValueError(f"f is not finite on {infinite} of {len(x)} paths")
    return y


def _solved(process, x0, steps, method, seed, first, **given):
    how = {} if method is exact else {"grid": steps.t}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `Failed` says it
        sol = solve(process, x0, method=method, seed=seed, first_path=first, **how, **given)
    if failed := int(sol.failed.sum()):
        raise Failed(f"{failed} of {len(x0)} paths are not finite")
    return sol.x


def _pathwise(f, process, x0, steps, method, wrt, seed, first, paths):
    x, process, leaves = _leaves(process, x0, wrt, paths)
    y = _values(f, _solved(process, x, steps, method, seed, first, ts=steps.t[[0, -1]])[-1])
    if not y.requires_grad:
        raise ValueError("f is not differentiable, as a comparison is not; give likelihood_ratio=True")
    return None, _gradients(y.sum(), leaves, wrt)


def _scores(f, process, x0, steps, method, wrt, seed, first, paths):
    import torch

    x, own, leaves = _leaves(process, x0, wrt, paths)
    with torch.no_grad():
        path = _solved(process, x.detach(), steps, method or euler_maruyama, seed, first, ts=steps.t)
        values = _values(f, path[-1]).double().numpy()
    if method is exact:
        total = own.transition(*steps.t.tolist(), x).log_prob(path[-1]).sum()
        if not total.isfinite():
            raise ValueError(f"the law of {type(process).__name__} has no density; leave likelihood_ratio out")
    else:
        total = _euler_log_prob(own, [x, *path[1:]], steps)
    return values, _gradients(total, leaves, wrt)


def _euler_log_prob(process, path, steps):
    """Σ log N(x'; x + f h, g gᵀ h) over steps and paths."""
    import torch

    system, total = bind(process, path[0], float(steps.t[0])), 0.0
    sde, many = system.equation, system.components is not None
    channels = system.channels if many or system.noise == "general" else 1
    factor = torch.eye(channels) if system.correlation is None else torch.as_tensor(system.correlation)
    for t, h, x, y in zip(steps.begin.tolist(), np.diff(steps.t).tolist(), path, path[1:]):
        state = x.movedim(-1, 0) if many else x
        mean = state + sde.drift(t, state) * h
        kicks = [sde.noise(t, state, unit[:, None] if many else unit) + 0 * state for unit in factor.T.double()]
        g = torch.stack(kicks).reshape(channels, -1, len(x)).permute(2, 1, 0)
        covariance = h * (g @ g.mT)
        root, fails = torch.linalg.cholesky_ex(covariance)
        left, whole = (m.detach().diagonal(dim1=-2, dim2=-1) for m in (root, covariance))
        if fails.any() or (left**2 <= SINGULAR * whole).any():
            raise ValueError(
                f"the noise of {system.name} does not reach each component, so that steps have no density; leave "
                f"likelihood_ratio out"
            )
        law = torch.distributions.MultivariateNormal(mean.reshape(-1, len(x)).T, scale_tril=root)
        total = total + law.log_prob(y.reshape(len(x), -1)).sum()
    return total
