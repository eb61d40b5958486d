"""Flow matching, its straightening by reflow, and continuous normalizing flows by maximum likelihood.

Time runs as everywhere: data at t = 0, noise at the end of the path, so that for straight paths the velocity is
noise − data (other libraries run time the other way).
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

import sdekit as sk

from .checkpoints import recorded
from .sampling import (
    PROBES,
    conditioned,
    draw,
    dropped,
    eta_of,
    evaluated,
    log_density,
    one_of,
    spaced,
    spread,
    times_of,
    with_signal,
)
from .standard import Standard, event_shape, standardise

__all__ = ["CNF", "FlowMatching", "optimal_pairs", "reflow"]


def velocity_of(score):
    """dx/dt = alpha′ D + sigma′ ε where that is regular up to sigma = 0, so that no step needs to be replaced there."""
    velocity = sk.scores.as_velocity(score)
    return sk.process(lambda t, x: velocity(t, x), noise="none", event_dims=None)


@recorded
class FlowMatching(nn.Module):
    """A network trained to be the velocity that carries noise to data along the paths alpha·x₀ + sigma·ε.

    net      network (t, x, c=None) -> velocity alpha′ x₀ + sigma′ ε, of x's shape
    path     a process with marginal and rates: FlowPath (optimal transport; it has a sigma_min), VP, CosineVP; works on
             data of unit scale
    pairing  of noise and data: "independent"; "optimal" within each batch; or "given", data being pairs (N, 2, *shape)
             of noise and sample, as `reflow` makes them. Optimal pairs do not know of labels: leave these out
    drop     share of labels that are dropped in training, so that guidance has a velocity without them
    shape    of one event; default net.shape

    With independent pairs the velocity determines the score, and every sampler of sdekit applies, stochastic ones
    too. Other pairs keep the law only along the ODE.
    Sources: Y. Lipman et al., 2023, arXiv:2210.02747; A. Tong et al., "Improving and generalizing flow-based generative
    models with minibatch optimal transport", 2024, arXiv:2302.00482; X. Liu et al., "Flow straight and fast", 2023,
    arXiv:2209.03003.
    """

    density, nfe = "exact", 0  # of the law that the ODE defines, up to the solver's error
    density_of = {"method": sk.rk4}  # options of `sample` for draws from that law

    def __init__(self, net, path=sk.FlowPath(), pairing="independent", *, drop=0.1, shape=None):
        super().__init__()
        one_of("pairing", pairing, ("independent", "optimal", "given"))
        shape = event_shape(net, shape)
        self.net, self.process, self.pairing, self.drop = net, path, pairing, sk.checks.real("drop", drop, 0, 1)
        self.units = Standard(shape, shared=len(shape) > 1)
        self.clean, self.begin, self.end = times_of(path)
        if all(map(math.isfinite, path.rates(self.clean))):
            self.begin = self.clean

    def standardise(self, data):
        """Sets the units in which the paths run from data (N, *shape); given pairs already have theirs."""
        if self.pairing != "given":
            self.units.fit(data)

    def forward(self, t, x, c=None):
        """The velocity, in units, at times t (B,) of states x (B, *shape)."""
        return evaluated(self.net, t, x, c)

    def loss(self, x, c=None):
        """E |velocity − (alpha′ x₀ + sigma′ ε)|² at random times, for data x, or given pairs, and labels c."""
        if self.pairing == "given" and tuple(x.shape[1:]) != (2, *self.units.shape):
            raise ValueError(
                f"pairing is 'given': x must hold pairs (N, 2, *shape), see `reflow`; got {tuple(x.shape)}"
            )
        eps, x0 = x.unbind(1) if self.pairing == "given" else (torch.randn_like(x), x)
        x0 = self.units(x0)
        if self.pairing == "optimal":
            if c is not None:
                raise ValueError("optimal pairs across classes give no law of a class: leave the labels c out")
            eps = eps[optimal_pairs(x0, eps)]
        t = self.begin + (self.end - self.begin) * spread(x)
        (a, s), (da, ds) = ([sk.math.expand(v, x0) for v in f(t)] for f in (self.process.marginal, self.process.rates))
        return (self(t, a * x0 + s * eps, dropped(self.net, c, self.drop)) - (da * x0 + ds * eps)).square().mean()

    def score(self, c=None, guidance=1.0):
        """The `sk.scores.Score` of the data in units that goes with the velocity; arguments as in `Diffusion.score`."""
        return conditioned(self.net, sk.scores.from_velocity(self, self.process), c, guidance)

    @torch.no_grad()
    def sample(self, n, c=None, seed=None, *, method=sk.midpoint, steps=32, grid=None, eta=None, guidance=1.0):
        """n samples, given labels c (n,) or one for all; a function of the seed. Arguments as in `Diffusion.sample`.

        The ODE is the default; methods that draw noise take eta = 1 unless told.
        """
        eta = eta_of(method, eta)
        if self.pairing != "independent" and (eta or (method.needs and method.normals)):
            raise ValueError(f"pairs are {self.pairing}: the velocity gives no score; use an ODE method, or eta=0")
        grid = self.grid(steps, method, eta) if grid is None else grid
        return draw(self, self._process(method, eta), n, c, seed, grid, method, guidance)

    def _process(self, method, eta):
        """What the sampler moves along, a function of the score."""
        if method.noise == ("none",) and self.begin == self.clean:
            return velocity_of
        return lambda score: sk.Reverse(self.process, score, eta)

    def grid(self, steps, method=sk.midpoint, eta=0.0):
        """Equal steps of time, or of log-SNR for methods that read the pair (D, ε).

        For these and for SDEs ends where sigma = 0 or alpha = 0 are singular: their grids stay inside.
        """
        begin, end = self.begin, self.end
        if method.needs or eta:
            begin = getattr(self.process, "finest", begin)
            end = with_signal(self.process, end)
        spacing = sk.grids.log_snr if method.needs else sk.grids.uniform
        return spaced(spacing, self.process, steps, (self.clean, begin, end))

    def log_prob(self, x, c=None, *, steps=32, method=sk.rk4, probes=None, seed=None):
        """log p(x) of the ODE, of shape (B,); exact divergence, or estimated by `probes`."""
        grid = sk.grids.uniform(self.process, steps, self.end, self.begin)
        return log_density(self, self.score(c), x, grid, method, probes, seed)


def optimal_pairs(x, y):
    """The permutation that pairs rows of y with those of x at the least total squared distance (POT)."""
    import ot

    with torch.no_grad():
        cost = torch.cdist(x.flatten(1), y.flatten(1)).square().double().cpu().numpy()
    return torch.as_tensor(ot.emd([], [], cost).argmax(1), device=x.device)


def reflow(model, n, c=None, seed=None, **options):
    """(student, pairs): a copy of a flow, and what `fit(student, pairs)` trains it on to straighten its paths.

    The pairs (n, 2, *shape) are noise, in units, and the samples that the model's ODE carries it to; options are
    those of `sample`, with a method that draws no noise. With labels c (n,) pass them to `fit` as well.
    Source: X. Liu, C. Gong, Q. Liu, "Flow straight and fast: learning to generate and transfer data with rectified
    flow", ICLR 2023, arXiv:2209.03003.
    """
    if not isinstance(model, FlowMatching):
        raise ValueError(f"model must be a FlowMatching, got a {type(model).__name__}")
    if options.get("eta") or ((method := options.get("method")) and method.normals):
        raise ValueError(f"pairs are those of the ODE: leave out eta, and methods that draw noise, got {options}")
    student = copy.deepcopy(model)
    student.pairing = student.config["pairing"] = "given"
    n, seed, like = sk.checks.integer("n", n, 1), sk.noise.fresh(seed), model.units.shift
    noise = sk.Reverse(model.process, model.score()).start((n, *model.units.shape), seed, like)
    sigma = model.process.marginal(model.end)[1]
    return student, torch.stack([noise / sigma, model.sample(n, c, seed, **options)], 1)


@recorded
class CNF(nn.Module):
    """Continuous normalizing flow: dx/dt = net(t, x) from data at t = 0 to N(0, 1) at t = 1, by maximum likelihood.

    net    network (t, x, c=None) -> velocity, of x's shape
    steps  of rk4 in training; probes  Hutchinson's, None for the exact divergence
    Sources: R. Chen et al., 2018, arXiv:1806.07366; W. Grathwohl et al., 2019, arXiv:1810.01367.
    """

    density, nfe = "exact", 0  # up to the solver's error
    standardise = standardise

    def __init__(self, net, steps=8, *, probes=None, shape=None):
        super().__init__()
        shape, integer = event_shape(net, shape), sk.checks.integer
        self.net, self.steps, self.process = net, integer("steps", steps, 1), sk.FlowPath()
        self.probes = None if probes is None else integer("probes", probes, 1, PROBES)
        self.units = Standard(shape, shared=len(shape) > 1)

    forward = FlowMatching.forward

    def score(self, c=None, guidance=1.0):
        """The flow as one along `sk.FlowPath()`, whose ODE has any velocity as its drift; it is no score."""
        return conditioned(self.net, sk.scores.from_velocity(self, self.process), c, guidance)

    def loss(self, x, c=None):
        """−log p(x), the mean over the batch and over the entries of an event."""
        seed = int(torch.randint(2**62, ()))  # of the probes: other ones in each step of a training
        log = log_density(self, self.score(c), x, self._grid(self.steps), sk.rk4, self.probes, seed, learn=True)
        return -log.mean() / x[0].numel()

    @torch.no_grad()
    def sample(self, n, c=None, seed=None, *, method=sk.rk4, steps=16):
        """n samples, given labels c (n,) or one for all; a function of the seed."""
        return draw(self, velocity_of, n, c, seed, self._grid(steps), method)

    def log_prob(self, x, c=None, *, steps=16, method=sk.rk4, probes=None, seed=None):
        """log p(x), of shape (B,); exact divergence, or estimated by `probes`."""
        return log_density(self, self.score(c), x, self._grid(steps), method, probes, seed)

    def _grid(self, steps):
        return sk.grids.uniform(self.process, steps, 1.0, 0.0)
