"""The one training loop."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from .checkpoints import contents, read, restore, write

__all__ = ["Record", "cosine", "fit"]


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

    Minimises `model.loss(x, c)` by Adam. A model may bring `optimizers(lr)` and `training_step(x, c, step, optimizers)`
    of its own (GANs), or a closed-form `fit(data, seed)`, after which nothing else is done. Models with
    `standardise(data)` set their units first.

    steps, seconds  stop after so many steps, or so long; whichever comes first
    batch, lr       samples per step, drawn with replacement; peak learning rate, times `schedule(progress)`
    seed            batches, times and noise of a step are functions of (seed, step) alone
    ema             decay of the average of the weights; it starts low, so that short runs forget their start
    clip            largest norm of the gradient; math.inf for none
    checkpoint      file written every `every` steps and at the end. Where it exists the run continues from it, and
                    equals the uninterrupted one bit for bit on a CPU (unless `seconds` set the pace).
    progress        show a bar

    A loss or gradient that is not finite raises FloatingPointError before it reaches weights or the checkpoint.
    """
    data, labels = _checked(model, data, labels)
    begun = time.perf_counter()
    if hasattr(model, "fit"):
        model.fit(data, seed)
        if checkpoint is not None:
            write(checkpoint, contents(model))
        return Record(torch.empty(0, dtype=torch.float64), 0, time.perf_counter() - begun)
    if steps is None and seconds is None:
        raise ValueError("steps and seconds are both None: say when to stop")
    if hasattr(model, "standardise"):
        model.standardise(data)
    average = AveragedModel(model, multi_avg_fn=_average(ema))
    optimizers = _optimizers(model, lr)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    settings = {"steps": steps, "seconds": seconds, "batch": batch, "lr": lr, "seed": seed, "ema": ema, "clip": clip}
    settings["data"] = list(data.shape)

    losses, spent = _resume(checkpoint, settings, model, average, optimizers)
    begun, saved = time.perf_counter() - spent, len(losses)

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

    model.train()
    with _bar(progress, steps, len(losses)) as show:
        while (done := _progress(len(losses), steps, time.perf_counter() - begun, seconds)) < 1:
            step = len(losses)
            for optimizer, peaks in zip(optimizers, rates, strict=True):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * schedule(done)
            with _randomness(seed, step, data.device):
                pick = torch.randint(len(data), (batch,), device=data.device)
                x, c = data[pick], None if labels is None else labels[pick]
                loss, finite = _advance(model, x, c, step, optimizers, clip)
            if not finite:
                kept = f"; {checkpoint} holds step {saved}" if checkpoint is not None and saved else ""
                raise FloatingPointError(f"loss {loss} or its gradient is not finite at step {step}; lower lr{kept}")
            average.update_parameters(model)
            losses.append(loss)
            show(loss)
            if checkpoint is not None and len(losses) % every == 0:
                save()
                saved = len(losses)
    if checkpoint is not None and saved < len(losses):
        save()
    model.load_state_dict(average.module.state_dict())
    model.eval()
    return Record(torch.tensor(losses, dtype=torch.float64), len(losses), time.perf_counter() - begun)


def _checked(model, data, labels):
    """Data and labels as tensors on the model's device, in its floating-point type."""
    like = next(iter(model.parameters()), torch.empty(0))
    data = torch.as_tensor(data).to(like)
    if data.ndim < 2 or len(data) == 0 or not torch.isfinite(data).all():
        raise ValueError(f"data must be finite, of shape (N, *event) with N > 0, got shape {tuple(data.shape)}")
    if labels is not None:
        labels = torch.as_tensor(labels).to(like.device)
        if labels.shape != data.shape[:1] or labels.is_floating_point():
            raise ValueError(f"labels must be {len(data)} integers, got {labels.dtype} of shape {tuple(labels.shape)}")
    return data, labels


def _optimizers(model, lr):
    if hasattr(model, "optimizers"):
        return tuple(model.optimizers(lr))
    return (torch.optim.Adam(model.parameters(), lr, betas=(0.9, 0.99), fused=True),)


def _advance(model, x, c, step, optimizers, clip):
    """One step of training; (loss, whether loss and gradient are finite). Weights move only if they are."""
    if hasattr(model, "training_step"):
        loss = float(model.training_step(x, c, step, optimizers))
        return loss, math.isfinite(loss)
    (optimizer,) = optimizers
    optimizer.zero_grad()
    loss = model.loss(x, c)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    finite = bool(torch.isfinite(norm + loss))
    if finite:
        optimizer.step()
    return loss.detach().item(), finite


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


def _resume(checkpoint, settings, model, average, optimizers):
    """(losses, seconds) of the steps done before, with model, average and optimizers as they were then."""
    if checkpoint is None or not Path(checkpoint).exists():
        return [], 0.0
    content = read(checkpoint)
    training = content.get("training")
    if training is None:
        raise ValueError(f"{checkpoint} holds a model but no training to continue; give another name")
    differ = [name for name, value in settings.items() if training["settings"].get(name) != value]
    if differ:
        was = ", ".join(f"{name} = {training['settings'].get(name)}" for name in differ)
        raise ValueError(f"{checkpoint} holds a run with {was}; continue with the same, or give another name")
    restore(model, training["weights"], checkpoint)
    restore(average.module, content["state"], checkpoint)
    average.n_averaged.copy_(training["averaged"])
    for optimizer, state in zip(optimizers, training["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return training["losses"].tolist(), training["seconds"]


@contextlib.contextmanager
def _bar(progress, steps, done):
    """A function that shows the loss of one more step."""
    if not progress:
        yield lambda loss: None
        return
    from tqdm import tqdm

    with tqdm(total=steps, initial=done, unit="step") as bar:

        def show(loss):
            bar.update()
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)

        yield show
