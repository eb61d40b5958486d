"""What a gradient policy does not run, by name."""

from .. import arrays, methods

__all__: list[str] = []


def always(policy, problem):
    """Raise for what no policy runs."""
    name = type(policy).__name__
    if not arrays.is_tensor(problem.x0):
        raise ValueError("backend torch takes tensors; give x0 as a torch.Tensor")
    if arrays.torch()._C._functorch.peek_interpreter_stack() is not None:
        raise ValueError(
            f"gradient is {policy!r}, which does not go through transforms of torch.func; leave gradient out there, or "
            f"use torch.autograd"
        )
    if problem.events or problem.stopped is not None:
        raise ValueError(f"gradient is {name}, which does not run events; leave gradient out")
    if problem.adaptive and problem.system.noise != "none":
        raise ValueError(
            f"gradient is {name}, which does not run steps of adaptive size along noise; give h or grid in place of tol"
        )


def by_reversible(problem):
    _one_step("reversible", problem)
    method, system = problem.method, problem.system
    if system.kind not in ("none", "additive") and method.calculus == "ito":
        raise ValueError(
            f"gradient is reversible, but {method.name} is an Itô method and the noise of {system.name} depends on the "
            f"state: reversed in time its steps belong to another equation, and the pair converges to neither; use a "
            f"Stratonovich method such as heun, or gradient=sdekit.gradients.checkpointed(every)"
        )


def by_adjoint(problem):
    _one_step("adjoint", problem)
    if problem.method.init is not None or problem.method.jacobian:
        raise ValueError(
            f"gradient is adjoint, but {problem.method.name} does not step the adjoint equation; use rk4 or heun"
        )
    if problem.noise is not None and problem.noise.requires_grad:
        raise ValueError("noise requires a gradient, which the adjoint equation does not give; use checkpointed")
    if problem.system.crossing and problem.system.event_dims > 1 and not problem.system.components:
        raise ValueError(
            f"gradient is adjoint, but the noise of {problem.system.name} does not commute on states of "
            f"{problem.system.event_dims} axes; use checkpointed"
        )


def _one_step(name, problem):
    """Raise unless the steps are those of a one-step method on a fixed grid, which reads drift and diffusion alone."""
    method, system = problem.method, problem.system
    cure = "use gradient=sdekit.gradients.checkpointed(every)"
    if problem.adaptive:
        raise ValueError(f"gradient is {name}, which takes fixed steps, but tol asks for adaptive ones; {cure}")
    if callable(getattr(system.process, "denoise", None)) or method.needs:
        raise ValueError(
            f"gradient is {name}, which steps drift and diffusion in both directions of time, but {method.name} on "
            f"{system.name} has no way back: samplers and closed forms go one way; {cure}"
        )
    if method.init is not None and method is not methods.reversible_heun:
        raise ValueError(f"gradient is {name}, but {method.name} remembers earlier steps and has no way back; {cure}")
    if method.normals and not {*method.streams} <= {0, 1}:
        raise ValueError(f"gradient is {name}, but {method.name} draws normals of its own kind; {cure}")
