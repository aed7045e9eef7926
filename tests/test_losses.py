"""The bin classification's pieces and the perceptual loss against their formulas in NumPy; the training metrics."""

import keras
import numpy as np
import pytest
import skimage.color
from keras import layers, ops

from colorlib import color, models
from colorlib.models import losses
from colorlib.scoring import metrics


def encode(ab):
    """Zhang et al.'s soft encoding, straight from its definition: (N, 2) -> (N, 261)."""
    squared = ((ab[:, None] - color.bins().astype(float)) ** 2).sum(-1)
    nearest = np.argsort(squared, axis=-1)[:, :5]
    shares = np.zeros_like(squared)
    values = np.exp(-np.take_along_axis(squared, nearest, -1) / (2 * 5**2))
    np.put_along_axis(shares, nearest, values / values.sum(-1, keepdims=True), -1)
    return shares


def test_soft_bins_are_the_five_nearest():
    pictures = np.random.default_rng(0).integers(0, 256, (300, 3), np.uint8)
    ab = np.rint(color.from_uint8(pictures)[1] * 256).astype(np.float32) / 2  # half units: the lookup is exact
    indices, shares = (ops.convert_to_numpy(x) for x in losses.soft_bins(ops.convert_to_tensor(ab)))
    spread = np.zeros((len(ab), 261))
    np.put_along_axis(spread, indices, shares, -1)
    distance = np.abs(spread - encode(ab)).sum(-1)
    assert (distance < 1e-4).mean() > 0.85  # the rest are ties for the fifth place
    np.testing.assert_allclose((spread @ color.bins()), encode(ab) @ color.bins(), atol=1.1)
    _, far = losses.soft_bins(ops.convert_to_tensor([[128.0, 128.0], [-500.0, 0.0]]))
    np.testing.assert_allclose(ops.convert_to_numpy(far).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_the_formula(weighted):
    rng = np.random.default_rng(2)
    ab = np.repeat(np.repeat(rng.integers(-20, 20, (1, 2, 2, 2)) / 256, 4, 1), 4, 2).astype(np.float32)
    logits = rng.normal(size=(1, 2, 2, 261)).astype(np.float32)
    weights = rng.uniform(0.5, 2, 261) if weighted else None
    shares = encode(ab[:, ::4, ::4].reshape(-1, 2) * 128).reshape(1, 2, 2, 261)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(shares * log).sum(-1)
    if weighted:
        expected = expected * weights[shares.argmax(-1)]
    loss = keras.losses.deserialize(keras.losses.serialize(losses.BinCrossEntropy(weights)))
    np.testing.assert_allclose(float(loss(ab, logits)), expected.mean(), rtol=1e-3)


def test_prior_and_weights():
    ab = np.concatenate([np.zeros((900, 2)), np.full((100, 2), 50.0)])
    prior = losses.bin_prior(ab)
    near = np.linalg.norm(color.bins() - 50, axis=-1) <= 20
    np.testing.assert_allclose(prior.sum(), 1)
    np.testing.assert_allclose(prior[near].sum(), 0.1, atol=0.005)
    weights = losses.rebalancing_weights(prior)
    np.testing.assert_allclose((prior * weights).sum(), 1)
    expected = (0.5 * prior.max() + 0.5 / 261) / (0.5 * prior.min() + 0.5 / 261)
    np.testing.assert_allclose(weights.max() / weights.min(), expected)


@pytest.fixture
def extractor():
    """A network of two maps, not frozen: three mixtures of R, G and B, and one mixture of their 2x2 means."""
    rng = np.random.default_rng(3)
    inputs = keras.Input((None, None, 3))
    mixed = layers.Conv2D(3, 1, use_bias=False, name="mixed")
    pooled = layers.Conv2D(1, 1, use_bias=False, name="pooled")
    x = layers.BatchNormalization(epsilon=1e-6)(mixed(inputs))  # changes nothing, unless it is trained
    model = keras.Model(inputs, [x, pooled(layers.AveragePooling2D(2)(x))])
    mixed.set_weights([(np.eye(3) + 0.3 * rng.normal(size=(3, 3)))[None, None]])
    pooled.set_weights([rng.normal(size=(1, 1, 3, 1))])
    return model


def painted(seed):
    """Lightness (N, S, S, 1) and ab (N, S, S, 2) of random colors inside the gamut."""
    return color.from_uint8(np.random.default_rng(seed).integers(0, 256, (2, 8, 8, 3), np.uint8))


def perceptual_in_numpy(extractor, lightness, true, made):
    """Johnson et al. 2016, eq. 2, each map's by the mean square of the true one: straight from the definition."""
    kernels = [extractor.get_layer(name).get_weights()[0][0, 0] for name in ("mixed", "pooled")]
    maps = []
    for ab in (true, made):
        rgb = np.clip(skimage.color.lab2rgb(np.concatenate([50 * (lightness + 1), 128 * ab], -1)), 0, 1) @ kernels[0]
        count, side = rgb.shape[:2]
        means = rgb.reshape(count, side // 2, 2, side // 2, 2, -1).mean((2, 4))
        maps.append([rgb, means @ kernels[1]])
    return np.mean([((m - t) ** 2).mean((1, 2, 3)) / (t**2).mean() for t, m in zip(*maps, strict=True)], axis=0)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")  # scikit-image tells of colors off the gamut
def test_the_perceptual_loss_is_the_formula_at_the_lightness_that_was_read(extractor):
    (lightness, true), (other, made) = painted(0), painted(1)
    loss = losses.perceptual(extractor)
    for seen in (lightness, other, np.full_like(lightness, 0.5)):
        got = ops.convert_to_numpy(loss(true, np.concatenate([seen, made], -1)))
        expected = perceptual_in_numpy(extractor, seen, true, made)
        assert got.shape == (2,) and expected.min() > 0.05
        np.testing.assert_allclose(got, expected, rtol=1e-3)
    np.testing.assert_array_equal(ops.convert_to_numpy(loss(true, np.concatenate([lightness, true], -1))), 0)


def test_the_perceptual_loss_has_a_finite_gradient_for_colors_that_no_screen_has(extractor):
    lightness, true = painted(0)
    lightness[0, :2], lightness[0, 2:4] = -1, 1  # black and white
    inputs = keras.Input((8, 8, 1))
    colors = layers.Conv2D(2, 1, kernel_initializer="zeros")
    model, before = models.with_lightness(keras.Model(inputs, colors(inputs))), extractor.get_weights()
    model.compile(keras.optimizers.SGD(1e-3), loss=losses.perceptual(extractor), run_eagerly=True)
    for far in ([0, 0], [0.6, 0.6], [-1, 1], [4, -4]):  # of 128 Lab units
        colors.set_weights([np.zeros((1, 1, 1, 2), np.float32), np.float32(far)])
        assert np.isfinite(model.train_on_batch(lightness, true))
        kernel, bias = colors.get_weights()
        assert np.isfinite(kernel).all() and np.isfinite(bias).all(), far
        assert max(far) > 0.6 or kernel.any() or (bias != np.float32(far)).any(), far
    np.testing.assert_equal(extractor.get_weights(), before)  # only the colorizer is trained


def test_metrics_over_batches_save_and_load():
    truth, half = np.full((2, 4, 4, 2), 0.3, np.float32), np.full((2, 4, 4, 2), 0.15, np.float32)
    for metric, expected in ((metrics.ChromaRatio(), 0.75), (metrics.AbDistance(), 128 * 0.15 * np.sqrt(2) / 2)):
        metric = keras.metrics.deserialize(keras.metrics.serialize(metric))
        metric.update_state(truth, half)
        metric.update_state(truth, truth)
        np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5)
