"""Generative models on top of sdekit's public names."""

from . import baselines, checkpoints, data, diffusion, flow, gan, langevin, nets, standard, training
from .baselines import GMM, VAE, RealNVP
from .checkpoints import load, recorded, save
from .data import digits, sets
from .diffusion import Diffusion
from .flow import CNF, FlowMatching, optimal_pairs, reflow
from .gan import GAN, WGAN
from .langevin import langevin_sample, mala, score_of
from .nets import MLP, UNet
from .standard import Standard
from .training import Record, cosine, fit

__all__ = [
    "CNF", "GAN", "GMM", "MLP", "VAE", "WGAN", "Diffusion", "FlowMatching", "RealNVP", "Record", "Standard", "UNet",
    "baselines", "checkpoints", "cosine", "data", "diffusion", "digits", "fit", "flow", "gan", "langevin",
    "langevin_sample", "load", "mala", "nets", "optimal_pairs", "recorded", "reflow", "save", "score_of", "sets",
    "standard", "training",
]  # fmt: skip
