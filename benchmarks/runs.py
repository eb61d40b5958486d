"""Trainings in folders: the exact configuration, the checkpoint; nothing finished is replaced silently."""

from __future__ import annotations

import json

import generative as gen
import sdekit as sk

from .families import make
from .report import versions

DRAWS, SEED = 200_000, 2**33  # training samples; seeds that neither samplers nor metrics use
CONFIG, RESULT, MODEL = "config.json", "result.json", "model.pt"


def train(family, data, out, *, seconds, seed=0, force=False):
    """Trains a family of `families` on a set in the plane into the folder `out`; returns (model, result).

    config.json  the arguments, options of `fit`, the model, versions: written first
    model.pt     the checkpoint; a run that was interrupted continues from it when it is started again
    result.json  steps and seconds: written last, the mark of a finished run, which is returned as it is

    A folder with another configuration is a ValueError unless `force` replaces what is there.
    """
    points = gen.sets[data].sample(DRAWS, seed=(seed + SEED) % 2**64)
    model, options = make(family, seed=seed)
    options |= {"seconds": seconds, "seed": seed}
    config = {"family": family, "data": data, **options, "model": repr(model), "versions": versions()}
    if not claim(out, config, (MODEL,), force):
        return gen.load(out / MODEL), json.loads((out / RESULT).read_text())
    record = gen.fit(model, points, checkpoint=out / MODEL, every=200, **options)
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
