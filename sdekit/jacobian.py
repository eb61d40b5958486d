"""The Jacobian of a drift, and what implicit steps do with it.

Of a state of several components it is the tuple of its columns ∂f/∂x_j, each like a state; of a state of one value it
is one value.
"""

from . import arrays, elimination
from . import math as sm

__all__: list[str] = []

FLOOR = 0.003  # δ = √ε max(|x|, 0.003): at x = 0 that of Hairer's program rodas, √(1e-5 ε)
INSTANT = 32.0  # of √ε h: there rounding and curvature err alike where h is a thirtieth of the drift's time scale


def root(x):
    """√ε of the floating-point type of x."""
    return (arrays.torch().finfo if arrays.is_tensor(x) else arrays.np.finfo)(x.dtype).eps ** 0.5


def typed(value, like):
    """A value of a Jacobian in the form and the type of a state of one value."""
    return arrays.to_type(0.0 * like + value, like.dtype)


def increment(x):
    """How far a component is moved for a difference: away from 0."""
    size = root(x) * sm.maximum(sm.abs(x), FLOOR)
    return sm.where(x < 0.0, -size, size)


def differences(sde, t, x, slope):
    """The columns by forward differences of the drift, which is `slope` at x: one evaluation each."""
    by = increment(x)
    moved = (arrays.stack([v + by[i] if i == j else v for i, v in enumerate(x)]) for j in range(len(x)))
    return tuple((sde.drift(t, y) - slope) / d for y, d in zip(moved, by))


def columns(rows, like):
    """The columns of a Jacobian that a process gives as k rows of k values."""
    k = len(like)
    if not isinstance(rows, (tuple, list)) or [len(r) if isinstance(r, (tuple, list)) else 0 for r in rows] != [k] * k:
        raise ValueError(f"jacobian must return {k} rows of {k} values, one row per component of the drift")
    return tuple(arrays.stack([typed(row[j], like[0]) for row in rows]) for j in range(k))


def rate(sde, t, x, h, slope):
    """h ∂f/∂t by a forward difference within the step."""
    part = INSTANT * root(x)
    return (sde.drift(t + part * h, x) - slope) * (1.0 / part)


def shifted(columns, g):
    """The rows of 1 − g J."""
    k = range(len(columns))
    return [[(1.0 if i == j else 0.0) - g * columns[j][i] for j in k] for i in k]


def implicit(jacobian, g):
    """1 − g J, ready to divide by; g is a number, or one per path."""
    return elimination.factored(shifted(jacobian, g)) if isinstance(jacobian, tuple) else 1.0 - g * jacobian


def divided(right, matrix):
    """The state u with `matrix` u = right."""
    return arrays.stack(elimination.solved(matrix, right)) if isinstance(matrix, tuple) else right / matrix
