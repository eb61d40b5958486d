"""Records, which are NamedTuples or dataclasses, and the arrays of one value per path that processes hold."""

import dataclasses
import functools

from . import arrays

__all__ = ["fields", "parameters", "path_parameters", "replaced", "title", "values", "with_parameters"]

SHARED = ("correlation", "jumps")  # fields that hold one value for all paths, whatever the process


def title(process):
    """What messages call a process: the name of its class, or noiseless(that of the one inside)."""
    return f"noiseless({title(process.process)})" if hasattr(process, "_without_noise") else type(process).__name__


@functools.lru_cache(1024)  # asked some thirty times by a solve
def fields(cls):
    """Names of the fields of a NamedTuple or dataclass, else None."""
    if dataclasses.is_dataclass(cls):
        return tuple(f.name for f in dataclasses.fields(cls))
    return getattr(cls, "_fields", None) if issubclass(cls, tuple) else None


def values(record):
    """{name: value} of its fields."""
    return {name: getattr(record, name) for name in fields(type(record)) or ()}


def replaced(record, **changes):
    """The record with other values in these fields, which are not checked again; itself without any."""
    if not changes or isinstance(record, tuple):
        return record._replace(**changes) if changes else record
    new = object.__new__(type(record))
    for name, value in (values(record) | changes).items():
        object.__setattr__(new, name, value)
    return new


def path_parameters(record):
    """Names of the fields in which an array holds one value per path: those of a process but its `shared` ones."""
    return _path_fields(type(record))


@functools.lru_cache(1024)
def _path_fields(kind):
    shared = (*getattr(kind, "shared", ()), *SHARED)
    return tuple(n for n in fields(kind) or () if n not in shared) if hasattr(kind, "drift") else ()


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
    return replaced(process, **changed)
