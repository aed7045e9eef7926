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
    " .pbm .pnm .jp2 .j2k .jpf .jpx",
    "film": ".mp4 .m4v .mov .qt .mkv .webm .avi .wmv .mpg .mpeg .mts .m2ts .3gp .flv .ogv",
    "HEIC": ".heic .heics .heif .heifs .hif",
    "JPEG XL": ".jxl",
    "JPEG XR": ".jxr .wdp .hdp",
    "RAW": ".3fr .ari .arw .bay .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef"
    " .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
    "Photoshop or GIMP file": ".psd .psb .xcf .kra .afphoto",
    "picture of another kind": ".tga .ico .icns .pcx .exr .hdr .dds .sgi .ras .xbm .xpm .fits .dcm .pfm .pam .qoi",
    "drawing": ".svg .svgz .eps .ai .wmf .emf",
    "document": ".pdf .djvu .ps .doc .docx .odt .ppt .pptx",
    "archive": ".zip .tar .tgz .gz .bz2 .xz .7z .rar",
}
KIND_OF = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes.split()}
REMEDIES = {
    "film": "films are read from a folder without pictures, or one by name",
    "HEIC": "pip install 'colorlib[heic]' lets it be read",
    "JPEG XL": "save it as JPEG or PNG",
    "JPEG XR": "save it as JPEG or PNG",
    "RAW": "develop it to JPEG or TIFF",
    "Photoshop or GIMP file": "export it as PNG or TIFF",
    "picture of another kind": "save it as PNG or JPEG",
    "drawing": "export it as PNG",
    "document": "export its pictures as PNG or JPEG",
    "archive": "unpack it, or give it by itself",
    "web page": "open it and save the picture itself",
    "text": "",
}
# How files begin: at which byte, with what, and what they are then.
_BEGINNINGS = (
    *((0, start, "JPEG") for start in (b"\xff\xd8\xff",)),
    *((0, start, "PNG") for start in (b"\x89PNG",)),
    *((0, start, "GIF") for start in (b"GIF87a", b"GIF89a")),
    *((0, start, "RAW") for start in (b"FUJIFILM", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"\0MRM", b"FOVb")),
    *((0, start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((8, start, kind) for start, kind in ((b"WEBP", "WebP"), (b"AVI ", "film"))),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")),
    *((4, b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
    *((4, start, kind) for start, kind in ((b"ftypcrx", "RAW"), (b"ftyp", "film"), (b"jP  ", "JPEG 2000"))),
    *((0, start, "film") for start in (b"\x1aE\xdf\xa3", b"FLV", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"0&\xb2u")),
    *((0, start, "JPEG XL") for start in (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    *((0, start, "Photoshop or GIMP file") for start in (b"8BPS", b"gimp xcf")),
    *((0, start, "document") for start in (b"%PDF", b"%!PS", b"AT&TFORM", b"\xd0\xcf\x11\xe0")),
    *((0, start, "archive") for start in (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ")),
    *((0, start, "web page") for start in (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")),
    *((0, start, "drawing") for start in (b"<svg", b"<?xml")),
    *(
        (0, start, "picture of another kind")
        for start in (b"\x76\x2f\x31\x01", b"#?RADIANCE", b"DDS ", b"qoif", b"SIMPLE")
    ),
)
READ = ("JPEG", "PNG", "GIF", "TIFF", "WebP", "AVIF", "JPEG 2000")  # those of what_is that are read


def reads_heic():
    """Whether pi-heif is installed, which reads HEIC."""
    return importlib.util.find_spec("pi_heif") is not None


def what_is(start):
    """What a file is by its first 16 bytes, or more: one of READ, a kind of KINDS, "web page", or "" for unknown."""
    return next((kind for at, begins, kind in _BEGINNINGS if start[at : at + len(begins)] == begins), "")


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

    What is hidden is passed over, and so is what lies in the folder `without`, but for that all is accounted for.
    What is neither a picture nor a film by its suffix is only left out if it begins as one.
    """
    found, seen = Listing([], [], []), set()

    def leave_out(path, reason):
        name = Path(path).relative_to(folder).as_posix()
        if not is_hidden(name):
            found.left_out.append((name, reason))

    def note(error):
        leave_out(error.filename, (error.strerror or str(error)).lower())

    for place, folders, names in os.walk(folder, onerror=note, followlinks=True):
        here = os.stat(place)
        if (here.st_dev, here.st_ino) in seen or (without and os.path.realpath(place) == os.path.realpath(without)):
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        for path in (Path(place, name) for name in names):
            name = path.relative_to(folder).as_posix()
            if is_hidden(name):
                continue
            kind = kind_of(name)
            try:
                if not path.is_file():
                    if kind:
                        leave_out(path, "a link to nothing" if path.is_symlink() else "not a file")
                elif kind == "picture":
                    found.pictures.append((name, path))
                elif kind == "film":
                    found.films.append((name, path))
                elif kind:
                    leave_out(path, why_not(kind))
                elif what := _begins_as(path):
                    leave_out(path, f"{what} without its suffix: rename it")
            except OSError as error:
                leave_out(path, (error.strerror or str(error)).lower())
    for some in (found.pictures, found.films, found.left_out):
        some.sort(key=lambda entry: entry[0])
    return found


def _begins_as(path):
    """The kind of picture that a file of an unknown suffix begins as; "" for none."""
    with path.open("rb") as file:
        what = what_is(file.read(32))
    return what if what in READ or what in ("HEIC", "JPEG XL") else ""


def in_short(left_out, *, what="left out", names=3):
    """What was left out, [(name, reason)], in one line: each reason with its count and the first names."""
    of_reason = collections.defaultdict(list)
    for name, reason in left_out:
        of_reason[reason].append(name)
    parts = []
    for reason, those in sorted(of_reason.items(), key=lambda item: -len(item[1])):
        more = f" and {len(those) - names} more" if len(those) > names else ""
        parts.append(f"{len(those)} x {reason} ({', '.join(those[:names])}{more})")
    rest = f"; and {len(parts) - 8} more reasons" if len(parts) > 8 else ""
    return f"{len(left_out)} {what}: {'; '.join(parts[:8])}{rest}"
