"""A run on fixed steps as one run after the other, each of which goes on from the end of the one before."""

import itertools

import numpy as np
import torch
from torch.utils import checkpoint

from .. import arrays
from ..backends import loop, tensors
from ..problem import Outcome
from ..steps import Steps

__all__: list[str] = []


def run(problem, every):
    """Solve with a state kept every so many steps: torch makes again what is between them."""
    return walked(
        problem,
        every,
        lambda piece: checkpoint.checkpoint(tensors.run, piece, use_reentrant=False, preserve_rng_state=False),
    )


def walked(problem, every, walk):
    """The `Outcome` of all steps, where `walk` gives that of a piece: at most `every` steps between output times."""
    if not len(problem.steps):
        return tensors.run(problem)
    n, saves = len(problem.steps), {int(s) for s in problem.steps.saves}
    x, memory = arrays.broadcast(problem.x0, problem.shape), problem.memory
    rows, failed, failed_step, nfe = [x] if 0 in saves else [], None, None, 0
    for a, b in itertools.pairwise(sorted({0, n, *saves, *range(0, n, every or n)})):
        done = walk(part(problem, a, b)._replace(x0=x, dtype=x.dtype, memory=memory))
        x, memory, nfe = done.last, done.memory, nfe + done.nfe
        if failed_step is None and done.failed_step is not None:
            failed_step = a + done.failed_step
        failed = done.failed if failed is None else failed | done.failed
        rows += [x] if b in saves else []
        if problem.ticker is not None:
            problem.ticker(b / n)
    return Outcome(
        arrays.stack([arrays.to_type(row, problem.dtype) for row in rows]), x, failed, failed_step, memory, nfe
    )


def part(problem, a, b):
    """The steps a … b − 1 of a problem, of which the end is saved."""
    steps = problem.steps
    return problem._replace(
        steps=Steps(steps.t[a : b + 1], np.array([b - a]), steps.begin[a:b], steps.end[a:b]),
        first_step=problem.first_step + a,
        noise=None if problem.noise is None else [z[a:b] for z in problem.noise],
        ticker=None,
    )


def backwards(problem, recorded=False):
    """(step, its dW, …) from the last step to the first, some of which are made at a time; `recorded`: with history."""
    rows, n = tensors.rows(problem), len(problem.steps)
    root = np.sqrt(np.abs(np.diff(problem.steps.t))).tolist()
    low = n
    while low:
        high, low = low, max(0, low - 1 - (problem.first_step + low - 1) % 4)  # a counter has four of them
        with torch.set_grad_enabled(recorded):
            drawn = list(loop.increments(part(problem, low, high), rows))
            drawn = [[dw * root[s] for dw in dws] for s, dws in enumerate(drawn, low)]
        for s in reversed(range(low, high)):
            yield s, drawn[s - low]
