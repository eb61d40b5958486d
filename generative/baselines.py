"""Baselines with a likelihood: mixture of Gaussians, normalizing flow, variational autoencoder."""

from __future__ import annotations

import functools
import math
import warnings

import torch
import zuko
from torch import nn
from tqdm import trange

import sdekit as sk

from .checkpoints import recorded
from .nets import DEEPEST, WIDEST
from .nets import layers as sized
from .standard import Standard, latents, optional, rowwise, sizes, standardise, trained, unlabelled, word

__all__ = ["GMM", "VAE", "RealNVP"]


@recorded
class GMM(nn.Module):
    """Mixture of Gaussians with full covariances, fitted by expectation maximisation (scikit-learn).

    EM runs on standardised data, `restarts` times from k-means, and keeps the best likelihood. State and densities are
    float64.
    """

    density, nfe = "exact", 0

    def __init__(self, components=8, shape=(2,), restarts=3):
        super().__init__()
        self.components = components = sk.checks.integer("components", components, 1, WIDEST)
        self.shape, self.restarts = sizes("shape", shape), sk.checks.integer("restarts", restarts, 1)
        d = math.prod(self.shape)
        self.register_buffer("weights", torch.full((components,), 1 / components, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(components, d, dtype=torch.float64))
        self.register_buffer("covs", torch.eye(d, dtype=torch.float64).repeat(components, 1, 1))

    def extra_repr(self):
        return f"components={self.components}, shape={self.shape}, restarts={self.restarts}"

    def fit(self, data, seed=None, progress=False):
        """EM on data (N, *shape), in place of gradient steps; `progress` shows a bar of the restarts."""
        from sklearn.mixture import GaussianMixture

        if len(data) < self.components:
            raise ValueError(f"data must hold at least one event for each of {self.components} components")
        units = Standard((self.means.shape[1],)).double()
        units.fit(data.flatten(1).cpu())
        x, state = units(data.flatten(1).cpu()).numpy(), word(sk.noise.fresh(seed))
        runs = trange(self.restarts, desc="EM", unit="restart", disable=not progress)
        found = (GaussianMixture(self.components, random_state=(state + k) % 2**32, max_iter=1000).fit(x) for k in runs)
        em = max(found, key=lambda em: em.lower_bound_)
        self.weights.copy_(torch.as_tensor(em.weights_))
        self.means.copy_(units.inverse(torch.as_tensor(em.means_)))
        self.covs.copy_(torch.as_tensor(em.covariances_) * torch.outer(units.scale, units.scale))

    def mixture(self):
        """The fitted distribution as a target of sdekit, with its score under any process."""
        arrays = (buffer.double().cpu().numpy() for buffer in (self.weights, self.means, self.covs))
        return sk.GaussianMixture(*arrays)

    def loss(self, x, c=None):
        unlabelled(self, c)
        return -self.log_prob(x).mean()

    def log_prob(self, x):
        return self.mixture().log_prob(torch.as_tensor(x).flatten(1))

    def sample(self, n, c=None, seed=None):
        unlabelled(self, c)
        trained(self, self.means.any())
        n, like = sk.checks.integer("n", n, 1), self.means.new_empty(0, dtype=torch.float32)
        return self.mixture().sample(n, sk.noise.fresh(seed), like=like).reshape(n, *self.shape)


@recorded
class RealNVP(nn.Module):
    """Normalizing flow of coupling layers (zuko), trained by maximum likelihood.

    Each layer maps half of the features, affinely or, with `spline`, by monotonic rational-quadratic splines of `bins`
    pieces on [−5, 5], whose parameters a perceptron computes from the other half.
    Source: L. Dinh et al., "Density estimation using Real NVP", ICLR 2017, arXiv:1605.08803; C. Durkan et al., "Neural
    spline flows", NeurIPS 2019, arXiv:1906.04032.
    """

    density, nfe = "exact", 1
    standardise = standardise

    def __init__(self, shape=(2,), layers=8, width=64, depth=2, spline=False, bins=8):
        super().__init__()
        self.units, (width, depth) = Standard(shape), sized(width, depth)
        layers, d = sk.checks.integer("layers", layers, 1, DEEPEST), math.prod(self.units.shape)
        layer = {"hidden_features": (width,) * depth, "activation": nn.SiLU}
        if spline:  # small slopes make the gaps between separate parts
            bins = sk.checks.integer("bins", bins, 2, WIDEST)
            univariate = functools.partial(zuko.transforms.MonotonicRQSTransform, slope=1e-6)
            layer |= {"univariate": univariate, "shapes": ((bins,), (bins,), (bins - 1,))}
        self.flow = zuko.flows.RealNVP(d, transforms=layers, **layer)

    def loss(self, x, c=None):
        unlabelled(self, c)
        return -self._log_prob(x).mean()

    @rowwise
    def log_prob(self, x):
        return self._log_prob(x)

    def _log_prob(self, x):
        return self.flow().log_prob(self.units(x).flatten(1)) - self.units.log_volume()

    @torch.no_grad()
    def sample(self, n, c=None, seed=None):
        z, _ = latents(self, n, c, seed, math.prod(self.units.shape))
        return self.units.inverse(self.flow().transform.inv(z).reshape(n, *self.units.shape))


@recorded
class VAE(nn.Module):
    """Variational autoencoder with a Gaussian decoder: z ~ N(0, I), x | z ~ N(g(z), σ²) for standardised x.

        loss = −E log mean_k w_k,   w_k = p(x | z_k) (p(z_k) / q(z_k | x))^β,   z_k ~ q(z | x) = N(m(x), diag s²(x))

    `particles` = 1 draw of z gives the evidence bound; more make it tighter, and q need not be the posterior itself. σ
    is learned, or fixed where it is given. depth = 0 makes m, log s and g affine: the best such model is probabilistic
    principal component analysis, whose likelihood the bound then reaches.
    `log_prob` is the bound with β = 1 and `draws` draws of z from the same normals for all x, seed 0 unless told, so
    that it is a function of x: below log p(x) on average over these, and the closer to it the more they are.
    Source: D. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014, arXiv:1312.6114; Y. Burda et al.,
    "Importance weighted autoencoders", ICLR 2016, arXiv:1509.00519; M. Tipping, C. Bishop, "Probabilistic principal
    component analysis", 1999, doi:10.1111/1467-9868.00196.
    """

    density, nfe = "bound", 1
    standardise = standardise

    def __init__(self, shape=(2,), latent=2, width=128, depth=3, sigma=None, beta=1.0, particles=8, draws=64):
        super().__init__()
        integer, real, (width, depth) = sk.checks.integer, sk.checks.real, sized(width, depth)
        sigma = optional(real, "sigma", sigma, above=0, below=math.inf)
        self.units, self.latent = Standard(shape), integer("latent", latent, 1, WIDEST)
        self.beta = real("beta", beta, above=0, below=math.inf)
        self.particles, self.draws = integer("particles", particles, 1), integer("draws", draws, 1)
        d, hidden = math.prod(self.units.shape), (width,) * depth
        self.encoder = zuko.nn.MLP(d, 2 * latent, hidden, nn.SiLU)
        self.decoder = zuko.nn.MLP(latent, d, hidden, nn.SiLU)
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma or 0.5)), requires_grad=sigma is None)

    def loss(self, x, c=None):
        """The bound's negative mean, in nats per event."""
        unlabelled(self, c)
        noise = torch.randn(self.particles, len(x), self.latent, dtype=x.dtype, device=x.device)
        return -self._bound(x, noise, self.beta).mean()

    @rowwise
    def log_prob(self, x, seed=0):
        shape, stream = (self.draws, 1, self.latent), sk.noise.Stream.LATENT
        return self._bound(x, sk.noise.normal(shape, seed, stream, like=self.units.shift))

    def _bound(self, x, noise, beta=1.0):
        """log mean w of x (B, *event), from normals (K, B or 1, latent)."""
        u = self.units(x).flatten(1)
        mean, log_std = self.encoder(u).chunk(2, 1)
        z, zero = mean + log_std.exp() * noise, torch.zeros_like(mean)
        prior, posterior = _log_normal(z, zero, zero), _log_normal(z, mean, log_std)
        log_w = _log_normal(u, self.decoder(z), self.log_sigma) + beta * (prior - posterior)
        return log_w.logsumexp(0) - math.log(len(noise)) - self.units.log_volume()

    @torch.no_grad()
    def encode(self, x):
        """The codes of data x (N, *shape): the means m(x) of q(z | x), (N, latent)."""
        return self.encoder(self.units(x).flatten(1))[:, : self.latent]

    @torch.no_grad()
    def decode(self, z):
        """What codes z (N, latent) stand for: the means of p(x | z) in data space, (N, *shape)."""
        z = torch.as_tensor(z, dtype=self.units.shift.dtype, device=self.units.shift.device)
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"z must be of shape (N, {self.latent}), got {tuple(z.shape)}")
        return self.units.inverse(self.decoder(z).reshape(len(z), *self.units.shape))

    @torch.no_grad()
    def finished(self, data):
        """A warning where all units of the code are off: g(m(x)) has less than a hundredth of the data's variance."""
        if self.decoder(self.encode(data)).var(0, correction=0).mean() < 0.01:
            told = f"all {self.latent} units of the code are off: samples are those of one Gaussian"
            warnings.warn(f"{told}; lower beta = {self.beta:g}, or train longer", stacklevel=3)

    @torch.no_grad()
    def sample(self, n, c=None, seed=None):
        z, seed = latents(self, n, c, seed, self.latent)
        u = self.decoder(z)
        u = u + self.log_sigma.exp() * sk.noise.normal(u.shape, seed, sk.noise.Stream.DECODER, like=u)
        return self.units.inverse(u.reshape(n, *self.units.shape))


def _log_normal(x, mean, log_std):
    """log N(x; mean, std²), summed over the last axis."""
    return (-0.5 * (((x - mean) / log_std.exp()) ** 2 + math.log(2 * math.pi)) - log_std).sum(-1)
