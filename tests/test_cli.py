"""The command line: what it writes, what it says, and its exit status."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from colorlib import __main__ as cli
from colorlib import colorize, models
from colorlib.data import files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.keras"
    keras.utils.set_random_seed(0)
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
    assert cli.main(["colorize", "album/1950", "--out", ".", "--model", model]) == 0 and (tmp_path / "b.png").is_file()
    for _ in range(2):  # what a run made below the folder is no source of the next
        assert cli.main(["colorize", "album", "--out", "album/colored", "--model", model]) == 1
    assert written(album / "colored") == ["1950/b.png", "a.jpg", "a.png"]


def test_the_input_is_never_overwritten_and_twins_get_numbers(album, model):
    before = (album / "a.png").read_bytes()
    (album / "1950" / "a.png").write_bytes(before)
    files = ["album/a.png", "album/1950/a.png"]
    assert cli.main(["colorize", *files, "--out", "album", "--model", model]) == 0
    assert (album / "a.png").read_bytes() == before
    assert (album / "a-2.png").is_file() and (album / "a-3.png").is_file()


def test_letters_of_another_case_are_the_same_file_on_some_disks(tmp_path):
    sources = [tmp_path / "x" / "A.png", tmp_path / "y" / "a.png"]
    pairs = cli._with_targets([(source, Path(source.stem)) for source in sources], tmp_path / "out")
    assert [target.name for _, target in pairs] == ["A.png", "a-2.png"]


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


@pytest.mark.parametrize("name", ["--vividness", "--tau"])
def test_the_old_names_of_a_dial_still_turn_it(name, album, model, capsys, monkeypatch):
    turned = {}
    monkeypatch.setattr(colorize, "set_dials", lambda model, **dials: turned.update(dials))
    assert cli.main(["colorize", "album/a.png", "--out", "colored", "--model", model, name, "0.5"]) == 0
    assert turned == {"temperature": None, "rebalance": 0.5, "gain": None}
    assert capsys.readouterr().err == "colorlib: --vividness and --tau are now called --rebalance\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jpg"], "skipped nowhere.jpg: no such file"),
        (["album/a.png", "--temperature", "0"], "temperature must be"),
        (["album/a.png", "--model", "nowhere.keras"], "nowhere.keras: no such model file"),
        (["album", "--out", "album"], "--out album is the folder that is read; name another"),
        (["album/a.png", "--out", "album/notes.txt"], "--out album/notes.txt is a file; name a folder"),
    ],
)
def test_where_nothing_could_be_done_the_status_is_2_and_the_reason_one_line(album, model, capsys, arguments, message):
    assert cli.main(["colorize", "--out", "colored", "--model", model, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("colorlib: ") and error.count("\n") == 1


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
        (["colorize", "a.jpg", "--out", "b", "--gain", "nan"], "--gain: must be a number, 0 or more, not 'nan'"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1


def test_pictures_against_themselves_score_perfectly(album, capsys):
    (album / "broken.jpg").unlink()
    (album / "a.png").unlink()  # the same name as a.JPG
    assert cli.main(["evaluate", "album", "album", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pictures"] == 2
    assert report["scores"]["ciede2000"]["mean"] == 0
    assert report["scores"]["colorfulness_ratio"]["mean"] == pytest.approx(1)
    assert report["set_scores"]["ab_wasserstein"] == 0
    assert cli.main(["evaluate", "album", "album"]) == 0
    table = capsys.readouterr().out
    assert re.search(r"ciede2000 +0\.000   0\.000 \.\. 0\.000\n", table)


def test_pairs_that_cannot_be_scored_are_reported_and_the_others_scored(album, capsys):
    assert cli.main(["evaluate", "album", "album", "--json"]) == 1
    out, error = capsys.readouterr()
    assert json.loads(out)["pictures"] == 1
    first, second = error.splitlines()
    assert first == "colorlib: skipped a: several pictures of this name in album"
    assert second.startswith("colorlib: skipped broken: album/broken.jpg: ")


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
