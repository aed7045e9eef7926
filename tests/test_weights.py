"""The colorizer that ships: saved small, and, where it is there, able to color a grey photograph."""

import json
import zipfile

import keras
import numpy as np
import pytest
import skimage.data

from colorlib import color, colorize, models
from notebooks.runner import ship

SHIPPED = colorize.WEIGHTS


@pytest.fixture
def colorizer():
    keras.utils.set_random_seed(0)
    model = models.vivid_colorizer(None, widths=(16, 32, 64, 96))
    model.get_layer("decode").temperature = 0.3
    return model


def test_saving_small_keeps_the_predictions(colorizer, tmp_path):
    colorizer.save(tmp_path / "plain.keras")
    lightness = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    before = keras.ops.convert_to_numpy(colorizer(lightness))
    small = tmp_path / "small.keras"
    ship.save_small(colorizer, small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.keras", "small.keras"]
    assert small.stat().st_size < 2 / 3 * (tmp_path / "plain.keras").stat().st_size
    loaded = colorize.load(small)
    after = keras.ops.convert_to_numpy(loaded(lightness))
    assert 128 * np.abs(after - before).max() < 0.05 < 128 * before.std()  # Lab units
    assert loaded.get_layer("decode").temperature == pytest.approx(0.3, rel=1e-3)
    for weight, rounded in zip(colorizer.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), rounded.numpy())  # scores are those of what ships


def test_an_interrupted_save_leaves_the_weights_of_before(colorizer, tmp_path, monkeypatch):
    path = tmp_path / "vivid.keras"
    path.write_bytes(b"of before")

    def full(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(zipfile.ZipFile, "writestr", full)
        ship.save_small(colorizer, path)
    assert path.read_bytes() == b"of before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_shipped_colorizer_is_small_and_is_what_its_report_says():
    assert SHIPPED.stat().st_size <= 10e6
    model = colorize.load()
    report = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert report["parameters"] == model.count_params()
    layer = model.get_layer("decode")
    assert {name: getattr(layer, name) for name in report["dials"]} == pytest.approx(report["dials"], rel=1e-3)
    assert set(report["dials"]) == {"temperature", "tau", "gain"}
    assert layer.prior.sum() == pytest.approx(1, abs=1e-3) and layer.prior.max() > 2 / 261
    assert report["validation"]["colorfulness_ratio"] == pytest.approx(1, abs=0.02)
    sizes = report["working_sizes"]
    assert min(sizes, key=lambda size: sizes[size]["ciede2000"]) == str(colorize.SHORT_SIDE)
    for name, told in report["test"].items():
        assert name == told["name"] and told["test"] > 0
        assert 0.8 < told["scores"]["colorfulness_ratio"]["mean"] < 1.25


def test_the_shipped_colorizer_colors_a_grey_photograph():
    grey = np.repeat(skimage.data.camera()[::2, ::2, None], 3, axis=-1)
    lab = color.rgb_to_lab(colorize.colorize(colorize.load(), grey) / 255)
    chroma = np.linalg.norm(lab[..., 1:], axis=-1)
    assert 2 < chroma.mean() < 60
    assert np.linalg.norm(lab[..., 1:].std((0, 1))) > 1, "more than one tint over all"
    assert np.abs(lab[..., 0] - color.rgb_to_lab(grey / 255)[..., 0]).mean() < 1
