"""The gate: each kind of awkward file is made here, and shows the same picture as the plain one or is refused."""

import errno
import io
import os
import struct
import subprocess
import sys
import threading
import zlib

import cv2
import numpy as np
import pytest
import skimage.io
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageCms

from colorlib import console
from colorlib.data import disk, files


@pytest.fixture(scope="module")
def picture():
    """A smooth colorful picture without symmetry, uint8 (48, 64, 3)."""
    y, x = np.mgrid[0:48, 0:64] / 64
    waves = np.stack([np.sin(3 * x + y), np.cos(2 * y - x), np.sin(4 * y * x + 1)], axis=-1)
    return np.rint(127.5 + 100 * waves).astype(np.uint8)


@pytest.fixture(scope="module")
def luma(picture):
    return np.asarray(Image.fromarray(picture).convert("L"))


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def swapped_profile():
    """An sRGB profile whose red and green have changed places, as have those of a picture that shows under it."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"####").replace(b"gXYZ", b"rXYZ").replace(b"####", b"gXYZ")


def png_of(chunks):
    """A PNG file of (kind, data) chunks."""
    crcs = [struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    parts = [struct.pack(">I", len(data)) + kind + data for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(part + crc for part, crc in zip(parts, crcs, strict=True))


def png16(values):
    """A PNG of 16 bits per channel, which Pillow cannot write in color: uint16 (H, W) or (H, W, 3)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    height, width, kind = *values.shape[:2], 0 if values.ndim == 2 else 2
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return png_of([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def grey(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=-1)


# Files that show the picture


@pytest.mark.parametrize(
    ("kind", "options", "off"),
    [
        *[(kind, {}, 0) for kind in ("PNG", "BMP", "TIFF", "PPM")],
        *[(kind, {"quality": 95}, 2.5) for kind in ("JPEG", "WEBP", "AVIF")],
        ("JPEG", {"quality": 95, "progressive": True}, 2.5),
    ],
)
def test_every_format_shows_the_picture(picture, kind, options, off):
    loaded = files.load(encoded(picture, kind, **options))
    assert loaded.dtype == np.uint8
    assert np.abs(loaded.astype(int) - picture).mean() <= off


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_obeyed(picture, kind):
    stored = {3: picture[::-1, ::-1], 5: picture.transpose(1, 0, 2), 6: np.rot90(picture)}  # as a camera stores it
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert_array_equal(files.load(encoded(np.ascontiguousarray(pixels), kind, exif=exif)), picture)


def test_the_color_profile_is_converted(picture):
    loaded = files.load(encoded(picture[..., [1, 0, 2]], icc_profile=swapped_profile()))
    assert_allclose(loaded.astype(int), picture, atol=1)


def test_grey_and_1_bit_become_three_equal_channels(luma):
    assert_array_equal(files.load(encoded(luma > 128)), grey(np.where(luma > 128, 255, 0)))
    assert_array_equal(files.load(encoded(luma)), grey(luma))


def test_alpha_under_a_color_profile_is_laid_over_white(picture):
    layered = np.dstack([picture[..., [1, 0, 2]], np.full(picture.shape[:2], 128, np.uint8)])
    loaded = files.load(encoded(layered, icc_profile=swapped_profile()))
    assert_allclose(loaded, picture * (128 / 255) + 255 * (127 / 255), atol=3)


@pytest.mark.parametrize(
    "data",
    [b"no profile at all", swapped_profile()[:200], swapped_profile().replace(b"RGB ", b"CMYK")],
    ids=["text", "cut", "for CMYK"],
)
def test_a_profile_that_cannot_be_applied_is_set_aside(picture, data):
    photograph = files.open_photograph(encoded(picture, icc_profile=data), "holiday.png")
    assert_array_equal(photograph.pixels, picture)
    assert len(photograph.remarks) == 1 and photograph.remarks[0].startswith("without its color profile, which ")


def test_16_bits_are_scaled_not_clipped(picture, luma):
    assert_array_equal(files.load(png16(picture.astype(np.uint16) * 257)), picture)
    assert_array_equal(files.load(png16(luma.astype(np.uint16) * 257)), grey(luma))
    assert_array_equal(files.load(png16(np.array([[0, 128, 129, 65535]]))), grey([[0, 0, 1, 255]]))
    assert_array_equal(files.load(encoded(luma.astype(np.uint16) * 257, "TIFF")), grey(luma))
    assert_array_equal(files.load(encoded(luma.astype(np.int32) * 257, "TIFF")), grey(luma))


@pytest.mark.parametrize("white", [1, 255])
def test_float_grey_is_read_from_either_scale_and_a_little_overshoot_clipped(luma, white):
    values = luma.astype(np.float32) / 255 * white
    assert_array_equal(files.load(encoded(values, "TIFF")), grey(luma))
    values = np.array([[-0.02, 0.0, 0.5, 1.0, 1.03]], np.float32)
    assert_array_equal(files.load(encoded(values, "TIFF")), grey([[0, 0, 128, 255, 255]]))


@pytest.mark.parametrize("values", [[0.0, 4000.0], [-90.0, 50.0], [0.0, np.nan], [0.0, np.inf], [0, 10_000_000]])
def test_values_without_a_known_scale_are_refused(values):
    kind = np.int32 if type(values[1]) is int else np.float32
    with pytest.raises(files.ImageError, match="no known scale"):
        files.load(encoded(np.array([values], kind), "TIFF"))


def test_alpha_is_laid_over_white(picture, luma):
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    share = alpha[..., None] / 255
    loaded = files.load(encoded(np.dstack([picture, alpha])))
    assert_allclose(loaded, picture * share + 255 * (1 - share), atol=1)
    loaded = files.load(encoded(Image.merge("LA", [Image.fromarray(luma), Image.fromarray(alpha)])))
    assert_allclose(loaded, grey(luma) * share + 255 * (1 - share), atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(kind):
    # Fields of 16 pixels: white, cyan, magenta over yellow, half black.
    inks = np.zeros((16, 64, 4), np.uint8)
    inks[:, 16:32, 0] = inks[:, 32:48, 1] = inks[:, 32:48, 2] = 255
    inks[:, 48:, 3] = 128
    loaded = files.load(encoded(Image.fromarray(inks, "CMYK"), kind))
    centers = [[255, 255, 255], [0, 255, 255], [255, 0, 0], [127, 127, 127]]
    assert_allclose(loaded[8, 8::16], centers, atol=8)


# Files that are refused


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("dear diary")
    (tmp_path / "program.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    for name, reason in [
        ("empty.jpg", "is empty"),
        ("text.jpg", "not a picture"),
        ("program.jpg", "no picture, but a document"),  # Pillow would run it
        ("gone.jpg", "no such file"),
        (".", "directory"),
    ]:
        with pytest.raises(files.ImageError, match=reason) as caught:
            files.load(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {caught.value.reason}"


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_cut_file_is_never_half_grey(picture, kind, share):
    data = encoded(np.tile(picture, (4, 4, 1)), kind)
    with pytest.raises(files.ImageError, match=r"^cut: ."):
        files.load(data[: int(len(data) * share)], name="cut")


def test_damaged_bytes_load_or_are_refused_but_raise_nothing_else(picture):
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"):
        whole = np.frombuffer(encoded(picture, kind), np.uint8)
        for _ in range(60):
            data = whole.copy()
            data[rng.integers(0, len(data), 5)] = rng.integers(0, 256, 5)
            try:
                assert files.load(data.tobytes()).ndim == 3
            except files.ImageError as error:
                assert error.reason


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [13_000, 20_000])  # Pillow itself stops only the second
def test_a_decompression_bomb_is_refused_with_its_size(side):
    rows = zlib.compress(bytes((side // 8 + 1) * 8), 9)  # the header alone decides
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = png_of([(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")])
    with pytest.raises(files.ImageError, match="^bomb: .*(169,000,000|400000000) pixels"):
        files.load(data, name="bomb")


def webp_that_lies(width, height):
    """One grey pixel as a lossless WebP, whose header is then given another size."""
    data = bytearray(encoded(np.full((1, 1, 3), 90, np.uint8), "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9  # behind a length and a signature: 14 bits each for width and height, less 1
    bits = int.from_bytes(data[at : at + 4], "little") >> 28 << 28
    data[at : at + 4] = (bits | (height - 1) << 14 | (width - 1)).to_bytes(4, "little")
    return bytes(data)


def gif_that_lies(width, height):
    data = bytearray(encoded(np.zeros((1, 1), np.uint8), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def png_that_lies(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png_of([(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")])


@pytest.mark.parametrize("make", [webp_that_lies, gif_that_lies, png_that_lies])
@pytest.mark.parametrize(("width", "height"), [(12_000, 12_000), (3000, 2000)])
def test_many_pixels_in_a_few_bytes_are_refused_before_they_are_decoded(make, width, height, monkeypatch):
    monkeypatch.setattr(files, "_decode", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(files.ImageError, match=f"^bomb: {width * height:,} pixels in .* are no photograph"):
        files.open_photograph(make(width, height), "bomb")


@pytest.mark.parametrize(("dtype", "bytes_of_a_pixel"), [(np.uint8, 16), (np.uint16, 30)])
def test_a_large_picture_asks_for_memory_before_it_is_decoded(dtype, bytes_of_a_pixel, monkeypatch):
    data = encoded(np.zeros((3300, 3300), dtype), "PNG")
    asked = []
    monkeypatch.setattr(disk, "check_memory", lambda size, what, remedy: asked.append((size, what)))
    files.open_photograph(data, "large")
    assert asked == [(bytes_of_a_pixel * 3300 * 3300, "large: 10,890,000 pixels")]


# Photographs: pixels with what belongs to them


def notes():
    """EXIF data with what belongs to the photograph, and with what belongs to its file only."""
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010E: "Großmutter".encode(), 0x0132: "1932:05:01 12:00:00", 0x0100: 7, 0x0111: 99})
    exif[0x8769] = {0x9003: "1932:05:01 11:00:00", 0xA001: 65535, 0xA002: 7}
    exif[0x8825] = {1: "N", 2: (47.0, 22.0, 0.0)}
    return exif


def opened(content):
    return files.open_photograph(content, "picture")


def gray_gamma(gamma):
    """An ICC profile for grey pixels: L = v ** gamma."""
    curve = struct.pack(">4sIIH2x", b"curv", 0, 1, round(gamma * 256))
    white = struct.pack(">4sIiii", b"XYZ ", 0, 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"kTRC", 156 + len(white), len(curve))
    size = 128 + len(tags) + len(white) + len(curve)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + tags + white + curve


@pytest.fixture(scope="module")
def deep(picture):
    """The picture in 16 bits, the lower eight of which are not the upper ones."""
    return picture * np.uint16(256) + np.random.default_rng(0).integers(0, 256, picture.shape, dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_each_format_keeps_what_it_can(picture, deep, suffix, bits, with_alpha):
    pixels = picture if bits == 8 else deep
    alpha = np.tile(np.linspace(1, 2**bits - 1, 64).astype(pixels.dtype), (48, 1)) if with_alpha else None
    source = opened(encoded(picture, "JPEG", exif=notes(), dpi=(300, 600)))
    kept = opened(files.encode(files.Photograph(pixels, alpha, source.exif, (600, 300)), suffix))
    exact, layered = suffix in (".png", ".tif"), suffix != ".jpg" and with_alpha
    assert kept.pixels.dtype == (pixels.dtype if exact else np.uint8) and not kept.remarks
    if exact:
        assert_array_equal(kept.pixels, pixels)
    elif not with_alpha:
        assert np.abs(kept.pixels.astype(int) - picture).mean() < 2.5
    if not layered:
        assert kept.alpha is None
    else:
        assert_array_equal(kept.alpha, alpha if exact or bits == 8 else alpha >> 8)
    assert kept.exif and kept.dpi == pytest.approx((600, 300), abs=0.1) or suffix == ".webp"


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_and_png_are_what_other_readers_read(picture, deep, bits, tmp_path):
    pixels = picture if bits == 8 else deep
    layered = np.dstack([pixels, pixels[..., 0]])
    for array, photograph in ((pixels, files.Photograph(pixels)), (layered, files.Photograph(pixels, pixels[..., 0]))):
        path = disk.write(tmp_path / "a.tiff", files.encode(photograph, ".tiff"))
        assert_array_equal(skimage.io.imread(path), array)
        with Image.open(path) as image:
            assert image.tag_v2.get(338) == (None if array is pixels else (2,))  # the fourth channel is transparency
        png = np.frombuffer(files.encode(photograph, ".png"), np.uint8)
        assert_array_equal(cv2.imdecode(png, cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3][: array.shape[2]]], array)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_notes_are_kept_if_they_are_of_the_photograph(picture, deep, suffix, bits):
    source = opened(encoded(picture, "JPEG", exif=notes(), dpi=(300, 600)))
    assert source.pixels.shape == (64, 48, 3) and source.dpi == (600, 300)  # it was lying
    source.pixels = picture if bits == 8 else deep
    with Image.open(io.BytesIO(files.encode(source, suffix))) as image:
        exif = image.getexif()
        assert exif[0x010E].encode("latin-1").decode() == "Großmutter" and exif[0x0132] == "1932:05:01 12:00:00"
        assert exif.get(0x0112, 1) == 1 and exif.get(0x0100, 64) == 64 and (exif[0x011A], exif[0x011B]) == (600, 300)
        assert exif.get_ifd(0x8769) == {0x9003: "1932:05:01 11:00:00"}
        assert exif.get_ifd(0x8825) == {1: "N", 2: (47.0, 22.0, 0.0)}
        assert "icc_profile" not in image.info
        assert suffix == ".webp" or np.allclose(image.info["dpi"], (600, 300), atol=0.1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_lying_picture_is_read_upright_with_its_resolution(picture, kind):
    exif, quality = Image.Exif(), {} if kind in ("PNG", "TIFF") else {"quality": 95}
    exif[0x0112] = 6
    photograph = opened(encoded(np.ascontiguousarray(np.rot90(picture)), kind, exif=exif, dpi=(300, 600), **quality))
    assert np.abs(photograph.pixels.astype(int) - picture).mean() < 2.5
    assert kind == "WEBP" or photograph.dpi == pytest.approx((600, 300), abs=0.1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_resolution_alone_is_kept_and_none_invented(picture, deep, suffix, bits):
    pixels = picture if bits == 8 else deep
    assert opened(files.encode(files.Photograph(pixels, dpi=(600, 300)), suffix)).dpi == pytest.approx(
        (600, 300), abs=0.1
    )
    assert opened(files.encode(files.Photograph(pixels), suffix)).dpi is None


def test_16_bits_are_read_upright_or_said_to_be_lost(picture, deep):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = files.Photograph(np.ascontiguousarray(np.rot90(deep)), exif=exif)
    photograph = opened(files.encode(lying, ".tif"))
    assert_array_equal(photograph.pixels, deep)
    photograph = opened(files.encode(lying, ".png"))
    assert_array_equal(photograph.pixels, deep >> 8)
    assert "lower 8 of 16 bits" in photograph.remarks[0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_kept_under_its_profile_too(kind):
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(32, 128)
    assert_array_equal(opened(encoded(ramp, kind)).pixels, grey(ramp))
    linear = opened(encoded(ramp, kind, icc_profile=gray_gamma(1.0)))
    share = ramp / 65535
    srgb = 65535 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    lit = ramp > 65535 * 0.06  # straight lines over 5 of 255 levels; in the darkest shadows the curve bends
    assert np.abs(linear.pixels[..., 0] - srgb)[lit].max() < 1.5 * 257
    steps = np.diff(linear.pixels[..., 0].ravel().astype(int))
    assert steps.min() >= 0 and (steps > 0).mean() > 0.99 and steps[600:].max() < 64  # no bands of 8 bits, 257 wide
    close = opened(encoded(ramp, kind, icc_profile=gray_gamma(2.2)))
    assert_allclose(close.pixels >> 8, files.load(encoded(ramp, kind, icc_profile=gray_gamma(2.2))), atol=2)


def test_float_grey_has_16_bits(luma):
    values = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    photograph = opened(encoded(values, "TIFF"))
    assert_allclose(photograph.pixels, grey(values) * 65535.0, atol=0.51)


def with_profile(png, profile):
    chunk = b"iCCP" + b"p\0\0" + zlib.compress(profile)
    return png[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def test_color_of_16_bits_is_kept_in_srgb_alone(picture, deep):
    png = files.encode(files.Photograph(deep), ".png")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert_array_equal(opened(with_profile(png, srgb)).pixels, deep)
    swapped = opened(with_profile(png, swapped_profile()))
    assert_allclose(swapped.pixels.astype(int), picture[..., [1, 0, 2]], atol=1)
    assert swapped.pixels.dtype == np.uint8 and "lower 8 of 16 bits" in swapped.remarks[0]


def test_what_is_wholly_transparent_is_white(picture, deep):
    for pixels in (picture, deep):
        alpha = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max)
        alpha[:20] = 0
        photograph = opened(files.encode(files.Photograph(pixels, alpha.astype(pixels.dtype)), ".png"))
        assert (photograph.pixels[:20] == np.iinfo(pixels.dtype).max).all()
        assert_array_equal(photograph.pixels[20:], pixels[20:])


def test_transparency_goes_over_white_where_the_format_lacks_it(picture):
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    photograph = opened(encoded(np.dstack([picture, alpha])))
    assert_array_equal(files.load(files.encode(photograph, ".bmp")), files.load(encoded(np.dstack([picture, alpha]))))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_notes_do_not_keep_a_picture_from_being_read(picture):
    content = encoded(picture, exif=notes())
    start = content.index(b"eXIf")
    size = struct.unpack(">I", content[start - 4 : start])[0]
    body = b"eXIf" + b"MM\0*\0\0\0\x08\xff\xff" + bytes(size - 10)
    damaged = content[:start] + body + struct.pack(">I", zlib.crc32(body)) + content[start + 8 + size :]
    assert_array_equal(opened(damaged).pixels, picture)


def test_notes_that_cannot_be_written_are_said_to_be_lost(picture, monkeypatch):
    def fails(*_):
        raise struct.error("argument out of range")

    monkeypatch.setattr(files, "_notes", fails)
    photograph = opened(encoded(picture, exif=notes()))
    assert photograph.remarks == ["without its EXIF data, which are damaged"] and not photograph.exif


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_photographs_are_read_or_refused_without_a_word_of_opencv(picture, deep, capfd):
    rng = np.random.default_rng(0)
    photograph = files.Photograph(deep, exif=opened(encoded(picture, exif=notes())).exif)
    for suffix in (".png", ".tif"):
        whole = np.frombuffer(files.encode(photograph, suffix), np.uint8)
        for number in range(80):
            data = whole.copy()
            data[rng.integers(0, len(data) if number % 2 else 400, 5)] = rng.integers(0, 256, 5)
            try:
                assert opened(data.tobytes()).pixels.ndim == 3
            except files.ImageError as error:
                assert error.reason
    assert "cv" not in capfd.readouterr().err


def test_pixels_are_counted_by_the_header(picture):
    content = encoded(picture)
    assert files.count_pixels(content[:60], "cut") == 48 * 64
    with pytest.raises(files.ImageError, match="^text: not a picture"):
        files.count_pixels(b"dear diary", "text")


def test_a_format_that_does_not_hold_so_many_pixels_is_named():
    with pytest.raises(files.ImageError, match=r"^wide\.webp: cannot be written as WEBP"):
        files.encode(np.zeros((2, 20_000, 3), np.uint8), ".webp", "wide.webp")
    with pytest.raises(files.ImageError, match=r"^wide\.jpg: cannot be written as JPEG"):
        files.encode(np.zeros((1, 70_000, 3), np.uint8), ".jpg", "wide.jpg")


# Writing and resizing


@pytest.mark.parametrize("name", ["a.png", "été 写真.bmp", "A.TIF"])
def test_saved_pictures_are_read_back(picture, luma, tmp_path, name):
    files.save(picture, tmp_path / name)
    assert_array_equal(files.load(tmp_path / name), picture)
    files.save(luma, tmp_path / name)
    assert_array_equal(files.load(str(tmp_path / name)), grey(luma))


def test_jpeg_is_saved_without_subsampling(picture, tmp_path):
    files.save(picture, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert max(max(table) for table in image.quantization.values()) <= 12  # quality 95
    assert np.abs(files.load(tmp_path / "a.jpg").astype(int) - picture).mean() < 1.5


def test_save_refuses_what_it_cannot_write(picture, tmp_path):
    with pytest.raises(files.ImageError, match=r"a\.xyz: cannot write a picture as \.xyz"):
        files.save(picture, tmp_path / "a.xyz")
    with pytest.raises(files.ImageError, match=r"a\.png: a picture is uint8 .* not float64"):
        files.save(picture / 255, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("step", "error"), [("fsync", OSError), ("replace", OSError), ("replace", KeyboardInterrupt)])
def test_a_full_disk_and_an_interrupt_leave_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "deep" / "down" / "a.txt"
    assert disk.write(str(path), "gr\u00fcn\n") == path
    assert path.read_bytes() == "gr\u00fcn\n".encode()

    def fail(*_):
        raise error(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(error, match="No space left on device") as caught:
        disk.write(path, b"new")
    assert error is KeyboardInterrupt or caught.value.filename == str(path)
    assert [child.name for child in path.parent.iterdir()] == ["a.txt"]
    assert path.read_bytes() == "gr\u00fcn\n".encode()


def test_what_cannot_be_written_says_why(tmp_path):
    disk.write_json({"a": 1}, tmp_path / "a.json")
    with pytest.raises(NotADirectoryError, match=r"a\.json/b\.txt"):
        disk.write(tmp_path / "a.json" / "b.txt", "below a file")
    with pytest.raises(ValueError, match=r"b\.json: .*not JSON compliant"):
        disk.write_json({"a": np.nan}, tmp_path / "b.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_fit_averages_areas_of_the_center_and_enlarges_without_blocks():
    square = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    picture = np.zeros((8, 21, 3), np.uint8)
    picture[:, 6:14] = square
    expected = square.reshape(2, 4, 2, 4, 3).mean(axis=(1, 3))
    assert_allclose(files.fit(picture, 2), expected, atol=0.5)
    assert_allclose(files.fit(picture.transpose(1, 0, 2), 2), expected.transpose(1, 0, 2), atol=0.5)
    assert_array_equal(files.fit(picture, 8), square)
    thirds = np.array([[0, 90, 30]], np.uint8).repeat(3, axis=0)[..., None].repeat(3, axis=-1)
    assert_array_equal(files.fit(thirds, 2), grey([[30, 50]] * 2))  # a source pixel counts by its share


def test_shrink_reduces_the_short_side_and_never_enlarges(picture):
    assert files.shrink(picture, 24).shape == (24, 32, 3)
    assert_allclose(files.shrink(picture, 24), picture.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3)), atol=0.5)
    assert_array_equal(files.shrink(picture, 256), picture)
    assert files.shrink(np.zeros((1000, 2, 3), np.uint8), 1).shape == (500, 1, 3)


def test_a_locked_folder_has_one_process_at_a_time_and_outlives_a_killed_one(tmp_path, capfd):
    folder = tmp_path / "new" / "folder"
    holding = (
        "import sys, time; from colorlib.data import disk\nwith disk.locked(sys.argv[1]): print(1); time.sleep(60)"
    )
    command = [sys.executable, "-u", "-c", holding, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"1\n"
        entered = threading.Event()

        def enter():
            with disk.locked(folder):
                entered.set()

        second = threading.Thread(target=enter)
        second.start()
        assert not entered.wait(0.5)
        assert f"{folder}: another process works in this folder; waiting" in capfd.readouterr().err
        first.kill()
        assert entered.wait(20)
        second.join()


def test_only_parts_of_the_names_given_are_removed(tmp_path):
    left = [".a.jpg.12-34.part", "b/.a.jpg.1-2.part", "b/.c.csv.7-8.part"]
    others = [
        ".mine.jpg.12-34.part",
        ".a.jpg.part",
        "a.jpg.12-34.part",
        ".a.jpg.x-34.part",
        "c/.a.jpg.1-2.part",
        "a.jpg",
    ]
    for name in left + others:
        disk.write(tmp_path / name, b"x")
    disk.remove_parts(tmp_path, {"a.jpg", "b/a.jpg", "b/c.csv"})
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        others
    )


@pytest.mark.parametrize("folder", ["", "not/there/yet"])
def test_what_does_not_fit_a_disk_or_the_memory_is_refused_before_it_begins(tmp_path, folder):
    disk.check_disk(tmp_path / folder, 1000, "pictures")
    disk.check_memory(1000, "pictures", "take fewer")
    with pytest.raises(OSError, match=r"features take 1000000.0 GB, and .* GB are free"):
        disk.check_disk(tmp_path / folder, 10**15, "features")
    with pytest.raises(MemoryError, match=r"pictures take 1000000.0 GB of memory, and .* GB are free: take fewer"):
        disk.check_memory(10**15, "pictures", "take fewer")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\t c", "a b c"),
        ("\x1b[2Jgone", "�[2Jgone"),
        ("caf\udce9.jpg", "caf�.jpg"),
        ("\u202egpj", "�gpj"),
        ("é", "é"),
    ],
)
def test_a_name_cannot_steer_a_terminal(text, shown):
    assert console.in_one_line(text) == shown


def test_bars_are_for_people_and_not_for_logs(capsys, monkeypatch):
    assert list(console.progress(range(3), delay=0)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    list(console.progress(range(3), delay=0))
    assert "3/3" in capsys.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "1")
    list(console.progress(range(3), delay=0))
    assert capsys.readouterr().err == ""
