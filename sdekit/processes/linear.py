"""The linear equation with coefficients that are functions of time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sdekit import math as sm
from sdekit.laws import Normal
from sdekit.processes import forms
from sdekit.processes.forms import elapsed

__all__ = ["Linear"]


def minus_one(t):
    """−1: the default slope of `Linear`."""
    return -1.0


def zero(t):
    """0: the default forcing of `Linear`."""
    return 0.0


def one(t):
    """1: the default noise of `Linear`."""
    return 1.0


class Linear(NamedTuple):
    """The linear equation with additive noise; its coefficients are functions of time.

        dX = (a(t) X + b(t)) dt + g(t) dW
        X_t | X_s = x  ~  N(φ x + ∫ φ(t, u) b(u) du, ∫ φ(t, u)² g(u)² du),
        φ(t, u) = exp(∫ᵤᵗ a)

    a, b, g take a time and return a number, or an array of one per path. The transition is by
    adaptive Gauss–Legendre quadrature on the host, to 1e-12 relative, jumps and kinks of the
    functions included.
    Defaults: a = −1, b = 0, g = 1, an OU process. Functions of a module pickle, lambdas do not.

    Source: L. Arnold, "Stochastic Differential Equations", 1974, section 8.2.
    """

    a: Callable[..., Any] = minus_one
    b: Callable[..., Any] = zero
    g: Callable[..., Any] = one

    noise = "diagonal"
    calculus = "ito"
    additive = True
    event_dims = 0
    domain = (-math.inf, math.inf)
    x0 = 1.0

    def drift(self, t, x):
        return sm.expand(self.a(t), x) * x + sm.expand(self.b(t), x)

    def diffusion(self, t, x):
        return sm.expand(self.g(t), x)

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        factor, shift, var = (sm.expand(v, x) for v in _kernels(self, s, t))
        return Normal(factor * x + shift, var)

    def check(self):
        for name in self._fields:
            forms.require(self, name, callable(getattr(self, name)), "a function of time")


POINTS = 20  # of the Gauss–Legendre rule on one panel
PRECISION = 1e-13
DEPTH = 48  # halvings: across a jump the error left is 2^−48 of the interval


def _rule():
    """Nodes and weights on [−1, 1], and the matrix of integrals from each node to 1.

    Row k integrates the interpolating polynomial: f's Legendre coefficients are exact sums over the
    nodes, and ∫ᵤ¹ P_m = (P_{m−1}(u) − P_{m+1}(u))/(2m + 1).
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    basis = np.polynomial.legendre.legvander(nodes, POINTS)
    below = np.concatenate([np.ones((POINTS, 1)), basis[:, : POINTS - 1]], axis=1)
    tails = below - basis[:, 1:]  # for m = 0 this is 1 − u, as P_{−1} = 1 makes it
    return nodes, weights, 0.5 * tails @ (basis[:, :POINTS] * weights[:, None]).T


NODES, WEIGHTS, TAILS = _rule()


def _panel(process, s, t):
    """(φ, ∫ φ b, ∫ φ² g², ∫ φ |b|) from s to t by one Gauss–Legendre rule."""
    half = 0.5 * (t - s)
    times = [float(u) for u in s + half * (1.0 + NODES)]
    a, b, g = ([np.asarray(f(u), dtype=np.float64) for u in times] for f in process)
    a, b, g = (np.stack(np.broadcast_arrays(*values)) for values in (a, b, g))
    phi = np.exp(half * np.tensordot(TAILS, a, 1))
    total = np.exp(half * np.tensordot(WEIGHTS, a, 1))
    b, g = np.broadcast_arrays(b, g)
    integrands = (phi * b, (phi * g) ** 2, phi * abs(b))
    return (total, *(half * np.tensordot(WEIGHTS, f, 1) for f in integrands))


def _kernel(process, s, t, whole, depth=0):
    """`_panel`, halved until the two halves composed agree with the whole."""
    middle = 0.5 * (s + t)
    first, second = _panel(process, s, middle), _panel(process, middle, t)
    joined = _compose(first, second)
    scales = joined[0], joined[3], joined[2]
    errors = (abs(j - w) for j, w in zip(joined, whole, strict=True))
    close = all(np.all(error <= PRECISION * scale) for error, scale in zip(errors, scales, strict=False))
    if close or depth == DEPTH or not s < middle < t:
        return joined
    return _compose(
        _kernel(process, s, middle, first, depth + 1),
        _kernel(process, middle, t, second, depth + 1),
    )


def _compose(first, second):
    """The kernel of two intervals, one after the other."""
    phi = second[0]
    return (
        first[0] * phi,
        phi * first[1] + second[1],
        phi * phi * first[2] + second[2],
        phi * first[3] + second[3],
    )


def _kernels(process, s, t):
    """(φ, mean at x = 0, variance) for each pair of times, in the type of the times."""
    pairs = np.broadcast(forms.on_host(s), forms.on_host(t))
    rows = []
    for start, end in pairs:
        start, end = float(start), float(end)
        rows.append(_kernel(process, start, end, _panel(process, start, end))[:3])
    values = [np.stack(np.broadcast_arrays(*column)) for column in zip(*rows, strict=True)]
    array = s if getattr(s, "ndim", 0) else t
    return [forms.like(array, v.reshape(pairs.shape + v.shape[1:])) for v in values]
