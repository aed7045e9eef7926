"""The parts of PNG and JPEG files, of pixels, colors and notes, where Pillow skips them or breaks at them."""

import struct
import zlib

# How much is left of a file whose whole cannot be used, the most first: its pixels with what is sound of these.
KEPT = ("colors and notes", "notes", "nothing else")
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_NOTES = (b"eXIf", b"pHYs")
_COLORS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
# Of ITU-T H.273: the xy of white, red, green and blue of its primaries, and its curves that are not, about, sRGB's.
_D65 = (0.3127, 0.3290)
_PRIMARIES = {
    1: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),  # sRGB
    5: (*_D65, 0.640, 0.330, 0.290, 0.600, 0.150, 0.060),  # video of Europe
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # video of America
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_GAMMAS = {4: 1 / 2.2, 5: 1 / 2.8, 8: 1.0}
_NOT_SAID, _HIGH_DYNAMIC_RANGE = 2, (16, 18)


def bare(what, data, kept):
    """The bytes of a PNG or JPEG file, `what` says which, with its pixels and what is `kept`, one of KEPT.

    None where that is all there is, or where no header of the pixels is found.
    """
    if what == "PNG":
        found = _bare_png(data, kept)
    else:
        found = _bare_jpeg(data, kept) if what == "JPEG" else None
    return None if found == data else found


def _of_png(data):
    """The chunks of a PNG file: kind, content, whether the checksum is right, and all of its bytes. It may be cut."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at : at + 12 + length]
        yield kind, chunk[8:-4], zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:], chunk
        at += 12 + length


def _bare_png(data, kept):
    beside = {KEPT[0]: (*_COLORS, *_NOTES), KEPT[1]: _NOTES}.get(kept, ())
    parts = [data[:8]]
    for kind, content, is_sound, chunk in _of_png(data):
        says_what_is_read = kind == b"cICP" and len(content) == 4  # or that it is not, which must not be lost
        if kind in _PIXELS or ((kind in beside or says_what_is_read) and is_sound and content):
            parts.append(chunk)
        if kind == b"IEND":
            return b"".join(parts)
    return None


def _bare_jpeg(data, kept):
    at = data.find(b"\xff\xd8\xff") + 2
    parts = [b"\xff\xd8"]
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        if kind == 0xFF:  # any number of these may stand before a part
            at += 1
            continue
        if kind == 0xDA:  # from here on there are pixels
            return b"".join([*parts, data[at:]])
        content = data[at + 4 : at + 2 + length]
        is_kept = (
            not (0xE0 <= kind <= 0xEF or kind == 0xFE)
            or (kind == 0xEE and length >= 14)  # Adobe's, which tells how the colors are stored
            or (kept != KEPT[2] and kind == 0xE1 and content.startswith(b"Exif\0\0"))
            or (kept == KEPT[0] and kind == 0xE2 and content.startswith(b"ICC_PROFILE\0") and length > 16)
        )
        if is_kept:
            parts.append(data[at : at + 2 + length])
        at += 2 + length
    return None


def colors_of_png(data, remarks):
    """What the cICP chunk of a PNG file says, as Pillow says it of other chunks: gamma and chromaticity; None for none.

    `remarks`, a list of texts, takes what cannot be used. Raises ValueError for high dynamic range, which is not read.
    """
    for kind, content, is_sound, _ in _of_png(data):
        if kind == b"IDAT":
            break
        if kind == b"cICP" and is_sound and len(content) == 4:
            primaries, curve, _, is_full = content
            if curve in _HIGH_DYNAMIC_RANGE:
                raise ValueError(f"colors of high dynamic range (cICP {primaries}, {curve}); save it as sRGB")
            if not is_full:
                remarks.append("said to be of the narrow range of video, and taken as of the full one")
            if primaries in _PRIMARIES:
                gamma = {"gamma": _GAMMAS[curve]} if curve in _GAMMAS else {}
                return gamma | {"chromaticity": _PRIMARIES[primaries]}
            if primaries != _NOT_SAID:
                remarks.append(f"without its color space, of a rare kind (cICP {primaries})")
        elif kind == b"cICP":
            remarks.append("without its color space, which is damaged")
    return None
