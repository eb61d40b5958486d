"""Flow matching, its straightening by reflow, and continuous normalizing flows by maximum likelihood.

Time runs as everywhere: data at t = 0, noise at the end of the path, so that for straight paths the velocity is
noise − data (other libraries run time the other way).
"""

from __future__ import annotations

import copy
import math

import torch

import sdekit as sk

from .checkpoints import recorded
from .sampling import PROBES, Sampler, one_of, spread, with_signal
from .standard import optional

__all__ = ["CNF", "FlowMatching", "optimal_pairs", "reflow"]


def velocity_of(score):
    """dx/dt = alpha′ D + sigma′ ε where that is regular up to sigma = 0, so that no step needs to be replaced there."""
    velocity = sk.scores.as_velocity(score)
    return sk.process(lambda t, x: velocity(t, x), noise="none", event_dims=None)


@recorded
class FlowMatching(Sampler):
    """A network trained to be the velocity that carries noise to data along the paths alpha·x₀ + sigma·ε.

    net      network (t, x, c=None) -> velocity alpha′ x₀ + sigma′ ε, of x's shape
    path     a process with marginal and rates: FlowPath (optimal transport; it has a sigma_min), VP, CosineVP; works on
             data of unit scale. Where its noise leaves that scale behind (VE, EDM) the network sees x/n, with
             n = √(alpha² + sigma²), and log(sigma/alpha)/4 for the time, is the velocity on the circle of
             (alpha, sigma)/n, at times log(sigma/alpha) ~ N(log 2 − 1.2, 1.2²) (Karras et al. 2022)
    pairing  of noise and data: "independent"; "optimal" within each batch; or "given", data being pairs (N, 2, *shape)
             of noise and sample, as `reflow` makes them. Optimal pairs do not know of labels: leave these out
    drop     share of labels that are dropped in training, so that guidance has a velocity without them
    shape    of one event; default net.shape

    With independent pairs the velocity determines the score, and every sampler of sdekit applies, stochastic ones
    too. Other pairs keep the law only along the ODE. `sample` takes `midpoint` unless told where the velocity is of
    order one down to clean data, else `unipc(3)`; 32 steps.
    Sources: Y. Lipman et al., 2023, arXiv:2210.02747; A. Tong et al., "Improving and generalizing flow-based generative
    models with minibatch optimal transport", 2024, arXiv:2302.00482; X. Liu et al., "Flow straight and fast", 2023,
    arXiv:2209.03003.
    """

    def __init__(self, net, path=sk.FlowPath(), pairing="independent", *, drop=0.1, shape=None):
        one_of("pairing", pairing, ("independent", "optimal", "given"))
        super().__init__(net, path, shape, drop=drop)
        self.pairing, self.scaled = pairing, self._grows()
        regular = not self.scaled and all(map(math.isfinite, path.rates(self.clean)))
        self.begin, self.usual = (self.clean, (sk.midpoint, 32)) if regular else (self.begin, (sk.unipc(3), 32))

    def standardise(self, data):
        """Sets the units in which the paths run from data (N, *shape); given pairs already have theirs."""
        if self.pairing != "given":
            self.units.fit(data)

    def forward(self, t, x, c=None):
        """The velocity, in units, at times t (B,) of states x (B, *shape)."""
        if not self.scaled:
            return self._evaluated(t, x, c)
        along, turn = self._turning(t, x)
        return along * x + turn * self._scaled(t, x, c)

    def _turning(self, t, x):
        """n′/n and n φ′, with (alpha, sigma) = n (cos φ, sin φ): dx/dt = n′/n x + n φ′ d(x/n)/dφ."""
        a, s, n = self._scales(t, x)
        da, ds = (sk.math.expand(value, x) for value in self.process.rates(t))
        return (a * da + s * ds) / (n * n), (a * ds - s * da) / n

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
        u = spread(x)
        t = self._lognormal(u) if self.scaled else self.begin + (self.end - self.begin) * u
        (a, s), (da, ds) = ([sk.math.expand(v, x0) for v in f(t)] for f in (self.process.marginal, self.process.rates))
        error = self(t, (a * x0 + s * eps).to(x0), self._dropped(c)) - (da * x0 + ds * eps)
        return (error / (self._turning(t, x0)[1] if self.scaled else 1.0)).square().mean()

    def _along(self, method, eta):
        if self.pairing != "independent" and (eta or (method.needs and method.normals)):
            raise ValueError(f"pairs are {self.pairing}: the velocity gives no score; use an ODE method, or eta=0")
        return velocity_of if method.noise == ("none",) and self.begin == self.clean else super()._along(method, eta)

    def grid(self, steps, method=sk.midpoint, eta=0.0, final=True):
        """Equal steps of time, or of log-SNR for methods that read the pair (D, ε), and where noise outgrows the data.

        For these and for SDEs ends where sigma = 0 or alpha = 0 are singular: their grids stay inside.
        """
        begin, end = self.begin, self.end
        if method.needs or eta:
            begin = getattr(self.process, "finest", begin)
            end = with_signal(self.process, end)
        spacing = sk.grids.log_snr if method.needs or self.scaled else sk.grids.uniform
        return self._spaced(spacing, steps, end, begin, final)


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
class CNF(Sampler):
    """Continuous normalizing flow: dx/dt = net(t, x) from data at t = 0 to N(0, 1) at t = 1, by maximum likelihood.

    net    network (t, x, c=None) -> velocity, of x's shape
    steps  of rk4 in training; probes  Hutchinson's, None for the exact divergence

    `score` is the flow as one along `sk.FlowPath()`, whose ODE has any velocity as its drift; it is no score, and
    `sample` takes methods for ODEs alone: rk4 with 16 steps unless told.
    Sources: R. Chen et al., 2018, arXiv:1806.07366; W. Grathwohl et al., 2019, arXiv:1810.01367.
    """

    usual, density_of = (sk.rk4, 16), {"method": sk.rk4, "steps": 16}

    def __init__(self, net, steps=8, *, probes=None, shape=None):
        super().__init__(net, sk.FlowPath(), shape)
        self.steps = sk.checks.integer("steps", steps, 1)
        self.probes = optional(sk.checks.integer, "probes", probes, 1, PROBES)

    def forward(self, t, x, c=None):
        """The velocity, in units, at times t (B,) of states x (B, *shape)."""
        return self._evaluated(t, x, c)

    def loss(self, x, c=None):
        """−log p(x), the mean over the batch and over the entries of an event."""
        seed = int(torch.randint(2**62, ()))  # of the probes: other ones in each step of a training
        log = self._log_density(x, c, self.grid(self.steps), sk.rk4, self.probes, seed, learn=True)
        return -log.mean() / x[0].numel()

    def _along(self, method, eta):
        if eta or method.needs:
            raise ValueError(f"a CNF has a velocity and no score: take an ODE method, such as sk.rk4, not {method!r}")
        return velocity_of

    def grid(self, steps, method=sk.rk4, eta=0.0, final=True):
        """Equal steps from t = 1 to 0."""
        return sk.grids.uniform(self.process, sk.checks.integer("steps", steps, 1), 1.0, 0.0)
