"""Restart sampling, made of `solve` and the forward process's own transition."""

import itertools
import math

import numpy as np

from . import arrays, backends
from . import math as sm
from .methods import exact
from .noise import PATH
from .solve import EPS, Solution, integer, solve

__all__ = ["restart"]


def restart(reverse, x0, grid, method, intervals, *, seed=0, first_path=0, first_step=0, backend=None):
    """Sample along `grid`; where an interval ends, go back to its beginning by adding noise and run it again.

        x(t_max) ~ transition(t_min, t_max, x(t_min)),   t_max → t_min along the interval's times,   `rounds` times

    The noise makes errors that have piled up fade, as in an SDE, while the steps between are those of an ODE
    method, which are accurate.

    reverse     a `Reverse` of a process with a transition
    x0          the state at grid[0], path axes first
    grid        decreasing times, which contain the last time of each interval
    method      the sampler; a multistep one starts anew after each jump
    intervals   pairs (times, rounds): decreasing times from t_max to t_min, and how often to go back

    The other arguments are those of `solve`. Steps are counted through, a jump as one, so that no normal is
    used twice. Returns the `Solution` where the grid ends, with the evaluations and steps of all rounds.
    Source: Y. Xu et al., "Restart sampling for improving generative processes", NeurIPS 2023, arXiv:2306.14878,
    algorithm 1.
    """
    engine = backends.torch() if arrays.is_tensor(x0) else backends.numpy()
    x, memory, failed, nfe, step = x0, None, False, 0, integer("first_step", first_step)
    how = {"seed": seed, "first_path": first_path}
    for times in _legs(np.asarray(grid, np.float64), intervals):
        if times[1] > times[0]:
            # numbered as the method's own steps, which may take several normals of the stream each
            n = step * max(1, method.streams.count(PATH))
            sol = solve(reverse.process, x, grid=times, method=exact, first_step=n, backend=engine, **how)
        else:
            sol = solve(reverse, x, grid=times, method=method, first_step=step, memory=memory, backend=backend, **how)
            failed = failed | sol.failed
        lost = sm.expand(failed, sol.x[-1])
        x, memory = sm.where(lost, 0.0, sol.x[-1]), sol.memory  # a jump leaves no memory
        nfe, step = nfe + sol.nfe, step + sol.steps
    return Solution(sol.t, sm.where(lost, math.nan, x)[None], nfe, step - first_step, memory, failed)


def _legs(grid, intervals):
    """The stretches of times to run, in order; the rising ones are jumps."""
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) < 0).all():
        raise ValueError(f"grid must hold two or more decreasing times, got {grid}")
    rounds = {}
    for times, count in intervals:
        times = np.array(times, np.float64)
        if times.ndim != 1 or len(times) < 2 or not (np.diff(times) < 0).all():
            raise ValueError(f"intervals: times must decrease from t_max to t_min, got {times}")
        near = int(np.abs(grid - times[-1]).argmin())
        if abs(grid[near] - times[-1]) > EPS * abs(grid[-1] - grid[0]):
            raise ValueError(f"grid misses {times[-1]}, where an interval ends (nearest: {grid[near]}); add it there")
        if near == 0:
            raise ValueError(
                f"intervals: one ends at {times[-1]}, where the grid begins; there is nothing to go back to"
            )
        times[-1] = grid[near]
        rounds.setdefault(near, []).extend([times] * integer("intervals: rounds", count))
    cuts = sorted({0, *rounds, len(grid) - 1})
    legs = []
    for a, b in itertools.pairwise(cuts):
        legs.append(grid[a : b + 1])
        for times in rounds.get(b, ()):
            legs += [times[[-1, 0]], times]
    return legs
