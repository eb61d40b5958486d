"""Processes: one module per family; every name in a module's `__all__` is a name of the package."""

from . import classical, diffusion, discrete, linear, nonlinear, preserving
from .classical import *
from .diffusion import *
from .discrete import *
from .linear import *
from .nonlinear import *
from .preserving import *

__all__ = [
    *classical.__all__, *diffusion.__all__, *discrete.__all__, *linear.__all__, *nonlinear.__all__,
    *preserving.__all__,
]  # fmt: skip
