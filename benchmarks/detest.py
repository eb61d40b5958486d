"""The test set for non-stiff solvers: 25 equations in five classes, on [0, 20].

Source: T. E. Hull, W. H. Enright, B. M. Fellen, A. E. Sedgwick, "Comparing numerical methods for ordinary differential
equations", SIAM Journal on Numerical Analysis 9 (1972) 603–637, doi:10.1137/0709052.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

END = 20.0


class Equation(NamedTuple):
    name: str
    f: Callable  # (t, u) -> u' as an array
    start: tuple


def chain(rates_in, rates_out, k):
    """Decay from one element to the next: u_i' = in_i u_{i−1} − out_i u_i."""
    matrix = np.diag(-np.asarray(rates_out, float)) + np.diag(np.asarray(rates_in, float), -1)
    return (lambda t, u: matrix @ u), (1.0, *[0.0] * (k - 1))


def heat(k):
    matrix = np.diag(np.full(k, -2.0)) + np.diag(np.ones(k - 1), 1) + np.diag(np.ones(k - 1), -1)
    return (lambda t, u: matrix @ u), (1.0, *[0.0] * (k - 1))


def torus(t, u):
    r = np.hypot(u[0], u[1])
    return np.array([-u[1] - u[0] * u[2] / r, u[0] - u[1] * u[2] / r, u[0] / r])


def orbit(t, u):
    r3 = np.hypot(u[0], u[1]) ** 3
    return np.array([u[2], u[3], -u[0] / r3, -u[1] / r3])


GRAVITY, SUN = 2.95912208286, 1.00000597682
MASSES = np.array([0.954786104043e-3, 0.285583733151e-3, 0.437273164546e-4, 0.517759138449e-4, 0.277777777778e-5])
PLANETS = (
    3.42947415189, 3.35386959711, 1.35494901715, 6.64145542550, 5.97156957878, 2.18231499728, 11.2630437207,
    14.6952576794, 6.27960525067, -30.1552268759, 1.65699966404, 1.43785752721, -21.1238353380, 28.4465098142,
    15.3882659679, -0.557160570446, 0.505696783289, 0.230578543901, -0.415570776342, 0.365682722812, 0.169143213293,
    -0.325325669158, 0.189706021964, 0.0877265322780, -0.0240476254170, -0.287659532608, -0.117219543175,
    -0.176860753121, -0.216393453025, -0.0148647893090,
)  # fmt: skip


def planets(t, u):
    """The five outer planets about the sun, which moves."""
    x, v = u.reshape(2, 5, 3)
    pull = x / np.sum(x * x, 1, keepdims=True) ** 1.5  # towards the sun, per mass
    apart = x[None] - x[:, None]  # from i to j
    distance = np.sum(apart * apart, 2) + np.eye(5)
    mutual = np.einsum("ijk,j->ik", apart / distance[..., None] ** 1.5, MASSES)
    other = MASSES @ pull - MASSES[:, None] * pull  # of the others on the sun
    return np.concatenate([v.ravel(), (GRAVITY * (-(SUN + MASSES[:, None]) * pull + mutual - other)).ravel()])


def both(*rows):
    return np.array(rows)


def equations():
    """The 25 of them."""
    single = [
        ("A1", lambda t, u: -u, (1.0,)),
        ("A2", lambda t, u: -(u**3) / 2, (1.0,)),
        ("A3", lambda t, u: u * np.cos(t), (1.0,)),
        ("A4", lambda t, u: u / 4 * (1 - u / 20), (1.0,)),
        ("A5", lambda t, u: (u - t) / (u + t), (4.0,)),
    ]
    small = [
        ("B1", lambda t, u: both(2 * (u[0] - u[0] * u[1]), -(u[1] - u[0] * u[1])), (1.0, 3.0)),
        ("B2", lambda t, u: both(-u[0] + u[1], u[0] - 2 * u[1] + u[2], u[1] - u[2]), (2.0, 0.0, 1.0)),
        ("B3", lambda t, u: both(-u[0], u[0] - u[1] ** 2, u[1] ** 2), (1.0, 0.0, 0.0)),
        ("B4", torus, (3.0, 0.0, 0.0)),
        ("B5", lambda t, u: both(u[1] * u[2], -u[0] * u[2], -0.51 * u[0] * u[1]), (0.0, 1.0, 1.0)),
    ]
    moderate = [
        ("C1", *chain([1] * 9, [*[1] * 9, 0], 10)),
        ("C2", *chain(range(1, 10), [*range(1, 10), 0], 10)),
        ("C3", *heat(10)),
        ("C4", *heat(51)),
        ("C5", planets, PLANETS),
    ]
    orbits = [(f"D{i + 1}", orbit, (1 - e, 0.0, 0.0, ((1 + e) / (1 - e)) ** 0.5)) for i, e in enumerate(ECCENTRIC)]
    higher = [
        ("E1", lambda t, u: both(u[1], -u[1] / (t + 1) - (1 - 0.25 / (t + 1) ** 2) * u[0]), BESSEL),
        ("E2", lambda t, u: both(u[1], (1 - u[0] ** 2) * u[1] - u[0]), (2.0, 0.0)),
        ("E3", lambda t, u: both(u[1], u[0] ** 3 / 6 - u[0] + 2 * np.sin(2.78535 * t)), (0.0, 0.0)),
        ("E4", lambda t, u: both(u[1], 0.032 - 0.4 * u[1] ** 2), (30.0, 0.0)),
        ("E5", lambda t, u: both(u[1], np.sqrt(1 + u[1] ** 2) / (25 - t)), (0.0, 0.0)),
    ]
    return [Equation(*row) for row in (*single, *small, *moderate, *orbits, *higher)]


ECCENTRIC = (0.1, 0.3, 0.5, 0.7, 0.9)
BESSEL = (0.6713967071418031, 0.0954005144474746)  # J of order 1/2 at 1, and its derivative
