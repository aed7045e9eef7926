"""The colorizer that ships: saved small, loaded by its builder's name, and able to color a grey photograph."""

import json

import keras
import numpy as np
import pytest
import skimage.data

from colorlib import color, colorize, models
from notebooks.runner import ship

REPORT = json.loads(colorize.WEIGHTS.with_name("colorizer.json").read_text(encoding="utf-8"))


@pytest.fixture
def colorizer():
    keras.utils.set_random_seed(0)
    return models.vivid_colorizer(None, widths=(16, 32, 64, 96))


def test_saving_small_keeps_the_predictions(colorizer, tmp_path):
    colorizer.save_weights(tmp_path / "plain.weights.h5")
    lightness = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    before = models.predict(colorizer, lightness)
    small = tmp_path / "small.weights.h5"
    ship.save_weights(colorizer, small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.weights.h5", "small.weights.h5"]
    assert small.stat().st_size < 2 / 3 * (tmp_path / "plain.weights.h5").stat().st_size
    loaded = models.vivid_colorizer(None, widths=(16, 32, 64, 96))
    loaded.load_weights(small)
    assert 128 * np.abs(models.predict(loaded, lightness) - before).max() < 0.05 < 128 * before.std()  # Lab units
    for weight, rounded in zip(colorizer.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, rounded)  # scores are those of what ships


def test_the_shipped_colorizer_is_small_and_is_what_its_report_says():
    assert colorize.WEIGHTS.stat().st_size <= 7.5e6
    model = colorize.load()
    assert REPORT["parameters"] == model.count_params()
    layer = model.get_layer("decode")
    dials = {name: getattr(layer, name) for name in ("temperature", "rebalance", "gain")}
    assert dials == pytest.approx(REPORT["dials"], rel=1e-3)
    assert REPORT["validation"]["colorfulness_ratio"] == pytest.approx(1, abs=0.02)
    sizes = REPORT["working_sizes"]
    assert min(sizes, key=lambda size: sizes[size]["ciede2000"]) == str(colorize.SHORT_SIDE)


def test_the_shipped_colorizer_colors_a_grey_photograph():
    grey = np.repeat(skimage.data.camera()[::2, ::2, None], 3, axis=-1)
    lab = color.rgb_to_lab(colorize.colorize(colorize.load(), grey) / 255)
    chroma = np.linalg.norm(lab[..., 1:], axis=-1)
    assert 2 < chroma.mean() < 60
    assert np.linalg.norm(lab[..., 1:].std((0, 1))) > 1, "more than one tint over all"
    assert np.abs(lab[..., 0] - color.rgb_to_lab(grey / 255)[..., 0]).mean() < 1
