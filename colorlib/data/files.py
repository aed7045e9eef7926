"""The one gate for picture files: any file becomes upright 8-bit sRGB, or an `ImageError` with the reason.

Nothing else in the package opens a foreign picture, so what is hard about them (color profiles, orientation
tags, 16 bits, alpha, broken data) is decided here once.
"""

import contextlib
import dataclasses
import errno
import fcntl
import io
import json
import os
import re
import shutil
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError
from tqdm import tqdm

# Only formats of photographs: Pillow also knows some that run other programs (EPS) or are no pictures at all.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000")
EXTENSIONS = frozenset(".jpg .jpeg .jpe .png .webp .avif .tif .tiff .gif .bmp .ppm .pgm .pbm .jp2".split())
TIMEOUT = 30  # seconds for a server to answer, then for each piece of a download
# Lets 100-megapixel cameras and large scans through (450 MB as 8-bit RGB) and stops decompression bombs.
MAX_PIXELS = 150_000_000
MAX_PIXELS_OF_A_BYTE = 20_000  # the emptiest page packs to a tenth of that, a bomb to hundreds of times
_LARGE = 10_000_000  # pixels: before such a picture is decoded, it is asked whether there is memory
warnings.filterwarnings("ignore", module=r"PIL\.")  # on bombs below that, and on EXIF data that it can read in part

_SAVE_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
}
_WITH_ALPHA, _WITH_16_BITS = ("PNG", "WEBP", "TIFF"), ("PNG", "TIFF")
_PHOTOMETRIC, _ORIENTATION, _EXIF, _GPS = 262, 274, 34665, 34853  # tags of TIFF and EXIF
# EXIF tags of the photograph: title, camera, date, author, rights, Windows's fields. All others, and these of the
# camera's part (color space, size), are of its file and do not fit the new one.
_ABOUT_PHOTOGRAPH = {269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, *range(40091, 40096)}
_ABOUT_FILE = range(40961, 40966)
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
# What Pillow's readers raise on damaged data, found by feeding them damaged files.
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, OverflowError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class ImageError(ValueError):
    """A file that cannot be used as a picture; `name` says which, `reason` says why, `str` says both."""

    def __init__(self, name, reason):
        """Keeps both parts: rejects.csv lists them in two columns."""
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


@dataclasses.dataclass
class Photograph:
    """A picture with what its file says of it."""

    pixels: np.ndarray  # upright sRGB, uint8 or uint16 (H, W, 3)
    alpha: np.ndarray | None = None  # (H, W) of the same dtype; 0 is transparent
    exif: Image.Exif | None = None  # notes on the photograph: none on its file, no preview
    dpi: tuple | None = None  # pixels an inch, across and down
    lost: str = ""  # what could not be kept, in words


def load(path_or_bytes, name=None):
    """Reads a picture of any kind as upright sRGB: uint8 (H, W, 3), 0-255.

    The EXIF orientation is applied and an ICC profile converted to sRGB (relative colorimetric). Transparency is
    laid over white. Integer grey of more than 8 bits is scaled from 0-65535; float grey from 0-1, or from 0-255
    where a value exceeds 2. Color of 16 bits keeps its high byte. Of several frames or pages the first counts.
    Damage that still decodes to full size cannot be told from a picture, and loads.

    Raises `ImageError`, naming the file (or `name`) and the reason: missing, empty, no picture, truncated, more
    than `MAX_PIXELS` pixels, a color profile that cannot be applied, or values without a known scale.
    """
    name = name or ("picture" if isinstance(path_or_bytes, bytes) else str(path_or_bytes))
    with _opened(path_or_bytes if isinstance(path_or_bytes, bytes) else read(path_or_bytes, name), name) as image:
        _decode(image)
        color, alpha = _color_and_alpha(image)
        return _array(_over_white(color, alpha) if alpha else color)


def open_photograph(data, name):
    """Reads a file's bytes as `load` does, with what belongs to the picture: a `Photograph`. Raises `ImageError`.

    Transparency stays apart; what is wholly transparent is white. 16 bits are kept: of grey, and of color where OpenCV
    finds the same picture in 16 bits, so not where a color profile changes it.
    """
    with _opened(data, name) as image:
        is_deep, exif = _is_deep(image), image.getexif()
        sideways = exif.get(_ORIENTATION, 1) in (5, 6, 7, 8)  # Pillow forgets both in decoding
        _decode(image)
        dpi = tuple(map(float, image.info.get("dpi", ())))[:: -1 if sideways else 1]
        photograph = Photograph(None, dpi=dpi if len(dpi) == 2 and all(1 < each < 2**16 for each in dpi) else None)
        try:
            photograph.exif = _notes(exif, photograph.dpi)
        except _DAMAGE:
            photograph.lost = "its EXIF data, which are damaged"
        if image.mode.startswith(("I", "F")):
            photograph.pixels = _grey_to_srgb(_grey(image), image.info.get("icc_profile"))
            return photograph
        color, alpha = _color_and_alpha(image)
        photograph.pixels, photograph.alpha = _array(color), alpha and np.array(alpha)
    if is_deep and not _deepen(photograph, data):
        photograph.lost = "its lower 8 of 16 bits; save it as sRGB, upright, to keep them"
    if photograph.alpha is not None:
        white = np.iinfo(photograph.pixels.dtype).max
        np.copyto(photograph.pixels, white, where=(photograph.alpha == 0)[..., None])
    return photograph


def progress(*arguments, **options):
    """A tqdm bar where somebody looks at it: in a terminal or a notebook, and not in the log of a script."""
    is_seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(*arguments, **({"delay": 2, "disable": not is_seen or "TQDM_DISABLE" in os.environ} | options))


def in_one_line(text):
    """A text for a message: in one line, with what could steer a terminal, as names of files may, made visible."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))


class Room:
    """Holds up threads so that the sizes of what is in work add up to at most `most`; a larger one works alone."""

    def __init__(self, most):
        self.most, self.free = most, most
        self.entrance, self.changed = threading.Lock(), threading.Condition()

    @contextlib.contextmanager
    def place(self, size):
        """A place of a size, for a `with`. They come in one after another, or small ones would keep a large one out."""
        size = min(size, self.most)
        with self.entrance, self.changed:
            self.changed.wait_for(lambda: size <= self.free)
            self.free -= size
        try:
            yield
        finally:
            with self.changed:
                self.free += size
                self.changed.notify_all()


def count_pixels(data, name):
    """Counts a picture's pixels by its header alone; from a file's bytes. Raises `ImageError`."""
    with _opened(data, name) as image:
        return image.width * image.height


def read(path, name=None):
    """A file's bytes. Raises `ImageError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(name or str(path), (error.strerror or str(error)).lower()) from error


@contextlib.contextmanager
def _opened(data, name):
    """Gives a file's Pillow image, not decoded. What proves to be wrong with it in the block becomes an ImageError."""
    if not data:
        raise ImageError(name, "the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if (pixels := image.width * image.height) > MAX_PIXELS:
                raise ImageError(name, f"{pixels:,} pixels are more than the {MAX_PIXELS:,} allowed")
            if pixels > MAX_PIXELS_OF_A_BYTE * len(data):
                raise ImageError(name, f"{pixels:,} pixels in {len(data):,} bytes are no photograph")
            if pixels > _LARGE:
                bytes_of_a_pixel = 30 if _is_deep(image) else 16  # at most, while it is decoded
                check_memory(bytes_of_a_pixel * pixels, f"{name}: {pixels:,} pixels", "close other programs")
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        reason = f"not a picture, or cut off in its header (known: {', '.join(FORMATS)})"
        raise ImageError(name, reason) from error
    except _DAMAGE as error:
        raise ImageError(name, str(error) or type(error).__name__) from error


def _is_deep(image):
    """Whether an image that is not decoded yet has more than 8 bits."""
    return ";16" in str(image.tile) or image.mode.startswith(("I", "F"))


def _decode(image):
    """Decodes an image and turns it upright."""
    image.load()
    image.getexif()  # reads it; without its bytes, exif_transpose does not write it anew, which may fail
    for place in ("exif", "Raw profile type exif"):
        image.info.pop(place, None)
    ImageOps.exif_transpose(image, in_place=True)


def _notes(exif, dpi):
    """EXIF data on the photograph, none on its file but the resolution; raises what writing them will raise."""
    notes = Image.Exif()
    for tag in _ABOUT_PHOTOGRAPH & exif.keys():  # a text's own bytes, for Pillow would write é as ?
        notes[tag] = exif[tag].encode("latin-1") if isinstance(exif[tag], str) else exif[tag]
    for part in (_EXIF, _GPS):
        if values := {tag: value for tag, value in exif.get_ifd(part).items() if tag not in _ABOUT_FILE}:
            notes[part] = values
    if dpi:
        notes.update({282: dpi[0], 283: dpi[1], 296: 2})
    notes.tobytes()
    return notes


def _array(image):
    """A Pillow image of mode RGB as an array, by strips: at once, NumPy would hold it twice more."""
    array = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, 256):
        bottom = min(top + 256, image.height)
        array[top:bottom] = image.crop((0, top, image.width, bottom))
    return array


def _color_and_alpha(image):
    """A loaded Pillow image of any mode as sRGB, mode RGB, and its transparency, mode L, or None."""
    if image.has_transparency_data and image.mode in ("P", "PA", "RGB", "RGBA", "RGBa", "L", "LA", "La", "1"):
        layered = image.convert("RGBA")
        color = layered.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGB")
        color = _to_srgb(color.convert("L") if color.mode == "LA" else color, image.info.get("icc_profile"))
        return color, layered.getchannel("A")
    if image.mode.startswith(("I", "F")):
        color = Image.fromarray(np.rint(_grey(image) / 257).astype(np.uint8))
    elif image.mode in ("P", "PA", "YCbCr", "HSV", "RGBA", "RGBa", "RGBX"):
        color = image.convert("RGB")
    else:
        color = image.convert("L") if image.mode == "1" else image
    return _to_srgb(color, image.info.get("icc_profile")), None


def _over_white(color, alpha):
    return Image.composite(color, Image.new("RGB", color.size, "white"), alpha)


def _grey(image):
    """Scales 16-bit, 32-bit and float grey to uint16 (H, W); Pillow's own conversion clips them at 255."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        # "White is zero": Pillow turns only 8 bits and fewer around.
        inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0
        return (65535 - values if inverted else values).astype(np.uint16)
    low, high = values.min(), values.max()
    # Up to 2, not 1: sharpening leaves a little overshoot, and a 0-255 picture that dark is black anyway.
    white = 65535.0 if image.mode != "F" else 1.0 if high <= 2 else 255.0
    if not (np.isfinite(low) and np.isfinite(high)) or high > max(white, 2) or low < -1:
        raise ValueError(f"grey values from {low:g} to {high:g} have no known scale (0-1, 0-255 or 0-65535)")
    scaled = values.astype(np.float32)
    np.clip(scaled, 0, white, out=scaled)
    scaled *= np.float32(65535 / white)
    return np.rint(scaled, out=scaled).astype(np.uint16)


def _grey_to_srgb(grey, profile):
    """Grey under its profile, uint16 (H, W), as sRGB (H, W, 3), a view."""
    if profile:  # Little CMS gives 8 bits: lines between every fifth of its values are smooth again
        steps = np.arange(0, 256, 5, dtype=np.uint8)
        curve = _array(_to_srgb(Image.fromarray(steps[None]), profile))[0, :, 1]
        grey = np.interp(grey, steps * 257.0, curve * 257.0).astype(np.uint16)
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))


def _deepen(photograph, data):
    """Puts 16 bits in the place of a photograph's 8, if OpenCV finds the same picture in them; returns whether."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    shape = (*photograph.pixels.shape[:2], 3 if photograph.alpha is None else 4)
    if found is None or found.dtype != np.uint16 or found[..., : shape[2]].shape != shape:
        return False
    for row, seen in zip(found, photograph.pixels, strict=True):
        if np.abs((row[:, 2::-1] >> 8) - seen.astype(int)).max() > 2:
            return False
    photograph.pixels = found[..., 2::-1]
    photograph.alpha = None if photograph.alpha is None else found[..., 3]
    return True


def _to_srgb(image, profile):
    """Converts an image by its ICC profile (bytes or None) to sRGB; raises ValueError if that fails."""
    if not profile and image.mode != "LAB":
        return image if image.mode == "RGB" else image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile) if profile else ImageCms.createProfile("LAB"))
        space = source.profile.xcolor_space.strip()
        if image.mode == "L" and space == "RGB":  # grey pixels saved under a color profile: R = G = B
            image = image.convert("RGB")
        if _PROFILE_MODES.get(space) != image.mode:
            raise ValueError(f"its ICC profile is for {space}, its pixels are {image.mode}; save it as sRGB")
        srgb, intent = ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
        black = ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.profileToProfile(image, source, srgb, renderingIntent=intent, outputMode="RGB", flags=black)
    except (ImageCms.PyCMSError, OSError) as error:
        # A guess would give colors nobody saw, so the file is refused rather than read without its profile.
        raise ValueError(f"its ICC profile cannot be applied ({error}); save it as sRGB") from error


def save(array, path):
    """Writes uint8 (H, W, 3) or (H, W) in the suffix's format. Whole or not at all, raises: see `encode`, `write`."""
    write(path, encode(array, Path(path).suffix, path))


def encode(picture, suffix, name="picture"):
    """Encodes a `Photograph`, uint8 (H, W, 3) or (H, W) as a file's bytes; JPEG at quality 95, chroma not subsampled.

    Where the format lacks them, 16 bits become 8, transparency is laid over white, and notes are left out. Raises
    `ImageError` for a suffix it cannot write, an array of another kind, or more pixels than the format holds.
    """
    photograph = picture if isinstance(picture, Photograph) else Photograph(np.asarray(picture))
    pixels, alpha = photograph.pixels, photograph.alpha
    exif = photograph.exif or _notes(Image.Exif(), photograph.dpi)
    kind = Image.registered_extensions().get(suffix.lower())
    if kind not in _SAVE_OPTIONS:
        reason = f"cannot write a picture as {suffix or 'no suffix'} (known: {', '.join(_SAVE_OPTIONS)})"
        raise ImageError(str(name), reason)
    kinds = [(np.uint8, ()), (np.uint8, (3,)), (np.uint16, (3,))]
    if not pixels.size or (pixels.dtype, pixels.shape[2:]) not in kinds or pixels.ndim < 2:
        reason = f"a picture is uint8 (H, W, 3) or (H, W), or uint16 (H, W, 3), not {pixels.dtype} {pixels.shape}"
        raise ImageError(str(name), reason)
    if pixels.dtype == np.uint16 and kind not in _WITH_16_BITS:
        pixels, alpha = [each if each is None else (each >> 8).astype(np.uint8) for each in (pixels, alpha)]
    if alpha is not None and kind in _WITH_ALPHA:
        pixels = np.dstack([pixels, alpha])
    elif alpha is not None:
        pixels = np.asarray(_over_white(Image.fromarray(pixels), Image.fromarray(alpha)))
    try:
        if kind == "TIFF" and pixels.ndim == 3:
            return _tiff(pixels, exif)
        if pixels.dtype == np.uint16:
            return _png_of_16_bits(pixels, exif, photograph.dpi)
        options = _SAVE_OPTIONS[kind] | ({"dpi": photograph.dpi} if photograph.dpi else {})
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, kind, exif=exif or b"", **options)
        return encoded.getvalue()
    except (OSError, ValueError) as error:
        raise ImageError(str(name), f"cannot be written as {kind} ({error})") from error


def _tiff(pixels, exif):
    """A TIFF file of (H, W, 3 or 4) in 8 or 16 bits: EXIF data are one already, but for the pixels."""
    height, width, channels = pixels.shape
    differences = pixels.astype(pixels.dtype.newbyteorder("<"))  # along the rows: they are packed tighter
    differences[:, 1:] -= pixels[:, :-1]
    packed = zlib.compress(differences)
    tiff = Image.Exif()
    tiff.endian = "<"
    tiff.update(exif)
    tiff.update({256: width, 257: height, 258: (8 * pixels.itemsize,) * channels, 259: 8, _PHOTOMETRIC: 2})
    tiff.update({273: 0, 277: channels, 278: height, 279: len(packed), 317: 2})  # 273: Pillow adds its own length
    if channels == 4:
        tiff[338] = 2  # transparency that is not multiplied into the color
    return tiff.tobytes().removeprefix(b"Exif\0\0") + packed


def _png_of_16_bits(pixels, exif, dpi):
    """A PNG file of uint16 (H, W, 3 or 4): OpenCV's, with the notes put in behind its header of 33 bytes."""
    png = cv2.imencode(".png", pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])[1].tobytes()
    file = io.BytesIO()
    file.write(png[:33])
    if dpi:
        PngImagePlugin.putchunk(file, b"pHYs", struct.pack(">IIB", *(round(each / 0.0254) for each in dpi), 1))
    if exif:
        PngImagePlugin.putchunk(file, b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    file.write(png[33:])
    return file.getvalue()


def fit(picture, size):
    """Brings uint8 (H, W, 3) to uint8 (size, size, 3): centre crop to a square, then the area filter.

    Cropping before reducing keeps the scale exact; rounding the long side first would stretch it a little.
    A picture smaller than `size` is enlarged bilinearly: the area filter would only repeat its pixels.
    """
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return _resize(picture[top : top + side, left : left + side], size, size)


def shrink(picture, short_side):
    """Reduces uint8 (H, W, 3) with the area filter to a short side of at most `short_side`; never enlarges."""
    height, width = picture.shape[:2]
    scale = min(1.0, short_side / min(height, width))
    return _resize(picture, max(1, round(height * scale)), max(1, round(width * scale)))


def _resize(picture, height, width):
    if picture.shape[:2] == (height, width):
        return picture
    # OpenCV's area filter rounds once; Pillow's, in two passes, comes out up to a level brighter.
    how = cv2.INTER_AREA if height <= picture.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how)


@contextlib.contextmanager
def locked(folder):
    """Makes a folder and keeps other processes that lock it out; a second one says that it waits for the first.

    The lock ends with the block, or with the process, however that ends.
    """
    is_ours = False
    while not is_ours:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{folder}: another process works in this folder; waiting for it", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            # The other one may have removed the folder that this one waited for.
            is_ours = Path(folder).exists() and os.path.samestat(os.fstat(handle), os.stat(folder))
            if is_ours:
                yield
        finally:
            os.close(handle)


def fetch(url, md5, path):
    """Downloads a file to `path`, unless it is there, with progress; returns the path. It is whole or not there.

    A call goes on where an earlier one broke off. Raises OSError where the network or the disk fails, and ValueError
    for a file of another md5.
    """
    import pooch  # these two are needed for downloads only
    import requests

    path = Path(path)
    part = path.with_name(f"{path.name}.part")

    def go_on(url, target, _):  # what pooch lacks: it starts anew
        with part.open("ab") as file:
            rest = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
            try:
                pooch.HTTPDownloader(progressbar=True, chunk_size=2**16, timeout=TIMEOUT, headers=rest)(url, file, None)
            except requests.HTTPError:  # it may be the rest that the server refuses
                part.unlink(missing_ok=True)
                raise
        part.replace(target)

    return Path(pooch.retrieve(url, f"md5:{md5}", path.name, path.parent, downloader=go_on))


def write(path, content):
    """Writes bytes, or text as UTF-8, beside `path` and renames it there; makes missing folders. Returns the path.

    Whole or not at all: where that fails, or at a power cut, what stood there before stays. Raises OSError naming
    `path` where the disk refuses: full, read-only, not permitted, or a file where a folder should be.
    """
    path = Path(path)
    # A name of its own for each thread of each process: the last one to finish wins, and none mixes with another.
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if not path.parent.exists():  # where it is a file, writing tells so better than mkdir
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # on the disk before the name changes
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def remove_parts(folder, names):
    """Removes what killed processes left of writing files of these names, paths below a folder that this one locks."""
    for part in Path(folder).rglob(".*.part"):
        name = re.fullmatch(r"\.(.+)\.\d+-\d+\.part", part.name)
        if name and part.with_name(name[1]).relative_to(folder).as_posix() in names:
            part.unlink()


def check_disk(folder, size, what):
    """Raises OSError where a folder's disk has no room for so many bytes; it need not exist yet."""
    place = next(place for place in (Path(folder).resolve(), *Path(folder).resolve().parents) if place.exists())
    if size > (free := shutil.disk_usage(place).free):
        raise OSError(errno.ENOSPC, f"{what} take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free", str(folder))


def check_memory(size, what, remedy):
    """Raises MemoryError, saying what to do, where the computer has not so many bytes free, and tells so (Linux)."""
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: +(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    if found and size > (free := 1024 * int(found[1])):
        raise MemoryError(f"{what} take {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: {remedy}")


def write_json(value, path):
    """Writes a value as JSON, whole or not at all. Raises ValueError for NaN or infinity, which JSON lacks."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    write(path, text)
