"""Multistep exponential samplers: one evaluation of the pair (D, ε) per step, and the memory of earlier ones.

In y = x/sigma and u = alpha/sigma the probability flow is dy/du = D, and in x/alpha and sigma/alpha it is ε.
With λ = log(alpha/sigma), h = λ1 − λ0 and a node at λ_j = λ0 + u_j for every evaluation remembered,

    x' = (s1/s0) x + a1 ∫₀ʰ e^{u−h} D(λ0 + u) du  =  first order  +  a1 Σ_j w_j (D_j − D_0)

where D is replaced by the polynomial through its values, and w_j depends on λ alone: x/alpha is the same on
every process at equal signal-to-noise ratios. With (alpha, D) and (sigma, ε) exchanged, so that λ changes its
sign, the formula holds as well: `deis`. `lms` has polynomials in sigma/alpha.
A method of order k takes its first k − 1 steps at the orders 1, …, k − 1. The local error of the first one, a
multiple of h² (h³ where it is corrected), stays in the result; from an exact memory the orders are those named.
A time where alpha = 0 is infinitely far from the others: the step from there is of first order, and it serves as
no node.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .. import noise, reprs
from ..arrays import combined
from ..checks import integer
from .exponential import first_order, phi, schedule, stochastic
from .method import family, method
from .taken import Taken

__all__ = ["deis", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m", "lms", "unipc"]


NEAREST = 0.1  # of the step: distance of two nodes
MAGNIFIED = 6.0  # of the step: sum of the weights of earlier values


class Memory(NamedTuple):
    """Earlier evaluations, the last one first.

    times   floats
    values  D there (ε for `deis` and `lms`), of the state's shape
    x       the corrected state at times[0], where the method has a corrector
    of      the name of the method
    """

    times: tuple[float, ...] = ()
    values: tuple[Any, ...] = ()
    x: Any = None
    of: str = ""

    __repr__ = reprs.line

    def after(self, t, value, of):
        """With one evaluation more."""
        if self.of not in ("", of):
            raise ValueError(
                f"memory is that of {self.of}, not of {of}; go on with that method, or begin anew from solution.final"
            )
        if self.values and self.values[0].shape != value.shape:
            raise ValueError(f"memory is of a state of shape {tuple(self.values[0].shape)}, not {tuple(value.shape)}")
        return Memory((t, *self.times), (value, *self.values), None, of)

    def last(self, size):
        """The last `size` evaluations alone."""
        return self._replace(times=self.times[:size], values=self.values[:size])


def empty(sde, t, x):
    return Memory()


# --- the formula above ---------------------------------------------------------------------------


def integral(h, nodes):
    """w_j with Σ w_j (v(u_j) − v(0)) = ∫₀ʰ e^{u−h} (v(u) − v(0)) du for polynomials v of degree len(nodes).

    They have the moments Σ w_j u_jᵏ = ∫₀ʰ e^{u−h} uᵏ du = k! h^{k+1} φ_{k+1}(−h).
    """
    return weights_of([h * math.factorial(k) * phi(k + 1, -h) for k in range(1, len(nodes) + 1)], h, nodes)


def weights_of(moments, end, nodes):
    """w_j with Σ w_j (u_j/end)ᵏ = moments[k − 1] for k = 1 … len(nodes)."""
    degrees = np.arange(1, len(nodes) + 1)
    return np.linalg.solve((np.array(nodes) / end) ** degrees[:, None], moments).tolist()


def middle(h, nodes):
    """A line is taken at the middle of the step, as DPM-Solver++(2M) and UniPC do; `integral` from parabolas on."""
    return [-math.expm1(-h) * (0.5 * h / nodes[0])] if len(nodes) == 1 else integral(h, nodes)


def middle_sde(h, nodes):
    """`middle` for a line in the reverse SDE, where e^{2(u−h)} 2 du weighs D."""
    return [-math.expm1(-2 * h) * (0.5 * h / nodes[0])]


def in_sigma(h, nodes):
    """w_j with Σ w_j (v_j − v_0) = ∫ (v − v_0) dσ from σ = 1 over the step, for polynomials v in σ = e^{−u}."""
    end, *places = np.expm1(-np.array([h, *nodes]))
    return weights_of([end / (k + 1) for k in range(1, len(nodes) + 1)], end, places)


def bent(terms, sde, t1, times, values, rule, scale, sign=1.0):
    """The sum of a first-order step's terms from times[0] to t1, and of scale · Σ_j w_j (v_j − v_0).

    The last of the terms is that of v_0 = values[0]. sign = −1 turns λ round, for values of ε.
    """
    if times[0] in times[1:]:
        raise ValueError(f"memory already holds t = {times[0]}; continue at the time where it was left")
    h, *nodes = [sign * schedule(sde, times[0], time)[-1] for time in (t1, *times[1:])]
    near = [(u, value) for u, value in zip(nodes, values[1:], strict=True) if math.isfinite(u)]
    weights = [scale * w for w in rule(h, [u for u, _ in near])] if near else []
    *terms, (first, value) = terms
    bends = [(w, v) for w, (_, v) in zip(weights, near, strict=True)]
    return combined(*terms, (first - sum(weights), value), *bends)


def adams(sde, t1, x, times, values):
    """x at t1 from x at times[0], with D the polynomial through `values` at `times`."""
    plan = _, _, a1, _, _ = schedule(sde, times[0], t1)
    return bent(first_order(plan, x, values[0]), sde, t1, times, values, middle, a1)


def predict(order, of, sde, t, t1, x, memory):
    """One step of the Adams–Bashforth kind, for D."""
    known = memory.after(t, sde.process.pair(t, x)[0], of)
    return Taken(adams(sde, t1, x, known.times, known.values), memory=known.last(order - 1))


# --- methods -------------------------------------------------------------------------------------


@method(noise=("none", "additive"), order=2, streams=(), needs=("pair",), init=empty)
def dpmpp_2m(sde, t, t1, x, dt, memory):
    """DPM-Solver++(2M): a line through the last two D, taken at the middle of the step.

        x' = (s1/s0) x + a1 (1 − e^{−h}) [D_0 + (h/(2 h_before)) (D_0 − D_before)]

    Order: 2. Cost: 1 evaluation.
    Source: C. Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
    models", 2022, algorithm 2, arXiv:2211.01095.
    """
    return predict(2, "dpmpp_2m", sde, t, t1, x, memory)


@method(noise=("none", "additive"), order=3, streams=(), needs=("pair",), init=empty)
def dpmpp_3m(sde, t, t1, x, dt, memory):
    """DPM-Solver++(3M): the parabola through the last three D, integrated exactly.

        x' = (s1/s0) x + a1 ∫₀ʰ e^{u−h} p(u) du,    p(u_j) = D_j for u_j = 0, λ_{−1} − λ0, λ_{−2} − λ0
           = (s1/s0) x + a1 h [φ₁ D_0 + φ₂ h p′(0) + φ₃ h² p″(0)],   φ_k at −h

    p″ is twice the second divided difference; without the two the order is 2.
    Order: 3 (2 from its own start). Cost: 1 evaluation.
    Source: C. Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
    models", 2022, section 4.2 and appendix B, arXiv:2211.01095.
    """
    return predict(3, "dpmpp_3m", sde, t, t1, x, memory)


@method(noise=("none", "additive"), weak=2.0, streams=(noise.Stream.PATH,), needs=("pair",), init=empty)
def dpmpp_2m_sde(sde, t, t1, x, dt, dw, memory):
    """SDE-DPM-Solver++(2M): the reverse-time SDE with D a line through its last two values.

        x' = (s1/s0) e^{−h} x + a1 (1 − e^{−2h}) [D_0 + (h/(2 h_before)) (D_0 − D_before)] + s1 √(1 − e^{−2h}) z

    The noise of a step enters the slope of D one step late: each is late alike, so that only the first
    and the last step leave an error, of h², in the law.
    Order: weak 2. Its first step is that of DDPM. Cost: 1 evaluation, 1 normal.
    Source: C. Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
    models", 2022, section 5, arXiv:2211.01095.
    """
    plan = _, _, a1, _, _ = schedule(sde, t, t1)
    known = memory.after(t, sde.process.pair(t, x)[0], "dpmpp_2m_sde")
    terms = stochastic(plan, x, known.values[0], dw, dt)
    return Taken(bent(terms, sde, t1, known.times, known.values, middle_sde, a1), memory=known.last(1))


def _apart(memory, sde, t, t1, size):
    """The first `size` evaluations of a memory that lie a tenth of the step from t to t1, or more, from each other."""
    places = [schedule(sde, t, time)[-1] for time in memory.times]
    least, taken = NEAREST * abs(schedule(sde, t, t1)[-1]), []
    for i, u in enumerate(places):
        if not math.isfinite(u) or all(abs(u - places[j]) >= least for j in taken):
            taken.append(i)
    return tuple(tuple(values[i] for i in taken[:size]) for values in (memory.times, memory.values))


@family
def unipc(order=2):
    """UniPC of order p = 1, 2 or 3, in its variant B₂(h): predicts, then corrects with D at the end of the step.

        x  ← adams(x_before; D_before, …, D_{−p}, D(t, x))     p + 1 values: corrects the last prediction, x
        x' = adams(x; D(t, x), D_before, …)                    p values: predicts, from the corrected x

    `adams` is the formula of this module: a line is taken at the middle of the step, higher polynomials are
    integrated exactly. D is evaluated once a step, at the prediction, and serves both lines. A value nearer to
    another than a tenth of the step is left out for the one before it: they are of predictions that are not off alike,
    and the polynomial would magnify the difference.
    Order: p + 1 (3 at most from its own start). The last prediction is not corrected, which costs no order:
    corrected states carry a global error of h^{p+1}, a D at a prediction is off by h^{p+1} and always
    multiplied by h, and the last prediction adds one local error, of h^{p+1} too. Cost: 1 evaluation.
    Source: W. Zhao et al., "UniPC: a unified predictor-corrector framework for fast sampling of diffusion
    models", NeurIPS 2023, algorithms 1 and 2 and section 3.4, arXiv:2302.04867.
    """
    order = integer("order", order, 1, 3)

    @method(noise=("none", "additive"), order=order + 1, streams=(), needs=("pair",), init=empty)
    def unipc(sde, t, t1, x, dt, memory):
        clean = sde.process.pair(t, x)[0]
        if memory.times:
            if memory.x is None:
                raise ValueError("memory is not that of unipc: it holds no corrected state")
            times, values = _apart(memory, sde, memory.times[0], t, order)
            x = adams(sde, t, memory.x, (*times, t), (*values, clean))
        known = memory.after(t, clean, "unipc")
        end = adams(sde, t1, x, *_apart(known, sde, t, t1, order))
        return Taken(end, memory=known.last(order + 1)._replace(x=x))

    return unipc


@family
def deis(order=3):
    """DEIS of order 1 … 4: exponential Adams–Bashforth for the noise, a polynomial in λ integrated exactly.

        x' = (a1/a0) x − s1 ∫₀ʰ e^{h−u} p(u) du,    p(u_j) = ε_j for the last `order` evaluations

    The source's polynomials are in t; in λ (the logarithm of its ρ = sigma/alpha) the method depends on the
    signal-to-noise ratio alone. Order 1 is `ddim(0)`.
    Order: that named (2 at most from its own start). Cost: 1 evaluation.
    Source: Q. Zhang, Y. Chen, "Fast sampling of diffusion models with exponential integrator", ICLR 2023,
    section 3.3, arXiv:2204.13902.
    """
    order = integer("order", order, 1, 4)

    @method(noise=("none", "additive"), order=order, streams=(), needs=("pair",), init=empty)
    def deis(sde, t, t1, x, dt, memory):
        clean, eps = sde.process.pair(t, x)
        a1, s1 = sde.process.marginal(t1)
        known = memory.after(t, eps, "deis")
        terms = (a1, clean), (s1, eps)
        x = bent(terms, sde, t1, known.times, known.values, integral, s1, sign=-1.0)
        return Taken(x, memory=known.last(order - 1))

    return deis


def _steady(known, sde, t1):
    """The last evaluations as far as the weights of a step to t1 in sigma/alpha stay below `MAGNIFIED`, if it rises."""
    h, *nodes = [schedule(sde, known.times[0], time)[-1] for time in (t1, *known.times[1:])]
    if not -math.inf < h < 0.0:
        return known
    step = math.expm1(-h)
    while nodes and sum(map(abs, in_sigma(h, nodes))) > MAGNIFIED * step:
        nodes.pop()
    return known.last(1 + len(nodes))


@family
def lms(order=4):
    """Linear multistep: Adams–Bashforth of order 1 … 4 for d(x/alpha)/dσ = ε over σ = sigma/alpha.

        x' = (a1/a0) x + a1 ∫ p(σ) dσ from s0/a0 to s1/a1,    p(σ_j) = ε_j for the last `order` evaluations

    ρAB-DEIS is the same. σ = 0 is a point like any other: the last step there is of full order too, where other
    samplers return D. Polynomials in σ suit long steps near the data, those in λ (`deis`) the others.
    From data to noise σ grows by a factor in each step, over which polynomials magnify errors: where their weights add
    up to more than 6 (4.4 for equal steps at order 4) the step is of a lower order.
    Order: that named (2 at most from its own start). Cost: 1 evaluation.
    Source: K. Crowson, k-diffusion, 2022 (the sampler "LMS"); Q. Zhang, Y. Chen, "Fast sampling of diffusion models
    with exponential integrator", ICLR 2023, arXiv:2204.13902.
    """
    order = integer("order", order, 1, 4)

    @method(noise=("none", "additive"), order=order, streams=(), needs=("pair",), init=empty, reaches_zero=True)
    def lms(sde, t, t1, x, dt, memory):
        clean, eps = sde.process.pair(t, x)
        a0, s0, a1, s1, _ = schedule(sde, t, t1)
        known = _steady(memory.after(t, eps, "lms"), sde, t1)
        terms, scale = ((a1, clean), (s1, eps)), a1 * s0 / a0 if a0 > 0 else 0.0
        x = bent(terms, sde, t1, known.times, known.values, in_sigma, scale)
        return Taken(x, memory=known.last(order - 1))

    return lms
