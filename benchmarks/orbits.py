"""Figures of steps of adaptive size: along Arenstorf's orbit, and error against evaluations beside scipy.

python -m benchmarks.orbits        writes docs/figures/arenstorf.png and docs/figures/work-precision.png
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

import sdekit as sk
from benchmarks.adaptive import ORBIT, PAIRS, Arenstorf
from sdekit.drawing import figure

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
ONE = sk.backends.numpy()


class Watched(NamedTuple):
    """An equation that writes down when it is evaluated."""

    process: Any
    note: Any  # called with the time
    noise = "none"

    def drift(self, t, *x):
        self.note(float(t))
        return self.process.drift(t, *x)


def ends(times, drifts):
    """The ends of the steps that counted: those that no later step ends before. `times` are those of evaluations."""
    tried = np.array(times[2 + drifts - 1 :: drifts])  # the slope and the size at the start take two
    return tried[tried <= np.minimum.accumulate(tried[::-1])[::-1]]


def draw_orbit(path, tol=1e-9):
    start, period = ORBIT
    times, how = [], sk.Tolerance(tol, tol, batch=True)
    sk.solve(Watched(Arenstorf(), times.append), list(start), [0, period], sk.dop853, tol=how, backend=ONE)
    t = np.concatenate([[0.0], ends(times, sk.dop853.drifts)])
    x = sk.solve(Arenstorf(), list(start), t, sk.dop853, tol=tol, backend=ONE).x
    curve = sk.solve(Arenstorf(), list(start), np.linspace(0, period, 4001), sk.dop853, tol=tol, backend=ONE).x
    with figure(path, 9, 4) as drawn:
        plane, sizes = drawn.subplots(1, 2)
        plane.plot(curve[:, 0], curve[:, 1], lw=0.8)
        plane.plot(x[:, 0], x[:, 1], ".", ms=4, label=f"ends of {len(t) - 1} steps")
        plane.plot([-0.012277471, 1 - 0.012277471], [0, 0], "k+", ms=9, label="earth and moon")
        plane.set(xlabel="x", ylabel="y", aspect="equal")
        plane.legend(fontsize=8, loc="lower right")
        sizes.step(t[:-1], np.diff(t), where="post")
        sizes.set(xlabel="t", ylabel="size of the step", yscale="log")


def points(name, digits):
    """[(evaluations, error after one period)] of ours and scipy's."""
    start, period = ORBIT
    process, found = Arenstorf(), ([], [])
    for tol in 10.0 ** -np.asarray(digits, float):
        how = sk.Tolerance(tol, tol, batch=True)
        sol = sk.solve(process, list(start), [0, period], PAIRS[name], tol=how, backend=ONE)
        theirs = solve_ivp(lambda t, u: process.drift(t, *u), (0, period), start, rtol=tol, atol=tol, method=name)
        for part, nfe, end in ((found[0], sol.nfe, sol.final), (found[1], theirs.nfev, theirs.y[:, -1])):
            part.append((int(nfe), float(np.abs(end - start)[:2].max())))
    return found


def draw_work(path):
    with figure(path, 6, 4) as drawn:
        panel = drawn.subplots()
        for i, (name, digits) in enumerate({"RK45": range(5, 11), "DOP853": range(5, 13)}.items()):
            for part, label, line in zip(points(name, digits), (PAIRS[name].name, f"scipy {name}"), ("o-", "x--")):
                panel.plot(*zip(*part), line, color=f"C{i}", ms=4, lw=1, label=label)
        panel.set(xlabel="evaluations", ylabel="error of the position after one period", xscale="log", yscale="log")
        panel.legend(fontsize=8)


if __name__ == "__main__":
    draw_orbit(FIGURES / "arenstorf.png")
    draw_work(FIGURES / "work-precision.png")
