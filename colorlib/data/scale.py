"""Sets too large for one computer or one hour: the cleaning of `sets`, by Apache Beam, into shards of TFRecord.

    <folder>/shards/pictures-00003-of-00064.tfrecord   records: jpeg, file, group, split, chroma; sorted by file
                    manifest-00003-of-00064.csv        the rows of manifest.csv of these pictures
                    rejects-00003-of-00064.csv, about-00003-of-00064.csv
             work/   what a run that goes on needs; it may be removed when a set is done
             manifest.csv, rejects.csv, pictures.csv, hashes.npy, set.json   as those of `sets.prepare`

A file's shard follows from a hash of its name. Three steps: each shard is cleaned; look-alikes are joined, in one
place; each shard is written with its groups and splits. What a step has written whole is not done again: a run that was
stopped goes on, and a second one only does the shards whose files changed. The manifest is that of `sets.prepare`, to
the byte. Needs the extra `scale`.
"""

import collections
import contextlib
import csv
import dataclasses
import functools
import hashlib
import heapq
import io
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from colorlib import console
from colorlib.data import catalog, cleaning, disk, files, listing, sets, sources, video
from colorlib.data.cleaning import USUAL
from colorlib.data.sources import TWO_SECONDS, SourceError

_OURS = ("shards", "work", "manifest.csv", "rejects.csv", "pictures.csv", "hashes.npy", "set.json")
_NAMED = re.compile(r"(plan|cleaned|groups|pictures|manifest|rejects|about)-\d{5}.*\.(json|jsonl|jpegs|csv|tfrecord)")
_FORMAT = 1  # part of every key; raise it when what is written changes
_TABLES = {"manifest": sets.COLUMNS, "rejects": ("source", "reason"), "pictures": sets.ABOUT}


def prepare(source, folder, *, shards, rules=USUAL, frames=TWO_SECONDS, options=()):
    """Cleans a source of any size into `shards` shards in `folder`; returns {"train", "validation", "test", "rejects"}.

    Where it is on this computer, the folder is a source for `sets.prepare`.

    `source` is a folder, or a pattern of files as Beam's file systems know them (gs://bucket/**.jpg), of pictures or of
    videos. `options` are Beam's own, as on its command line: ["--runner=DataflowRunner", ...]. Without a runner, as
    many processes of this computer as it has cores do the work, and `folder` may be on any file system of Beam's too;
    training reads shards from a local disk.

    Raises SourceError for a source that is missing or empty, for an archive, where no picture is usable, and for a
    folder with files of somebody else.
    """
    if shards < 1:
        raise ValueError(f"{shards} shards: it takes at least 1")
    folder = str(folder)
    if "://" in folder:
        return _prepare(source, folder, shards, rules, frames, options)
    folder = os.path.abspath(folder)
    if strangers := [path.name for path in Path(folder).glob("*") if path.name not in _OURS]:
        raise SourceError(f"{folder}: it holds {strangers[0]}, which is not of a set in shards; take another folder")
    with disk.locked(folder):
        return _prepare(source, folder, shards, rules, frames, options)


def _prepare(source, folder, shards, rules, frames, options):
    entries, left_out = _listed(source, folder, frames)
    plans = [[] for _ in range(shards)]
    for entry in entries:
        plans[sets.shard_of(entry.name, shards)].append([entry.name, entry.stamp, str(entry.place)])
    jobs = []
    for number, plan in enumerate(plans):
        content = json.dumps([_FORMAT, dataclasses.asdict(rules), plan]).encode()
        key = hashlib.sha256(content).hexdigest()[:16]
        jobs.append(_Job(folder, number, shards, key))
        if not _exists(jobs[-1].plan):
            _write(jobs[-1].plan, content)
    try:
        with _progress(jobs), _local_logs(folder, options):
            _run(jobs, options)
    except Exception as error:  # whatever a runner raises
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise SourceError(f"{source}: Beam stopped ({reason[0][:300]}); run again, it goes on where it was") from error
    return _finish(folder, jobs, left_out, source)


def _run(jobs, options):
    """The three steps. Each shard waits for the one place where look-alikes are joined."""
    with beam.Pipeline(options=_options(options)) as pipeline:
        cleaned = pipeline | "shards" >> beam.Create(jobs) | beam.Reshuffle() | "clean" >> beam.Map(_clean_shard)
        joined = cleaned | beam.combiners.ToList() | "join look-alikes" >> beam.Map(_join_alike)
        each = joined | "each" >> beam.FlatMap(lambda all_jobs: all_jobs) | "spread" >> beam.Reshuffle()
        _ = each | "write" >> beam.Map(_write_shard)


@contextlib.contextmanager
def _local_logs(folder, options):
    """Sends what workers on this computer say to work/beam.log: the greetings of Beam and TensorFlow, many times."""
    if _runner_of(options) or "://" in folder:
        yield
        return
    sys.stderr.flush()
    ours = os.dup(2)
    with open(_join(folder, "work", "beam.log"), "ab") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(ours, 2)
        os.close(ours)


class _Job:
    """One shard: where its plan, what was cleaned of it, its groups and its results are."""

    def __init__(self, folder, number, shards, key):
        self.folder, self.number, self.shards = folder, number, shards
        work = functools.partial(_join, folder, "work")
        self.plan = work(f"plan-{number:05d}-{key}.json")
        self.rows, self.jpegs = work(f"cleaned-{number:05d}-{key}.jsonl"), work(f"cleaned-{number:05d}-{key}.jpegs")
        self.groups = work(f"groups-{number:05d}.json")

    def result(self, what):
        """The path of the shard's records, or of one of its tables."""
        name = {"records": "pictures", "pictures": "about"}.get(what, what)
        suffix = "tfrecord" if what == "records" else "csv"
        return _join(self.folder, "shards", f"{name}-{self.number:05d}-of-{self.shards:05d}.{suffix}")

    def paths(self):
        """All paths of this shard."""
        yield from (self.plan, self.rows, self.jpegs, self.groups, _join(self.folder, "work", "beam.log"))
        yield from (self.result(what) for what in ("records", *_TABLES))


def _listed(source, folder, frames):
    """The files of the source: entries, and what is left out. Those of a pattern are all that it matches."""
    source = str(source)
    named = catalog.RECIPES.get(source)
    if source.startswith(("tfds:", "hf:")) or source == "scenes" or (named and "." in named.file):
        raise SourceError(f"{source}: shards are made of folders and of patterns of files alone")
    if named or "://" not in source and (os.path.lexists(source) or not any(sign in source for sign in "*?[")):
        found = sources.locate(source, "varied", None, Path("data/raw"), without=folder, frames=frames)
        if os.path.isfile(source) and listing.kind_of(source) != "film":
            raise SourceError(f"{source}: shards are made of folders and of patterns of files; unpack it")
        listed = found.listed()
        return listed.entries, listed.left_out
    if frames.number is not None:
        raise SourceError(
            f"{source}: a number of frames takes a folder, or --every; a pattern is not looked into first"
        )
    [match] = FileSystems.match([source])
    plain = re.split(r"[*?\[]", source)[0]
    root = plain[: plain.rfind("/") + 1]
    films, pictures, left_out = [], [], []
    for found in sorted(match.metadata_list, key=lambda each: each.path):
        name, kind = found.path.removeprefix(root), listing.kind_of(found.path)
        if listing.is_hidden(name):
            continue
        stamp = [found.size_in_bytes, found.last_updated_in_seconds]
        if kind == "film":
            films.append(sources.Entry(name, [*stamp, [frames.every, None, frames.apart]], found.path))
        elif kind == "picture":
            pictures.append(sources.Entry(name, stamp, found.path))
        elif kind:
            left_out.append((name, listing.why_not(kind)))
    if pictures:
        left_out += [(film.name, sources.FILM_BESIDE) for film in films]
    if not (pictures or films):
        raise SourceError(f"{source}: no pictures or videos match it")
    return pictures or films, left_out


def _runner_of(options):
    return next((each for each in options if each.startswith("--runner")), "")


def _options(options):
    """Beam's options; this computer's processes where no runner is named."""
    options = list(options)
    if not _runner_of(options):
        options += ["--runner=DirectRunner"]
        if not any(each.startswith("--direct_") for each in options):
            options += ["--direct_running_mode=multi_processing", f"--direct_num_workers={os.cpu_count() or 1}"]
    made = PipelineOptions(options)
    made.view_as(SetupOptions).save_main_session = False
    return made


def _clean_shard(job):
    """Cleans the files of one shard, one by one; nothing where that was done before."""
    if _exists(job.rows) and not any(row.get("passing") for row in _lines(job.rows)):
        return job
    _, rules, plan = json.loads(_read(job.plan))
    rules, rows, room = cleaning.Rules(**rules), [], disk.Room(cleaning.MAX_PIXELS)
    with tempfile.TemporaryFile() as kept:
        for name, stamp, place in plan:
            with _content(name, stamp, place) as content:
                for row, jpeg in cleaning.clean(name, content, rules, room):
                    if jpeg:
                        row |= {"at": kept.tell()}
                        kept.write(jpeg)
                    rows.append(row)
        kept.seek(0)
        _write(job.jpegs, kept)
    _write(job.rows, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return job


@contextlib.contextmanager
def _content(name, stamp, place):
    """What `cleaning.clean` takes of a file: its bytes, or a film; an ImageError where it cannot be read."""
    if len(stamp) == 3:  # a film, which FFmpeg reads from a local disk
        every, at, apart = stamp[2]
        with _local(place) as file:
            shown = functools.partial(video.frames, file, every=every, at=at)
            yield cleaning.Film(shown, sources.speaker_of(name), apart)
        return
    try:
        if stamp[0] > sources.MAX_BYTES:
            raise files.ImageError(name, f"{stamp[0]:,} bytes, more than {sources.MAX_BYTES:,}")
        content = _read(place)
    except files.ImageError as error:
        content = error
    except (OSError, BeamIOError) as error:
        content = files.Passing(name, getattr(error, "strerror", None) or str(error))
    yield content


@contextlib.contextmanager
def _local(place):
    """A file on a local disk, for a while copied there if it is elsewhere."""
    if "://" not in place:
        yield place
        return
    with tempfile.NamedTemporaryFile(suffix=os.path.splitext(place)[1]) as copy:
        with FileSystems.open(place) as stream:
            shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name


def _join_alike(jobs):
    """Joins the look-alikes of all shards and writes down the groups of each."""
    rows, counts = [], []
    for job in jobs:
        rows += [{name: row[name] for name in ("group", "hash")} for row in _lines(job.rows) if "file" in row]
        counts.append(len(rows) - sum(counts))
    if not rows:
        return []
    groups = iter(cleaning.join_alike([row["group"] for row in rows], sets.unpacked_hashes(rows)))
    for job, count in zip(jobs, counts, strict=True):
        _write(job.groups, json.dumps(list(itertools.islice(groups, count))).encode())
    return jobs


def _write_shard(job):
    """Writes the records of one shard and its tables; nothing where they are those of the same files and groups."""
    import tensorflow as tf  # seconds to load, and only here

    rows = list(_lines(job.rows))
    rejected = [row for row in rows if "reason" in row]
    rows = [row for row in rows if "file" in row]
    groups = json.loads(_read(job.groups))
    rows = [row | {"group": group, "split": sets.split_of(group)} for row, group in zip(rows, groups, strict=True)]
    rows.sort(key=lambda row: row["file"])
    rejected = sorted([*rejected, *sets.further_pages(rows)], key=lambda row: row["source"])
    tables = {name: sets.csv_of(columns, rejected if name == "rejects" else rows) for name, columns in _TABLES.items()}
    if _exists(job.result("records")) and all(
        _exists(job.result(name)) and _read(job.result(name)) == table for name, table in tables.items()
    ):
        return
    jpegs = memoryview(_read(job.jpegs))
    with tempfile.NamedTemporaryFile() as made:
        with tf.io.TFRecordWriter(made.name) as writer:
            for row in rows:
                texts = {name: row[name].encode() for name in ("file", "group", "split")}
                texts["jpeg"] = bytes(jpegs[row["at"] : row["at"] + row["bytes"]])
                feature = {name: tf.train.Feature(bytes_list={"value": [text]}) for name, text in texts.items()}
                feature["chroma"] = tf.train.Feature(float_list={"value": [row["chroma"]]})
                writer.write(tf.train.Example(features={"feature": feature}).SerializeToString(deterministic=True))
        with open(made.name, "rb") as file:
            _write(job.result("records"), file)
    for name, table in tables.items():
        _write(job.result(name), table)


def _finish(folder, jobs, left_out, source):
    """Merges the tables of the shards, and last writes set.json with their checksums."""
    rows = [{name: row[name] for name in ("file", "hash")} for job in jobs for row in _lines(job.rows) if "file" in row]
    if not rows:
        raise SourceError(f"{source}: none of its pictures is usable; see {_join(folder, 'work')}")
    rows.sort(key=lambda row: row["file"])
    packed = io.BytesIO()
    np.save(packed, np.packbits(sets.unpacked_hashes(rows), axis=-1))
    tables = {"hashes.npy": packed.getvalue()}
    for name, columns in _TABLES.items():
        of_shards = [_records(job.result(name)) for job in jobs]
        if name == "rejects":
            of_shards.append(sorted(({"source": each, "reason": why} for each, why in left_out), key=_first(columns)))
        tables[f"{name}.csv"] = sets.csv_of(columns, heapq.merge(*of_shards, key=_first(columns)))
    sizes = {os.path.basename(job.result("records")): _size(job.result("records")) for job in jobs}
    about = {"pictures": len(rows), "passing": [], "shards": len(jobs), "sizes": sizes}
    about["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
    for name, content in tables.items():
        _write(_join(folder, name), content)
    _write(_join(folder, "set.json"), json.dumps(about, indent=1).encode())
    ours = {path for job in jobs for path in job.paths()}
    for place in ("work", "shards"):  # what is of another state of the source, or of another number of shards
        found = FileSystems.match([_join(folder, place, "*")])[0].metadata_list
        named = [each.path for each in found if _NAMED.fullmatch(os.path.basename(each.path))]
        if stale := [path for path in named if path not in ours]:
            FileSystems.delete(stale)
    rows = csv.DictReader(io.StringIO(tables["manifest.csv"].decode("utf-8", "surrogateescape"), newline=""))
    counts = collections.Counter(row["split"] for row in rows)
    rejected = tables["rejects.csv"].count(b"\n") - 1
    return {split: counts[split] for split in sets.SPLITS} | {"rejects": rejected}


def _first(columns):
    return lambda row: row[columns[0]]


def _records(path):
    return csv.DictReader(io.StringIO(_read(path).decode("utf-8", "surrogateescape"), newline=""))


def _lines(path):
    return (json.loads(line) for line in _read(path).splitlines())


@contextlib.contextmanager
def _progress(jobs):
    """A bar of the shards that are cleaned, looked up every second: the runner may be anywhere."""
    done = threading.Event()

    def watch(bar):
        while not done.wait(1):
            bar.n = sum(_exists(job.rows) for job in jobs)
            bar.refresh()

    terminal = os.fdopen(os.dup(2), "w")  # where the bar stays, wherever the workers' words go
    with terminal, console.progress(total=len(jobs), desc="cleaning", unit=" shards", file=terminal) as bar:
        watcher = threading.Thread(target=watch, args=(bar,), daemon=True)
        if not bar.disable:
            watcher.start()
        try:
            yield
        finally:
            done.set()


# Files on any file system that Beam knows, written whole or not at all.


def _join(folder, *names):
    return FileSystems.join(folder, *names)


def _exists(path):
    return FileSystems.exists(path)


def _size(path):
    return FileSystems.match([path])[0].metadata_list[0].size_in_bytes


def _read(path):
    with FileSystems.open(path) as stream:
        return stream.read()


def _write(path, content):
    """Writes bytes, or what a file holds, beside `path` and renames it there."""
    with contextlib.suppress(OSError, BeamIOError):  # it is there; what else is wrong, writing tells
        FileSystems.mkdirs(os.path.dirname(path))
    beside = f"{path}.{os.getpid()}-{threading.get_ident()}.part"
    with FileSystems.create(beside) as target:
        if isinstance(content, bytes):
            target.write(content)
        else:
            shutil.copyfileobj(content, target, 2**20)
    FileSystems.rename([beside], [path])
