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
CHUNKS = {  # also those of nothing but fill values, so that none may be missing; a damaged one raises where it is read
    "config": {"write_empty_chunks": True},
    "compressors": {"name": "zstd", "configuration": {"level": 0, "checksum": True}},
}
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
    if not isinstance(store, (str, os.PathLike)) or not str(store) or "\0" in str(store):
        raise ValueError(f"store must be a path or a URL, got {shown(store)}")
    url = str(store).removeprefix("file://").removeprefix("local://")
    root = url.rstrip("/") or "/"
    url = f"{root}//" if "://" in url and "://" not in root else root  # the root of a file system
    with contextlib.ExitStack() as stack:
        with _written(url):
            if files.read(url, ARGUMENTS) is None and files.occupied(url, OWN):
                raise ValueError(
                    f"store {url} holds something else; give a name where nothing is, or a store of this run"
                )
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
    except Exception as error:  # json, zlib, pickle and zarr raise many kinds
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise ValueError(f"store {url} is damaged: {why}; give another store") from error


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

    The file of totals, the first of a store, has the number of finished blocks. It is replaced when the chunks of a
    block are written, so that what a killed run has left behind it is written again.
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
            if self.found is None:
                self._save(0, [None] * len(statistics))
                files.write(self.url, ARGUMENTS, json.dumps(words, indent=1).encode())
            saved = files.read(self.url, TOTALS)
            with _sound(self.url):
                done, totals = self._read(saved, len(statistics))
                group = _group(self.url, "r+" if done else "a")
                if done:
                    self._open(group, keep, done)
            if not done:
                self._make(group, keep)
        self.x = self.arrays.get("x")
        return done, totals

    def _compare(self, mine):
        found = mine if self.found is None else self.found
        for name in dict.fromkeys([*mine, *found]):
            if found.get(name) != mine.get(name):
                raise ValueError(
                    f"store {self.url} holds a run with {name} = {found.get(name)}, but this one has {name} = "
                    f"{mine.get(name)}; give the same arguments, or another store"
                )

    def _layouts(self, keep):
        """{name: the arguments of zarr's `create_array`}."""
        plan, like = self.plan, self.plan.like
        time, path, *rest = dimensions(like)
        found = {"time": _layout([time], host(like.t), host(like.t).shape, len(like.t))}
        if keep:
            inner, more = like.x.shape[2:], like.failed.ndim - 1
            dims, rows = [path, *rest[:more]], _chunk(plan.block)
            found["x"] = _layout([path, time, *rest], host(like.x), (rows, len(like.t), *inner), plan.paths)
            names = ["failed", *(("stopped", "event") if plan.options["events"] else ())]
            for name in names:
                found[name] = _layout(dims, host(getattr(like, name)), (rows, *inner[:more]), plan.paths)
        return found

    def _make(self, group, keep):
        for name, layout in self._layouts(keep).items():
            self.arrays[name] = group.create_array(name, **layout, **CHUNKS, overwrite=True)
        self.arrays["time"][:] = host(self.plan.like.t)
        group.require_group(OWN)
        group.update_attributes(_attributes(self.plan))

    def _read(self, saved, statistics):
        """(blocks that are done, totals)."""
        if saved is None:
            raise ValueError(f"{TOTALS} is missing")
        done, totals = _Plain(io.BytesIO(zlib.decompress(saved))).load()
        if done not in range(self.plan.blocks + 1) or len(totals) != statistics:
            raise ValueError(f"there are {done} blocks of {self.plan.blocks}, and {len(totals)} totals")
        return done, totals

    def _open(self, group, keep, done):
        """Take the arrays that are there, all of which have to be as they were made."""
        if not _attributes(self.plan).keys() <= group.attrs.keys():
            raise ValueError("attributes are missing")
        for name, layout in self._layouts(keep).items():
            self.arrays[name] = array = _with_all_chunks(group[name])
            for what in "shape", "dtype", "chunks":
                if (found := getattr(array, what)) != layout[what]:
                    raise ValueError(f"{name} has {what} {found}, not {layout[what]}")
            if name != "time":
                _complete(self.url, array, min(done * self.plan.block, self.plan.paths))
        if not np.array_equal(self.arrays["time"][:], host(self.plan.like.t)):
            raise ValueError("time has other values")

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


def _layout(dims, data, chunks, length):
    fill = {"f": math.nan, "b": False, "i": -1}[data.dtype.kind]
    shape = (length, *chunks[1:])
    chunks = tuple(max(1, min(size, whole)) for size, whole in zip(chunks, shape))
    return {"shape": shape, "dtype": data.dtype, "chunks": chunks, "fill_value": fill, "dimension_names": dims}


def _group(url, mode):
    import zarr

    return zarr.open_group(url, mode=mode, zarr_format=3)


def _complete(url, array, rows):
    """Check that all chunks of the first rows of the array are there, and that none is empty."""
    rest, there = "/0" * (array.ndim - 1), files.names(url, f"{array.basename}/c")
    for i in range(-(-rows // array.chunks[0])):
        if f"{i}{rest}" not in there:
            raise ValueError(f"the chunk {array.basename}/c/{i}{rest} is missing or empty")


def _with_all_chunks(array):
    """The array, written as it was made: zarr keeps that in no file."""
    import zarr

    return zarr.Array(zarr.AsyncArray(array.metadata, array.store_path, CHUNKS["config"]))


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
