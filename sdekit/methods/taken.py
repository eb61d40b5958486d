"""What a step returns where the state at its end is not all."""

from typing import Any, NamedTuple

from .. import reprs

__all__: list[str] = []


class Kept(NamedTuple):
    """A `Taken` in compiled code, where records have no defaults."""

    x: Any
    error: Any
    memory: Any
    slopes: Any

    __repr__ = reprs.line


class Taken(NamedTuple):
    """A step that has been taken.

    x       the state at its end
    error   an estimate of its error, of the shape of x, or a pair (of order 5, of order 3) of them, or None
    memory  what a multistep method remembers
    slopes  drifts along the step, the last one at its end, for methods that use them again
    """

    x: Any
    error: Any = None
    memory: Any = None
    slopes: tuple = ()

    __repr__ = reprs.line

    @staticmethod
    def in_kernels(x, error=None, memory=None, slopes=()):
        """The record that it is in compiled code."""
        return Kept(x, error, memory, slopes)
