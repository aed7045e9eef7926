"""Where pictures come from: a named set, a folder, a .tar, .tar.gz or .zip -> (name, content) of each.

Archives are read, never unpacked, so a member named /etc/x.jpg or ../x.jpg is harmless: its name is a label.
Archives of named sets are downloaded once to data/raw: resumed where they broke off, and checked.
"""

import difflib
import hashlib
import http.client
import os
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
    "imagenette": "ten classes of ImageNet, 13,394 pictures, 99 MB to download",
    "celeba": "CelebA aligned faces, 202,599 pictures, to be downloaded by hand",
}
DOWNLOADS = {  # name -> address, md5
    "flowers": (
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
        "52808999861908f626f3c1f4e79d11fa",
    ),
    "imagenette": (
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
        "e793b78cc4c9e9a4ccc0c1155377a412",
    ),
}
CELEBA = "img_align_celeba.zip"
CELEBA_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
SCENES = 2000  # pictures of "scenes" where no limit is given
MAX_BYTES = 2**28  # of one picture file: an archive may promise to unpack to anything
TIMEOUT = 30  # seconds without a byte of a download
_DAMAGED_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error)


class SourceError(ValueError):
    """A source that cannot be prepared, or a set that cannot be used; the message says what and where."""


def locate(source, role, limit, raw):
    """Finds what a source is without reading its pictures: (label, identity, entries).

    The identity, fit for JSON, changes whenever the pictures might. `entries()` returns (count, iterator of
    (name, content)), where content is bytes, a Path, a uint8 picture, or the ImageError met while reading it.
    Raises SourceError for a source that is unknown, missing or empty; `entries` also for one that is unreadable.
    """
    if source == "scenes":
        from colorlib import scenes  # painters that no other source needs

        painter = hashlib.sha256(Path(scenes.__file__).read_bytes()).hexdigest()
        count = limit or SCENES
        return f"scenes-{role}", ["scenes", role, painter], lambda: (count, scenes.pictures(role, count))
    if source in DOWNLOADS:
        return source, DOWNLOADS[source], lambda: _archive(_download(source, raw), limit)
    path = raw / CELEBA if source == "celeba" else Path(source).expanduser()
    if path.is_dir():
        files = [(name, file) for name, file in _files(path) if _is_picture(name)]
        stats = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in files]
        chosen = _choose(files, limit, path)
        identity = [str(path.resolve()), stats]
        return path.resolve().name or "root", identity, lambda: (len(chosen), iter(chosen))
    if path.is_file():
        stat = path.stat()
        identity = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
        return path.name.split(".")[0] or "archive", identity, lambda: _archive(path, limit)
    if source == "celeba":
        todo = f"get {CELEBA} from {CELEBA_PAGE} and put it at {path}"
        raise SourceError(f"celeba cannot be fetched automatically: {todo}")
    close = difflib.get_close_matches(str(source), NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise SourceError(f"{source}: no such folder or file, nor a known set ({', '.join(NAMES)}){hint}")


def oversized(name, size):
    """Returns the ImageError for a file of more than MAX_BYTES, else None."""
    return images.ImageError(name, f"{size:,} bytes, more than {MAX_BYTES:,}") if size > MAX_BYTES else None


def name_hash(name):
    """Hashes a file name, which some file systems allow to be no Unicode: hexadecimal sha256."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()


def _files(path):
    """Yields (name under `path`, with slashes; file) for each file of a folder, in the paths' order."""
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file


def _is_picture(name):
    """Tells picture files by suffix; hidden ones and a Mac's shadow copies (__MACOSX, ._x) are none."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return bool(parts) and not hidden and os.path.splitext(parts[-1])[1].lower() in images.EXTENSIONS


def _choose(entries, limit, where):
    """Keeps at most `limit` of the (name, content) entries, those whose names hash lowest, in their order."""
    if not entries:
        known = " ".join(sorted(images.EXTENSIONS))
        raise SourceError(f"{where}: no pictures in it (looked for {known})")
    if limit is None or limit >= len(entries):
        return entries
    highest = sorted(name_hash(name) for name, _ in entries)[limit - 1]
    return [(name, content) for name, content in entries if name_hash(name) <= highest]


def _archive(path, limit):
    """Lists an archive's pictures: (count, iterator of (name, bytes or ImageError))."""
    is_zip = zipfile.is_zipfile(path)
    try:
        with zipfile.ZipFile(path) if is_zip else tarfile.open(path) as archive:
            members = archive.infolist() if is_zip else _tar_members(archive)
    except _DAMAGED_ARCHIVE as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{path}: not a whole .tar, .tar.gz or .zip ({reason})") from error
    named = [(member.filename if is_zip else member.name, member) for member in members]
    chosen = _choose([(name, member) for name, member in named if _is_picture(name)], limit, path)
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
                yield name, oversized(name, member.size) or archive.extractfile(member).read()
    except _DAMAGED_ARCHIVE as error:
        raise SourceError(f"{path}: the archive cannot be read to its end ({error})") from error


def _zipped(path, chosen):
    with zipfile.ZipFile(path) as archive:
        for name, member in chosen:
            try:
                content = oversized(name, member.file_size) or archive.read(member)
            # Cut off, wrong checksum, encrypted, or packed by an unknown method: the other members may be fine.
            except (*_DAMAGED_ARCHIVE, RuntimeError) as error:
                content = images.ImageError(name, str(error))
            yield name, content


def _download(name, raw):
    """Returns the path in `raw` of a named archive with the right checksum, downloading it if need be.

    What arrives lies under another name until it is whole and checked; a broken download goes on from there.
    Raises SourceError offline, for a broken connection and for a wrong checksum.
    """
    address, md5 = DOWNLOADS[name]
    path = raw / address.rpartition("/")[2]
    if path.is_file():
        if _md5(path) != md5:
            raise SourceError(f"{path}: not the file of {address} (its md5 is not {md5}); remove it")
        return path
    raw.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _receive(address, part)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        # Not any OSError: a full disk is no matter of the network.
        reason = getattr(error, "reason", None) or error
        message = f"{name}: cannot download {address} ({reason}); if you are offline, put the file at {path}"
        raise SourceError(message) from error
    if _md5(part) != md5:
        part.unlink()
        raise SourceError(f"{name}: what {address} sent does not have md5 {md5}; it was removed")
    return part.replace(path)


def _receive(address, part):
    """Downloads to `part`, going on after what is there if the server can."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it was here already; the checksum will tell
        raise
    with response:
        have = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        total = have + int(response.headers.get("Content-Length") or 0)
        bar = tqdm(total=total or None, initial=have, desc=part.stem, unit="B", unit_scale=True, delay=2)
        with part.open("ab" if have else "wb") as file, bar as done:
            while block := response.read(2**20):
                file.write(block)
                done.update(len(block))
    if part.stat().st_size < total:
        got = f"{part.stat().st_size:,} of {total:,} bytes"
        raise ConnectionError(f"it ended after {got}; run again to go on")


def _md5(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
