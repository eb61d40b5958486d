"""What sdekit asks of the objects that it is given: for type checkers and readers, nothing is checked with them.

`Array` is a numpy array or a torch tensor, and `A` one of the two: what goes in is what comes out. Numbers and
nested sequences of numbers count as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from typing_extensions import TypeVar as Defaulting

    from .problem import Outcome, Problem

    A = Defaulting("A", "np.ndarray[Any, Any]", torch.Tensor, default="np.ndarray[Any, Any]")
else:
    A = TypeVar("A")

__all__ = ["Backend", "Executor", "Network", "NoisingProcess", "Process", "Score"]

Array: TypeAlias = "np.ndarray[Any, Any] | torch.Tensor"
Numbers: TypeAlias = "float | np.number[Any] | Sequence[float] | Sequence[Sequence[float]]"
Times: TypeAlias = "Sequence[float] | Array"


class Process(Protocol):
    """An equation dX = f(t, X) dt + g(t, X) dW.

    drift(t, *x)       f; one argument per component, or one for a state that is taken as a whole.
    diffusion(t, *x)   g, of the same form; k rows of m values for general noise. Not asked for without noise.

    Of its other attributes all have defaults: `noise` ("diagonal"; "none", "general"), `calculus` ("ito";
    "stratonovich"), `additive` (False), `event_dims` (0, or 1 with several components), `domain` (all times).
    Closed forms where there are some: `transition(t0, t1, x)`, `stationary()`. For implicit methods `jacobian(t, *x)`,
    k rows of ∂f_i/∂x_j; without it they take differences.
    """

    def drift(self, t: Any, /, *x: Any, **unused: Any) -> Any: ...


class NoisingProcess(Process, Protocol):
    """A process with the marginal x_t = alpha(t)·x_0 + sigma(t)·ε, as `Reverse` and the samplers need it.

    With `rates(t)`, the time derivatives of both, and `diffusion(t, x)`, which depends on t alone, it can be
    reversed; with `time(log_snr)` grids in log(alpha/sigma) are exact rather than found by bisection.
    """

    @property
    def domain(self) -> tuple[float, float]:
        """The first and the last time; data lie at the end where sigma is small."""
        ...

    def marginal(self, t: Any, /) -> tuple[Any, Any]:
        """(alpha, sigma) at time t."""
        ...


class Score(Protocol):
    """What `Reverse` and the samplers need to know about a distribution under a process."""

    @property
    def process(self) -> Any: ...

    @property
    def event_dims(self) -> int | None:
        """How many trailing axes make up one state; None: all axes but the first."""
        ...

    def pair(self, t: Any, x: Any, /) -> tuple[Any, Any]:
        """(D, ε) at time t, both of x's shape; t is a number or one value per path."""
        ...

    def __call__(self, t: Any, x: Any, /) -> Any:
        """∇ log p_t(x), of x's shape."""
        ...


class Network(Protocol):
    """A function or module (t, x), or (t, x, c) under a condition: t (B,), x (B, *event) -> the shape of x."""

    def __call__(self, t: Any, x: Any, /, *c: Any, **unused: Any) -> Any: ...


class Backend(Protocol):
    """What drives the steps: a record with its options, such as `sdekit.backends.numba(threads=2)`."""

    def run(self, problem: Problem, /) -> Outcome:
        """Take all steps of a checked problem."""
        ...


class Executor(Protocol):
    """What runs calls elsewhere: any `concurrent.futures.Executor`, or what has its `submit`."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A future: its `result()` waits for the value of fn(*args, **kwargs), or raises its exception."""
        ...
