"""What `make gpu-check` does, on a small network in place of the published ones."""

import importlib.util
import json
from pathlib import Path

import keras
import pytest

from colorlib.data import sets

FILE = Path(__file__).parent / "benchmarks" / "full.py"


@pytest.fixture(scope="module")
def full():
    spec = importlib.util.spec_from_file_location("full", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def profile(full, monkeypatch):
    small = {"image_size": 16, "epochs": 10, "limit": 1000}
    monkeypatch.setattr(
        full, "published", lambda notebook: small if notebook == "small" else dict(full.PROFILE["shared"])
    )


def small(size):
    inputs = keras.Input((size, size, 1))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same", name="ab")(inputs))


def test_operations_and_memory_on_paper_are_those_of_the_formulas(full, monkeypatch):
    monkeypatch.setattr(full, "SYSTEMS", {"small": (small, 4, "mse", "small")})
    forward = 16 * 16 * 2 * (2 * 9 + 1)  # two channels: nine products and sums, and the bias
    assert full.operations(small(16), 16) == forward
    found = full.on_paper("small")
    assert found["parameters"] == 20
    assert full.outputs(small(16), 4) == 4 * 16 * 16 * (1 + 2)
    monkeypatch.setattr(full, "RATE", 3 * forward * 1000 * sets.SPLITS["train"] * 10 / 3600)
    assert full.on_paper("small")["hours"] == 1.0


def test_a_check_trains_and_names_the_hardware_and_one_failure_costs_one_system(full, monkeypatch, tmp_path, capsys):
    def too_large(_):
        raise MemoryError("out of memory")

    monkeypatch.setattr(
        full, "SYSTEMS", {"1 large": (too_large, 4, "mse", "small"), "2 small": (small, 4, "mse", "small")}
    )
    assert full.main(["--train", "6", "--out", str(tmp_path / "a.json")]) == 1
    found = json.loads((tmp_path / "a.json").read_text())
    said = capsys.readouterr().out
    assert said.count("failed") == 1 and "1 large: failed: MemoryError: out of memory" in said, said
    assert found["steps"] == 6 and "cores" in found["hardware"] and list(found["systems"]) == ["2 small"]
    measured = found["systems"]["2 small"]
    assert measured["pictures a second"] > 0 and 0 <= measured["input wait"] < 1 and measured["memory, GB"] > 0.1
    assert full.main(["--train", "6", "--only", "2", "--out", str(tmp_path / "b.json")]) == 0
    with pytest.raises(SystemExit):
        full.main(["--train", "2"])


def test_every_published_system_is_there_at_the_size_of_its_profile(full, monkeypatch):
    monkeypatch.undo()
    assert {name[0] for name in full.SYSTEMS} >= set("12345")
    sizes = {name: full.published(notebook)["image_size"] for name, (*_, notebook) in full.SYSTEMS.items()}
    assert sizes["2 fusion, InceptionResNetV2 (04)"] == 256 and sizes["3 skips (05)"] == 128
    for *_, notebook in full.SYSTEMS.values():
        assert {"image_size", "epochs", "limit"} <= full.published(notebook).keys()
