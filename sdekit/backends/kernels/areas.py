"""The Lévy areas of `sdekit.levy` for a block of lanes."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from ... import levy, noise
from .generator import block, call, filler, widest_vectors
from .lane import INLINE
from .normals import once
from .records import FORMULA

__all__ = ["Areas", "areas", "filled"]

STREAM, QUAD = noise.word(noise.Stream.AREA, 0), noise.word(0, 1)
UNIT = 0.5 / math.pi


class Areas(NamedTuple):
    """How the areas of a solve are made."""

    terms: np.ndarray  # (steps,) of the series, or none where areas are given
    tails: np.ndarray  # (steps,) `levy.tail` of them
    made: np.ndarray  # (normals of a term, lanes)
    fill: int  # the address of a `generator.filler`


def areas(problem, dtype, given):
    """The `Areas` of a problem, of which `given` draws are."""
    m, steps = problem.areas, np.diff(problem.steps.t).tolist() if given < len(problem.streams) else ()
    terms = [levy.terms(m, h, problem.method.areas) for h in steps]
    tails = np.array([levy.tail(p) for p in terms], dtype)
    made = block(max(2 * m, m + m * (m - 1) // 2) + 3, dtype)
    return Areas(np.array(terms, np.int64), tails, made, filler(dtype, False).address)


@njit(**FORMULA)
def _normals(areas, first, count, lane, step, k0, k1):
    for q in range((count + 3) // 4):
        call(areas.fill, areas.made, 4 * q, 1, lane, step, STREAM + QUAD * (first + q), k0, k1)


@njit(**FORMULA)
def _clear(out):
    for i in range(out.shape[0]):
        out[i] = 0.0


@njit(**FORMULA)
def _lead(y, z, part):
    """V/k from Y, `part` being 1/k."""
    widest_vectors()
    root = y.dtype.type(levy.ROOT2)
    for i in range(y.shape[0]):
        y[i] = (y[i] + root * z[i]) * part


@njit(**FORMULA)
def _add(out, a, b, c, d):
    """a b − c d onto an area."""
    widest_vectors()
    for i in range(out.shape[0]):
        out[i] += a[i] * b[i] - c[i] * d[i]


@njit(**FORMULA)
def _finish(out, a, b, c, d, other, rest):
    """The tail onto an area, in units of h then."""
    widest_vectors()
    unit = out.dtype.type(UNIT)
    for i in range(out.shape[0]):
        out[i] = (out[i] + (a[i] * (rest * b[i]) - c[i] * (rest * d[i])) + rest * other[i]) * unit


@njit(**FORMULA)
def _mirror(out, x):
    for i in range(out.shape[0]):
        out[i] = -x[i]


@njit(**FORMULA)
def _step(areas, z, m, row, first, s, lane, step, k0, k1):
    """The areas of step s into the m² rows of z from `first` on; its normals are those from `row` on."""
    made, p, each = areas.made, areas.terms[s], (m + 1) // 2
    for i in range(m * m):
        _clear(z[first + i])
    for k in range(p):
        _normals(areas, k * each, 2 * m, lane, step, k0, k1)
        part = made.dtype.type(1 / (k + 1))
        for i in range(m):
            _lead(made[m + i], z[row + i], part)
        for i in range(m):
            for j in range(i + 1, m):
                _add(z[first + i * m + j], made[i], made[m + j], made[j], made[m + i])
    _normals(areas, p * each, m + m * (m - 1) // 2, lane, step, k0, k1)
    other = m
    for i in range(m):
        for j in range(i + 1, m):
            at = first + i * m + j
            _finish(z[at], made[i], z[row + j], made[j], z[row + i], made[other], areas.tails[s])
            _mirror(z[first + j * m + i], z[at])
            other += 1


@once
def _steps(areas, noise, plan, z, start, s, phase, ahead):
    draws = plan.base.shape[0]
    m = plan.base[draws - 1] - plan.base[draws - 2]  # the rows of areas are next to each other
    row, first = plan.base[0], plan.base[draws - m]
    for q in range(ahead if areas.terms.shape[0] > 0 else 0):
        at, skew, step = row + (phase + q) * plan.stride[0], first + (phase + q) * plan.stride[draws - 1], s + q
        lane, counter = noise.first_lane + start, noise.first_step + step
        _step(areas, z, m, at, skew, step, lane, counter, noise.k0, noise.k1)


def filled(areas, noise, plan, z, start, s, phase, ahead):
    """The areas of the steps s … s + ahead − 1, behind their `normals`, where there are any (compiled code only)."""
    raise NotImplementedError("numba kernels only")


@overload(filled, jit_options=INLINE)
def _filled(areas, noise, plan, z, start, s, phase, ahead):
    if isinstance(areas, types.NoneType):
        return lambda areas, noise, plan, z, start, s, phase, ahead: None
    return lambda areas, noise, plan, z, start, s, phase, ahead: _steps((areas, noise, plan, z, start, s, phase, ahead))
