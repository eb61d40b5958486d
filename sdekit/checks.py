"""Arguments that are numbers: as plain Python numbers, or a `ValueError` that says what was wanted and what was given.

Numbers of numpy and torch count, arrays and tensors without axes too. Text, booleans, None, complex numbers, dates, and
tensors that require grad (which would be dropped) do not.
"""

import difflib
import functools
import inspect
import math
import numbers
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from . import arrays

__all__ = ["integer", "named", "real", "shown"]

F = TypeVar("F", bound=Callable[..., Any])

MEANT = {  # arguments of other libraries: the one that is meant, where a function has it
    "dt": "h",
    "step_size": "h",
    "t_eval": "ts",
    "rtol": "tol",
    "atol": "tol",
    **dict.fromkeys(("nfe", "steps", "num_steps", "num_inference_steps", "sigmas", "timesteps"), "grid"),
    "eta": "process",
    "threads": "backend",
    "memory": "noise",
    "first_step": "noise",
}
HOW = {
    "grid": "grid, the times of all steps, as in grid=sdekit.grids.log_snr(process, n)",
    "process": "sdekit.Reverse(process, score, eta)",
    "backend": "backend=sdekit.backends.numba(threads=…)",
    "noise": "a Solution as x0, from whose end it goes on",
}


def named(function: F) -> F:
    """Decorator of a function or a record: unknown keywords raise a ValueError that names what may have been meant."""
    known = inspect.signature(function).parameters
    if isinstance(function, type):
        function.__init__ = _named(function.__init__, function.__name__, known)
        return function
    return _named(function, function.__name__, known)


def _named(function, title, known):
    @functools.wraps(function)
    def call(*args, **kwargs):
        for name in kwargs:
            if name not in known:
                meant = MEANT.get(name)
                close = [] if meant else difflib.get_close_matches(name, known, n=1)
                near = HOW.get(meant, meant) if meant in known else next(iter(close), None)
                hint = f"; did you mean {near}?" if near else f"; it has {', '.join(known) or 'none'}"
                raise ValueError(f"{title} has no argument {name!r}{hint}")
        return function(*args, **kwargs)

    return call


def integer(name, value, least=0, most=None):
    """`value` as an int, which has to be at least `least` and at most `most`."""
    try:
        number = operator.index(value) if _one_number(value) else None
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        wanted = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {wanted}, got {shown(value)}")
    return number


def real(name, value, least=-math.inf, most=math.inf, above=None, below=None):
    """`value` as a float in [least, most], and in (above, below) where these are given; never NaN.

    Infinite numbers pass unless the bounds exclude them: below=math.inf asks for one that is finite.
    """
    try:
        number = float(value) if _one_number(value) else math.nan
    except OverflowError:  # an integer beyond 1e308
        number = math.nan
    inside = least <= number <= most and (above is None or number > above) and (below is None or number < below)
    if not inside:
        raise ValueError(f"{name} must be a real number{_bounds(least, most, above, below)}, got {shown(value)}")
    return number


def array(name, value):
    """`value` as a numpy array."""
    try:
        return np.asanyarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # of several shapes; tensors that require grad
        raise ValueError(f"{name} must be a number, an array of one shape, or one tensor: {error}") from None


def shown(value):
    """A value in an error message: what it is, in one short line."""
    shape = getattr(value, "shape", ())  # of a class it is something else
    if isinstance(shape, tuple) and shape:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]} …"


def _one_number(value):
    """Whether it is a real number, and one."""
    if arrays.is_tensor(value):
        return value.ndim == 0 and not (value.is_complex() or value.requires_grad or value.dtype == arrays.torch().bool)
    if (kind := getattr(getattr(value, "dtype", None), "kind", None)) is not None:
        return kind in "iuf" and value.ndim == 0
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _bounds(least, most, above, below):
    """The bounds in words; the widest are not worth any."""
    bounds = {"above": above, "below": below, "at least": least, "at most": most}
    words = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None and math.isfinite(bound)]
    words += ["finite"] * (below == math.inf or above == -math.inf)
    return f", {' and '.join(words)}" if words else ""
