"""Any source of pictures -> a folder of clean pictures with a manifest, split without leaks.

A source is a name (`NAMES`), a folder, or a .tar, .tar.gz or .zip. Each picture passes `images.load` once, each video
of a folder of videos `video.frames`; what cannot be used goes to rejects.csv with the reason, the rest is stored once
as a small JPEG:

    <folder>/<source>-<key>/pictures/*.jpg   short side at most 256, quality 95, chroma not subsampled
                            manifest.csv     file, group, split, width, height, source; sorted by file
                            rejects.csv      source, reason; sorted by source

Files are named after their content, so sorted paths stand in an order without meaning: the first n are a fair
sample. A picture's group is its content's hash, a frame's its speaker: no group straddles splits.
"""

import collections
import concurrent.futures
import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import secrets
import shutil
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from colorlib import images, sources
from colorlib.sources import NAMES, SourceError

__all__ = ["NAMES", "ROLES", "SourceError", "describe", "digest", "paths", "prepare", "rejects", "split_of"]

ROLES = ("faces", "flowers", "landscapes", "varied")
SPLITS = {"train": 0.75, "validation": 0.85, "test": 1.0}  # upper bounds of a group's hash in [0, 1)
SHORT_SIDE = 256
MIN_SIDE = 16  # what is smaller holds nothing to learn from once enlarged
_COLUMNS = ("file", "group", "split", "width", "height", "source")
_FORMAT = 1  # part of every key; raise it when the stored pictures or the manifest change


def prepare(source, *, role, limit=None, folder=Path("data/processed")):
    """Builds the clean picture folder of a source and returns its path; one built before is returned at once.

    `source` is a name in NAMES or a path (write ./flowers for a folder of that name). `role` is what the
    pictures serve as; it picks the kind of "scenes" and nothing else. `limit` reads at most so many files, or frames
    of videos, chosen by a hash of their names: fair to sources sorted by class. Downloads go to `raw` beside `folder`.

    The set is built beside and renamed, so whatever has a manifest.csv is whole. The same source gives the same
    bytes of manifest. Raises SourceError for a source that is unknown, missing, unreadable or without a usable
    picture, a download that fails, and a disk that fills up.
    """
    if role not in ROLES:
        raise SourceError(f"role {role!r} is none of {', '.join(ROLES)}")
    if limit is not None and limit < 1:
        raise SourceError(f"a limit of {limit} pictures leaves nothing of {source}")
    folder = Path(folder)
    label, identity, entries = sources.locate(source, role, limit, folder.parent / "raw")
    key = hashlib.sha256(json.dumps([_FORMAT, identity, limit]).encode()).hexdigest()[:10]
    final = folder / f"{label}-{key}"
    if (final / "manifest.csv").is_file():
        return final
    beside = folder / f".{final.name}.{secrets.token_hex(4)}.part"
    try:
        for leftover in folder.glob(".*.part"):  # of builds that were killed; none takes a day
            if leftover.stat().st_mtime < time.time() - 86400:
                shutil.rmtree(leftover, ignore_errors=True)
        (beside / "pictures").mkdir(parents=True)
        _build(beside, source, *entries())
        if not (final / "manifest.csv").is_file():  # else another process was quicker, and its folder stays
            shutil.rmtree(final, ignore_errors=True)  # without a manifest it is not whole, whoever broke it
            beside.rename(final)
    except OSError as error:
        message = f"cannot prepare {source} in {final}: {error}; nothing unfinished was kept"
        raise SourceError(message) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return final


def split_of(group):
    """Names the split of a group, a string: 75 % train, 10 % validation, 15 % test, by its hash alone."""
    share = int.from_bytes(hashlib.sha256(group.encode("utf-8", "backslashreplace")).digest()[:8], "big") / 2**64
    return next((name for name, bound in SPLITS.items() if share < bound), "test")


def paths(folder, split):
    """Lists the pictures of a split of a prepared folder, sorted. Raises SourceError where there is none."""
    if split not in SPLITS:
        raise SourceError(f"split {split!r} is none of {', '.join(SPLITS)}")
    rows = _rows(folder, "manifest.csv")
    found = sorted(Path(folder) / row["file"] for row in rows if row["split"] == split)
    if not found:
        raise SourceError(f"{folder}: none of its {len(rows)} pictures fell into the {split} split; add more")
    return found


def digest(folder):
    """Short hash of a prepared folder's manifest, for results: same pictures and splits, same digest."""
    return hashlib.sha256(_table(folder, "manifest.csv")).hexdigest()[:12]


def describe(folder):
    """What a result says of its data: {"name", "digest", "train", "validation", "test"}, counts by split."""
    counts = collections.Counter(row["split"] for row in _rows(folder, "manifest.csv"))
    name = Path(folder).name.rpartition("-")[0]
    return {"name": name, "digest": digest(folder), **{split: counts[split] for split in SPLITS}}


def rejects(folder):
    """Lists what a prepared folder could not take: [(source, reason)], sorted. Raises SourceError as `paths`."""
    return [(row["source"], row["reason"]) for row in _rows(folder, "rejects.csv")]


def _table(folder, name):
    try:
        return (Path(folder) / name).read_bytes()
    except OSError as error:
        raise SourceError(f"{folder} is not a prepared picture folder: it has no {name}") from error


def _rows(folder, name):
    return list(csv.DictReader(io.StringIO(_table(folder, name).decode(), newline="")))


def _build(target, source, count, entries):
    """Cleans the entries in parallel into `target` and writes both tables; memory holds a few at a time."""
    workers = os.cpu_count() or 1
    ahead = 4 * workers
    rows, rejects, pending = {}, [], collections.deque()
    with (
        contextlib.closing(entries),  # ends the processes that paint scenes, should this be interrupted
        concurrent.futures.ThreadPoolExecutor(workers) as pool,  # Pillow decodes and encodes without the GIL
        tqdm(total=count, desc=f"preparing {source}", unit=" pictures", delay=2) as progress,
    ):
        for entry in itertools.chain(entries, [None] * ahead):  # None: nothing new, empty the queue
            if entry is not None:
                pending.append((entry[0], pool.submit(_store, target, *entry)))
            if pending and (entry is None or len(pending) >= ahead):
                name, future = pending.popleft()
                try:
                    row = future.result()
                    rows[row["file"]] = row
                except images.ImageError as error:
                    rejects.append({"source": name, "reason": " ".join(error.reason.split())})
                progress.update()
    rejects.sort(key=lambda row: row["source"])
    if not rows:
        first = f"{rejects[0]['source']}: {rejects[0]['reason']}"
        raise SourceError(f"{source}: none of its {len(rejects)} pictures is usable; the first: {first}")
    _write_csv(target / "rejects.csv", ("source", "reason"), rejects)
    _write_csv(target / "manifest.csv", _COLUMNS, [rows[file] for file in sorted(rows)])


def _store(target, name, content, group=None):
    """Cleans one picture, writes it, and returns its row of the manifest. Raises ImageError if unusable."""
    if isinstance(content, images.ImageError):
        raise content
    painted = isinstance(content, np.ndarray)
    own = hashlib.sha256(content.tobytes() if painted else content).hexdigest()
    group = group or own
    picture = images.shrink(content if painted else images.load(content, name), SHORT_SIDE)
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise images.ImageError(name, f"{width} x {height} pixels: a side is below {MIN_SIDE}")
    # Exact duplicates share the first part; the second keeps their files apart.
    file = f"pictures/{own[:16]}-{sources.name_hash(name)[:6]}.jpg"
    images.save(picture, target / file)
    return dict(zip(_COLUMNS, (file, group, split_of(group), width, height, name), strict=True))


def _write_csv(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
