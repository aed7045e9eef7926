"""A folder of photographs in, a folder of colored ones out: what is done, what is kept, and what is never replaced.

The colorizer is a stand-in, so that a picture takes no time: what is promised here does not depend on it.
"""

import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from colorlib import __main__ as cli
from colorlib import album, colorize
from colorlib.data import disk, files


def is_grey(picture):
    return np.ptp(picture, axis=-1).max() == 0


def tinted(model, picture):
    """In place of `colorize.colorize`: less red, by a share that the dial sets."""
    colored = picture.copy()
    colored[..., 0] -= colored[..., 0] // int(model.get("gain", 2))
    return colored


@pytest.fixture(autouse=True)
def stand_in(monkeypatch, tmp_path):
    """A model that is a file and a dictionary of its dials; the working folder is a new one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_import_keras_quietly", lambda: None)
    monkeypatch.setattr(colorize, "load", lambda path: {})
    monkeypatch.setattr(colorize, "set_dials", lambda model, **dials: model.update(dials))
    monkeypatch.setattr(colorize, "colorize", tinted)
    monkeypatch.setattr(colorize, "is_toned_or_grey", is_grey, raising=False)
    (tmp_path / "model.keras").write_bytes(b"a model")
    return tmp_path


def grey(seed, height=12, width=16):
    values = np.random.default_rng(seed).integers(60, 190, (height, width, 1), dtype=np.uint8)
    return np.repeat(values, 3, axis=-1)


def photographs(folder, *names):
    """A folder of grey pictures of these names, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        disk.write(folder / name, files.encode(grey([number, *folder.name.encode()]), folder.joinpath(name).suffix))
    return folder


def run(*arguments):
    return cli.main(["colorize", *map(str, arguments), "--out", "out", "--model", "model.keras"])


def contents(folder="out"):
    """{path below a folder: its bytes}; whatever is hidden counts."""
    paths = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return {str(path.relative_to(folder)): path.exists() and path.read_bytes() for path in paths}


def says(capsys):
    out, error = capsys.readouterr()
    assert out.count("\n") == 1
    return out.strip(), error


def test_a_second_run_colors_only_the_rest_and_says_so_in_one_line(tmp_path, capsys, monkeypatch):
    photographs(tmp_path / "album", "a.jpg", "b.png", "c.png")
    assert run("album") == 0
    line = "3 colored, 0 done already, 0 in color already, 0 skipped; results in out"
    assert says(capsys) == (line, "")
    first = contents()
    os.utime("out/a.jpg", (0, 0))
    os.remove("out/b.png")
    assert run("album") == 0
    assert says(capsys)[0].startswith("1 colored, 2 done already, ")
    assert contents() == first and os.stat("out/a.jpg").st_mtime == 0
    monkeypatch.setattr(colorize, "load", None)  # with nothing to do, the model is not opened
    assert run("album") == 0
    assert says(capsys)[0].startswith("0 colored, 3 done already, ")
    (tmp_path / "album").rename(tmp_path / "moved")
    assert run("moved") == 0
    assert says(capsys)[0].startswith("0 colored, 3 done already, ")


def test_done_means_these_bytes_this_model_and_these_dials(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png")
    run("album")
    files.save(grey(99), "album/a.png")
    run("album")
    disk.write("model.keras", b"another model")
    run("album")
    capsys.readouterr()
    assert run("album", "--gain", "3") == 0
    assert says(capsys)[0].startswith("1 colored, 0 done already, ")
    assert sorted(contents()) == ["a-2.png", "a-3.png", "a-4.png", "a.png"]
    assert run("album", "--format", "webp") == 0
    assert says(capsys)[0].startswith("1 colored, 0 done already, ") and "a.webp" in contents()
    for again in ([], ["--gain", "3"], ["--format", "webp"], ["--strength", "1"]):
        assert run("album", *again) == 0
        assert says(capsys)[0].startswith("0 colored, 1 done already, "), again


@pytest.mark.parametrize("step", ["record", "picture"])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(tmp_path, capsys, monkeypatch, step):
    photographs(tmp_path / "album", *"a.png b.png c.png d.png e.png f.png g.png h.png".split())
    real, count = os.fsync, itertools.count()

    def full(handle):
        writes_record = os.readlink(f"/proc/self/fd/{handle}").endswith(album.RECORD)
        if writes_record == (step == "record") and next(count) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert run("album") == 1
    out, error = says(capsys)
    assert "No space left on device" in error and error.count("\n") == 1 and error.startswith("colorlib: ")
    made = contents()
    assert 0 < len(made) < 8 and set(made) <= {f"{letter}.png" for letter in "abcdefgh"}
    for content in made.values():
        assert files.load(content).shape == (12, 16, 3)
    monkeypatch.setattr(os, "fsync", real)
    assert run("album") == 0
    assert says(capsys)[0].startswith(f"{8 - len(made)} colored, {len(made)} done already")
    assert sorted(contents()) == [f"{letter}.png" for letter in "abcdefgh"]


def test_where_nothing_can_be_written_the_status_is_2(tmp_path, capsys, monkeypatch):
    photographs(tmp_path / "album", "a.png", "b.png")

    def denied(path, content):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(disk, "write", denied)
    assert run("album") == 2
    _, error = says(capsys)
    assert re.fullmatch(r"colorlib: skipped \[Errno 13\] Permission denied: 'out/[ab].png'\n", error)
    (tmp_path / "taken").touch()
    assert cli.main(["colorize", "album", "--out", "taken/below"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("colorlib: ") and "taken/below" in error and error.count("\n") == 1


def test_a_name_that_the_disk_does_not_take_is_skipped(tmp_path, capsys):
    photographs(tmp_path / "album", *"a.png b.png c.png d.png e.png f.png g.png h.png".split())
    os.rename("album/a.png", f"album/{'a' * 250}.png")
    assert run("album") == 1
    out, error = says(capsys)
    assert out.startswith("7 colored") and "File name too long" in error and error.count("\n") == 1


def test_a_failed_overwriting_is_not_taken_for_done(tmp_path, capsys, monkeypatch):
    photographs(tmp_path / "album", "a.png")
    run("album")
    first = contents()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        assert run("album", "--gain", "3", "--overwrite") == 2
    capsys.readouterr()
    assert contents() == first
    assert run("album", "--gain", "3") == 0
    assert says(capsys)[0].startswith("1 colored, 0 done already") and sorted(contents()) == ["a-2.png", "a.png"]
    assert run("album", "--overwrite") == 0  # the first is still known as ours
    assert sorted(contents()) == ["a-2.png", "a.png"] and contents()["a.png"] == first["a.png"]


def test_what_was_overwritten_with_other_dials_is_not_done_with_the_first(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png")
    run("album")
    first = contents()
    run("album", "--gain", "3", "--overwrite")
    assert run("album") == 0 and contents()["a-2.png"] == first["a.png"]
    capsys.readouterr()
    for dials in ([], ["--gain", "3"]):
        assert run("album", *dials) == 0
        assert says(capsys)[0].startswith("0 colored, 1 done already")


@pytest.mark.parametrize("retouched", [False, True])
def test_a_kill_between_a_picture_and_its_last_line_makes_no_second_one(tmp_path, capsys, retouched):
    photographs(tmp_path / "album", "a.png")
    run("album")
    record = album.record_of(Path("out"))
    record.write_text(record.read_text().rsplit("\n", 1)[0])
    capsys.readouterr()
    if retouched:
        files.save(grey(5), "out/a.png")
    assert run("album") == 0
    assert says(capsys)[0].startswith("1 colored" if retouched else "0 colored, 1 done already")
    assert sorted(contents()) == (["a-2.png", "a.png"] if retouched else ["a.png"])


def test_a_retouched_result_is_done(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png")
    run("album")
    files.save(grey(5), "out/a.png")
    capsys.readouterr()
    assert run("album") == 0
    assert says(capsys)[0].startswith("0 colored, 1 done already")


def test_what_an_album_without_its_record_has_is_not_replaced_and_told(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png", "b.png")
    assert run("album") == 0
    first = contents()
    (tmp_path / ".out.colorlib.jsonl").unlink()  # as where the folder was moved by itself
    capsys.readouterr()
    assert run("album") == 0
    assert "2 remarked: 2 x numbered, for its name is taken (" in says(capsys)[1]
    assert contents() == first | {f"{name}-2.png": first[f"{name}.png"] for name in "ab"}


def test_the_pages_of_a_file_are_read_once(tmp_path, monkeypatch):
    pages = [Image.fromarray(grey(seed)) for seed in range(5)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    read, times = files.read, []
    monkeypatch.setattr(files, "read", lambda path, name=None: times.append(str(path)) or read(path, name))
    sources, _ = album.pictures_of(tmp_path / "scan.tif", tmp_path / "out", all_pages=True)
    made = album.Album(tmp_path / "out", "a model")
    (tmp_path / "out").mkdir()
    assert [outcome for outcome, _ in made.color(made.plan(sources), {})] == 5 * ["colored"]
    assert len(times) == 2  # to count its pages, and to color them


def test_a_record_of_other_things_is_no_hindrance(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png")
    disk.write(album.record_of(Path("out")), '[]\n7\n{"asked": "a.png"}\n{"asked": []}\n\x00\nnull')
    for overwrite in ([], ["--overwrite"]):
        assert run("album", *overwrite) == 0
        assert says(capsys) == ("1 colored, 0 done already, 0 in color already, 0 skipped; results in out", "")
    assert list(contents()) == ["a.png"]


KILLED = """
import sys, time
from colorlib import __main__ as cli, colorize
def slow(model, picture):
    time.sleep(0.05)
    return picture // 2
cli._import_keras_quietly = lambda: None
colorize.load, colorize.set_dials = lambda path: None, lambda model: None
colorize.colorize, colorize.is_toned_or_grey = slow, lambda picture: True
cli.main(["colorize", "album", "--out", "out", "--model", "model.keras"])
"""


def test_a_killed_run_is_gone_on_with_and_nothing_is_half_there(tmp_path, capsys, monkeypatch):
    names = [f"{number:02}.png" for number in range(40)]
    photographs(tmp_path / "album", *names)
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(cli.__file__))}
    for seen in (3, 15):
        with subprocess.Popen([sys.executable, "-c", KILLED], env=environment) as process:
            while process.poll() is None and len(list(tmp_path.glob("out/[!.]*"))) < seen:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    with open(album.record_of(Path("out")), "a") as record:
        record.write('\n{"asked": "00.png", "fi')  # as a kill in the middle of a line leaves it
    monkeypatch.setattr(colorize, "colorize", lambda model, picture: picture // 2)
    before = {name: os.stat(f"out/{name}").st_mtime_ns for name in os.listdir("out") if not name.startswith(".")}
    assert 15 <= len(before) < 40
    assert run("album") == 0
    assert says(capsys)[0].startswith(f"{40 - len(before)} colored, {len(before)} done already")
    assert sorted(name for name in os.listdir("out") if not name.startswith(".")) == names
    assert all(os.stat(f"out/{name}").st_mtime_ns == time for name, time in before.items())
    for name in names:
        assert_array_equal(files.load(f"out/{name}"), files.load(f"album/{name}") // 2)
    assert run("album") == 0  # the line that was cut off has spoiled none
    assert says(capsys)[0].startswith("0 colored, 40 done already")
    assert run("album", "--overwrite") == 0
    assert sorted(name for name in os.listdir("out") if not name.startswith(".")) == names


# What is never replaced


def edited(tmp_path):
    run("album")
    files.save(grey(5), "out/a.png")


def stranger(tmp_path):
    disk.write("out/a.png", b"the only copy of something else")


def dangling_link(tmp_path):
    disk.write("out/a.txt", b"")
    os.symlink("nowhere", "out/a.png")


def link_to_an_original(tmp_path):
    disk.write("out/a.txt", b"")
    os.symlink("../album/a.png", "out/a.png")


def hard_link_to_an_original(tmp_path):
    disk.write("out/a.txt", b"")
    os.link("album/a.png", "out/a.png")


def result_of_another_album(tmp_path):
    photographs(tmp_path / "other", "a.png")
    run("other")


def folder(tmp_path):
    os.makedirs("out/a.png")


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "there",
    [edited, stranger, dangling_link, link_to_an_original, hard_link_to_an_original, result_of_another_album, folder],
)
def test_what_is_there_and_not_made_of_this_picture_stays(tmp_path, capsys, there, overwrite):
    photographs(tmp_path / "album", "a.png")
    original = (tmp_path / "album" / "a.png").read_bytes()
    there(tmp_path)
    before, link = contents(), os.path.islink("out/a.png") and os.readlink("out/a.png")
    assert run("album", "--gain", "3", *overwrite) == 0
    after = contents()
    assert set(after) - set(before) == {"a-2.png"}
    assert before.items() <= after.items()
    assert (os.path.islink("out/a.png") and os.readlink("out/a.png")) == link
    assert (tmp_path / "album" / "a.png").read_bytes() == original


def test_overwriting_replaces_what_was_made_of_the_same_picture(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png", "b.jpg")
    run("album")
    first = contents()
    assert run("album", "--gain", "3", "--overwrite") == 0
    second = contents()
    assert set(second) == set(first) and all(second[name] != first[name] for name in first)
    files.save(grey(7), "album/a.png")  # the same picture, retouched
    assert run("album", "--gain", "3", "--overwrite") == 0
    assert set(contents()) == set(first) and contents()["a.png"] != second["a.png"]
    os.rename("album", "moved")
    assert run("moved", "--overwrite") == 0
    assert set(contents()) == set(first) and contents()["b.jpg"] == first["b.jpg"]


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_an_original_is_never_replaced_whatever_the_folders_and_links(tmp_path, overwrite):
    album_ = photographs(tmp_path / "album", "a.png", "b.png")
    run("album")  # results that become originals
    (tmp_path / "links").mkdir()
    os.symlink("../out/a.png", "links/a.png")
    os.symlink("../out", "links/out")
    before = contents("album") | {f"out/{name}": content for name, content in contents().items()}
    for sources in (["out/a.png"], ["links"], ["links/out/b.png"], ["links", "album"]):
        assert run(*sources, "--recolor", "--gain", "3", *overwrite) in (0, 1)
        assert contents("album") == contents(album_)
    os.symlink("album", "same")
    assert cli.main(["colorize", "album", "--out", "same", "--model", "model.keras"]) == 2  # --out is what is read
    assert cli.main(["colorize", "album/a.png", "--out", "same", "--model", "model.keras", *overwrite]) == 0
    for name in ("a.png", "b.png"):
        assert contents("album")[name] == before[name]
    assert contents()["a.png"] == before["out/a.png"] or overwrite


def test_an_original_is_not_replaced_even_if_the_record_has_it(tmp_path):
    photographs(tmp_path / "out", "a.png")
    before = contents()
    entry = {
        "asked": "a.png",
        "file": "a.png",
        "source": "a.png",
        "source_sha256": "",
        "sha256": album.digest(before["a.png"]),
    }
    disk.write(album.record_of(Path("out")), json.dumps(entry))
    assert run("out/a.png", "--overwrite") == 0
    assert sorted(contents()) == ["a-2.png", "a.png"] and contents()["a.png"] == before["a.png"]


def test_a_file_that_comes_while_coloring_stays(tmp_path, capsys, monkeypatch):
    photographs(tmp_path / "album", "a.png")

    def meanwhile(model, picture):
        disk.write("out/a.png", b"of another program")
        return picture

    monkeypatch.setattr(colorize, "colorize", meanwhile)
    assert run("album") == 2
    assert says(capsys)[1] == "colorlib: skipped out/a.png: another file was put there meanwhile\n"
    assert contents() == {"a.png": b"of another program"}


def test_pictures_of_one_name_get_numbers_the_same_in_every_run(tmp_path, capsys):
    photographs(tmp_path / "x", "a.png")
    photographs(tmp_path / "y", "A.png")
    photographs(tmp_path / "z", "a.bmp")
    assert run("x/a.png", "y/A.png", "z/a.bmp", "x/a.png") == 0
    first = contents()
    assert sorted(first) == ["A-2.png", "a-3.png", "a.png"]  # letters of another case are the same on some disks
    for more in ([], ["--overwrite"]):
        assert run("x/a.png", "y/A.png", "z/a.bmp", *more) == 0
        assert contents() == first


def test_two_copies_of_one_picture_are_both_made(tmp_path):
    photographs(tmp_path / "album", "a.png")
    disk.write("album/copy/a.png", (tmp_path / "album" / "a.png").read_bytes())
    assert run("album") == 0
    assert sorted(contents()) == ["a.png", "copy/a.png"]


# What is kept, and what is said


def test_a_picture_keeps_what_belongs_to_it(tmp_path):
    notes = Image.Exif()
    notes.update({0x0132: "1932:05:01 12:00:00", 0x010E: "Grandmother", 0x0112: 6})
    scan = np.linspace(0, 65535, 12 * 16).reshape(12, 16).astype(np.uint16)
    Image.fromarray(scan).save("scan.tif", exif=notes, dpi=(600, 300))
    for kind, suffix in album.SUFFIXES.items():
        assert run("scan.tif", "--format", kind) == 0
        name = f"out/scan{suffix}"
        made = files.open_photograph(files.read(name), name)
        assert made.pixels.dtype == (np.uint16 if kind in ("png", "tiff") else np.uint8) and not made.remarks
        if kind in ("png", "tiff"):
            assert_array_equal(made.pixels[..., 1], np.rot90(scan, -1))
        with Image.open(name) as image:
            exif = image.getexif()
            assert image.size == (12, 16) and exif.get(0x0112, 1) == 1
            assert exif[0x0132] == "1932:05:01 12:00:00" and exif[0x010E] == "Grandmother"
            if kind != "webp":
                assert np.allclose(image.info["dpi"], (300, 600), atol=0.1)


def test_what_is_lost_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(files, "_deepen", lambda *_: False)
    pixels = np.repeat(np.arange(12 * 16, dtype=np.uint16).reshape(12, 16, 1) * 300, 3, axis=-1)
    disk.write("deep.png", files.encode(files.Photograph(pixels), ".png"))
    assert run("deep.png") == 0
    assert says(capsys)[1].startswith("colorlib: 1 remarked: 1 x without its lower 8 of 16 bits")


def test_compare_writes_before_and_after_and_owns_it(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png")
    assert run("album") == 0 and run("album", "--compare") == 0
    assert says_last(capsys).startswith("1 colored, 0 done already")
    assert sorted(contents()) == ["a-compare.jpg", "a.png"]
    both = files.load("out/a-compare.jpg").astype(int)
    assert both.shape == (12, 32, 3)
    assert np.abs(both[:, :16] - files.load("album/a.png")).mean() < 6
    assert np.abs(both[:, 16:] - files.load("out/a.png")).mean() < 6
    assert run("album", "--compare") == 0
    assert says_last(capsys).startswith("0 colored, 1 done already")
    assert run("album", "--compare", "--overwrite", "--gain", "3") == 0
    assert sorted(contents()) == ["a-compare.jpg", "a.png"]
    assert np.abs(files.load("out/a-compare.jpg").astype(int) - both).mean() > 3


def says_last(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_pictures_in_color_already_are_left_alone_unless_asked(tmp_path, capsys):
    photographs(tmp_path / "album", "a.png")
    for number in range(3):
        files.save(np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8), f"album/c{number}.png")
    assert run("album") == 0
    out, error = says(capsys)
    assert error.startswith("colorlib: 3 left out: 3 x in color already: --recolor colors them anew (album/c0.png, ")
    assert out.startswith("1 colored, 0 done already, 3 in color already, 0 skipped")
    assert sorted(contents()) == ["a.png"]
    assert run("album", "--recolor") == 0
    assert says(capsys) == ("3 colored, 1 done already, 0 in color already, 0 skipped; results in out", "")


# Side by side


def test_pictures_are_read_and_written_while_one_is_colored(tmp_path, monkeypatch):
    photographs(tmp_path / "album", "a.png", "b.png", "c.png", "d.png")
    opened, coloring = [], []
    real = files.open_photograph
    monkeypatch.setattr(
        files, "open_photograph", lambda data, name, **page: opened.append(name) or real(data, name, **page)
    )

    def waits(model, picture):
        coloring.append(1)
        assert len(coloring) == 1  # one at a time: it takes all cores
        deadline = time.monotonic() + 10
        while len(opened) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        coloring.pop()
        return picture

    monkeypatch.setattr(colorize, "colorize", waits)
    start = time.monotonic()
    assert run("album") == 0
    assert time.monotonic() - start < 8 and len(opened) == 4


def test_few_pictures_are_in_work_and_a_large_one_is_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(album, "_PER_PLACE", 12 * 16 + 1)  # the small ones take one place
    names = [f"{number}.png" for number in range(12)]
    photographs(tmp_path / "album", *names)
    for name in names[3::4]:
        files.save(grey(1, 36, 48), f"album/{name}")
    counting, inside, most, beside_large = threading.Lock(), [], [], []
    color = album.Album._color

    def counted(self, source, *arguments):
        with counting:
            inside.append(source)
            most.append(len(inside))
            if any(each.name in names[3::4] for each in inside):
                beside_large.append(len(inside))
        time.sleep(0.01)
        try:
            return color(self, source, *arguments)
        finally:
            with counting:
                inside.remove(source)

    monkeypatch.setattr(album.Album, "_color", counted)
    assert run("album") == 0
    assert max(most) in (2, 3) and set(beside_large) == {1}
    assert sorted(contents()) == sorted(names)


def test_a_picture_that_does_not_fit_in_memory_is_skipped(tmp_path, capsys, monkeypatch):
    photographs(tmp_path / "album", "a.png", "b.png")

    def small(model, picture):
        if picture[0, 0, 0] == files.load("album/a.png")[0, 0, 0]:
            raise MemoryError
        return picture

    monkeypatch.setattr(colorize, "colorize", small)
    assert run("album") == 1
    out, error = says(capsys)
    assert (
        out.startswith("1 colored") and error == "colorlib: skipped album/a.png: too large for this computer's memory\n"
    )


def test_where_nothing_may_be_written_beside_the_folder_the_record_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert album.record_of(tmp_path / "out") == tmp_path / "out" / ".colorlib.jsonl"
    monkeypatch.undo()
    assert album.record_of(Path("/")) == Path("/.colorlib.jsonl")


def test_the_record_says_what_was_made_of_what(tmp_path):
    photographs(tmp_path / "album", "a.png")
    run("album", "--gain", "3")
    lines = [json.loads(line) for line in (tmp_path / ".out.colorlib.jsonl").read_text().splitlines() if line]
    begun, done = lines
    assert done == begun | {"done": True} and done["sha256"] == album.digest(contents()["a.png"])
    assert done["source"] == "../album/a.png" and done["file"] == "a.png"
    assert done["source_sha256"] == album.digest((tmp_path / "album" / "a.png").read_bytes())
    assert done["made_with"] == {"model": [album.digest(b"a model")], "dials": {"strength": 1.0, "gain": 3.0}}
