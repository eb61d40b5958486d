"""The families by name, with settings that do well on sets in the plane and on small images in a minute or a few."""

from __future__ import annotations

import math

import torch

import sdekit as sk
from generative import CNF, GAN, GMM, MLP, VAE, WGAN, Diffusion, FlowMatching, RealNVP, UNet

__all__ = ["FAMILIES", "make"]


def gmm(shape=(2,), classes=0, *, components=8):
    return GMM(components, shape), {}


def vae(shape=(2,), classes=0, *, latent=2, width=128, depth=3, particles=8, batch=512, lr=4e-3):
    return VAE(shape, latent, width, depth, particles=particles), {"batch": batch, "lr": lr}


def flow(shape=(2,), classes=0, *, layers=4, width=64, depth=2, spline=True, batch=1024, lr=5e-3):
    return RealNVP(shape, layers, width, depth, spline), {"batch": batch, "lr": lr}


def gan(shape=(2,), classes=0, *, latent=4, signs=0, width=128, depth=3, minimax=False, batch=256, lr=5e-4):
    return GAN(shape, latent, signs, width, depth, minimax), {"batch": batch, "lr": lr, "clip": math.inf}


def wgan(shape=(2,), classes=0, *, latent=4, signs=4, width=128, depth=3, penalty=1.0, batch=256, lr=2e-3):
    return WGAN(shape, latent, signs, width, depth, penalty), {"batch": batch, "lr": lr, "clip": math.inf}


def wgan_clip(shape=(2,), classes=0, *, latent=4, signs=0, width=128, depth=3, clip=0.05, batch=512, lr=2e-4):
    return WGAN(shape, latent, signs, width, depth, clip=clip), {"batch": batch, "lr": lr, "clip": math.inf}


def diffusion(shape=(2,), classes=0, *, width=None, depth=3, waves=3, batch=None, lr=None):
    net = _net(shape, classes, width, depth, waves)
    return Diffusion(net, sk.VP(), "v", weighting="lognormal"), _pace(shape, batch, lr)


def flow_matching(shape=(2,), classes=0, *, width=None, depth=3, waves=3, pairing="independent", batch=None, lr=None):
    batch = 256 if batch is None and pairing == "optimal" else batch  # exact assignment takes its cube
    return FlowMatching(_net(shape, classes, width, depth, waves), sk.FlowPath(), pairing), _pace(shape, batch, lr)


def cnf(shape=(2,), classes=0, *, width=None, depth=3, waves=3, steps=8, batch=512, lr=4e-3):
    return CNF(_net(shape, classes, width, depth, waves), steps), {"batch": batch, "lr": lr}


# name -> function (shape, classes, **settings) -> (model, options of `fit`)
FAMILIES = {
    "gmm": gmm, "vae": vae, "flow": flow, "wgan": wgan, "diffusion": diffusion, "flow-matching": flow_matching,
    "gan": gan, "wgan-clip": wgan_clip, "cnf": cnf,
}  # fmt: skip


def make(family, shape=(2,), classes=0, seed=0, **settings):
    """(model, options of `fit`) of a family, with its first weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILIES[family](shape, classes, **settings)


def _net(shape, classes, width, depth, waves):
    """A U-Net of `width` channels for images, a perceptron of that width for the rest."""
    if len(shape) == 3:
        return UNet(shape, width or 32, classes)
    return MLP(shape, width or 64, depth, classes, waves)


def _pace(shape, batch, lr):
    image = len(shape) == 3
    usual = {"batch": 128, "lr": 2e-3} if image else {"batch": 2048, "lr": 4e-3}
    return usual | {name: value for name, value in (("batch", batch), ("lr", lr)) if value is not None}
