"""Whether steps are short enough for what the coefficients do in time.

Steps of 1, 2, 4, … see a season of the length of a step, or of a part of it, always at the same point, so that levels
agree on what is wrong. Of a number of steps that is no multiple of theirs that is not so.
"""

import numpy as np

from ..solve import solve

WAYS = np.array([-1.0, 0.0, 1.0])  # c
FARTHER = 2.0  # than the levels before let expect
ROUNDING = 1e-9  # of the size of a state


def resolved(q, n, share):
    """Whether X along W(t) = c t/√T on n steps is as near to those on 2n + 1 and 4n + 1 as those on n/2 and n/4 say.

    Of first order, |X_n − X| is |X_n − X_{n/2}| and half of |X_{n/2} − X_{n/4}|. What is below a `share` of the
    standard deviation of X does not count. Of paths that are not finite nothing is said.
    """
    m, parts = n // q.parts, q.parts
    one, two, four, *others = (
        _seen(q, steps) for steps in (n, n // 2, n // 4, (2 * m + 1) * parts, (4 * m + 1) * parts)
    )
    finest = others[-1]
    size = _size(finest)
    spread = 0.5 * np.abs(finest[:, -1] - finest[:, 0]).max(0)  # one standard deviation of W to either side
    allowed = FARTHER * np.maximum(_size(one - two), 0.5 * _size(two - four)) + ROUNDING * size
    with np.errstate(invalid="ignore"):
        allowed = allowed + share * np.where(spread > 0, spread, size)
    return not any((_size(one - other) > allowed).any() for other in others)


def _size(x):
    """The largest of what was seen of a component (2, ways, …)."""
    return np.abs(x).max((0, 1))


def _seen(q, n):
    """The states at the end and their means over time, (2, ways, …)."""
    t = q.times(n)
    h = np.diff(t)
    z = np.zeros((q.method.normals, n, len(WAYS), *q.driven))
    z[0] = (np.sqrt(h / h.sum())[:, None] * WAYS).reshape(n, -1, *(1,) * len(q.driven))
    noise = z if len(z) > 1 else z[0]
    x = solve(q.process, q.x0, t, q.method, backend=q.backend, grid=t, noise=noise, paths=len(WAYS)).x
    with np.errstate(all="ignore"):
        return np.stack([x[-1], np.tensordot(h / h.sum(), 0.5 * (x[1:] + x[:-1]), 1)])
