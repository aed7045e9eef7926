"""The command line: what it writes, what it says, and its exit status."""

import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import colorlib
from colorlib import __main__ as cli
from colorlib import colorize, models
from colorlib.data import files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.keras"
    keras.utils.set_random_seed(0)
    models.vivid_colorizer(models.small_backbone(None, widths=(8, 8, 8, 8)), widths=()).save(path)
    return str(path)


@pytest.fixture(autouse=True)
def all_are_grey(monkeypatch):
    """What is in color is not the question here."""
    monkeypatch.setattr(colorize, "is_toned_or_grey", lambda picture: True, raising=False)


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
    """Paths below a folder."""
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


def test_the_strength_reaches_the_model_and_the_other_dials_only_where_given(album, model, monkeypatch):
    turned = []
    monkeypatch.setattr(colorize, "load", lambda path: None)
    monkeypatch.setattr(colorize, "colorize", lambda model, picture: picture)
    monkeypatch.setattr(colorize, "set_dials", lambda model, **dials: turned.append(dials))
    for number, dials in enumerate([[], ["--strength", "2"], ["--strength", "0.5", "--gain", "3"]]):
        assert cli.main(["colorize", "album/a.png", "--out", str(number), "--model", model, *dials]) == 0
    assert turned == [{}, {"strength": 2.0}, {"strength": 0.5, "gain": 3.0}]


def test_the_shipped_model_is_loaded_by_default(album, monkeypatch):
    loaded = []
    monkeypatch.setattr(colorize, "load", lambda path=None: loaded.append(path) or colorlib.load)
    monkeypatch.setattr(colorize, "colorize", lambda model, picture: picture)
    monkeypatch.setattr(colorize, "set_dials", lambda model: None)
    assert cli.main(["colorize", "album/a.png", "--out", "colored"]) == 0
    colorlib.load()
    colorlib.load("my.keras")
    assert loaded == [None, None, "my.keras"]


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 321, 3), (321, 3, 3)])
def test_the_smallest_and_narrowest_pictures_are_colored(album, model, shape):
    files.save(np.full(shape, 90, np.uint8), album / "small.png")
    assert cli.main(["colorize", "album/small.png", "--out", "colored", "--compare", "--model", model]) == 0
    assert files.load("colored/small.png").shape == shape
    assert files.load("colored/small-compare.jpg").shape == (shape[0], 2 * shape[1], 3)


def bad_model(kind, path):
    """A file that is no colorizer: a text, a model that maps other things, or one whose training has diverged."""
    if kind == "text":
        path.write_text("no model")
        return "not a Keras model"
    inputs = keras.Input((None, None, 3 if kind == "foreign" else 1))
    other = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    if kind == "nan":
        other.set_weights([np.full_like(weight, np.nan) for weight in other.get_weights()])
    other.save(path)
    return "not a colorizer" if kind == "foreign" else "no finite numbers"


@pytest.mark.parametrize("kind", ["text", "foreign", "nan"])
def test_a_model_that_cannot_be_used_is_one_line_and_nothing_is_written(album, capsys, tmp_path, kind):
    reason = bad_model(kind, tmp_path / "bad.keras")
    assert cli.main(["colorize", "album", "--out", "colored", "--model", "bad.keras"]) == 2
    error = capsys.readouterr().err
    assert "bad.keras" in error and reason in error and error.count("\n") == 1
    assert written(tmp_path / "colored") == []


def test_the_version_says_what_the_weights_are_for(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and out.startswith(f"colorlib {colorlib.__version__}\n")
    assert out.count("research use") == 1 and "colorlib/weights/LICENSE" in out


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
        (
            ["colorize", "a.jpg", "--out", "b", "--strength", "2.1"],
            "--strength: must be a number from 0 to 2, not '2.1'",
        ),
        (["colorize", "a.jpg", "--out", "b", "--strength", "-1"], "--strength: must be a number, 0 or more, not '-1'"),
        (["colorize", "a.jpg", "--out", "b", "--format", "gif"], "argument --format: invalid choice: 'gif'"),
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
    assert json.loads(out)["pictures"] == 3  # a.jpg and a.png each with itself
    assert error.startswith("colorlib: 1 left out: 1 x ") and error.endswith(" (album/broken.jpg)\n")


@pytest.mark.parametrize(
    "arguments", [["evaluate", "nowhere", "album"], ["data", "nowhere.zip"], ["data", "scenes", "--role", "cats"]]
)
def test_bad_input_to_the_other_commands(album, capsys, arguments):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("colorlib: ") and error.strip().count("\n") == 0
    assert ("nowhere" if "nowhere" in " ".join(arguments) else "cats") in error


def test_data_takes_rules_and_frames(album, capsys, monkeypatch):
    from colorlib.data import cleaning, sets, sources

    taken = []
    monkeypatch.setattr(sets, "prepare", lambda source, **options: taken.append(options) or sys.exit(0))
    for arguments, rules, frames, limit in [
        ([], cleaning.USUAL, sources.TWO_SECONDS, None),
        (["--limit", "9", "--grey", "--longest", "2"], cleaning.Rules(grey=True, longest=2), sources.TWO_SECONDS, 9),
        (["--no-portraits", "--square"], cleaning.Rules(portraits=False, square=True), sources.TWO_SECONDS, None),
        (["--faces", "--every", "0.5"], cleaning.Rules(faces=True), sources.Frames(every=0.5), None),
        (["--frames", "3"], cleaning.USUAL, sources.Frames(number=3), None),
        (["--scenes"], cleaning.USUAL, sources.Frames(apart=sources.SCENES_APART), None),
    ]:
        with pytest.raises(SystemExit):
            cli.main(["data", "album", *arguments])
        assert taken.pop() == {"role": "varied", "limit": limit, "rules": rules, "frames": frames}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "needs a SOURCE"), (["--longest", "0.5"], "at most 0.5 short ones"),
        (["--every", "0"], "time between two"),
        (["--frames", "0"], "at least 1"), (["--limit", "0"], "a limit of 0"),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_told(album, capsys, arguments, why):
    assert cli.main(["data", *(["album"] if arguments else []), *arguments]) == 2
    assert why in capsys.readouterr().err


def test_data_says_what_it_made(album, capsys, tmp_path):
    assert cli.main(["data", "album"]) == 1
    out, error = capsys.readouterr()
    *concerns, told = error.splitlines()
    assert told.startswith("colorlib: 1 left out: 1 x ") and told.endswith(" (broken.jpg)")
    assert all("of one tint" in line or "chance left no" in line or "stay in one split" in line for line in concerns)
    counts, folder = out.splitlines()
    assert re.fullmatch(r"3 pictures \(\d train, \d validation, \d test\), 1 rejected", counts)
    assert len(list((tmp_path / folder / "pictures").iterdir())) == 3


@pytest.mark.slow
def test_the_command_line_leaves_out_what_keras_imports_for_other_uses():
    script = (
        "import sys; from colorlib import __main__; __main__._import_keras_quietly(); "
        "print(sorted({'jax', 'pandas', 'matplotlib', 'sklearn', 'IPython'} & set(sys.modules))); "
        "import pandas, matplotlib; print(pandas.DataFrame([1]).size)"
    )
    environment = os.environ | {"KERAS_BACKEND": "tensorflow"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[]", "1"]
