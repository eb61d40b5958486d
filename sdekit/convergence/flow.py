"""The exact probability flow: where a perfect solver takes each state."""

import math

from ..processes import forms
from ..scores import like

__all__ = ["reference_flow"]

LEAST = 1e-6  # sigma/alpha from which on the state is the denoised one, up to its square


def reference_flow(process, score, x, start, end, tol=None):
    """Where the probability-flow ODE of a process with its score takes x (n, *event), from time `start` to `end`.

    With tan θ = sigma/alpha the state z = x/√(alpha² + sigma²) is O(1) all the way, and for any process

        dz/dθ = cos θ ε − sin θ D,    u = log(1 + 1/tan θ) = log(1 + alpha/sigma)

    u is the log-SNR where there is little noise, and alpha/sigma where there is much. The eighth-order method of
    Dormand and Prince (E. Hairer, S. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 1993, sec.
    II.10) steps in u. `tol` bounds the error of a step, root mean square over all of x, relative and absolute
    (default: 1e-10, and 1e-5 where x is not float64); that at the end is larger by what the flow amplifies. Where
    sigma(end) = 0 the last piece, from sigma/alpha = 1e-6 on, is the denoised state.
    """
    from scipy.integrate import solve_ivp

    first, last = _place(process, start), min(_place(process, end), math.log1p(1 / LEAST))
    if not (math.isfinite(first) and first != last):
        raise ValueError(f"start must be a time with noise, and another than end, got {start} and {end}")
    tol = tol or (1e-10 if str(x.dtype).endswith("float64") else 1e-5)

    def pair(u, z):
        """D and ε of the scaled states z, flat, with sin θ and cos θ."""
        t = start if u == first else forms.time_of(process, math.log(math.expm1(u)))
        alpha, sigma = process.marginal(t)
        scale = math.hypot(alpha, sigma)
        clean, eps = score.pair(t, like((scale * z).reshape(x.shape), x))
        return clean, eps, sigma / scale, alpha / scale

    def velocity(u, z):
        clean, eps, sin, cos = pair(u, z)
        rate = math.exp(u) * sin * sin  # −dθ/du
        return rate * forms.on_host(sin * clean - cos * eps).ravel()

    z = forms.on_host(x).ravel() / math.hypot(*process.marginal(start))
    solved = solve_ivp(velocity, (first, last), z, method="DOP853", t_eval=[last], rtol=tol, atol=tol)
    if not solved.success:
        raise ValueError(f"the flow of {score!r} from {start} to {end} cannot be followed: {solved.message}")
    z = solved.y[:, -1]
    if process.marginal(end)[1] == 0:
        return pair(last, z)[0]
    return like((math.hypot(*process.marginal(end)) * z).reshape(x.shape), x)


def _place(process, t):
    """log(1 + alpha/sigma)."""
    alpha, sigma = process.marginal(t)
    return math.log1p(alpha / sigma) if sigma > 0 else math.inf
