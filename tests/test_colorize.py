"""A colorizer on pictures of any size: their own lightness, their own size, the model's color."""

import zipfile

import cv2
import keras
import numpy as np
import pytest

from colorlib import color, colorize, models


def linear_model(*, slope=(0.0, 0.0), level=(0.0, 0.0), shape=(None, None)):
    """A colorizer whose ab is `slope` times the lightness plus `level`."""
    inputs = keras.Input((*shape, 1))
    layer = keras.layers.Conv2D(2, 1)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.reshape(slope, (1, 1, 1, 2)), np.asarray(level)])
    return model


def mid_greys(height, width, seed=0):
    """Soft blobs of middle grey: with a little chroma every one of them is inside the gamut."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 5)
    grey = 128 + 40 * noise / max(1e-6, np.abs(noise).max())
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def lab(picture):
    return color.rgb_to_lab(picture.astype(np.float32) / 255)


@pytest.mark.parametrize("shape", [(37, 53), (1, 1), (3, 700), (200, 300), (300, 2)])
def test_size_and_lightness_are_the_pictures_own_and_the_color_is_the_models(shape):
    picture = mid_greys(*shape)
    colored = colorize.colorize(linear_model(level=(0.1, 0.15)), picture)
    assert colored.shape == picture.shape and colored.dtype == np.uint8
    np.testing.assert_allclose(lab(colored)[..., 0], lab(picture)[..., 0], atol=0.35)  # 8-bit steps
    np.testing.assert_allclose(lab(colored)[..., 1:], np.broadcast_to((12.8, 19.2), (*shape, 2)), atol=0.9)


def test_at_the_models_own_size_nothing_is_resampled():
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    lightness, _ = color.from_uint8(picture)
    expected, _ = color.render(lightness, lightness * np.float32([0.2, -0.1]))
    np.testing.assert_array_equal(colorize.colorize(linear_model(slope=(0.2, -0.1)), picture, size=64), expected)


def test_ab_is_brought_up_smoothly():
    picture = mid_greys(256, 320)
    colored = colorize.colorize(linear_model(slope=(0.5, -0.5)), picture, size=64)
    lightness, _ = color.from_uint8(picture)
    small = cv2.resize(lightness, (80, 64), interpolation=cv2.INTER_AREA)[..., None] * np.float32([0.5, -0.5])
    expected, _ = color.render(lightness, cv2.resize(small, (320, 256), interpolation=cv2.INTER_CUBIC))
    assert np.abs(colored.astype(int) - expected).max() <= 1


def test_working_in_blocks_changes_nothing(monkeypatch):
    picture, model = mid_greys(150, 210), linear_model(slope=(0.5, 0.3))
    whole = colorize.colorize(model, picture)
    monkeypatch.setattr(colorize, "_BLOCK", 210 * 7)
    np.testing.assert_array_equal(colorize.colorize(model, picture), whole)


def test_sizes_no_stride_divides_are_mirrored_not_stretched_or_blackened():
    seen = []

    class Watching:
        input_shape = (None, None, None, 1)

        def __call__(self, lightness, training):
            seen.append(np.asarray(lightness)[0, ..., 0])
            return keras.ops.zeros((*lightness.shape[:3], 2))

    picture = mid_greys(40, 70)
    colorize.colorize(Watching(), picture, size=40)
    (lightness,) = seen
    assert lightness.shape == (64, 96)
    np.testing.assert_allclose(lightness[:40, :70], color.from_uint8(picture)[0][..., 0], atol=1e-6)
    np.testing.assert_array_equal(lightness[40:], lightness[39:15:-1])


def test_a_narrow_strip_is_not_blown_up_without_end():
    shapes = []

    class Watching:
        input_shape = (None, None, None, 1)

        def __call__(self, lightness, training):
            shapes.append(lightness.shape)
            return keras.ops.zeros((*lightness.shape[:3], 2))

    colorize.colorize(Watching(), mid_greys(2, 3000))
    assert shapes == [(1, 32, 256, 1)]


def test_a_model_built_for_one_size_sees_that_size():
    picture = mid_greys(90, 60)
    colored = colorize.colorize(linear_model(level=(0.1, -0.1), shape=(48, 48)), picture)
    np.testing.assert_allclose(lab(colored)[..., 1:].mean((0, 1)), (12.8, -12.8), atol=0.2)


def test_the_color_it_had_does_not_count():
    rng = np.random.default_rng(1)
    ab = np.broadcast_to(np.float32([0.15, 0.1]), (60, 80, 2))
    grey = mid_greys(60, 80)
    tinted, clipped = color.render(color.from_uint8(grey)[0], ab * rng.uniform(0.5, 1, (60, 80, 1)))
    assert not clipped.any()
    model = linear_model(slope=(0.3, 0.3))
    difference = colorize.colorize(model, tinted).astype(int) - colorize.colorize(model, grey)
    assert np.abs(difference).max() <= 2  # the tint itself was rounded to 8 bits


@pytest.mark.parametrize("picture", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)])
def test_other_arrays_are_refused(picture):
    with pytest.raises(ValueError, match=r"a picture is uint8 \(H, W, 3\), not"):
        colorize.colorize(linear_model(), picture)


@pytest.fixture(scope="module")
def vivid(tmp_path_factory):
    """The path of a small untrained colorizer with dials."""
    path = tmp_path_factory.mktemp("model") / "vivid.keras"
    models.vivid_colorizer(None, widths=(8, 8, 8, 8)).save(path)
    return path


def test_a_saved_colorizer_is_loaded_and_its_dials_turn(vivid):
    picture = mid_greys(64, 64)
    model = colorize.load(vivid)
    plain = colorize.colorize(model, picture)
    colorize.set_dials(model, temperature=None, tau=None, gain=None)
    np.testing.assert_array_equal(colorize.colorize(model, picture), plain)
    colorize.set_dials(model, gain=0.0)
    grey = colorize.colorize(model, picture)
    assert (grey == picture).all() and (plain != picture).any()
    with pytest.raises(ValueError, match="temperature must be"):
        colorize.set_dials(model, temperature=0.0)


def test_a_model_without_dials_says_so():
    twin = models.regression_colorizer(None, widths=(8, 8, 8, 8))
    for model in (linear_model(), twin):
        with pytest.raises(
            colorize.ModelError, match="does not choose among bins, so it has no temperature, gain to set"
        ):
            colorize.set_dials(model, temperature=0.4, gain=1.0)


def test_the_default_is_the_shipped_model(monkeypatch, tmp_path, vivid):
    monkeypatch.setattr(colorize, "WEIGHTS", tmp_path / "weights" / "vivid.keras")
    with pytest.raises(colorize.ModelError, match=r"weights.vivid\.keras: no such model file"):
        colorize.load()
    monkeypatch.setattr(colorize, "WEIGHTS", vivid)
    assert colorize.load().output_shape == (None, None, None, 2)


def test_what_is_no_colorizer_is_refused_by_name(tmp_path):
    text, archive, other = (tmp_path / name for name in ("text.keras", "archive.keras", "other.keras"))
    text.write_text("a poem")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("poem.txt", "a poem")
    models.vanilla_autoencoder(16, widths=(2, 2), code=3).save(other)
    for path, message in [
        (tmp_path, "a folder, no model file"),
        (text, "text.keras: not a Keras model"),
        (archive, "archive.keras: not a Keras model that can be loaded"),
        (other, r"other.keras: not a colorizer; it maps \(None, 16, 16, 3\) to \(None, 16, 16, 3\)"),
    ]:
        with pytest.raises(colorize.ModelError, match=message) as caught:
            colorize.load(path)
        assert "\n" not in str(caught.value)


def test_half_a_model_file_is_refused(vivid, tmp_path):
    half = tmp_path / "half.keras"
    half.write_bytes(vivid.read_bytes()[: vivid.stat().st_size // 2])
    with pytest.raises(colorize.ModelError, match="half.keras: not a Keras model"):
        colorize.load(half)
