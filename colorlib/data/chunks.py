"""The parts of PNG and JPEG files: those of the pixels alone, and what a PNG says of its colors that Pillow skips."""

import struct

_OF_PIXELS = (b"IHDR", b"cICP", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Of ITU-T H.273: the xy of white, red, green and blue of its primaries, and the curves that are, about, sRGB's.
_PRIMARIES = {
    1: (0.3127, 0.3290, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),  # sRGB
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_CURVES = (1, 6, 13, 14, 15)


def bare(what, data, *, with_exif):
    """The bytes of a PNG or JPEG file with the parts alone that make its pixels, and its EXIF data; None if cut off."""
    if what == "PNG":
        return _bare_png(data, (*_OF_PIXELS, b"eXIf") if with_exif else _OF_PIXELS)
    return _bare_jpeg(data, with_exif) if what == "JPEG" else None


def _of_png(data):
    """The chunks of a PNG file: their kind, and their bytes with length and checksum. It may be cut off."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at : at + 12 + length]
        at += 12 + length


def _bare_png(data, kinds):
    kept = [data[:8]]
    for kind, chunk in _of_png(data):
        if kind in kinds:
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept)
    return None


def _bare_jpeg(data, with_exif):
    at = data.find(b"\xff\xd8\xff") + 2
    kept = [b"\xff\xd8"]
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        if kind == 0xDA:  # from here on there are pixels
            return b"".join([*kept, data[at:]])
        is_of_the_colors = kind == 0xEE and length >= 14  # Adobe's, which tells how they are stored
        is_exif = kind == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0"
        if not (0xE0 <= kind <= 0xEF or kind == 0xFE) or is_of_the_colors or (with_exif and is_exif):
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return None


def primaries_of_png(data):
    """The xy of white, red, green and blue of a PNG file's primaries, if its cICP chunk names them; else None.

    Raises ValueError for colors that cannot be read: of high dynamic range, or of a rare kind.
    """
    for kind, chunk in _of_png(data):
        if kind == b"IDAT":
            break
        if kind == b"cICP":
            primaries, curve = chunk[8:10]
            if primaries not in _PRIMARIES or curve not in _CURVES:
                raise ValueError(
                    f"colors of high dynamic range or a rare kind (cICP {primaries}, {curve}); save it as sRGB"
                )
            return _PRIMARIES[primaries]
    return None
