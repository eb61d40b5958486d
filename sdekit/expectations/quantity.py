"""What an expectation is taken of, drawn in pairs: on n and on n/2 steps along the same Brownian path."""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import arrays, equation, machine
from ..backends.guard import asked, protected
from ..checks import array, real, shown
from ..methods import Method, euler_maruyama, general, method
from ..path import Functional, Walk
from ..solve import solve
from ..system import System
from .numbers import Needs, Numbers

BLOCK = 2**22  # numbers that a block of paths holds
LANES = 2**17  # paths of a block, at most
KOROBOV = 0.618033988749895  # of the points of the last step: their generator, as a share of their number


class Failed(ValueError):
    """Paths that are not finite."""


@method(strong={"general": 0.5, "diagonal": 1.0, "additive": 1.0}, weak=1.0, order=1, columns=True)
def antithetic_milstein(sde, t, t1, x, h, dw):
    """`milstein_general` without its Lévy areas, for levels whose finer path has an antithetic twin.

    Source: M. Giles, L. Szpruch, "Antithetic multilevel Monte Carlo estimation for multi-dimensional SDEs without Lévy
    area simulation", 2014, doi:10.1214/13-AAP957.
    """
    return general._milstein(sde, t, t1, x, h, dw)


@dataclass(frozen=True)
class Quantity:
    """f(X_T, **along) − Σ c (g − E g): a payoff, functionals that it reads, and control variates."""

    f: Callable
    process: Any
    x0: Any
    stops: np.ndarray
    method: Method
    system: System
    along: Mapping[str, Functional]
    inner: int
    backend: Any
    antithetic: bool = False  # whether a value is the mean of those of W and −W
    controls: tuple[tuple[float, Callable, float], ...] = ()  # (c, g, E g)

    def times(self, steps):
        """The ends of so many steps in all, as many of equal size between two of the `stops`: t0, jumps, and t1."""
        n = steps // self.parts
        starts, gaps = self.stops[:-1, None], np.diff(self.stops)[:, None]
        return np.append((starts + gaps / n * np.arange(n)).ravel(), self.stops[-1])

    @property
    def threads(self):
        """Those that compiled code runs on."""
        return getattr(self.backend, "threads", None) or machine.cpus()

    @property
    def parts(self):
        return len(self.stops) - 1

    def needs(self, n):
        """What a path takes of n steps."""
        return Needs(self.method.normals, n, self.parts, math.prod(self.driven), self.bridged, self.inner > 1)

    @property
    def driven(self):
        """The shape of dW of one path."""
        general = self.system.noise == "general"
        return (self.system.channels,) if general else np.shape(self.x0)

    def block(self, n):
        """Paths of a block."""
        width = max(n * self.method.normals * math.prod(self.driven), self.inner)
        if self.along:
            width = max(width, 4 * n * (self.system.components or 1))  # of all states functionals make more
        copies = (1 + self.antithetic) * (1 + self.twinned)
        return 2 ** int(math.log2(min(LANES, max(64, BLOCK // (width * copies)))))  # as Sobol points are balanced

    def pair(self, numbers, coarse=True):
        """(values on n steps, values on n/2 steps along the same paths or None), (paths,) each."""
        drawn = numbers.z.shape[-1]
        if self.antithetic:
            numbers = numbers.beside(-numbers.z)
        twins = numbers.beside(numbers.swapped) if coarse and self.twinned else numbers
        fine = _Paths(self, twins).fine().reshape(-1, drawn).mean(0)
        return fine, _Paths(self, numbers).coarse().reshape(-1, drawn).mean(0) if coarse else None

    @property
    def twinned(self):
        """Whether the finer path of a level has a twin, with which it is averaged."""
        return self.method is antithetic_milstein

    @property
    def bridged(self):
        return any(functional.bridged for functional in self.along.values())

    def cost(self, n, coarse=True):
        """Steps of a path and of its companions."""
        extra = self.inner if self.inner > 1 else 0
        steps = (n + extra) * (1 + (coarse and self.twinned)) + (n // 2 + extra if coarse else 0)
        return steps * (1 + self.antithetic)

    def payoff(self, x, walk):
        """The values (paths,) of states at the end and of the functionals of a `Walk`."""
        along = {name: asked(f"along[{name!r}]", of.value, walk(of)) for name, of in self.along.items()}
        value = _numbers("f", self.f, x, along)
        for c, g, mean in self.controls:
            value = value - c * (_numbers("g of control", g, x, along) - mean)
        return value


@dataclass(frozen=True)
class _Paths:
    """Some paths, which n and n/2 steps follow."""

    of: Quantity
    numbers: Numbers

    @property
    def n(self):
        return self.numbers.z.shape[1]

    @property
    def paths(self):
        return self.numbers.z.shape[-1]

    def fine(self):
        """The payoff on n steps."""
        return self._value(self.numbers.z)

    def coarse(self):
        """The payoff on n/2 steps."""
        return self._value(self.numbers.halved)

    def _value(self, z):
        q = self.of
        if q.inner > 1:
            return self._averaged(z)
        if not q.along:
            return q.payoff(self._solve(q.times(z.shape[1]), z)[-1], None)
        t = q.times(z.shape[1])
        x = self._solve(t, z, save=t)
        return q.payoff(x[-1], lambda functional: self._walk(functional, t, x))

    def _solve(self, t, z, save=None):
        """States at `save`, or at the end, on the steps t with the normals z."""
        return self._run(self.of.x0, save, self.of.method, grid=t, noise=self._laid(z), paths=self.paths)

    def _laid(self, z):
        """Normals (draws, steps, channels, paths) as `solve` takes them."""
        z = np.moveaxis(z, 2, -1).reshape(*z.shape[:2], z.shape[-1], *self.of.driven)
        return z if len(z) > 1 else z[0]

    def _run(self, x0, ts, method, **given):
        sol = solve(self.of.process, x0, ts, method, backend=self.of.backend, **given)
        if failed := int(sol.failed.sum()):
            raise Failed(f"{failed} of {self.paths} paths on {self.n} steps are not finite")
        return sol.x

    # --- functionals ---

    def _walk(self, functional, t, x):
        """The `Walk` that a functional is told of; of a coarse path with the points of the fine one, if bridged."""
        if not functional.bridged:
            return Walk(t, protected(x.view()))
        system, fine = self.of.system, self.of.times(self.n)
        unit = equation.variance(functional.component, system.components is not None, system.noise)
        starts = [_first(x[i], system) for i in range(len(t) - 1)]
        rates = np.empty((len(starts), self.paths))
        for rate, s, y in zip(rates, t, starts):
            rate[:] = unit(system.process, float(s), y)
        spread = np.diff(fine)[:, None] * np.repeat(rates, self.n // len(starts), axis=0)
        if len(t) < len(fine):
            x = self._filled(t, x, starts)
        return Walk(fine, protected(x.view()), spread, self.numbers.waits)

    def _filled(self, t, x, starts):
        """x and, between, the middles of Brownian bridges along the path: (x + x')/2 + g (dW₁ − dW₂)/2."""
        dw, system = self._increments(), self.of.system
        filled = np.empty((2 * len(starts) + 1, *x.shape[1:]))
        filled[::2] = x
        for i, y in enumerate(starts):
            kick = system.equation.noise(float(t[i]), y, 0.5 * (dw[2 * i] - dw[2 * i + 1]))
            filled[2 * i + 1] = 0.5 * (x[i] + x[i + 1]) + _last(np.broadcast_to(kick, y.shape), system)
        return filled

    def _increments(self):
        """dW of each of the n steps, as the equation takes them."""
        dw = self.numbers.z[0] * np.sqrt(np.diff(self.of.times(self.n)))[:, None, None]
        if self.of.system.correlation is not None:
            dw = self.of.system.correlation @ dw
        return dw if self.of.driven else dw[:, 0]

    # --- the last step, averaged ---

    def _averaged(self, z):
        """The mean of f over the last step of the finer path, given the rest: over points of a shifted lattice.

        Of the last of n/2 steps the first half of dW is given by the path as well.
        """
        q, m, n = self.of, self.of.inner, z.shape[1]
        t = q.times(n)
        x = self._solve(t[:-1], z[:, :-1])[-1] if n > 1 else np.broadcast_to(q.x0, (self.paths, *np.shape(q.x0)))
        points = self._points()
        if n < self.n:
            points = (self.numbers.z[0, -2, :, :, None] + points) * math.sqrt(0.5)
        points = self._laid(points.reshape(1, 1, -1, self.paths * m))
        method = q.method if q.method.normals == 1 else euler_maruyama
        x = self._run(np.repeat(x, m, axis=0), None, method, grid=t[-2:], noise=points)[-1]
        return q.payoff(x, None).reshape(self.paths, m).mean(1)

    def _points(self):
        """Normals (channels, paths, inner) of a lattice in the unit cube, shifted for each path: unbiased."""
        from scipy.special import ndtri

        m, shifts = self.of.inner, self.numbers.shifts
        generator = np.array([pow(_coprime(m), j, m) for j in range(len(shifts))])
        u = (np.arange(m) * generator[:, None, None] / m + shifts[..., None]) % 1.0
        return ndtri(np.clip(u, 2.0**-53, 1 - 2.0**-53))


def interval(t):
    """(from, to) of a time, or of a pair."""
    said = array("t", t).shape
    if said not in ((), (2,)):
        raise ValueError(f"t must be a time, or a pair (from, to), got {shown(t)}")
    t0, t1 = t if said else (0.0, t)
    t0 = real("t", t0, above=-math.inf, below=math.inf)
    return t0, real("t", t1, above=t0, below=math.inf)


def _coprime(m):
    """A number coprime to m near its golden section."""
    near = max(1, round(m * KOROBOV))
    return next(k for k in itertools.count(near) if math.gcd(k, m) == 1)


def _first(x, system):
    """States with components first, as equations take them."""
    return x if system.components is None else np.moveaxis(x, -1, 0)


def _last(x, system):
    return x if system.components is None else np.moveaxis(x, 0, -1)


def _numbers(name, function, x, along):
    """What a function of states gives, as float64 (paths,)."""
    values, paths = asked(name, function, x, **along), len(x)
    values = arrays.on_host(values) if arrays.is_tensor(values) else array(f"what {name} returns", values)
    if values.shape != (paths,) or values.dtype.kind not in "biuf" or isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} must return one real number per path, shape ({paths},), got {shown(values)}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} is not finite on {int((~np.isfinite(values)).sum())} of {paths} paths")
    return values
