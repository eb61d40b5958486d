"""Checkpoints: a model in a file of plain data and tensors, from which it can be built again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch.nn.parameter import is_lazy

import sdekit as sk

__all__ = ["load", "recorded", "save"]

SEAL = bytes((4, 0))  # length of the comment, at the end of a zip archive
FORMAT, VERSION = "sdekit.generative", 2


def recorded(cls):
    """Class decorator of a module: instances keep the arguments they were made with, as the dictionary `config`."""
    plain = cls.__init__
    signature = inspect.signature(plain)

    @functools.wraps(plain)
    def init(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        self.config = {name: value for name, value in bound.arguments.items() if value is not self}

    cls.__init__ = init
    return cls


def save(model, path):
    """Writes the model: its class, the arguments it was made with, and its state.

    The file appears only when it is complete. `torch.load(path, weights_only=True)` reads it: it holds tensors and
    plain data, no code. A model with parts of the user's own is written without its arguments (see `load`).
    """
    write(path, contents(model))


def load(path, model=None):
    """The model in a file written by `save` or by `fit`, ready to sample.

    Where `model` is given its state is set from the file: for models with networks of the user's own, which the file
    cannot name. Raises ValueError for a file that is damaged, foreign, or of another model.
    """
    content = read(path)
    if model is None:
        model = built(content, path)
    else:
        same_model(content, model, path)
    restore(model, content["state"], path)
    return model.eval()


def contents(model):
    """What a file says about a model."""
    told = {"format": FORMAT, "version": VERSION, "class": type(model).__name__, "config": describe(model)}
    return told | {"state": model.state_dict()}


def built(content, path):
    """The model that a file's content describes; its weights are not those of the file yet."""
    name, own = content["class"], None
    try:
        with contextlib.suppress(RuntimeError), torch.device("meta"):  # takes no memory, but zuko's flows need some
            own = build(content["config"]).state_dict()
        if own is not None:
            fitting(content["state"], own, f"{path} does not hold the {name} that it describes")
        model = build(content["config"])
    except Foreign as error:
        what = f"{path} holds a {name} with parts of your own, {error}"
        raise ValueError(f"{what}: build it, then load(path, model)") from None
    except Misfit:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{path} describes a model that this version cannot build: {error}") from error
    if type(model).__name__ != name:
        raise ValueError(f"{path} is damaged: it holds a {name}, and describes a {type(model).__name__}")
    return model


class Misfit(ValueError):
    """A state that is not one of the module."""


def fitting(state, own, what):
    """A Misfit unless a state has the names, shapes and kinds of a module's own, and no NaN; `what` begins its text."""
    if not isinstance(state, dict):
        raise Misfit(f"{what}: its state is a {type(state).__name__}")
    for name in {**own, **state}:
        if name not in state or name not in own:
            raise Misfit(f"{what}: {name} is " + ("missing" if name in own else "not of this model"))
        value, like = state[name], own[name]
        if not isinstance(like, torch.Tensor) or is_lazy(like):  # of modules that say themselves what they load
            continue
        if not isinstance(value, torch.Tensor) or value.layout != like.layout:
            raise Misfit(f"{what}: {name} is no tensor, or a sparse one")
        if value.shape != like.shape:
            raise Misfit(f"{what}: {name} has shape {tuple(value.shape)}, not {tuple(like.shape)}")
        if (value.is_floating_point(), value.is_complex()) != (like.is_floating_point(), like.is_complex()):
            raise Misfit(f"{what}: {name} has type {value.dtype}, not {like.dtype}")
        if value.isnan().any():
            raise Misfit(f"{what}: {name} has NaN")


def same_model(content, model, path):
    """A ValueError unless a file's content is of the model's class, made with the same arguments."""
    if type(model).__name__ != content["class"]:
        raise ValueError(f"{path} holds a {content['class']}, but the model is a {type(model).__name__}")
    try:
        told, own = (json.dumps(config, default=torch.Tensor.tolist) for config in (content["config"], describe(model)))
    except (RecursionError, TypeError) as error:
        raise ValueError(f"{path} describes no model: {error}") from error
    if told != own:
        raise ValueError(f"{path} holds a {content['class']} made with other arguments: {told}, not {own}")


def write(path, content):
    """torch.save into the file, whole or not at all; its folder is made if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with sk.files.replacing(path) as part:
        part.write_bytes(sealed(buffer.getvalue()))


def sealed(archive):
    """A zip archive with its own checksum as its comment, so that a change anywhere in the file is noticed.

    The checksums inside leave out headers and padding, and torch does not look at them.
    """
    return archive[:-2] + SEAL + zlib.crc32(archive).to_bytes(4, "little")


def read(path):
    """The contents of a checkpoint, checked to be one."""
    raw = Path(path).read_bytes()
    if raw != sealed(raw[:-6] + bytes(2)):
        raise ValueError(f"{path} is damaged, or no checkpoint of this package: its checksum is another")
    try:
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch meets in bytes that it did not write
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is damaged, or no checkpoint: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this package")
    if content.get("version") != VERSION:
        raise ValueError(f"{path} has version {content.get('version')}, this package reads version {VERSION}")
    missing = {"class", "config", "state"} - content.keys()
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(sorted(missing))}")
    return content


def restore(model, state, path):
    """load_state_dict, whole or not at all, with an error that names the file."""
    what = f"{path} does not fit this {type(model).__name__}"
    fitting(state, model.state_dict(), what)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{what}: {' '.join(str(error).split())[:300]}") from error


def describe(value):
    """Plain data from which `build` makes the value again; of what only the user has the code of, the name."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    fields = value._asdict() if hasattr(value, "_asdict") else getattr(value, "config", None)
    fields = vars(value) if dataclasses.is_dataclass(value) else fields
    if fields is not None and known(type(value).__name__) is type(value):
        return {"class": type(value).__name__, "arguments": {name: describe(part) for name, part in fields.items()}}
    if type(value) in (tuple, list):
        return [describe(part) for part in value]
    return {"own": type(value).__name__}


class Foreign(Exception):
    """What only the user has the code of."""


def build(value):
    """The inverse of `describe`; lists come back as tuples. Raises `Foreign`."""
    if isinstance(value, dict) and "own" in value:
        raise Foreign(value["own"])
    if isinstance(value, dict):
        return known(value["class"])(**{name: build(part) for name, part in value["arguments"].items()})
    return tuple(map(build, value)) if isinstance(value, list) else value


def known(name):
    """The public class of this package, or the process of sdekit, of that name; None where there is none."""
    package = importlib.import_module(__package__)
    found = getattr(package if name in package.__all__ else sk.processes, name, None)
    return found if isinstance(found, type) else None
