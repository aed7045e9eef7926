"""The one gate for picture files: any file becomes upright 8-bit sRGB, or an `ImageError` with the reason.

Nothing else in the package opens a foreign picture, so what is hard about them (color profiles, orientation
tags, 16 bits, alpha, broken data) is decided here once.
"""

import contextlib
import fcntl
import io
import json
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

# Only formats of photographs: Pillow also knows some that run other programs (EPS) or are no pictures at all.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000")
EXTENSIONS = frozenset(".jpg .jpeg .jpe .png .webp .avif .tif .tiff .gif .bmp .ppm .pgm .pbm .jp2".split())
TIMEOUT = 30  # seconds for a server to answer, then for each piece of a download
# Lets 100-megapixel cameras and large scans through (450 MB as 8-bit RGB) and stops decompression bombs.
MAX_PIXELS = 150_000_000
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # of Pillow's, below that

_SAVE_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
}
_PHOTOMETRIC = 262  # TIFF tag
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


def load(path_or_bytes, name=None):
    """Reads a picture of any kind as upright sRGB: uint8 (H, W, 3), 0-255.

    The EXIF orientation is applied and an ICC profile converted to sRGB (relative colorimetric). Transparency is
    laid over white. Integer grey of more than 8 bits is scaled from 0-65535; float grey from 0-1, or from 0-255
    where a value exceeds 2. Color of 16 bits keeps its high byte. Of several frames or pages the first counts.
    Damage that still decodes to full size cannot be told from a picture, and loads.

    Raises `ImageError`, naming the file (or `name`) and the reason: missing, empty, no picture, truncated, more
    than `MAX_PIXELS` pixels, a color profile that cannot be applied, or values without a known scale.
    """
    if isinstance(path_or_bytes, bytes):
        data, name = path_or_bytes, name or "picture"
    else:
        name = name or str(path_or_bytes)
        try:
            data = Path(path_or_bytes).read_bytes()
        except OSError as error:
            raise ImageError(name, (error.strerror or str(error)).lower()) from error
    if not data:
        raise ImageError(name, "the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if (pixels := image.width * image.height) > MAX_PIXELS:
                raise ImageError(name, f"{pixels:,} pixels are more than the {MAX_PIXELS:,} allowed")
            image.load()
            image.getexif()  # reads it; without its bytes, exif_transpose does not write it anew, which may fail
            for place in ("exif", "Raw profile type exif"):
                image.info.pop(place, None)
            ImageOps.exif_transpose(image, in_place=True)
            return np.array(_over_white(image))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        reason = f"not a picture, or cut off in its header (known: {', '.join(FORMATS)})"
        raise ImageError(name, reason) from error
    except _DAMAGE as error:
        raise ImageError(name, str(error) or type(error).__name__) from error


def _over_white(image):
    """Turns a loaded Pillow image of any mode into sRGB mode RGB, what is transparent over white."""
    if image.has_transparency_data and image.mode in ("P", "PA", "RGB", "RGBA", "RGBa", "L", "LA", "La", "1"):
        layered = image.convert("RGBA")
        color = layered.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGB")
        color = _to_srgb(color.convert("L") if color.mode == "LA" else color, image.info.get("icc_profile"))
        white = Image.new("RGB", image.size, "white")
        return Image.composite(color, white, layered.getchannel("A"))
    if image.mode.startswith(("I", "F")):
        color = _eight_bits(image)
    elif image.mode in ("P", "PA", "YCbCr", "HSV", "RGBA", "RGBa", "RGBX"):
        color = image.convert("RGB")
    else:
        color = image.convert("L") if image.mode == "1" else image
    return _to_srgb(color, image.info.get("icc_profile"))


def _eight_bits(image):
    """Scales 16-bit, 32-bit and float grey to mode L; Pillow's own conversion clips them at 255."""
    values = np.asarray(image).astype(np.float64)
    if image.format == "TIFF" and image.mode.startswith("I;16") and image.tag_v2.get(_PHOTOMETRIC) == 0:
        values = 65535 - values  # "white is zero": Pillow turns only 8 bits and fewer around
    low, high = values.min(), values.max()
    # Up to 2, not 1: sharpening leaves a little overshoot, and a 0-255 picture that dark is black anyway.
    white = 65535.0 if image.mode != "F" else 1.0 if high <= 2 else 255.0
    if not (np.isfinite(low) and np.isfinite(high)) or high > max(white, 2) or low < -1:
        raise ValueError(f"grey values from {low:g} to {high:g} have no known scale (0-1, 0-255 or 0-65535)")
    return Image.fromarray(np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8))


def _to_srgb(image, profile):
    """Converts an image by its ICC profile (bytes or None) to sRGB; raises ValueError if that fails."""
    if not profile and image.mode != "LAB":
        return image.convert("RGB")
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


def encode(array, suffix, name="picture"):
    """Encodes uint8 (H, W, 3) or (H, W) as a file's bytes; JPEG at quality 95, chroma not subsampled.

    Raises `ImageError` for a suffix it cannot write or an array of another kind.
    """
    array = np.asarray(array)
    kind = Image.registered_extensions().get(suffix.lower())
    if kind not in _SAVE_OPTIONS:
        reason = f"cannot write a picture as {suffix or 'no suffix'} (known: {', '.join(_SAVE_OPTIONS)})"
        raise ImageError(str(name), reason)
    if array.dtype != np.uint8 or not array.size or array.ndim < 2 or array.shape[2:] not in ((), (3,)):
        reason = f"a picture is uint8 (H, W, 3) or (H, W), not {array.dtype} {array.shape}"
        raise ImageError(str(name), reason)
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, kind, **_SAVE_OPTIONS[kind])
    return encoded.getvalue()


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
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process works in this folder; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
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


def write_json(value, path):
    """Writes a value as JSON, whole or not at all. Raises ValueError for NaN or infinity, which JSON lacks."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    write(path, text)
