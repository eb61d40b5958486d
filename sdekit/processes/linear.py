"""The linear equation with coefficients that are functions of time."""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdekit import arrays
from sdekit import math as sm
from sdekit.processes import forms
from sdekit.processes.forms import elapsed, normal

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


@dataclass(frozen=True, eq=False, repr=False)
class Linear(forms.Process):
    """The linear equation with additive noise; its coefficients are functions of time.

        dX = (a(t) X + b(t)) dt + g(t) dW
        X_t | X_s = x  ~  N(φ x + ∫ φ(t, u) b(u) du, ∫ φ(t, u)² g(u)² du),
        φ(t, u) = exp(∫ᵤᵗ a)

    a, b, g take a time and return a number, or an array of one per path. The transition is by adaptive
    Gauss–Lobatto quadrature on the host, to 1e-12 relative. It cuts at `jumps`, a sequence of the times at
    which coefficients jump or switch on or off (doses, pulses; steps of `solve` end there too). Without them
    a single jump and features longer than 1/64 of the interval are found; shorter ones can be missed.
    Defaults: a = −1, b = 0, g = 1, an OU process. Functions of a module pickle, lambdas do not.

    Source: L. Arnold, "Stochastic Differential Equations", 1974, section 8.2.
    """

    a: Callable[..., Any] = minus_one
    b: Callable[..., Any] = zero
    g: Callable[..., Any] = one
    jumps: Any = None

    additive = True
    shared = ("jumps",)
    host_transition = True

    def __post_init__(self):
        for name in ("a", "b", "g"):
            forms.require(self, name, callable(getattr(self, name)), "a function of time")
        if self.jumps is not None:
            times = self.jumps if hasattr(self.jumps, "__len__") else [None]
            ok = all(arrays.is_real(u) and np.ndim(u) == 0 and math.isfinite(u) for u in times)
            forms.require(self, "jumps", ok, "a sequence of finite times")
            object.__setattr__(self, "jumps", np.unique([float(u) for u in times]))

    def drift(self, t, x):
        return sm.expand(self.a(t), x) * x + sm.expand(self.b(t), x)

    def diffusion(self, t, x):
        return sm.expand(self.g(t), x)

    def transition(self, s, t, x):
        elapsed(sm.inside(self, s), sm.inside(self, t))
        factor, shift, var = (sm.expand(v, x) for v in _kernels(self, s, t))
        return normal(factor * x + shift, var)


# The quadrature. A panel is compared with its two parts. Nodes at its ends and a cut beside the middle make the two
# differ wherever in it a single jump is: their sums of weights up to any point differ by 0.1 % of the panel at least.
# Nodes of the parts are at most 0.041 of the panel apart; with three panels at first that is less than 1/64.
POINTS = 20  # of the Gauss–Lobatto rule on one panel
PANELS = 3
CUT = 0.497
PRECISION = 1e-13
DEPTH = 48  # cuts: across a jump the error left is 0.503^48 of the panel
INWARDS = 1e-14  # of the times: how far the outermost nodes lie inside, so that each panel sees its own side of a jump


def _rule():
    """Nodes of Gauss–Lobatto on [−1, 1], and the matrix of integrals from each node to 1.

    Row k integrates the interpolating polynomial: ∫ᵤ¹ P_m = (P_{m−1}(u) − P_{m+1}(u))/(2m + 1). Row 0 are
    the weights.
    """
    legendre = np.polynomial.legendre
    inner = np.sort(legendre.Legendre.basis(POINTS - 1).deriv().roots())
    nodes = np.concatenate([[-1.0], inner, [1.0]])
    basis = legendre.legvander(nodes, POINTS)
    below = np.concatenate([np.ones((POINTS, 1)), basis[:, : POINTS - 1]], axis=1)
    tails = (below - basis[:, 1:]) / (2.0 * np.arange(POINTS) + 1.0)  # for m = 0: 1 − u, as P_{−1} = 1 makes it
    return nodes, tails @ np.linalg.inv(basis[:, :POINTS])


NODES, TAILS = _rule()


def _values(process, times):
    """a, b and g at the times, of shape (3, times, *paths)."""
    values = [f(u) for f in (process.a, process.b, process.g) for u in times]
    try:
        table = np.array(values, np.float64)
    except ValueError:  # numbers beside arrays
        table = np.stack(np.broadcast_arrays(*values)).astype(np.float64)
    return table.reshape(3, len(times), *table.shape[1:])


def _panel(process, s, t):
    """(φ, ∫ φ b, ∫ φ² g², ∫ φ |b|) from s to t by one rule."""
    half, inwards = 0.5 * (t - s), INWARDS * max(abs(s), abs(t), t - s)
    times = np.clip(s + half * (1.0 + NODES), min(s + inwards, t), max(t - inwards, s)).tolist()
    a, b, g = _values(process, times)
    phi = np.exp(half * np.tensordot(TAILS, a, 1))
    integrals = half * np.tensordot(TAILS[0], np.stack([phi * b, (phi * g) ** 2, phi * abs(b)], 1), 1)
    return phi[0], *integrals


def _kernel(process, s, t, whole, depth=0):
    """`_panel`, cut in two until the parts composed agree with the whole."""
    middle = s + CUT * (t - s)
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


def _from_to(process, s, t):
    """The kernel from s to t: its first panels, cut at the jumps, composed."""
    jumps = [] if process.jumps is None else [u for u in process.jumps.tolist() if s < u < t]
    cuts = sorted({s, *(s + (t - s) * i / PANELS for i in range(1, PANELS)), *jumps, t})
    parts = [_kernel(process, a, b, _panel(process, a, b)) for a, b in itertools.pairwise(cuts)]
    return functools.reduce(_compose, parts or [_panel(process, s, t)])[:3]


def _kernels(process, s, t):
    """(φ, mean at x = 0, variance) for each pair of times, in the type of the times."""
    arrays.without_gradient("Linear.transition", s, t)
    pairs = np.broadcast(forms.on_host(s), forms.on_host(t))
    rows = [_from_to(process, float(start), float(end)) for start, end in pairs]
    values = [np.stack(np.broadcast_arrays(*column)) for column in zip(*rows, strict=True)]
    array = s if getattr(s, "ndim", 0) else t
    return [forms.like(array, v.reshape(pairs.shape + v.shape[1:])) for v in values]
