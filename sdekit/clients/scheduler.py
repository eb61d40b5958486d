"""A scheduler of diffusers whose steps are those of `solve`. Imported where diffusers is there."""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin, SchedulerOutput

from .. import grids
from ..methods import Method
from ..plans import Plan
from ..processes import DiscreteVP, FlowPath
from ..scores.clients import Model
from ..scores.schedulers import _read, scheduler_grid
from ..solve import solve
from ..transforms import Reverse

__all__ = ["SolveScheduler", "make"]


class Asked(Exception):
    """A step asks for an output that is not there yet, at the network's time for the state x."""

    def __init__(self, time, x):
        super().__init__("an output of the network is asked for")
        self.time, self.x = time, x


class Tape:
    """Stands in for the network: gives the outputs that are there, in turn, and then raises `Asked`."""

    def __init__(self):
        self.outputs, self.place = [], 0

    def __call__(self, x, t):
        self.place += 1
        if self.place > len(self.outputs):
            raise Asked(float(t.reshape(-1)[0]), x)
        return self.outputs[self.place - 1]


class Silent:
    """A network without an output, that notes the times at which it is called."""

    def __init__(self):
        self.times = []

    def __call__(self, x, t):
        self.times.append(float(t.reshape(-1)[0]))
        return 0 * x


class SolveScheduler(SchedulerMixin, ConfigMixin):
    """Made by `sdekit.clients.diffusers_scheduler`.

    method  a method, as `_encoded`
    like    the configuration of the scheduler that the network belongs to, with its class under "_class_name"
    grid    times of a plan, the name of a function of `sdekit.grids`, or None: the times of `like`

    For pipelines that read them, `config` has the settings of `like` as well, and its tables are here.
    """

    init_noise_sigma = 1.0
    _compatibles = [*KarrasDiffusionSchedulers.__members__, "FlowMatchEulerDiscreteScheduler"]

    @register_to_config
    def __init__(self, method: dict, like: dict, grid: Any = None):
        self.method, self.tape = _decoded(method), Tape()
        self.like, reading = _read(Model(self.tape), dict(like))
        self.process = reading.score.process
        if not isinstance(self.process, (DiscreteVP, FlowPath)) or not hasattr(self.like, "timesteps"):
            name = type(self.like).__name__
            raise ValueError(f"like is a {name}; schedulers of a table alphas_cumprod or of flow matching serve")
        self.reverse = Reverse(self.process, reading.score, 1.0 if self.method.normals else 0.0)
        self.order = self.method.drifts or 1
        self.timesteps, self.num_inference_steps = torch.empty(0), None
        self._begin = None
        self.register_to_config(**{key: value for key, value in like.items() if not key.startswith("_")})
        for name in ("betas", "alphas", "alphas_cumprod"):
            if hasattr(self.like, name):
                setattr(self, name, getattr(self.like, name))

    def __len__(self):
        return self.like.config.num_train_timesteps

    # --- times ---

    def set_timesteps(self, num_inference_steps=None, device=None, timesteps=None, sigmas=None, mu=None):
        """The times of a run: one timestep for each evaluation of the network.

        `sigmas` has the level of each of them, sigma/alpha (sigma with flow matching), and that of the end.
        """
        given = {"timesteps": timesteps, "sigmas": sigmas, "mu": mu}
        self.times = self._times(num_inference_steps, {k: v for k, v in given.items() if v is not None})
        silent = Silent()
        score = _read(Model(silent), self.like)[1].score
        reverse, now, self._owner = self.reverse._replace(score=score), torch.zeros(1, 1, 1, 1), []
        with torch.no_grad():
            for k in range(len(self.times) - 1):  # the times of evaluations do not depend on the state
                now = solve(reverse, now, grid=self.times[k : k + 2], method=self.method, **({} if k else {"seed": 0}))
                self._owner += [k] * (len(silent.times) - len(self._owner))
            reverse.pair(float(self.times[0]), torch.zeros(1, 1, 1, 1))
        if silent.times.pop() != silent.times[0]:
            raise ValueError(f"{self.method} adds noise before its first evaluation; begin at the end of the table")
        values = torch.tensor(silent.times, dtype=torch.float32, device=device)
        whole = isinstance(self.process, DiscreteVP) and bool((values == values.round()).all())
        self.timesteps = values.long() if whole else values
        self.sigmas = self._levels(silent.times)
        self.num_inference_steps, self._begin = len(self.times) - 1, None
        self._restart()

    def _times(self, steps, given):
        grid = self.config.grid
        if grid is None:
            self.like.set_timesteps(steps, **given)
            return scheduler_grid(self.like)
        custom = next((given[name] for name in ("timesteps", "sigmas") if name in given), ())
        steps = len(custom) if steps is None else steps  # the grid is ours; how many, the caller may say in this way
        if isinstance(grid, str):
            return getattr(grids, grid)(self.process, steps, final=True)
        if steps != len(grid) - 1:
            raise ValueError(f"num_inference_steps = {steps}, but the plan has {len(grid) - 1} steps; give so many")
        return np.asarray(grid, np.float64)

    def _levels(self, times):
        if isinstance(self.process, FlowPath):
            levels = torch.tensor(times, dtype=torch.float64) / self.like.config.num_train_timesteps
            return torch.cat([levels, torch.tensor([self.times[-1]])]).float()
        pairs = (self.process.marginal(t) for t in [*times, float(self.times[-1])])
        return torch.tensor([sigma / alpha if alpha else math.inf for alpha, sigma in pairs], dtype=torch.float32)

    def _restart(self):
        self._place, self._now, self._expected, self._seed = None, None, None, None
        self.tape.outputs = []

    def set_begin_index(self, begin_index=0):
        """Where a run begins that does not begin with pure noise."""
        self._begin = begin_index

    @property
    def begin_index(self):
        return self._begin

    @property
    def step_index(self):
        return self._place

    # --- states ---

    def scale_model_input(self, sample, timestep=None):
        """The sample as it is."""
        return sample

    def add_noise(self, original_samples, noise, timesteps):
        """alpha·x_0 + sigma·ε at timesteps, one per sample."""
        t = torch.as_tensor(timesteps, device=original_samples.device).reshape(-1).to(torch.float64)
        if isinstance(self.process, FlowPath):
            t = t / self.like.config.num_train_timesteps
        return self.process.perturb(original_samples, t.to(original_samples.dtype), noise)

    def scale_noise(self, sample, timestep, noise):
        """`add_noise` as pipelines of flow matching call it."""
        return self.add_noise(sample, noise, timestep)

    def step(self, model_output, timestep, sample, generator=None, return_dict=True, **unused):
        """The sample at which the network is to be called next, or the end, from its output for this one."""
        if self._place is None:
            self._place = self._first(timestep)
        k = self._owner[self._place]
        if not self.tape.outputs and sample is not self._expected:
            self._now = self._moved(sample)
        self.tape.outputs.append(model_output)
        previous = self._advanced(k, generator)
        if not self.tape.outputs and k + 2 < len(self.times):  # what the next step asks first: churn adds noise before
            previous = self._advanced(k + 1, generator)
        previous = previous.to(sample.dtype)
        self._place, self._expected = self._place + 1, previous
        if self._place == len(self.timesteps):
            self._restart()
        return SchedulerOutput(prev_sample=previous) if return_dict else (previous,)

    def _first(self, timestep):
        """The place of a run's first evaluation, which is that of a step."""
        starts = [i for i, k in enumerate(self._owner) if not i or k != self._owner[i - 1]]
        if self._begin is None:
            near = (self.timesteps[starts].double() - float(timestep)).abs()
            return starts[int(near.argmin())]
        if self._begin not in starts:
            raise ValueError(f"begin_index = {self._begin} lies inside a step of {self.method}; they begin at {starts}")
        return self._begin

    def _moved(self, sample):
        """The state from which the step begins, where a pipeline has changed it, memory and noise kept."""
        if not hasattr(self._now, "state"):
            return sample
        return dataclasses.replace(self._now, state=self._now.state._replace(x=sample.to(self._now.state.x.dtype)))

    def _advanced(self, k, generator):
        """The step k as far as the outputs go: from its beginning, since steps are pure functions."""
        if self._seed is None:
            source = generator[0] if isinstance(generator, (list, tuple)) else generator
            device = source.device if source is not None else None
            self._seed = int(torch.randint(2**62, (), generator=source, device=device))
        self.tape.place = 0
        fresh = {} if hasattr(self._now, "state") else {"seed": self._seed}
        try:
            now = solve(self.reverse, self._now, grid=self.times[k : k + 2], method=self.method, **fresh)
        except Asked as asked:
            return asked.x
        self._now, self.tape.outputs = now, []
        return now.final


def make(method, like, grid):
    """See `sdekit.clients.diffusers_scheduler`."""
    times = None if grid is None else getattr(grid, "__name__", None)
    if times is not None and getattr(grids, times, None) is not grid:
        raise ValueError(f"grid must be one of sdekit.grids, such as sdekit.grids.log_snr, got {grid!r}")
    if hasattr(method, "grid") and hasattr(method, "method"):
        if grid is not None:
            raise ValueError("grid is given, but a plan has its own; leave it out")
        method, times = method.method, [float(t) for t in method.grid]
    if not isinstance(method, Method):
        raise ValueError(f"method must be a Method such as sdekit.dpmpp_2m, or a plan, got {method!r}")
    like = like.like if isinstance(like, SolveScheduler) else like
    config = {key: value for key, value in like.config.items() if not key.startswith("_")}
    config |= {key: value.tolist() for key, value in config.items() if isinstance(value, np.ndarray)}  # trained_betas
    config["_class_name"] = type(like).__name__
    return SolveScheduler(method=_encoded(method), like=config, grid=times)


def _encoded(value):
    """A method, and the arguments of its family, as what JSON holds."""
    if isinstance(value, Method):
        args, kwargs = value.arguments or (None, {})
        encoded = {name: _encoded(v) for name, v in kwargs.items()}
        return {"module": value.__module__, "name": value.name, "args": _encoded(args), "kwargs": encoded}
    if isinstance(value, Plan):
        return {"plan": value.to_json()}
    if isinstance(value, (tuple, list)):
        return [_encoded(v) for v in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"method has an argument that JSON does not hold: {value!r}")


def _decoded(value):
    """What `_encoded` was given; only methods of this package are looked up."""
    if isinstance(value, (tuple, list)):
        return tuple(_decoded(v) for v in value)
    if not isinstance(value, dict):
        return value
    if "plan" in value:
        return Plan.from_json(value["plan"])
    package = __name__.split(".")[0]
    module = value["module"]
    found = getattr(importlib.import_module(module), value["name"]) if module.split(".")[0] == package else None
    if not isinstance(found, Method):
        raise ValueError(f"{module}.{value['name']} is no method of {package}")
    if value["args"] is None:
        return found
    return found(*_decoded(value["args"]), **{name: _decoded(v) for name, v in value["kwargs"].items()})
