"""Generative models on top of sdekit's public names; modules load when a name is asked for."""

from importlib import import_module

_NAMES = {
    "baselines": ("GMM", "RealNVP", "VAE"),
    "checkpoints": ("load", "recorded", "save"),
    "data": ("digits", "sets"),
    "diffusion": ("Diffusion",),
    "flow": ("CNF", "FlowMatching", "optimal_pairs", "reflow"),
    "gan": ("GAN", "WGAN"),
    "langevin": ("langevin_sample", "mala", "score_of"),
    "metrics": ("measure",),
    "nets": ("MLP", "UNet"),
    "standard": ("Standard",),
    "training": ("Record", "cosine", "fit"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)


def __dir__():
    return __all__


def __getattr__(name):
    if name in _NAMES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
