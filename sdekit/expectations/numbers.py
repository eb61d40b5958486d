"""The numbers that drive paths on n steps and on n/2: counted normals, or scrambled Sobol points.

Of n = 2^k steps the points' first coordinate is the increment over the whole interval, the next one tells its halves
apart, two more the quarters, …: the construction of the Brownian bridge, so that few coordinates make most of a path.
Source: R. Caflisch, W. Morokoff, A. Owen, "Valuation of mortgage-backed securities using Brownian bridges to reduce
effective dimension", 1997, doi:10.21314/JCF.1997.005.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .. import noise
from ..backends import kernel_module

__all__ = ["MOST_DIMENSIONS", "Numbers", "counted", "dimension", "sobol"]

BITS = 32  # of a coordinate
MOST_DIMENSIONS = 21201  # for which S. Joe and F. Kuo, 2008, doi:10.1137/070709359, have direction numbers


class Needs(NamedTuple):
    """What a path of n steps takes.

    draws     normals of a step and channel: dW, or dW and dZ
    steps     n
    parts     of the interval, which the bridge joins
    channels  m
    waits     whether each step takes a uniform number too
    shifts    whether the last step takes one for each channel
    """

    draws: int
    steps: int
    parts: int
    channels: int
    waits: bool
    shifts: bool


class Numbers(NamedTuple):
    """z (draws, steps, channels, paths) normals, waits (steps, paths) −log u, shifts (channels, paths) u; or None."""

    z: np.ndarray
    waits: Any
    shifts: Any

    def beside(self, z):
        """These paths, and behind them as many along other normals z."""
        both = zip(self, self._replace(z=z))
        return Numbers(*(own if own is None else np.concatenate([own, other], -1) for own, other in both))

    @property
    def swapped(self):
        """z of paths whose steps 1 and 2, 3 and 4, … have changed places: of the same law, on the same coarser path."""
        z = np.empty_like(self.z)
        z[:, ::2], z[:, 1::2] = self.z[:, 1::2], self.z[:, ::2]
        if self.shifts is not None:
            z[:, -2:] = self.z[:, -2:]  # of the last two one is drawn anew
        return z

    @property
    def halved(self):
        """Normals of n/2 steps along the same path: u = (u₁ + u₂)/√2, and of areas as `brownian.halves` has them."""
        u1, u2 = self.z[0, ::2], self.z[0, 1::2]
        u = math.sqrt(0.5) * (u1 + u2)
        if len(self.z) == 1:
            return u[None]
        v = self.z[1]
        return np.stack([u, math.sqrt(2) / 4 * (v[::2] + v[1::2] + math.sqrt(3) * (u1 - u2))])


def counted(needs, seed, first, paths, threads=1):
    """`Numbers` of the paths from `first` on, functions of seed and index."""
    draws, n, m = needs.draws, needs.steps, needs.channels
    z, waits, shifts = np.empty((draws, n * m, paths)), None, None

    def drawn(out, stream):
        return kernel_module("generator").rows(out, first, 0, seed, stream, threads)

    for part, stream in zip(z, (noise.Stream.PATH, noise.Stream.SECOND)):
        drawn(part, stream)
    if needs.waits:
        pairs = drawn(np.empty((2 * n, paths)), noise.Stream.EXTREME)
        waits = 0.5 * (pairs[::2] ** 2 + pairs[1::2] ** 2)
    if needs.shifts:
        from scipy.special import ndtr

        shifts = ndtr(drawn(np.empty((m, paths)), noise.Stream.EXTREME))
    return Numbers(z.reshape(draws, n, m, paths), waits, shifts)


def dimension(needs):
    """Coordinates of a point."""
    return needs.draws * needs.steps * needs.channels + needs.steps * needs.waits + needs.channels * needs.shifts


def sobol(needs, seed, first, paths):
    """`Numbers` of the points from `first` on of one scrambling of the Sobol sequence."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    draws, n, m = needs.draws, needs.steps, needs.channels
    normal = draws * n * m
    engine = qmc.Sobol(dimension(needs), scramble=True, bits=BITS, rng=np.random.default_rng(seed))
    if first:
        engine.fast_forward(first)
    u = engine.random(paths).T + 2.0 ** -(BITS + 1)
    z = ndtri(u[:normal]).reshape(draws, n, m, paths)
    z[0] = bridged(z[0], needs.parts)
    waits = -np.log(u[normal : normal + n]) if needs.waits else None
    return Numbers(z, waits, u[-m:] if needs.shifts else None)


def bridged(y, parts=1):
    """Normals of 2^k steps of each part from as many, the first of all parts and the others for the middles of bridges.

    An interval's normal u and one more, y, are those of its halves: (u ± y)/√2.
    """
    u = y[:parts]
    while len(u) < len(y):
        side = y[len(u) : 2 * len(u)]
        u = np.stack([u + side, u - side], 1).reshape(2 * len(u), *y.shape[1:]) * math.sqrt(0.5)
    return u
