"""Frames of videos that the tests encode: a number in the pixels of each tells which frame was taken."""

import csv
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from colorlib.data import cleaning, files, sets, sources, video

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
    assert video.times(path) == [0, 2, 4]
    assert video.times(path, number=3) == [0.75, 2.25, 3.75]
    assert numbers(path, at=[0.75, 2.25, 3.75]) == [(0.75, 7), (2.25, 22), (3.75, 37)]
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
        assert video.times(tmp_path / name) == [0]
    monkeypatch.setattr(files, "MAX_PIXELS", 3000)
    assert reason(tmp_path / "good.mp4") == "3,072 pixels are more than the 3,000 allowed"


def test_a_file_of_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert reason(path) == "no video in it that could be decoded"
    film(tmp_path / "in" / "id1" / "a.mp4", shots(1, 3, 20))
    path.rename(tmp_path / "in" / "id1" / "b.mp4")
    assert sets.rejects(prepare(tmp_path / "in", tmp_path)) == [("id1/b.mp4", "no video in it that could be decoded")]


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


def shots(seed, count, frames):
    """Frames of a film with so many shots, each a still of colored blocks."""
    colors = np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), np.uint8)
    stills = [np.kron(each, np.ones((8, 8, 1), np.uint8)) for each in colors]
    return [still for still in stills for _ in range(frames)]


def test_a_folder_of_videos_becomes_a_picture_set(tmp_path):
    for speaker in (5, 6, 7):
        for clip in (0, 1):
            film(tmp_path / "in" / f"id{speaker}" / f"video{clip}" / "1.mp4", shots(2 * speaker + clip, 3, 20)[:50])
    (tmp_path / "in" / "id7" / "notes.MP4").write_text("dear diary")
    (tmp_path / "in" / "id7" / "._1.mp4").write_bytes(b"a Mac's shadow")
    film(tmp_path / "in" / "single.final.mkv", shots(9, 1, 10))
    folder = prepare(tmp_path / "in", tmp_path)
    found = {row["source"]: row for row in rows(folder)}
    names = [f"id{s}/video{c}/1.mp4@{t:07.1f}s" for s in (5, 6, 7) for c in (0, 1) for t in (0, 2, 4)]
    assert sorted(found) == [*names, "single.final.mkv@00000.0s"]
    why = "not a video, or cut off (known: MP4, MOV, Matroska, WebM, AVI)"
    assert sets.rejects(folder) == [("id7/notes.MP4", why)]
    for row in found.values():
        assert row["group"] == row["source"].split("/")[0].replace(".final.mkv@00000.0s", ".final")
        assert row["split"] == sets.split_of(row["group"])


def sources_of(folder):
    return sorted(row["source"] for row in rows(folder))


def test_frames_are_taken_as_asked(tmp_path):
    film(tmp_path / "in" / "id1" / "a.mp4", shots(1, 5, 20))  # 10 seconds: a shot every 2
    for frames, moments in [
        (sources.Frames(every=4), ["00000.0", "00004.0", "00008.0"]),
        (sources.Frames(number=5), ["00001.0", "00003.0", "00005.0", "00007.0", "00009.0"]),
        (sources.Frames(number=3), ["00001.667", "00005.0", "00008.333"]),
    ]:
        folder = prepare(tmp_path / "in", tmp_path, frames=frames)
        assert sources_of(folder) == [f"id1/a.mp4@{moment}s" for moment in moments]
        assert not sets.rejects(folder)
    assert len(sources_of(prepare(tmp_path / "in", tmp_path, frames=sources.Frames(number=5), limit=2))) == 2
    for wrong in ({"every": 0}, {"every": float("nan")}, {"number": 0}):
        with pytest.raises(ValueError, match="there must be time|at least 1"):
            sources.Frames(**wrong)


def test_frames_that_are_nearly_as_one_are_dropped_and_scenes_differ_more(tmp_path):
    noise = np.random.default_rng(3).integers(-2, 3, (100, 48, 64, 3))
    still, other = shots(1, 2, 1)
    pictures = [np.clip((other if 40 <= at < 60 else still) + noise[at], 0, 255).astype(np.uint8) for at in range(100)]
    pictures[90:] = [np.roll(still, 2, axis=0)] * 10  # the camera moved a little
    film(tmp_path / "in" / "id1" / "a.mp4", pictures, options={"crf": "10"})
    folder = prepare(tmp_path / "in", tmp_path, frames=sources.Frames(every=1))
    assert sources_of(folder) == [f"id1/a.mp4@0000{second}.0s" for second in (0, 4, 9)]
    assert {reason for _, reason in sets.rejects(folder)} == {"frame: nearly as one before it"}
    assert len(sets.rejects(folder)) == 7
    scenes = sources.Frames(every=1, apart=sources.SCENES_APART)
    assert sources_of(prepare(tmp_path / "in", tmp_path, frames=scenes)) == [
        f"id1/a.mp4@0000{second}.0s" for second in (0, 4)
    ]


def test_a_film_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    for name in ("a", "b"):
        film(tmp_path / "in" / "id1" / f"{name}.mp4", shots(1, 3, 20))
    real, errors = open, [PermissionError(13, "Permission denied")]

    def opened(path, *arguments, **options):
        if str(path).endswith("b.mp4") and errors:
            raise errors.pop()
        return real(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", opened)
    assert sets.rejects(prepare(tmp_path / "in", tmp_path)) == [("id1/b.mp4", "permission denied")]
    assert not sets.rejects(prepare(tmp_path / "in", tmp_path))


def test_a_frame_that_is_left_out_keeps_none_after_it_out(tmp_path, monkeypatch):
    film(tmp_path / "in" / "id1" / "a.mp4", shots(1, 1, 50))
    real, first = cleaning._check, []

    def check(name, *arguments):
        if not first:
            first.append(name)
            raise files.ImageError(name, "of no use")
        real(name, *arguments)

    monkeypatch.setattr(cleaning, "_check", check)
    assert sources_of(prepare(tmp_path / "in", tmp_path)) == ["id1/a.mp4@00002.0s"]


def test_of_films_only_what_is_new_is_read_again(tmp_path, monkeypatch):
    for speaker in range(3):
        film(tmp_path / "in" / f"id{speaker}" / "a.mp4", shots(speaker, 3, 20))
    prepare(tmp_path / "in", tmp_path)
    film(tmp_path / "in" / "id3" / "a.mp4", shots(3, 3, 20))
    read, real = [], video.frames
    monkeypatch.setattr(video, "frames", lambda path, **options: read.append(path.parent.name) or real(path, **options))
    folder = prepare(tmp_path / "in", tmp_path)
    assert read == ["id3"] and len(rows(folder)) == 12
    groups = {row["group"]: row["split"] for row in rows(folder)}
    assert groups == {f"id{speaker}": sets.split_of(f"id{speaker}") for speaker in range(4)}
