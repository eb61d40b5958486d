"""Trainings in folders: the exact configuration, the checkpoint, the losses; nothing finished is replaced silently."""

from __future__ import annotations

import contextlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

import sdekit as sk

from .checkpoints import describe, load
from .data import digits, sets
from .families import LABELLED, make
from .training import fit

__all__ = ["DATA", "claim", "finish", "packages", "train"]

DATA = (*sets, "digits")
DRAWS, SEED = 200_000, 2**33  # training samples of a set in the plane; seeds that neither samplers nor metrics use
CONFIG, RESULT, MODEL = "config.json", "result.json", "model.pt"


def train(
    family, data, out, *, seconds=None, steps=None, seed=0, settings=None, force=False, keep=False, progress=True
):
    """Trains a family of `families` on data of `DATA` into the folder `out`; returns (model, result).

    config.json  the arguments, options of `fit`, description of the model, versions: written first
    model.pt     the checkpoint; a run that was interrupted continues from it when it is started again
    losses.npy   of every step
    result.json  steps and seconds: written last, the mark of a finished run

    A finished run, or one with another configuration, is a ValueError unless `force` replaces it. `keep` returns a
    finished run of the same configuration as it is.
    """
    if data == "digits":
        images, labels, *_ = digits()
    else:
        images, labels = sets[data].sample(DRAWS, seed=seed + SEED), None
    labels, shape = labels if family in LABELLED else None, tuple(images.shape[1:])
    model, options = make(family, shape, 0 if labels is None else 10, seed, **(settings or {}))
    config = {
        "family": family,
        "data": data,
        "seed": seed,
        "seconds": seconds,
        "steps": steps,
        "settings": settings or {},
    }
    config |= {"events": len(images), "fit": options, "model": describe(model), "versions": packages()}
    if not claim(out, config, (MODEL, "losses.npy"), force, keep):
        return load(out / MODEL), json.loads((out / RESULT).read_text())
    options |= {"seconds": seconds, "steps": steps, "seed": seed, "progress": progress}
    record = fit(model, images, labels, checkpoint=out / MODEL, every=200, **options)
    with sk.files.replacing(out / "losses.npy") as part, part.open("wb") as file:
        np.save(file, record.losses.numpy())
    result = {"steps": record.steps, "seconds": record.seconds}
    finish(out, result)
    return model, result


def claim(out, config, files=(), force=False, keep=False):
    """Writes config.json into the folder, and whether there is work to do; ValueError if that would replace a result.

    `files` are what the work will write: `force` removes them, and without a configuration they must not be there.
    """
    text = json.dumps(config, indent=1, default=str) + "\n"
    paths = [out / name for name in (CONFIG, RESULT, *files)]
    if force:
        for path in paths:
            path.unlink(missing_ok=True)
    there = [path for path in paths if path.exists()]
    same = paths[0] in there and paths[0].read_text() == text
    if there and not (same and (keep or paths[1] not in there)):
        why = "is finished" if same else f"holds {there[0].name} of another configuration"
        raise ValueError(f"{out} {why}; give another folder, or --force to replace it")
    out.mkdir(parents=True, exist_ok=True)
    with sk.files.replacing(paths[0]) as part:
        part.write_text(text)
    return paths[1] not in there


def finish(out, result):
    """Writes result.json into the folder."""
    with sk.files.replacing(out / RESULT) as part:
        part.write_text(json.dumps(result, indent=1) + "\n")


def packages():
    """Versions of Python and of what takes part."""
    found = {"python": platform.python_version(), "sdekit": sk.__version__}
    for name in ("numpy", "torch", "scikit-learn", "zuko", "POT"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
