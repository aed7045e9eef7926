"""Where pictures come from: a named set, a folder, a .tar, .tar.gz or .zip -> (name, content) of each.

A folder without pictures may hold videos, <speaker>/<video>/<clip>.mp4 or deeper, or <speaker>.mp4; what comes are
their frames, named <speaker>/<video>/<clip>.mp4@00002.0s. Videos beside pictures are left out: a phone keeps both of
one moment, and the two would not share a group.

Archives are read, never unpacked, so a member named /etc/x.jpg or ../x.jpg is harmless: its name is a label.
Archives of named sets are downloaded once to data/raw, and checked.
"""

import difflib
import hashlib
import http.client
import itertools
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from colorlib import images

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


class SourceError(ValueError):
    """A source that cannot be prepared, or a set that cannot be used; the message says what and where."""


def locate(source, role, limit, raw):
    """Finds what a source is without reading its pictures: (label, identity, entries).

    The identity, fit for JSON, changes whenever the pictures might. `entries()` returns (count, generator of
    (name, content)), where content is bytes, a uint8 picture, or the ImageError met while reading it; frames of
    videos come as (name, content, speaker), and their count is what the headers promise.
    Raises SourceError for a source that is unknown, missing or empty; `entries` also for one that is unreadable.
    """
    if source == "scenes":
        from colorlib import scenes  # painters that no other source needs

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
        files = [(name, file) for name, file in found if is_picture(name)]
        videos = [] if files else [(name, file) for name, file in found if is_picture(name, VIDEOS)]
        stats = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in files or videos]
        identity, label = [str(path.resolve()), stats], path.resolve().name or "root"
        if videos:
            return label, identity, lambda: _filmed(videos, limit, path)
        chosen = _choose(files, limit, path)
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


def is_picture(name, extensions=images.EXTENSIONS):
    """Tells picture files (or others) by suffix; hidden ones and a Mac's shadow copies (__MACOSX, ._x) are none."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return bool(parts) and not hidden and os.path.splitext(parts[-1])[1].lower() in extensions


def _choose(entries, limit, where):
    """Keeps at most `limit` of the (name, content) entries, those whose names hash lowest, in their order."""
    if not entries:
        known = " ".join(sorted(images.EXTENSIONS))
        raise SourceError(f"{where}: no pictures in it (looked for {known}; in a folder also for videos)")
    if limit is None or limit >= len(entries):
        return entries
    highest = sorted(name_hash(name) for name, _ in entries)[limit - 1]
    return [(name, content) for name, content in entries if name_hash(name) <= highest]


def _oversized(name, size):
    return images.ImageError(name, f"{size:,} bytes, more than {MAX_BYTES:,}") if size > MAX_BYTES else None


def _read(chosen):
    for name, file in chosen:
        try:
            content = _oversized(name, file.stat().st_size) or file.read_bytes()
        except OSError as error:  # not allowed, or gone by now: the others may be fine
            content = images.ImageError(name, error.strerror or str(error))
        yield name, content


def _filmed(videos, limit, where):
    """Lists the frames of videos: (count, generator of (name, picture or ImageError, speaker))."""
    from colorlib import video  # FFmpeg, which no other source needs

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
        except images.ImageError as error:
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
                content = images.ImageError(name, str(error))
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
