"""The disk, used with care: files written whole or not at all, folders locked, downloads that go on after a break.

And what is asked first: whether there is room on the disk, or in memory.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path

from colorlib import console

TIMEOUT = 30  # seconds for a server to answer, then for each piece of a download


def write(path, content):
    """Writes bytes, or text as UTF-8, beside `path` and renames it there; makes missing folders. Returns the path.

    Whole or not at all: where that fails, or at a power cut, what stood there before stays. Raises OSError naming
    `path` where the disk refuses: full, read-only, not permitted, or a file where a folder should be.
    """
    path = Path(path)
    # A name of its own for each thread of each process: the last one to finish wins, and none mixes with another.
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if not path.parent.exists():  # where it is a file, writing tells so better than mkdir
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # on the disk before the name changes
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def write_json(value, path):
    """Writes a value as JSON, whole or not at all. Raises ValueError for NaN or infinity, which JSON lacks."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    write(path, text)


@contextlib.contextmanager
def locked(folder):
    """Makes a folder and keeps other processes that lock it out; a second one says that it waits for the first.

    The lock ends with the block, or with the process, however that ends.
    """
    is_ours = False
    while not is_ours:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{folder}: another process works in this folder; waiting for it", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            # The other one may have removed the folder that this one waited for.
            is_ours = Path(folder).exists() and os.path.samestat(os.fstat(handle), os.stat(folder))
            if is_ours:
                yield
        finally:
            os.close(handle)


def remove_parts(folder, names):
    """Removes what killed processes left of writing files of these names, paths below a folder that this one locks."""
    for part in Path(folder).rglob(".*.part"):
        name = re.fullmatch(r"\.(.+)\.\d+-\d+\.part", part.name)
        if name and part.with_name(name[1]).relative_to(folder).as_posix() in names:
            part.unlink()


def fetch(url, path, *, md5="", size=None):
    """Downloads a file to `path`, unless it is there, with progress; returns the path. It is whole or not there.

    A call goes on where an earlier one broke off, as far as the server lets it. Where no md5 is known, that of the
    first download is written down beside the file, as NAME.md5, and holds from then on. Raises OSError where the
    network or the disk fails, and ValueError for a file of another size or md5, one that was there before included.
    """
    import requests  # needed for downloads only

    path = Path(path)
    part, note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.md5")
    md5 = md5 or (note.read_text().strip() if note.exists() else "")
    if path.exists():
        if size and (found := path.stat().st_size) != size:
            raise ValueError(f"{path} is another file, of {found:,} bytes: remove it")
        if md5 and (found := md5_of(path)) != md5:
            raise ValueError(f"{path} is another file, of md5 {found}: remove it")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        if not path.exists():  # else another process fetched it meanwhile
            _download(requests, url, part, size)
            found = md5_of(part)
            if md5 and found != md5:
                part.unlink()
                raise ValueError(f"what was sent has the md5 {found}: it is another file, or damaged")
            if not md5:
                write(note, f"{found}\n")
            part.replace(path)
    with contextlib.suppress(OSError):
        path.with_name(f".{path.name}.lock").rmdir()
    return path


def _download(requests, url, part, size):
    """Fetches what is missing of a file; raises where the server sends more or less than it promised."""
    have = part.stat().st_size if part.exists() else 0
    if size and have == size:
        return None  # all of it, of which only the checksum was missing
    with requests.get(url, headers={"Range": f"bytes={have}-"} if have else {}, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # what is there is all, or more than all: begin anew
            part.unlink()
            return _download(requests, url, part, size)
        answer.raise_for_status()
        is_rest = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if is_rest else 0
        length = answer.headers.get("Content-Length")
        whole = have + int(length) if length and not answer.headers.get("Content-Encoding") else size
        if size and whole != size:
            part.unlink(missing_ok=True)
            raise ValueError(f"the server offers {whole:,} bytes, not the {size:,} that were published")
        with (
            part.open("ab" if is_rest else "wb") as file,
            console.progress(total=whole, initial=have, desc=part.stem, unit="B", unit_scale=True) as progress,
        ):
            try:
                for piece in answer.iter_content(2**16):
                    file.write(piece)
                    progress.update(len(piece))
            except requests.RequestException as error:
                of = f" of {whole:,}" if whole else ""
                why = "timed out" if "timed out" in str(error) else "broke off"
                raise OSError(f"{why} after {file.tell():,}{of} bytes") from error
    return None


def get(url):
    """The bytes that a server answers with. Raises FileNotFoundError for 404, other OSErrors for other failures."""
    import requests

    answer = requests.get(url, timeout=TIMEOUT)
    if answer.status_code == 404:
        raise FileNotFoundError(errno.ENOENT, "the server does not have it", url)
    answer.raise_for_status()
    return answer.content


def md5_of(path):
    """The MD5 of a file's content, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def check_disk(folder, size, what):
    """Raises OSError where a folder's disk has no room for so many bytes; it need not exist yet."""
    place = next(place for place in (Path(folder).resolve(), *Path(folder).resolve().parents) if place.exists())
    if size > (free := shutil.disk_usage(place).free):
        raise OSError(errno.ENOSPC, f"{what} take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free", str(folder))


def check_memory(size, what, remedy):
    """Raises MemoryError, saying what to do, where the computer has not so many bytes free, and tells so (Linux)."""
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: +(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    if found and size > (free := 1024 * int(found[1])):
        raise MemoryError(f"{what} take {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: {remedy}")


class Room:
    """Holds up threads so that the sizes of what is in work add up to at most `most`; a larger one works alone."""

    def __init__(self, most):
        self.most, self.free = most, most
        self.entrance, self.changed = threading.Lock(), threading.Condition()

    @contextlib.contextmanager
    def place(self, size):
        """A place of a size, for a `with`. They come in one after another, or small ones would keep a large one out."""
        size = min(size, self.most)
        with self.entrance, self.changed:
            self.changed.wait_for(lambda: size <= self.free)
            self.free -= size
        try:
            yield
        finally:
            with self.changed:
                self.free += size
                self.changed.notify_all()
