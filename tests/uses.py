"""The package as people use it: pyright reads it in `make lint`, and a test runs it."""

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import generative as gen
import sdekit as sk
from sdekit import math as sm


class Pendulum(NamedTuple):
    """A record of one's own."""

    friction: float = 0.1
    kick: float = 0.5

    noise = "diagonal"
    additive = True

    def drift(self, t, q, p):
        return p, -self.friction * p - sm.sin(q)

    def diffusion(self, t, q, p):
        return 0.0, self.kick


@dataclasses.dataclass(frozen=True)
class Decay:
    """A dataclass of one's own, with one parameter for each path."""

    rate: np.ndarray
    noise = "none"

    def drift(self, t, x):
        return -self.rate * x


class Neural(nn.Module):
    """A network as an equation, and as a score."""

    noise = "none"
    event_dims = 1

    def __init__(self, width: int = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, t, x):
        return self.layers(torch.cat([x, t[..., None]], -1))

    def drift(self, t, x):
        return self(x.new_full(x.shape[:-1], t), x)


@sk.method(strong={"additive": 1.0}, weak=1.0, order=2, drifts=2, evaluates_end=True)
def heun_additive(sde, t, t1, x, h, dw):
    """A method of one's own."""
    f, noise = sde.drift(t, x), sde.noise(t, x, dw)
    return x + (f + sde.drift(t1, x + f * h + noise)) * (0.5 * h) + noise


def arrays():
    ou, plainly = sk.OU(theta=1.0, mu=0.0, sigma=0.3), sk.backends.numpy()
    sol = sk.solve(ou, 1.0, ts=[0, 0.5, 1], h=1e-2, paths=100, seed=0, backend=sk.backends.numba(threads=1))
    assert sol.x.shape == (3, 100) and not sol.failed.any() and sol.nfe == sol.steps == 100
    print(sol.x[-1].mean(), sol.x[-1].std(ddof=1), ou.transition(0.0, 1.0, x=1.0).mean)
    ts = np.linspace(0, 1, 11)
    sol = sk.solve(Pendulum(), [3.0, 0.0], ts, sk.sra1, h=1e-2, paths=10, seed=0, backend=plainly)
    sk.solve(sk.GBM(mu=0.1, sigma=np.array([0.1, 0.2])), np.ones(2), ts, sk.milstein, grid=ts, seed=1, backend=plainly)
    sk.solve(Decay(np.array([0.5, 1.0])), np.ones(2), ts, sk.rk4, grid=ts, backend=plainly)
    plain = sk.process(lambda t, x: -x, lambda t, x: 0.1, additive=True)
    sk.solve(plain, np.zeros(5), [0, 1], heun_additive, h=0.1, seed=0, backend=plainly)
    rough = sk.Heston(), sk.Lorenz(), sk.DoubleWell(), sk.Brownian(), sk.CIR(), sk.Linear(a=lambda t: -1.0)
    for process in rough:
        sk.solve(process, np.asarray(process.x0), [0, 0.01], h=0.01, seed=0, backend=plainly)
    sk.solve(sk.OU(), 1.0, [0, 1], sk.exact, h=1.0, seed=0, backend=plainly)
    sk.solve(sk.Heston(), [1.0, 0.04], [0, 1], sk.milstein_general(scale=2.0), h=0.5, seed=0, backend=plainly)
    assert sk.milstein.strong is not None and sk.milstein.strong["diagonal"] == 1.0
    return sol.t, sol.x


def ensembles():
    statistics = [sk.stats.moments, sk.stats.quantiles([0.5]), sk.stats.histogram(np.linspace(-1, 1, 3))]
    found = sk.ensemble(
        sk.OU(), 0.0, [0, 1], h=0.5, paths=8192, seed=0, statistics=statistics, backend=sk.backends.numpy()
    )
    print(found.moments.mean_interval(), found.quantiles.values, found.histogram.counts, found.failed)
    print(sk.merge([found]).paths)
    for part in sk.stream(sk.OU(), 0.0, [0, 1], h=0.5, paths=8192, block=4096, backend=sk.backends.numpy()):
        print(part.x.shape)


def orders():
    found = sk.convergence.strong_order(
        sk.GBM(), sk.milstein, 1.0, steps=(8, 16, 32), paths=200, seed=0, backend=sk.backends.numpy()
    )
    print(found, sk.convergence.coarsen(np.ones((1, 4, 2))).shape)


def tensors():
    torch.manual_seed(0)
    x0 = torch.randn(4, 2)
    net = Neural()
    sol = sk.solve(net, x0, torch.tensor([0.0, 1.0]), sk.rk4, h=0.25, backend=sk.backends.torch())
    sol.x[-1].square().sum().backward()
    theta = torch.tensor(1.0, requires_grad=True)
    sk.solve(sk.OU(theta=theta), torch.ones(3), [0, 1], sk.heun, h=0.1, seed=0).x[-1].sum().backward()
    assert theta.grad is not None


def samplers():
    vp = sk.VP(beta_min=0.1, beta_max=20.0)
    target = sk.GaussianMixture(np.ones(2), [[-2.0, 0.0], [2.0, 0.0]], stds=0.3)
    reverse = sk.Reverse(vp, target.score(vp), eta=0)
    start = reverse.start((16, 2), seed=0)
    methods = sk.unipc(3), sk.unipc(order=2), sk.dpmpp_2m, sk.deis(), sk.lms(3), sk.ddim(eta=0.5), sk.dpm_solver(2)
    methods += (
        sk.edm_heun(churn=4.0, steps=8),
        sk.predictor_corrector(sk.ddim, sk.langevin(0.16, steps=2)),
        sk.dpmpp_sde,
    )
    for method in methods:
        print(method, sk.solve(reverse, start, grid=sk.grids.log_snr(vp, 8), method=method, seed=0).nfe)
    for spaced in (sk.grids.uniform, sk.grids.quadratic, sk.grids.karras, sk.grids.cosine):
        sk.solve(reverse, start, grid=spaced(vp, 4), method=sk.dpmpp_3m, seed=0)
    grid = sk.grids.log_snr(vp, 16)
    log_p = sk.likelihood.log_prob(reverse, torch.as_tensor(target.sample(3, seed=1)), grid)
    print(log_p, sk.likelihood.bits_per_dim(log_p, 2))
    sk.restart(reverse, start, grid, sk.heun, [(grid[4:9], 1)], seed=0)
    sk.solve(sk.Langevin(target.score()), start, [0, 1], sk.langevin(), h=0.1, seed=0)
    for process in sk.EDM(), sk.FlowPath(), sk.VE(), sk.CosineVP(), sk.SubVP(), sk.DiscreteVP():
        print(process.marginal(0.5), sk.Gaussian(np.zeros(2), np.eye(2)).score(process).event_dims)


def scores():
    vp, net = sk.VP(), Neural()
    score = sk.scores.from_noise(net, vp)
    null = sk.scores.from_v(lambda t, x: 0 * x, vp)
    for made in (
        sk.scores.guided(score, null, 2.0),
        sk.scores.clipped(score, -1.0, 1.0),
        sk.scores.inpainted(score, torch.zeros(2), torch.tensor([True, False])),
        sk.scores.on_path(score, sk.EDM()),
        sk.scores.from_karras(lambda x, sigma: 0 * x, sigma_max=80.0),
        sk.scores.from_velocity(sk.scores.as_velocity(score), vp).given(None),
    ):
        clean, eps = made.pair(0.5, torch.zeros(4, 2))
        print(made, clean.shape, made(0.5, torch.zeros(4, 2)).shape == eps.shape)


def models():
    torch.manual_seed(0)
    data = gen.sets["eight_gaussians"].sample(500, seed=1)
    model = gen.Diffusion(gen.MLP((2,), width=8), sk.VP(), "v", weighting="lognormal")
    record = gen.fit(model, data, steps=4, batch=32, lr=4e-3)
    x = model.sample(8, seed=0, method=sk.dpmpp_2m, steps=4)
    print(type(record).__name__, model.nfe, model.log_prob(x, steps=4).shape)
    gen.fit(gen.FlowMatching(gen.MLP((2,), width=8)), data, steps=2, batch=32)
    print(gen.fit(gen.GMM(8), data), gen.RealNVP, gen.VAE, gen.GAN, gen.WGAN, gen.CNF, gen.UNet, gen.save, gen.load)


if __name__ == "__main__":
    arrays()
    ensembles()
    orders()
    tensors()
    samplers()
    scores()
    models()
