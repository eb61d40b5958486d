"""Derivatives and integrals on grids, and the Fokker–Planck equation made of them."""

import numpy as np

STENCIL = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0.0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])  # order 8, of step 1
NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


def slope(f, x, h):
    """f′(x) by central differences of order 8."""
    return sum(c * f(x + k * h) for k, c in zip(range(-4, 5), STENCIL) if c) / h


def curvature(f, x, h):
    """f″(x), the slope of the slope."""
    return slope(lambda y: slope(f, y, h), x, h)


def integral(f, a, b):
    """∫ f(x) dx from a to b; f takes an array, and may have more axes in front."""
    return 0.5 * (b - a) * (f(0.5 * (b - a) * NODES + 0.5 * (a + b)) * WEIGHTS).sum(-1)


def expectation(f, law, a, b):
    """E f(X), the law's density being taken to be zero outside of a and b."""
    return integral(lambda x: f(x) * np.exp(law.log_prob(x)), a, b)


def drift_term(density, drift, t, x, hx):
    """∂(f p)/∂x."""
    return slope(lambda y: drift(t, y) * density(t, y), x, hx)


def noise_term(density, diffusion, t, x, hx):
    """½ ∂²(g² p)/∂x²."""
    return 0.5 * curvature(lambda y: diffusion(t, y) ** 2 * density(t, y), x, hx)


def residual(density, process, t, x, ht, hx, sign=1.0):
    """∂p/∂t + ∂(f p)/∂x − ½ ∂²(g² p)/∂x², over the largest of the three terms; sign −1 for times that decrease."""
    change = slope(lambda s: density(s, x), t, ht)
    moved = drift_term(density, process.drift, t, x, hx)
    spread = sign * noise_term(density, process.diffusion, t, x, hx)
    return np.abs(change + moved - spread).max() / max(np.abs(term).max() for term in (change, moved, spread))
