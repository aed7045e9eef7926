"""The command line: what it writes, what it says, and its exit status."""

import errno
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from colorlib import __main__ as cli
from colorlib import colorize, models, training
from colorlib.data import files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.keras"
    training.set_seed(0)
    models.vivid_colorizer(None, widths=(8, 8, 8, 8)).save(path)
    return str(path)


@pytest.fixture
def album(tmp_path, monkeypatch):
    """A folder with pictures of three formats, one of them broken, and one in a subfolder; also the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "album"
    (folder / "1950").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in (("a.JPG", (40, 60, 3)), ("a.png", (33, 47, 3)), ("1950/b.webp", (64, 64, 3))):
        files.save(rng.integers(60, 190, shape, dtype=np.uint8), folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_colored_and_the_broken_file_reported(album, model, capsys, tmp_path):
    assert cli.main(["colorize", "album", "--out", "colored", "--model", model]) == 1
    assert written(tmp_path / "colored") == ["1950/b.png", "a.jpg", "a.png"]
    error = capsys.readouterr().err
    assert error.startswith("colorlib: skipped album/broken.jpg: ") and error.count("\n") == 1
    assert files.load(tmp_path / "colored" / "a.png").shape == (33, 47, 3)
    # What this run made below the folder is no source of the next.
    assert cli.main(["colorize", "album", "--out", "album/colored", "--model", model]) == 1
    assert cli.main(["colorize", "album", "--out", "album/colored", "--model", model]) == 1
    assert written(album / "colored") == ["1950/b.png", "a.jpg", "a.png"]


def test_the_input_is_never_overwritten_and_twins_get_numbers(album, model):
    before = (album / "a.png").read_bytes()
    (album / "1950" / "a.png").write_bytes(before)
    files = ["album/a.png", "album/1950/a.png"]
    assert cli.main(["colorize", *files, "--out", "album", "--model", model]) == 0
    assert (album / "a.png").read_bytes() == before
    assert (album / "a-2.png").is_file() and (album / "a-3.png").is_file()


def test_a_macs_shadow_files_are_no_pictures(album, model, capsys):
    for name in ("broken.jpg", "a.JPG"):
        (album / name).unlink()
    for name in ("._a.png", "__MACOSX/a.png"):
        (album / name).parent.mkdir(exist_ok=True)
        (album / name).write_bytes(b"\0\5\x16\7")
    assert cli.main(["colorize", "album", "--out", "colored", "--model", model]) == 0
    assert cli.main(["evaluate", "album", "album"]) == cli.main(["evaluate", "album", "colored"]) == 0
    assert "skipped" not in capsys.readouterr().err


def test_what_is_skipped_is_said_at_once(album, model, capsys, monkeypatch):
    said = []

    def colorized(model, picture):
        said.append(capsys.readouterr().err)
        return picture

    monkeypatch.setattr(colorize, "colorize", colorized)
    files = ["nowhere.jpg", "album/a.png", "album/broken.jpg", "album/a.JPG"]
    assert cli.main(["colorize", *files, "--out", "colored", "--model", model]) == 1
    assert ["nowhere.jpg" in said[0], "broken.jpg" in said[0], "broken.jpg" in said[1]] == [True, False, True]


def test_letters_of_another_case_are_the_same_file_on_some_disks(tmp_path):
    sources = [tmp_path / "x" / "A.png", tmp_path / "y" / "a.png"]
    targets = cli._targets(sources, [tmp_path / "out" / "A", tmp_path / "out" / "a"])
    assert [target.name for target in targets] == ["A.png", "a-2.png"]


def test_the_dials_reach_the_model(album, model, tmp_path):
    assert cli.main(["colorize", "album/a.png", "--out", "grey", "--model", model, "--gain", "0"]) == 0
    assert cli.main(["colorize", "album/a.png", "--out", "plain", "--model", model]) == 0
    assert cli.main(["colorize", "album/a.png", "--out", "sharp", "--model", model, "--temperature", "0.01"]) == 0
    grey, plain, sharp = (files.load(tmp_path / name / "a.png").astype(int) for name in ("grey", "plain", "sharp"))
    assert np.ptp(grey, axis=-1).max() <= 1
    turned = colorize.load(model)
    colorize.set_dials(turned, temperature=0.01)
    np.testing.assert_allclose(sharp, colorize.colorize(turned, files.load(album / "a.png")), atol=1)
    assert np.abs(sharp - plain).max() > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["album/broken.jpg"], "skipped album/broken.jpg"),
        (["nowhere.jpg"], "skipped nowhere.jpg: no such file or folder"),
        (["empty"], "skipped empty: no picture in this folder"),
        (["album/a.png", "--temperature", "0"], "temperature must be"),
        (["album/a.png", "--model", "nowhere.keras"], "nowhere.keras: no such model file"),
        (["album", "--out", "album"], "--out album is the folder that is read; name another"),
        (["album/a.png", "--out", "album/notes.txt"], "--out album/notes.txt is a file; name a folder"),
    ],
)
def test_where_nothing_could_be_done_the_status_is_2_and_the_reason_one_line(album, model, capsys, arguments, message):
    (album.parent / "empty").mkdir()
    assert cli.main(["colorize", "--out", "colored", "--model", model, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("colorlib: ") and error.count("\n") == 1


def test_a_full_disk_stops_the_run_with_one_line(album, model, capsys, monkeypatch):
    def full(array, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "save", full)
    assert cli.main(["colorize", "album/a.png", "--out", "colored", "--model", model]) == 2
    assert capsys.readouterr().err == "colorlib: [Errno 28] No space left on device: 'colored/a.png'\n"


def test_ctrl_c_is_one_line_and_status_130(album, model, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(colorize, "colorize", interrupted)
    assert cli.main(["colorize", "album/a.png", "--out", "colored", "--model", model]) == 130
    assert capsys.readouterr().err.strip() == "colorlib: stopped; what was finished is kept"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["colorise"], "invalid choice: 'colorise'"),
        (["colorize", "a.jpg"], "the following arguments are required: --out"),
        (
            ["colorize", "a.jpg", "--out", "b", "--gain", "much"],
            "argument --gain: must be a number, 0 or more, not 'much'",
        ),
        (
            ["colorize", "a.jpg", "--out", "b", "--gain", "nan"],
            "argument --gain: must be a number, 0 or more, not 'nan'",
        ),
        (["colorize", "a.jpg", "--out", "b", "--vividness", "-1"], "argument --vividness: must be a number, 0 or more"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1


def test_help_shows_an_example_and_the_version_is_the_packages(capsys):
    import colorlib

    for flag, text in (
        ("--help", "colorlib colorize grandfather.jpg --out colored"),
        ("--version", colorlib.__version__),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main([flag])
        assert stop.value.code == 0 and text in capsys.readouterr().out


def test_pictures_against_themselves_score_perfectly(album, capsys):
    (album / "broken.jpg").unlink()
    (album / "a.png").unlink()  # the same name as a.JPG
    assert cli.main(["evaluate", "album", "album", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pictures"] == 2
    assert report["conventions"]["lab"] == "CIELAB, D65, 2 degrees"
    constant = report["set_scores"]["constant_sign_agreement"]
    assert 0.5 <= constant < 1
    assert report["scores"]["ciede2000"]["mean"] == 0
    assert report["scores"]["colorfulness_ratio"]["mean"] == pytest.approx(1)
    assert report["set_scores"]["ab_wasserstein"] == 0
    assert cli.main(["evaluate", "album", "album"]) == 0
    table = capsys.readouterr().out
    assert "ciede2000                  0.000   0.000 .. 0.000\n" in table
    assert f"sign_agreement             1.000   1.000 .. 1.000   (the best single color: {constant:.3f})\n" in table


def test_pairs_that_cannot_be_scored_are_reported_and_the_others_scored(album, capsys):
    assert cli.main(["evaluate", "album", "album", "--json"]) == 1
    out, error = capsys.readouterr()
    assert json.loads(out)["pictures"] == 1
    first, second = error.splitlines()
    assert first == "colorlib: skipped a: several pictures of this name in album"
    assert second.startswith("colorlib: skipped broken: album/broken.jpg: ")
    (album / "1950" / "b.webp").unlink()
    assert cli.main(["evaluate", "album", "album"]) == 2
    error = capsys.readouterr().err
    assert "can be scored; the first: a: several" in error and error.count("\n") == 1


def test_a_long_list_of_reasons_is_cut(capsys):
    cli._report("rejected", [f"{number}.jpg:\nbroken" for number in range(12)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[9:] == ["colorlib: rejected 9.jpg: broken", "colorlib: and 2 more"]


@pytest.mark.parametrize(
    "arguments", [["evaluate", "nowhere", "album"], ["data", "nowhere.zip"], ["data", "scenes", "--role", "cats"]]
)
def test_bad_input_to_the_other_commands(album, capsys, arguments):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("colorlib: ") and error.strip().count("\n") == 0
    assert ("nowhere" if "nowhere" in " ".join(arguments) else "cats") in error


def test_data_says_what_it_made(album, capsys, tmp_path):
    assert cli.main(["data", "album"]) == 1
    out, error = capsys.readouterr()
    assert error.startswith("colorlib: rejected broken.jpg: ") and error.count("\n") == 1
    counts, folder = out.splitlines()
    assert re.fullmatch(r"3 pictures \(\d train, \d validation, \d test\), 1 rejected", counts)
    assert len(list((tmp_path / folder / "pictures").iterdir())) == 3
    (album / "broken.jpg").unlink()
    assert cli.main(["data", "album"]) == 0


@pytest.mark.slow
def test_a_run_that_goes_well_says_nothing_on_stderr(album, model):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    run = subprocess.run(
        [sys.executable, "-m", "colorlib", "colorize", "album/a.png", "--out", "colored", "--model", model],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
