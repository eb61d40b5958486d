"""Networks of diffusers as scores: what the scheduler that a network was trained with says of it."""

from __future__ import annotations

import functools
import importlib
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..processes import EDM, VE, CosineVP, DiscreteVP, FlowPath, forms
from ..protocols import Score
from .clients import READ, Levelled, Model, angle, of_clean, of_minus_v, of_v, quarter_log
from .guidance import clipped, thresholded
from .predictions import _held, from_denoiser, from_noise, from_score, from_v, from_velocity

KINDS = {"epsilon": from_noise, "sample": from_denoiser, "v_prediction": from_v, "flow_prediction": from_velocity}


class Reading(NamedTuple):
    """A score made from a model, and the times of the scheduler's own steps on the score's process."""

    score: Any
    times: Callable  # scheduler -> times, not yet checked


def reversed_time(scale, t):
    return scale * (1.0 - t)


# --- families of schedulers ----------------------------------------------------------------------


def _sigmas(scheduler):
    return forms.on_host(scheduler.sigmas)


def _table(scheduler, model, bound):
    config = scheduler.config
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return _flow(scheduler, model, bound)
    kind = _kind(scheduler, ("epsilon", "sample", "v_prediction"))
    if config.get("timestep_type") == "continuous":
        process = EDM(float(scheduler.sigmas.max()))
        return Reading(bound(from_denoiser(Levelled(model, process, quarter_log, READ[kind]), process)), _sigmas)
    process = DiscreteVP(forms.on_host(scheduler.alphas_cumprod))

    def times(scheduler):
        if getattr(scheduler, "sigmas", None) is None:
            t = forms.on_host(scheduler.timesteps)
            last = process.clean() if config.get("set_alpha_to_one", True) else 0.0
            return t if t[0] < t[-1] else np.append(t, last)
        level = _sigmas(scheduler)
        most = math.exp(-forms.log_ratio(process, process.domain[1])) if process.alphas_cumprod[-1] > 0 else math.inf
        with np.errstate(divide="ignore"):
            t = process.time(-np.log(np.minimum(level, most)))
        return np.where(abs(t - t.round()) < 2e-3, t.round(), t)  # sigmas are rounded to float32

    return Reading(bound(KINDS[kind](model, process)), times)


def _flow(scheduler, model, bound):
    """Straight paths: time is sigma, and networks are called with a multiple of it, whatever the shift of the grid."""
    config, process = scheduler.config, FlowPath()
    kind = config.get("prediction_type") or "flow_prediction"
    scale = float(config.get("num_train_timesteps") or 1.0)
    if config.get("invert_sigmas"):
        return _towards_data(scheduler, model, bound, scale)
    timed = model._replace(time=functools.partial(operator.mul, scale))
    return Reading(bound(KINDS[_kind(scheduler, KINDS, kind)](timed, process)), _sigmas)


def _towards_data(scheduler, model, bound, scale=1.0):
    """The same with the network's time and velocity the other way round: t = 1 and x_0 − ε are those of data."""
    timed = model._replace(time=functools.partial(reversed_time, scale), sign=-1.0)
    inverted = scheduler.config.get("invert_sigmas")
    return Reading(from_velocity(timed, FlowPath()), lambda s: 1.0 - _sigmas(s) if inverted else _sigmas(s))


def _proteina(scheduler, model, bound):
    reading = _towards_data(scheduler, model, bound)
    return reading._replace(times=lambda scheduler: 1.0 - forms.on_host(scheduler._times))


def _edm(scheduler, model, bound, level=quarter_log):
    config = scheduler.config
    read = of_v if _kind(scheduler, ("epsilon", "v_prediction")) == "v_prediction" else of_minus_v
    process = EDM(float(max(config["sigma_max"], scheduler.sigmas.max())))
    network = Levelled(model, process, level, read, float(config["sigma_data"]))
    return Reading(bound(from_denoiser(network, process)), _sigmas)


def _v_diffusion(scheduler, model, bound):
    """alpha = cos(πt/2), sigma = sin(πt/2), as `FlowPath` of the same data, whose end is pure noise too."""
    process = FlowPath()

    def times(scheduler):
        t = 0.5 * math.pi * forms.on_host(scheduler.timesteps)
        return np.append(np.sin(t) / (np.sin(t) + np.cos(t)), 0.0)

    return Reading(from_denoiser(Levelled(model, process, angle, of_v), process), times)


def _score_sde(scheduler, model, bound):
    process = VE(float(scheduler.config["sigma_min"]), float(scheduler.config["sigma_max"]))
    timed = model._replace(time=process.sigma)
    return Reading(from_score(timed, process), lambda scheduler: forms.on_host(scheduler.timesteps))


def _wuerstchen(scheduler, model, bound):
    config = scheduler.config
    if config["scaler"] != 1.0:
        raise ValueError(f"scheduler: DDPMWuerstchenScheduler with scaler = {config['scaler']}; scaler = 1 is read")
    process = CosineVP(config["s"])

    def times(scheduler):
        return forms.on_host(scheduler.timesteps).clip(0.0, process.domain[1])

    return Reading(from_noise(model, process), times)


TABLES = (
    "CogVideoXDDIM", "CogVideoXDPM", "DDIM", "DDIMInverse", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep",
    "DPMSolverMultistep", "DPMSolverMultistepInverse", "DPMSolverSDE", "DPMSolverSinglestep", "EulerAncestralDiscrete",
    "EulerDiscrete", "HeunDiscrete", "KDPM2AncestralDiscrete", "KDPM2Discrete", "LMSDiscrete", "PNDM", "RePaint",
    "SASolver", "UnCLIP", "UniPCMultistep",
)  # fmt: skip
FLOWS = "FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete", "LTXEulerAncestralRF"
READERS: dict[str, Callable] = {
    **dict.fromkeys(TABLES, _table),
    **dict.fromkeys(FLOWS, _flow),
    "MiniMaxH3": _towards_data,
    "RFD4Proteina": _proteina,
    "EDMEuler": _edm,
    "EDMDPMSolverMultistep": _edm,
    "CosineDPMSolverMultistep": functools.partial(_edm, level=angle),
    "IPNDM": _v_diffusion,
    "ScoreSdeVe": _score_sde,
    "DDPMWuerstchen": _wuerstchen,
}
TOKENS = "its states are tokens, not numbers"
DISTILLED = "it is for distilled networks, which map noise to data in a few steps and are no scores"
STAGES = "its stages have resolutions of their own, and between them states are no x_t = alpha x_0 + sigma ε"
REFUSED = {
    **dict.fromkeys(("Amused", "BlockRefinement", "DiscreteDDIM", "EntropyBound", "VQDiffusion"), TOKENS),
    **dict.fromkeys(("CMStochasticIterative", "FlowMatchLCM", "LCM", "SCM", "TCD"), DISTILLED),
    **dict.fromkeys(("FlowMapEulerDiscrete", "HeliosDMD", "Piflow"), DISTILLED),
    "Helios": STAGES,
    "KarrasVe": "its pipeline has units of its own; wrap the network as D(x, sigma) and use from_karras",
}

# Where a configuration is not of a file it lacks its class: one that reads all that has this key.
KEYS = {
    "timestep_type": "EulerDiscreteScheduler",
    "use_flow_sigmas": "UniPCMultistepScheduler",
    "beta_start": "DDPMScheduler",
    "sigma_data": "EDMEulerScheduler",
    "shift": "FlowMatchEulerDiscreteScheduler",
}

# DDPM's clipping moves ε with D; DDIM's, as it comes, keeps ε. Those that are not named here do not clip.
CLIPS = {"DDPM": "moved", "DDPMParallel": "moved", "UnCLIP": "moved", "HeunDiscrete": "moved"}
CLIPS |= dict.fromkeys(("DDIM", "DDIMParallel", "DDIMInverse", "RePaint"), "kept")


def _kind(scheduler, known, given=None):
    """What the network predicts."""
    kind = given or scheduler.config.get("prediction_type") or "epsilon"
    if kind not in known:
        raise ValueError(f"scheduler predicts {kind!r}; from_diffusers reads {', '.join(map(repr, known))}")
    return kind


def _bounds(name, config):
    """A function that bounds the D of a score as the scheduler does."""
    noise = CLIPS.get(name, "moved")
    if config.get("thresholding"):
        ratio, most = config["dynamic_thresholding_ratio"], config["sample_max_value"]
        return lambda score: thresholded(score, ratio, max(most, 1.0), noise=noise)
    if config.get("clip_sample") and name in CLIPS:
        edge = config.get("clip_sample_range") or 1.0
        return lambda score: clipped(score, -edge, edge, noise=noise)
    return lambda score: score


def _read(model, scheduler):
    """(the scheduler, its `Reading`); a scheduler's configuration stands for it."""
    if isinstance(scheduler, Mapping):
        name = scheduler.get("_class_name") or next((c for key, c in KEYS.items() if key in scheduler), None)
        if name is None:
            raise ValueError("scheduler is a configuration that does not say of which class: give the scheduler itself")
        known = getattr(importlib.import_module("diffusers"), name, None)
        if not hasattr(known, "set_timesteps"):
            raise ValueError(f"scheduler is the configuration of a {name}, which is no scheduler of diffusers")
        scheduler = known.from_config(scheduler)
    names = [cls.__name__.removesuffix("Scheduler") for cls in type(scheduler).__mro__]
    shown = type(scheduler).__name__
    for name in names:
        if name in REFUSED:
            raise ValueError(f"scheduler: {shown} is not read: {REFUSED[name]}")
    name = next((name for name in names if name in READERS), None)
    if name is None and not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(f"scheduler must have a table alphas_cumprod, which {shown} does not have; nor is it known")
    if not isinstance(getattr(scheduler, "config", None), Mapping):
        raise ValueError(f"scheduler must have a configuration, which {shown} does not have")
    reader = READERS[name] if name else _table
    return scheduler, reader(scheduler, model, _bounds(name, scheduler.config))


def from_diffusers(unet: Callable, scheduler: Any, *, module: Any = None) -> Score:
    """A network of diffusers with the scheduler, or the configuration of the scheduler, that it was trained with.

    What the scheduler says is read: its table, the kind of prediction, shifted flows, EDM's preconditioning, continuous
    timesteps, clipping and thresholding of D. The process is `score.process`:

        a table alphas_cumprod             `DiscreteVP`, whose time is the timestep of the network
        flow matching, "flow_prediction"   `FlowPath`: time is the scheduler's sigma; shifts move the grid alone
        EDM, timestep_type="continuous"    `EDM`: time is the scheduler's sigma
        ScoreSdeVe, Wuerstchen, IPNDM      `VE`, `CosineVP`, `FlowPath`

    `scheduler_grid(scheduler)` are the times of its steps. Those of tokens and of distilled networks are refused by
    name. `score.given(c)` calls `unet(x, t, c)`: class labels of `UNet2DModel`, encoder_hidden_states of
    `UNet2DConditionModel`; a dictionary c holds keywords, whose tensors have one row per sample, or one for all. The
    second half of twice as many channels (a learned variance) is left out. Where `unet` is a function, `module`
    tells the type and device of the torch module that it calls.
    """
    if hasattr(unet, "set_timesteps") or not callable(unet):
        shown, swapped = type(unet).__name__, "; the scheduler comes second" if callable(scheduler) else ""
        raise ValueError(f"unet must be a network, called as unet(x, t), got a {shown}{swapped}")
    return _read(Model(_held(unet, module)), scheduler)[1].score


def scheduler_grid(scheduler: Any) -> np.ndarray:
    """The times at which a diffusers scheduler evaluates, after `set_timesteps`, and the end, on the score's process.

    Equal neighbours, as of schedulers with two evaluations a step, are one time. They decrease, but for inverse ones.
    """
    scheduler, reading = _read(Model(of_clean), scheduler)
    if getattr(scheduler, "num_inference_steps", 0) is None and not getattr(scheduler, "custom_timesteps", False):
        raise ValueError(f"scheduler has no steps yet: call set_timesteps(n) of {type(scheduler).__name__} first")
    times = np.asarray(reading.times(scheduler), np.float64)
    low, high = reading.score.process.domain
    times = times.clip(low, high)
    return times[np.append(True, np.diff(times) != 0)] + 0.0  # no −0
