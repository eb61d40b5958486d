"""Where paths and totals of an ensemble are kept: in memory, or in a Zarr store with which a killed run goes on."""

import contextlib
import errno
import io
import json
import math
import os
import pickle
import zlib

import numpy as np

from .. import arguments, arrays
from ..checks import shown
from ..solution import attributes, dimensions, host
from ..stats.part import LEAF
from . import files
from .fingerprint import fingerprint, without_addresses

__all__ = ["opened", "worded"]

OWN = "statistics"  # the folder of what is ours: arguments, totals, lock
ARGUMENTS, TOTALS = f"{OWN}/arguments.json", f"{OWN}/totals"
PLAIN = {"numpy": {"ndarray", "dtype"}, "numpy._core.multiarray": {"_reconstruct", "scalar"}}


@contextlib.contextmanager
def opened(store):
    """What keeps the results of a run: `seed` and `block` of what is there, `begin`, `commit`, `x`."""
    if store is None:
        yield Memory()
        return
    try:
        import zarr  # noqa: F401
    except ImportError:
        raise ValueError('store needs zarr, which is not installed: pip install "sdekit[scale]"') from None
    if not isinstance(store, (str, os.PathLike)) or not str(store):
        raise ValueError(f"store must be a path or a URL, got {shown(store)}")
    url = str(store).rstrip("/")
    if files.read(url, ARGUMENTS) is None and files.occupied(url, OWN):
        raise ValueError(f"store {url} holds something else; give a name where nothing is, or a store of this run")
    with contextlib.ExitStack() as stack:
        with _written(url):
            stack.enter_context(files.locked(url, f"{OWN}/lock"))
            kept = Zarr(url)
        yield kept


@contextlib.contextmanager
def _written(url):
    """Says of which store an OSError is, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        why = f"store {url} cannot be written: {error.strerror or error}"
        kept = "blocks that were finished are kept, and the same call goes on there"
        raise OSError(error.errno or errno.EIO, f"{why}; {kept}") from error


@contextlib.contextmanager
def _sound(url):
    """Says of which store it is that what was read makes no sense."""
    try:
        yield
    except Exception as error:  # json, zlib and pickle raise many kinds
        raise ValueError(f"store {url} is damaged: {type(error).__name__}: {error}; give another store") from error


class Memory:
    """Keeps the paths in an array of the type of x0, times first."""

    x = seed = block = None

    def begin(self, plan, words, statistics, keep):
        """(blocks that are done, totals)."""
        if keep:
            like = plan.like.x
            shape = (len(like), plan.paths, *like.shape[2:])
            arguments.fits(1, shape, like.dtype)
            self.x = like.new_empty(shape) if arrays.is_tensor(like) else np.empty(shape, like.dtype)
        self.plan = plan
        return 0, [None] * len(statistics)

    def commit(self, index, sol, totals):
        if self.x is not None:
            low, high = self.plan.span(index)
            self.x[:, low:high] = sol.x.detach() if arrays.is_tensor(sol.x) else sol.x


class Zarr:
    """Keeps them in a store of Zarr's version 3, paths first; totals are in a file beside.

    The file of totals has the number of finished blocks. It is replaced when the chunks of a block are written, so that
    what a killed run has left behind it is written again.
    """

    def __init__(self, url):
        self.url, self.x, self.arrays = url, None, {}
        found = files.read(url, ARGUMENTS)
        self.found = self.seed = self.block = None
        if found is not None:
            with _sound(url):
                self.found = json.loads(found)
                self.seed, self.block = int(self.found["seed"]), int(self.found["block"])

    def begin(self, plan, words, statistics, keep):
        """(blocks that are done, totals) of a store of the same arguments, which is made if there is none."""
        self.plan = plan
        self._compare(words)
        with _written(self.url):
            files.sweep(self.url)
            saved = files.read(self.url, TOTALS)
            if saved is None:
                files.write(self.url, ARGUMENTS, json.dumps(words, indent=1).encode())
            self._open(keep, saved is None)
            if saved is None:
                self._save(0, [None] * len(statistics))
        if saved is None:
            return 0, [None] * len(statistics)
        with _sound(self.url):
            done, totals = _Plain(io.BytesIO(zlib.decompress(saved))).load()
        return done, totals

    def _compare(self, mine):
        found = mine if self.found is None else self.found
        for name in dict.fromkeys([*mine, *found]):
            if found.get(name) != mine.get(name):
                raise ValueError(
                    f"store {self.url} holds a run with {name} = {found.get(name)}, but this one has {name} = "
                    f"{mine.get(name)}; give the same arguments, or another store"
                )

    def _open(self, keep, new):
        import zarr

        plan, like = self.plan, self.plan.like
        group = zarr.open_group(self.url, mode="a", zarr_format=3)
        time, path, *rest = dimensions(like)
        shapes = {"time": ([time], host(like.t), host(like.t).shape)}
        if keep:
            inner, more = like.x.shape[2:], like.failed.ndim - 1
            dims, rows = [path, *rest[:more]], _chunk(plan.block)
            shapes["x"] = [path, time, *rest], host(like.x), (rows, len(like.t), *inner)
            shapes["failed"] = dims, host(like.failed), (rows, *inner[:more])
            if plan.options["events"]:
                for name in ("stopped", "event"):
                    shapes[name] = dims, host(getattr(like, name)), shapes["failed"][2]
        for name, (dims, data, chunks) in shapes.items():
            if new:
                _create(group, name, dims, data, chunks, len(like.t) if name == "time" else plan.paths)
            self.arrays[name] = group[name]
        if new:
            self.arrays["time"][:] = host(like.t)
            group.require_group(OWN)
            group.update_attributes(_attributes(plan))
        self.x = self.arrays.get("x")

    def commit(self, index, sol, totals):
        with _written(self.url):
            if self.x is not None:
                low, high = self.plan.span(index)
                self.x[low:high] = np.ascontiguousarray(host(sol.x).swapaxes(0, 1))
                for name in self.arrays.keys() - {"x", "time"}:
                    self.arrays[name][low:high] = host(getattr(sol, name))
            self._save(index + 1, totals)

    def _save(self, done, totals):
        data = pickle.dumps((done, totals), protocol=4)  # whose classes are those of PLAIN
        if done <= 1:
            _Plain(io.BytesIO(data)).load()  # tells at once of a state that could not be read again
        files.write(self.url, TOTALS, zlib.compress(data, 1))


def _chunk(block):
    """Paths of a chunk: a quarter of a block where that is whole leaves, since Zarr packs chunks side by side."""
    return block if block % (4 * LEAF) else block // 4


def _create(group, name, dims, data, chunks, length):
    fill = {"f": math.nan, "b": False, "i": -1}[data.dtype.kind]
    shape = (length, *chunks[1:])
    chunks = tuple(max(1, min(size, whole)) for size, whole in zip(chunks, shape))
    group.create_array(
        name, shape=shape, dtype=data.dtype, chunks=chunks, fill_value=fill, dimension_names=dims, overwrite=True
    )


def _attributes(plan):
    """What xarray shows: what made it, and the units of the process if it names some."""
    named = {name: getattr(plan.process, name, default) for name, default in (("calculus", "ito"), ("units", "1"))}
    made = {name: without_addresses(v) if type(v) is str else v for name, v in attributes(plan.like).items()}
    return {**made, **named}


def worded(plan, statistics, keep):
    """What two runs on one store must share, in words."""
    made = attributes(plan.like)["versions"].partition(",")[0]
    times = {"ts": plan.like.t, "grid": plan.options["grid"]}
    times = {name: None if value is None else np.asarray(host(value), np.float64) for name, value in times.items()}
    options = {**plan.options, **times, "backend": type(plan.like.x).__module__}
    shared = {"process": plan.process, "x0": plan.x0, **options, "statistics": statistics, "keep_paths": keep}
    numbers = {name: getattr(plan, name) for name in ("paths", "first_path", "block")}
    return {name: fingerprint(v) for name, v in {**shared, **numbers, "version": made}.items() if v is not None}


class _Plain(pickle.Unpickler):
    """Reads numbers, arrays and what holds them, and nothing that would run code."""

    def find_class(self, module, name):
        if name in PLAIN.get(module, ()):
            return super().find_class(module, name)
        raise ValueError(
            f"the state of a statistic must be made of numbers, arrays, tuples, lists and dicts, got {module}.{name}"
        )
