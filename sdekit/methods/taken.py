"""What a step returns where the state at its end is not all."""

from typing import Any, NamedTuple

__all__: list[str] = []


class Taken(NamedTuple):
    """A step that has been taken.

    x       the state at its end
    error   an estimate of its error, of the shape of x, or None
    memory  what a multistep method remembers
    slopes  drifts along the step, the last one at its end, for methods that use them again
    """

    x: Any
    error: Any = None
    memory: Any = None
    slopes: tuple = ()

    @staticmethod
    def in_kernels(x, error=None, memory=None, slopes=()):
        """What is left of it in compiled code: fixed steps without a memory need the state alone."""
        return x
