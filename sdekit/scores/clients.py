"""Networks of other libraries, as scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..processes import EDM, DiscreteVP, forms
from ..reprs import line
from .predictions import Prediction, from_denoiser, from_noise, from_v


class Model(NamedTuple):
    """A model called `(x, level[, c])`, whose result is a tensor or has one in `.sample`."""

    model: Callable

    __repr__ = line

    def __call__(self, t, x, *c):
        out = self.model(x, t, *c)
        return getattr(out, "sample", out)

    @property
    def parameters(self):
        return getattr(self.model, "parameters", None)


KINDS = {"epsilon": from_noise, "sample": from_denoiser, "v_prediction": from_v}


def from_diffusers(unet: Callable, scheduler: Any) -> Prediction:
    """A network of diffusers with the scheduler it was trained with, whose `config.prediction_type` says what
    it predicts ("epsilon", "sample" or "v_prediction").

    The process is `DiscreteVP(scheduler.alphas_cumprod)`, found again as `score.process`: its time is the
    index into that table, the timestep that the network was trained on. `score.given(c)` calls
    `unet(x, t, c)`: class labels of `UNet2DModel`, encoder_hidden_states of `UNet2DConditionModel`.
    """
    kind = getattr(scheduler, "config", {}).get("prediction_type")
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(f"scheduler must have a table alphas_cumprod, which {type(scheduler).__name__} does not have")
    if kind not in KINDS:
        raise ValueError(f"scheduler predicts {kind!r}; from_diffusers reads {', '.join(map(repr, KINDS))}")
    return KINDS[kind](Model(unet), DiscreteVP(forms.on_host(scheduler.alphas_cumprod)))


def from_karras(denoiser: Callable, sigma_max: float = 80.0) -> Prediction:
    """A network `model(x, sigma) -> denoised` of EDM or k-diffusion, sigma of shape (B,), under `EDM(sigma_max)`.

    `score.given(c)` calls `model(x, sigma, c)`; `on_path` takes it to another process.
    Source: T. Karras et al., "Elucidating the design space of diffusion-based generative models", 2022,
    arXiv:2206.00364.
    """
    return from_denoiser(Model(denoiser), EDM(float(sigma_max)))
