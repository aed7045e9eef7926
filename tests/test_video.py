"""Frames of videos that the tests encode: a number in the pixels of each tells which frame was taken."""

import csv
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from colorlib.data import files, sets, video

WIDTH, HEIGHT = 64, 48
COLORS = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 200], [220, 200, 40], [128, 128, 128], [180, 60, 180]])
STRIPES = np.repeat(COLORS, 16, axis=0)[None].repeat(48, axis=0).astype(np.uint8)  # (48, 96, 3)


def coded(number):
    """A picture that shows a number below 256 in binary, a column of 8 pixels a digit, and survives compression."""
    digits = number >> np.arange(8) & 1
    return np.broadcast_to(np.repeat(255 * digits, 8)[None, :, None], (HEIGHT, WIDTH, 3)).astype(np.uint8)


def number_in(picture, threshold=127):
    digits = picture.reshape(len(picture), 8, -1).mean(axis=(0, 2)) > threshold
    return int(digits @ (1 << np.arange(8)))


def film(path, pictures, *, times=None, codec="libx264", pixels="yuv420p", tags=None, tagged=True, options=(), **muxer):
    """Encodes pictures, 10 a second or at `times` in milliseconds, and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w", **muxer) as container:
        stream = container.add_stream(codec, rate=10, options=dict(options))
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in (tags or {}).items() if tagged else ():
            setattr(stream.codec_context, name, value)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture)
            if tags:
                how = {"dst_colorspace": tags["colorspace"], "dst_color_range": tags["color_range"]}
                frame = frame.reformat(format=pixels, **how)
                frame.colorspace = tags["colorspace"] if tagged else 2
            frame.pts, frame.time_base = times[index] if times is not None else 100 * index, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(path, **options):
    return [(seconds, number_in(picture)) for seconds, picture in video.frames(path, **options)]


def reason(path):
    with pytest.raises(files.ImageError) as caught:
        list(video.frames(path))
    assert caught.value.name == str(path)
    return caught.value.reason


def rows(folder, table="manifest.csv"):
    with open(folder / table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def prepare(source, folder, **options):
    return sets.prepare(source, role="faces", folder=folder / "data" / "processed", **options)


# Which frame


@pytest.mark.parametrize(("file", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")])
def test_a_constant_rate_gives_every_twentieth_frame_or_as_asked(tmp_path, file, codec):
    options = {"bf": "2"}  # frames out of order, where the codec has them
    path = film(tmp_path / file, [coded(index) for index in range(45)], codec=codec, options=options)
    assert numbers(path) == [(0, 0), (2, 20), (4, 40)]
    assert video.count(path) == 3
    assert numbers(path, every=0.3) == [(3 * k / 10, 3 * k) for k in range(15)]
    with pytest.raises(ValueError, match="there must be time between two"):
        numbers(path, every=0)


def test_a_variable_rate_gives_the_frame_shown_at_each_time(tmp_path):
    times = [0, 400, 900, 1000, 1130, 2600, 2620, 3400, 3500]
    path = film(tmp_path / "a.mkv", [coded(index) for index in range(9)], times=[5000 + time for time in times])
    # At 1.5, 2.0 and 2.5 seconds the same frame is still on: it is taken once.
    assert numbers(path, every=0.5) == [(0, 0), (0.5, 1), (1, 3), (1.5, 4), (3, 6), (3.5, 8)]


# What it looks like


@pytest.mark.parametrize(
    ("space", "span", "pixels", "tagged", "height"),
    [
        ("ITU601", "MPEG", "yuv420p", True, 48),
        ("ITU709", "JPEG", "yuv420p", True, 48),
        ("ITU709", "MPEG", "yuv420p10le", True, 48),
        ("ITU601", "MPEG", "yuv420p", False, 48),
        ("ITU709", "MPEG", "yuv420p", False, 640),  # what is tall is taken for high definition
    ],
)
def test_colors_are_those_that_were_filmed(tmp_path, space, span, pixels, tagged, height):
    stripes = np.ascontiguousarray(np.broadcast_to(STRIPES[:1], (height, *STRIPES.shape[1:])))
    tags = {"colorspace": Colorspace[space], "color_range": ColorRange[span]}
    path = film(tmp_path / "a.mp4", [stripes] * 3, pixels=pixels, tags=tags, tagged=tagged, options={"crf": "4"})
    ((_, picture),) = video.frames(path)
    assert picture.dtype == np.uint8 and picture.shape == stripes.shape
    assert np.abs(picture[24, 8::16].astype(int) - COLORS).max() <= 4


def display_matrix(a, b, c, d):
    return struct.pack(">9i", *(65536 * each for each in (a, b, 0, c, d, 0, 0, 0)), 2**30)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),  # a phone held upright: a quarter turn clockwise
        ((0, -1, -1, 0), lambda picture: np.rot90(picture, 2).swapaxes(0, 1)),  # also mirrored
    ],
)
def test_a_turned_or_mirrored_video_comes_out_upright(tmp_path, matrix, upright):
    corners = np.zeros((48, 64, 3), np.uint8)
    corners[:24, :32], corners[:24, 32:], corners[24:, :32], corners[24:, 32:] = COLORS[:4]
    path = film(tmp_path / "a.mp4", [corners] * 2, options={"crf": "4"})
    data = path.read_bytes()
    place = data.index(display_matrix(1, 0, 0, 1), data.index(b"tkhd"))
    path.write_bytes(data[:place] + display_matrix(*matrix) + data[place + 36 :])
    ((_, picture),) = video.frames(path)
    expected = upright(corners)
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected)[4::8, 4::8].max() <= 4


# What is refused


def test_what_is_no_video_says_why(tmp_path, monkeypatch):
    film(tmp_path / "good.mp4", [coded(index) for index in range(40)])
    whole = (tmp_path / "good.mp4").read_bytes()
    film(tmp_path / "hdr.mp4", [coded(0)], tags={"colorspace": 9, "color_range": 1, "color_trc": 18})
    for name, data, why in [
        ("zero.mp4", b"", "not a video, or cut off"),
        ("cut.mp4", whole[: len(whole) // 2], "not a video, or cut off"),  # its table of frames comes last
        ("codec.mp4", whole.replace(b"avc1", b"xqz9"), "no video in it that could be decoded"),
        ("list.mp4", b"ffconcat version 1.0\nfile good.mp4\n", "not a video"),  # FFmpeg would follow it
        ("hdr.mp4", None, "HDR (HLG): convert it to standard range"),
        ("missing.mp4", None, "no such file or directory"),
    ]:
        if data is not None:
            (tmp_path / name).write_bytes(data)
        assert reason(tmp_path / name).startswith(why), name
        assert video.count(tmp_path / name) == 1
    monkeypatch.setattr(files, "MAX_PIXELS", 3000)
    assert reason(tmp_path / "good.mp4") == "3,072 pixels are more than the 3,000 allowed"


@pytest.mark.parametrize(("file", "lost"), [("a.mp4", 5000), ("a.mkv", 60)])
def test_of_a_video_damaged_half_way_the_frames_before_are_kept(tmp_path, file, lost):
    noise = np.random.default_rng(0).integers(0, 64, (60, HEIGHT, WIDTH, 3), np.uint8)
    pictures = [coded(index) // 2 + noise[index] for index in range(60)]
    first = {"container_options": {"movflags": "faststart"}} if file == "a.mp4" else {}  # the table of frames
    plain = {"preset": "ultrafast"}  # the same bytes every time, which other presets do not promise
    path = film(tmp_path / "speaker" / file, pictures, options=plain, **first)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + lost] = bytes(lost)
    path.write_bytes(data)
    taken = []
    with pytest.raises(files.ImageError, match=r"damaged after 2\.\d s \(.+\)"):
        for seconds, picture in video.frames(path, every=0.5):
            taken.append((seconds, number_in(picture, 96)))
    assert taken == [(0, 0), (0.5, 5), (1, 10), (1.5, 15), (2, 20), (2.5, 25)][: len(taken)]
    assert len(taken) >= 5
    folder = prepare(tmp_path / "speaker", tmp_path)
    assert {row["source"] for row in rows(folder)} == {f"{file}@00000.0s", f"{file}@00002.0s"}
    ((name, why),) = sets.rejects(folder)
    assert name == file and why.startswith("damaged after 2.")


# The picture set


def test_a_folder_of_videos_becomes_a_picture_set(tmp_path):
    for speaker in (5, 6, 7):
        for clip in (0, 1):
            colors = np.random.default_rng(2 * speaker + clip).integers(0, 256, (6, 8, 3), np.uint8)
            film(
                tmp_path / "in" / f"id{speaker}" / f"video{clip}" / "1.mp4",
                [np.kron(colors, np.ones((8, 8, 1), np.uint8))] * 50,
            )
    (tmp_path / "in" / "id7" / "notes.MP4").write_text("dear diary")
    (tmp_path / "in" / "id7" / "._1.mp4").write_bytes(b"a Mac's shadow")
    film(tmp_path / "in" / "single.final.mkv", [STRIPES] * 10)
    folder = prepare(tmp_path / "in", tmp_path)
    found = {row["source"]: row for row in rows(folder)}
    names = [f"id{s}/video{c}/1.mp4@{t:07.1f}s" for s in (5, 6, 7) for c in (0, 1) for t in (0, 2, 4)]
    assert sorted(found) == [*names, "single.final.mkv@00000.0s"]
    why = "not a video, or cut off (known: MP4, MOV, Matroska, WebM, AVI)"
    assert sets.rejects(folder) == [("id7/notes.MP4", why)]
    for row in found.values():
        assert row["group"] == row["source"].split("/")[0].replace(".final.mkv@00000.0s", ".final")
        assert row["split"] == sets.split_of(row["group"])
