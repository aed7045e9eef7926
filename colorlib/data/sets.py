"""Any source of pictures -> a folder of clean pictures with a manifest, split without leaks.

A source is a name (`NAMES`), a folder, a .tar, .tar.gz or .zip, or FOLDER::NAME, one set of a folder of sets. Each
picture passes `files.load` once, each video of a folder of videos `video.frames`. What is usable is stored once:

    <folder>/<source>-<key>/pictures/*.jpg   short side at most 256, quality 95, chroma not subsampled
                            manifest.csv     file, group, split, width, height, source; sorted by file
                            rejects.csv      what cannot be used: source, reason; sorted by source
                            hashes.npy       what each picture of the manifest looks like, in 512 bits
                            pictures.csv     file, bytes, crc32 of each picture; toned: whether it lacks colors of
                                             its own; remark: what had to be set aside
                            set.json         number of pictures, checksums of these four, and which files may be
                                             readable another time; written last

Files are named after their content, so the first n of the sorted paths are a fair sample.

**Splits.** A picture's split follows from the name of its group alone: the hash of its content; for a frame the
speaker. Groups with pictures that look alike, as they are or mirrored, become one under the lowest of their names.

**FOLDER::NAME.** Two sets may hold the same photograph. `my-sets::faces` is my-sets/faces.tar (or .zip, or a folder),
whose pictures share groups with look-alikes in any other set of my-sets. Use it whenever a model meets more than one
set. The result has tables of its own and a link to the pictures.

A folder without pictures may hold videos, <speaker>/<video>/<clip>.mp4 or deeper, or <speaker>.mp4. Their frames are
named <speaker>/<video>/<clip>.mp4@00002.0s. Videos beside pictures are left out: phones keep both of one moment.
"""

import collections
import concurrent.futures
import contextlib
import csv
import difflib
import functools
import hashlib
import io
import itertools
import json
import lzma
import os
import posixpath
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from colorlib import color, console
from colorlib.data import disk, files, listing

# Painted from a seed, any number; Oxford 102 Flowers, 345 MB to download; CelebA, to be downloaded by hand.
NAMES = ("scenes", "flowers", "celeba")
FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz"
FLOWERS_MD5 = "52808999861908f626f3c1f4e79d11fa"
CELEBA = "img_align_celeba.zip"
CELEBA_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
ROLES = ("faces", "flowers", "landscapes", "varied")
SPLIT_RULE = "near-duplicates share a group"  # stands in every row of results
SPLITS = {"train": 0.75, "validation": 0.85, "test": 1.0}  # upper bounds of a group's hash in [0, 1)
# Bits of 512 in which pictures that look alike may differ. Of 32,591 photographs 24 pairs are that near, 23 of them of
# one moment; at 80 bits 26 of 36 pairs. Copies that were only compressed or halved are at most 62 apart.
ALIKE = 70
SHORT_SIDE = 256
MIN_SIDE = 16  # what is smaller holds nothing to learn from once enlarged
MAX_BYTES = 2**28  # of one picture file, and of all that are in work: an archive may promise to unpack to anything
MAX_PIXELS = 150_000_000  # of all pictures that are decoded at a time
MAX_LINKS = 8  # that lead to one another, in an archive
MAX_HEADER = 2**20  # bytes of one member's names and notes in a tar archive, which tarfile reads at once
MAX_UNPACKED = 2**32, 100  # bytes of an archive in all, or so many times its own
FILM_BESIDE = "film beside pictures: a folder of films alone is read frame by frame"
FILM_PACKED = "film in an archive: unpack it"
MANY = 0.02  # of a set's pictures without color: so many are told
SCENES = 2000  # pictures of "scenes" where no limit is given
SCENES_A_WORKER = 300  # below that, painting them takes no longer than a process takes to start
ARCHIVES = (".tar", ".zip", ".tar.gz", ".tgz")
_COLUMNS = ("file", "group", "split", "width", "height", "source")
_FORMAT = 4  # part of every key; raise it when the stored pictures or the manifest change
# Of archives and their members: cut off, wrong checksum, encrypted (RuntimeError), packed by an unknown method.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError,
    UnicodeDecodeError,
)  # fmt: skip
_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class SourceError(ValueError):
    """A source that cannot be prepared, or a set that cannot be used; the message says what and where."""


class _Passing(files.ImageError):
    """A file that could not be read this time: of a drive that was away, or too large for the memory there was."""


def prepare(source, *, role, limit=None, folder=Path("data/processed")):
    """Builds the clean picture folder of a source and returns its path; one built before is returned at once.

    `source` is a name in NAMES, a path (write ./flowers for a folder of that name) or FOLDER::NAME. `role` picks the
    kind of "scenes" and nothing else. `limit` takes at most so many files, or frames of videos, chosen by a hash of
    their names: fair to sources sorted by class. Downloads go to `raw` beside `folder`.

    Whole or not at all; a set that is not whole any more is built again, and so is one where a file can be read now
    that could not be read then. Raises SourceError for a source that is unknown, missing, unreadable or without a
    usable picture, a download that fails, and a disk that fills up. What speaks against the set, it says on stderr.
    """
    made = _prepared(source, role, limit, Path(folder))
    for concern in concerns(made):
        print(f"{made}: {concern}", file=sys.stderr)
    return made


def _prepared(source, role, limit, folder):
    if role not in ROLES:
        raise SourceError(f"role {role!r} is none of {', '.join(ROLES)}")
    if limit is not None and limit < 1:
        raise SourceError(f"a limit of {limit} pictures leaves nothing of {source}")
    sets, _, name = str(source).rpartition("::")
    if sets:
        return _prepare_beside_others(sets, name, limit, folder)
    label, identity, entries = locate(source, role, limit, folder.parent / "raw", without=folder)
    made = folder / f"{label}-{_key(identity, limit)}"
    return _made(made, source, _build, entries, is_due=lambda: _can_be_read_now(made, entries))


def in_sets(sets, name):
    """The source FOLDER::NAME for a set of the folder `sets`. Raises SourceError if there is none of that name."""
    if name not in (found := sources_in(sets)):
        raise SourceError(f"SETS={sets}: no set {name!r} there (found {', '.join(found) or 'none'})")
    return f"{sets}::{name}"


def sources_in(sets):
    """Lists a folder of sets: {name: path}, roles first. A set is an archive, or a folder with pictures or videos."""
    found = {}
    for end in ("", *ARCHIVES):  # a folder counts before an archive of its name
        for path in sorted(Path(sets).expanduser().glob(f"[!.]*{end}")):
            if path.is_file() if end else listing.holds_any(path):
                found.setdefault(path.name.removesuffix(end), path)
    return {name: found[name] for name in (*ROLES, *sorted(found)) if name in found}


def split_of(group):
    """Names the split of a group, a string: 75 % train, 10 % validation, 15 % test, by its hash alone."""
    share = int(name_hash(group)[:16], 16) / 2**64
    return next((name for name, bound in SPLITS.items() if share < bound), "test")


def paths(folder, split):
    """Lists the pictures of a split of a prepared folder, sorted. Raises SourceError if none, or it is not whole."""
    rows = _rows(folder, "manifest.csv")
    found = [Path(folder) / row["file"] for row in rows if row["split"] == split]
    if not found:
        known = ", ".join(SPLITS)
        raise SourceError(f"{folder}: none of its {len(rows)} pictures is in the split {split!r} (of {known})")
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


def concerns(folder):
    """What speaks against a prepared folder as a set to learn color from: sentences, each with its remedy."""
    rows = _rows(folder, "manifest.csv")
    about = {row["file"]: row for row in _rows(Path(folder, "pictures").resolve().parent, "pictures.csv")}
    found, splits = [], collections.Counter(row["split"] for row in rows)
    toned = [row["source"] for row in rows if about[row["file"]]["toned"] == "True"]
    if len(toned) > MANY * len(rows):
        some = ", ".join(toned[:3]) + (", ..." if len(toned) > 3 else "")
        are = "picture is" if len(toned) == 1 else "pictures are"
        found.append(
            f"{len(toned)} {are} grey or of one tint ({some}): a colorizer learns grey from them, leave them out"
        )
    group, most = collections.Counter(row["group"] for row in rows).most_common(1)[0]
    if most > max(1, len(rows) / 2):
        of = f"{most} of {len(rows)} pictures are of one film or speaker, or look alike ({group[:16]})"
        found.append(f"{of}, so they stay in one split: add others")
    if empty := [split for split in SPLITS if not splits[split]]:
        of = f"with {len(rows)} pictures, chance left no {' and no '.join(empty)} pictures"
        found.append(f"{of}: training and scoring need all three, and from 100 pictures on none is likely to be empty")
    remarks = [(row["source"], about[row["file"]]["remark"]) for row in rows if about[row["file"]]["remark"]]
    return found + ([listing.in_short(remarks, what="remarked")] if remarks else [])


def difference_hash(picture):
    """What uint8 (H, W, 3) looks like: bool (32, 16), where its lightness grows between places of a 16 x 16 grid.

    The first 16 rows compare towards the middle, so that mirroring only turns the columns around; the others downwards.
    """
    grey = Image.fromarray(picture).convert("L")
    wide, high = (np.asarray(grey.resize(size, Image.Resampling.LANCZOS)) for size in ((17, 16), (16, 17)))
    inwards = np.concatenate([wide[:, 1:9] > wide[:, :8], wide[:, 8:16] > wide[:, 9:]], axis=1)
    return np.concatenate([inwards, high[1:] > high[:-1]])


def join_alike(rows, hashes):
    """Gives rows of a manifest one group and split where their hashes, bool (N, 32, 16), are at most ALIKE bits apart.

    Mirrored pictures count, and so does a likeness through a third. The group takes the lowest of its members' names.
    Returns new rows. 32,000 pictures take about 10 seconds, twice as many four times that.
    """
    names, group = np.unique([row["group"] for row in rows], return_inverse=True)
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    signs[np.sum(hashes, axis=(1, 2)) < ALIKE] = 0  # of one shade: the black frames of two films show nothing alike
    flat = signs.reshape(len(signs), -1)
    for start in console.progress(range(0, len(flat), 512), desc="comparing pictures", unit=" x 512"):
        block = signs[start : start + 512]
        for some in (block, block[:, :, ::-1]):
            # The product of two hashes of 1 and -1 counts the bits that agree, less those that differ.
            near = some.reshape(len(block), -1) @ flat[start:].T >= flat.shape[1] - 2 * ALIKE
            left, right = group[np.argwhere(near) + start].T
            if (left != right).any():
                graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(names), len(names)))
                _, cluster = connected_components(graph, directed=False)
                group = np.unique(cluster, return_index=True)[1][cluster[group]]  # the first: names are sorted
    return [row | {"group": str(name), "split": split_of(name)} for row, name in zip(rows, names[group], strict=True)]


def _key(*identity):
    return hashlib.sha256(json.dumps([_FORMAT, *identity]).encode()).hexdigest()[:10]


def _made(final, source, fill, *arguments, is_due=lambda: False):
    """Returns the prepared folder `final`; where it is missing or not whole, or due anew, `fill` makes it first."""
    beside = final.with_name(f".{final.name}.part")
    try:
        if _is_whole(final) and not is_due():
            return final
        with disk.locked(beside):
            try:
                if not _is_whole(final) or is_due():  # else another process made it meanwhile
                    if final.exists():
                        why = "lacks files that can be read now" if _is_whole(final) else "is not whole"
                        print(f"{final} {why}; preparing it again", file=sys.stderr)
                    made = beside / "set"
                    shutil.rmtree(made, ignore_errors=True)  # what a process that was killed left
                    made.mkdir()
                    fill(made, source, *arguments)
                    shutil.rmtree(final, ignore_errors=True)
                    made.rename(final)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise SourceError(f"cannot prepare {source} in {final}: {error}; nothing unfinished was kept") from error
    return final


def _prepare_beside_others(sets, name, limit, folder):
    """Prepares every set of a folder of sets alone, joins look-alikes, and returns the folder of the set `name`."""
    source = in_sets(sets, name)
    alone = {each: _prepared(path, "varied", None, folder) for each, path in sources_in(sets).items()}
    key = _key([[each, made.name, digest(made)] for each, made in alone.items()])
    final = folder / f"{name}-{key}"
    if not _is_whole(final):
        tables = [_rows(made, "manifest.csv") for made in alone.values()]
        bits = np.concatenate([np.load(io.BytesIO(_table(made, "hashes.npy"))) for made in alone.values()])
        joined = iter(join_alike(sum(tables, []), np.unpackbits(bits, axis=-1).astype(bool)))
        for (each, made), table in zip(alone.items(), tables, strict=True):
            rows = list(itertools.islice(joined, len(table)))
            _made(folder / f"{each}-{key}", source, _link, made, rows, _rows(made, "rejects.csv"))
    if limit is None:
        return final
    rows, rejected = _rows(final, "manifest.csv"), _rows(final, "rejects.csv")
    tried = [row for row in rows + rejected if "@" in row["source"] or listing.kind_of(row["source"]) == "picture"]
    tried_names = {row["source"] for row in tried}
    left_out = [row for row in rejected if row["source"] not in tried_names]
    chosen = [row for _, row in _choose([(row["source"], row) for row in tried], limit, source)]
    rows, rejected = ([row for row in chosen if column in row] for column in ("file", "reason"))
    rejected += left_out
    return _made(folder / f"{name}-{_key(key, limit)}", source, _link, final, rows, rejected)


def _link(target, _, other, rows, rejected):
    """Fills a folder with tables of its own and a link to the pictures of the prepared folder `other` beside it."""
    (target / "pictures").symlink_to(Path("..", other.name, "pictures"))
    _write_tables(target, rows, rejected)


def _build(target, source, entries):
    """Cleans the entries in parallel into `target` and writes the tables; memory holds a few pictures at a time."""
    (target / "pictures").mkdir()
    cleaned, workers = [], os.cpu_count() or 1
    count, entries = entries()
    with (
        contextlib.closing(entries),  # ends the processes that paint scenes, should this be interrupted
        concurrent.futures.ThreadPoolExecutor(workers) as pool,  # Pillow decodes and encodes without the GIL
        console.progress(total=count, desc=f"preparing {source}", unit=" pictures") as progress,
    ):
        room = disk.Room(MAX_PIXELS)
        while some := _some(entries, 8 * workers):
            for row in pool.map(lambda entry: _store(target, room, *entry), some):
                cleaned.append(row)
                progress.update()
    rejected = [row for row in cleaned if "reason" in row]
    found = {row["file"]: row for row in cleaned if "file" in row}
    if not found:
        first = "{source}: {reason}".format(**min(rejected, key=lambda row: row["source"]))
        raise SourceError(f"{source}: none of its {len(rejected)} pictures is usable; the first: {first}")
    rows = [found[file] for file in sorted(found)]
    for row in rows:
        if (pages := row.pop("pages")) > 1:
            further = "page 2" if pages == 2 else f"pages 2 to {pages}"
            rejected.append({"source": f"{row['source']} {further}", "reason": "pages: the first is taken"})
    rejected.sort(key=lambda row: row["source"])
    hashes = np.stack([row.pop("hash") for row in rows])
    os.sync()  # the pictures, all at once: one by one takes longer than cleaning them
    _write_tables(target, join_alike(rows, hashes), rejected, hashes)


def _some(entries, count):
    """The next entries: at most `count`, and none once they hold MAX_BYTES."""
    some, size = [], 0
    while len(some) < count and size < MAX_BYTES and (entry := next(entries, None)):
        some.append(entry)
        size += len(entry[1]) if isinstance(entry[1], bytes) else 0
    return some


def _load(name, content, room):
    """The picture of an entry: decoded, painted, or of a video; reduced. Also its pages, and remarks on it."""
    if isinstance(content, files.ImageError):
        raise content
    if not isinstance(content, bytes):
        return files.shrink(content, SHORT_SIDE), 1, []
    try:
        with room.place(files.count_pixels(content, name)):
            photograph = files.open_photograph(content, name, is_deep=False)
            return files.shrink(files.flat(photograph), SHORT_SIDE), photograph.pages, photograph.remarks
    except MemoryError:
        raise _Passing(name, "too large for this computer's memory") from None


def _store(target, room, name, content, group=None):
    """Cleans and writes one picture: its row of the manifest with its "hash", or its row of the rejects."""
    try:
        picture, pages, remarks = _load(name, content, room)
        height, width = picture.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise files.ImageError(name, f"{width} x {height} pixels: a side is below {MIN_SIDE}")
    except files.ImageError as error:
        return {"source": name, "reason": " ".join(error.reason.split()), "passing": isinstance(error, _Passing)}
    own = hashlib.sha256(bytes(content)).hexdigest()
    # Exact duplicates share the first part; the second keeps their files apart.
    file = f"pictures/{own[:16]}-{name_hash(name)[:6]}.jpg"
    content = files.encode(picture, ".jpg")
    (target / file).write_bytes(content)
    about = {"width": width, "height": height, "bytes": len(content), "crc32": zlib.crc32(content)}
    about["toned"] = color.is_toned_or_grey(color.lab_of(files.shrink(picture, 64)))
    about["pages"], about["remark"] = pages, console.in_one_line("; ".join(remarks))
    return {"file": file, "group": group or own, **about, "source": name, "hash": difference_hash(picture)}


def _write_tables(target, rows, rejected, hashes=None):
    """Writes the tables and last set.json, which holds their checksums. A set with pictures of its own has hashes."""
    passing = [row["source"] for row in rejected if row.pop("passing", False)]
    tables = {"manifest.csv": _csv(_COLUMNS, rows), "rejects.csv": _csv(("source", "reason"), rejected)}
    if hashes is not None:
        np.save(packed := io.BytesIO(), np.packbits(hashes, axis=-1))
        tables |= {
            "hashes.npy": packed.getvalue(),
            "pictures.csv": _csv(("file", "bytes", "crc32", "toned", "remark"), rows),
        }
    sums = {}
    for name, content in tables.items():
        disk.write(target / name, content)
        sums[name] = hashlib.sha256(content).hexdigest()
    disk.write_json({"pictures": len(rows), "passing": passing, "sha256": sums}, target / "set.json")


def _can_be_read_now(folder, entries):
    """Whether a file can be read that could not be when the set was made."""
    passing = set(json.loads((folder / "set.json").read_bytes()).get("passing", ()))
    for name, content, *_ in entries(passing)[1] if passing else ():
        with contextlib.suppress(files.ImageError):
            _load(name, content, disk.Room(MAX_PIXELS))
            return True
    return False


def _csv(columns, rows):
    writer = csv.DictWriter(text := io.StringIO(newline=""), columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _table(folder, name):
    """Reads a table of a prepared folder as bytes; raises SourceError unless they are what was written."""
    try:
        sums = json.loads(Path(folder, "set.json").read_bytes())["sha256"]
        content = Path(folder, name).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{folder}: not a prepared picture folder ({error})") from error
    if hashlib.sha256(content).hexdigest() != sums.get(name):
        raise SourceError(f"{folder}: its {name} was changed or cut short; prepare it again")
    return content


def _is_whole(folder):
    try:
        pictures_elsewhere = (folder / "pictures").is_symlink()
        tables = ["manifest.csv", "rejects.csv", *([] if pictures_elsewhere else ["hashes.npy", "pictures.csv"])]
        whole = all(_table(folder, name) for name in tables)
        return whole and (pictures_elsewhere or _pictures_are_whole(folder))
    except SourceError:
        return False


def _pictures_are_whole(folder):
    """Whether the pictures are as they were written. Only those changed after set.json, the last file, are read."""
    written = (folder / "set.json").stat().st_mtime_ns
    for row in _rows(folder, "pictures.csv"):
        try:
            found = (folder / row["file"]).stat()
            later = found.st_mtime_ns > written
            if found.st_size != int(row["bytes"]):
                return False
            if later and zlib.crc32((folder / row["file"]).read_bytes()) != int(row["crc32"]):
                return False
        except OSError:
            return False
    return True


def _rows(folder, name):
    return list(csv.DictReader(io.StringIO(_table(folder, name).decode(), newline="")))


def locate(source, role, limit, raw, *, without=None):
    """Finds what a source is without reading its pictures: (label, identity, entries).

    The identity, fit for JSON, changes whenever the pictures might. `entries()` returns (count, generator of
    (name, content)), where content is bytes, a uint8 picture, or the ImageError met while reading it; frames of
    videos come as (name, content, speaker), and their count is what the headers promise. `entries(names)` are some.
    Nothing is taken from the folder `without`. Raises SourceError for a source that is unknown, missing or empty;
    `entries` also for one that is unreadable.
    """
    if source == "scenes":
        from colorlib.data import scenes  # painters that no other source needs

        code = b"".join(file.read_bytes() for file in sorted(Path(scenes.__file__).parent.glob("*.py")))
        count = limit or SCENES
        workers = min(os.cpu_count() or 1, count // SCENES_A_WORKER)
        identity = ["scenes", role, hashlib.sha256(code).hexdigest()]
        return f"scenes-{role}", identity, lambda only=(): (count, scenes.pictures(role, count, workers=workers))
    if source == "flowers":
        return source, [FLOWERS, FLOWERS_MD5], lambda only=(): _archive(_download_flowers(raw), limit, only)
    path = raw / CELEBA if source == "celeba" else Path(source).expanduser()
    # A notebook works from the root of the checkout; where it was started, its reader's own pictures may lie.
    beside = Path(os.environ.get("COLORLIB_STARTED_IN", "."), path)
    path = path if path.exists() or not beside.exists() else beside
    whole = path.resolve()
    if path.is_dir():
        found = listing.walk(path, without=without)
        left_out = found.left_out
        if found.pictures:
            left_out = left_out + [(name, FILM_BESIDE) for name, _ in found.films]
        files_of = [(name, file.stat().st_size, file) for name, file in found.pictures or found.films]
        identity = [str(whole), [(name, size, file.stat().st_mtime_ns) for name, size, file in files_of]]
        identity += [name for name, _ in left_out]  # nothing where all is taken
        not_taken = [(name, 0, files.ImageError(name, reason)) for name, reason in left_out]
        if found.films and not found.pictures:
            return whole.name, identity, lambda only=(): _filmed(files_of, not_taken, limit, path)
        chosen = _choose(files_of, limit, path, left_out)

        def entries(only=()):
            some = not_taken + [entry for entry in chosen if not only or entry[0] in only]
            return len(some), _contents(some, functools.partial(open, mode="rb"))

        return whole.name, identity, entries
    what = _what_is(path) if path.is_file() else ""
    if what in (*listing.READ, "HEIC"):
        raise SourceError(f"{path}: one picture, a {what}; a set is a folder or an archive of pictures")
    if what not in ("", "film", "archive"):
        raise SourceError(f"{path}: {listing.why_not(what)}; a set is a folder or an archive of pictures")
    if what == "film":
        film = [(path.name, path.stat().st_size, path)]
        identity = [str(whole), path.stat().st_size, path.stat().st_mtime_ns]
        return path.stem, identity, lambda only=(): _filmed(film, [], limit, path)
    if path.is_file():
        identity = [str(whole), path.stat().st_size, path.stat().st_mtime_ns]
        return path.name.split(".")[0], identity, lambda only=(): _archive(path, limit, only)
    if source == "celeba":
        raise SourceError(f"celeba cannot be fetched automatically: get {CELEBA} from {CELEBA_PAGE}, put it at {path}")
    close = difflib.get_close_matches(str(source), NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    places = " or ".join(dict.fromkeys([os.getcwd(), str(beside.parent.resolve())]))
    raise SourceError(f"{source}: no such folder or file in {places}, nor a known set ({', '.join(NAMES)}){hint}")


def name_hash(name):
    """Hashes a file name, which some file systems allow to be no Unicode: hexadecimal sha256."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()


def _what_is(path):
    with path.open("rb") as file:
        return listing.what_is(file.read(64))


def _choose(entries, limit, where, left_out=()):
    """Keeps at most `limit` of the entries (name, ...), those whose names hash lowest, in their order."""
    if not entries:
        known = listing.in_short(left_out) if left_out else f"looked for {listing.KINDS['picture']}; and for films"
        raise SourceError(f"{where}: no pictures in it ({known})")
    if limit is None or limit >= len(entries):
        return entries
    highest = sorted(name_hash(entry[0]) for entry in entries)[limit - 1]
    return [entry for entry in entries if name_hash(entry[0]) <= highest]


def _contents(chosen, opened):
    """Yields (name, bytes or ImageError) of (name, size, file); where one cannot be read, the others may be fine."""
    for name, size, file in chosen:
        content = bytearray()
        try:
            if isinstance(file, files.ImageError):
                raise file
            if size > MAX_BYTES:
                raise files.ImageError(name, f"{size:,} bytes, more than {MAX_BYTES:,}")
            with opened(file) as stream:
                while part := stream.read(2**20):  # counted, for an archive's member may hold more than it says
                    content += part
                    if len(content) > size:
                        raise files.ImageError(name, f"more than the {size:,} bytes that it should have")
            yield name, bytes(content)
        except files.ImageError as error:
            yield name, error
        except _DAMAGED as error:
            kind = _Passing if isinstance(file, Path) else files.ImageError
            yield name, kind(name, getattr(error, "strerror", None) or str(error))


class _Member(tarfile.TarInfo):
    """A member of a tar archive; tarfile.ReadError for one whose header fills the memory."""

    @classmethod
    def frombuf(cls, *arguments):
        """Reads a header."""
        member = super().frombuf(*arguments)
        if member.type in _LONG_HEADERS and member.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member


def _archive(path, limit, only=()):
    """Lists an archive's pictures: (count, generator of (name, bytes or ImageError)). Raises SourceError if cut."""
    is_zip = zipfile.is_zipfile(path)
    opened = zipfile.ZipFile if is_zip else functools.partial(tarfile.open, tarinfo=_Member)
    most, members, links, left_out = max(MAX_UNPACKED[0], MAX_UNPACKED[1] * path.stat().st_size), [], {}, []
    try:
        with opened(path) as archive:
            for member in archive.infolist() if is_zip else archive:  # a tar archive is unpacked on the way
                name, size = (_slashed(member), member.file_size) if is_zip else (member.name, member.size)
                most -= size
                if most < 0:
                    raise SourceError(f"{path}: it unpacks to more than {MAX_UNPACKED[1]} times its size")
                if listing.is_hidden(name) or (member.is_dir() if is_zip else member.isdir()):
                    continue
                if target := _link_target(archive, member, is_zip):
                    links[posixpath.normpath(name)] = name, target
                elif not is_zip and not member.isfile():
                    left_out += [(name, "not a file")] if listing.kind_of(name) else []
                elif listing.kind_of(name):
                    members.append((name, size, member))
                else:
                    with (archive.open if is_zip else archive.extractfile)(member) as file:
                        reason = listing.why_by_content(name, file.read(64))
                    left_out += [(name, reason)] if reason else []
            if not is_zip:
                archive.fileobj.seek(archive.offset)
                if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile sees nothing amiss
                    raise tarfile.ReadError("cut off: the mark at its end is missing")
                while part := archive.fileobj.read(2**20):  # to its end, where gzip has its checksum
                    most -= len(part)
                    if most < 0:
                        raise SourceError(f"{path}: it unpacks to more than {MAX_UNPACKED[1]} times its size")
    except _DAMAGED as error:
        reason = " ".join(str(error).split())
        if reason.startswith("file could not be opened") and "a header of" not in reason:  # what each packing says
            reason = "it is none, or damaged from its beginning on"
        raise SourceError(f"{path}: not a whole .tar, .tar.gz or .zip ({reason})") from error
    places = {posixpath.normpath(name): (size, member) for name, size, member in members}
    for name, target in links.values():
        if place := places.get(_resolved(target, links)):
            members.append((name, *place))
        else:
            left_out.append((name, "a link to nothing in the archive"))
    pictures = [entry for entry in members if listing.kind_of(entry[0]) == "picture"]
    for name, *_ in members:
        if (kind := listing.kind_of(name)) not in ("picture", ""):
            left_out.append((name, FILM_PACKED if kind == "film" else listing.why_not(kind)))
    chosen = [entry for entry in _choose(pictures, limit, path, left_out) if not only or entry[0] in only]
    if not is_zip:
        chosen.sort(key=lambda entry: entry[2].offset_data)  # a packed one is read forwards only
    chosen += [(name, 0, files.ImageError(name, reason)) for name, reason in left_out]

    def unpacked():
        with opened(path) as archive:
            yield from _contents(chosen, archive.open if is_zip else archive.extractfile)

    return len(chosen), unpacked()


def _resolved(name, links):
    """Where a name in an archive leads through its links, {place: (name, target)}, of files and of folders."""
    for _ in range(MAX_LINKS):
        name = posixpath.normpath(name)
        parts = name.split("/")
        above = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
        link = next((place for place in above if place in links), None)
        if link is None:
            break
        name = links[link][1] + name[len(link) :]
    return name


def _slashed(member):
    """The name of a zip's member; some programs of Windows write backslashes into it."""
    return member.filename.replace("\\", "/")


def _link_target(archive, member, is_zip):
    """The name of the member that a link in an archive leads to; None for what is no link."""
    name = _slashed(member) if is_zip else member.name
    if is_zip:
        if not stat.S_ISLNK(member.external_attr >> 16) or member.file_size > MAX_HEADER:
            return None
        leads_to = archive.read(member).decode("utf-8", "replace")
    elif member.islnk():
        return member.linkname
    elif member.issym():
        leads_to = member.linkname
    else:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), leads_to))


def _filmed(videos, not_taken, limit, where):
    """Lists the frames of videos, and what is not taken: (count, generator of (name, picture or error, speaker))."""
    from colorlib.data import video  # FFmpeg, which no other source needs

    promised = []
    for name, _, file in console.progress(videos, desc="reading the headers of videos"):
        promised += [(_moment(name, index * video.EVERY), name, file) for index in range(video.count(file))]
    chosen = _choose(promised, limit, where)

    def everything():
        yield from ((name, error, "") for name, _, error in not_taken)
        yield from _frames(chosen, video.frames, limit is None)

    return len(chosen) + len(not_taken), everything()


def _frames(chosen, decode, every_one):
    for (name, file), planned in itertools.groupby(chosen, lambda entry: entry[1:]):
        wanted = {entry[0] for entry in planned}
        speaker = name.split("/")[0] if "/" in name else Path(name).stem
        try:
            for seconds, picture in decode(file):
                moment = _moment(name, seconds)
                if every_one or moment in wanted:  # a header may promise fewer than there are
                    yield moment, picture, speaker
                if moment >= max(wanted) and not every_one:
                    break
        except files.ImageError as error:
            yield name, error, speaker


def _moment(name, seconds):
    return f"{name}@{seconds:07.1f}s"  # sorted, they are in the order of time


def _download_flowers(raw):
    """Returns the path of the flowers' archive in `raw`, where need be after a download, or the rest of one.

    Raises SourceError offline, for a broken connection and for a wrong checksum.
    """
    path = raw / FLOWERS.rpartition("/")[2]
    try:
        return disk.fetch(FLOWERS, FLOWERS_MD5, path)
    except (OSError, ValueError) as error:  # ValueError: the checksum
        todo = f"try again, or put the file (md5 {FLOWERS_MD5}) at {path}"
        raise SourceError(f"flowers: cannot download {FLOWERS} ({error}); {todo}") from error
