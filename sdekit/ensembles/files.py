"""Files of a store, on a disk or under a URL of fsspec, and the lock of one on a disk."""

import contextlib
import threading
from pathlib import Path

from ..files import replacing

__all__ = ["locked", "names", "occupied", "read", "remote", "sweep", "write"]

_held: set = set()  # a lock of POSIX is one of the process, which could take it twice
_holding = threading.Lock()


def remote(url):
    """Whether fsspec has to be asked."""
    return "://" in url


def _files(url):
    try:
        import fsspec
    except ImportError:
        raise ValueError(f'store {url} needs fsspec: pip install "sdekit[scale]"') from None
    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:  # a protocol that is not known, or whose package is missing
        raise ValueError(f"store {url} cannot be opened: {error}") from error


def read(url, name):
    """The bytes of a file of the store, or None."""
    try:
        if not remote(url):
            return Path(url, name).read_bytes()
        system, root = _files(url)
        return system.cat_file(f"{root}/{name}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError as error:
        raise ValueError(f"store {url} is damaged: {name} is a folder; give another store") from error


def write(url, name, data):
    """A file of the store, whole or not at all."""
    if remote(url):
        system, root = _files(url)
        system.pipe_file(f"{root}/{name}", data)
        return
    with replacing(Path(url, name)) as part:
        part.write_bytes(data)


def occupied(url, own):
    """Whether there is anything but the folder `own`."""
    if remote(url):
        system, root = _files(url)
        return system.exists(root) and any(not p.rstrip("/").endswith(own) for p in system.ls(root, detail=False))
    there = Path(url)
    return there.exists() and (not there.is_dir() or any(path.name != own for path in there.iterdir()))


def names(url, folder):
    """The files in a folder of the store and in those below that are not empty, by their paths from there."""
    if not remote(url):
        root = Path(url, folder)
        return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.stat().st_size}
    system, root = _files(url)
    below, found = root.strip("/") + f"/{folder}/", system.find(f"{root}/{folder}", detail=True)
    return {path.strip("/").removeprefix(below) for path, about in found.items() if about["size"] != 0}


def sweep(url):
    """Remove what writers that were killed have left of chunks."""
    if not remote(url):
        for left in Path(url).rglob("*.partial"):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(url, name):
    """Hold the lock of a store on a disk, which the system frees where the process ends, however it does.

    A lock of lockf, not of flock: that one would live on in forked workers that outlive their parent.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nothing is held
        fcntl = None
    if remote(url) or fcntl is None:
        yield
        return
    path = Path(url, name).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    refusal = ValueError(f"store {url} is in use by another run; wait for it, or give another store")
    with _holding:
        if path in _held:
            raise refusal
        _held.add(path)
    try:
        with path.open("ab") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:  # others: no lock can be had there
                raise refusal from error
            yield
    finally:
        _held.discard(path)
