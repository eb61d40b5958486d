"""Records on one line: names, and shapes, never the numbers of an array or the layers of a network."""

import inspect

from . import arrays, checks
from .records import values


def line(record):
    """The name of a NamedTuple or dataclass with its fields, but those that are None. Use: `__repr__ = reprs.line`."""
    fields = [f"{name}={brief(value)}" for name, value in values(record).items() if value is not None]
    return f"{type(record).__name__}({', '.join(fields)})"


def brief(value):
    """A value in it: arrays and tensors by type and shape, functions and networks by name."""
    if arrays.is_number(value):
        return repr(value.item())
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if inspect.isroutine(value):
        return value.__name__.lstrip("_")
    if type(value).__repr__ is line:
        return line(value)
    return type(value).__name__ if callable(getattr(value, "parameters", None)) else checks.shown(value)
