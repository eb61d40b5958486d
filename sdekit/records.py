"""Processes as records: NamedTuples whose methods compile, and the arrays of one value per path that they hold."""

import dataclasses
import functools
from collections import namedtuple

from . import arrays

__all__ = ["as_record", "parameters", "path_parameters", "with_parameters"]

SHARED = ("correlation", "jumps")  # fields that hold one value for all paths, whatever the process


def as_record(process):
    """The process, a dataclass instance converted into a NamedTuple of the same fields and methods.

    So are processes that it holds.
    """
    if path_parameters(process):
        changed = {n: as_record(v) for n, v in zip(process._fields, process) if hasattr(type(v), "drift")}
        return process._replace(**changed) if changed else process
    if not dataclasses.is_dataclass(process) or isinstance(process, type):
        return process
    names = [f.name for f in dataclasses.fields(process)]
    return as_record(_record_class(type(process))(*(getattr(process, n) for n in names)))


@functools.cache
def _record_class(cls):
    names = [f.name for f in dataclasses.fields(cls)]
    kept = {
        name: member
        for base in reversed(cls.__mro__[:-1])
        for name, member in vars(base).items()
        if name not in names and (not name.startswith("__") or name == "__doc__")
    }
    return type(cls.__name__, (namedtuple(cls.__name__, names),), {**kept, "__slots__": ()})


def path_parameters(record):
    """Names of the fields in which an array holds one value per path: those of a process but its `shared` ones."""
    if not (hasattr(type(record), "drift") and hasattr(record, "_fields")):
        return ()
    shared = getattr(type(record), "shared", ())
    return tuple(n for n in record._fields if n not in shared and n not in SHARED)


def parameters(record):
    """(name of the process, name of the field, value) of all that may hold one value per path, nested ones too."""
    for name in path_parameters(record):
        value = getattr(record, name)
        yield type(record).__name__, name, value
        yield from parameters(value)


def with_parameters(process, convert):
    """The process with `convert(array)` in place of each array that holds one value per path.

    Numbers of numpy's types become Python's, which leave float32 states what they are.
    """
    changed = {}
    for name in path_parameters(process):
        value = getattr(process, name)
        if path_parameters(value):
            changed[name] = with_parameters(value, convert)
        elif getattr(value, "ndim", 0) or arrays.is_tensor(value):
            changed[name] = convert(value)
        elif arrays.is_number(value):
            changed[name] = float(value)
    return process._replace(**changed) if changed else process
