"""Any source of pictures -> a folder of clean pictures with a manifest, split without leaks.

A source is one that `sources` knows, or FOLDER::NAME, one set of a folder of sets. Each file passes `cleaning.clean`
once. What is usable is stored:

    <folder>/<source>-<key>/pictures/*.jpg   short side at most 256, quality 95, chroma not subsampled
                            manifest.csv     file, group, split, width, height, source; sorted by file
                            rejects.csv      what cannot be used: source, reason; sorted by source
                            hashes.npy       what each picture of the manifest looks like, in 512 bits
                            pictures.csv     file, bytes, crc32 of each picture; its mean chroma; remark: what had to
                                             be set aside
                            set.json         number of pictures, checksums of these four, and which files may be
                                             readable another time; written last

What was cleaned stays in <folder>/.cleaned, to which pictures/ links: see `kept`. `scale` makes the same of millions of
files, by many machines, with the pictures in shards; such a folder is a source, too.

Files are named after their content, so the first n of the sorted paths are a fair sample.

**Splits.** A picture's split follows from the name of its group alone: the hash of its content; for a frame the
speaker. Groups with pictures that look alike, as they are or mirrored, become one under the lowest of their names.

**FOLDER::NAME.** Two sets may hold the same photograph. `my-sets::faces` is my-sets/faces.tar (or .zip, or a folder),
whose pictures share groups with look-alikes in any other set of my-sets. Use it whenever a model meets more than one
set. The result has tables of its own and a link to the pictures.
"""

import collections
import concurrent.futures
import contextlib
import csv
import dataclasses
import hashlib
import io
import itertools
import json
import os
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np

from colorlib import console
from colorlib.data import catalog, cleaning, disk, kept, listing, sources
from colorlib.data.cleaning import USUAL, name_hash
from colorlib.data.sources import TWO_SECONDS, SourceError

NAMES = ("scenes", *catalog.RECIPES)
ROLES = ("faces", "flowers", "landscapes", "varied")
SPLIT_RULE = "near-duplicates share a group"  # stands in every row of results
SPLITS = {"train": 0.75, "validation": 0.85, "test": 1.0}  # upper bounds of a group's hash in [0, 1)
MANY = 0.02  # of a source's pictures that are without color: so many are told
COLUMNS = ("file", "group", "split", "width", "height", "source")
ABOUT = ("file", "bytes", "crc32", "chroma", "remark")
_FORMAT = 5  # part of every key; raise it when the stored pictures or the manifest change


def prepare(source, *, role, limit=None, rules=USUAL, frames=TWO_SECONDS, folder=Path("data/processed")):
    """Builds the clean picture folder of a source and returns its path; one built before is returned at once.

    `source` is a name in NAMES, `tfds:NAME` or `hf:NAME`, a path (write ./flowers for a folder of that name) or
    FOLDER::NAME. `role` picks the kind of "scenes" and nothing else. `limit` takes at most so many files, or frames of
    videos, chosen by a hash of their names: fair to sources sorted by class. `rules` (`cleaning.Rules`) say what is
    left out, `frames` (`sources.Frames`) which frames of videos count. Downloads go to `raw` beside `folder`.

    Whole or not at all; a set that is not whole any more is built again, and so is one where a file can be read now
    that could not be read then. What was cleaned before is not cleaned again, after a kill neither. Raises SourceError
    for a source that is unknown, missing, unreadable or without a usable picture, a download that fails, and a disk
    that fills up. What speaks against the set, it says on stderr.
    """
    made = _prepared(source, role, limit, Path(folder), rules, frames)
    for concern in concerns(made):
        print(f"{made}: {concern}", file=sys.stderr)
    return made


def _prepared(source, role, limit, folder, rules, frames):
    if role not in ROLES:
        raise SourceError(f"role {role!r} is none of {', '.join(ROLES)}")
    if limit is not None and limit < 1:
        raise SourceError(f"a limit of {limit} pictures leaves nothing of {source}")
    place, _, name = str(source).rpartition("::")
    if place:
        return _prepare_beside_others(place, name, limit, folder, rules, frames)
    if shards_of(source):
        if (rules, frames) != (USUAL, TWO_SECONDS):
            raise SourceError(f"{source}: its shards are made already; give rules and frames where they are made")
        return _part_of(Path(source), None, Path(source).resolve().name, limit, folder)
    found = sources.locate(source, role, limit, folder.parent / "raw", without=folder, frames=frames)
    if str(source) == "scenes":  # painted in color, some of them nearly without
        rules = dataclasses.replace(rules, grey=True)
    about = dataclasses.asdict(rules)
    made = folder / f"{found.label}-{_key(found.identity, limit, about)}"
    before = folder / ".cleaned" / f"{found.label}-{_key(found.identity[0], about)}"
    return _made(made, source, _build, found, rules, before, is_due=lambda: _can_be_read_now(made, found, rules))


def in_sets(sets, name):
    """The source FOLDER::NAME for a set of the folder `sets`. Raises SourceError if there is none of that name."""
    if name not in (found := sources_in(sets)):
        raise SourceError(f"SETS={sets}: no set {name!r} there (found {', '.join(found) or 'none'})")
    return f"{sets}::{name}"


def sources_in(sets):
    """Lists a folder of sets: {name: path}, roles first. A set is an archive, or a folder with pictures or videos."""
    found = {}
    for end in ("", *sources.ARCHIVES):  # a folder counts before an archive of its name
        for path in sorted(Path(sets).expanduser().glob(f"[!.]*{end}")):
            if path.is_file() if end else shards_of(path) or listing.holds_any(path):
                found.setdefault(path.name.removesuffix(end), path)
    return {name: found[name] for name in (*ROLES, *sorted(found)) if name in found}


def split_of(group):
    """Names the split of a group, a string: 75 % train, 10 % validation, 15 % test, by its hash alone."""
    share = int(name_hash(group)[:16], 16) / 2**64
    return next((name for name, bound in SPLITS.items() if share < bound), "test")


def shards_of(folder):
    """The number of shards that hold the pictures of a folder that `scale` prepared; 0 for any other."""
    with contextlib.suppress(OSError, ValueError):
        about = json.loads(Path(folder, "set.json").read_bytes())
        return about.get("shards", 0) if isinstance(about, dict) and "sha256" in about else 0
    return 0


def shard_of(name, shards):
    """The number of the shard for a file of a source: by the hash of its name."""
    return int(name_hash(name)[:16], 16) % shards


def paths(folder, split, *, part=(0, 1)):
    """Lists the pictures of a split of a prepared folder, sorted, for `pipeline`.

    Of a set in shards, a picture's path is that of its shard and behind it the name of its file. `part`, (i, n), lists
    the i-th of n parts: of shards i, i + n, ..., or of every n-th picture where there are none. Raises SourceError if
    there are none, or the set is not whole.
    """
    rows, shards, (first, step) = _rows(folder, "manifest.csv"), shards_of(folder), part
    found = []
    for number, row in enumerate(row for row in rows if row["split"] == split):
        path = Path(folder) / row["file"]
        if shards:
            number = shard_of(_file_of(row["source"]), shards)
            path = Path(folder, "shards", f"pictures-{number:05d}-of-{shards:05d}.tfrecord", path.name)
        if number % step == first:
            found.append(path)
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
    pictures = Path(folder, "shards" if shards_of(folder) else "pictures")
    about = {row["file"]: row for row in _rows(pictures.resolve().parent, "pictures.csv")}
    found, splits = [], collections.Counter(row["split"] for row in rows)
    grey = [name for name, reason in rejects(folder) if reason == cleaning.GREY]
    if len(grey) > MANY * len(rows):
        some = ", ".join(grey[:3]) + (", ..." if len(grey) > 3 else "")
        are = "picture is" if len(grey) == 1 else "pictures are"
        found.append(f"{len(grey)} {are} left out, {cleaning.GREY} ({some})")
    group, most = collections.Counter(row["group"] for row in rows).most_common(1)[0]
    if most > max(1, len(rows) / 2):
        of = f"{most} of {len(rows)} pictures are of one film or speaker, or look alike ({group[:16]})"
        found.append(f"{of}, so they stay in one split: add others")
    if empty := [split for split in SPLITS if not splits[split]]:
        of = f"with {len(rows)} pictures, chance left no {' and no '.join(empty)} pictures"
        found.append(f"{of}: training and scoring need all three, and from 100 pictures on none is likely to be empty")
    remarks = [(row["source"], about[row["file"]]["remark"]) for row in rows if about[row["file"]]["remark"]]
    return found + ([listing.in_short(remarks, what="remarked")] if remarks else [])


def _file_of(source):
    """The name of the file that a row's picture is of: a frame's film."""
    name, _, moment = source.rpartition("@")
    return name if moment.endswith("s") and listing.kind_of(name) == "film" else source


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
        raise SourceError(f"cannot prepare {source} in {final}: {error}; run again, it goes on where it was") from error
    return final


def _prepare_beside_others(sets, name, limit, folder, rules, frames):
    """Prepares every set of a folder of sets alone, joins look-alikes, and returns the folder of the set `name`."""
    source = in_sets(sets, name)
    alone = {each: _prepared(path, "varied", None, folder, rules, frames) for each, path in sources_in(sets).items()}
    key = _key([[each, made.name, digest(made)] for each, made in alone.items()])
    final = folder / f"{name}-{key}"
    if not _is_whole(final):
        tables = [_rows(made, "manifest.csv") for made in alone.values()]
        bits = np.concatenate([np.load(io.BytesIO(_table(made, "hashes.npy"))) for made in alone.values()])
        joined = iter(_grouped(sum(tables, []), np.unpackbits(bits, axis=-1).astype(bool)))
        for (each, made), table in zip(alone.items(), tables, strict=True):
            rows = list(itertools.islice(joined, len(table)))
            _made(folder / f"{each}-{key}", source, _link, made, rows, _rows(made, "rejects.csv"))
    return _part_of(final, key, name, limit, folder)


def _part_of(whole, key, name, limit, folder):
    """A prepared folder, or a part of it with tables of its own: so many pictures, chosen by a hash of their names."""
    if not _is_whole(whole):
        raise SourceError(f"{whole}: not whole any more; prepare it again")
    if limit is None:
        return whole
    rows, rejected = _rows(whole, "manifest.csv"), _rows(whole, "rejects.csv")
    tried = [row for row in rows + rejected if "@" in row["source"] or listing.kind_of(row["source"]) == "picture"]
    tried_names = {row["source"] for row in tried}
    left_out = [row for row in rejected if row["source"] not in tried_names]
    taken = sources.lowest([row["source"] for row in tried], limit)
    chosen = [row for row in tried if row["source"] in taken]
    rows, rejected = ([row for row in chosen if column in row] for column in ("file", "reason"))
    part = folder / f"{name}-{_key(key or digest(whole), limit)}"
    return _made(part, name, _link, whole, rows, rejected + left_out)


def _link(target, _, other, rows, rejected):
    """Fills a folder with tables of its own and a link to the pictures, or shards, of the prepared folder `other`."""
    shards = shards_of(other)
    what = "shards" if shards else "pictures"
    final = target.parent.parent  # where this folder's own will be, one below
    (target / what).symlink_to(Path("..", os.path.relpath(other, final), what))
    _write_tables(target, rows, rejected, more={"shards": shards} if shards else {})


def _build(target, source, found, rules, before):
    """Cleans what is new of a source in parallel, links the pictures to `target` and writes the tables."""
    with disk.locked(before):
        cleaned = kept.Kept(before)
        with contextlib.closing(cleaned):
            listed = found.listed()
            rows = [{"source": name, "reason": reason} for name, reason in listed.left_out]
            rows += _clean(source, listed, rules, cleaned)
        rejected = [row for row in rows if "reason" in row]
        rows = sorted((row for row in rows if "file" in row), key=lambda row: row["file"])
        if not rows:
            first = "{source}: {reason}".format(**min(rejected, key=lambda row: row["source"]))
            raise SourceError(f"{source}: none of its {len(rejected)} pictures is usable; the first: {first}")
        (target / "pictures").mkdir()
        for row in rows:
            cleaned.link(row["file"], target)
    rejected += further_pages(rows)
    rejected.sort(key=lambda row: row["source"])
    os.sync()  # the pictures, all at once: one by one takes longer than cleaning them
    hashes = unpacked_hashes(rows)
    _write_tables(target, _grouped(rows, hashes), rejected, hashes)


def _clean(source, listed, rules, cleaned):
    """Yields the rows of all files of a source: of those that were cleaned before, and of the others as they are."""
    todo = []
    with console.progress(total=len(listed.entries), desc=f"preparing {source}", unit=" files") as progress:
        for entry in listed.entries:
            if (rows := cleaned.rows(entry)) is None:
                todo.append(entry)
            else:
                yield from rows
                progress.update()
        workers, room = os.cpu_count() or 1, disk.Room(cleaning.MAX_PIXELS)
        with (
            contextlib.closing(listed.read(todo)) as contents,  # ends the processes that paint scenes, if interrupted
            concurrent.futures.ThreadPoolExecutor(workers + 1) as pool,  # Pillow decodes and encodes without the GIL
        ):

            def clean(entry, content):
                rows = []
                for row, jpeg in cleaning.clean(entry.name, content, rules, room):
                    if jpeg:
                        cleaned.store(row["file"], jpeg)
                    rows.append(row)
                return rows

            pending, held = collections.deque(), 0  # files in work, and their bytes: a few, whatever the source holds

            def finished():
                """The rows of the file that was begun first."""
                nonlocal held
                entry, size, future = pending.popleft()
                rows = future.result()
                cleaned.note(entry, rows)
                progress.update()
                held -= size
                return rows

            for entry, content in contents:
                size = len(content) if isinstance(content, bytes) else 0
                pending.append((entry, size, pool.submit(clean, entry, content)))
                held += size
                while len(pending) > 8 * workers or held > sources.MAX_BYTES:
                    yield from finished()
            while pending:
                yield from finished()


def further_pages(rows):
    """The rejects of files with more than one page: all but the first."""
    for row in rows:
        if (pages := row["pages"]) > 1:
            further = "page 2" if pages == 2 else f"pages 2 to {pages}"
            yield {"source": f"{row['source']} {further}", "reason": "pages: the first is taken"}


def unpacked_hashes(rows):
    """The hashes of rows of `cleaning.clean`: bool (N, 32, 16)."""
    packed = np.frombuffer(bytes.fromhex("".join(row["hash"] for row in rows)), np.uint8)
    return np.unpackbits(packed.reshape(len(rows), 32, 2), axis=-1).astype(bool)


def _grouped(rows, hashes):
    """The rows with the groups that look-alikes share, and their splits."""
    groups = cleaning.join_alike([row["group"] for row in rows], hashes)
    return [row | {"group": group, "split": split_of(group)} for row, group in zip(rows, groups, strict=True)]


def _write_tables(target, rows, rejected, hashes=None, *, more=None):
    """Writes the tables and last set.json, which holds their checksums. A set with pictures of its own has hashes."""
    passing = [row["source"] for row in rejected if row.pop("passing", False)]
    tables = {"manifest.csv": csv_of(COLUMNS, rows), "rejects.csv": csv_of(("source", "reason"), rejected)}
    if hashes is not None:
        np.save(packed := io.BytesIO(), np.packbits(hashes, axis=-1))
        tables |= {
            "hashes.npy": packed.getvalue(),
            "pictures.csv": csv_of(ABOUT, rows),
        }
    sums = {}
    for name, content in tables.items():
        disk.write(target / name, content)
        sums[name] = hashlib.sha256(content).hexdigest()
    disk.write_json({"pictures": len(rows), "passing": passing, "sha256": sums} | (more or {}), target / "set.json")


def _can_be_read_now(folder, found, rules):
    """Whether a file can be read that could not be when the set was made."""
    passing = set(json.loads((folder / "set.json").read_bytes()).get("passing", ()))
    if not passing:
        return False
    listed = found.listed()
    some = listed.read([entry for entry in listed.entries if entry.name in passing])
    cleaned = ([row for row, _ in cleaning.clean(entry.name, content, rules)] for entry, content in some)
    return any(not any(row.get("passing") for row in rows) for rows in cleaned)


def csv_of(columns, rows):
    """Rows as a table, in bytes."""
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
        about = json.loads((folder / "set.json").read_bytes())
        pictures = folder / ("shards" if "shards" in about else "pictures")
        tables = ["manifest.csv", "rejects.csv", *([] if pictures.is_symlink() else ["hashes.npy", "pictures.csv"])]
        if not all(_table(folder, name) for name in tables):
            return False
        if pictures.is_symlink():
            return pictures.exists()
        if "shards" in about:
            return all((pictures / name).stat().st_size == size for name, size in about["sizes"].items())
        return _pictures_are_whole(folder)
    except (SourceError, OSError, ValueError):
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
