"""The diffusion of a process, looked at on the first path and on states near it."""

import contextlib
import itertools
import math

import numpy as np

from . import arrays
from .records import title, with_parameters

__all__ = ["Probe"]

SPLITS = 4  # partitions of a state's entries that look for noise that does not commute


class Probe:
    """Values of a diffusion on the first path and on states near it."""

    def __init__(self, process, x, t, k, event_dims):
        self.name, self.t, self.k, self.event_dims = title(process), t, k, event_dims
        one = with_parameters(process, lambda a: a.reshape(-1)[0] if 0 not in a.shape else 1.0)
        self.diffusion = one.diffusion
        # one argument with event axes keeps its path axes, of length 1 each, for code that counts axes
        place = slice(0, 1) if 0 in x.shape or (event_dims and not k) else 0
        self.state = x[(place,) * (x.ndim - event_dims)]
        self.value = self.at(self.state)

    def at(self, state, t=None):
        """The diffusion at a state, of which it gets a copy."""
        state = state.clone() if arrays.is_tensor(state) else np.array(state)
        parts = tuple(state[..., i] for i in range(self.k)) if self.k else (state,)
        return self.diffusion(self.t if t is None else t, *parts)

    def near(self, state, t=None):
        """The diffusion at a made-up state, or None where the user's code refuses it."""
        with contextlib.suppress(Exception):
            return self.at(state, t)

    @property
    def times(self):
        """The start, where a diffusion may vanish whatever the state, and a time away from it."""
        return self.t, self.t + 0.375 * max(1.0, abs(self.t))

    def channels(self, noise):
        """m, from the value of the diffusion, which must have the declared structure."""
        k, value = self.k, self.value
        if noise == "general" and self.event_dims and not k:
            return self._array_channels()
        rows = value if isinstance(value, (tuple, list)) else None
        matrix = rows is not None and all(isinstance(row, (tuple, list)) for row in rows)
        if noise == "general":
            if not matrix or len(rows) != (k or 1) or len({len(row) for row in rows}) != 1:
                raise ValueError(
                    f"{self.name} declares noise = 'general', so its diffusion must return {k or 1} rows of equal "
                    f"length"
                )
            return len(rows[0])
        if matrix or (rows is not None and len(rows) != k) or (rows is None and k):
            raise ValueError(
                f"{self.name} declares noise = 'diagonal', so its diffusion must return "
                + (f"a tuple of {k} values" if k else "one value")
            )
        return k or 1

    def _array_channels(self):
        event = tuple(self.state.shape[self.state.ndim - self.event_dims :])
        shape = tuple(getattr(self.value, "shape", ()))
        if shape[-1 - self.event_dims : -1] != event or not shape:
            raise ValueError(
                f"{self.name} declares noise = 'general' on states of shape {event}, so its diffusion must return "
                f"(*path axes, *{event}, m) for m noises; got shape {shape}"
            )
        return shape[-1]

    def check_additive(self, additive):
        """Raise where the noise is declared additive and is not."""
        for t in self.times if additive else ():
            value, near = self.near(self.state, t), (self.near(1.25 * self.state + shift, t) for shift in (0.5, -0.25))
            if not all(same(value, other) for other in near):
                raise ValueError(f"{self.name} declares additive = True, but its diffusion depends on the state")

    def check_commutative(self):
        """Raise where general noise is declared commutative and g_i moves along g_j otherwise than g_j along g_i."""
        for t, state in itertools.product(self.times, (self.state, 1.25 * self.state + 0.5)):
            pair = self._bracket(t, state)
            if pair:
                i, j = pair
                raise ValueError(
                    f"{self.name} declares commutative = True, but its noises {i} and {j} do not: the derivative "
                    f"of column {j} of its diffusion along column {i} is not that of column {i} along column {j}"
                )

    def _matrix(self, t, state):
        """The diffusion as (entries of a state, m) on the host; None where it cannot be looked at."""
        value = self.near(state, t)
        if value is None or not arrays.concrete(state):
            return None
        if isinstance(value, (tuple, list)):
            return np.array([[float(v) for v in row] for row in value])
        return arrays.on_host(value).reshape(-1, value.shape[-1])

    def _bracket(self, t, state):
        """The first two noises that do not commute at a state, by central differences of the diffusion."""
        g = self._matrix(t, state)
        if g is None or not np.isfinite(g).all() or not g.any():
            return None
        eps = float((arrays.torch().finfo if arrays.is_tensor(state) else np.finfo)(state.dtype).eps)
        by = eps ** (1 / 3) * max(1.0, float(abs(state).max())) / abs(g).max()
        along = []
        for column in g.T:
            step = arrays.beside(by * column.reshape(tuple(state.shape)), state)
            ends = self._matrix(t, state + step), self._matrix(t, state - step)
            if ends[0] is None or ends[1] is None:
                return None
            along.append((ends[0] - ends[1]) / (2 * by))
        slack = 1e-3 * abs(np.array(along)).max() + 100 * eps * abs(g).max() / by
        for i, j in itertools.combinations(range(g.shape[1]), 2):
            if (abs(along[i][:, j] - along[j][:, i]) > slack).any():
                return i, j
        return None

    def crossing(self):
        """What of a diagonal diffusion depends on another entry of the state, in words; None where nothing is found."""
        if not arrays.concrete(self.state) or math.prod(self.state.shape) < 2:
            return None
        search = self._components if self.k else self._entries
        for t, state in itertools.product(self.times, (self.state, 1.25 * self.state + 0.5)):
            value = self.near(state, t)
            found = None if value is None else search(t, state, value)
            if found:
                return found
        return None

    def _components(self, t, state, value):
        for j in range(self.k):
            moved = state.clone() if arrays.is_tensor(state) else state.copy()
            moved[..., j] += 0.1 * abs(moved[..., j]) + 0.1
            other = self.near(moved, t)
            for i in range(self.k if other is not None else 0):
                if i != j and not same(value[i], other[i]):
                    return f"component {i} of its diffusion depends on component {j}"
        return None

    def _entries(self, t, state, value):
        """Of one argument that holds all entries: some are moved, and the others' diffusion looked at."""
        size = math.prod(state.shape)
        value = arrays.broadcast(value, state.shape) if getattr(value, "ndim", 0) else None
        rng = np.random.default_rng(0)
        for _ in range(SPLITS if value is not None else 0):
            mask = rng.permutation(size).reshape(tuple(state.shape)) % 2 == 0
            step = 0.1 * abs(state) + 0.1
            chosen = arrays.torch().as_tensor(mask, device=state.device) if arrays.is_tensor(state) else mask
            other = self.near(state + step * chosen, t)
            other = None if other is None else arrays.broadcast(other, state.shape)
            if other is not None and not same(value[~chosen], other[~chosen]):
                return "an entry of its diffusion depends on other entries of the state"
        return None


def same(a, b):
    """Whether two values of a diffusion, numbers, arrays or nested tuples, are equal; None and NaN are like any."""
    if a is None or b is None:
        return True
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if not (arrays.concrete(a) and arrays.concrete(b)):
        return True
    equal = (a == b) | (a != a) | (b != b)
    return bool(equal.all()) if hasattr(equal, "all") else bool(equal)
