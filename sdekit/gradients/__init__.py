"""Gradients: how the torch backend differentiates a solve, `sdekit.backends.torch(gradient=…)`.

Without a policy tensors record every step, and memory grows with their number. These records trade that for time. They
give gradients with respect to x0, explicit noise, and whatever tensors the process uses: parameters of modules, fields
of records, what functions have captured. Normals are made again from their counters.

    policy         gradient of                      memory                  runs
    checkpointed   the steps as they were taken     states, every so many   all but events
    reversible     a coupled, reversible map        one pair of states      Stratonovich methods, additive or no noise
    adjoint        the solution, to the step's order  one state at each output time   fixed steps
"""

from dataclasses import dataclass

from ..checks import integer, named, real
from . import refused

__all__ = ["adjoint", "checkpointed", "reversible"]


@named
@dataclass(frozen=True)
class checkpointed:
    """The gradient of the steps as they were taken, with a state kept every so many steps, and the rest made again.

    every  steps between two states that are kept. Memory is least at the root of the number of steps: n/every states,
           and the history of `every` steps. The backward pass takes each step once more.

    Of adaptive runs without noise the accepted steps are recorded, and taken again on the grid that they make: the
    gradient is that of the solution on this grid. Second derivatives on fixed steps. Not for events.
    Source: A. Griewank, A. Walther, "Evaluating Derivatives", 2008, sec. 12.
    """

    every: int

    def __post_init__(self):
        vars(self).update(every=integer("every", self.every, least=1))

    def run(self, problem):
        from . import pieces, replayed

        refused.always(self, problem)
        return (replayed if problem.adaptive else pieces).run(problem, self.every)


@named
@dataclass(frozen=True)
class reversible:
    """Memory for one pair of states: the backward pass reconstructs each step from the one behind it.

        y' = λ y + (1 − λ) z + Φ(t, t1, z),   z' = z − Φ(t1, t, y')

    where Φ(t, t1, x) is the increment of the method from x, and y = z = x0 at the start; y is the result. The gradient
    is that of this map, but for rounding. It keeps the order of the method, takes two of its steps in each step, and
    two more backwards. `reversible_heun`, which is reversible as it is, needs no pair and half as much.

    coupling  λ, in (0, 1]. What rounding has done is multiplied by 1/λ in each step that is reconstructed.
    every     keep a state every so many steps, besides those at output times, and begin anew there.

    Stratonovich methods, additive noise and equations without noise, on fixed steps: reversed in time, the step of an
    Itô method does not see the equation's own noise, and the map converges to another equation. Contracting equations
    expand in the backward pass: it raises where the state that it comes to is not the one that it began with, to 1e-6
    of the largest entry (1e-3 in float32). A path that fails has no gradient. No second derivatives.
    Source: S. McCallum, J. Foster, "Efficient, accurate and stable gradients for neural ODEs", 2024, arXiv:2410.11648;
    the increments reversed in time along the noise.
    """

    coupling: float = 0.999
    every: int | None = None

    def __post_init__(self):
        every = None if self.every is None else integer("every", self.every, least=1)
        vars(self).update(coupling=real("coupling", self.coupling, above=0, most=1), every=every)

    def run(self, problem):
        from . import coupled

        refused.always(self, problem)
        refused.by_reversible(problem)
        return coupled.run(problem, self)


@named
@dataclass(frozen=True)
class adjoint:
    """The continuous adjoint: a = ∂L/∂x and the gradient g of the parameters θ as solutions backwards in time of

        da = −(∂f/∂x)ᵀ a dt − (∂(G∘dW)/∂x)ᵀ a,   dg = −(∂f/∂θ)ᵀ a dt − (∂(G∘dW)/∂θ)ᵀ a

    beside x itself, along the same steps and noise: by the method itself without noise, else by `heun`. An Itô equation
    is integrated in its Stratonovich form, f − ½ Σ_j (∂g_j/∂x) g_j, the correction by automatic differentiation. The
    state begins anew at each output time, and memory holds these states alone. The gradient differs from that of
    the steps by their error; it is none of explicit noise. Fixed steps. No second derivatives.
    Source: X. Li, T.-K. L. Wong, R. T. Q. Chen, D. Duvenaud, "Scalable gradients for stochastic differential
    equations", 2020, arXiv:2001.01328.
    """

    def run(self, problem):
        from . import continuous

        refused.always(self, problem)
        refused.by_adjoint(problem)
        return continuous.run(problem)
