"""Any source of pictures -> a folder of clean pictures with a manifest, split without leaks.

A source is a name (`NAMES`), a folder, or a .tar, .tar.gz or .zip. Each picture passes `files.load` once, each video
of a folder of videos `video.frames`; what cannot be used goes to rejects.csv with the reason, the rest is stored once
as a small JPEG:

    <folder>/<source>-<key>/pictures/*.jpg   short side at most 256, quality 95, chroma not subsampled
                            manifest.csv     file, group, split, width, height, source; sorted by file
                            rejects.csv      source, reason; sorted by source

Files are named after their content, so sorted paths stand in an order without meaning: the first n are a fair
sample. A picture's group is its content's hash, a frame's its speaker: no group straddles splits.

A folder without pictures may hold videos, <speaker>/<video>/<clip>.mp4 or deeper, or <speaker>.mp4; what comes are
their frames, named <speaker>/<video>/<clip>.mp4@00002.0s. Videos beside pictures are left out: a phone keeps both of
one moment, and the two would not share a group.

Archives are read, never unpacked, so a member named /etc/x.jpg or ../x.jpg is harmless: its name is a label.
Archives of named sets are downloaded once to data/raw, and checked.
"""

import collections
import concurrent.futures
import contextlib
import csv
import difflib
import hashlib
import http.client
import io
import itertools
import json
import os
import secrets
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from colorlib.data import files

NAMES = {
    "scenes": "painted from a seed, any number; the role picks the kind; needs no network",
    "flowers": "Oxford 102 Flowers, 8,189 pictures, 345 MB to download",
    "celeba": "CelebA aligned faces, 202,599 pictures, to be downloaded by hand",
}
FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz"
DOWNLOADS = {"flowers": (FLOWERS, "52808999861908f626f3c1f4e79d11fa")}  # name -> address, md5
CELEBA = "img_align_celeba.zip"
CELEBA_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
VIDEOS = frozenset(".mp4 .m4v .mov .mkv .webm .avi".split())
SCENES = 2000  # pictures of "scenes" where no limit is given
SCENES_A_WORKER = 300  # below that, painting them takes no longer than a process takes to start
MAX_BYTES = 2**28  # of one picture file: an archive may promise to unpack to anything
ARCHIVES = ("", ".tar", ".zip", ".tar.gz", ".tgz")
TIMEOUT = 30  # seconds without a byte of a download
_DAMAGED_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error)


ROLES = ("faces", "flowers", "landscapes", "varied")
SPLITS = {"train": 0.75, "validation": 0.85, "test": 1.0}  # upper bounds of a group's hash in [0, 1)
SHORT_SIDE = 256
MIN_SIDE = 16  # what is smaller holds nothing to learn from once enlarged
_COLUMNS = ("file", "group", "split", "width", "height", "source")
_FORMAT = 1  # part of every key; raise it when the stored pictures or the manifest change


class SourceError(ValueError):
    """A source that cannot be prepared, or a set that cannot be used; the message says what and where."""


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
    label, identity, entries = locate(source, role, limit, folder.parent / "raw")
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
                except files.ImageError as error:
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
    if isinstance(content, files.ImageError):
        raise content
    painted = isinstance(content, np.ndarray)
    own = hashlib.sha256(content.tobytes() if painted else content).hexdigest()
    group = group or own
    picture = files.shrink(content if painted else files.load(content, name), SHORT_SIDE)
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise files.ImageError(name, f"{width} x {height} pixels: a side is below {MIN_SIDE}")
    # Exact duplicates share the first part; the second keeps their files apart.
    file = f"pictures/{own[:16]}-{name_hash(name)[:6]}.jpg"
    files.save(picture, target / file)
    return dict(zip(_COLUMNS, (file, group, split_of(group), width, height, name), strict=True))


def _write_csv(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def locate(source, role, limit, raw):
    """Finds what a source is without reading its pictures: (label, identity, entries).

    The identity, fit for JSON, changes whenever the pictures might. `entries()` returns (count, generator of
    (name, content)), where content is bytes, a uint8 picture, or the ImageError met while reading it; frames of
    videos come as (name, content, speaker), and their count is what the headers promise.
    Raises SourceError for a source that is unknown, missing or empty; `entries` also for one that is unreadable.
    """
    if source == "scenes":
        from colorlib.data import scenes  # painters that no other source needs

        code = b"".join(file.read_bytes() for file in sorted(Path(scenes.__file__).parent.glob("*.py")))
        count = limit or SCENES
        workers = min(os.cpu_count() or 1, count // SCENES_A_WORKER)
        identity = ["scenes", role, hashlib.sha256(code).hexdigest()]
        return f"scenes-{role}", identity, lambda: (count, scenes.pictures(role, count, workers=workers))
    if source in DOWNLOADS:
        return source, DOWNLOADS[source], lambda: _archive(_download(source, raw), limit)
    path = raw / CELEBA if source == "celeba" else Path(source).expanduser()
    if path.is_dir():
        found = [(file.relative_to(path).as_posix(), file) for file in sorted(path.rglob("*")) if file.is_file()]
        pictures = [(name, file) for name, file in found if is_picture(name)]
        videos = [] if pictures else [(name, file) for name, file in found if is_picture(name, VIDEOS)]
        stats = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in pictures or videos]
        identity, label = [str(path.resolve()), stats], path.resolve().name or "root"
        if videos:
            return label, identity, lambda: _filmed(videos, limit, path)
        chosen = _choose(pictures, limit, path)
        return label, identity, lambda: (len(chosen), _read(chosen))
    if path.is_file():
        stat = path.stat()
        if not stat.st_size:
            raise SourceError(f"{path}: the file is empty")
        identity = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
        return path.name.split(".")[0] or "archive", identity, lambda: _archive(path, limit)
    if source == "celeba":
        todo = f"get {CELEBA} from {CELEBA_PAGE} and put it at {path}"
        raise SourceError(f"celeba cannot be fetched automatically: {todo}")
    close = difflib.get_close_matches(str(source), NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise SourceError(f"{source}: no such folder or file, nor a known set ({', '.join(NAMES)}){hint}")


def in_sets(sets, role):
    """The folder or archive in the folder `sets` that is named as the role. Raises SourceError if there is none."""
    found = [path for end in ARCHIVES if (path := Path(sets) / f"{role}{end}").exists()]
    if not found:
        names = ", ".join(f"{role}{end}" for end in ARCHIVES)
        raise SourceError(f"SETS={sets}: no set for the role {role!r} there (looked for {names})")
    return str(found[0])


def name_hash(name):
    """Hashes a file name, which some file systems allow to be no Unicode: hexadecimal sha256."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()


def is_picture(name, extensions=files.EXTENSIONS):
    """Tells picture files (or others) by suffix; hidden ones and a Mac's shadow copies (__MACOSX, ._x) are none."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return bool(parts) and not hidden and os.path.splitext(parts[-1])[1].lower() in extensions


def _choose(entries, limit, where):
    """Keeps at most `limit` of the (name, content) entries, those whose names hash lowest, in their order."""
    if not entries:
        known = " ".join(sorted(files.EXTENSIONS))
        raise SourceError(f"{where}: no pictures in it (looked for {known}; in a folder also for videos)")
    if limit is None or limit >= len(entries):
        return entries
    highest = sorted(name_hash(name) for name, _ in entries)[limit - 1]
    return [(name, content) for name, content in entries if name_hash(name) <= highest]


def _oversized(name, size):
    return files.ImageError(name, f"{size:,} bytes, more than {MAX_BYTES:,}") if size > MAX_BYTES else None


def _read(chosen):
    for name, file in chosen:
        try:
            content = _oversized(name, file.stat().st_size) or file.read_bytes()
        except OSError as error:  # not allowed, or gone by now: the others may be fine
            content = files.ImageError(name, error.strerror or str(error))
        yield name, content


def _filmed(videos, limit, where):
    """Lists the frames of videos: (count, generator of (name, picture or ImageError, speaker))."""
    from colorlib.data import video  # FFmpeg, which no other source needs

    promised = []
    for name, file in tqdm(videos, desc="reading the headers of videos", delay=2):
        promised += [(_moment(name, index * video.EVERY), (name, file)) for index in range(video.count(file))]
    chosen = _choose(promised, limit, where)
    return len(chosen), _frames(chosen, video.frames, limit is None)


def _frames(chosen, decode, every_one):
    for (name, file), planned in itertools.groupby(chosen, lambda entry: entry[1]):
        wanted = {moment for moment, _ in planned}
        last = max(wanted)
        speaker = name.split("/")[0] if "/" in name else Path(name).stem
        try:
            for seconds, picture in decode(file):
                moment = _moment(name, seconds)
                if every_one or moment in wanted:  # a header may promise fewer than there are
                    yield moment, picture, speaker
                if moment >= last and not every_one:
                    break
        except files.ImageError as error:
            yield name, error, speaker


def _moment(name, seconds):
    return f"{name}@{seconds:07.1f}s"  # sorted, they are in the order of time


def _archive(path, limit):
    """Lists an archive's pictures: (count, generator of (name, bytes or ImageError))."""
    is_zip = zipfile.is_zipfile(path)
    try:
        with zipfile.ZipFile(path) if is_zip else tarfile.open(path) as archive:
            members = archive.infolist() if is_zip else _tar_members(archive)
    except _DAMAGED_ARCHIVE as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{path}: not a whole .tar, .tar.gz or .zip ({reason})") from error
    named = [(member.filename if is_zip else member.name, member) for member in members]
    chosen = _choose([(name, member) for name, member in named if is_picture(name)], limit, path)
    return len(chosen), _zipped(path, chosen) if is_zip else _tarred(path, chosen)


def _tar_members(archive):
    """Lists the files of an open tar; raises ReadError if it was cut where tarfile sees nothing amiss."""
    members = [member for member in archive.getmembers() if member.isfile()]
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("cut off: the mark at its end is missing")
    return members


def _tarred(path, chosen):
    try:
        with tarfile.open(path) as archive:
            for name, member in chosen:
                yield name, _oversized(name, member.size) or archive.extractfile(member).read()
    except _DAMAGED_ARCHIVE as error:
        raise SourceError(f"{path}: the archive cannot be read to its end ({error})") from error


def _zipped(path, chosen):
    with zipfile.ZipFile(path) as archive:
        for name, member in chosen:
            try:
                content = _oversized(name, member.file_size) or archive.read(member)
            # Cut off, wrong checksum, encrypted, or packed by an unknown method: the other members may be fine.
            except (*_DAMAGED_ARCHIVE, RuntimeError) as error:
                content = files.ImageError(name, str(error))
            yield name, content


def _download(name, raw):
    """Returns the path in `raw` of a named archive with the right checksum, downloading it if need be.

    What arrives lies under another name until it is whole and checked. Raises SourceError offline, for a broken
    connection and for a wrong checksum.
    """
    address, md5 = DOWNLOADS[name]
    path = raw / address.rpartition("/")[2]
    if path.is_file():
        if _md5(path) != md5:
            raise SourceError(f"{path}: not the file of {address} (its md5 is not {md5}); remove it")
        return path
    raw.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _receive(address, part)
        if _md5(part) != md5:
            raise SourceError(f"{name}: what {address} sent does not have md5 {md5}; it was removed")
        return part.replace(path)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        # Not any OSError: a full disk is no matter of the network.
        reason = getattr(error, "reason", None) or error
        message = f"{name}: cannot download {address} ({reason}); if you are offline, put the file at {path}"
        raise SourceError(message) from error
    finally:
        part.unlink(missing_ok=True)


def _receive(address, part):
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response, part.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        with tqdm.wrapattr(response, "read", total=total or None, desc=part.stem, delay=2) as body:
            shutil.copyfileobj(body, file, 2**20)
    if (size := part.stat().st_size) < total:
        raise ConnectionError(f"it ended after {size:,} of {total:,} bytes")


def _md5(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
