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

from .checkpoints import contents, read, restore, same_model, write
from .standard import unlabelled

__all__ = ["Record", "cosine", "fit"]

SAVING = 20.0  # seconds without a checkpoint, where there is one


class Record(NamedTuple):
    """What `fit` returns: the loss of every step (float64), the number of steps, and the seconds they took."""

    losses: torch.Tensor
    steps: int
    seconds: float


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
    seed=0,
    ema=0.999,
    clip=1.0,
    schedule=cosine,
    checkpoint=None,
    every=1000,
    progress=False,
):
    """Trains a model on data (N, *event) and labels (N,); afterwards it holds the averaged weights.

    Minimises `model.loss(x, c)` by Adam. A model may bring `optimizers(lr)` and `training_step(x, c, step, descend)` of
    its own (GANs), where `descend(i, loss)` is a step of optimizer i; or a closed-form `fit(data, seed)`, after which
    nothing else is done. Models with `standardise(data)` set their units first.

    steps, seconds  stop after so many steps, or so long; whichever comes first
    batch, lr       samples per step, drawn with replacement; peak learning rate, times `schedule(progress)`
    seed            batches, times and noise of a step are functions of (seed, step) alone
    ema             decay of the average of the weights; it starts low, so that short runs forget their start
    clip            largest norm of the gradient; math.inf for none
    checkpoint      file written every `every` steps, after 20 seconds at most, and at the end. Where it exists the run
                    continues from it, and equals the uninterrupted one bit for bit on a CPU (unless `seconds` set the
                    pace). It must be of the same model, data and settings, else a ValueError says what differs.
    progress        show a bar

    A loss or gradient that is not finite raises FloatingPointError before it reaches weights or the checkpoint.
    """
    data, labels = _checked(model, data, labels)
    settings = {"steps": steps, "seconds": seconds, "batch": batch, "lr": lr, "seed": seed, "ema": ema, "clip": clip}
    settings = numbers(**settings)
    steps, seconds, batch, lr, seed, ema, clip = settings.values()
    settings |= {"data": _fingerprint(data), "labels": _fingerprint(labels)}
    every = numbers(every=every)["every"]
    found = _found(checkpoint, settings, model)
    if hasattr(model, "fit"):
        begun = time.perf_counter()
        unlabelled(model, labels)
        if found:
            restore(model, found["state"], checkpoint)
        else:
            model.fit(data, seed)
        if checkpoint is not None:
            write(checkpoint, {**contents(model), "training": {"settings": settings}})
        return Record(torch.empty(0, dtype=torch.float64), 0, time.perf_counter() - begun)
    if steps is None and seconds is None:
        raise ValueError("steps and seconds are both None: say when to stop")
    if hasattr(model, "standardise"):
        model.standardise(data)
    average = AveragedModel(model, multi_avg_fn=_average(ema))
    optimizers = _optimizers(model, lr)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    losses, begun = [], time.perf_counter()  # after the optimizers, of which the first of a program takes seconds
    if found:
        training = found["training"]
        losses, begun = training["losses"].tolist(), begun - training["seconds"]
        restore(model, training["weights"], checkpoint)
        restore(average.module, found["state"], checkpoint)
        average.n_averaged.copy_(training["averaged"])
        for optimizer, state in zip(optimizers, training["optimizers"], strict=True):
            optimizer.load_state_dict(state)
    saved, saved_at = len(losses), time.perf_counter()

    def save():
        training = {
            "settings": settings,
            "losses": torch.tensor(losses, dtype=torch.float64),
            "seconds": time.perf_counter() - begun,
            "weights": model.state_dict(),
            "averaged": average.n_averaged,
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }
        write(checkpoint, {**contents(average.module), "training": training})

    def descend(index, loss):
        """A step of one of the optimizers; the loss as a number."""
        optimizers[index].zero_grad()
        loss.backward()
        weights = [weight for group in optimizers[index].param_groups for weight in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, clip)
        value = loss.item()
        if not (math.isfinite(value) and torch.isfinite(norm)):
            kept = f"; {checkpoint} holds step {saved}" if saved else ""
            raise FloatingPointError(f"loss {value} or its gradient is not finite at step {step}; lower lr{kept}")
        optimizers[index].step()
        return value

    model.train()
    with tqdm(total=steps, initial=len(losses), unit="step", disable=not progress) as bar:
        while (done := _progress(len(losses), steps, time.perf_counter() - begun, seconds)) < 1:
            step = len(losses)
            for optimizer, peaks in zip(optimizers, rates, strict=True):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * schedule(done)
            with _randomness(seed, step, data.device):
                pick = torch.randint(len(data), (batch,), device=data.device)
                x, c = data[pick], None if labels is None else labels[pick]
                if hasattr(model, "training_step"):
                    loss = model.training_step(x, c, step, descend)
                else:
                    loss = descend(0, model.loss(x, c))
            average.update_parameters(model)
            losses.append(loss)
            bar.set_postfix_str(f"loss={loss:.4g}", refresh=False)
            bar.update()
            if checkpoint is not None and (len(losses) % every == 0 or time.perf_counter() - saved_at > SAVING):
                save()
                saved, saved_at = len(losses), time.perf_counter()
    if checkpoint is not None and saved < len(losses):
        save()
    model.load_state_dict(average.module.state_dict())
    model.eval()
    return Record(torch.tensor(losses, dtype=torch.float64), len(losses), time.perf_counter() - begun)


def _checked(model, data, labels):
    """Data and labels as tensors on the model's device, in its floating-point type; labels int64."""
    like = next(chain(model.parameters(), model.buffers()), torch.empty(0))
    data = torch.as_tensor(data).to(like)
    if data.ndim < 2 or len(data) == 0 or not torch.isfinite(data).all():
        raise ValueError(f"data must be finite, of shape (N, *event) with N > 0, got shape {tuple(data.shape)}")
    if labels is not None:
        labels = torch.as_tensor(labels).to(like.device)
        if labels.shape != data.shape[:1] or labels.is_floating_point():
            raise ValueError(f"labels must be {len(data)} integers, got {labels.dtype} of shape {tuple(labels.shape)}")
        labels = labels.long()
    return data, labels


def numbers(**settings):
    """Settings of `fit` as plain numbers; a ValueError for impossible ones. steps and seconds may be None."""
    found = {}
    for name, value in settings.items():
        if value is None and name in ("steps", "seconds"):
            found[name] = None
            continue
        whole, zero, number = name in ("steps", "batch", "seed", "every"), name in ("seed", "ema"), float(value)
        allowed = (number > 0 or (zero and number == 0)) and not (name == "ema" and number >= 1)
        if not allowed or (whole and not number.is_integer()):
            want = "0 or more, below 1" if name == "ema" else f"positive{' or 0' * zero}{', an integer' * whole}"
            raise ValueError(f"{name} must be {want}; got {value!r}")
        found[name] = int(value) if whole else number
    return found


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


def _progress(step, steps, spent, seconds):
    """Share of the run that is done, for the middle of the next step; at least 1 when it is over."""
    if steps is not None and step >= steps:
        return 1.0
    return max(0.0 if steps is None else (step + 0.5) / steps, 0.0 if seconds is None else spent / seconds)


def _found(checkpoint, settings, model):
    """The content of the checkpoint, None where there is none; raises unless it is of this very run."""
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    content = read(checkpoint)
    same_model(content, model, checkpoint)
    if "training" not in content:
        raise ValueError(f"{checkpoint} holds a model but no training to continue; give another name")
    before = content["training"]["settings"]
    if differ := [name for name, value in settings.items() if before.get(name) != value]:
        was = ", ".join(f"{name} = {before.get(name)}" for name in differ)
        raise ValueError(f"{checkpoint} holds a run with {was}; continue with the same, or give another name")
    return content
