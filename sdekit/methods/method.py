"""The record of a method: one pure step and what is claimed of it."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

CLASSES = ("none", "additive", "diagonal", "general")  # kinds of noise, each a special case of the next


@dataclass(frozen=True, eq=False, repr=False)
class Method:
    """One step of a solver and its claims, which the order tests and the documentation's table read.

    step        pure function (sde, t, t1, x, h, *dw) -> x; with `init` it takes the memory last and
                returns (x, memory). One dw, each with variance |h|, for every entry of `streams`.
    strong      strong order by kind of noise ("additive", "diagonal", "general"); the kinds that are
                missing are not served. None: nobody claims one, all kinds in `noise` are served.
    weak        weak order, or None.
    order       order on ordinary differential equations.
    calculus    "ito" or "stratonovich": the solution that it converges to.
    noise       the kinds that it serves; ("none",) marks an ODE method.
    drifts      drift (or network) evaluations per step.
    streams     noise stream of each dw.
    init        function (sde, t, x) -> memory that starts a multistep method, or None.
    evaluates_end   whether a step evaluates the drift at t1.
    reaches_zero    whether a step that reads the pair is regular at sigma(t1) = 0; otherwise it is replaced by D.
    needs       methods of the process, besides drift and diffusion, that a step calls.
    """

    name: str
    step: Callable
    strong: Mapping[str, float] | None = None
    weak: float | None = None
    order: float | None = None
    calculus: str = "ito"
    noise: tuple[str, ...] = CLASSES
    drifts: int | None = 1
    streams: tuple[int, ...] = (0,)
    init: Callable | None = None
    evaluates_end: bool = False
    reaches_zero: bool = False
    needs: tuple[str, ...] = ()
    made_by: tuple | None = None  # (module, name, args) of a member of a family

    @property
    def normals(self) -> int:
        """How many dw a step takes."""
        return len(self.streams)

    def __call__(self, *args, **kwargs) -> "Method":
        """A variant with other parameters, for methods that have some."""
        family = _families.get((self.step.__module__, self.name))
        if family is None:
            raise ValueError(f"method {self.name} has no parameters; pass it to solve as it is")
        return family(*args, **kwargs)

    def __repr__(self):
        return self.name if self.made_by is None else f"{self.name}({', '.join(map(repr, self.made_by[2]))})"

    def __reduce__(self):
        if self.made_by is None:
            return _named, (self.step.__module__, self.name)
        return _member, self.made_by


_families: dict[tuple[str, str], Callable] = {}


def _named(module, name):
    return getattr(importlib.import_module(module), name)


def _member(module, name, args):
    return _families[module, name](*args)


def method(
    *,
    strong: Mapping[str, float] | None = None,
    weak: float | None = None,
    order: float | None = None,
    calculus: str = "ito",
    noise: str | tuple[str, ...] | None = None,
    drifts: int | None = 1,
    normals: int | None = None,
    streams: tuple[int, ...] | None = None,
    init: Callable | None = None,
    evaluates_end: bool = False,
    reaches_zero: bool = False,
    needs: tuple[str, ...] = (),
) -> Callable[[Callable], Method]:
    """Make a `Method` of a step function; see `Method` for the claims.

    noise       defaults to the largest kind that `strong` names and its special cases, else to all.
    normals     number of dw, on the streams 0, 1, …; 0 for noise="none". Or give `streams`.
    """
    noise = (noise,) if isinstance(noise, str) else noise
    for kind in (*(noise or ()), *(strong or ())):
        if kind not in CLASSES:
            raise ValueError(f"noise and strong name kinds of {CLASSES}, got {kind!r}")
    if noise is None:
        noise = CLASSES if strong is None else CLASSES[: 1 + max(map(CLASSES.index, strong), default=0)]
    if calculus not in ("ito", "stratonovich"):
        raise ValueError(f'calculus must be "ito" or "stratonovich", got {calculus!r}')
    if streams is None:
        streams = tuple(range((0 if noise == ("none",) else 1) if normals is None else normals))

    def record(step):
        return Method(
            name=step.__name__,
            step=step,
            strong=None if strong is None else MappingProxyType(dict(strong)),
            weak=weak,
            order=order,
            calculus=calculus,
            noise=tuple(noise),
            drifts=drifts,
            streams=streams,
            init=init,
            evaluates_end=evaluates_end,
            reaches_zero=reaches_zero,
            needs=needs,
        )

    return record


def family(build: Callable[..., Method]) -> Method:
    """The default member of a family of methods; calling it gives the others.

    `build(parameters with defaults)` returns a Method. Equal parameters give the same object.
    """
    key = build.__module__, build.__name__

    @functools.cache
    def make(*args):
        made = build(*args)
        return replace(made, name=build.__name__, made_by=(*key, args) if args else None)

    signature = inspect.signature(build)

    def call(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return make(*bound.args)

    _families[key] = call
    return make()
