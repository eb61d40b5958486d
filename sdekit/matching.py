"""Which method and which backend serve a process: the defaults, and why some do not go together."""

import difflib
import math

from . import arrays, backends, methods
from .control import Tolerance
from .events import Barrier
from .methods import Method, euler_maruyama, heun, tsit5
from .system import declared, state_arguments

__all__: list[str] = []


def method(chosen, system, said):
    """(the method, how to step): by default the method of the calculus, and for equations without noise tsit5.

    That one takes steps of adaptive size where nothing else is said.
    """
    if chosen is None:
        if system.noise == "none":
            silent = said.h is None and said.grid is None and said.tolerance is None
            return tsit5, said._replace(tolerance=Tolerance()) if silent else said
        return heun if getattr(system.process, "calculus", "ito") == "stratonovich" else euler_maruyama, said
    if not isinstance(chosen, Method):
        near = difflib.get_close_matches(chosen.lower(), methods.__all__, 3, 0.5) if isinstance(chosen, str) else ()
        hint = f"; did you mean {' or '.join(f'sdekit.{name}' for name in near)}?" if near else ""
        raise ValueError(f"method must be a Method such as sdekit.euler_maruyama, got {chosen!r}{hint}")
    return chosen, said


def compatible(system, method, t):
    """Raise where process, method and times do not go together."""
    name, kind = system.name, system.kind
    _serves(system, method)
    calculus = declared(system.process, "calculus", "ito", ("ito", "stratonovich"))
    of_one_law = kind in ("none", "additive") or "transition" in method.needs  # both calculi agree
    if calculus != method.calculus and not of_one_law:
        raise ValueError(
            f"method {method.name} converges to the {method.calculus} solution, but {name} is meant in the "
            f"{calculus} sense; use a method of that calculus, or rewrite the drift"
        )
    falls = len(t) > 1 and t[1] < t[0]
    if falls and kind not in ("none", "additive"):
        raise ValueError(
            f"ts decrease, but the noise of {name} depends on the state; times may decrease for ODEs and additive noise"
        )
    noisy = method.normals if "pair" in method.needs else kind != "none"
    if len(t) > 1 and not falls and noisy and callable(getattr(system.process, "denoise", None)):
        raise ValueError(f"ts increase from {t[0]} to {t[-1]}, but {name} with noise runs from noise to data: decrease")
    low, high = getattr(system.process, "domain", (-math.inf, math.inf))
    low, high = float(getattr(low, "max", lambda: low)()), float(getattr(high, "min", lambda: high)())
    for time in (t[0], t[-1]):
        if not low <= time <= high:
            raise ValueError(f"ts: time {time} is outside the domain [{low}, {high}] of {name}")
    _draws_transitions(system, method, t)


def events(found, system, said, stopped):
    """Raise where an event and the process or its steps do not go together."""
    if (found or stopped is not None) and said.tolerance is not None and system.noise != "none":
        raise ValueError(
            f"events stop the paths of {system.name}, which steps of adaptive size along noise do not heed; give h or "
            f"grid in place of tol"
        )
    for event in found:
        if isinstance(event, Barrier):
            if system.noise == "none":
                raise ValueError(f"events have a Barrier, but {system.name} has no noise; use sdekit.Event(f)")
            if system.components is None and system.event_dims:
                raise ValueError(
                    f"events have a Barrier, but a state of {system.name} is an array of {system.event_dims} axes, "
                    f"whose components have no barriers; use sdekit.Event(f)"
                )
            if event.component >= (system.components or 1):
                raise ValueError(
                    f"component of a Barrier is {event.component}, but {system.name} has {system.components or 1}"
                )
        elif state_arguments(event.f, "f of an Event") not in (None, system.components or 1):
            raise ValueError(f"f of an Event must take (t, *x) as the drift of {system.name} does")
        elif said.tolerance is not None and said.tolerance.batch:
            raise ValueError("events stop paths one by one, which Tolerance(batch=True) does not; leave batch out")


def _serves(system, method):
    """Raise where the process lacks what the method calls, or the method does not serve its kind of noise."""
    name, kind = system.name, system.kind
    for need in method.needs:
        if not callable(getattr(system.process, need, None)):
            why = ": there is no closed form" if need == "transition" else ""
            raise ValueError(
                f"method {method.name} needs a process with a method {need}, which {name} does not have{why}"
            )
    if method.jacobian and system.components is None and system.event_dims:
        raise ValueError(
            f"method {method.name} needs the components of a state one by one, for the Jacobian of its drift, but "
            f"{name} takes states of {system.event_dims} axes whole; write drift(t, *x)"
        )
    if kind in method.noise or (kind == "none" and method.noise != ("none",)):
        return
    if system.crossing and "diagonal" in method.noise:
        if "transition" in method.needs:
            return
        raise ValueError(
            f"method {method.name} has its order only where component i of a diagonal diffusion depends on x_i and t "
            f"alone, but of {name}, {system.crossing}; use euler_maruyama or heun, or declare commutative = True where "
            f"that component has no noise of its own"
        )
    raise ValueError(
        f"method {method.name} serves processes whose noise is {' or '.join(method.noise)}, but that of {name} is "
        + kind
        + ("; for the ODE of a Reverse use eta=0" if method.noise == ("none",) else "")
    )


def _draws_transitions(system, method, t):
    process, name = system.process, system.name
    if "transition" in method.needs:
        if system.correlation is not None:
            raise ValueError(f"method {method.name} draws each component alone, but {name} has a correlation")
        if len(t) > 1 and not hasattr(process.transition(*t[:2].tolist(), 1.0), "sample"):
            raise ValueError(
                f"method {method.name} draws a transition from one normal, which the law of {name} does not allow"
            )


def backend(chosen, system, method, x0, batch=False):
    """The backend that was asked for, or that of the type of x0; `batch`: one step size for all paths."""
    on_host = "transition" in method.needs and getattr(system.process, "host_transition", False)
    if chosen is None:
        if arrays.is_tensor(x0):
            return backends.torch()
        # a score, or one argument that couples whole axes, is code for arrays
        score = getattr(system.process, "score", None)
        for_arrays = hasattr(score, "pair") or (system.components is None and system.event_dims)
        for_arrays = for_arrays or on_host or method.init is not None or batch
        return backends.numpy() if for_arrays else backends.numba()
    if isinstance(chosen, type) or not callable(getattr(chosen, "run", None)):
        raise ValueError(f"backend must be a record such as sdekit.backends.numba(), got {chosen!r}")
    if batch and isinstance(chosen, backends.numba):
        raise ValueError("tol has batch=True, but on numba each path has its own steps; leave backend or batch out")
    if on_host and isinstance(chosen, backends.numba):
        raise ValueError(
            f"backend numba does not run {method.name} on {system.name}, whose transition is not compiled; leave "
            f"backend out, or use sdekit.backends.numpy()"
        )
    return chosen
