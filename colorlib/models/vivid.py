"""Color by classification over ab bins, and its twin that regresses (Zhang, Isola and Efros 2016).

Both are a U on a backbone that you hand them: its maps, coarse to fine, are enlarged and joined, and a head of one
1x1 convolution predicts at the stride of the finest map. `models.backbones` has backbones trained on ImageNet,
`small_backbone` is one to train from scratch.
"""

import keras
import numpy as np
from keras import Model, layers, ops

from colorlib import color
from colorlib.models.scratch import lightness_input, normalization

_EPSILON = 0.001  # the share of a uniform prior mixed in before its logarithm
_MOST_RESTORED = 2.0  # a picture of which nothing is known would be multiplied without end
_LIKE = 3.0  # L*: places that differ by less belong together
_MOMENTUM = 0.9  # the default, 0.99, still remembers the first weights after an epoch of a small set


@keras.saving.register_keras_serializable("colorlib")
class BinDecoding(layers.Layer):
    """Decodes logits over the ab bins, (B, h, w, 261), into ab (B, h, w, 2) in [-1, 1], with three dials.

    softmax((logits - rebalance * log((1 - eps) p + eps / Q)) / temperature), then the expectation over the bin
    centers, times gain. temperature 1 is the mean, towards 0 the mode. rebalance (the tau of Menon et al. 2021) makes
    rare colors count more. p is `prior`, the training set's share of each of the Q = 261 bins, summing to 1. All are
    weights, saved with the model, and may be set at any time; ValueError for a dial below 0, and for temperature 0.

    A mean of several colors is duller than they are, and most so in a picture of which the model is unsure. There
    `restore` turns the gain up: it multiplies a picture by (mean expected chroma / mean chroma) ** restore, but by 2 at
    most. 0 leaves it alone, with 1 the mean chroma is the one that the shares expect.
    """

    def __init__(self, restore=0.0, **kwargs):
        super().__init__(**kwargs)
        self.restore = restore

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
        ab = ops.matmul(shares, ops.convert_to_tensor(color.bins() / color.AB_SCALE))
        if self.restore:
            chroma = np.linalg.norm(color.bins() / color.AB_SCALE, axis=1, keepdims=True)
            expected = ops.mean(ops.matmul(shares, ops.convert_to_tensor(chroma)), axis=(1, 2, 3), keepdims=True)
            found = ops.mean(ops.norm(ab, axis=-1, keepdims=True), axis=(1, 2, 3), keepdims=True)
            duller = found / (expected + keras.config.epsilon())
            gain /= ops.maximum(duller**self.restore, 1 / _MOST_RESTORED)
        return gain * ab

    def get_config(self):
        """What `restore` is."""
        return {**super().get_config(), "restore": self.restore}

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
class SmoothLogits(layers.Layer):
    """Averages logits (B, h, w, 261) over neighbors of like lightness, so that one thing gets one color.

    Called on [logits, lightness], the second (B, stride h, stride w, 1) in [-1, 1]. Each place becomes the mean of the
    nine places around it, then of nine at twice the distance, weighted by exp(-d^2 / 2) of the difference d of
    lightness in units of 3 L*: an edge stops it. In training it passes the logits on as they are.
    """

    def __init__(self, stride=4, **options):
        super().__init__(**options)
        self.stride = stride

    def get_config(self):
        """The layer's arguments."""
        return super().get_config() | {"stride": self.stride}

    def call(self, inputs, training=False):
        """Smooths; see the class."""
        logits, lightness = inputs
        if training:
            return logits
        lightness = ops.average_pool(lightness, self.stride, self.stride) * (50 / _LIKE)
        logits = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
        for distance in (1, 2):
            logits = self._mean_of_nine(logits, lightness, distance)
        return logits

    @staticmethod
    def _mean_of_nine(logits, lightness, distance):
        height, width = ops.shape(lightness)[1:3]
        around = ((0, 0), (distance, distance), (distance, distance), (0, 0))
        # Beyond the border lightness is like no other, so that nothing there has a weight.
        values, seen = ops.pad(logits, around), ops.pad(lightness, around, constant_values=1e3)
        total = weights = 0.0
        for top in range(0, 2 * distance + 1, distance):
            for left in range(0, 2 * distance + 1, distance):
                rows, columns = slice(top, top + height), slice(left, left + width)
                weight = ops.exp(-ops.square(seen[:, rows, columns] - lightness) / 2)
                total, weights = total + weight * values[:, rows, columns], weights + weight
        return total / weights

    def compute_output_shape(self, shapes):
        """The logits'."""
        return shapes[0]


@keras.saving.register_keras_serializable("colorlib")
class Enlarge(layers.Layer):
    """Enlarges maps (B, h, w, C) of any size `factor` times, by bilinear interpolation: (B, f h, f w, C).

    `UpSampling2D(factor, interpolation="bilinear")` gives the same numbers, but keeps the first size that it sees.
    """

    def __init__(self, factor=4, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, maps):
        """Enlarges the width, then the height."""
        wider = self._taller(ops.transpose(maps, (0, 2, 1, 3)))
        return self._taller(ops.transpose(wider, (0, 2, 1, 3)))

    def _taller(self, maps):
        above = ops.concatenate([maps[:, :1], maps[:, :-1]], axis=1)
        below = ops.concatenate([maps[:, 1:], maps[:, -1:]], axis=1)
        rows = []
        for i in range(self.factor):
            offset = (i + 0.5) / self.factor - 0.5  # of the new row's center from the old one's, in its height
            neighbor = below if offset > 0 else above
            rows.append(maps + abs(offset) * (neighbor - maps))
        batch, height, width, channels = ops.shape(maps)
        return ops.reshape(ops.stack(rows, axis=2), (batch, self.factor * height, width, channels))

    def get_config(self):
        """The factor."""
        return {**super().get_config(), "factor": self.factor}


def vivid_colorizer(backbone, *, widths=(192, 128, 96), dropout=0.0, smooth=False, restore=0.0):
    """A classifier over the 261 ab bins, decoded inside the model by the layer "decode".

    Lightness (S, S, 1) to ab (S, S, 2), both in [-1, 1]. `backbone` is a `keras.Model` from lightness to a map, or to
    a list of maps, fine to coarse, each with half the side of the one before. `widths` are the channels of the
    decoder, coarse to fine, one for each map but the coarsest; the bins are predicted at the stride of the finest.
    `dropout` is the share of the joined maps that a step of training goes without. With `smooth`, the trained
    model's logits are averaged along edges, see `SmoothLogits`; for `restore` see `BinDecoding`.

    Train the model that `bin_logits` returns; it shares the weights. Raises ValueError for another number of widths.
    """
    inputs, x, stride = _decoder(backbone, widths, dropout)
    head = {"kernel_initializer": _near_grey(), "dtype": "float32"}
    if smooth:
        logits = layers.Conv2D(len(color.bins()), 1, name="decoder_logits", **head)(x)
        logits = SmoothLogits(stride, name="logits", dtype="float32")([logits, inputs])
    else:
        logits = layers.Conv2D(len(color.bins()), 1, name="logits", **head)(x)
    ab = BinDecoding(restore, name="decode", dtype="float32")(logits)
    return Model(inputs, Enlarge(stride, name="ab", dtype="float32")(ab), name="vivid_colorizer")


def regression_colorizer(backbone, *, widths=(192, 128, 96), dropout=0.0):
    """The vivid colorizer's twin, of the same backbone and decoder: its head predicts ab itself, without bins."""
    inputs, x, stride = _decoder(backbone, widths, dropout)
    ab = layers.Conv2D(2, 1, activation="tanh", kernel_initializer=_near_grey(), name="ab_head", dtype="float32")(x)
    return Model(inputs, Enlarge(stride, name="ab", dtype="float32")(ab), name="regression_colorizer")


def bin_logits(colorizer):
    """The part of a vivid colorizer that is trained: lightness (S, S, 1) to logits (S/s, S/s, 261)."""
    return Model(colorizer.input, colorizer.get_layer("logits").output, name="bin_logits")


def _decoder(backbone, widths, dropout=0.0):
    """The backbone's input, features as fine as its finest map, and their stride."""
    inputs = keras.Input(backbone.input_shape[1:], name="lightness")
    maps = keras.tree.flatten(backbone(inputs))
    if len(widths) != len(maps) - 1:
        raise ValueError(f"{len(maps)} maps of the backbone need {len(maps) - 1} widths of the decoder, not {widths}")
    x = maps[-1]
    for i, (skip, width) in enumerate(zip(reversed(maps[:-1]), widths, strict=True)):
        x = layers.Concatenate()([Enlarge(2)(x), skip])
        x = layers.SpatialDropout2D(dropout)(x)
        x = layers.Conv2D(width, 1, activation="relu", kernel_initializer="he_normal", name=f"decoder_{i}_join")(x)
        y = layers.Conv2D(
            width, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"decoder_{i}_first"
        )(x)
        # A branch that starts at zero trains soundly without normalization.
        y = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"decoder_{i}_second")(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    side = backbone.input_shape[1] or 64  # any that the strides divide
    finest = keras.tree.flatten(backbone.compute_output_spec(keras.KerasTensor((1, side, side, 1))))[0]
    return inputs, x, side // finest.shape[1]


def _near_grey():
    """A head's initializer, small: training starts near grey. New each time, for it takes the seed that is set."""
    return keras.initializers.RandomNormal(stddev=0.01)


@keras.saving.register_keras_serializable("colorlib")
class MultipleOf(layers.Layer):
    """Passes pictures (B, H, W, C) on as they are; ValueError where a side is not a multiple of `stride`."""

    def __init__(self, stride, **options):
        super().__init__(**options)
        self.stride = stride

    def get_config(self):
        """The layer's arguments."""
        return super().get_config() | {"stride": self.stride}

    def compute_output_shape(self, input_shape):
        """The pictures' own shape: on JAX, Keras would find it by calling with sides that are no numbers."""
        return input_shape

    def call(self, pictures):
        """Checks the sides that are known."""
        sides = [side for side in pictures.shape[1:3] if side is not None]
        if any(side % self.stride for side in sides):
            size = " x ".join(map(str, reversed(sides)))
            raise ValueError(
                f"{size} pixels: sides must be multiples of {self.stride}; colorize.predict takes any size"
            )
        return pictures


def small_backbone(image_size, *, widths=(32, 64, 128, 224)):
    """A network to train from scratch: lightness (S, S, 1) to features (S/4, S/4, widths[1]), seen down to stride 16.

    `image_size` None takes any multiple of 16. Raises ValueError, if need be when called, for what 16 does not divide.
    """
    inputs = lightness_input(image_size, 16)
    x = _convolution(inputs if image_size else MultipleOf(16)(inputs), widths[0], strides=2)
    levels = []
    for width in widths[1:]:
        x = _residual(_convolution(x, width, strides=2))
        levels.append(x)
    x = _residual(x)
    for skip in reversed(levels[:-1]):
        x = layers.UpSampling2D(2, interpolation="nearest")(_convolution(x, skip.shape[-1]))
        x = _convolution(layers.Add()([x, skip]), skip.shape[-1])
    return Model(inputs, x, name="small_backbone")


def _convolution(x, width, strides=1):
    x = layers.Conv2D(width, 3, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.ReLU()(normalization(momentum=_MOMENTUM)(x))


def _residual(x):
    y = _convolution(x, x.shape[-1])
    y = layers.Conv2D(x.shape[-1], 3, padding="same", use_bias=False, kernel_initializer="he_normal")(y)
    return layers.ReLU()(layers.Add()([x, normalization(momentum=_MOMENTUM, gamma_initializer="zeros")(y)]))
