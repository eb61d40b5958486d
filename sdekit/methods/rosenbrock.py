"""Rosenbrock methods for stiff equations x' = f(t, x): implicit steps that solve linear systems alone."""

from itertools import zip_longest

from ..jacobian import divided, implicit, rate
from .method import Method, method
from .pairs import time, weighted, written
from .tableaus import RODAS5P, Rosenbrock
from .taken import Taken

__all__ = ["rodas5p"]


def rosenbrock(name: str, order: int, lower: int, tableau: Rosenbrock, doc: str) -> Method:
    """The method of a `Rosenbrock` tableau.

    Its stages are written out, multiplied by γ h, so that a step of length 0 stays where it is.
    """
    lines = [f"g = {tableau.gamma!r} * h", "r = rate(sde, t, x, h, k0)", "w = implicit(sde.jacobian(t, x, k0), g)"]
    for i, (c, row, others, d) in enumerate(_stages(tableau)):
        if i:
            lines.append(f"y = y + u{i - 1}" if row is None else f"y = x + ({weighted(row, 'u')})")
        force = "k0" if i == 0 else f"sde.drift({time(1 if c is None else c)}, y)"
        force = f"({force}{f' + r * {d!r}' if d else ''}) * g"
        rest = f" + ({weighted(tuple(tableau.gamma * other for other in others), 'u')})" if others else ""
        lines.append(f"u{i} = divided({force}{rest}, w)")
    lines += [f"y = y + u{i}", *(f"b{j} = {weighted(row, 'u')}" for j, row in enumerate(tableau.dense))]
    slopes = "".join(f"b{j}, " for j in range(len(tableau.dense)))
    lines.append(f"return Taken(y, u{i}, None, ({slopes}sde.drift(t1, y)))")
    names = {"Taken": Taken, "divided": divided, "implicit": implicit, "rate": rate}
    step = written(name, "sde, t, t1, x, h, k0", lines, doc, __name__, **names)
    made = method(
        noise="none",
        order=order,
        drifts=i + 2,
        jacobian=True,
        evaluates_end=True,
        first_same_as_last=True,
        error_order=lower,
        interpolate=interpolation(len(tableau.dense)),
    )
    return made(step)


def _stages(tableau):
    """(c_i, row of a or None where it is the last one's with a 1 more, row of C, d_i) of each stage."""
    return zip_longest((0.0, *tableau.c), ((), *tableau.a), ((), *tableau.C), tableau.d)


def interpolation(rows: int):
    """The dense output: a function (x, taken, h, θ) -> the state at t + θ h, with b_0, b_1, … first of the slopes.

    (1 − θ) x + θ [x' + (1 − θ) [b_0 + θ [b_1 + θ b_2]]],   b_j = Σ_i dense_ji u_i
    """
    inner = ""
    for j in reversed(range(rows)):
        inner = f"(b{j} + theta * {inner})" if inner else f"b{j}"
    lines = [
        f"{', '.join(f'b{j}' for j in range(rows))}, slope = taken.slopes",
        f"return x + theta * (taken.x - x + (1.0 - theta) * {inner})",
    ]
    return written("interpolate", "x, taken, h, theta", lines, "The dense output of a step.", __name__)


rodas5p = rosenbrock("rodas5p", 5, 4, RODAS5P, """Steinebach's pair of orders 5 and 4, with dense output of order 4.

For stiff equations, 1e-3 … 1e-8: L-stable, and of its order on problems where others lose some. The Jacobian is that
of a method `jacobian(t, *x)` of the process, rows of ∂f_i/∂x_j, or made of forward differences.
Order: 5. Cost: 9 drifts, and one for each component where the Jacobian is not given; the slope at the end of a step is
the first one of the next.
Source: G. Steinebach, "Construction of Rosenbrock–Wanner method Rodas5P and numerical benchmarks within the Julia
Differential Equations package", 2023, doi:10.1007/s10543-023-00967-x.
""")  # fmt: skip
