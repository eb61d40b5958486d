"""What compiled steps do not run, by name, and what the compiler says in a person's words."""

import contextlib

import torch

from .. import arrays
from ..records import parameters
from ..scores import parameter

__all__: list[str] = []

COMPILERS = "a C++ compiler on the CPU (Debian: apt install g++; macOS: xcode-select --install), Triton on a GPU"


def by_compile(problem):
    """Raise for what `torch(compile=True)` does not run."""
    why = reason(problem)
    if why:
        raise ValueError(f"backend is torch(compile=True), {why}; leave compile out")


def reason(problem):
    """Why a problem is not compiled, in words; None where it is."""
    if not arrays.is_tensor(problem.x0):
        return "which takes tensors; give x0 as a torch.Tensor"
    if problem.adaptive:
        return "which takes fixed steps, but tol asks for adaptive ones; give h or grid in place of tol"
    if problem.events or problem.stopped is not None:
        return "which does not run events"
    if not arrays.concrete(problem.x0):
        return "which does not go through transforms of torch.func and torch.export"
    if torch.is_grad_enabled() and _wants_gradient(problem):
        return "which gives no gradients; detach x0 and the parameters, or use torch.no_grad()"
    return by_method(problem.method, problem.system)


def by_method(method, system):
    """Why the steps of a method are not compiled for a bound process; None where they are."""
    if records(method, system):
        return f"but {system.name} has one schedule per path (an array parameter)" if _sweeps(system.process) else None
    if method.init is not None:
        return f"but {method.name} remembers earlier steps"
    if "transition" in method.needs and _on_host(system):
        return f"but the transition of {system.name} is computed on the host"
    return None


def records(method, system):
    """Whether steps run on the host up to the evaluations of the score: their coefficients are computed there."""
    return "pair" in method.needs or ("transition" in method.needs and system.additive and _on_host(system))


def _on_host(system):
    return getattr(system.process, "host_transition", False)


def _sweeps(process):
    """Whether a parameter of the process, or of that of its score, has axes."""
    found = *parameters(process), *parameters(getattr(getattr(process, "score", None), "process", None))
    return any(getattr(value, "ndim", 0) for _, _, value in found)


def _wants_gradient(problem):
    process = problem.system.process
    tensors = [problem.x0, *(value for _, _, value in parameters(process)), parameter(process)]
    return any(getattr(t, "requires_grad", False) for t in tensors)


@contextlib.contextmanager
def explained(problem):
    """Errors of the compiler as a ValueError that says what to do."""
    try:
        yield
    except Exception as error:
        text = _text(error, problem)
        if text is None:
            raise
        raise ValueError(text) from error


def _text(error, problem):
    kinds = {type(e).__name__ for e in _chain(error)}
    name, method = problem.system.name, problem.method.name
    if kinds & {"InvalidCxxCompiler", "TritonMissing"}:
        return (
            f"backend is torch(compile=True), which needs {COMPILERS}, and found none; install it, or leave compile out"
        )
    if "FailOnRecompileLimitHit" in kinds:
        return (
            f"{method} on {name} was compiled again and again, since what its functions capture changes from solve to "
            f"solve; make it a field of the process, or leave compile out"
        )
    if isinstance(error, torch._dynamo.exc.TorchDynamoException):
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        return (
            f"{method} on {name} does not compile into one graph: {first}; use operations of torch and functions of "
            f"sdekit.math (where for if, sqrt for math.sqrt) on times, states and parameters, or leave compile out"
        )
    return None


def _chain(error):
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = getattr(error, "inner_exception", None) or error.__cause__
    return seen
