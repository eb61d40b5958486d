"""Statistics of ensembles that merge exactly: the same bits for any executor, block size, order of completion, restart.

    result = sk.ensemble(sk.OU(), 0.0, [0, 1], h=0.01, paths=10**6, seed=0,
                         statistics=[sk.stats.moments, sk.stats.quantiles([0.05, 0.5, 0.95])])
    result.moments.mean, result.quantiles.values

They are over the first path axis, for each time and each further entry of a state; values that are not finite do not
count.

moments               count, mean, central moments to the fourth, as `Moments`
covariance            of the components of a state, as `Covariance`
comoments             of the times among each other, as `Covariance`
extremes              the least and the largest value with the index of the path, as `Extremes`
histogram(edges)      integer counts, as `Histogram`
quantiles(levels)     from integer counts in bins of equal relative width, as `Quantiles`
Statistic(name, ...)  one of your own

Floating sums are taken about a fixed pivot, path 0, in float64 over leaves of 4,096 paths by their index, and leaves
are added exactly, as integers are; all else is integers.
"""

from .counts import Extremes, Histogram, Quantiles, extremes, histogram, quantiles
from .part import Statistic
from .sums import Covariance, Moments, comoments, covariance, moments

__all__ = [
    "Covariance", "Extremes", "Histogram", "Moments", "Quantiles", "Statistic",
    "comoments", "covariance", "extremes", "histogram", "moments", "quantiles",
]  # fmt: skip
