"""README, docs/ and the model card say what the result files say."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from colorlib import colorize
from colorlib.scoring import results, scores
from notebooks.runner import docs, profiles

TABLES = [(page, table) for page in docs.PAGES for table in docs.tables_of(page)]


@pytest.mark.parametrize(
    ("page", "table"), TABLES, ids=lambda value: getattr(value, "__name__", None) or f"{value.parent.name}-{value.stem}"
)
def test_tables_are_those_of_the_results(page, table):
    text, name = page.read_text(encoding="utf-8"), table.__name__
    inside = text.split(f"<!-- begin {name} -->")[1].split(f"<!-- end {name} -->")[0]
    assert inside.strip() == table().strip(), "run `make docs`"


def test_every_table_is_on_a_page():
    assert {table for _, table in TABLES} == set(docs.TABLES)


def test_every_notebook_was_timed_and_is_listed():
    timed = json.loads((docs.RESULTS / "benchmarks" / "train_all.json").read_text(encoding="utf-8"))["minutes"]
    assert list(timed) == list(docs.NOTEBOOKS) == list(profiles.source_notebooks(docs.ROOT / "notebooks"))


def test_what_the_originals_show_is_in_a_section_of_its_notebook():
    text = (docs.ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\| (\d\d), (\*.*\*) \|$", text, re.MULTILINE)
    assert len(rows) > 15
    for number, sections in rows:
        (path,) = (docs.ROOT / "notebooks").glob(f"{number}_*.ipynb")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        headings = {line[3:].strip() for cell in cells for line in cell["source"] if line.startswith("## ")}
        assert set(re.findall(r"\*(.+?)\*(?:, |$)", sections)) <= headings


def test_the_tests_that_the_docs_name_are_there():
    rows = re.findall(
        r"^\|.*\| (`\w+`(?:, `\w+`)*) \|$", (docs.ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE
    )
    tests = (docs.ROOT / "tests" / "test_nothing_silent.py").read_text()
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(named) > 15 and not [name for name in named if f"def test_{name}" not in tests]


# The shipped colorizer, from rows


def add_row(variant, role, seed, values, **more):
    """Adds a run to the table of the shipped colorizer: CIEDE2000 of each picture, and what goes with it."""
    frame = pd.DataFrame({"ciede2000": values, "colorfulness": 30.0, "colorfulness_true": 40.0, "blots": 0.01})
    frame = frame.assign(blots_true=0.02, sepia=0.5, sepia_true=0.4, psnr=20.0, ssim=0.9, variety=3.0, variety_true=4.0)
    row = {"experiment": docs.SHIP.stem, "variant": variant, "role": role, "seed": seed, "data": role, "digest": role}
    row |= {"parameters": "{}", "settings": "s", "test": len(values), "train": 1000, "ab_wasserstein": 1.5}
    for name, found in scores.summary(frame).items():
        row |= {name: found["mean"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
    results.add(docs.SHIP, row | more, frame)


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """A table of the shipped colorizer, of three variants on each set, in place of the real one."""
    monkeypatch.setattr(docs, "SHIP", tmp_path / "results" / "12_the_colorizer.csv")
    for role in docs.SETS:
        add_row("grey", role, results.ALL, [10.0, 12.0, 14.0])
        add_row("l2-gain", role, 0, [7.0, 9.0, 11.0])
        add_row("colorizer", role, 0, [5.0, 6.0, 8.5])


def cells(table):
    """A Markdown table's rows: its first cell -> the others."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {first: rest for first, *rest in rows}


@pytest.mark.usefixtures("ship")
def test_the_shipped_colorizer_is_shown_by_its_rows():
    assert cells(docs.shipped_rows())["more, of everyday life"] == ["6.50", "12.00", "0.75"]
    assert list(cells(docs.shipped_rows())) == ["photographs", "---", *docs.SETS.values()]
    row = cells(docs.shipped())["faces"]
    assert row[:3] == ["3", "6.50 [5.00, 8.50]", "0.75 [0.75, 0.75]"] and row[-3:] == ["12.00", "1.0 (2.0)", "50 (40)"]
    beside = cells(docs.shipped_beside())
    assert list(beside) == ["variant", "---", "grey", "l2-gain", "colorizer"]
    assert beside["variant"] == list(docs.SETS) and beside["l2-gain"] == ["9.00 at 0.75"] * 6
    card = json.loads((docs.WEIGHTS / "colorizer.json").read_text(encoding="utf-8"))
    line = docs.training_of_shipped()
    assert f"{card['parameters']:,} parameters" in line and " 5,000 training pictures" in line


def test_a_missing_row_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(docs, "SHIP", tmp_path / "results" / "12_the_colorizer.csv")
    with pytest.raises(ValueError, match=r"12_the_colorizer\.csv: no row of grey on faces, flowers, .*, kodak"):
        docs.shipped_rows()
    add_row("grey", "faces", results.ALL, [10.0])
    with pytest.raises(ValueError, match=r"no row of grey on flowers, .*, kodak"):
        docs.shipped_rows()


def test_skin_is_scored_in_thirds_by_lightness(ship):
    frame = pd.DataFrame({"ciede2000": [3.0, 9, 6, 4, 8, 5], "grey": 12.0, "colorfulness": 30, "colorfulness_true": 40})
    found = docs.by_lightness(frame, np.array([80.0, 20, 50, 70, 30, 40]))
    assert found["skin"].tolist() == ["darkest third", "middle third", "lightest third"]
    assert found["L* of the face"].tolist() == ["20 to 30", "40 to 50", "70 to 80"]
    assert [cell.split()[0] for cell in found["CIEDE2000 ↓"]] == ["8.50", "5.50", "3.50"]
    assert found["pictures"].tolist() == [2, 2, 2] and found["colorfulness ratio → 1"][0] == "0.75 [0.75, 0.75]"
    results.add_note(docs.SHIP.parent.parent, docs.SHIP.stem, "center lightness, faces", [90.0, 10.0, 50.0])
    table = cells(docs.skin_thirds())
    assert table["darkest third"][2:4] == ["6.00 [6.00, 6.00]", "12.00 [12.00, 12.00]"]
    results.add_note(docs.SHIP.parent.parent, docs.SHIP.stem, "center lightness, faces", [90.0, 10.0])
    with pytest.raises(ValueError, match="length"):
        docs.skin_thirds()


# The gallery


def test_the_gallery_is_made_by_the_weights_that_ship():
    kept = json.loads((docs.COLORED / "scores.json").read_text(encoding="utf-8"))
    assert kept["made_from"] == docs.made_from(), "run `make docs`"


@pytest.mark.parametrize("changed", ["colorizer.weights.h5", "colorizer.json", "kodim01.jpg", "credits.csv"])
def test_the_gallery_is_old_where_the_weights_or_a_photograph_changed(tmp_path, monkeypatch, changed):
    before = docs.made_from()
    for name in ("WEIGHTS", "GALLERY"):
        monkeypatch.setattr(docs, name, shutil.copytree(getattr(docs, name), tmp_path / name))
    assert docs.made_from() == before
    (path,) = tmp_path.rglob(changed)
    path.write_bytes(path.read_bytes() + b" ")
    assert docs.made_from() != before


def test_the_gallery_shows_every_photograph_in_the_order_of_its_hash():
    text = (docs.ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    shown, found = re.findall(r"\(gallery/(\w+)\.jpg\)", text), docs._gallery_scores()
    assert shown == [photo["name"] for photo in docs._photographs()] and len(shown) == 30
    assert sorted(shown) == sorted(path.stem for path in docs.COLORED.glob("*.jpg"))
    assert sorted(shown) == sorted(path.stem for path in docs.GALLERY.glob("*.jpg"))
    digests = [photo["digest"] for photo in docs._photographs()]
    assert digests == sorted(digests) and len(set(digests)) == 30
    assert sorted(found) == [f"kodim{number:02}" for number in range(1, 25)]
    assert text.count("CIEDE2000 ") == 24 + 1, "one for each truth, none for an old photograph; one for the mean"
    assert sum(path.stat().st_size for path in docs.COLORED.iterdir()) < 2.5e6
    for name in shown:
        with Image.open(docs.COLORED / f"{name}.jpg") as drawn, Image.open(docs.GALLERY / f"{name}.jpg") as photograph:
            count, scale = 3 if name in found else 2, 220 / min(photograph.size)
            width, height = (round(side * scale) for side in photograph.size)
            assert drawn.size == (count * width + 8 * (count - 1), height)


def test_the_gallery_shows_what_the_shipped_model_paints_now(tmp_path):
    photo = docs._photographs()[0]
    assert photo["name"] in docs._gallery_scores(), "of known colors"
    drawn = docs.color_photograph(colorize.load(), docs.GALLERY / photo["file"])
    docs._save(docs.side_by_side(drawn), tmp_path / "drawn.jpg", quality=85)
    with Image.open(docs.COLORED / f"{photo['name']}.jpg") as kept, Image.open(tmp_path / "drawn.jpg") as now:
        gap = np.abs(np.asarray(kept, float) - np.asarray(now, float)).mean()
    assert gap < 0.5, "8-bit levels; versions of Keras differ by less. Run `make docs`"
    lab = docs.color.lab_of(np.stack(drawn))
    assert np.abs(lab[0, ..., 1:]).max() < 1, "the first is grey, but for rounding"
    assert np.abs(lab[0, ..., 0] - lab[2, ..., 0]).mean() < 0.5


def test_the_scores_of_the_gallery_are_of_its_pictures():
    found = docs._gallery_scores()["kodim01"]
    truth = docs.files.load(docs.GALLERY / "kodim01.jpg")
    lightness, ab = docs.color.from_uint8(truth)
    grey = docs.color.render(lightness, 0 * ab)[0]
    of_grey = scores.per_picture(grey[None], truth[None], only=("ciede2000",))["ciede2000"][0]
    assert found["grey"] == pytest.approx(of_grey, abs=1e-3) and found["colorized"] != pytest.approx(of_grey, abs=1e-3)


def test_the_worst_lead_into_the_gallery():
    found = docs._gallery_scores()
    lines = docs.failures().splitlines()
    text = (docs.ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    anchors = {line[4:].lower().replace(" ", "-") for line in text.splitlines() if line.startswith("### ")}
    losses = []
    for line in lines:
        link, result, grey = re.search(r"\((.+)\): CIEDE2000 (\S+), grey (\S+)", line).groups()
        place, anchor = link.split("#")
        assert (docs.WEIGHTS / place).resolve() == docs.ROOT / "docs" / "gallery.md" and anchor in anchors
        losses.append(float(result) - float(grey))
    assert len(lines) == 5 and losses == pytest.approx(sorted(losses, reverse=True))
    assert losses[0] == pytest.approx(max(of["colorized"] - of["grey"] for of in found.values()), abs=0.11)


def test_the_strip_shows_two_by_hash_the_worst_and_two_old_photographs():
    colors = [(200, 0, 0), (0, 160, 0), (0, 0, 200)]
    names = {"b": (60, 40), "worst": (40, 60), "a": (40, 60), "c": (60, 40)}  # height, width; in the order of the hash
    names |= {"1936_migrant_mother": (90, 70), "1941_taos_church": (90, 68)}
    drawn = {}
    for i, (name, shape) in enumerate(names.items()):  # each photograph has a blue of its own
        each = [np.full((*shape, 3), color, np.uint8) + np.uint8([0, 0, 9 * i]) for color in colors]
        drawn[name] = each if len(name) < 6 else each[:2]
    found = {name: {"colorized": 9.0, "grey": 10.0} for name in ("b", "worst", "a", "c")}
    found["worst"]["colorized"] = 12.0
    shown = np.asarray(docs.strip(drawn, found)).astype(int)
    assert shown.shape[1] == 1200
    dark = (shown.min(axis=2) < 250).any(axis=1)  # of each row: whether something is there
    at = {}
    for name, pictures in drawn.items():
        at[name] = [np.argwhere((shown == picture[0, 0]).all(axis=2)) for picture in pictures]
    tops = {name: of[0][:, 0].min() for name, of in at.items() if len(of[0])}
    assert set(tops) == {"b", "a", "worst", "1936_migrant_mother", "1941_taos_church"}, "c is neither first nor worst"
    assert tops["b"] == tops["1936_migrant_mother"] == tops["1941_taos_church"] < tops["a"] == tops["worst"]
    for name in tops:
        lefts = [place[:, 1].min() for place in at[name]]
        heights = {np.ptp(place[:, 0]) for place in at[name]}
        assert lefts == sorted(lefts) and len(heights) == 1
        assert tops[name] >= 30 and dark[tops[name] - 30 : tops[name]].any(), "a label above"
    for line in (["b", "1936_migrant_mother", "1941_taos_church"], ["a", "worst"]):
        assert at[line[0]][0][:, 1].min() == 0 and 1195 <= at[line[-1]][-1][:, 1].max() < 1200
        for name in line[1:]:  # the label before ends before this one begins
            left = at[name][0][:, 1].min()
            assert (shown[tops[name] - 30 : tops[name] - 2, left - 20 : left - 1] > 250).all()


def test_the_strip_of_the_readme_is_wide_and_small():
    with Image.open(docs.STRIP) as kept:
        assert kept.width == 1200 and 350 < kept.height < 800
    assert docs.STRIP.stat().st_size < 300e3
    assert "](docs/strip.jpg)" in (docs.ROOT / "README.md").read_text(encoding="utf-8")


# Tables


def test_markdown_aligns_numbers_right_and_escapes_bars():
    frame = pd.DataFrame({"variant": ["a|b", "L2"], "seeds": [3, 1], "score": [1.234, 2.0], "cell": ["1.0 [0]", "–"]})
    assert docs.markdown(frame).splitlines() == [
        "| variant | seeds | score | cell |",
        "| --- | ---: | ---: | ---: |",
        "| a\\|b | 3 | 1.23 | 1.0 [0] |",
        "| L2 | 1 | 2.00 | – |",
    ]


def test_update_marked_replaces_only_what_is_between_its_markers(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("top\n<!-- begin a -->\nold\n<!-- end a -->\nmiddle\n<!-- begin b -->\n<!-- end b -->\n")
    assert docs.update_marked(page, "a", "| new |\n")
    wanted = "top\n<!-- begin a -->\n| new |\n<!-- end a -->\nmiddle\n<!-- begin b -->\n<!-- end b -->\n"
    assert page.read_text() == wanted
    assert not docs.update_marked(page, "a", "| new |")


@pytest.mark.parametrize("text", ["", "<!-- end a --><!-- begin a -->", "<!-- begin a --><!-- end a -->" * 2])
def test_missing_markers_raise_and_leave_the_file_alone(tmp_path, text):
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"README\.md: needs <!-- begin a --> and, after it, <!-- end a -->, once"):
        docs.update_marked(page, "a", "new")
    assert page.read_text() == text
