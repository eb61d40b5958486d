"""sdekit: processes that move in continuous time, methods that move them, and `solve`.

import sdekit as sk
sol = sk.solve(sk.OU(theta=1.0, mu=0.0, sigma=0.3), 1.0, ts=[0, 0.5, 1], h=1e-3, paths=1_000_000)
"""

from . import (
    backends,
    checks,
    clients,
    convergence,
    executors,
    files,
    gradients,
    grids,
    laws,
    likelihood,
    math,
    methods,
    noise,
    path,
    plans,
    processes,
    protocols,
    scores,
    stats,
    targets,
    transforms,
)
from .brownian import BrownianPath
from .control import Tolerance
from .ensembles import Ensemble, ensemble, merge, stream
from .events import Barrier, Event
from .expectations import Answer, expect, sensitivities
from .functions import noiseless, process
from .methods import *
from .methods import Method, Taken, method
from .plans import Plan, solved
from .processes import *
from .restart import restart
from .solve import Solution, solve
from .targets import Empirical, Gaussian, GaussianMixture
from .transforms import Langevin, Reverse

__version__ = "0.2.0"

__all__ = [
    "Answer", "Barrier", "BrownianPath", "Empirical", "Ensemble", "Event", "Gaussian", "GaussianMixture", "Langevin",
    "Method", "Plan", "Reverse", "Solution", "Taken", "Tolerance", "backends", "checks", "clients", "convergence",
    "ensemble", "executors", "expect", "files", "gradients", "grids", "laws", "likelihood", "math", "merge", "method",
    "methods", "noise", "noiseless", "path", "plans", "process", "processes", "protocols", "restart", "scores",
    "sensitivities", "solve", "solved", "stats", "stream", "targets", "transforms", *methods.__all__,
    *processes.__all__,
]  # fmt: skip
