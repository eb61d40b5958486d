"""Exact likelihoods: log p(x) by the change of variables along an ordinary differential equation.

Samples drawn from a prior at one time and moved by dx/dt = f(t, x) have, along their own paths, the density

    d/dt log p_t(x_t) = −div f(t, x_t),   so   log p(x) = log prior(z) + ∫ div f(t, x_t) dt   from x to z.

Sources: R. Chen et al., "Neural ordinary differential equations", NeurIPS 2018, arXiv:1806.07366, section 4;
W. Grathwohl et al., "FFJORD", ICLR 2019, arXiv:1810.01367 (probes); Y. Song et al., "Score-based generative modeling
through stochastic differential equations", ICLR 2021, arXiv:2011.13456, appendix D.2. Gradients are torch's.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from . import arrays, noise
from .checks import integer, shown
from .laws import Normal
from .methods import rk4
from .problem import counted, with_networks
from .records import replaced, values
from .solve import solve
from .steps import sequence
from .system import bind
from .transforms import Reverse

__all__ = ["Transport", "bits_per_dim", "log_prob", "transport"]


class Transport(NamedTuple):
    """Data moved to the prior.

    latent   z, of the shape of x
    log_det  log |det ∂z/∂x| = ∫ div f dt, one value per path
    nfe      evaluations of the network (of the drift where there is none) per path; with each of them go as many
             backward passes as there are probes, or values in one state where there are none
    """

    latent: Any
    log_det: Any
    nfe: int


def log_prob(process, x, grid, method=rk4, *, prior=None, probes=None, seed=None):
    """log p(x) of the samples that `process` draws along `grid`, one value per path.

    process  a `Reverse`, whose probability-flow ODE is taken whatever its eta, or any process without noise, such as
             `sdekit.process(velocity, noise="none", event_dims=None)`. Its drift works on tensors
             and is differentiable: where the output of a network, or the drift, has no history it raises.
    x        data, path axes first: a tensor, or an array for processes that work on tensors as well.
    grid     the times of the sampler, from the prior's to that of the data; they are followed backwards. A grid that
             ends at ε > 0 takes x as a state at ε and gives log p_ε(x).
    method   a method for ODEs. The result has its error: compare with a finer grid.
    prior    function z -> log density, one value per path. Default: N(0, sigma(t)²) at the grid's first time for a
             process with a marginal, else N(0, 1), in every entry.
    probes   None: the exact divergence, by one backward pass per value of a state. n: Hutchinson's estimate
             n⁻¹ Σ vᵀ(∂f/∂x)v with n vectors v of random signs that stay the same over the whole solve; without bias.
    seed     of the probes, 0 <= seed < 2**64.

    The paths of a batch must not depend on each other. Where gradients are enabled and the drift or x needs them, the
    result carries them (train by maximum likelihood); memory then grows with the steps, else it does not.
    """
    prior = _default_prior(process, _backwards(grid)[-1]) if prior is None else prior
    moved = transport(process, x, grid, method, probes=probes, seed=seed)
    log = prior(moved.latent)
    if tuple(log.shape) != tuple(moved.log_det.shape):
        raise ValueError(f"prior must return one value per path, {tuple(moved.log_det.shape)}, got {tuple(log.shape)}")
    return log + moved.log_det


def transport(process, x, grid, method=rk4, *, probes=None, seed=None):
    """`x` moved backwards along `grid`, with the change of volume on the way; arguments as in `log_prob`."""
    import torch

    tensor = x if arrays.is_tensor(x) else torch.as_tensor(np.asarray(x, np.float64))
    tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    process, times = _ode(process), _backwards(grid)
    if isinstance(process, Reverse) and times[0] > times[-1]:
        raise ValueError(f"grid must decrease from noise to data, as for sampling, got {times[-1]} to {times[0]}")
    if torch.is_inference_mode_enabled():
        raise ValueError("torch.inference_mode records no derivatives, which the divergence is made of; use no_grad")
    system = bind(process, tensor, times[0])
    if system.noise != "none" or system.components:
        raise ValueError(
            f"process: {system.name} has {'noise' if system.noise != 'none' else 'coupled components'}; a "
            f"likelihood needs an ODE of one state: a Reverse, or sdekit.process(f, noise='none', event_dims=…)"
        )
    sde, counter = counted(_differentiable(system.equation))
    path, event = tensor.shape[: tensor.ndim - system.event_dims], tensor.shape[tensor.ndim - system.event_dims :]
    vectors = (
        _basis(event, tensor)
        if probes is None
        else _signs(integer("probes", probes, least=1), noise.fresh(seed), tensor)
    )
    keep = torch.is_grad_enabled() and (tensor.requires_grad or sde.drift(times[0], tensor).requires_grad)
    flow = Flow(sde, event, vectors, 1.0 if probes is None else 1.0 / probes, keep)
    state = torch.cat([tensor.reshape(*path, math.prod(event)), tensor.new_zeros(*path, 1)], -1)
    end = solve(flow, state, grid=times, method=method, seed=0).final
    latent, log_det = end[..., :-1].reshape(tensor.shape), end[..., -1]
    if not arrays.is_tensor(x):
        latent, log_det = latent.detach().numpy(), log_det.detach().numpy()
    return Transport(latent, log_det, counter.count)


def bits_per_dim(log_prob, dims, width=2 / 256):
    """Bits per value of data that were rounded to levels: −log p/(d log 2) − log2(width).

    log_prob   log densities of x = (level + u)·width + constant, u uniform in (0, 1): data with uniform noise of one
               level's width, for which the mean is an upper bound on the bits of the levels themselves.
    dims       d, values in one state.
    width      distance of two levels in the unit of x. Default: 256 levels on [−1, 1]; 1/8 for pixels/8 − 1.
    Source: L. Theis et al., "A note on the evaluation of generative models", ICLR 2016, arXiv:1511.01844, section 3.1.
    """
    if not width > 0:
        raise ValueError(f"width must be positive, the distance of two levels, got {width!r}")
    return -log_prob / (integer("dims", dims, least=1) * math.log(2)) - math.log2(width)


# --- the state and its volume --------------------------------------------------------------------


class Flow(NamedTuple):
    """The ODE of (x, log-volume), one state being the values of x and the volume behind them.

        d/dt (x, l) = (f, scale · Σ_v vᵀ (∂f/∂x) v)

    The vectors v are the unit vectors, with scale 1, or n probes, with scale 1/n.
    """

    sde: Any  # the equation of x
    event: tuple[int, ...]
    vectors: Any  # (n, *event) or (n, *path axes, *event)
    scale: float
    keep: bool  # whether the graph is kept for gradients

    noise = "none"
    event_dims = 1
    shared = ("sde", "event", "vectors", "scale", "keep")  # none of them is one value per path

    @property
    def domain(self):
        return getattr(self.sde.process, "domain", (-math.inf, math.inf))

    def drift(self, t, y):
        torch = arrays.torch()
        x = y[..., :-1].reshape(*y.shape[:-1], *self.event)
        with torch.enable_grad():
            x = x if self.keep and x.requires_grad else x.detach().requires_grad_()
            f = self.sde.drift(t, x)
            rate = self.scale * sum(self._form(f, x, v) for v in self.vectors)
        out = torch.cat([f.reshape(*y.shape[:-1], y.shape[-1] - 1), rate[..., None]], -1)
        return out if self.keep else out.detach()

    def _form(self, f, x, v):
        """vᵀ (∂f/∂x) v of every path."""
        path = x.ndim - len(self.event)
        v = v.expand(x.shape)
        product = _derivative(f, x, v, create_graph=self.keep)
        if product is None:
            raise ValueError(LOST.format("the drift"))
        return (product * v).reshape(*x.shape[:path], math.prod(self.event)).sum(-1)


LOST = (
    "{} has no derivative by x, which a likelihood is made of: it is lost in no_grad, inference_mode, detach() or "
    "numpy; let torch record it (a constant c as c + 0 * x)"
)


def _derivative(f, x, v, create_graph=False):
    """(∂f/∂x)ᵀ v, or None where f does not depend on x, parameters that require grad or not."""
    if not getattr(f, "requires_grad", False):
        return None
    how = {"retain_graph": True, "create_graph": create_graph, "allow_unused": True}
    return arrays.torch().autograd.grad(f, x, v, **how)[0]


class Recorded:
    """A network whose output must depend on x, which is asked once."""

    def __init__(self, network):
        self.network, self.asked = network, False

    def __getattr__(self, name):
        return getattr(self.network, name)

    def __call__(self, t, x, *c):
        value = self.network(t, x, *c)
        if x.requires_grad and not self.asked:
            self.asked = True
            if _derivative(value, x, 0 * value) is None:
                raise ValueError(LOST.format(f"the output of the network {shown(self.network)}"))
        return value


def _differentiable(equation):
    """The equation with all networks of its score replaced by `Recorded` ones."""
    process = equation.process
    if not hasattr(getattr(process, "score", None), "pair") or "score" not in values(process):
        return equation
    return equation._replace(process=replaced(process, score=with_networks(process.score, Recorded)))


def _basis(event, like):
    """The unit vectors of a state, whose quadratic forms add up to the divergence."""
    d = math.prod(event)
    return arrays.torch().eye(d, dtype=like.dtype, device=like.device).reshape(d, *event)


def _signs(n, seed, like):
    """n vectors of random signs per path; the first paths' stay what they are in a larger batch."""
    return arrays.stack(
        [noise.normal(tuple(like.shape), seed, noise.Stream.PROBE, like.detach(), k).sign() for k in range(n)]
    )


def _backwards(grid):
    """The times of a sampler's grid from the data to the prior."""
    times, _ = sequence("grid", grid)
    if len(times) < 2:
        raise ValueError(f"grid must hold two or more times, from the prior's to that of the data, got {grid!r}")
    return times[::-1].tolist()


def _ode(process):
    return process._replace(eta=0.0) if isinstance(process, Reverse) else process


def _default_prior(process, t):
    """log N(z; 0, sigma(t)²) or log N(z; 0, 1), summed over the axes of one state."""
    law = Normal(0.0, process.marginal(t)[1] ** 2 if callable(getattr(process, "marginal", None)) else 1.0)

    def log_density(z):
        dims = getattr(process, "event_dims", 0)
        axes = z.ndim - 1 if dims is None else dims
        path, event = z.shape[: z.ndim - axes], z.shape[z.ndim - axes :]
        return law.log_prob(z).reshape((*path, math.prod(event))).sum(-1)

    return log_density
