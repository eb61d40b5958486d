"""Restart sampling, made of `solve` and the forward process's own transition."""

import dataclasses
import itertools

import numpy as np

from . import arguments, arrays, backends
from . import math as sm
from .checks import integer
from .methods import exact
from .noise import Stream
from .solve import solve
from .steps import SLACK, decreasing, sequence

__all__ = ["restart"]


def restart(reverse, x0, grid, method, intervals, *, seed=None, first_path=0, backend=None):
    """Sample along `grid`; where an interval ends, go back to its beginning by adding noise and run it again.

        x(t_max) ~ transition(t_min, t_max, x(t_min)),   t_max → t_min along the interval's times,   `rounds` times

    The noise makes errors that have piled up fade, as in an SDE, while the steps between are those of an ODE
    method, which are accurate.

    reverse     a `Reverse` of a process with a transition
    x0          the state at grid[0], path axes first, or a `Solution` to go on from
    grid        decreasing times, which contain the last time of each interval
    method      the sampler; a multistep one starts anew after each jump
    intervals   pairs (times, rounds): decreasing times from t_max to t_min, and how often to go back

    The other arguments are those of `solve`. Steps are counted through, a jump as one, so that no normal is
    used twice. Returns the `Solution` where the grid ends, with the evaluations and steps of all rounds.
    Source: Y. Xu et al., "Restart sampling for improving generative processes", NeurIPS 2023, arXiv:2306.14878,
    algorithm 1.
    """
    engine = backends.torch() if arrays.is_tensor(x0) else backends.numpy()
    state = arguments.start(x0, None, seed, first_path, None).state
    legs, begun, nfe, sol = _legs(decreasing("grid", grid), intervals), state.step, 0, None
    # a jump is numbered as the method's steps are, which may take several normals of the stream each
    numbers = max(1, method.streams.count(Stream.PATH))
    for times in legs:
        state = state._replace(t=float(times[0]))
        if times[1] > times[0]:
            lost = state.failed
            entries = None if lost is None else arrays.broadcast(sm.expand(lost, state.x), tuple(state.x.shape))
            jumping = state._replace(step=state.step * numbers, memory=None, failed=entries)
            sol = solve(reverse.process, jumping, grid=times, method=exact, backend=engine)
            state = sol.state._replace(step=state.step + 1, failed=lost)  # a jump leaves no memory
        else:
            sol = solve(reverse, state, grid=times, method=method, backend=backend)
            state = sol.state
        nfe += sol.nfe
    return dataclasses.replace(sol, nfe=nfe, steps=state.step - begun, state=state)


def _legs(grid, intervals):
    """The stretches of times to run, in order; the rising ones are jumps."""
    rounds = {}
    for times, count in intervals:
        times, _ = sequence("intervals: times", times)
        if len(times) < 2 or not (np.diff(times) < 0).all():
            raise ValueError(f"intervals: times must decrease from t_max to t_min, got {times}")
        near = int(np.abs(grid - times[-1]).argmin())
        if abs(grid[near] - times[-1]) > SLACK * abs(grid[-1] - grid[0]):
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
