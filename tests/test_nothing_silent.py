"""Every picture is accounted for, and every message points the right way: a test for each kind of fault."""

import errno
import io
import json
import os
import tarfile
import unicodedata
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageCms, PngImagePlugin
from skimage import data

from colorlib import __main__ as cli
from colorlib import colorize
from colorlib.data import disk, files, listing, sets

PHOTO = files.shrink(data.coffee(), 96)
GREY = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(colorize, "load", lambda *_: None)
    monkeypatch.setattr(colorize, "set_dials", lambda *_, **__: None)
    monkeypatch.setattr(colorize, "colorize", lambda _, picture: picture)


def run(capsys, *arguments):
    """The exit status of the command line, and what it said."""
    status = cli.main([str(argument) for argument in arguments])
    return status, "".join(capsys.readouterr())


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **options)
    return file.getvalue()


def pages(kind, count=3):
    file = io.BytesIO()
    more = [Image.fromarray(np.roll(GREY, 9 * number, axis=1)) for number in range(1, count)]
    Image.fromarray(GREY).save(
        file, kind, save_all=True, append_images=more, **({"lossless": True} if kind == "WEBP" else {})
    )
    return file.getvalue()


# 1. What is left out is told

NOT_READ = {
    "a.jxl": (b"\xff\x0a rest", "JPEG XL"),
    "a.CR2": (b"II*\0 rest", "RAW"),
    "a.nef": (b"MM\0* rest", "RAW"),
    "a.psd": (b"8BPS rest", "Photoshop"),
    "a.pdf": (b"%PDF rest", "document"),
    "a.mp4": (b"\0\0\0\x18ftypisom rest", "film"),
    "a.zip": (b"PK\x03\x04 rest", "archive"),
    "a.svg": (b"<svg></svg>", "drawing"),
    "photograph": (encoded(GREY), "PNG without its suffix"),
    "IMG.jpg_original": (encoded(GREY, "JPEG"), "JPEG without its suffix"),
}


@pytest.mark.parametrize("command", ["colorize", "data", "evaluate"])
@pytest.mark.parametrize("name", NOT_READ)
def test_a_file_that_is_not_read_is_told(capsys, command, name):
    content, kind = NOT_READ[name]
    files.save(GREY, "album/sound.png")
    disk.write(f"album/{name}", content)
    disk.write("album/notes.txt", "no picture, and none is missed")
    disk.write("album/.hidden.cr2", content)
    more = {"colorize": ["--out", "out"], "evaluate": ["album"], "data": ["--grey"]}.get(command, [])
    status, said = run(capsys, command, "album", *more)
    assert status == 1 and f"x {kind}" in said and name in said and "notes" not in said and "hidden" not in said
    if command == "data":
        (made,) = Path("data/processed").glob("album-*")
        assert [source for source, _ in sets.rejects(made)] == [name]


@pytest.mark.parametrize("name", ["a.jfif", "b.JFIF", "c.jif", "d.pjpeg", "e.mpo", "f.dib", "g.pnm", "h.apng"])
def test_pictures_of_rarer_suffixes_are_read(capsys, name):
    kind = {"f.dib": "BMP", "g.pnm": "PPM", "h.apng": "PNG"}.get(name, "JPEG")
    disk.write(f"album/{name}", encoded(GREY, kind))
    assert run(capsys, "colorize", "album", "--out", "out")[0] == 0
    assert [path.stem for path in Path("out").iterdir()] == [name[0]]


def test_heic_is_read(capsys):
    pytest.importorskip("pi_heif")
    content = (Path(__file__).parent / "data" / "coffee.heic").read_bytes()
    assert (
        np.abs(
            files.load(content).astype(int) - cv2.resize(data.coffee(), (144, 96), interpolation=cv2.INTER_AREA)
        ).mean()
        < 6
    )
    disk.write("album/IMG_0001.HEIC", content)
    status, said = run(capsys, "colorize", "album", "--out", "out", "--recolor")
    assert status == 0 and [path.name for path in Path("out").iterdir()] == ["IMG_0001.jpg"]
    assert b"2020:01:02 03:04:05" in Path("out/IMG_0001.jpg").read_bytes()


def test_without_its_reader_heic_is_named_with_the_extra(capsys, monkeypatch):
    monkeypatch.setattr(listing, "reads_heic", lambda: False)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for name in ("a.heic", "b.HEIF", "c.hif"):
        disk.write(f"album/{name}", heic)
    files.save(GREY, "album/sound.png")
    status, said = run(capsys, "colorize", "album", "--out", "out")
    assert status == 1 and "3 x HEIC" in said and "colorlib[heic]" in said
    with pytest.raises(files.ImageError, match=r"colorlib\[heic\]"):
        files.load(heic, "named-otherwise.jpg")


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_every_page_and_frame_is_colored_or_told(capsys, kind):
    name = f"scan.{kind.lower()}"
    disk.write(name, pages(kind))
    status, said = run(capsys, "colorize", name, "--out", "out")
    assert status == 1 and f"{name} pages 2 to 3" in said and "--all-pages" in said
    assert run(capsys, "colorize", name, "--out", "all", "--all-pages")[0] == 0
    made = sorted(Path("all").iterdir())
    assert [path.stem for path in made] == [f"scan-page-{number}" for number in (1, 2, 3)]
    for number, path in enumerate(made):
        assert_allclose(files.load(path)[..., 0], np.roll(GREY, 9 * number, axis=1), atol=12)
    status, said = run(capsys, "data", Path(name).absolute().parent, "--grey")
    assert status == 1 and "pages 2 to 3" in said


def test_previews_are_no_pages(capsys):
    with tifffile.TiffWriter("scan.tif") as file:
        file.write(GREY[::8, ::8], subfiletype=1)
        file.write(GREY)
        file.write(GREY[::4, ::4], subfiletype=1)
    assert run(capsys, "colorize", "scan.tif", "--out", "out")[0] == 0
    assert files.load("out/scan.png").shape[:2] == GREY.shape


@pytest.mark.parametrize("command", ["colorize", "data"])
def test_linked_folders_are_read_once(capsys, command):
    for number in range(3):
        files.save(np.roll(GREY, 5 * number, axis=0), f"disk/1932/{number}.png")
    files.save(np.roll(GREY, 40, axis=0), "album/own.png")
    Path("album/1932").symlink_to("../disk/1932")
    Path("album/round").symlink_to("..")
    Path("album/gone.png").symlink_to("nowhere.png")
    status, said = run(capsys, command, "album", *(["--out", "out"] if command == "colorize" else ["--grey"]))
    assert status == 1 and "a link to nothing (gone.png)" in said
    assert said.startswith("4 pictures") if command == "data" else len(list(Path("out").rglob("*.png"))) == 4


def test_a_folder_that_may_not_be_read_is_told(capsys, monkeypatch):
    files.save(GREY, "album/closed/a.png")
    files.save(GREY, "album/b.png")
    scandir = os.scandir

    def closed(place):  # root may read everything, so the folder only seems closed
        if Path(place).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(listing.os, "scandir", closed)
    status, said = run(capsys, "colorize", "album", "--out", "out")
    assert status == 1 and "permission denied (closed)" in said
    status, said = run(capsys, "colorize", "album/closed", "--out", "out")
    assert status == 2 and "permission denied" in said


def tar_with_links(path):
    with tarfile.open(path, "w") as archive:
        for number in range(2):
            content = encoded(np.roll(GREY, 9 * number, axis=0))
            member = tarfile.TarInfo(f"set/{number}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, kind, target in (
            ("set/hard.png", tarfile.LNKTYPE, "set/0.png"),
            ("set/soft.png", tarfile.SYMTYPE, "1.png"),
            ("set/lost.png", tarfile.SYMTYPE, "nowhere.png"),
            ("set/film.mp4", tarfile.REGTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member, io.BytesIO())


def zip_with_links(path):
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(2):
            archive.writestr(f"set/{number}.png", encoded(np.roll(GREY, 9 * number, axis=0)))
        for name, target in (("hard", "0.png"), ("soft", "1.png"), ("lost", "nowhere.png")):
            member = zipfile.ZipInfo(f"set/{name}.png")
            member.external_attr = 0o120777 << 16
            archive.writestr(member, target)
        archive.writestr("set/film.mp4", b"")


@pytest.mark.parametrize("make", [tar_with_links, zip_with_links])
def test_links_in_an_archive_are_read(capsys, make):
    name = "links.tar" if make is tar_with_links else "links.zip"
    make(name)
    status, said = run(capsys, "data", name, "--grey")
    assert status == 1 and said.startswith("4 pictures")
    assert "a link to nothing in the archive (set/lost.png)" in said and "film in an archive" in said


def test_a_zip_of_windows_is_read(capsys):
    with zipfile.ZipFile("windows.zip", "w") as archive:
        for name in ("set\\0.png", "set\\sub\\1.png", "__MACOSX\\set\\._0.png", "set\\.hidden\\2.png"):
            archive.writestr(name, encoded(np.roll(GREY, len(name), axis=0)))
    assert run(capsys, "data", "windows.zip", "--grey")[1].startswith("2 pictures")
    (made,) = Path("data/processed").glob("windows-*")
    assert "set/sub/1.png" in (made / "manifest.csv").read_text()


def test_many_reasons_stay_one_line():
    left_out = [(f"{number}.x", f"reason {number}") for number in range(20)]
    assert listing.in_short(left_out).endswith("13 x for other reasons (7.x, 8.x, 9.x and 10 more)")


# 2. What is stored in another way looks as when it is stored plainly


def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def png_of_gamma(picture, gamma):
    notes = PngImagePlugin.PngInfo()
    notes.add(b"gAMA", round(gamma * 100_000).to_bytes(4, "big"))
    return encoded(picture, pnginfo=notes)


P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
TO_P3 = np.linalg.inv([[1.2249, -0.0420, -0.0196], [-0.2247, 1.0420, -0.0786], [0, 0, 1.0983]])  # as published


def png_of_p3(how):
    """PHOTO with the values of Display P3, in a PNG that says so in one of two ways."""
    light = (LINEAR @ TO_P3).clip(0, 1)
    p3 = np.uint8(np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)))
    notes = PngImagePlugin.PngInfo()
    if how == "cICP":
        notes.add(b"cICP", bytes([12, 13, 0, 1]))
        notes.add(b"gAMA", (100_000).to_bytes(4, "big"))  # which then does not count
    else:
        notes.add(b"cHRM", b"".join(round(each * 100_000).to_bytes(4, "big") for each in P3))
    return encoded(p3, pnginfo=notes)


def turned_png(values):
    """A PNG of 16 bits on its side, which says so."""
    png = cv2.imencode(".png", np.ascontiguousarray(values[:, ::-1].swapaxes(0, 1)))[1].tobytes()
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    file.write(png[:33])
    PngImagePlugin.putchunk(file, b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    file.write(png[33:])
    return file.getvalue()


def packed_12_bits(grey):
    """A plain TIFF of 12 bits a sample."""
    deep = np.round(np.uint32(grey) * (4095 / 255)).astype(np.uint32).reshape(-1, 2)
    one, other = deep[:, 0], deep[:, 1]
    strip = np.stack([one >> 4, (one & 15) << 4 | other >> 8, other & 255], -1).astype(np.uint8).tobytes()
    plain = bytearray(tiff(np.zeros(grey.shape, np.uint16), rowsperstrip=grey.shape[0]))
    with tifffile.TiffFile(io.BytesIO(plain)) as file:
        tags = file.pages[0].tags
        place = tags["StripOffsets"].value[0]
        plain[tags["BitsPerSample"].valueoffset : tags["BitsPerSample"].valueoffset + 2] = (12).to_bytes(2, "little")
        at = tags["StripByteCounts"].valueoffset
        plain[at : at + 4] = len(strip).to_bytes(4, "little")
    plain[place : place + len(strip)] = strip
    return bytes(plain)


DEEP, DEEP_GREY = PHOTO.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257
LINEAR, LINEAR_GREY = (
    np.where(of <= 0.04045 * 255, of / 255 / 12.92, ((of / 255 + 0.055) / 1.055) ** 2.4) for of in (PHOTO, GREY)
)
ALPHA = np.full(GREY.shape, 65535, np.uint16)
STORED = {
    "16 bits plane by plane": lambda: tiff(np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate"),
    "the same, big-endian": lambda: tiff(
        np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate", byteorder=">"
    ),
    "the same, packed": lambda: tiff(
        np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate", compression="zlib"
    ),
    "color as float": lambda: tiff((PHOTO / 255).astype(np.float32), photometric="rgb"),
    "color as half float": lambda: tiff((PHOTO / 255).astype(np.float16), photometric="rgb"),
    "16 bits with transparency": lambda: tiff(np.dstack([DEEP, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]),
    "transparency that hides all": lambda: cv2.imencode(".bmp", np.dstack([PHOTO[..., ::-1], 0 * GREY]))[1].tobytes(),
    "inks": lambda: encoded(Image.fromarray(PHOTO).convert("CMYK"), "TIFF", compression="tiff_lzw"),
    "14 bits in 16, color": lambda: cv2.imencode(".png", (DEEP >> 2)[..., ::-1])[1].tobytes(),
    "14 bits plane by plane": lambda: tiff(np.moveaxis(DEEP >> 2, -1, 0), photometric="rgb", planarconfig="separate"),
    "12 bits in a PPM": lambda: cv2.imencode(".ppm", (DEEP >> 4)[..., ::-1])[1].tobytes(),
    "12 bits with transparency": lambda: cv2.imencode(".png", np.dstack([(DEEP >> 4)[..., ::-1], ALPHA >> 4]))[
        1
    ].tobytes(),
    "12 bits, turned": lambda: turned_png((DEEP >> 4)[..., ::-1]),
    "planes, turned": lambda: tiff(
        np.moveaxis(DEEP[:, ::-1].swapaxes(0, 1), -1, 0),
        photometric="rgb",
        planarconfig="separate",
        extratags=[(274, 3, 1, 6, True)],
    ),
    "a sample that is no transparency": lambda: tiff(
        np.dstack([DEEP, ALPHA // 3]), photometric="rgb", extrasamples=["unspecified"]
    ),
    "12 bits in 16, color": lambda: cv2.imencode(".png", (DEEP >> 4)[..., ::-1])[1].tobytes(),
    "PNG of gamma 1.8": lambda: png_of_gamma(np.uint8(np.rint(255 * LINEAR ** (1 / 1.8))), 1 / 1.8),
    "PNG of other primaries": lambda: png_of_p3("cHRM"),
    "PNG of a color space by its number": lambda: png_of_p3("cICP"),
}
STORED_GREY = {
    "12 bits": lambda: packed_12_bits(GREY),
    "12 bits in 16": lambda: cv2.imencode(".png", DEEP_GREY >> 4)[1].tobytes(),
    "10 bits in 16": lambda: tiff(DEEP_GREY >> 6),
    "8 bits in 16": lambda: tiff(GREY.astype(np.uint16)),
    "14 bits, as it says": lambda: tiff(DEEP_GREY >> 2, extratags=[(281, 3, 1, 16383, True)]),
    "14 bits in 16": lambda: cv2.imencode(".png", DEEP_GREY >> 2)[1].tobytes(),
    "signed, all of it": lambda: tiff((DEEP_GREY.astype(np.int32) - 32768).astype(np.int16)),
    "float, white is zero": lambda: tiff((1 - GREY / 255).astype(np.float32), photometric="miniswhite"),
    "a largest value that is a statistic": lambda: tiff(DEEP_GREY, extratags=[(281, 3, 1, 60000, True)]),
    "signed": lambda: tiff(GREY.astype(np.int16) * 128),
    "32 bits": lambda: tiff(GREY.astype(np.uint32) * 16843009),
    "16 bits in 32": lambda: tiff(GREY.astype(np.uint32) * 257),
    "float up to 65535": lambda: tiff(GREY.astype(np.float32) * 257),
    "white is zero": lambda: tiff(65535 - DEEP_GREY, photometric="miniswhite"),
    "16 bits with transparency": lambda: tiff(
        np.dstack([DEEP_GREY, ALPHA]), photometric="minisblack", extrasamples=["unassalpha"]
    ),
    "PNG of gamma 1.8": lambda: png_of_gamma(np.uint8(np.rint(255 * LINEAR_GREY ** (1 / 1.8))), 1 / 1.8),
    "16-bit PNG of gamma 1.8": lambda: png_of_gamma(np.uint16(np.rint(65535 * LINEAR_GREY ** (1 / 1.8))), 1 / 1.8),
}


@pytest.mark.parametrize(("kind", "how"), [("color", how) for how in STORED] + [("grey", how) for how in STORED_GREY])
def test_a_picture_stored_in_another_way_looks_the_same(kind, how):
    plain = np.repeat(GREY[..., None], 3, axis=-1) if kind == "grey" else PHOTO
    content = (STORED_GREY if kind == "grey" else STORED)[how]()
    atol = 4 if how == "PNG of gamma 1.8" else 2  # some shades are missing there
    assert np.abs(files.load(content) - plain.astype(int)).mean() < max(atol / 8, 0.6)
    assert_allclose(files.load(content), plain, atol=atol)
    deep = files.open_photograph(content, how).pixels
    assert_allclose(deep / np.iinfo(deep.dtype).max, plain / 255, atol=atol / 255)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_few_bits_is_read(bits):
    image = Image.fromarray(PHOTO).quantize(2**bits)
    assert_array_equal(files.load(encoded(image, bits=bits)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("values", [PHOTO, DEEP, DEEP_GREY[..., None]], ids=["color", "deep color", "deep grey"])
def test_color_multiplied_by_its_transparency_is_divided_by_it(values):
    most = np.iinfo(values.dtype).max
    alpha = np.full((*GREY.shape, 1), most // 2, values.dtype)
    kind = "rgb" if values.shape[2] == 3 else "minisblack"
    content = tiff(np.dstack([values // 2, alpha]), photometric=kind, extrasamples=["assocalpha"])
    photograph = files.open_photograph(content, "half seen")
    assert_allclose(photograph.pixels / np.iinfo(photograph.pixels.dtype).max, values / most + np.zeros(3), atol=0.02)
    assert_allclose(photograph.alpha / np.iinfo(photograph.alpha.dtype).max, 0.5, atol=0.01)


@pytest.mark.parametrize(
    "values", [np.float32([[0, 5]]), np.float32([[0, 900]]), np.float32([[-1, 1]]), np.uint32([[0, 2**30]])]
)
def test_values_of_no_known_scale_are_refused(values):
    with pytest.raises(files.ImageError, match="no known scale"):
        files.load(tiff(np.tile(values, (20, 10)), photometric="minisblack"))


def test_colors_of_high_dynamic_range_are_refused():
    notes = PngImagePlugin.PngInfo()
    notes.add(b"cICP", bytes([9, 16, 0, 1]))
    with pytest.raises(files.ImageError, match="high dynamic range"):
        files.load(encoded(PHOTO, pnginfo=notes))


BT601 = (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
NOT_PRIMARIES = {
    "all in one place": 8 * (0.3,),
    "red, green, blue, then white": (*P3[2:], *P3[:2]),
    "red and green swapped": (*P3[:2], *P3[4:6], *P3[2:4], *P3[6:]),
    "a white among the reds": (0.9, 0.05, *P3[2:]),
}


@pytest.mark.parametrize("which", NOT_PRIMARIES)
def test_primaries_that_cannot_be_are_set_aside(which):
    notes = PngImagePlugin.PngInfo()
    notes.add(b"cHRM", b"".join(round(each * 100_000).to_bytes(4, "big") for each in NOT_PRIMARIES[which]))
    photograph = files.open_photograph(encoded(PHOTO, pnginfo=notes), "a.png")
    assert (photograph.pixels == PHOTO).all()
    assert "without its primaries" in photograph.remarks[0]


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        ((6, 6, 0, 1), None),
        ((2, 2, 0, 1), None),
        ((1, 13, 0, 1), None),
        ((3, 13, 0, 1), "of a rare kind"),
        ((1, 13, 0, 0), "narrow range"),
        ((1, 13), "damaged"),
        ((), "damaged"),
    ],
)
def test_of_a_color_space_by_its_number_what_is_not_known_is_told(content, remark):
    notes = PngImagePlugin.PngInfo()
    notes.add(b"cICP", bytes(content))
    photograph = files.open_photograph(encoded(PHOTO, pnginfo=notes), "a.png")
    assert np.abs(photograph.pixels.astype(int) - PHOTO).mean() < 6
    assert [remark in each for each in photograph.remarks] == ([True] if remark else [])


@pytest.mark.parametrize("has_notes", [False, True])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_png_with_damaged_pixels_is_refused(has_notes, where):
    exif = Image.Exif()
    exif[274] = 3
    png = bytearray(encoded(PHOTO, exif=exif) if has_notes else encoded(PHOTO))
    png[int(len(png) * where)] ^= 255
    with pytest.raises(files.ImageError):
        files.load(bytes(png))


def test_a_damaged_note_does_not_cost_the_colors():
    png = png_of_gamma(PHOTO, 1.0)
    photograph = files.open_photograph(png[:33] + chunk(b"tEXt", b"c\0x", b"none") + png[33:], "a.png")
    assert (photograph.pixels == files.load(png)).all() and (photograph.pixels != PHOTO).any()
    profile = ImageCms.ImageCmsProfile(
        ImageCms.createProfile(
            "sRGB",
        )
    ).tobytes()
    jpeg = encoded(PHOTO, "JPEG", icc_profile=profile, quality=98)
    broken = files.open_photograph(jpeg[:2] + segment(0xE0, b"JFIF") + jpeg[2:], "a.jpg")
    assert (broken.pixels == files.load(jpeg)).all()
    assert "colors and notes beside them" in broken.remarks[0]


def test_with_a_profile_that_cannot_be_used_the_gamma_counts():
    notes = PngImagePlugin.PngInfo()
    notes.add(b"gAMA", (100_000).to_bytes(4, "big"))
    photograph = files.open_photograph(encoded(PHOTO, pnginfo=notes, icc_profile=b"junk"), "a.png")
    assert (photograph.pixels == files.load(png_of_gamma(PHOTO, 1.0))).all()


def test_a_damaged_frame_does_not_become_another_one():
    frames = [Image.fromarray(np.full((40, 40), shade, np.uint8)) for shade in (20, 120, 220)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    film = bytearray(file.getvalue())
    film[film.rfind(b"fcTL") + 4] ^= 255
    with pytest.raises(files.ImageError):
        files.open_photograph(bytes(film), "a.png", page=2)


@pytest.mark.parametrize(("kind", "count"), [("TIFF", 5), ("GIF", 5), ("TIFF", 4)])
def test_pages_beyond_the_limit_are_told(capsys, monkeypatch, kind, count):
    monkeypatch.setattr(files, "MAX_PAGES", 3)
    name = f"scan.{kind.lower()}"
    disk.write(name, pages(kind, count))
    status, said = run(capsys, "colorize", name, "--out", "out", "--all-pages")
    assert status == 1 and len(list(Path("out").iterdir())) == 3
    assert "no more than 3 of a file are read" in said and f"{name} page{'s 4 to 5' if count == 5 else ' 4'}" in said


def test_a_raw_file_named_as_a_tiff_is_no_picture():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(PHOTO[::6, ::6], subfiletype=1, subifds=1, photometric="rgb")
        writer.write(DEEP, photometric="rgb")
    with pytest.raises(files.ImageError, match="RAW: develop it"):
        files.load(file.getvalue())


# 3. A blemish does not cost the picture


def exif_that_lies():
    return b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff\0\0\0\0" * 4


BLEMISHES = {
    "no profile": {"icc_profile": b"no profile at all"},
    "a cut profile": {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()[:150]},
    "a profile for LAB": {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()},
    "damaged EXIF data": {"exif": exif_that_lies()},
    "empty EXIF data": {"exif": b"Exif\0\0"},
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("blemish", BLEMISHES)
def test_a_blemish_beside_the_pixels_is_set_aside(capsys, blemish, kind):
    name = f"a.{kind.lower()}"
    disk.write(name, encoded(np.repeat(GREY[..., None], 3, axis=-1), kind, **BLEMISHES[blemish]))
    status, said = run(capsys, "colorize", name, "--out", "out")
    assert status == 0 and len(list(Path("out").iterdir())) == 1
    assert "profile" not in blemish or "without its color profile" in said


def chunk(kind, content, crc=None):
    return len(content).to_bytes(4, "big") + kind + content + (crc or zlib.crc32(kind + content).to_bytes(4, "big"))


def segment(kind, content):
    return bytes((0xFF, kind)) + (len(content) + 2).to_bytes(2, "big") + content


BESIDE = {
    "a checksum of a note": lambda: into_png(chunk(b"tEXt", b"Title\0an aunt", b"none")),
    "a short gamma": lambda: into_png(chunk(b"gAMA", b"\0")),
    "a profile without a name": lambda: into_png(chunk(b"iCCP", b"")),
    "a note that unpacks to much": lambda: into_png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**25)))),
    "a gamma that cannot be": lambda: into_png(chunk(b"gAMA", (1).to_bytes(4, "big"))),
    "a short JFIF header": lambda: into_jpeg(segment(0xE0, b"JFIF")),
    "a profile that is cut": lambda: into_jpeg(segment(0xE2, b"ICC_PROFILE\0")),
    "a line before it": lambda: b"\n" + encoded(PHOTO, "JPEG", quality=98, subsampling=0),
}


def into_png(part):
    png = encoded(PHOTO)
    return png[:33] + part + png[33:]


def into_jpeg(part):
    jpeg = encoded(PHOTO, "JPEG", quality=98, subsampling=0)
    return jpeg[:2] + part + jpeg[2:]


@pytest.mark.parametrize("blemish", BESIDE)
def test_what_is_damaged_beside_the_pixels_does_not_cost_them(blemish):
    photograph = files.open_photograph(BESIDE[blemish](), blemish)
    assert np.abs(photograph.pixels - PHOTO.astype(int)).mean() < 3 and photograph.remarks
    assert files.count_pixels(BESIDE[blemish](), blemish) == GREY.size


# 4. What the command is not for


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_note_does_not_cost_where_up_is(kind):
    exif = Image.Exif()
    exif[274] = 3
    whole = encoded(PHOTO, kind, exif=exif, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {}))
    at, damaged = (33, chunk(b"iCCP", b"")) if kind == "PNG" else (2, segment(0xE0, b"JFIF"))
    photograph = files.open_photograph(whole[:at] + damaged + whole[at:], "a")
    assert np.abs(photograph.pixels.astype(int) - PHOTO[::-1, ::-1]).mean() < 2


def letter(paper=235, ink=60, scale=1.0):
    page = np.full((int(900 * scale), int(700 * scale)), paper, np.uint8)
    for line in range(24):
        text, place = "Dear aunt, the weather is fine", (int(50 * scale), int((80 + 34 * line) * scale))
        cv2.putText(page, text, place, cv2.FONT_HERSHEY_SCRIPT_COMPLEX, scale, ink, max(1, int(2 * scale)))
    return page


@pytest.mark.parametrize(
    "page", [letter(), letter(170, 50), letter(250, 0, 2.0), data.page()], ids=["letter", "brown", "large", "book"]
)
def test_a_page_of_writing_is_told(capsys, page):
    files.save(page, "album/scan.png")
    files.save(data.camera(), "album/man.png")
    status, said = run(capsys, "colorize", "album", "--out", "out")
    assert status == 0 and "looks like a page of writing" in said and "scan.png" in said and "man.png" not in said


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_a_picture_in_color_is_left_and_told(capsys, name):
    files.save(getattr(data, name)(), "album/color.png")
    files.save(GREY, "album/grey.png")
    status, said = run(capsys, "colorize", "album", "--out", "out")
    assert status == 0 and "1 x in color already" in said and "color.png" in said and not Path("out/color.png").exists()


# 5. What belongs together is brought together


def saved(*names):
    for number, name in enumerate(names):
        files.save(np.roll(PHOTO, 7 * (number // 2), axis=0), name)


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (("one/a.jpg", "two/a.jpg", "one/a.png", "two/a.png"), 2),
        (("one/b.jpg", "two/b.png"), 1),
        (("one/sub/c.png", "two/sub/c.png", "one/c.png", "two/c.png"), 2),
        (("one/" + unicodedata.normalize("NFC", "été.png"), "two/" + unicodedata.normalize("NFD", "été.png")), 1),
        (
            (
                "one/" + unicodedata.normalize("NFD", "Ångström.jpg"),
                "two/" + unicodedata.normalize("NFC", "Ångström.png"),
            ),
            1,
        ),
    ],
)
def test_evaluate_pairs_what_belongs_together(capsys, names, count):
    saved(*names)
    status, said = run(capsys, "evaluate", "one", "two")
    assert status == 0 and said.startswith(f"{count} pictures")


def test_evaluate_takes_two_files(capsys):
    saved("a.png", "b.jpg")
    status, said = run(capsys, "evaluate", "a.png", "b.jpg", "--json")
    assert status == 0 and json.loads(said)["pictures"] == 1


# 6. A file is no folder


@pytest.mark.parametrize("out", ["result.jpg", "here/Result.PNG", "x.tiff", "y.heic", "z.zip", "gone"])
def test_out_is_a_folder_not_a_file(capsys, out):
    files.save(GREY, "a.png")
    Path("gone").symlink_to("nowhere")
    status, said = run(capsys, "colorize", "a.png", "--out", out)
    assert status == 2 and "folder" in said and not Path(out).exists()


# 7. Messages that point the right way


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"\0\0\0\x18ftypisom", "film"),
        (b"\x1aE\xdf\xa3", "film"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04", "archive"),
        (b"%PDF-1.7", "document"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\xff\x0a", "JPEG XL"),
        (b"II*\0\x08\0\0\0", "a TIFF file that is"),
        (b"\x89PNG\r\n\x1a\n", "a PNG file that is"),
    ],
)
def test_what_is_named_as_a_picture_and_is_none_is_told_what_it_is(start, told):
    with pytest.raises(files.ImageError, match=told):
        files.load(start + bytes(200), "a.jpg")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("one.png", encoded(GREY), "one picture, a PNG"),
        ("a.pdf", b"%PDF-1.7", "document: export"),
        ("a.rar", b"Rar!\x1a\x07", "it is none, or damaged"),
        ("a.tar", b"nothing", "it is none, or damaged"),
        ("page.zip", b"<!DOCTYPE html>", "web page"),
    ],
)
def test_a_file_that_is_no_set_is_told_what_it_is(capsys, name, content, told):
    disk.write(name, content)
    status, said = run(capsys, "data", name)
    assert status == 2 and told in said and said.count("\n") == 1


def test_a_folder_and_a_file_are_no_pair(capsys):
    saved("one/a.png", "b.png")
    for arguments in (("one", "b.png"), ("b.png", "one"), ("b.png", "nowhere.png")):
        status, said = run(capsys, "evaluate", *arguments)
        assert status == 2 and ("a file and a folder" in said or said.startswith("colorlib: nowhere.png: no such"))


def test_what_is_made_is_not_taken_for_a_source(capsys):
    saved("a.png", "b.png", "c.png")
    for _ in range(3):
        assert run(capsys, "data", ".", "--grey")[1].startswith("3 pictures")


def test_results_are_not_colored_again_through_a_link(capsys):
    files.save(GREY, "album/a.png")
    assert run(capsys, "colorize", "album", "--out", "album/out")[0] == 0
    Path("album/again").symlink_to("out")
    Path("album/one.png").symlink_to("out/a.png")
    assert "0 colored, 1 done already" in run(capsys, "colorize", "album", "--out", "album/out")[1]


def test_a_film_is_a_source(capsys):
    av = pytest.importorskip("av")
    with av.open("film.mp4", "w") as target:
        stream = target.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for number in range(75):
            picture = np.ascontiguousarray(np.roll(PHOTO[:96, :96], 2 * number, axis=1))
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode())
    status, said = run(capsys, "data", "film.mp4")
    assert status == 0 and "of one film or speaker" in said and "chance left no" in said


@pytest.mark.parametrize("size", [50, 40, (64, 50), (24, 32)])
def test_a_size_that_does_not_fit_is_told_with_those_that_do(size):
    from colorlib import models

    high, wide = size if isinstance(size, tuple) else (size, size)
    for model in (
        models.small_backbone(None, widths=(8, 8, 8, 8)),
        models.vivid_colorizer(models.small_backbone(None, widths=(8, 8, 8, 8)), widths=()),
    ):
        with pytest.raises(ValueError, match=rf"{wide} x {high} pixels: sides must be multiples of 16"):
            model(np.zeros((1, high, wide, 1), np.float32))
    if high == wide:
        with pytest.raises(ValueError, match=f"image_size {size} is not a positive multiple of 16.*: take "):
            models.small_backbone(size)


# 8. Sets that are not fit for their purpose


@pytest.mark.parametrize("kind", ["grey", "sepia", "blueprint", "faint tint"])
def test_pictures_without_color_are_told(capsys, kind):
    tone = {"grey": (1, 1, 1), "sepia": (1.07, 0.93, 0.75), "blueprint": (0.6, 0.8, 1.1)}.get(kind, (1.02, 1, 0.98))
    rng = np.random.default_rng(0)
    for number in range(6):
        crop = data.astronaut()[80 * number : 80 * number + 90, 100:300]
        files.save(crop, f"set/color{number}.png")
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) + rng.integers(0, 2, crop.shape[:2], np.uint8) * 0
        files.save(np.uint8(np.clip(grey[..., None] * np.array(tone), 0, 255)), f"set/other{number}.png")
    _, said = run(capsys, "data", "set")
    assert "6 pictures are left out, grey or of one tint" in said and "color0" not in said


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_empty_split_is_told_with_the_remedy(capsys, count):
    for number in range(count):
        files.save(data.astronaut()[90 * number : 90 * number + 90, 100:250], f"set/{number}.png")
    _, said = run(capsys, "data", "set")
    assert "no validation" in said or "no test" in said or "no train" in said
    assert "100 pictures" in said
