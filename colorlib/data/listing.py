"""What lies in a folder: the pictures to take, the films, and what is left out, each with its reason.

Nothing is left out in silence: whoever lists a folder gets both, and tells of what is left out with `in_short`.
"""

import collections
import dataclasses
import importlib.util
import os
from pathlib import Path

# What a file is, by its suffix. Only the first two kinds are read, and HEIC where pi-heif is installed.
KINDS = {
    "picture": ".jpg .jpeg .jpe .jfif .jif .pjpeg .pjp .mpo .png .apng .webp .avif .tif .tiff .gif .bmp .dib .ppm .pgm"
    " .pbm .pnm .jp2 .j2k .j2c .jpc .jpf .jpx",
    "film": ".mp4 .m4v .mov .qt .mkv .webm .avi .3gp .3g2",
    "film of a rarer kind": ".wmv .asf .mpg .mpeg .m2v .mts .m2ts .vob .flv .ogv .mxf",
    "HEIC": ".heic .heics .heif .heifs .hif",
    "JPEG XL": ".jxl",
    "JPEG XR": ".jxr .wdp .hdp",
    "RAW": ".3fr .ari .arw .bay .cap .cr2 .cr3 .crw .dcr .dcs .dng .drf .eip .erf .fff .gpr .iiq .k25 .kdc .mdc .mef"
    " .mos .mrw .nef .nrw .orf .pef .ptx .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw .x3f",
    "Photoshop or GIMP file": ".psd .psb .xcf .kra .afphoto",
    "picture of another kind": ".tga .ico .cur .icns .pcx .pcd .pct .pict .exr .hdr .dds .sgi .ras .xbm .xpm .fits .dcm"
    " .pfm .pam .qoi .wbmp .jng .mng",
    "drawing": ".svg .svgz .eps .ai .wmf .emf",
    "document": ".pdf .djvu .ps .xps .epub .doc .docx .odt .ppt .pptx",
    "archive": ".zip .tar .tgz .gz .bz2 .xz .zst .7z .rar .cbz .cbr .cb7",
}
KIND_OF = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes.split()}
REMEDIES = {
    "film": "only still pictures are read here",
    "film of a rarer kind": "convert it to MP4",
    "HEIC": "pip install 'colorlib[heic]' lets it be read",
    "JPEG XL": "save it as JPEG or PNG",
    "JPEG XR": "save it as JPEG or PNG",
    "RAW": "develop it to JPEG or TIFF",
    "Photoshop or GIMP file": "export it as PNG or TIFF",
    "picture of another kind": "save it as PNG or JPEG",
    "drawing": "export it as PNG",
    "document": "export its pictures as PNG or JPEG",
    "archive": "unpack it",
    "web page": "open it and save the picture itself",
}
# How files begin: what they are then, from which byte on, and with what. The first that fits counts.
_BEGINNINGS = (
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("PNG", 0, (b"\x89PNG",)),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("RAW", 0, (b"FUJIFILM", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"\0MRM", b"FOVb")),
    ("TIFF", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("WebP", 8, (b"WEBP",)),
    ("AVIF", 4, (b"ftypavif", b"ftypavis")),
    ("HEIC", 4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1", b"ftypMiHE")),
    ("RAW", 4, (b"ftypcrx",)),
    ("film", 4, (b"ftyp",)),
    ("film", 8, (b"AVI ",)),
    ("film", 0, (b"\x1aE\xdf\xa3",)),
    ("film of a rarer kind", 0, (b"FLV", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"0&\xb2u", b"OggS")),
    ("JPEG 2000", 4, (b"jP  ",)),
    ("JPEG 2000", 0, (b"\xff\x4f\xff\x51",)),
    ("JPEG XL", 0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    ("Photoshop or GIMP file", 0, (b"8BPS", b"gimp xcf")),
    ("document", 0, (b"%PDF", b"%!PS", b"AT&TFORM", b"\xd0\xcf\x11\xe0")),
    ("archive", 0, (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ")),
    ("web page", 0, (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")),
    ("drawing", 0, (b"<svg", b"<?xml")),
    ("picture of another kind", 0, (b"\x76\x2f\x31\x01", b"#?RADIANCE", b"DDS ", b"qoif", b"SIMPLE")),
)
_REASONS = 8  # at most, in one line
READ = ("JPEG", "PNG", "GIF", "TIFF", "WebP", "AVIF", "JPEG 2000", "BMP", "PPM")  # those of what_is that are read
# What is told where a suffix says nothing; much that is neither picture nor film begins as an archive or a document.
_TOLD = (*READ, "HEIC", "RAW", "film", "film of a rarer kind", "JPEG XL", "Photoshop or GIMP file")


def reads_heic():
    """Whether pi-heif is installed, which reads HEIC."""
    return importlib.util.find_spec("pi_heif") is not None


def what_is(start):
    """What a file is by its first 64 bytes: one of READ, a kind of KINDS, "web page", or "" for unknown."""
    if start[4:8] == b"ftyp" and any(b"avi" in start[at : at + 3] for at in range(8, 64, 4)):
        return "AVIF"  # also where that is only one of the kinds that the file says it is compatible with
    if start[:2] == b"BM" and start[6:10] == bytes(4):
        return "BMP"
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return "PPM"
    return next((kind for kind, at, begins in _BEGINNINGS if start.startswith(begins, at)), "")


def with_article(what):
    """A kind of file with "a" or "an" before it."""
    return f"{'an' if what.startswith(('a', 'A')) else 'a'} {what}"


def is_hidden(name):
    """Whether a path below a folder is hidden, or of a Mac's shadow copies (__MACOSX, ._x)."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts)


def kind_of(name):
    """What a file is by its suffix: "picture", "film", a kind of KINDS that is not read, or "" for what is none."""
    kind = KIND_OF.get(os.path.splitext(name)[1].lower(), "")
    return "picture" if kind == "HEIC" and reads_heic() else kind


def why_not(kind):
    """Why a file of a kind that is not read is left out, and what to do."""
    return f"{kind}: {REMEDIES[kind]}"


@dataclasses.dataclass
class Listing:
    """What lies in a folder. Names are paths below it, with slashes; all is sorted by name."""

    pictures: list  # [(name, path)]
    films: list  # [(name, path)]
    left_out: list  # [(name, reason)]


def walk(folder, *, without=None):
    """Lists the files of a folder and of all below it, links to other folders included: a `Listing`.

    What is hidden is passed over, and so is what lies in the folder `without` below it, through links, too. All else is
    accounted for: what is neither a picture nor a film by its suffix is left out if it begins as one. Each folder is
    read once, and first those that are no links, so that names do not depend on the order on the disk. A link to a
    folder that holds this one is not followed.
    """
    found, seen, links = Listing([], [], []), set(), []
    root, barred = os.path.realpath(folder), without and os.path.realpath(without)
    if barred and (barred == root or not _lies_in(barred, root)):
        barred = None

    def leave_out(path, reason):
        name = Path(path).relative_to(folder).as_posix()
        found.left_out.append((Path(folder).name if name == "." else name, reason))

    def visit(place):
        """Lists a folder; keeps the links to folders for later."""
        inside = os.stat(place)
        if (inside.st_dev, inside.st_ino) in seen or _lies_in(os.path.realpath(place), barred):
            return
        seen.add((inside.st_dev, inside.st_ino))
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            path = Path(entry.path)
            if is_hidden(entry.name):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    visit(path)
                elif entry.is_dir():
                    links.append(path)
                elif not (barred and _lies_in(os.path.realpath(path), barred)):
                    put(path)
            except OSError as error:
                leave_out(path, (error.strerror or str(error)).lower())

    def put(path):
        """Puts a file where it belongs."""
        kind, name = kind_of(path.name), path.relative_to(folder).as_posix()
        if path.is_symlink() and not path.exists():
            leave_out(path, "a link to nothing")
        elif not path.is_file():
            if kind:
                leave_out(path, "not a file")
        elif kind in ("picture", "film"):
            (found.pictures if kind == "picture" else found.films).append((name, path))
        elif kind:
            leave_out(path, why_not(kind))
        else:
            with path.open("rb") as file:
                if reason := why_by_content(name, file.read(64)):
                    leave_out(path, reason)

    try:
        visit(folder)
    except OSError as error:
        leave_out(folder, (error.strerror or str(error)).lower())
    while links:
        link = links.pop(0)
        if _lies_in(root, os.path.realpath(link)):
            leave_out(link, "a link to a folder that holds this one")
            continue
        try:
            visit(link)
        except OSError as error:
            leave_out(link, (error.strerror or str(error)).lower())
    for some in (found.pictures, found.films, found.left_out):
        some.sort(key=lambda entry: entry[0])
    return found


def holds_any(folder):
    """Whether there is a picture or a film, by its suffix, in a folder or below it, also behind links."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not is_hidden(name)]
        if any(not is_hidden(name) and kind_of(name) in ("picture", "film") for name in names):
            return True
    return False


def _lies_in(path, folder):
    """Whether a real path is a folder's, or below it."""
    return bool(folder) and (path == folder or path.startswith(folder.rstrip(os.sep) + os.sep))


def why_by_content(name, start):
    """Why a file of an unknown suffix is left out, by its first 64 bytes; "" where it begins as no picture or film."""
    what = what_is(start)
    if what not in (_TOLD if os.path.splitext(name)[1] else (*_TOLD, *KINDS)):
        return ""
    return f"{what} without its suffix: rename it" if what in (*READ, "HEIC", "film") else why_not(what)


def in_short(left_out, *, what="left out", names=3):
    """What was left out, [(name, reason)], in one line: each reason with its count and the first names."""
    of_reason = collections.defaultdict(list)
    for name, reason in left_out:
        of_reason[reason].append(name)
    groups = sorted(of_reason.items(), key=lambda item: -len(item[1]))
    if len(groups) > _REASONS:  # most of them of one picture each
        rest = [name for _, those in groups[_REASONS - 1 :] for name in those]
        groups = [*groups[: _REASONS - 1], ("for other reasons", rest)]
    parts = []
    for reason, those in groups:
        more = f" and {len(those) - names} more" if len(those) > names else ""
        parts.append(f"{len(those)} x {reason} ({', '.join(those[:names])}{more})")
    return f"{len(left_out)} {what}: {'; '.join(parts)}"
