"""A colorizer on pictures of any size: their own lightness, their own size, the model's color."""

import json
import zipfile
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest

from colorlib import color, colorize, models

DATA = Path(__file__).parent / "data"


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


def test_ab_is_brought_up_smoothly():
    picture = mid_greys(256, 320)
    colored = colorize.colorize(linear_model(slope=(0.5, -0.5)), picture, size=64)
    lightness, _ = color.from_uint8(picture)
    small = cv2.resize(lightness, (80, 64), interpolation=cv2.INTER_AREA)[..., None] * np.float32([0.5, -0.5])
    expected, _ = color.render(lightness, cv2.resize(small, (320, 256), interpolation=cv2.INTER_CUBIC))
    assert np.abs(colored.astype(int) - expected).max() <= 1


def test_a_model_built_for_one_size_sees_that_size():
    picture = mid_greys(90, 60)
    colored = colorize.colorize(linear_model(level=(0.1, -0.1), shape=(48, 48)), picture)
    np.testing.assert_allclose(lab(colored)[..., 1:].mean((0, 1)), (12.8, -12.8), atol=0.2)


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
    colorize.set_dials(model, temperature=0.5, rebalance=0.3, gain=0.0)
    grey = colorize.colorize(model, picture)
    assert (grey == picture).all() and (plain != picture).any()
    assert model.get_layer("decode").rebalance == pytest.approx(0.3)
    with pytest.raises(ValueError, match="temperature must be"):
        colorize.set_dials(model, temperature=0.0)
    with pytest.raises(colorize.ModelError, match="does not choose among bins, so it has no temperature, gain to set"):
        colorize.set_dials(linear_model(), temperature=0.4, gain=1.0)


def test_a_model_saved_by_version_0_1_0_still_loads():
    model = colorize.load(DATA / "saved_by_0.1.0.keras")
    dials = model.get_layer("decode")
    assert [dials.temperature, dials.rebalance, dials.gain] == pytest.approx([0.5, 0.3, 1.1])
    lightness = np.linspace(-1, 1, 32 * 48, dtype="float32").reshape(1, 32, 48, 1)
    expected = np.load(DATA / "saved_by_0.1.0.npy")
    np.testing.assert_allclose(models.predict(model, lightness)[:, ::8, ::8], expected, atol=1e-5)


def test_weights_are_loaded_into_the_builder_that_is_named_beside_them(vivid, tmp_path, monkeypatch):
    weights = tmp_path / "mine.weights.h5"
    saved = colorize.load(vivid)
    saved.save_weights(weights)
    monkeypatch.setattr(colorize, "WEIGHTS", weights)
    with pytest.raises(colorize.ModelError, match=r"mine.weights.h5: .*mine.json"):
        colorize.load()
    builder = {"name": "vivid_colorizer", "arguments": {"image_size": None, "widths": [8, 8, 8, 8]}}
    (tmp_path / "mine.json").write_text(json.dumps({"builder": builder}))
    for one, other in zip(saved.get_weights(), colorize.load().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    builder["arguments"]["widths"] = [4, 4, 4, 4]
    (tmp_path / "mine.json").write_text(json.dumps({"builder": builder}))
    with pytest.raises(colorize.ModelError, match="not a Keras model that can be loaded"):
        colorize.load()


def refused(path, message):
    with pytest.raises(colorize.ModelError, match=message) as caught:
        colorize.load(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_what_is_no_colorizer_is_refused_by_name(tmp_path, vivid):
    half, other, sick = (tmp_path / name for name in ("half.keras", "other.keras", "sick.keras"))
    half.write_bytes(vivid.read_bytes()[: vivid.stat().st_size // 2])
    models.vanilla_autoencoder(16, widths=(2, 2), code=3).save(other)
    linear_model(level=(np.nan, 0)).save(sick)
    refused(tmp_path, "a folder, no model file")
    refused(tmp_path / "missing.keras", "no such model file")
    refused(half, "not a Keras model")
    refused(other, r"not a colorizer; it maps \(None, 16, 16, 3\) to \(None, 16, 16, 3\)")
    refused(sick, "some of its weights are no finite numbers")


def repacked(source, target, member, content):
    """A copy of a .keras file with a member added or changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {member: content}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


@pytest.fixture
def keras_unseen(monkeypatch):
    monkeypatch.setattr(keras.saving, "deserialize_keras_object", lambda *_, **__: pytest.fail("Keras saw it"))


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("../evil.py", b"1", r"it holds .*\.\./evil\.py"),
        ("config.json", b"[" * 10**6, "not a Keras model that can be loaded"),
        ("config.json", bytes(2**23 + 1), "its config.json is larger than"),
    ],
    ids=["a path outside", "a deep nest", "a bomb"],
)
def test_an_archive_with_other_members_is_refused(member, content, message, vivid, tmp_path, keras_unseen):
    hostile = repacked(vivid, tmp_path / "hostile.keras", member, content)
    refused(hostile, message)


@pytest.mark.parametrize(
    ("module", "name", "registered", "config"),
    [
        ("keras.layers", "Lambda", "Lambda", {"function": "print"}),
        (None, "__lambda__", "colorlib>BinDecoding", {"value": ["", None, None]}),
        ("keras.layers", "TFSMLayer", None, {"filepath": "graph"}),
        ("keras.layers", "StringLookup", None, {"vocabulary": "/etc/passwd"}),
        ("keras.utils", "get_file", None, {}),
        ("evil.layers", "Dense", "evil>Dense", {}),
        ("os", "function", "function", "system"),
    ],
)
def test_an_unsafe_configuration_is_refused(module, name, registered, config, vivid, tmp_path, keras_unseen):
    unsafe = {"module": module, "class_name": name, "registered_name": registered, "config": config}
    with zipfile.ZipFile(vivid) as archive:
        content = archive.read("config.json").decode()
    content = content.replace('"activation": "linear"', f'"activation": {json.dumps(unsafe)}')
    hostile = repacked(vivid, tmp_path / "hostile.keras", "config.json", content)
    refused(hostile, f"it names {module}.{name}, which is not allowed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.update({"a": h5py.ExternalLink("/etc/passwd", "/")}), "lead to another place"),
        (lambda file: file.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "lead to another place"),
        (lambda file: file.create_dataset("a", (2**30,), "f4", chunks=(2**20,), compression="gzip"), "are too large"),
    ],
    ids=["an external link", "external storage", "a bomb"],
)
def test_weights_that_lead_elsewhere_or_unpack_to_too_much_are_refused(change, message, vivid, tmp_path):
    weights = tmp_path / "changed.h5"
    with zipfile.ZipFile(vivid) as archive:
        weights.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(weights, "a") as file:
        change(file)
    hostile = repacked(vivid, tmp_path / "hostile.keras", "model.weights.h5", weights.read_bytes())
    refused(hostile, f"its weights {message}")
