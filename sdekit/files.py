"""Files that are whole or not there."""

import contextlib
import os

__all__ = ["replacing", "write_text"]


@contextlib.contextmanager
def replacing(path):
    """A name beside `path` to write to; it becomes `path` once all is written, and is gone otherwise."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path, text):
    """The file, whole or not at all, in UTF-8; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
