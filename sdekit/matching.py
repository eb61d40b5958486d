"""Which method and which backend serve a process: the defaults, and why some do not go together."""

import difflib
import math

import numpy as np

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
    if said.h is not None and "pair" in chosen.needs and hasattr(system.process, "pair"):
        raise ValueError(
            f"h is {said.h}, but {chosen.name} is a sampler, whose steps are no equal ones of time: give "
            f"grid=sdekit.grids.log_snr(process, n), or sdekit.grids.uniform(process, n) where equal ones are meant"
        )
    return chosen, said


ENOUGH = 64  # entries of x0 from which its size says something


def begins(system, method, state, t):
    """Raise where x0 is plainly no state of a sampler's first time, as where it was drawn for another one.

    Normals of unit size lack their sigma, since states of alpha x_0 + sigma ε are no smaller; and data of half the size
    of the process's own end, or larger, would drown in no noise that it has.
    """
    x, process = state.x, system.process
    sampling = "pair" in method.needs and len(t) > 1 and t[1] < t[0] and not state.step
    if not sampling or math.prod(x.shape) < ENOUGH or not arrays.at_hand(x) or bool((x[0] == x[-1]).all()):
        return
    if not process.domain[1] < math.inf:
        return
    (alpha, sigma), (a, s) = (process.marginal(float(time)) for time in (t[0], process.domain[1]))
    if not all(isinstance(value, float) for value in (alpha, sigma, a, s)):
        return
    size = math.sqrt(float((arrays.detached(x) ** 2.0).mean()))
    chance = sigma**2 * (1.0 + 6.0 * math.sqrt(2.0 / math.prod(x.shape)))  # six standard errors of pure noise
    data = math.sqrt(max(size**2 - chance, 0.0))
    if 0.5 < size < 0.25 * sigma or data * a > 0.5 * s * alpha:
        raise ValueError(
            f"x0 has a root mean square of {size:.3g}, but at t = {t[0]:g}, where the grid begins, states of "
            f"{type(getattr(process, 'process', process)).__name__} have noise of {sigma:.3g}: draw them by "
            f"start(shape, t=grid)"
        )


def compatible(system, method, t):
    """Raise where process, method and times do not go together; `serves` is asked before."""
    name, kind = system.name, system.kind
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


def serves(system, method, tolerance, x0):
    """Raise where the method does not serve the process, or takes no steps of this tolerance."""
    _serves(system, method)
    if tolerance is not None:
        _adapts(tolerance, system, method)
        _resolved(tolerance, x0)


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
    if method.columns and system.crossing and (system.correlation is not None or system.components is None):
        why = "has correlated noises" if system.components else "has one state argument for all entries"
        raise ValueError(
            f"method {method.name} takes noises that do not commute one by one, but {name} {why}, and "
            f"{system.crossing}; write its noise as general"
        )
    if kind in method.noise or (kind == "none" and method.noise != ("none",)):
        return
    if system.crossing and "diagonal" in method.noise:
        if "transition" in method.needs:
            return
        raise ValueError(
            f"method {method.name} has its order only where component i of a diagonal diffusion depends on x_i and t "
            f"alone, but of {name}, {system.crossing}; use milstein_general, euler_maruyama or heun, or declare "
            f"commutative = True where that component has no noise of its own"
        )
    raise ValueError(
        f"method {method.name} serves processes whose noise is {' or '.join(method.noise)}, but that of {name} is "
        + kind
        + ("; for the ODE of a Reverse use eta=0" if method.noise == ("none",) else "")
    )


def _adapts(tol, system, method):
    """Raise where steps of adaptive size cannot be taken."""
    if "transition" in method.needs:
        raise ValueError(
            f"tol is {tol}, but {method.name} is exact in law for steps of any size and has no error to estimate; "
            f"leave tol out"
        )
    if system.noise != "none":
        order = (method.strong or {}).get(system.kind, 0.0)
        why = f", since {system.crossing}" if system.crossing else ""
        if order < 1:
            raise ValueError(
                f"tol is {tol}, but {method.name} has strong order {order:g} for the {system.kind} noise of "
                f"{system.name}{why}: below 1 steps of adaptive size need not converge; give h or grid instead, or use "
                f"sra1 for additive noise, milstein or sri1w1 for diagonal noise, heun for the Stratonovich sense"
            )
        if method.embedded is None:
            raise ValueError(
                f"tol is {tol}, but a step of {method.name} has no estimate of its error; use sra1 for additive noise, "
                f"milstein or sri1w1 for diagonal noise, heun for the Stratonovich sense, or give h or grid instead"
            )
    elif method.error_order is None or method.init is not None or method.embedded is not None:
        raise ValueError(
            f"tol is {tol}, but a step of {method.name} has no estimate of its error for equations without noise; use "
            f"sdekit.tsit5, dopri5, bosh3, dop853, or rodas5p for stiff ones, or give h or grid instead"
        )


def _resolved(tol, x0):
    """Raise where the type of x0 rounds it by more than the error that is allowed."""
    eps = float((arrays.torch() if arrays.is_tensor(x0) else np).finfo(x0.dtype).eps)
    if tol.rtol >= eps or 0 in x0.shape or not arrays.concrete(x0):
        return
    size = float(abs(x0).max())
    if tol.atol + tol.rtol * size < eps * size:
        raise ValueError(
            f"tol is {tol}, but {x0.dtype} rounds an x0 of size {size:.3g} by {eps * size:.2g}; use a tol of {eps:.2g} "
            f"at least{', or x0 of float64' if eps > 1e-9 else ''}"
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
