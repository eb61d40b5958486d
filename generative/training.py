"""The one training loop."""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

import sdekit as sk

from .checkpoints import contents, read, restore, same_model, write
from .standard import ROWS, optional, unlabelled

__all__ = ["Record", "cosine", "fit"]

SAVING = 20.0  # seconds without a checkpoint, where there is one


class Record(NamedTuple):
    """What `fit` returns: the loss of every step (float64), the number of steps, the seconds they took, the seed."""

    losses: torch.Tensor
    steps: int
    seconds: float
    seed: int


def cosine(progress, warmup=0.02):
    """Factor of the learning rate at a progress of 0 … 1: a linear rise, then half a cosine down to 0."""
    return min(1.0, progress / warmup) * 0.5 * (1 + math.cos(math.pi * progress))


def fit(
    model,
    data,
    labels=None,
    *,
    steps=None,
    seconds=None,
    batch=512,
    lr=2e-3,
    seed=None,
    ema=0.999,
    clip=1.0,
    schedule=cosine,
    checkpoint=None,
    every=1000,
    progress=False,
):
    """Trains a model on data (N, *event) and labels (N,); afterwards it holds the averaged weights.

    Minimises `model.loss(x, c)` by Adam. A model may bring `optimizers(lr)` and `training_step(x, c, step, descend)` of
    its own (GANs), where `descend(i, loss)` is a step of optimizer i; or a closed-form `fit(data, seed, progress)`,
    after which nothing else is done. Models with `standardise(data)` set their units first, and those with
    `finished(data)` look at what was learned.

    steps, seconds  stop after so many steps, or so long; whichever comes first
    batch, lr       samples per step, drawn with replacement; peak learning rate, times `schedule(progress)`
    seed            batches, times and noise of a step are functions of (seed, step) alone. None: that of the
                    checkpoint, where there is one, else a fresh one of the operating system's, which is recorded
    ema             decay of the average of the weights; it starts low, so that short runs forget their start
    clip            largest norm of the gradient; math.inf for none
    checkpoint      file written every `every` steps, after 20 seconds at most, and at the end. Where it exists the run
                    continues from it, and equals the uninterrupted one bit for bit on a CPU (unless `seconds` set the
                    pace). It must be of the same model, data and settings, else a ValueError says what differs; more
                    `steps` or `seconds` train on, the schedule being at done/steps then.
    progress        show a bar

    A loss or gradient that is not finite raises FloatingPointError before it reaches weights or the checkpoint.
    """
    data, labels = _checked(model, data, labels)
    settings, every = _numbers(steps, seconds, batch, lr, ema, clip, seed), sk.checks.integer("every", every, 1)
    settings |= {"data": _fingerprint(data), "labels": _fingerprint(labels)}
    found = _found(checkpoint, settings, model)
    if seed is None:
        settings["seed"] = found["training"]["settings"]["seed"] if found else sk.noise.fresh(None)
    if hasattr(model, "fit"):
        return _closed_form(model, data, labels, settings, checkpoint, found, progress)
    if steps is None and seconds is None:
        raise ValueError("steps and seconds are both None: say when to stop")
    run = _Training(model, data, settings, checkpoint, found)
    with tqdm(total=settings["steps"], initial=len(run.losses), unit="step", disable=not progress) as bar:
        while (done := run.progress()) < 1:
            run.step(data, labels, schedule(done))
            bar.set_postfix_str(f"loss={run.losses[-1]:.4g}", refresh=False)
            bar.update()
            if len(run.losses) % every == 0 or time.perf_counter() - run.saved_at > SAVING:
                run.save()
    return run.finish(data)


def _closed_form(model, data, labels, settings, checkpoint, found, progress):
    """`fit` of a model that has a closed form."""
    begun = time.perf_counter()
    unlabelled(model, labels)
    if found:
        restore(model, found["state"], checkpoint)
    else:
        model.fit(data, settings["seed"], progress)
    if checkpoint is not None:
        write(checkpoint, {**contents(model), "training": {"settings": settings}})
    return Record(torch.empty(0, dtype=torch.float64), 0, time.perf_counter() - begun, settings["seed"])


class _Training:
    """A run between two steps: the model, its average, the optimizers, the losses so far, and what is saved of them."""

    def __init__(self, model, data, settings, checkpoint, found):
        if hasattr(model, "standardise"):
            model.standardise(data)
        self.model, self.settings, self.checkpoint = model, settings, checkpoint
        self.average = AveragedModel(model, multi_avg_fn=_average(settings["ema"]))
        self.optimizers = _optimizers(model, settings["lr"])
        self.peaks = [group["lr"] for group in self._groups()]
        self.losses = []
        self.begun = time.perf_counter()  # after the optimizers, of which the first of a program takes seconds
        if found:
            self._resume(found["training"], found["state"])
        model.train()
        self.saved, self.saved_at = len(self.losses), time.perf_counter()

    def _groups(self):
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _resume(self, training, state):
        self.losses = training["losses"].tolist()
        self.begun -= training["seconds"]
        restore(self.model, training["weights"], self.checkpoint)
        restore(self.average.module, state, self.checkpoint)
        self.average.n_averaged.copy_(training["averaged"])
        for optimizer, before in zip(self.optimizers, training["optimizers"], strict=True):
            optimizer.load_state_dict(before)

    def save(self):
        """Writes the checkpoint, where there is one that does not hold this step yet."""
        if self.checkpoint is None or self.saved == len(self.losses):
            return
        training = {
            "settings": self.settings,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "seconds": time.perf_counter() - self.begun,
            "weights": self.model.state_dict(),
            "averaged": self.average.n_averaged,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        write(self.checkpoint, {**contents(self.average.module), "training": training})
        self.saved, self.saved_at = len(self.losses), time.perf_counter()

    def step(self, data, labels, factor):
        """One step with `factor` times the peak learning rates."""
        step = len(self.losses)
        for group, peak in zip(self._groups(), self.peaks, strict=True):
            group["lr"] = peak * factor
        with _randomness(self.settings["seed"], step, data.device):
            pick = torch.randint(len(data), (self.settings["batch"],), device=data.device)
            x, c = data[pick], None if labels is None else labels[pick]
            if hasattr(self.model, "training_step"):
                loss = self.model.training_step(x, c, step, self._descend)
            else:
                loss = self._descend(0, self.model.loss(x, c))
        self.average.update_parameters(self.model)
        self.losses.append(loss)

    def _descend(self, index, loss):
        """A step of one of the optimizers; the loss as a number."""
        optimizer = self.optimizers[index]
        optimizer.zero_grad()
        loss.backward()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, self.settings["clip"])
        value = loss.item()
        if not (math.isfinite(value) and torch.isfinite(norm)):
            kept = f"; {self.checkpoint} holds step {self.saved}" if self.saved else ""
            where = f"at step {len(self.losses)}; lower lr{kept}"
            raise FloatingPointError(f"loss {value} or its gradient is not finite {where}")
        optimizer.step()
        return value

    def progress(self):
        """Share of the run that is done, for the middle of the next step; at least 1 when it is over."""
        steps, seconds, done = self.settings["steps"], self.settings["seconds"], len(self.losses)
        if steps is not None and done >= steps:
            return 1.0
        by_time = 0.0 if seconds is None else (time.perf_counter() - self.begun) / seconds
        return max(0.0 if steps is None else (done + 0.5) / steps, by_time)

    def finish(self, data):
        """Saves, gives the model the averaged weights, and lets it look at what it learned; the record of the run."""
        self.save()
        self.model.load_state_dict(self.average.module.state_dict())
        self.model.eval()
        if hasattr(self.model, "finished"):
            self.model.finished(data[:: -(-len(data) // ROWS)])
        seconds = time.perf_counter() - self.begun
        losses = torch.tensor(self.losses, dtype=torch.float64)
        return Record(losses, len(self.losses), seconds, self.settings["seed"])


def _checked(model, data, labels):
    """Data and labels as tensors on the model's device, in its floating-point type; labels int64."""
    like = next(chain(model.parameters(), model.buffers()), torch.empty(0))
    data = torch.as_tensor(data)
    if data.is_complex() or data.dtype == torch.bool:
        raise ValueError(f"data must be real numbers, got {data.dtype}")
    data = data.to(like)
    if data.ndim < 2 or len(data) == 0 or not torch.isfinite(data).all():
        raise ValueError(f"data must be finite, of shape (N, *event) with N > 0, got shape {tuple(data.shape)}")
    if labels is not None:
        labels = torch.as_tensor(labels).to(like.device)
        if labels.shape != data.shape[:1] or labels.is_floating_point():
            raise ValueError(f"labels must be {len(data)} integers, got {labels.dtype} of shape {tuple(labels.shape)}")
        labels = labels.long()
    return data, labels


def _numbers(steps, seconds, batch, lr, ema, clip, seed):
    """Settings of `fit` as plain numbers; a ValueError for impossible ones."""
    integer, real = sk.checks.integer, sk.checks.real
    return {
        "steps": optional(integer, "steps", steps, 1),
        "seconds": optional(real, "seconds", seconds, above=0),
        "batch": integer("batch", batch, 1),
        "lr": real("lr", lr, above=0, below=math.inf),
        "ema": real("ema", ema, 0, below=1),
        "clip": real("clip", clip, above=0),
        "seed": None if seed is None else sk.noise.fresh(seed),
    }


def _fingerprint(x):
    """Shape and checksum of a tensor."""
    if x is None:
        return None
    return [*x.shape, zlib.crc32(x.contiguous().view(torch.uint8).cpu().numpy())]


def _optimizers(model, lr):
    if hasattr(model, "optimizers"):
        return tuple(model.optimizers(lr))
    return (torch.optim.Adam(model.parameters(), lr, betas=(0.9, 0.99), fused=True),)


def _average(decay):
    """a ← a + (1 − d)(w − a) with d = min(decay, (1 + n)/(10 + n)) after n averages."""

    @torch.no_grad()
    def update(averages, weights, n):
        n = int(n)
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + n) / (10 + n)))

    return update


@contextlib.contextmanager
def _randomness(seed, step, device):
    """torch's generator in a state that is a function of (seed, step); afterwards as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield


def _found(checkpoint, settings, model):
    """The content of the checkpoint, None where there is none; raises unless it is of this very run."""
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    content = read(checkpoint)
    same_model(content, model, checkpoint)
    if "training" not in content:
        raise ValueError(f"{checkpoint} holds a model but no training to continue; give another name")
    before = content["training"]["settings"]
    done = len(content["training"].get("losses", ()))
    if settings["steps"] is not None and settings["steps"] < done:
        raise ValueError(f"steps = {settings['steps']}, but {checkpoint} holds {done} already; ask for more")
    paces = "steps", "seconds"
    differ = [name for name, value in settings.items() if name not in paces and before.get(name) != value]
    if differ := [name for name in differ if name != "seed" or settings["seed"] is not None]:
        was = ", ".join(f"{name} = {before.get(name)}" for name in differ)
        raise ValueError(f"{checkpoint} holds a run with {was}; continue with the same, or give another name")
    return content
