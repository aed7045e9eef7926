"""The README and the model card say what the result files say."""

import json

import pytest
from PIL import Image

from notebooks.runner import profiles, readme


@pytest.mark.parametrize(
    ("path", "table"),
    [(path, table) for path, tables in readme.TABLES.items() for table in tables],
    ids=lambda value: getattr(value, "__name__", None) or value.parent.name,
)
def test_tables_are_those_of_the_results(path, table):
    text, name = path.read_text(encoding="utf-8"), table.__name__
    inside = text.split(f"<!-- begin {name} -->")[1].split(f"<!-- end {name} -->")[0]
    assert inside.strip() == table().strip(), "run `make readme`"


def test_every_notebook_was_timed():
    timed = json.loads((readme.RESULTS / "benchmarks" / "train_all.json").read_text(encoding="utf-8"))["minutes"]
    assert list(timed) == list(profiles.source_notebooks(readme.ROOT / "notebooks"))


def test_the_strip_is_there_and_linked():
    with Image.open(readme.STRIP) as strip:
        assert strip.text["Source"] == readme.shipped_digest(), "run `make readme`"
    assert str(readme.STRIP.relative_to(readme.ROOT)) in (readme.ROOT / "README.md").read_text(encoding="utf-8")
