"""Photographs in, a folder of colored ones out, and its record of what was made: the work of `colorlib colorize`.

An album can be stopped, killed, and gone on with. Whatever happens, no file is replaced that is not in the record.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from colorlib import colorize
from colorlib.data import files, sets

RECORD = ".colorlib.jsonl"
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif"}
_PLACES = 3  # for pictures in work: while one is colored, others are read and written
_PER_PLACE = 16_000_000  # pixels: a picture takes more than one place, and is alone from twice as many on
_SHORT_SIDE = 1080  # pixels, at most, of either picture in a comparison
_OF_ONE_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINVAL)  # other errors of a disk would come again


def pictures_of(path, out):
    """The pictures that a path means: [(path, path below `out` without its suffix)]. Raises ImageError for none."""
    if path.is_file():
        return [(path, Path(path.stem))]
    if out.resolve() == path.resolve():
        raise ValueError(f"--out {out} is the folder that is read; name another")
    return [(each, Path(name)) for name, found in below(path, out).items() for each in found]


def below(folder, other):
    """{path below a folder, without suffix: its pictures}, sorted; none of `other`, where that lies in the folder.

    Raises ImageError where there are none.
    """
    left_out = other.resolve() if folder.resolve() in other.resolve().parents else None
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if sets.is_picture(str(name)) and path.is_file() and left_out not in path.resolve().parents:
            found.setdefault(name.with_suffix("").as_posix(), []).append(path)
    if not found:
        raise files.ImageError(str(folder), "no such file, or no picture in this folder")
    return found


def digest(content):
    """The SHA-256 digest of bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def made_with(model=None, dials=()):
    """What results depend on beside their sources, a JSON value: the digests of a model's files, and the dials set."""
    path = Path(model or colorize.WEIGHTS)
    parts = (path, path.with_name(path.name.removesuffix(".weights.h5") + ".json"))
    model = [digest(part.read_bytes()) for part in parts if part.is_file()]
    return {"model": model, "dials": {"strength": 1.0, **dict(dials)}}


def record_of(folder):
    """The path of a folder's record: beside it, so that there are only pictures in it, unless nothing may be put there.

    It has a line before each file is written, and the same, as done, after.
    """
    folder = folder.resolve()
    beside = folder.name and os.access(folder.parent, os.W_OK)
    return folder.parent / f".{folder.name}{RECORD}" if beside else folder / RECORD


class Album:
    """A folder of results with its record. `made_with`, a JSON value, names the model and the settings.

    A file is done if the record has it, made with these of a source with these bytes, and it is there, retouched or
    not. None is replaced but, with `overwrite`, one of the same source that is as the record has it. Lock the folder.
    """

    def __init__(self, folder, made_with, *, overwrite=False):
        self.folder, self.made_with, self.overwrite = folder, made_with, overwrite
        self.record, self.entries, self.adding = record_of(folder), {}, threading.Lock()
        if self.record.exists():
            for line in self.record.read_text(encoding="utf-8").split("\n"):
                with contextlib.suppress(ValueError, TypeError, KeyError):  # a kill may cut a line off
                    entry = json.loads(line)
                    self.entries.setdefault(entry["asked"], []).append(entry)
        files.remove_parts(folder, {str(each.get("file")) for known in self.entries.values() for each in known})

    def plan(self, sources, *, suffix=None, compare=False):
        """What is left to make of pictures [(path, path below the folder, without suffix)].

        [(path, [(asked, file, is_comparison), ...])]: `file` is the path asked for, or a numbered one if that is taken.
        Without a suffix, a JPEG becomes a JPEG and all else PNG.
        """
        jobs, taken = [], {_place(source) for source, _ in sources}
        for source, name in dict.fromkeys(sources):
            own = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg", ".jpe") else ".png"
            asked = {name.with_name(name.name + (suffix or own)): False}
            if compare:
                asked[name.with_name(f"{name.name}-compare.jpg")] = True
            origin = {}
            if any(str(each) in self.entries for each in asked):
                with contextlib.suppress(files.ImageError):  # which coloring it will report
                    origin = self._origin(source, files.read(source))
            todo = [each for each in asked if self.overwrite or not self._is_done(each, origin)]
            if todo:
                jobs.append((source, [(each, self._free(each, origin, taken), asked[each]) for each in todo]))
        return jobs

    def color(self, jobs, model, *, recolor=False):
        """Colors what `plan` gave; yields for each picture "colored", "in color already" or "skipped", and a remark.

        Once nothing can be written, such as on a full disk, it says so with one picture and skips the others.
        """
        room, coloring = files.Room(_PLACES), threading.Lock()
        stopped = []  # by these errors

        def work(job):
            source, targets = job
            if stopped:
                return "skipped", ""
            try:
                data = files.read(source)
                with room.place(1 + files.count_pixels(data, str(source)) // _PER_PLACE):
                    photograph, origin = files.open_photograph(data, str(source)), self._origin(source, data)
                    del data  # which may be as large as the pixels
                    return self._color(source, photograph, origin, targets, model, coloring, recolor)
            except files.ImageError as error:
                return "skipped", str(error)
            except MemoryError:
                return "skipped", f"{source}: too large for this computer's memory"
            except OSError as error:
                if error.errno not in _OF_ONE_NAME:
                    stopped.append(error)
                return "skipped", "" if stopped and stopped[0] is not error else str(error)

        with ThreadPoolExecutor(_PLACES) as pool:
            try:
                yield from pool.map(work, jobs)
            finally:
                pool.shutdown(cancel_futures=True)

    def _color(self, source, photograph, origin, targets, model, coloring, recolor):
        if not recolor and not colorize.is_toned_or_grey(photograph.pixels):
            return "in color already", ""
        before = _small(photograph) if any(is_comparison for *_, is_comparison in targets) else None
        with coloring:  # one at a time: it uses all cores by itself
            photograph.pixels = colorize.colorize(model, photograph.pixels)
        for asked, file, is_comparison in targets:
            made = np.concatenate([before, _small(photograph)], axis=1) if is_comparison else photograph
            self._write(asked, file, files.encode(made, file.suffix, self.folder / file), origin)
        return "colored", f"{source} without {photograph.lost}" if photograph.lost else ""

    def _write(self, asked, file, content, origin):
        """Writes a file. The record owns it before it is there, so that a kill in between does no harm."""
        if not self._may_write(asked, file, origin):
            raise files.ImageError(str(self.folder / file), "another file was put there meanwhile")
        entry = {"asked": str(asked), "file": str(file), "made_with": self.made_with, **origin}
        entry["sha256"] = digest(content)
        self._add(entry)
        files.write(self.folder / file, content)
        self._add(entry | {"done": True})

    def _add(self, entry):
        with self.adding, open(self.record, "a", encoding="utf-8") as record:
            record.write("\n" + json.dumps(entry))  # starts a line, also behind one that was cut off
            record.flush()
            os.fsync(record.fileno())
            self.entries.setdefault(entry["asked"], []).append(entry)

    def _origin(self, source, data):
        return {"source": os.path.relpath(source.resolve(), self.folder.resolve()), "source_sha256": digest(data)}

    def _is_done(self, asked, origin):
        entries, wanted = self.entries.get(str(asked), []), (origin.get("source_sha256"), self.made_with)
        last = {each.get("file"): each for each in entries}
        for each in reversed(entries):
            path = self.folder / each.get("file", "")
            if (each.get("source_sha256"), each.get("made_with")) == wanted and path.is_file():
                finished = each.get("done") and each is last[each["file"]]
                if finished or digest(path.read_bytes()) == each.get("sha256"):
                    return True
        return False

    def _free(self, asked, origin, taken):
        """The path asked for, or the first of its numbered ones, that is not taken and may be written."""
        numbered = (asked.with_name(f"{asked.stem}-{number}{asked.suffix}") for number in itertools.count(2))
        for file in itertools.chain([asked], numbered):
            place = _place(self.folder / file)
            if place not in taken and self._may_write(asked, file, origin):
                taken.add(place)
                return file

    def _may_write(self, asked, file, origin):
        path = self.folder / file
        if not self.overwrite or not path.is_file():
            return not os.path.lexists(path)
        ours = [each for each in self.entries.get(str(asked), []) if each.get("file") == str(file)]
        ours = [each for each in ours if any(each.get(key) == value for key, value in origin.items())]
        return digest(path.read_bytes()) in {each.get("sha256") for each in ours}


def _place(path):
    """Where a path leads, through all links; the same for letters of another case, as on some disks."""
    return os.path.realpath(path).casefold()


def _small(photograph):
    """A photograph as it is shown in a comparison: 8 bits, over white, reduced."""
    return files.shrink(files.load(files.encode(photograph, ".bmp")), _SHORT_SIDE)
