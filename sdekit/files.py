"""Files that are whole or not there."""

import contextlib
import os

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path):
    """A name beside `path` to write to; it becomes `path` once all is written, and is gone otherwise."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
