"""Files that appear whole or not at all, whatever interrupts their writing."""

import errno
import os
import threading
from pathlib import Path


def write(path, content):
    """Writes bytes, or text as UTF-8, beside `path` and renames it there; makes missing folders. Returns the path.

    Where that fails, what stood there before stays and no part is left. Raises OSError naming `path` (not the file
    beside it) where the disk refuses: full, read-only, not permitted, or a file where a folder should be.
    """
    path = Path(path)
    # A name of its own for each thread of each process: the last one to finish wins, and none mixes with another.
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if not path.parent.exists():  # where it is a file, writing tells so better than mkdir
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    return path
