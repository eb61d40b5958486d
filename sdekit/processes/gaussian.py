"""The base of all linear processes whose clean data are scaled and noised: x_t = alpha·x_0 + sigma·ε."""

from sdekit import math as sm
from sdekit.processes import forms
from sdekit.processes.forms import between, elapsed, normal, over, root

__all__: list[str] = []


class GaussianPath(forms.Process):
    """dX = slope(t) X dt + √power(t) dW, a linear Markov process, from a few functions of time.

        X_t | X_s = x  ~  N(r x, v)  with (r, v) = step(s, t)
        x_t = alpha·x_0 + sigma·ε    with (alpha, sigma) = marginal(t) and x_0 clean data

    A subclass gives

        step(s, t)      r = alpha_t/alpha_s, v = sigma_t² − r² sigma_s², factored so that nothing cancels,
                        however close s <= t are
        slope(t)        alpha′/alpha; −β/2 where it has beta(t)
        power(t)        g², the variance gained per time; β
        time(log_snr)   the inverse of log(alpha/sigma), which falls in t

    and, where data are blurred (sigma > 0) at the start, or power/slope depends on t, its own `marginal` and
    `rates`. Times are inside `domain`; `finest` is the smallest at which networks are usually evaluated,
    where `sdekit.grids` end unless told.
    """

    additive = True
    domain = (0.0, 1.0)

    def clean(self):
        """The time of clean data."""
        return 0.0

    def slope(self, t):
        return -0.5 * self.beta(t)

    def power(self, t):
        return self.beta(t)

    def drift(self, t, x):
        return self.slope(sm.expand(sm.inside(self, t), x)) * x

    def diffusion(self, t, x):
        return sm.sqrt(self.power(sm.expand(sm.inside(self, t), x)))

    def transition(self, s, t, x):
        """The law of X_t given X_s = x, for s <= t."""
        s, t = between(self, s, t, x)
        ratio, variance = self.step(s, t)
        return normal(ratio * x, variance)

    def marginal(self, t):
        """(alpha, sigma) of x_t = alpha·x_0 + sigma·ε."""
        start, t = self.clean(), sm.inside(self, t)
        elapsed(start, t)
        alpha, variance = self.step(start, t)
        return alpha, root(variance)

    def rates(self, t):
        """(alpha′, sigma′); sigma′ = g² alpha²/(2 sigma), infinite at the start, where power/slope is constant."""
        alpha, sigma = self.marginal(t)
        return self.slope(t) * alpha, over(0.5 * self.power(t) * alpha * alpha, sigma)

    def perturb(self, x0, t, z):
        """alpha(t)·x0 + sigma(t)·z: a draw of x_t given clean data x0, from standard normals z."""
        alpha, sigma = self.marginal(t)
        return sm.expand(alpha, x0) * x0 + sm.expand(sigma, x0) * z
