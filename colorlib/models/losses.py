"""Losses that Keras lacks: cross-entropy over the ab bins, its prior and weights; a perceptual one."""

import keras
import numpy as np
from keras import ops

from colorlib import color

SPREAD = 5.0  # Lab units; Zhang et al. 2016, section 2.2


def soft_bins(ab):
    """Encodes ab in Lab units (..., 2) by its 5 nearest bins: their indices and shares, each (..., 5), nearest first.

    Shares are exp(-d^2 / (2 * 5^2)) of the distance in Lab units, normalized (Zhang et al. 2016, section 2.2).
    """
    lattice = color.bin_lattice()
    cell = ops.cast(ops.round((ops.clip(ab, -128.0, 128.0) + 128.0) * 2.0), "int32")
    flat = cell[..., 0] * lattice.shape[1] + cell[..., 1]
    indices = ops.take(ops.convert_to_tensor(lattice.reshape(-1, lattice.shape[-1])), flat, axis=0)
    centers = ops.take(ops.convert_to_tensor(color.bins()), indices, axis=0)  # (..., 5, 2)
    squared = ops.sum(ops.square(ops.expand_dims(ab, -2) - centers), axis=-1)
    # Softmax of the exponent: colors far outside the gamut do not underflow to 0 / 0.
    return indices, ops.softmax(-squared / (2 * SPREAD**2), axis=-1)


def bin_prior(ab):
    """The share of each of the 261 bins among ab in Lab units, a NumPy array (..., 2), smoothed: float64 (261,).

    Smoothed over the bin plane with a Gaussian of sigma 5 Lab units and normalized (Zhang et al. 2016, section 2.2).
    """
    centers = color.bins().astype(np.float64)
    counts = np.bincount(color.nearest_bin(ab).ravel(), minlength=len(centers)).astype(np.float64)
    squared = ((centers[:, None] - centers) ** 2).sum(-1)
    smooth = np.exp(-squared / (2 * SPREAD**2))
    prior = smooth @ counts / smooth.sum(0)
    return prior / prior.sum()


def rebalancing_weights(prior):
    """Class weights 1 / (p/2 + 1/2Q), scaled so that sum(p w) = 1: float64 (261,). Zhang et al. 2016, eq. 4."""
    weights = 1 / (0.5 * prior + 0.5 / len(prior))
    return weights / (prior * weights).sum()


@keras.saving.register_keras_serializable("colorlib")
class BinCrossEntropy(keras.losses.Loss):
    """Cross-entropy between true ab (B, H, W, 2) in [-1, 1] and logits over the bins (B, H/s, W/s, 261).

    The truth is averaged over the s x s pixels of each prediction and encoded by `soft_bins`. With `weights` (261,),
    each pixel counts by the weight of its nearest bin (Zhang et al. 2016, eq. 2 and 3).
    """

    def __init__(self, weights=None, name="bin_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.weights = None if weights is None else [float(w) for w in weights]

    def call(self, y_true, y_pred):
        """Per-pixel losses (B, H/s, W/s)."""
        stride = y_true.shape[1] // y_pred.shape[1]
        indices, shares = soft_bins(color.AB_SCALE * ops.average_pool(y_true, stride, stride))
        chosen = ops.sum(shares * ops.take_along_axis(y_pred, indices, axis=-1), axis=-1)
        losses = ops.logsumexp(y_pred, axis=-1) - chosen  # the cross-entropy, without the 261 shares
        if self.weights is None:
            return losses
        return losses * ops.take(ops.convert_to_tensor(self.weights, "float32"), indices[..., 0])

    def get_config(self):
        """The weights, for saving."""
        return {**super().get_config(), "weights": self.weights}


def perceptual(extractor):
    """The loss that compares pictures in the features of a frozen network (Johnson et al. 2016, eq. 2).

    `extractor` is a `keras.Model` from sRGB (B, S, S, 3) in [0, 1] to a list of feature maps. The loss takes true ab
    (B, S, S, 2) and what `with_lightness` gives, lightness with predicted ab (B, S, S, 3); both are rendered at that
    lightness. Each map's squared difference is divided by the mean square of the true maps, so that all maps count
    alike; (B,), the mean over maps.
    """

    def features(lightness, ab):
        rgb = ops.clip(color.lab_to_rgb(color.merge(lightness, ab)), 0.0, 1.0)
        return [ops.cast(found, "float32") for found in extractor(rgb)]  # half precision cannot hold their squares

    def perceptual_loss(y_true, y_pred):
        lightness, predicted = y_pred[..., :1], y_pred[..., 1:]
        distances = []
        for true, made in zip(features(lightness, y_true), features(lightness, predicted), strict=True):
            squared = ops.mean(ops.square(made - true), axis=(1, 2, 3))
            distances.append(squared / (ops.mean(ops.square(true)) + keras.config.epsilon()))
        return ops.mean(ops.stack(distances), axis=0)

    return perceptual_loss


def with_lightness(colorizer):
    """The colorizer with the lightness it read before its ab: (S, S, 1) to (S, S, 3), for `perceptual`."""
    join = keras.layers.Concatenate(dtype="float32")
    return keras.Model(colorizer.input, join([colorizer.input, colorizer.output]), name="with_lightness")
