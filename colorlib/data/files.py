"""The one gate for picture files: any file becomes upright 8-bit sRGB, or an `ImageError` with the reason.

Nothing else in the package opens a foreign picture, so what is hard about them (color profiles, orientation
tags, 16 bits, alpha, broken data) is decided here once.
"""

import contextlib
import dataclasses
import io
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from colorlib.color import linear_to_rgb, primaries_to_srgb, rgb_to_linear, to_uint8
from colorlib.data import chunks, depth, disk, listing

# Only formats of photographs: Pillow also knows some that run other programs (EPS) or are no pictures at all.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000")
_WITH_DEPTH = ("PNG", "TIFF", "PPM", "JPEG2000")  # formats of 16-bit color
_WITH_PAGES = ("TIFF", "GIF", "WEBP", "PNG", "AVIF", "HEIF")  # the second picture of a JPEG is a preview or a depth map
MAX_PAGES = 10_000  # of a file, at most, are looked at
_BEFORE_PIXELS = 2**18  # bytes, of a PNG, in which it says whether it is an animation
# Lets 100-megapixel cameras and large scans through (450 MB as 8-bit RGB) and stops decompression bombs.
MAX_PIXELS = 150_000_000
MAX_PIXELS_OF_A_BYTE = 20_000  # the emptiest page packs to a tenth of that, a bomb to hundreds of times
_LARGE = 10_000_000  # pixels: before such a picture is decoded, it is asked whether there is memory
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with a file is told here
warnings.filterwarnings("ignore", module=r"PIL\.")  # on bombs below that, and on EXIF data that it can read in part

_SAVE_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
}
_BAD_EXIF = "without its EXIF data, which are damaged"
_WITH_ALPHA, _WITH_16_BITS = ("PNG", "WEBP", "TIFF"), ("PNG", "TIFF")
_PHOTOMETRIC, _ORIENTATION, _EXIF, _GPS = 262, 274, 34665, 34853  # tags of TIFF and EXIF
# Of TIFF: 1 is a preview; bits; the largest value; 2 is plane by plane; 2 is signed, 3 is float; pages within; RAW
_SUBFILE, _BITS, _MOST, _PLANES, _FORMAT, _FURTHER, _DNG = 254, 258, 281, 284, 339, 330, 50706
_GAMMA = 1 / 2.2, 0.02  # of a PNG's pixels, and how far it may be off: so are those of sRGB
_PRIMARIES = 0.02  # how far the matrix from a PNG's primaries to sRGB's may be off: so much is rounding
# EXIF tags of the photograph: title, camera, date, author, rights, Windows's fields. All others, and these of the
# camera's part (color space, size), are of its file and do not fit the new one.
_ABOUT_PHOTOGRAPH = {269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, *range(40091, 40096)}
_ABOUT_FILE = range(40961, 40966)
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_DAMAGE = depth.DAMAGE


class ImageError(ValueError):
    """A file that cannot be used as a picture; `name` says which, `reason` says why, `str` says both."""

    def __init__(self, name, reason):
        """Keeps both parts: rejects.csv lists them in two columns."""
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


class Passing(ImageError):
    """A file that could not be read this time: of a drive that was away, or too large for the memory there was."""


@dataclasses.dataclass
class Photograph:
    """A picture with what its file says of it."""

    pixels: np.ndarray  # upright sRGB, uint8 or uint16 (H, W, 3)
    alpha: np.ndarray | None = None  # (H, W) of the same dtype; 0 is transparent
    exif: Image.Exif | None = None  # notes on the photograph: none on its file, no preview
    dpi: tuple | None = None  # pixels an inch, across and down
    pages: int = 1  # or frames, of the file; previews are none
    remarks: list = dataclasses.field(default_factory=list)  # on what could not be kept, or had to be guessed


def load(path_or_bytes, name=None):
    """Reads a picture of any kind as upright sRGB: uint8 (H, W, 3), 0-255.

    The EXIF orientation is applied and an ICC profile converted to sRGB (relative colorimetric). A profile or EXIF data
    that cannot be used are set aside (`open_photograph` tells). Transparency is laid over white.
    Integer grey of more than 8 bits is scaled by its number of bits; float grey from 0-1, 0-255 or 0-65535, by its
    largest value. Of several frames or pages the first counts. Damage that still decodes to full size cannot be told
    from a picture, and loads.

    Raises `ImageError`, naming the file (or `name`) and the reason: missing, empty, no picture, truncated, more
    than `MAX_PIXELS` pixels, or values without a known scale.
    """
    name = name or ("picture" if isinstance(path_or_bytes, bytes) else str(path_or_bytes))
    data = path_or_bytes if isinstance(path_or_bytes, bytes) else read(path_or_bytes, name)
    return flat(open_photograph(data, name, is_deep=False))


def flat(photograph):
    """The pixels of a `Photograph` of 8 bits over white."""
    if photograph.alpha is None:
        return photograph.pixels
    return np.asarray(_over_white(Image.fromarray(photograph.pixels), Image.fromarray(photograph.alpha)))


def open_photograph(data, name, *, page=0, is_deep=True):
    """Reads a file's bytes as `load` does, with what belongs to the picture: a `Photograph`. Raises `ImageError`.

    Transparency stays apart; what is wholly transparent is white. 16 bits are kept where `is_deep`: of grey, and of
    color where OpenCV finds the same picture in 16 bits, so not where a color profile changes it. `page` is one of
    those that `count_pages` counts, from 0.
    """

    def work(data):
        with _opened(data, name, page) as image:
            photograph = (_odd if isinstance(image, depth.OddTiff) else _photograph)(image, data, is_deep)
            photograph.pages = image.count
            return photograph

    photograph, kept = _or_bare(work, data)
    if kept:
        photograph.remarks.append(f"of a damaged file: with its pixels, {kept} beside them")
    if not is_deep and photograph.pixels.dtype == np.uint16:
        photograph.pixels = depth.to_8_bits(photograph.pixels)
        photograph.alpha = None if photograph.alpha is None else depth.to_8_bits(photograph.alpha)
    if photograph.alpha is not None and not photograph.alpha.any():
        photograph.alpha = None
        photograph.remarks.append("without its transparency, which would hide all of it")
    if photograph.alpha is not None:
        white = np.iinfo(photograph.pixels.dtype).max
        np.copyto(photograph.pixels, white, where=(photograph.alpha == 0)[..., None])
    return photograph


def _odd(image, data, is_deep):
    """The photograph in an odd TIFF file."""
    photograph, exif = Photograph(None), Image.Exif()
    photograph.pixels, photograph.alpha = image.decoded(photograph.remarks)
    try:
        exif.load(b"Exif\0\0" + data)  # EXIF data are a TIFF file
        photograph.exif = _notes(exif, None)
    except _DAMAGE:
        photograph.remarks.append(_BAD_EXIF)
    return photograph


def _photograph(image, data, is_deep):
    """The photograph in Pillow's image of a file's bytes."""
    photograph, has_16_bits = Photograph(None), _has_16_bits(image)
    if image.format == "PNG" and (colors := chunks.colors_of_png(data, photograph.remarks)):
        for other in ("icc_profile", "gamma", "srgb"):  # it counts before all else that the file says of its colors
            image.info.pop(other, None)
        image.info.update(colors)
    exif = _exif(image, photograph.remarks)
    orientation = exif.get(_ORIENTATION, 1)  # Pillow forgets it in decoding
    _decode(image)
    with contextlib.suppress(*_DAMAGE):
        dpi = tuple(map(float, image.info.get("dpi", ())))[:: -1 if orientation in (5, 6, 7, 8) else 1]
        photograph.dpi = dpi if len(dpi) == 2 and all(1 < each < 2**16 for each in dpi) else None
    try:
        photograph.exif = _notes(exif, photograph.dpi)
    except _DAMAGE:
        photograph.remarks.append(_BAD_EXIF)
    if image.mode.startswith(("I", "F")):
        photograph.pixels = _grey_to_srgb(_grey(image, photograph.remarks), image.info, photograph.remarks)
        return photograph
    deep, is_dark = None, image.format in _WITH_DEPTH and image.mode in ("RGB", "RGBA") and _brightest(image) < 64
    if is_dark or (has_16_bits and is_deep):
        deep = _deep(data)
    if is_dark and deep is not None:
        image = _brightened(image, deep, orientation, photograph.remarks)
    color, alpha = _color_and_alpha(image, photograph.remarks)
    photograph.pixels, photograph.alpha = _array(color), alpha and np.array(alpha)
    if has_16_bits and is_deep and not _deepen(photograph, deep):
        photograph.remarks.append("without its lower 8 of 16 bits; save it as sRGB, upright, to keep them")
    return photograph


def _brightest(image):
    """The largest value of the color of a loaded image of mode RGB or RGBA."""
    return max(high for _, high in image.getextrema()[:3])


def _exif(image, remarks):
    """The EXIF data of an image that is not decoded yet, read before decoding; none where they are damaged."""
    if image.format == "PNG":  # where they may stand behind the pixels: Pillow would decode to look for them
        image.load()
    try:
        return image.getexif()
    except _DAMAGE:
        remarks.append(_BAD_EXIF)
        return Image.Exif()


def count_pixels(data, name):
    """Counts a picture's pixels by its header alone; from a file's bytes. Raises `ImageError`."""

    def work(data):
        with _opened(data, name) as image:
            return image.width * image.height

    return _or_bare(work, data)[0]


def _or_bare(work, data):
    """What `work` makes of a file's bytes, and ""; or of a part of them if the whole cannot be used, and what that is.

    The part is one of chunks.KEPT: as much as can be used.
    """
    try:
        return work(data), ""
    except ImageError as error:
        what, tried = listing.what_is(data.lstrip(b"\r\n")), {None}
        for kept in chunks.KEPT:
            bare = chunks.bare(what, data, kept)
            if bare not in tried:
                tried.add(bare)
                with contextlib.suppress(ImageError):
                    return work(bare), kept
        raise error


def count_pages(path):
    """Counts the pages or frames of a picture file: 1 for most. Previews are none. Raises `ImageError`."""
    try:
        with open(path, "rb") as file:
            start = file.read(_BEFORE_PIXELS)
    except OSError as error:
        raise ImageError(str(path), (error.strerror or str(error)).lower()) from error
    what = listing.what_is(start)
    if what not in ("TIFF", "GIF", "WebP", "AVIF", "HEIC") and not (what == "PNG" and b"acTL" in start):
        return 1
    with _opened(read(path), str(path)) as image:
        return image.count


def _pages(image):
    """The places of the pages or frames in an image, each a number to `seek`, of the first MAX_PAGES; how many more."""
    count = getattr(image, "n_frames", 1) if image.format in _WITH_PAGES else 1
    more = max(0, count - MAX_PAGES)
    if image.format != "TIFF":
        first = image.tell() if image.format == "HEIF" else 0  # which picture of several is the one to show
        return [first, *(place for place in range(count - more) if place != first)], more
    found = []
    for place in range(count - more):
        image.seek(place)
        if _DNG in image.tag_v2 or (image.tag_v2.get(_SUBFILE, 0) & 1 and _FURTHER in image.tag_v2):
            raise ValueError(listing.why_not("RAW"))  # its pages are previews
        if not image.tag_v2.get(_SUBFILE, 0) & 1:
            found.append(place)
    return found or [0], more


def read(path, name=None):
    """A file's bytes. Raises `ImageError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(name or str(path), (error.strerror or str(error)).lower()) from error


@contextlib.contextmanager
def _opened(data, name, page=0):
    """Gives a file's Pillow image, not decoded, or a `depth.OddTiff`.

    What proves to be wrong with it in the block becomes an ImageError.
    """
    if not data:
        raise ImageError(name, "the file is empty")
    what = listing.what_is(data)
    if what == "HEIC" and not listing.reads_heic():
        raise ImageError(name, listing.why_not("HEIC"))
    try:
        with _image(data, what, page) as image:
            if (pixels := image.width * image.height) > MAX_PIXELS:
                raise ImageError(name, f"{pixels:,} pixels are more than the {MAX_PIXELS:,} allowed")
            if pixels > MAX_PIXELS_OF_A_BYTE * len(data):
                raise ImageError(name, f"{pixels:,} pixels in {len(data):,} bytes are no photograph")
            if pixels > _LARGE:
                bytes_of_a_pixel = 30 if _has_16_bits(image) else 16  # at most, while it is decoded
                disk.check_memory(bytes_of_a_pixel * pixels, f"{name}: {pixels:,} pixels", "close other programs")
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(name, _why_unknown(what)) from error
    except _DAMAGE as error:
        raise ImageError(name, str(error) or type(error).__name__) from error


def _image(data, what, page):
    """Opens a file's bytes, which begin as `what`, at a page."""
    formats = FORMATS
    if what == "HEIC":
        import pi_heif  # LGPL, so it is an extra of one's own choice

        pi_heif.register_heif_opener()
        formats = ("HEIF",)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        if what == "TIFF":
            return depth.OddTiff(data, page)
        raise
    pages, more = _pages(image)
    image.count = len(pages) + more
    if page >= len(pages):
        raise ValueError(f"no page {page + 1} of {image.count} that can be read")
    if getattr(image, "n_frames", 1) > 1:
        image.seek(pages[page])
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS, (1,))
        is_signed, is_float = (image.tag_v2.get(_FORMAT, (1,))[0] == kind for kind in (2, 3))
        is_by_planes = len(bits) > 1 and max(bits) > 8 and image.tag_v2.get(_PLANES, 1) == 2
        if is_by_planes or is_signed or (max(bits) == 32 and not is_float):
            return depth.OddTiff(data, page)
    return image


def _why_unknown(what):
    """Why no picture was found in a file that begins as `what`."""
    if what in (*listing.READ, "HEIC"):
        return f"{listing.with_article(what)} file that is cut off, damaged, or of a rare kind; {depth.ANEW}"
    if what:
        return f"no picture, but {listing.with_article(what)}: {listing.REMEDIES[what]}"
    return f"not a picture, or cut off in its header (known: {', '.join(FORMATS)})"


def _has_16_bits(image):
    """Whether an image that is not decoded yet has more than 8 bits."""
    return ";16" in str(image.tile) or image.mode.startswith(("I", "F"))


def _decode(image):
    """Decodes an image, whose EXIF data are read, and turns it upright."""
    image.load()
    # Without their bytes, exif_transpose does not write them anew, which may fail.
    for place in ("exif", "Raw profile type exif"):
        image.info.pop(place, None)
    with contextlib.suppress(*_DAMAGE):  # damaged, they say nothing of where up is
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


def _color_and_alpha(image, remarks):
    """A loaded Pillow image of any mode as sRGB, mode RGB, and its transparency, mode L, or None."""
    if image.has_transparency_data and image.mode in ("P", "PA", "RGB", "RGBA", "RGBa", "L", "LA", "La", "1"):
        layered = image.convert("RGBA")
        color = layered.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGB")
        color = _to_srgb(color.convert("L") if color.mode == "LA" else color, image.info, remarks)
        return color, layered.getchannel("A")
    if image.mode in ("P", "PA", "YCbCr", "HSV", "RGBA", "RGBa", "RGBX"):
        color = image.convert("RGB")
    else:
        color = image.convert("L") if image.mode == "1" else image
    return _to_srgb(color, image.info, remarks), None


def _over_white(color, alpha):
    return Image.composite(color, Image.new("RGB", color.size, "white"), alpha)


def _grey(image, remarks):
    """Scales grey of 9 to 32 bits and float grey to uint16 (H, W); Pillow's own conversion clips them at 255."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    tags = image.tag_v2 if image.format == "TIFF" else {}
    if image.mode == "F":
        white = depth.white_of_floats(low, high, remarks)
    elif low < 0 or high > 65535:
        raise ValueError(f"grey values from {low} to {high} have no known scale (0-1, 0-255 or 0-65535)")
    else:
        bits = tags.get(_BITS, (16,))[0] if image.mode.startswith("I;16") else 16
        white = depth.white(int(high), 2**bits - 1, tags.get(_MOST, (0,))[0], remarks)
    grey = depth.stretched(values, white)
    # "White is zero": Pillow turns only 8 bits and fewer around.
    return 65535 - grey if tags.get(_PHOTOMETRIC) == 0 else grey


def _grey_to_srgb(grey, info, remarks):
    """Grey under its profile or gamma, uint16 (H, W), as sRGB (H, W, 3), a view."""
    steps = np.arange(0, 256, 5, dtype=np.uint8)  # Little CMS gives 8 bits: lines between every fifth are smooth again
    curve = _array(_to_srgb(Image.fromarray(steps[None]), info, remarks))[0, :, 1]
    if (curve != steps).any():
        grey = np.interp(grey, steps * 257.0, curve * 257.0).astype(np.uint16)
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))


def _deep(data):
    """A file's color in 16 bits, uint16 (H, W, 3 or 4), as it is stored: not upright, under its profile; or None."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.shape[2:] not in ((3,), (4,)):
        return None
    return found[..., [2, 1, 0, 3][: found.shape[2]]]


def _brightened(image, deep, orientation, remarks):
    """An 8-bit image in the place of one whose 16 bits were never stretched, so that Pillow made it dark, or itself."""
    white = depth.white(int(deep[..., :3].max()), 65535, 0, remarks)
    if white == 65535:
        return image
    alpha = deep[..., 3:] if deep[..., 3:].max(initial=0) > white else depth.stretched(deep[..., 3:], white)
    color = depth.to_8_bits(np.dstack([depth.stretched(deep[..., :3], white), alpha]))
    brighter = Image.fromarray(np.ascontiguousarray(depth.upright(color, orientation)))
    brighter.info = image.info
    return brighter


def _deepen(photograph, deep):
    """Puts 16 bits in the place of a photograph's 8, if they show the same picture; returns whether."""
    channels = 3 if photograph.alpha is None else 4
    if deep is None or deep[..., :channels].shape != (*photograph.pixels.shape[:2], channels):
        return False
    for row, seen in zip(deep, photograph.pixels, strict=True):
        if np.abs((row[:, :3] >> 8) - seen.astype(int)).max() > 2:
            return False
    photograph.pixels = deep[..., :3]
    photograph.alpha = None if photograph.alpha is None else deep[..., 3]
    return True


def _to_srgb(image, info, remarks):
    """Converts an image of mode L, RGB, CMYK or LAB by its ICC profile, or a PNG's gamma and primaries, to sRGB."""
    profile = info.get("icc_profile")
    if not profile and image.mode != "LAB":
        return _from_gamma_and_primaries(image, info, remarks)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile) if profile else ImageCms.createProfile("LAB"))
        space = source.profile.xcolor_space.strip()
        if image.mode == "L" and space == "RGB":  # grey pixels saved under a color profile: R = G = B
            image = image.convert("RGB")
        if _PROFILE_MODES.get(space) != image.mode:
            raise ValueError(f"is for {space}, while its pixels are {image.mode}")
        srgb, intent = ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
        black = ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.profileToProfile(image, source, srgb, renderingIntent=intent, outputMode="RGB", flags=black)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        why = str(error) if isinstance(error, ValueError) else f"cannot be applied ({error})"
        remarks.append(f"without its color profile, which {why}")
        return _from_gamma_and_primaries(image, info, remarks)


def _from_gamma_and_primaries(image, info, remarks):
    """Converts an image by the gamma and primaries of its PNG file, if any, to sRGB (PNG specification, 13.13)."""
    is_color_of_light = image.mode in ("L", "RGB")
    image = image if image.mode == "RGB" else image.convert("RGB")
    if "srgb" in info or not is_color_of_light:
        return image
    gamma, to_srgb = info.get("gamma"), None
    if gamma and not 0.1 < gamma < 5:
        remarks.append(f"without its gamma of {gamma:g}, which cannot be")
        gamma = None
    if gamma and abs(gamma - _GAMMA[0]) <= _GAMMA[1]:
        gamma = None
    if info.get("chromaticity"):
        try:
            to_srgb = primaries_to_srgb(info["chromaticity"])
        except ValueError as error:
            remarks.append(f"without its primaries: {error}")
    levels = np.arange(256) / 255
    linear = levels ** (1 / gamma) if gamma else rgb_to_linear(levels)
    if to_srgb is None or np.abs(to_srgb - np.eye(3)).max() < _PRIMARIES:
        return image.point(3 * to_uint8(linear_to_rgb(linear)).tolist()) if gamma else image
    for top in range(0, image.height, 64):  # by strips: in floats, all of it would take much memory
        strip = np.asarray(image.crop((0, top, image.width, min(top + 64, image.height))))
        colors = to_uint8(linear_to_rgb(np.maximum(linear[strip] @ to_srgb, 0)))
        image.paste(Image.fromarray(colors), (0, top))
    return image


def save(array, path):
    """Writes uint8 (H, W, 3) or (H, W) in the format of the suffix. Raises and promises: see `encode`, `disk.write`."""
    disk.write(path, encode(array, Path(path).suffix, path))


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
