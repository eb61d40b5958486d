"""A process as a step sees it: drift and noise as vector-space operations on one state.

A state of k components is an array with the components on the first axis (a `Vec` inside numba
kernels), so that a step adds and scales states without knowing k or the structure of the noise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from . import arrays
from .jacobian import columns, differences, increment, typed
from .parts import Parts


def components(x):
    """The components of a state as a tuple."""
    return tuple(x)


def assemble(items, like):
    """A state shaped like `like` from one value per component, numbers or arrays."""
    if not isinstance(items, (tuple, list)) or len(items) != len(like):
        got = len(items) if isinstance(items, (tuple, list)) else type(items).__name__
        raise ValueError(f"drift and diffusion must return a tuple of {len(like)} values, one per component, got {got}")
    return (Parts if isinstance(like, Parts) else arrays.stack)([like[0] * 0 + item for item in items])


def row_product(row, dw):
    """Σ_j g_j dW_j; a number in place of dw stands for all dW_j, and a row may stand there."""
    return sum(g * (dw if arrays.single(dw) else dw[j]) for j, g in enumerate(row))


def product(rows, dw, like):
    """The matrix-vector product Σ_j g_ij dW_j as a state shaped like `like`."""
    return assemble([row_product(row, dw) for row in rows], like)


# --- the drift, by the form of the state ---


def _single_drift(process, t, x):
    return process.drift(t, x)


def _coupled_drift(process, t, x):
    return assemble(process.drift(t, *components(x)), x)


# --- the noise g dW, by the form of the state and the structure of the noise ---


def _no_noise(process, t, x, dw):
    return 0.0


def _single_noise(process, t, x, dw):
    return process.diffusion(t, x) * dw


def _coupled_noise(process, t, x, dw):
    return assemble(process.diffusion(t, *components(x)), x) * dw


def _single_product(process, t, x, dw):
    return row_product(process.diffusion(t, x)[0], dw)


def _coupled_product(process, t, x, dw):
    return product(process.diffusion(t, *components(x)), dw, x)


def _array_product(process, t, x, dw):
    """g (*path axes, *event, m) times dW (*path axes, m); a number stands for all dW_j."""
    g = process.diffusion(t, x)
    if arrays.single(dw):
        return g.sum(-1) * dw
    between = (1,) * (x.ndim - dw.ndim)  # axes of one state but the last
    return (g @ dw.reshape((*dw.shape[:-1], *between, dw.shape[-1], 1)))[..., 0]


# --- the noises one by one: columns g_j of the diffusion, each like a state, and values of each channel ---


def summed(term, each, *args):
    """Σ_j term(j, *args) over the indices j of the tuple `each`."""
    return sum((term(j, *args) for j in range(len(each))), 0.0)


def transposed(rows, like):
    """The columns of a matrix given as rows of numbers or arrays, each a state shaped like `like`."""
    return tuple(assemble([row[j] for row in rows], like) for j in range(len(rows[0])))


def spread(row, like):
    """The values of a row, each like the state of one value `like`."""
    return tuple(like * 0 + g for g in row)


def apart(g):
    """The columns of the diagonal matrix of g, a state."""
    return tuple(arrays.stack([v if i == j else 0 * v for i, v in enumerate(g)]) for j in range(len(g)))


def area(sde, x, areas, i, j):
    """Entry (i, j) of the rows of areas, 0 where there are none."""
    return sde.channels(areas[i], x)[j] if areas else 0.0


def _no_columns(process, t, x):
    return ()


def _single_column(process, t, x):
    return (process.diffusion(t, x),)


def _coupled_column(process, t, x):
    """Components that do not enter each other's noise take one column, and one channel, as numbers do."""
    return (assemble(process.diffusion(t, *components(x)), x),)


def _crossing_columns(process, t, x):
    return apart(assemble(process.diffusion(t, *components(x)), x))


def _single_columns(process, t, x):
    return spread(process.diffusion(t, x)[0], x)


def _coupled_columns(process, t, x):
    return transposed(process.diffusion(t, *components(x)), x)


def _array_columns(process, t, x):
    g = process.diffusion(t, x)
    return tuple(g[..., j] for j in range(g.shape[-1]))


def _as_one(dw, x):
    return (dw,)


def _first(dw, x):
    return components(dw)


def _last(dw, x):
    between = (1,) * (x.ndim - dw.ndim + 1)  # axes of one state
    return tuple(dw[..., j].reshape((*dw.shape[:-1], *between)) for j in range(dw.shape[-1]))


def _columns(coupled, noise, event_dims, crosses):
    """Functions (process, t, x) of the columns and (dw, x) of the channels."""
    if noise == "none":
        return _no_columns, _as_one
    if noise == "general":
        if coupled:
            return _coupled_columns, _first
        return (_array_columns, _last) if event_dims else (_single_columns, _first)
    if coupled:
        return (_crossing_columns, _first) if crosses else (_coupled_column, _as_one)
    return _single_column, _as_one


# --- the Jacobian of the drift: what the process says, or forward differences ---


def _single_jacobian(sde, t, x, slope):
    return typed(sde.process.jacobian(t, x), x)


def _coupled_jacobian(sde, t, x, slope):
    return columns(sde.process.jacobian(t, *components(x)), x)


def _single_difference(sde, t, x, slope):
    by = increment(x)
    return (sde.drift(t, x + by) - slope) / by


def _coupled_differences(sde, t, x, slope):
    return differences(sde, t, x, slope)


# --- the variance Σ_j g_j² of a component in unit time ---


def variance(component, coupled, noise):
    """A function (process, t, x) of one value per path."""

    def of_state(process, t, x):
        g = process.diffusion(t, x)
        return g * g

    def of_component(process, t, x):
        g = process.diffusion(t, *components(x))[component]
        return g * g

    def of_single_row(process, t, x):
        g = process.diffusion(t, x)[0]
        return row_product(g, g)

    def of_row(process, t, x):
        g = process.diffusion(t, *components(x))[component]
        return row_product(g, g)

    if noise == "general":
        return of_row if coupled else of_single_row
    return of_component if coupled else of_state


class Held(NamedTuple):
    """Stands in for a process where its diffusion has been evaluated: the value, for products with several dW."""

    value: Any

    def diffusion(self, t, *x):
        return self.value


class Equation(NamedTuple):
    """What a step sees of a process: f(t, x), g(t, x)·dW, ∂f/∂x, and the process itself for its closed forms."""

    process: Any
    f: Callable
    g: Callable
    j: Callable = _single_difference
    c: Callable = _no_columns
    s: Callable = _as_one

    def drift(self, t, x):
        return self.f(self.process, t, x)

    def noise(self, t, x, dw):
        return self.g(self.process, t, x, dw)

    def held(self, t, x):
        """The diffusion at (t, x) as a process, with which g takes other dW; not in kernels."""
        if self.g is _no_noise:
            return None
        several = self.g in (_coupled_noise, _coupled_product)
        return Held(self.process.diffusion(t, *components(x)) if several else self.process.diffusion(t, x))

    def jacobian(self, t, x, slope):
        """∂f/∂x in the form of `sdekit.jacobian`; `slope` is the drift at x."""
        return self.j(self, t, x, slope)

    def columns(self, t, x):
        """The columns g_j of the diffusion, each like x. Noises that do not meet each other are one column."""
        return self.c(self.process, t, x)

    def channels(self, dw, x):
        """The values of dw that go with the columns, which multiply states like x."""
        return self.s(dw, x)


def equation(process, coupled, noise, event_dims=0, crosses=False):
    """The `Equation` of a process with one or several state arguments and a structure of noise.

    crosses: whether another component enters the noise of a component.
    """
    if noise == "none":
        g = _no_noise
    elif noise == "general":
        g = _coupled_product if coupled else _array_product if event_dims else _single_product
    else:
        g = _coupled_noise if coupled else _single_noise
    given = callable(getattr(process, "jacobian", None))
    if coupled:
        j = _coupled_jacobian if given else _coupled_differences
    else:
        j = _single_jacobian if given else _single_difference
    drift = _coupled_drift if coupled else _single_drift
    return Equation(process, drift, g, j, *_columns(coupled, noise, event_dims, crosses))
