"""Color by classification over ab bins at stride 4, and its twin that regresses (Zhang, Isola and Efros 2016)."""

import keras
import numpy as np
from keras import Model, layers, ops

from colorlib import color
from colorlib.models.scratch import lightness_input

STRIDE = 16  # of the trunk's deepest level
_EPSILON = 0.001  # the share of a uniform prior mixed in before its logarithm
_MOMENTUM = 0.9  # the default, 0.99, still remembers the first weights after an epoch of a small set


@keras.saving.register_keras_serializable("colorlib")
class BinDecoding(layers.Layer):
    """Decodes logits over the ab bins, (B, h, w, 261), into ab (B, h, w, 2) in [-1, 1], with three dials.

    softmax((logits - rebalance * log((1 - eps) p + eps / Q)) / temperature), then the expectation over the bin
    centers, times gain. temperature 1 is the mean, towards 0 the mode. rebalance (the tau of Menon et al. 2021) makes
    rare colors count more. p is `prior`, the training set's share of each of the Q = 261 bins, summing to 1. All are
    weights, saved with the model, and may be set at any time; ValueError for a dial below 0, and for temperature 0.
    """

    def build(self, input_shape):
        """Creates the dials, neutral, and a uniform prior."""
        count = len(color.bins())
        self.dials = self.add_weight(shape=(3,), initializer="ones", trainable=False, name="dials")
        self.dials.assign([1.0, 0.0, 1.0])
        uniform = keras.initializers.Constant(1 / count)
        self.share = self.add_weight(shape=(count,), initializer=uniform, trainable=False, name="prior")

    def call(self, logits):
        """Decodes; see the class."""
        temperature, rebalance, gain = ops.unstack(ops.convert_to_tensor(self.dials))
        mixed = (1 - _EPSILON) * self.share + _EPSILON / len(color.bins())
        shares = ops.softmax((logits - rebalance * ops.log(mixed)) / temperature, axis=-1)
        return gain * ops.matmul(shares, ops.convert_to_tensor(color.bins() / color.AB_SCALE))

    @property
    def prior(self):
        """The training set's share of each bin, (261,)."""
        return ops.convert_to_numpy(self.share)

    @prior.setter
    def prior(self, share):
        self.share.assign(np.asarray(share, np.float32) / np.sum(share))

    temperature = property(lambda self: self._dial(0), lambda self, value: self._turn(0, value))
    rebalance = property(lambda self: self._dial(1), lambda self, value: self._turn(1, value))
    gain = property(lambda self: self._dial(2), lambda self, value: self._turn(2, value))

    def _dial(self, index):
        return float(ops.convert_to_numpy(self.dials)[index])

    def _turn(self, index, value):
        name = ("temperature", "rebalance", "gain")[index]
        if not np.isfinite(value) or value < 0 or (value == 0 and name == "temperature"):
            raise ValueError(f"{name} must be a positive number (rebalance and gain may be 0), not {value}")
        dials = ops.convert_to_numpy(self.dials).copy()
        dials[index] = value
        self.dials.assign(dials)


@keras.saving.register_keras_serializable("colorlib")
class Enlarge(layers.Layer):
    """Enlarges maps (B, h, w, C) of any size four times, by bilinear interpolation: (B, 4h, 4w, C).

    `UpSampling2D(4, interpolation="bilinear")` gives the same numbers, but keeps the first size that it sees.
    """

    def call(self, maps):
        """Enlarges the width, then the height."""
        wider = self._taller(ops.transpose(maps, (0, 2, 1, 3)))
        return self._taller(ops.transpose(wider, (0, 2, 1, 3)))

    @staticmethod
    def _taller(maps):
        above = ops.concatenate([maps[:, :1], maps[:, :-1]], axis=1)
        below = ops.concatenate([maps[:, 1:], maps[:, -1:]], axis=1)
        # Of four new rows, two have their centers above the center of the old one, by 3/8 and 1/8 of its height.
        rows = [above + 0.625 * (maps - above), above + 0.875 * (maps - above)]
        rows += [maps + 0.125 * (below - maps), maps + 0.375 * (below - maps)]
        batch, height, width, channels = ops.shape(maps)
        return ops.reshape(ops.stack(rows, axis=2), (batch, 4 * height, width, channels))


def _convolution(x, width, strides=1):
    x = layers.Conv2D(width, 3, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=_MOMENTUM)(x))


def _residual(x):
    y = _convolution(x, x.shape[-1])
    y = layers.Conv2D(x.shape[-1], 3, padding="same", use_bias=False, kernel_initializer="he_normal")(y)
    # A branch that starts at zero trains soundly without warm-up.
    return layers.ReLU()(layers.Add()([x, layers.BatchNormalization(momentum=_MOMENTUM, gamma_initializer="zeros")(y)]))


def _trunk(inputs, widths):
    """Lightness (S, S, 1) to features (S/4, S/4, widths[1]): down to stride 16 and back up, with skips added."""
    x = _convolution(inputs, widths[0], strides=2)
    levels = []
    for width in widths[1:]:
        x = _residual(_convolution(x, width, strides=2))
        levels.append(x)
    x = _residual(x)
    for skip in reversed(levels[:-1]):
        x = layers.UpSampling2D(2, interpolation="nearest")(_convolution(x, skip.shape[-1]))
        x = _convolution(layers.Add()([x, skip]), skip.shape[-1])
    return x


def vivid_colorizer(image_size, *, widths=(32, 64, 128, 224)):
    """A classifier over the 261 ab bins at stride 4, decoded inside the model by the layer "decode".

    Lightness (S, S, 1) to ab (S, S, 2), both in [-1, 1]; `image_size` None takes any multiple of 16. Train the model
    that `bin_logits` returns; it shares the weights. Raises ValueError for a size that 16 does not divide.
    """
    inputs = lightness_input(image_size, STRIDE)
    logits = layers.Conv2D(len(color.bins()), 1, name="logits", dtype="float32")(_trunk(inputs, widths))
    ab = BinDecoding(name="decode", dtype="float32")(logits)
    return Model(inputs, Enlarge(name="ab", dtype="float32")(ab), name="vivid_colorizer")


def bin_logits(colorizer):
    """The part of a vivid colorizer that is trained: lightness (S, S, 1) to logits (S/4, S/4, 261)."""
    return Model(colorizer.input, colorizer.get_layer("logits").output, name="bin_logits")


def regression_colorizer(image_size, *, widths=(32, 64, 128, 224)):
    """The vivid colorizer's twin, of the same sizes and trunk: its head predicts ab itself, without bins or dials."""
    inputs = lightness_input(image_size, STRIDE)
    ab = layers.Conv2D(2, 1, activation="tanh", name="ab_head", dtype="float32")(_trunk(inputs, widths))
    return Model(inputs, Enlarge(name="ab", dtype="float32")(ab), name="regression_colorizer")
