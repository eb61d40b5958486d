"""What an expectation is taken of, drawn in pairs: on n and on n/2 steps along the same Brownian path."""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import arrays, brownian, equation, noise
from ..brownian import BrownianPath
from ..checks import shown
from ..methods import Method, euler_maruyama, exact
from ..path import Functional, Walk
from ..solve import solve
from ..system import System

BLOCK = 2**21  # numbers that a block of paths holds
LANES = 2**17  # paths of a block, at most
KOROBOV = 0.618033988749895  # of the points of the last step: their generator, as a share of their number


class Failed(ValueError):
    """Paths that are not finite."""


@dataclass(frozen=True)
class Quantity:
    """f(X_T, **along) − Σ c (g − E g): a payoff, functionals that it reads, and control variates."""

    f: Callable
    process: Any
    x0: Any
    t0: float
    t1: float
    method: Method
    system: System
    along: Mapping[str, Functional]
    inner: int
    backend: Any
    controls: tuple[tuple[float, Callable, float], ...] = ()  # (c, g, E g)

    def pairs(self, n, seed, first, paths, coarse=True):
        """Blocks of (values on n steps, values on n/2 along the same paths or None), for paths from `first` on."""
        width = (n + 1) * (self.system.components or 1) * (4 if self.bridged else 1) if self.along else self.inner
        block = min(LANES, max(256, BLOCK // width))
        for begin in range(first, first + paths, block):
            draw = _Draw(self, n, seed, begin, min(block, first + paths - begin), coarse)
            yield draw.value(n), draw.value(n // 2) if coarse else None

    @property
    def bridged(self):
        return any(functional.bridged for functional in self.along.values())

    def cost(self, n, coarse=True):
        """Steps of a path and of its coarser companion."""
        extra = self.inner if self.inner > 1 else 0
        return n + extra + (n // 2 + extra if coarse else 0)

    def payoff(self, x, walk):
        """The values (paths,) of states at the end and of the functionals of a `Walk`."""
        along = {name: functional.value(walk(functional)) for name, functional in self.along.items()}
        value = _numbers("f", self.f(x, **along), len(x))
        for c, g, mean in self.controls:
            value = value - c * (_numbers("g of control", g(x, **along), len(x)) - mean)
        return value


@dataclass(frozen=True)
class _Draw:
    """Some paths of a seed, which any number of steps follows."""

    of: Quantity
    n: int  # of the finer of two
    seed: int
    first: int
    paths: int
    coupled: bool  # whether there is a coarser path

    def value(self, n):
        """The payoff on n steps."""
        q = self.of
        if q.inner > 1:
            return self._averaged(n)
        if not q.along:
            return q.payoff(self._solve([q.t0, q.t1], n)[-1], None)
        t = self._times(n)
        x = self._solve(t, n)
        return q.payoff(x[-1], lambda functional: self._walk(functional, t, x))

    def _times(self, n):
        return self.of.t0 + (self.of.t1 - self.of.t0) / n * np.arange(n + 1)

    def _solve(self, ts, n):
        """States at ts on steps of the n-th part."""
        q = self.of
        given = {"paths": self.paths, "first_path": self.first}
        given |= {"noise": BrownianPath(self.seed, q.t0, q.t1)} if self.coupled else {"seed": self.seed}
        return self._run(q.x0, ts, **given, **({} if q.method is exact else {"h": (q.t1 - q.t0) / n}))

    def _run(self, x0, ts, method=None, **given):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `Failed` says it
            sol = solve(self.of.process, x0, ts, method or self.of.method, backend=self.of.backend, **given)
        if failed := int(sol.failed.sum()):
            raise Failed(f"{failed} of {self.paths} paths on {self.n} steps are not finite")
        return sol.x

    # --- functionals ---

    def _walk(self, functional, t, x):
        """The `Walk` that a functional is told of; of a coarse path with the points of the fine one, if bridged."""
        if not functional.bridged:
            return Walk(t, x)
        q, fine = self.of, self._times(self.n)
        system, h = q.system, (q.t1 - q.t0) / self.n
        unit = equation.variance(functional.component, system.components is not None, system.noise)
        starts = [_first(x[i], system) for i in range(len(t) - 1)]
        rates = [np.broadcast_to(unit(system.process, float(s), y), self.paths) for s, y in zip(t, starts)]
        spread = h * np.repeat(rates, self.n // (len(t) - 1), axis=0)
        if len(t) < len(fine):
            x = self._filled(t, x, starts)
        return Walk(fine, x, spread, self._waits())

    def _filled(self, t, x, starts):
        """x and, between, the middles of Brownian bridges along the path: (x + x')/2 + g (dW₁ − dW₂)/2."""
        dw, system = self._increments(), self.of.system
        middles = []
        for i, y in enumerate(starts):
            kick = system.equation.noise(float(t[i]), y, 0.5 * (dw[2 * i] - dw[2 * i + 1]))
            middles.append(0.5 * (x[i] + x[i + 1]) + _last(np.broadcast_to(kick, y.shape), system))
        filled = np.empty((2 * len(middles) + 1, *x.shape[1:]))
        filled[::2], filled[1::2] = x, middles
        return filled

    def _increments(self):
        """dW of each of the n steps, as the equation takes them."""
        q, system = self.of, self.of.system
        path = BrownianPath(self.seed, q.t0, q.t1)
        many = system.components is not None or system.noise == "general"
        bridge = brownian.bridge(path, self.first, self.paths, system.channels if many else 1, np.empty(0))
        root, ticks = math.sqrt((q.t1 - q.t0) / self.n), brownian.ticks(path, self._times(self.n), "ts").tolist()
        steps = [brownian.step(bridge, a, b)[0] * root for a, b in itertools.pairwise(ticks)]
        if system.correlation is not None:
            steps = [system.correlation @ z for z in steps]
        return steps if many else [z[0] for z in steps]

    def _waits(self):
        """−log u of each step, half the sum of two squared normals."""
        lanes = self.first + np.arange(self.paths)
        z = noise.rows(lanes, 0, 2 * self.n, self.seed, noise.Stream.EXTREME, np.empty(0))
        return 0.5 * (z[::2] ** 2 + z[1::2] ** 2)

    # --- the last step, averaged ---

    def _averaged(self, n):
        """The mean of f over the last step of the finer path, given the rest: over points of a shifted lattice.

        Of the last of n/2 steps the first half of dW is given by the path as well.
        """
        q, m = self.of, self.of.inner
        h, whole = (q.t1 - q.t0) / self.n, (q.t1 - q.t0) / n
        x = self._solve([q.t0, q.t1 - whole], n)[-1] if n > 1 else np.broadcast_to(q.x0, (self.paths, *np.shape(q.x0)))
        z = self._points()
        if n < self.n:
            dw = self._half(q.t1 - whole, q.t1 - h) / math.sqrt(h)
            z = (dw[:, None] + z) / math.sqrt(2)
        x, z = np.repeat(x, m, axis=0), z.reshape((1, self.paths * m, *z.shape[2:]))
        method = q.method if q.method.normals == 1 else euler_maruyama
        x = self._run(x, [q.t1 - whole, q.t1], method, grid=[q.t1 - whole, q.t1], noise=z)[-1]
        return q.payoff(x, None).reshape(self.paths, m).mean(1)

    def _many(self):
        """The axis of channels of normals, where they have one."""
        system = self.of.system
        return (system.channels,) if system.components is not None or system.noise == "general" else ()

    def _points(self):
        """Normals (paths, inner, channels) of a lattice in the unit cube, shifted for each path: unbiased."""
        from scipy.special import ndtr, ndtri

        m, channels = self.of.inner, math.prod(self._many())
        lanes = self.first + np.arange(self.paths)
        shift = ndtr(noise.rows(lanes, 0, channels, self.seed, noise.Stream.EXTREME, np.empty(0)))
        generator = [pow(_coprime(m), j, m) for j in range(channels)]
        u = np.stack([(np.arange(m) * g / m + s[:, None]) % 1.0 for g, s in zip(generator, shift)], -1)
        z = ndtri(np.clip(u, 2.0**-53, 1 - 2.0**-53))
        return z if self._many() else z[..., 0]

    def _half(self, a, b):
        """W_b − W_a of each path: (paths, channels)."""
        path = BrownianPath(self.seed, self.of.t0, self.of.t1)
        bridge = brownian.bridge(path, self.first, self.paths, math.prod(self._many()), np.empty(0))
        p, q = brownian.ticks(path, np.array([a, b]), "ts").tolist()
        w = brownian.step(bridge, p, q)[0] * math.sqrt(b - a)
        return w.T if self._many() else w[0]


def _coprime(m):
    """A number coprime to m near its golden section."""
    near = max(1, round(m * KOROBOV))
    return next(k for k in itertools.count(near) if math.gcd(k, m) == 1)


def _first(x, system):
    """States with components first, as equations take them."""
    return x if system.components is None else np.moveaxis(x, -1, 0)


def _last(x, system):
    return x if system.components is None else np.moveaxis(x, 0, -1)


def _numbers(name, values, paths):
    """What a function of states gives, as float64 (paths,)."""
    values = arrays.on_host(values) if arrays.is_tensor(values) else np.asarray(values)
    if values.shape != (paths,) or values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must return one number per path, shape ({paths},), got {shown(values)}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} is not finite on {int((~np.isfinite(values)).sum())} of {paths} paths")
    return values
