"""The colorizer that ships: saved small, loaded by its builder's name, and able to color a grey photograph."""

import fnmatch
import json
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.data

from colorlib import color, colorize, models, training

ROOT = Path(__file__).parent.parent
COLLECTIONS = (
    *("Oxford 102 Flowers", "CelebA", "Intel Image Classification", "ImageNet", "Imagenette", "BSDS500"),
    *("BCG image captioning", "Pascal VOC", "Sports types", "Houses", "AVA", "Flickr LDL", "MultiM-Poem"),
    *("Clothing Co-Parsing", "Unsplash", "MVSA", "AFHQ", "CamVid", "COCO"),
)
REPORT = json.loads(colorize.WEIGHTS.with_name("colorizer.json").read_text(encoding="utf-8"))


def small():
    return models.vivid_colorizer(models.small_backbone(None, widths=(16, 32, 64, 96)), widths=())


def test_saving_in_half_precision_keeps_the_predictions(tmp_path):
    keras.utils.set_random_seed(0)
    colorizer = small()
    colorizer.save_weights(tmp_path / "plain.weights.h5")
    lightness = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    before = models.predict(colorizer, lightness)
    packed = tmp_path / "packed.weights.h5"
    training.save_to_ship(colorizer, packed, {"name": "small"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed.json", "packed.weights.h5", "plain.weights.h5"]
    assert packed.stat().st_size < 2 / 3 * (tmp_path / "plain.weights.h5").stat().st_size
    loaded = small()
    loaded.load_weights(packed)
    assert 128 * np.abs(models.predict(loaded, lightness) - before).max() < 0.05 < 128 * before.std()  # Lab units
    for weight, rounded in zip(colorizer.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, rounded)  # scores are those of what ships


def test_the_shipped_colorizer_is_small_and_is_what_its_report_says():
    assert colorize.WEIGHTS.stat().st_size <= 12e6
    model = colorize.load()
    assert REPORT["parameters"] == model.count_params()
    layer = model.get_layer("decode")
    assert {name: getattr(layer, name) for name in REPORT["dials"]} == pytest.approx(REPORT["dials"], rel=1e-3)
    assert list(REPORT["dials"]) == list(REPORT["vivid"]) == ["temperature", "rebalance", "gain"]


def test_the_license_of_the_weights_is_installed_with_them_and_names_what_they_come_from():
    text = colorize.WEIGHTS.with_name("LICENSE").read_text(encoding="utf-8")
    card = " ".join(colorize.WEIGHTS.with_name("README.md").read_text(encoding="utf-8").split())
    with open(ROOT / "pyproject.toml", "rb") as file:
        shipped = tomllib.load(file)["tool"]["setuptools"]["package-data"]["colorlib"]
    assert any(fnmatch.fnmatch("weights/LICENSE", pattern) for pattern in shipped)
    for name in COLLECTIONS:
        assert name in " ".join(text.split()) and name in card, name
    assert "code only" in text and "research" in text and "Apache License 2.0" in text


def test_the_shipped_colorizer_colors_a_grey_photograph():
    grey = np.repeat(skimage.data.camera()[::2, ::2, None], 3, axis=-1)
    lab = color.rgb_to_lab(colorize.colorize(colorize.load(), grey) / 255)
    chroma = np.linalg.norm(lab[..., 1:], axis=-1)
    assert 2 < chroma.mean() < 60
    assert np.linalg.norm(lab[..., 1:].std((0, 1))) > 1, "more than one tint over all"
    assert np.abs(lab[..., 0] - color.rgb_to_lab(grey / 255)[..., 0]).mean() < 1
