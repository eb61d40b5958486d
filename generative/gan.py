"""Generative adversarial networks: a generator against a critic. They have samples and no density.

The latent code holds `latent` standard normals and `signs` random signs ±1. The image of normals alone is connected, so
that data in separate parts get bridges between them; signs split it into parts (signs=0 for the classical code).
After M. Khayatkhoei et al., "Disconnected manifold learning for generative adversarial networks", NeurIPS 2018,
arXiv:1806.00880.
"""

from __future__ import annotations

import math

import torch
import zuko
from torch import nn
from torch.nn.functional import softplus

import sdekit as sk

from .checkpoints import recorded
from .nets import WIDEST, layers
from .standard import Standard, latents, optional, standardise, unlabelled

__all__ = ["GAN", "WGAN"]


class Adversarial(nn.Module):
    """Perceptrons: a generator from the latent code to an event in units, a critic from there to a number."""

    density, nfe = "none", 1
    standardise = standardise

    def __init__(self, shape, latent, signs, width, depth):
        super().__init__()
        integer, (width, depth) = sk.checks.integer, layers(width, depth)
        self.signs = integer("signs", signs, 0, WIDEST)
        self.latent = latent = integer("latent", latent, 0 if signs else 1, WIDEST)
        self.units = Standard(shape)
        d, hidden = math.prod(self.units.shape), (width,) * depth
        self.generator = zuko.nn.MLP(latent + signs, d, hidden, lambda: nn.LeakyReLU(0.2))
        self.critic = zuko.nn.MLP(d, 1, hidden, lambda: nn.LeakyReLU(0.2))

    def generate(self, z):
        """Events in units (N, d) from normals (N, latent + signs)."""
        return self.generator(torch.cat([z[:, : self.latent], z[:, self.latent :].sign()], 1))

    def drawn(self, x):
        """As many generated events as there are in x, in units."""
        return self.generate(torch.randn(len(x), self.latent + self.signs, dtype=x.dtype, device=x.device))

    @torch.no_grad()
    def sample(self, n, c=None, seed=None):
        """n draws (n, *shape), a function of the seed."""
        z, _ = latents(self, n, c, seed, self.latent + self.signs)
        return self.units.inverse(self.generate(z).reshape(n, *self.units.shape))


@recorded
class GAN(Adversarial):
    """Generator G against a discriminator D, with D(x) the logit of "x is real".

        D minimises E[softplus(−D(x))] + E[softplus(D(G(z)))]
        G minimises E[softplus(−D(G(z)))], or −E[softplus(D(G(z)))] in the original minimax game (`minimax`)

    Source: I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, arXiv:1406.2661.
    """

    def __init__(self, shape=(2,), latent=4, signs=4, width=128, depth=3, minimax=False):
        super().__init__(shape, latent, signs, width, depth)
        self.minimax = minimax

    def optimizers(self, lr):
        """Adam for the critic and for the generator."""
        networks = self.critic, self.generator
        return [torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.9), fused=True) for net in networks]

    def loss(self, x, c=None):
        """The discriminator's loss; at the equilibrium it is 2 log 2."""
        unlabelled(self, c)
        real, fake = self.units(x).flatten(1), self.drawn(x)
        return softplus(-self.critic(real)).mean() + softplus(self.critic(fake.detach())).mean()

    def training_step(self, x, c, step, descend):
        """A step of the discriminator, then one of the generator."""
        loss = descend(0, self.loss(x, c))
        logit = self.critic(self.drawn(x))
        descend(1, (-softplus(logit) if self.minimax else softplus(-logit)).mean())
        return loss


@recorded
class WGAN(Adversarial):
    """Generator G against a critic f that estimates the distance W₁ between data and samples.

        f maximises E[f(x)] − E[f(G(z))] − penalty E[max(0, ‖∇f(y)‖ − 1)²],   y uniform between x and G(z)
        G maximises E[f(G(z))], once in `critic_steps` steps

    The penalty is one-sided: where the samples are right f may be flat, and the generator comes to rest. With `clip`
    the weights of f are cut to [−clip, clip] after each step instead.
    Source: M. Arjovsky et al., "Wasserstein GAN", 2017, arXiv:1701.07875; I. Gulrajani et al., "Improved training of
    Wasserstein GANs", NeurIPS 2017, arXiv:1704.00028; H. Petzka et al., "On the regularization of Wasserstein GANs",
    ICLR 2018, arXiv:1709.08894.
    """

    def __init__(self, shape=(2,), latent=4, signs=4, width=128, depth=3, penalty=1.0, clip=None, critic_steps=5):
        penalty = sk.checks.real("penalty", penalty, 0, below=math.inf)
        critic_steps = sk.checks.integer("critic_steps", critic_steps, 1)
        clip = optional(sk.checks.real, "clip", clip, above=0)
        super().__init__(shape, latent, signs, width, depth)
        self.penalty, self.clip, self.critic_steps = penalty, clip, critic_steps

    def optimizers(self, lr):
        """Adam without momentum, RMSprop where weights are clipped; for the critic and for the generator."""
        networks = self.critic, self.generator
        if self.clip is not None:
            return [torch.optim.RMSprop(net.parameters(), lr) for net in networks]
        return [torch.optim.Adam(net.parameters(), lr, betas=(0.0, 0.9), fused=True) for net in networks]

    def loss(self, x, c=None):
        """The critic's loss: the gap between the means, and the penalty on its slope."""
        unlabelled(self, c)
        real, fake = self.units(x).flatten(1), self.drawn(x)
        gap = self.critic(fake.detach()).mean() - self.critic(real).mean()
        if self.clip is not None:
            return gap
        y = torch.lerp(fake.detach(), real, torch.rand(len(x), 1, dtype=x.dtype, device=x.device)).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(y).sum(), y, create_graph=True)
        return gap + self.penalty * ((slope.norm(dim=1) - 1).relu() ** 2).mean()

    def training_step(self, x, c, step, descend):
        """A step of the critic, and each `critic_steps` steps one of the generator."""
        loss = descend(0, self.loss(x, c))
        if self.clip is not None:
            for weight in self.critic.parameters():
                weight.data.clamp_(-self.clip, self.clip)
        if (step + 1) % self.critic_steps == 0:
            descend(1, -self.critic(self.drawn(x)).mean())
        return loss
