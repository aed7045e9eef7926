"""Builders: parameter counts from the published systems, the contract, the dials, saving and loading."""

import keras
import numpy as np
import pytest

from colorlib import color, losses, models

WIDTHS = (4, 8, 8, 8)


def parameters(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.fixture
def vivid():
    keras.utils.set_random_seed(0)
    return models.vivid_colorizer(32, widths=WIDTHS)


@pytest.fixture
def lightness():
    return np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)


def test_unet_has_the_published_parameters():
    assert parameters(models.unet(256)) == 54_409_858


@pytest.mark.parametrize(
    "build",
    [
        lambda size: models.unet(size, downsamplings=3, filters=4),
        lambda size: models.vivid_colorizer(size, widths=WIDTHS),
        lambda size: models.regression_colorizer(size, widths=WIDTHS),
    ],
    ids=["unet", "vivid", "regression"],
)
def test_every_colorizer_keeps_the_contract(build, lightness, tmp_path):
    model = build(32)
    ab = model.predict(lightness, verbose=0)
    assert ab.shape == (2, 32, 32, 2) and np.abs(ab).max() <= 1
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        keras.saving.load_model(tmp_path / "model.keras").predict(lightness, verbose=0), ab, atol=1e-6
    )
    with pytest.raises(ValueError, match="30 is not a positive multiple of"):
        build(30)


def test_a_model_without_a_size_takes_any_multiple_of_its_stride():
    model = models.vivid_colorizer(None, widths=WIDTHS)
    assert model.predict(np.zeros((1, 48, 80, 1), np.float32), verbose=0).shape == (1, 48, 80, 2)


def test_vanilla_autoencoder_codes_and_decodes():
    model = models.vanilla_autoencoder(16, widths=(4, 8, 8), code=5)
    assert model.get_layer("code").output.shape == (None, 5)
    assert model.predict(np.zeros((1, 16, 16, 3)), verbose=0).shape == (1, 16, 16, 3)
    assert [layer.strides for layer in model.layers if layer.name.startswith(("down", "up"))] == [(2, 2)] * 6


def test_decoding_follows_the_formula(vivid):
    """T, tau and gain against NumPy, in double precision."""
    layer = vivid.get_layer("decode")
    rng = np.random.default_rng(1)
    logits, prior = rng.normal(size=(1, 2, 2, 261)) * 3, rng.dirichlet(np.ones(261))
    layer.prior, layer.temperature, layer.tau, layer.gain = prior, 0.5, 0.4, 1.3
    z = (logits - 0.4 * np.log(0.999 * prior + 0.001 / 261)) / 0.5
    shares = np.exp(z - z.max(-1, keepdims=True))
    expected = 1.3 * (shares / shares.sum(-1, keepdims=True)) @ color.bins() / 128
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(logits.astype(np.float32))), expected, atol=1e-5)


def test_dials_are_saved_and_can_be_turned_after_loading(vivid, lightness, tmp_path):
    layer = vivid.get_layer("decode")
    layer.temperature, layer.tau, layer.gain, layer.prior = 0.25, 0.5, 1.5, np.arange(1, 262)
    before = vivid.predict(lightness, verbose=0)
    vivid.save(tmp_path / "vivid.keras")
    loaded = keras.saving.load_model(tmp_path / "vivid.keras")
    decode = loaded.get_layer("decode")
    assert (decode.temperature, decode.tau, decode.gain) == (0.25, 0.5, 1.5)
    np.testing.assert_allclose(decode.prior, np.arange(1, 262) / np.arange(1, 262).sum(), rtol=1e-5)
    np.testing.assert_allclose(loaded.predict(lightness, verbose=0), before, atol=1e-6)
    decode.gain = 0.75
    np.testing.assert_allclose(loaded.predict(lightness, verbose=0), before / 2, atol=1e-6)


@pytest.mark.parametrize(
    "name, value", [("temperature", 0), ("temperature", -1), ("tau", -0.1), ("gain", float("nan"))]
)
def test_a_dial_refuses_what_means_nothing(vivid, name, value):
    with pytest.raises(ValueError, match=name):
        setattr(vivid.get_layer("decode"), name, value)


def test_the_trained_part_shares_its_weights(vivid, lightness):
    model = models.bin_logits(vivid)
    model.compile(keras.optimizers.Adam(0.01), loss=losses.BinCrossEntropy(), run_eagerly=True)
    before = vivid.predict(lightness, verbose=0)
    model.fit(lightness, np.full((2, 32, 32, 2), 0.2, np.float32), epochs=3, verbose=0)
    after = vivid.predict(lightness, verbose=0)
    assert np.abs(after - 0.2).mean() < np.abs(before - 0.2).mean()
