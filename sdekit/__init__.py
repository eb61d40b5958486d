"""sdekit: processes that move in continuous time, methods that move them, and `solve`.

import sdekit as sk
sol = sk.solve(sk.OU(theta=1.0, mu=0.0, sigma=0.3), 1.0, ts=[0, 0.5, 1], h=1e-3, paths=1_000_000)
"""

from . import (
    backends,
    convergence,
    figures,
    files,
    grids,
    laws,
    likelihood,
    math,
    methods,
    noise,
    processes,
    scores,
    targets,
    transforms,
)
from .methods import *  # noqa: F403
from .methods import Method, method
from .processes import *  # noqa: F403
from .restart import restart
from .solve import Solution, solve
from .targets import Empirical, Gaussian, GaussianMixture
from .transforms import Langevin, Reverse, process

__version__ = "0.1.0"

__all__ = [
    "Empirical", "Gaussian", "GaussianMixture", "Langevin", "Method", "Reverse", "Solution",
    "backends", "convergence", "figures", "files", "grids", "laws", "likelihood", "math", "method", "methods", "noise",
    "process", "processes", "restart", "scores", "solve", "targets", "transforms",
    *methods.__all__, *processes.__all__,
]  # fmt: skip
