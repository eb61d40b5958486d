"""Files that are whole or not there."""

import contextlib
import errno
import glob
import os
from pathlib import Path

__all__ = ["replacing", "write_text"]


@contextlib.contextmanager
def replacing(path):
    """A name beside `path` to write to; it becomes `path` once all is written, and is gone otherwise.

    What processes that were killed have left of such names goes as well. An OSError says which file is not written.
    """
    path = Path(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not _running(left.suffixes[-2][1:]):
            left.unlink(missing_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        what = f"{path} is not written, what was there is unchanged; free some space, or write elsewhere"
        raise OSError(error.errno or errno.EIO, f"{error.strerror or error}: {what}") from error
    finally:
        part.unlink(missing_ok=True)


def _running(process):
    """Whether the process of that number may still be at work."""
    if os.name != "posix":
        return True
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def write_text(path, text):
    """The file, whole or not at all, in UTF-8; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
