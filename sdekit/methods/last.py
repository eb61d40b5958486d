"""The last step of a sampler, where it ends at sigma = 0."""

import dataclasses
import functools

from ..processes import forms
from .taken import Taken

__all__: list[str] = []


def finished(method, process, end):
    """The method with a last step that denoises, where it would evaluate the drift, or log-SNR, at sigma = 0."""
    at_end = method.evaluates_end or "pair" in method.needs
    if not at_end or method.reaches_zero or not callable(getattr(process, "denoise", None)):
        return method
    if forms.holds(process.sigma(end) > 0):  # one sigma per path, where a parameter is an array
        return method
    return dataclasses.replace(method, step=_denoising(method.step, method.init is not None))


@functools.cache
def _denoising(step, remembers):
    """`step`, but D = E[x_0 | x_t] where the step ends at sigma = 0: the answer there, with no evaluation."""

    def advance(sde, t, t1, x, h, *rest):
        if sde.process.sigma(t1) > 0:
            return step(sde, t, t1, x, h, *rest)
        return Taken(sde.process.denoise(t, x), memory=rest[-1] if remembers else None)

    return advance
