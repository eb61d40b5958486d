"""Targets: distributions of clean data whose scores are known exactly under any process.

`target.score(process)` is a `Score`: under x_t = alpha·x_0 + sigma·ε the law of x_t is a mixture of
Gaussians again. `target.score()` without a process is the score of the clean data, for `Langevin`.
All of it is computed in float64, whatever the type of x, and returned in x's own type.

Data may be numbers (event_dims = 0) or arrays of any shape (event_dims = their number of axes).
"""

from .empirical import Empirical
from .gaussian import Gaussian, GaussianMixture

__all__ = ["Empirical", "Gaussian", "GaussianMixture"]
