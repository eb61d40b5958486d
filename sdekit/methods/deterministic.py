"""Methods for ordinary differential equations x' = f(t, x)."""

from .method import method

__all__ = ["euler", "midpoint", "rk4"]


@method(noise="none", order=1, drifts=1)
def euler(sde, t, t1, x, h):
    """Explicit Euler.

        x' = x + f(t, x) h

    Order: 1. Cost: 1 drift.
    Source: E. Hairer, S. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 1993, sec. I.7.
    """
    return x + sde.drift(t, x) * h


@method(noise="none", order=2, drifts=2)
def midpoint(sde, t, t1, x, h):
    """Explicit midpoint.

        x' = x + f(t + h/2, x + f(t, x) h/2) h

    Order: 2. Cost: 2 drifts; never evaluates the end of the step.
    Source: C. Runge, "Ueber die numerische Auflösung von Differentialgleichungen", 1895, doi:10.1007/BF01446807.
    """
    return x + sde.drift(t + 0.5 * h, x + sde.drift(t, x) * (0.5 * h)) * h


@method(noise="none", order=4, drifts=4, evaluates_end=True)
def rk4(sde, t, t1, x, h):
    """The classical Runge–Kutta method.

        f1 = f(t, x),  f2 = f(t + h/2, x + f1 h/2),  f3 = f(t + h/2, x + f2 h/2),  f4 = f(t1, x + f3 h)
        x' = x + (f1 + 2 f2 + 2 f3 + f4) h/6

    Order: 4. Cost: 4 drifts.
    Source: W. Kutta, "Beitrag zur näherungsweisen Integration totaler Differentialgleichungen", 1901.
    """
    middle = t + 0.5 * h
    f1 = sde.drift(t, x)
    f2 = sde.drift(middle, x + f1 * (0.5 * h))
    f3 = sde.drift(middle, x + f2 * (0.5 * h))
    f4 = sde.drift(t1, x + f3 * h)
    return x + (f1 + 2 * (f2 + f3) + f4) * (h / 6)
