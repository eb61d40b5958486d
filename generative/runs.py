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
from .training import fit, numbers

__all__ = ["DATA", "claim", "finish", "packages", "train"]

DATA = (*sets, "digits")
DRAWS, SEED = 200_000, 2**33  # training samples of a set in the plane; seeds that neither samplers nor metrics use
CONFIG, RESULT, MODEL = "config.json", "result.json", "model.pt"


def train(family, data, out, settings=None, *, seconds=None, steps=None, seed=0, force=False, progress=True):
    """Trains a family of `families` on data of `DATA` into the folder `out`; returns (model, result).

    config.json  the arguments, options of `fit`, description of the model, versions: written first
    model.pt     the checkpoint; a run that was interrupted continues from it when it is started again
    losses.npy   of every step
    result.json  steps and seconds: written last, the mark of a finished run, which is returned as it is

    A folder with another configuration is a ValueError unless `force` replaces what is there.
    """
    if data == "digits":
        images, labels, *_ = digits()
    else:
        images, labels = sets[data].sample(DRAWS, seed=(seed + SEED) % 2**64), None
    labels, shape = labels if family in LABELLED else None, tuple(images.shape[1:])
    model, options = make(family, shape, 0 if labels is None else 10, seed, **(settings or {}))
    options |= numbers(seconds=seconds, steps=steps, seed=seed, **options)
    config = {"family": family, "data": data, "events": len(images), "settings": settings or {}, **options}
    config |= {"model": describe(model), "versions": packages()}
    if not claim(out, config, (MODEL, "losses.npy"), force):
        return load(out / MODEL), json.loads((out / RESULT).read_text())
    record = fit(model, images, labels, checkpoint=out / MODEL, every=200, progress=progress, **options)
    with sk.files.replacing(out / "losses.npy") as part, part.open("wb") as file:
        np.save(file, record.losses.numpy())
    result = {"steps": record.steps, "seconds": record.seconds}
    finish(out, result)
    return model, result


def claim(out, config, files=(), force=False):
    """Writes config.json into the folder; whether there is work to do. ValueError if that would replace other work.

    `files` are what the work will write: `force` removes them. A configuration alone is no work yet.
    """
    config = json.loads(json.dumps(config, default=str))
    paths = [out / name for name in (CONFIG, RESULT, *files)]
    if force:
        for path in paths:
            path.unlink(missing_ok=True)
    there = [path for path in paths[1:] if path.exists()]
    was = json.loads(paths[0].read_text()) if paths[0].exists() else {}
    differ = [name for name, value in config.items() if was.get(name) != value]
    if there and differ:
        what = f"{there[0].name} of another {', '.join(differ)}"
        raise ValueError(f"{out} holds {what}; give another folder, or --force to replace it")
    sk.files.write_text(paths[0], json.dumps(config, indent=1) + "\n")
    return paths[1] not in there


def finish(out, result):
    """Writes result.json into the folder."""
    sk.files.write_text(out / RESULT, json.dumps(result, indent=1) + "\n")


def packages():
    """Versions of Python and of what takes part."""
    found = {"python": platform.python_version(), "sdekit": sk.__version__}
    for name in ("numpy", "torch", "scikit-learn", "zuko", "POT"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
