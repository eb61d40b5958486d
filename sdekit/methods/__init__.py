"""Methods: how one step is taken. Each is a `Method`, a record of a pure step and its claims."""

from . import (
    correctors,
    deterministic,
    exponential,
    general,
    karras,
    multistep,
    pairs,
    reversible,
    rosenbrock,
    stochastic,
)
from .correctors import *
from .deterministic import *
from .exponential import *
from .general import *
from .karras import *
from .method import Method as Method
from .method import family as family
from .method import method as method
from .multistep import *
from .pairs import *
from .reversible import *
from .rosenbrock import *
from .stochastic import *
from .taken import Taken as Taken

__all__ = [
    *correctors.__all__, *deterministic.__all__, *exponential.__all__, *karras.__all__, *multistep.__all__,
    *pairs.__all__, *reversible.__all__, *rosenbrock.__all__, *stochastic.__all__, *general.__all__,
]  # fmt: skip
