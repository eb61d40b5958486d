"""The record of a method: one pure step and what is claimed of it."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, ParamSpec

P = ParamSpec("P")

CLASSES = ("none", "additive", "diagonal", "general")  # kinds of noise, each a special case of the next


class _Called(Generic[P]):
    """Calling a method: a callable for type checkers, a property for Python, which looks for it in the class.

    Of a function or a method of the class an editor would show `*args, **kwargs` in place of the parameters.
    """

    __call__: Callable[P, Method] = property(lambda self: self._variant)  # type: ignore[assignment]


@dataclass(frozen=True, eq=False, repr=False)
class Method(_Called[P]):
    """One step of a solver and its claims, which the order tests and the documentation's table read.

    It has the docstring of its step, or of the family that it belongs to; `P` are the parameters of the family,
    and calling the method gives the member with others. Without any it is passed to `solve` as it is.

    step        pure function (sde, t, t1, x, h, *dw) -> x or `Taken`; with `init` it takes the memory last
                and returns it in the `Taken`. One dw, each with variance |h|, for every entry of `streams`.
    strong      strong order by kind of noise ("additive", "diagonal", "general"); the kinds that are
                missing are not served. None: nobody claims one, all kinds in `noise` are served.
    weak        weak order, or None.
    order       order on ordinary differential equations.
    calculus    "ito" or "stratonovich": the solution that it converges to.
    noise       the kinds that it serves; ("none",) marks an ODE method.
    drifts      drift (or network) evaluations per step.
    jacobian    whether a step takes the Jacobian of the drift: an evaluation more for each component of the state,
                unless the process has a method `jacobian`.
    streams     noise stream of each dw.
    columns     whether a step takes the noises one by one.
    areas       None, or the time in which the coefficients change, by which Lévy areas are made accurate: a step takes
                the m rows A_i /√|h| behind its dw, each like dw, and none where the noise commutes.
    init        function (sde, t, x) -> memory that starts a multistep method, or None.
    evaluates_end   whether a step evaluates the drift at t1.
    reaches_zero    whether a step that reads the pair is regular at sigma(t1) = 0; otherwise it is replaced by D.
    needs       methods of the process, besides drift and diffusion, that a step calls.
    error_order  order of the solution that the step's own is compared with: its `Taken.error` falls as h to the power
                error_order + 1. None: there is no estimate, and steps do not adapt.
    embedded    function (sde, t, t1, x, h, *dw) -> `Taken` of the same x with an estimate of its error, for steps of
                adaptive size with noise, or None.
    first_same_as_last  whether a step takes the slope at (t, x) as its last argument, and has the one at (t1, x') as
                the last of its slopes: an evaluation less, but for the first step.
    interpolate  function (x, taken, h, θ) -> the state at t + θ h, or None: adaptive steps end at output times.
    further     function (sde, t, x, h, taken) -> `Taken` with more slopes, which `interpolate` needs, or None.
    build       what `family` makes the members of; None without parameters.
    arguments   positional and named ones that `build` was called with; None for the default member.
    """

    name: str
    step: Callable
    strong: Mapping[str, float] | None = None
    weak: float | None = None
    order: float | None = None
    calculus: str = "ito"
    noise: tuple[str, ...] = CLASSES
    drifts: int | None = 1
    jacobian: bool = False
    streams: tuple[int, ...] = (0,)
    columns: bool = False
    areas: float | None = None
    init: Callable | None = None
    evaluates_end: bool = False
    reaches_zero: bool = False
    needs: tuple[str, ...] = ()
    error_order: float | None = None
    embedded: Callable | None = None
    first_same_as_last: bool = False
    interpolate: Callable | None = None
    further: Callable | None = None
    build: Callable[P, Method] | None = None
    arguments: tuple[tuple, dict[str, Any]] | None = None

    def __post_init__(self):
        source, text = self.build or self.step, inspect.getdoc(self.build or self.step) or ""
        vars(self).update(
            __module__=source.__module__,
            __name__=self.name,
            __qualname__=self.name,
            __doc__=f"{self.name}{inspect.signature(source)}\n\n{text}" if self.build else text,
            __wrapped__=source,
        )

    @property
    def normals(self) -> int:
        """How many dw a step takes."""
        return len(self.streams)

    def _variant(self, *args, **kwargs):
        """The member of the family with these parameters; `method(…)` is this."""
        if self.build is None:
            raise ValueError(f"method {self.name} has no parameters; pass it to solve as it is")
        signature = inspect.signature(self.build)
        try:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return _member(self.build, *bound.args, **bound.kwargs)
        except TypeError as error:
            raise ValueError(f"method {self.name}{signature}: {error}") from error

    def __repr__(self):
        if self.arguments is None:
            return self.name
        args, kwargs = self.arguments
        return f"{self.name}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kwargs.items())])})"

    def __reduce__(self):
        return _named, (self.__module__, self.name, self.arguments)


def _named(module, name, arguments):
    """The method that a module has under this name, or the member of its family with these arguments."""
    found = getattr(importlib.import_module(module), name)
    return found if arguments is None else found(*arguments[0], **arguments[1])


@functools.lru_cache(maxsize=None, typed=True)
def _member(build, /, *args, **kwargs):
    """One member of a family; equal arguments give the same object."""
    return replace(build(*args, **kwargs), name=build.__name__, build=build, arguments=(args, kwargs))


def method(
    *,
    strong: Mapping[str, float] | None = None,
    weak: float | None = None,
    order: float | None = None,
    calculus: str = "ito",
    noise: str | tuple[str, ...] | None = None,
    drifts: int | None = 1,
    jacobian: bool = False,
    normals: int | None = None,
    streams: tuple[int, ...] | None = None,
    columns: bool = False,
    areas: float | None = None,
    init: Callable | None = None,
    evaluates_end: bool = False,
    reaches_zero: bool = False,
    needs: tuple[str, ...] = (),
    error_order: float | None = None,
    embedded: Callable | None = None,
    first_same_as_last: bool = False,
    interpolate: Callable | None = None,
    further: Callable | None = None,
) -> Callable[[Callable], Method]:
    """Make a `Method` of a step function; see `Method` for the claims.

    noise       defaults to the largest kind that `strong` names and its special cases, else to all.
    normals     number of dw, on the streams 0, 1, …; 0 for noise="none". Or give `streams`.
    """
    claims = dict(locals())  # the parameters, which are fields of the record but for one
    normals = claims.pop("normals")
    claims["noise"] = _served(noise, strong)
    if calculus not in ("ito", "stratonovich"):
        raise ValueError(f'calculus must be "ito" or "stratonovich", got {calculus!r}')
    if streams is None:
        claims["streams"] = tuple(range((0 if claims["noise"] == ("none",) else 1) if normals is None else normals))
    if strong is not None:
        claims["strong"] = MappingProxyType(dict(strong))
    return lambda step: Method(name=step.__name__, step=step, **claims)


def _served(noise, strong):
    """The kinds of noise that a method serves, from what is given."""
    noise = (noise,) if isinstance(noise, str) else noise
    for kind in (*(noise or ()), *(strong or ())):
        if kind not in CLASSES:
            raise ValueError(f"noise and strong name kinds of {CLASSES}, got {kind!r}")
    if noise is None:
        return CLASSES if strong is None else CLASSES[: 1 + max(map(CLASSES.index, strong), default=0)]
    return tuple(noise)


def family(build: Callable[P, Method]) -> Method[P]:
    """The default member of a family of methods; calling it gives the others.

    `build(parameters with defaults)` returns a Method. Equal parameters give the same object.
    """
    return replace(build(), name=build.__name__, build=build, arguments=None)
