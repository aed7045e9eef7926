"""README, docs/ and the model card say what the result files say."""

import json

import pandas as pd
import pytest
from PIL import Image

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


def test_the_first_picture_is_a_photograph_its_lightness_and_its_color(tmp_path):
    docs.draw_picture(tmp_path / "drawn.jpg")
    with Image.open(docs.PICTURE) as kept, Image.open(tmp_path / "drawn.jpg") as drawn:
        assert kept.size == drawn.size == (3 * 360 + 2 * 12, 240)


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
