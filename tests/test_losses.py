"""The bin classification's pieces against their formulas in NumPy, and the training metrics."""

import keras
import numpy as np
import pytest
from keras import ops

from colorlib import color, losses, metrics


def encode(ab):
    """Zhang et al.'s soft encoding, straight from its definition: (N, 2) -> (N, 261)."""
    squared = ((ab[:, None] - color.bins().astype(float)) ** 2).sum(-1)
    nearest = np.argsort(squared, axis=-1)[:, :5]
    shares = np.zeros_like(squared)
    values = np.exp(-np.take_along_axis(squared, nearest, -1) / (2 * 5**2))
    np.put_along_axis(shares, nearest, values / values.sum(-1, keepdims=True), -1)
    return shares


@pytest.fixture
def ab():
    # On the lattice of half units, where the lookup is exact.
    pictures = np.random.default_rng(0).integers(0, 256, (300, 3), np.uint8)
    return np.rint(color.from_uint8(pictures)[1] * 256).astype(np.float32) / 2


def test_soft_bins_are_the_five_nearest(ab):
    indices, shares = (ops.convert_to_numpy(x) for x in losses.soft_bins(ops.convert_to_tensor(ab)))
    spread = np.zeros((len(ab), 261))
    np.put_along_axis(spread, indices, shares, -1)
    distance = np.abs(spread - encode(ab)).sum(-1)
    assert (distance < 1e-4).mean() > 0.85  # the rest are ties for the fifth place
    np.testing.assert_allclose((spread @ color.bins()), encode(ab) @ color.bins(), atol=1.1)


def test_soft_bins_far_outside_the_gamut_stay_finite():
    _, shares = losses.soft_bins(ops.convert_to_tensor([[128.0, 128.0], [-500.0, 0.0]]))
    np.testing.assert_allclose(ops.convert_to_numpy(shares).sum(-1), 1, atol=1e-5)


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
    loss = losses.BinCrossEntropy(weights)
    np.testing.assert_allclose(float(loss(ab, logits)), expected.mean(), rtol=1e-3)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_allclose(float(copy(ab, logits)), expected.mean(), rtol=1e-3)


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
    np.testing.assert_allclose(losses.rebalancing_weights(np.full(261, 1 / 261)), 1)


def test_metrics_over_batches_save_and_load():
    truth, half = np.full((2, 4, 4, 2), 0.3, np.float32), np.full((2, 4, 4, 2), 0.15, np.float32)
    for metric, expected in ((metrics.ChromaRatio(), 0.75), (metrics.AbDistance(), 128 * 0.15 * np.sqrt(2) / 2)):
        metric = keras.metrics.deserialize(keras.metrics.serialize(metric))
        metric.update_state(truth, half)
        metric.update_state(truth, truth)
        np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5)
    empty = metrics.ChromaRatio()
    assert float(empty.result()) == 0
