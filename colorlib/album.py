"""Photographs in, a folder of colored ones out, and its record of what was made: the work of `colorlib colorize`.

An album can be stopped, killed, and gone on with. Whatever happens, no file is replaced that is not in the record.
"""

import collections
import contextlib
import errno
import hashlib
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colorlib import colorize
from colorlib.data import disk, files, listing

RECORD = ".colorlib.jsonl"
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif"}
_PLACES = 3  # for pictures in work: while one is colored, others are read and written
_PER_PLACE = 16_000_000  # pixels: a picture takes more than one place, and is alone from twice as many on
_SHORT_SIDE = 1080  # pixels, at most, of either picture in a comparison
FILM = "film: only still pictures are read"
# What becomes a JPEG: what cameras and phones write.
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".heic", ".heif", ".hif")
_OF_ONE_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINVAL)  # other errors of a disk would come again


class Source(NamedTuple):
    """A picture to color: its file, its path below the folder of results, without suffix, and its page, from 0."""

    path: Path
    name: Path
    page: int = 0


def pictures_of(path, out, *, all_pages=False):
    """The pictures that a path means: a list of `Source`, and what is left out of them, [(name, reason)].

    Raises ImageError for a path that is none of a file or a folder with pictures.
    """
    if path.is_file():
        return _of_pages(path, Path(path.stem), all_pages)
    if out.resolve() == path.resolve():
        raise ValueError(f"--out {out} is the folder that is read; name another")
    found, left_out = below(path, out)
    sources = []
    for name, each in found:
        some, pages = _of_pages(each, Path(name).with_suffix(""), all_pages)
        sources += some
        left_out += pages
    return sources, left_out


def _of_pages(path, name, all_pages):
    """A file as a `Source`, or one for each of its pages; and the pages that are left out."""
    pages = 1
    with contextlib.suppress(files.ImageError, MemoryError):  # coloring it will report why
        pages = files.count_pages(path)
    if all_pages and pages > 1:
        most = min(pages, files.MAX_PAGES)
        some = [Source(path, name.with_name(f"{name.name}-page-{page + 1}"), page) for page in range(most)]
        left_out = further_pages(f"{name}{path.suffix}", pages, after=most)
        return some, [(of, f"pages: no more than {most:,} of a file are read") for of in left_out]
    left_out = further_pages(f"{name}{path.suffix}", pages)
    return [Source(path, name)], [(of, "pages: --all-pages colors them too") for of in left_out]


def further_pages(name, pages, *, after=1):
    """The pages of a file after the first, or after so many, in words: a list of one name, or an empty one."""
    if pages <= after:
        return []
    return [f"{name} page {pages}"] if pages == after + 1 else [f"{name} pages {after + 1} to {pages}"]


def below(folder, other):
    """The pictures below a folder, [(name, path)], and what is left out, [(name, reason)], both sorted by name.

    None of `other`, where that lies in the folder. Raises ImageError where there are no pictures.
    """
    found = listing.walk(folder, without=other)
    left_out = sorted(found.left_out + [(name, FILM) for name, _ in found.films])
    if not found.pictures:
        why = listing.in_short(left_out) if left_out else "no picture in this folder"
        raise files.ImageError(str(folder), why if folder.is_dir() else "no such file or folder")
    return found.pictures, left_out


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
        disk.remove_parts(folder, {str(each.get("file")) for known in self.entries.values() for each in known})

    def plan(self, sources, *, suffix=None, compare=False):
        """What is left to make of a list of `Source`.

        [(source, [(asked, file, is_comparison), ...])]: `file` is the path asked for, or a numbered one if that is
        taken. Without a suffix, what a camera writes becomes a JPEG and all else PNG.
        """
        jobs, taken, origins = [], {_place(source.path) for source in sources}, {}
        for source in dict.fromkeys(sources):
            name, own = source.name, ".jpg" if source.path.suffix.lower() in _JPEG else ".png"
            asked = {name.with_name(name.name + (suffix or own)): False}
            if compare:
                asked[name.with_name(f"{name.name}-compare.jpg")] = True
            origin = {}
            if any(str(each) in self.entries for each in asked):
                with contextlib.suppress(files.ImageError):  # which coloring it will report
                    if source.path not in origins:  # the pages of a file have one
                        origins = {source.path: self._read(source.path)[1]}
                    origin = origins[source.path]
            todo = [each for each in asked if self.overwrite or not self._is_done(each, origin)]
            if todo:
                jobs.append((source, [(each, self._free(each, origin, taken), asked[each]) for each in todo]))
        return jobs

    def color(self, jobs, model, *, recolor=False):
        """Colors what `plan` gave; yields for each "colored", "in color already" or "skipped", and a list of remarks.

        Once nothing can be written, such as on a full disk, it says so with one picture and skips the others.
        """
        room, coloring = disk.Room(_PLACES), threading.Lock()
        stopped = []  # by these errors
        count = collections.Counter(source.path for source, _ in jobs)
        kept, reading = {}, threading.Lock()  # the bytes of a file until its last page is read

        def read(path):
            if count[path] == 1 and path not in kept:
                return self._read(path)
            with reading:
                found = kept.pop(path, None) or self._read(path)
                count[path] -= 1
                kept.clear()
                if count[path]:
                    kept[path] = found
                return found

        def work(job):
            source, targets = job
            if stopped:
                return "skipped", []
            try:
                path, _, page = source
                data, origin = read(path)
                with room.place(1 + files.count_pixels(data, str(path)) // _PER_PLACE):
                    photograph = files.open_photograph(data, str(path), page=page)
                    del data  # which may be as large as the pixels
                    return self._color(path, photograph, origin, targets, model, coloring, recolor)
            except files.ImageError as error:
                return "skipped", [str(error)]
            except MemoryError:
                return "skipped", [f"{source.path}: too large for this computer's memory"]
            except OSError as error:
                if error.errno not in _OF_ONE_NAME:
                    stopped.append(error)
                return "skipped", [] if stopped and stopped[0] is not error else [str(error)]

        with ThreadPoolExecutor(_PLACES) as pool:
            try:
                yield from pool.map(work, jobs)
            finally:
                pool.shutdown(cancel_futures=True)

    def _color(self, source, photograph, origin, targets, model, coloring, recolor):
        if not recolor and not colorize.is_toned_or_grey(photograph.pixels):
            return "in color already", []
        if colorize.is_page(photograph.pixels):
            photograph.remarks.append("looks like a page of writing, and is colored as if it were a photograph")
        before = _small(photograph) if any(is_comparison for *_, is_comparison in targets) else None
        with coloring:  # one at a time: it uses all cores by itself
            photograph.pixels = colorize.colorize(model, photograph.pixels)
        for asked, file, is_comparison in targets:
            if file != asked:  # of another picture of this name, or of an album that was moved without its record
                photograph.remarks.append("numbered, for its name is taken")
            made = np.concatenate([before, _small(photograph)], axis=1) if is_comparison else photograph
            self._write(asked, file, files.encode(made, file.suffix, self.folder / file), origin)
        return "colored", list(dict.fromkeys(photograph.remarks))

    def _write(self, asked, file, content, origin):
        """Writes a file. The record owns it before it is there, so that a kill in between does no harm."""
        if not self._may_write(asked, file, origin):
            raise files.ImageError(str(self.folder / file), "another file was put there meanwhile")
        entry = {"asked": str(asked), "file": str(file), "made_with": self.made_with, **origin}
        entry["sha256"] = digest(content)
        self._add(entry)
        disk.write(self.folder / file, content)
        self._add(entry | {"done": True})

    def _add(self, entry):
        with self.adding, open(self.record, "a", encoding="utf-8") as record:
            record.write("\n" + json.dumps(entry))  # starts a line, also behind one that was cut off
            record.flush()
            os.fsync(record.fileno())
            self.entries.setdefault(entry["asked"], []).append(entry)

    def _read(self, path):
        """A source's bytes, and what the record says of it. Raises ImageError where it cannot be read."""
        data = files.read(path)
        source = os.path.relpath(path.resolve(), self.folder.resolve())
        return data, {"source": source, "source_sha256": digest(data)}

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
