"""Pixels of more than 8 bits: which value is white, and the TIFF files that Pillow does not read, or reads wrongly.

Where a file does not say how bright white is, it is guessed from the largest value, and `remarks`, a list of texts,
takes the guess; where no guess is safe, ValueError says so.
"""

import io
import logging
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

# What readers raise on damaged data, found by feeding them damaged files.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, AssertionError,
    RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
ANEW = "save it anew as PNG or JPEG"
_RARE = "a TIFF file that is of a rare kind"


def white(high, most, said, remarks):
    """The value of white of integers up to `high`: `most` is the largest that their bits allow.

    `said` is what the file calls its largest value, 0 for nothing: it counts if it is that of a number of bits.
    """
    if 0 < said < most and high <= said and said & (said + 1) == 0:
        remarks.append(f"taken as {said.bit_length()} bits, as it says")
        return said
    for bits in (8, 10, 12, 14, 16):  # of a camera or a scanner, stored in more without being stretched
        if 0 < high < 2**bits < most:
            remarks.append(f"taken as {bits} bits, for no value is above {2**bits - 1:,} of {most:,}")
            return 2**bits - 1
    if most > 65535 and high < most / 2:
        raise ValueError(f"values up to {high:,} of {most:,} have no known scale")
    return most


def white_of_floats(low, high, remarks):
    """The value of white of floats from `low` to `high`. ValueError unless they are 0-1, 0-255 or 0-65535."""
    # Up to 2, not 1: sharpening leaves a little overshoot, and a 0-255 picture that dark is black anyway.
    found = next((of for of, least in ((1.0, 0), (255.0, 64), (65535.0, 20_000)) if least < high <= max(of, 2)), None)
    if high <= 0 and low == high:
        return 1.0  # all black
    if found is None or not np.isfinite(low) or low < -0.1 * found:
        raise ValueError(f"grey values from {low:g} to {high:g} have no known scale (0-1, 0-255 or 0-65535)")
    if 64 < high < 200:
        remarks.append(f"taken as 0 to 255, for no value is above {high:g}")
    return found


def stretched(values, white):
    """Values from 0 to `white` as uint16 from 0 to 65535; what lies beyond is clipped."""
    if white == 65535 and values.dtype == np.uint16:
        return values
    scaled = values.astype(np.float32)
    np.clip(scaled, 0, white, out=scaled)
    scaled *= np.float32(65535 / white)
    return np.rint(scaled, out=scaled).astype(np.uint16)


def to_8_bits(values):
    """16 bits as 8, rounded."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def upright(array, orientation):
    """Turns an array (H, W, ...) as its EXIF orientation, 1 to 8, says."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array[::-1] if orientation in (3, 4, 7, 8) else array


class OddTiff:
    """A TIFF file that Pillow does not read, or reads wrongly: 16 bits by planes, 32 bits, signed, color as float."""

    def __init__(self, data, page):
        import tifffile  # of scikit-image; few pictures need it

        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it would log, it raises, too
        try:
            self.file = tifffile.TiffFile(io.BytesIO(data))
            pages = [each for each in self.file.pages if not each.subfiletype & 1]
            self.count, self.page = len(pages), pages[page]
        except DAMAGE as error:
            raise UnidentifiedImageError from error
        self.width, self.height = self.page.imagewidth, self.page.imagelength
        self.mode, self.tile = "F", ()  # as Pillow says of its own images: more than 8 bits

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def decoded(self, remarks):
        """Its pixels, upright uint16 (H, W, 3), and alpha (H, W) or None. ValueError for a kind that is not read."""
        page = self.page
        colors = {0: 1, 1: 1, 2: 3}.get(int(page.photometric), 0)
        kind = f"{page.samplesperpixel} x {page.bitspersample} bits, photometric {page.photometric!s}"
        if not colors or page.samplesperpixel > colors + 2:  # more would be read without a bound to their memory
            raise ValueError(f"{_RARE} ({kind}); {ANEW}")
        values = np.atleast_3d(self._values(kind))
        if page.planarconfig == 2 and values.shape[-1] != page.samplesperpixel:
            values = np.moveaxis(values, 0, -1)
        if values.shape != (self.height, self.width, page.samplesperpixel):
            raise ValueError(f"{_RARE} ({kind}); {ANEW}")
        low, high = values[..., :colors].min(), values[..., :colors].max()
        if values.dtype.kind == "f":
            of = white_of_floats(low, high, remarks)
        elif low < 0:  # signed, over its whole range
            values, of = values.astype(np.int64) + 2 ** (page.bitspersample - 1), 2**page.bitspersample - 1
        else:
            of = white(int(high), 2 ** (page.bitspersample - (values.dtype.kind == "i")) - 1, 0, remarks)
        scaled = stretched(np.nan_to_num(values), of)
        color, extra = scaled[..., :colors], [int(each) for each in page.extrasamples or ()]
        alpha = scaled[..., colors] if extra[:1] in ([1], [2]) else None
        if extra[:1] == [1]:  # the color is multiplied by it
            color = np.minimum(color / np.maximum(alpha, 1)[..., None] * 65535, 65535).astype(np.uint16)
        if page.photometric == 0:
            color = 65535 - color
        if "InterColorProfile" in page.tags:
            remarks.append("without its color profile")
        orientation = int(page.tags["Orientation"].value) if "Orientation" in page.tags else 1
        pixels = upright(np.repeat(color, 4 - colors, axis=-1)[..., :3], orientation)
        return pixels, alpha if alpha is None else upright(alpha, orientation)

    def _values(self, kind):
        try:
            return self.page.asarray()
        except DAMAGE as error:
            if "imagecodecs" in str(error):
                kind = f"{kind}, packed by {self.page.compression!s}"
            raise ValueError(f"{_RARE} ({kind}) or damaged; {ANEW}") from error
