"""Where pictures come from: a name of the catalog, a folder, an archive or videos -> its files, one by one.

A source is a name (`catalog.RECIPES`), a folder, a .tar, .tar.gz or .zip, one video, `tfds:NAME` or `hf:NAME`. A folder
without pictures may hold videos, <speaker>/<video>/<clip>.mp4 or deeper, or <speaker>.mp4. Their frames are named
<speaker>/<video>/<clip>.mp4@00002.0s. Videos beside pictures are left out: phones keep both of one moment.
"""

import dataclasses
import difflib
import fnmatch
import functools
import hashlib
import lzma
import os
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

from colorlib import console
from colorlib.data import catalog, cleaning, files, listing
from colorlib.data.cleaning import name_hash

SourceError = catalog.SourceError
MAX_BYTES = 2**28  # of one picture file, and of all that are in work: an archive may promise to unpack to anything
MAX_LINKS = 8  # that lead to one another, in an archive
MAX_HEADER = 2**20  # bytes of one member's names and notes in a tar archive, which tarfile reads at once
MAX_UNPACKED = 2**32, 100  # bytes of an archive in all, or so many times its own
FILM_BESIDE = "film beside pictures: a folder of films alone is read frame by frame"
FILM_PACKED = "film in an archive: unpack it"
SCENES = 2000  # pictures of "scenes" where no limit is given
SCENES_A_WORKER = 300  # below that, painting them takes no longer than a process takes to start
NEARLY_AS_ONE = 24  # bits of 512 in which two frames of a film differ at least: a face that talks differs in more
SCENES_APART = 180  # bits in which two scenes of a film differ at least
ARCHIVES = (".tar", ".zip", ".tar.gz", ".tgz")
# Of archives and their members: cut off, wrong checksum, encrypted (RuntimeError), packed by an unknown method.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError,
    UnicodeDecodeError,
)  # fmt: skip
_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Frames:
    """Which frames of a film are taken: one every so many seconds, or a number spread evenly, and how different."""

    every: float = 2.0  # seconds, as in system 1's data set
    number: int | None = None  # of a film, in place of `every`
    apart: int = NEARLY_AS_ONE  # bits of 512 in which a frame differs at least from each one taken before it

    def __post_init__(self):
        if not 0 < self.every < float("inf"):
            raise ValueError(f"one frame every {self.every} seconds: there must be time between two")
        if self.number is not None and self.number < 1:
            raise ValueError(f"{self.number} frames of a film: it takes at least 1")


TWO_SECONDS = Frames()


@dataclasses.dataclass
class Entry:
    """One file of a source: its name, what changes whenever its content might (for JSON), and where to read it."""

    name: str
    stamp: list
    place: object


@dataclasses.dataclass
class Listed:
    """The files of a source, sorted; what is left out, [(name, reason)]; and `read`, which reads some of them.

    `read(entries)` yields (entry, content) in an order of its own; `cleaning.clean` says what a content may be.
    """

    entries: list
    left_out: list
    read: object


@dataclasses.dataclass
class Source:
    """A source that exists: a name for its sets, what tells it from others and its states apart, and its files.

    `identity`, fit for JSON, begins with where the source is and changes whenever its pictures might. `listed()`
    returns what is `Listed`, and raises SourceError where that cannot be.
    """

    label: str
    identity: list
    listed: object


def locate(source, role, limit, raw, *, without=None, frames=TWO_SECONDS):
    """Finds what a source is without reading its pictures: a `Source`.

    Downloads go to `raw`, nothing is taken from the folder `without`, and `frames` says which frames of films count.
    Raises SourceError for a source that is unknown, missing or empty.
    """
    source = str(source)
    if source == "scenes":
        return _painted(role, limit or SCENES)
    if source.startswith(("tfds:", "hf:")):
        from colorlib.data import bridges

        return bridges.locate(source, limit)
    if source in catalog.RECIPES:
        return _named(source, raw, limit, frames)
    path = Path(source).expanduser()
    # A notebook works from the root of the checkout; where it was started, its reader's own pictures may lie.
    beside = Path(os.environ.get("COLORLIB_STARTED_IN", "."), path)
    path = path if path.exists() or not beside.exists() else beside
    if not path.exists():
        names = ("scenes", *catalog.RECIPES)
        close = difflib.get_close_matches(source, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        places = " or ".join(dict.fromkeys([os.getcwd(), str(beside.parent.resolve())]))
        known = ", ".join(names)
        raise SourceError(f"{source}: no such folder or file in {places}, nor a known set ({known}){hint}")
    return _at(path, limit, without, frames)


def _painted(role, count):
    from colorlib.data import scenes  # painters that no other source needs

    code = b"".join(file.read_bytes() for file in sorted(Path(scenes.__file__).parent.glob("*.py")))
    code = hashlib.sha256(code).hexdigest()
    workers = min(os.cpu_count() or 1, count // SCENES_A_WORKER)

    def read(entries):
        wanted = {entry.name: entry for entry in entries}
        if wanted:
            for name, picture in scenes.pictures(role, count, workers=workers):
                if name in wanted:
                    yield wanted[name], picture

    def listed():
        return Listed([Entry(name, [code], None) for name in scenes.names(role, count)], [], read)

    return Source(f"scenes-{role}", ["scenes", role, code], listed)


def _named(name, raw, limit, frames):
    """A set of the catalog; what it consists of is known after a download where need be."""
    recipe = catalog.RECIPES[name]
    identity, path = [name, recipe.url or recipe.file, recipe.md5, recipe.keep], Path(raw) / recipe.file
    if path.exists() and not recipe.md5:  # it may be another one the next time
        identity += _at(path, None, None, frames).identity

    def listed():
        path = catalog.fetch(name, raw)
        return _archive(path, limit, recipe.keep) if path.is_file() else _at(path, limit, None, frames).listed()

    return Source(name, identity, listed)


def _at(path, limit, without, frames):
    """The source of a folder, an archive or a video."""
    whole = path.resolve()
    if path.is_dir():
        return _folder(path, whole, limit, without, frames)
    what = _what_is(path) if path.is_file() else ""
    if what in (*listing.READ, "HEIC"):
        raise SourceError(f"{path}: one picture, a {what}; a set is a folder or an archive of pictures")
    if what not in ("", "film", "archive"):
        raise SourceError(f"{path}: {listing.why_not(what)}; a set is a folder or an archive of pictures")
    state = path.stat()
    identity = [str(whole), state.st_size, state.st_mtime_ns]
    if what == "film":
        film = [(path.name, state, path)]
        return Source(
            path.stem, [*identity, dataclasses.asdict(frames)], lambda: _filmed(film, [], limit, path, frames)
        )
    return Source(path.name.split(".")[0], identity, lambda: _archive(path, limit))


def _folder(path, whole, limit, without, frames):
    found = listing.walk(path, without=without)
    left_out = list(found.left_out)
    if found.pictures:
        left_out += [(name, FILM_BESIDE) for name, _ in found.films]
    files_of = [(name, os.stat(file), file) for name, file in found.pictures or found.films]
    stamps = [(name, state.st_size, state.st_mtime_ns) for name, state, _ in files_of]
    identity = [str(whole), stamps, [name for name, _ in left_out]]
    if found.films and not found.pictures:
        identity.append(dataclasses.asdict(frames))
        return Source(whole.name, identity, lambda: _filmed(files_of, left_out, limit, path, frames))

    def listed():
        entries = [Entry(name, [state.st_size, state.st_mtime_ns], file) for name, state, file in files_of]
        chosen = _choose(entries, limit, path, left_out)
        read = functools.partial(_contents, opened=functools.partial(open, mode="rb"))
        return Listed(chosen, left_out, read)

    return Source(whole.name, identity, listed)


def _what_is(path):
    with path.open("rb") as file:
        return listing.what_is(file.read(64))


def lowest(names, limit):
    """The names that a limit keeps, those whose hashes are lowest: fair to sources sorted by class."""
    return set(names if limit is None else sorted(names, key=name_hash)[:limit])


def _choose(entries, limit, where, left_out=()):
    """Keeps at most `limit` of the entries, in their order. Raises SourceError where there are none."""
    if not entries:
        known = listing.in_short(left_out) if left_out else f"looked for {listing.KINDS['picture']}; and for films"
        raise SourceError(f"{where}: no pictures in it ({known})")
    kept = lowest([entry.name for entry in entries], limit)
    return [entry for entry in entries if entry.name in kept]


def _contents(entries, opened):
    """Yields (entry, bytes or ImageError); where one cannot be read, the others may be fine."""
    for entry in entries:
        content, size = bytearray(), entry.stamp[0]
        try:
            if size > MAX_BYTES:
                raise files.ImageError(entry.name, f"{size:,} bytes, more than {MAX_BYTES:,}")
            with opened(entry.place) as stream:
                while part := stream.read(2**20):  # counted, for an archive's member may hold more than it says
                    content += part
                    if len(content) > size:
                        raise files.ImageError(entry.name, f"more than the {size:,} bytes that it should have")
            yield entry, bytes(content)
        except files.ImageError as error:
            yield entry, error
        except _DAMAGED as error:
            kind = files.Passing if isinstance(entry.place, Path) else files.ImageError
            yield entry, kind(entry.name, getattr(error, "strerror", None) or str(error))


class _Member(tarfile.TarInfo):
    """A member of a tar archive; tarfile.ReadError for one whose header fills the memory."""

    @classmethod
    def frombuf(cls, *arguments):
        """Reads a header."""
        member = super().frombuf(*arguments)
        if member.type in _LONG_HEADERS and member.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member


def _archive(path, limit, keep="*"):
    """Lists an archive's pictures whose names match the pattern `keep`. Raises SourceError where it is cut."""
    is_zip = zipfile.is_zipfile(path)
    opened = zipfile.ZipFile if is_zip else functools.partial(tarfile.open, tarinfo=_Member)
    state = path.stat()
    most, members, links, left_out = max(MAX_UNPACKED[0], MAX_UNPACKED[1] * state.st_size), [], {}, []
    try:
        with opened(path) as archive:
            for member in archive.infolist() if is_zip else archive:  # a tar archive is unpacked on the way
                name, size = (_slashed(member), member.file_size) if is_zip else (member.name, member.size)
                most -= size
                if most < 0:
                    raise SourceError(f"{path}: it unpacks to more than {MAX_UNPACKED[1]} times its size")
                if listing.is_hidden(name) or (member.is_dir() if is_zip else member.isdir()):
                    continue
                if not fnmatch.fnmatchcase(name, keep):
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
    for name, *_ in members:
        if (kind := listing.kind_of(name)) not in ("picture", ""):
            left_out.append((name, FILM_PACKED if kind == "film" else listing.why_not(kind)))
    pictures = {}
    for name, size, member in members:
        if listing.kind_of(name) == "picture":
            if name in pictures:
                left_out.append((name, "in the archive once more, further on: that one counts"))
            # An archive that was written anew is read anew: a tar has no checksums of its members.
            pictures[name] = Entry(name, [size, state.st_size, state.st_mtime_ns], member)
    chosen = _choose(list(pictures.values()), limit, path, left_out)

    def read(some):
        if not is_zip:
            some = sorted(some, key=lambda entry: entry.place.offset_data)  # a packed one is read forwards only
        with opened(path) as archive:
            yield from _contents(some, archive.open if is_zip else archive.extractfile)

    return Listed(chosen, left_out, read)


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


def speaker_of(name):
    """The group of a film's frames: <speaker>/<video>/<clip>.mp4, or <speaker>.mp4; VoxCeleb's id00012 anywhere."""
    *folders, file = name.split("/")
    numbered = [folder for folder in folders if re.fullmatch(r"id\d{5}", folder)]
    return (numbered or folders or [Path(file).stem])[0]


def _filmed(films, left_out, limit, where, frames):
    """The films, each with the times of its frames that count."""
    from colorlib.data import video  # FFmpeg, which no other source needs

    times_of = {name: None for name, *_ in films}  # None: all that there are, which may be more than a header says
    if limit is not None or frames.number is not None:
        for name, _, file in console.progress(films, desc="reading the headers of videos"):
            times_of[name] = video.times(file, every=frames.every, number=frames.number)
    if limit is not None:
        moments = {name: {cleaning.moment_of(name, at): at for at in times} for name, times in times_of.items()}
        wanted = lowest([moment for those in moments.values() for moment in those], limit)
        times_of = {name: [at for moment, at in those.items() if moment in wanted] for name, those in moments.items()}
    entries = []
    for name, state, file in films:
        if times_of[name] != []:
            how = [frames.every, times_of[name], frames.apart]
            entries.append(Entry(name, [state.st_size, state.st_mtime_ns, how], file))

    def read(some):
        for entry in some:
            every, at, apart = entry.stamp[2]
            shown = functools.partial(video.frames, entry.place, every=every, at=at)
            yield entry, cleaning.Film(shown, speaker_of(entry.name), apart)

    return Listed(_choose(entries, None, where, left_out), left_out, read)
