"""Embedded Runge–Kutta pairs for ordinary differential equations x' = f(t, x): one step reads all tableaus."""

from .method import Method, method
from .tableaus import BOSH3, DOP853, DOPRI5, TSIT5, Row, Tableau
from .taken import Taken

__all__ = ["bosh3", "dop853", "dopri5", "tsit5"]


def pair(name: str, order: int, lower: int, tableau: Tableau, doc: str) -> Method:
    """The method of a `Tableau`: its step, its estimate of the error and its dense output.

    The formula is written out, slope by slope, as compiled code and `torch.compile` want it: zeros cost nothing.
    """
    stages = len(tableau.b)
    lines = [
        _slope(i, time(c), f"x + ({weighted(row)}) * h")
        for i, (c, row) in enumerate(zip(tableau.c, tableau.a, strict=True), 1)
    ]
    slopes = ", ".join(f"k{i}" for i in range(stages + 1))
    errors = [f"({weighted(row)}) * h" for row in tableau.errors]
    lines += [
        f"y = x + ({weighted(tableau.b)}) * h",
        _slope(stages, "t1", "y"),
        f"return Taken(y, {errors[0] if len(errors) == 1 else '(' + ', '.join(errors) + ')'}, None, ({slopes}))",
    ]
    step = written(name, "sde, t, t1, x, h, k0", lines, doc, Taken=Taken)
    made = method(
        noise="none",
        order=order,
        drifts=stages,
        evaluates_end=True,
        first_same_as_last=True,
        error_order=lower,
        interpolate=interpolation(tableau),
        further=further(tableau) if tableau.further else None,
    )
    return made(step)


def interpolation(tableau: Tableau):
    """The dense output of a pair: a function (x, taken, h, θ) -> the state at t + θ h.

        x + θ [Δ + η [h k_0 − Δ + θ [2 Δ − h (k_0 + k_s) + η r]]],   Δ = x' − x,  η = 1 − θ,
        r = r_0 + θ [r_1 + η [r_2 + θ r_3]],   r_j = h Σ_i d_ji k_i

    The cubic of Hermite through both ends, and what the rows d of the tableau add to it within.
    Source: E. Hairer, S. P. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 1993, sec. II.6.
    """
    stages, more = len(tableau.b), len(tableau.further)
    inner = ""
    for j, row in reversed(list(enumerate(tableau.dense))):
        part = f"({weighted(row)}) * h"
        inner = f"({part} + {'theta' if j % 2 == 0 else 'eta'} * {inner})" if inner else f"({part})"
    lines = [
        f"{_order(stages, more)} = taken.slopes",
        "eta = 1.0 - theta",
        "rise, start, end = taken.x - x, k0 * h, " + f"k{stages} * h",
        f"bend = 2.0 * rise - start - end{' + eta * ' + inner if inner else ''}",
        "return x + theta * (rise + eta * (start - rise + theta * bend))",
    ]
    return written("interpolate", "x, taken, h, theta", lines, "The dense output of a step.")


def further(tableau: Tableau):
    """A function (sde, t, x, h, taken) -> `Taken` with the slopes that the dense output needs besides."""
    stages, more = len(tableau.b), len(tableau.further)
    lines = [f"{_order(stages, 0)} = taken.slopes"]
    for i, (c, row) in enumerate(tableau.further, stages + 1):
        lines.append(_slope(i, time(c), f"x + ({weighted(row)}) * h"))
    lines.append(f"return Taken(taken.x, taken.error, None, ({_order(stages, more)}))")
    return written("further", "sde, t, x, h, taken", lines, "Slopes that the dense output needs besides.", Taken=Taken)


def _order(stages, more):
    """The slopes as a `Taken` holds them: that at the end of the step comes last."""
    return ", ".join(f"k{i}" for i in (*range(stages), *range(stages + 1, stages + 1 + more), stages))


def time(c: float) -> str:
    """The time of a slope, as code."""
    return "t1" if c == 1 else f"t + {c!r} * h"


def _slope(i: int, time: str, state: str) -> str:
    return f"k{i} = sde.drift({time}, {state})"


def weighted(row: Row, name: str = "k") -> str:
    """Σ w_i k_i over the weights of a row that are not 0, as code."""
    terms = [(f"{name}{i}", float(weight)) for i, weight in enumerate(row) if weight]
    return " + ".join(slope if weight == 1 else f"{slope} * {weight!r}" for slope, weight in terms)


def written(name, parameters, lines, doc, module=__name__, **names):
    """The function of this text; it sees `names`, which its module has too, where `torch.compile` looks for them."""
    names |= {"__name__": module}
    exec("\n    ".join([f"def {name}({parameters}):", *lines]), names)
    names[name].__doc__ = doc
    return names[name]


bosh3 = pair("bosh3", 3, 2, BOSH3, """Bogacki and Shampine's pair of orders 3 and 2, with the cubic of Hermite between.

The cheapest step: for loose tolerances, 1e-2 … 1e-4.
Order: 3. Cost: 3 drifts; the slope at the end of a step is the first one of the next.
Source: P. Bogacki, L. F. Shampine, "A 3(2) pair of Runge–Kutta formulas", 1989,
doi:10.1016/0893-9659(89)90079-7.
""")  # fmt: skip

dopri5 = pair("dopri5", 5, 4, DOPRI5, """Dormand and Prince's pair of orders 5 and 4, with dense output of order 4.

Order: 5. Cost: 6 drifts; the slope at the end of a step is the first one of the next.
Source: J. R. Dormand, P. J. Prince, "A family of embedded Runge–Kutta formulae", 1980,
doi:10.1016/0771-050X(80)90013-3; L. F. Shampine, "Some practical Runge–Kutta formulas", 1986, doi:10.2307/2008219.
""")  # fmt: skip

tsit5 = pair("tsit5", 5, 4, TSIT5, """Tsitouras's pair of orders 5 and 4, with dense output of order 4.

The default for equations without noise: smaller errors than `dopri5` at the same cost.
Order: 5. Cost: 6 drifts; the slope at the end of a step is the first one of the next.
Source: C. Tsitouras, "Runge–Kutta pairs of order 5(4) satisfying only the first column simplifying assumption", 2011,
doi:10.1016/j.camwa.2011.06.002.
""")  # fmt: skip

dop853 = pair("dop853", 8, 7, DOP853, """Hairer's method of order 8, with errors of 5 and 3 and dense output of 7.

For tight tolerances, 1e-8 and below. Steps that hold an output take 3 more drifts.
Order: 8. Cost: 12 drifts; the slope at the end of a step is the first one of the next.
Source: E. Hairer, S. P. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 1993, sec. II.5 and II.6.
""")  # fmt: skip
