"""What the builders share: the input, and the stacks of convolutions that several of the published systems have."""

import keras
import numpy as np
from keras import layers, ops


def lightness_input(image_size, stride, channels=1, name="lightness"):
    """A Keras input (S, S, channels), or of any size when `image_size` is None.

    Raises ValueError where the size is not a positive multiple of the model's stride.
    """
    if image_size is not None and (image_size <= 0 or image_size % stride):
        raise ValueError(f"image_size {image_size} is not a positive multiple of {stride}, the model's stride")
    return keras.Input((image_size, image_size, channels), name=name)


def encoder(x, filters, *, normalize=False):
    """The encoder of Iizuka et al. 2016 as systems 1 and 2 have it: (S, S, 1) to (S/8, S/8, 4 filters), 3x3 and ReLU.

    Widths are f s2, 2f, 2f s2, 4f, 4f s2, 8f, 8f, 4f; with `normalize`, a BatchNorm follows the first.
    """
    for i, (times, strides) in enumerate([(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 1), (4, 1)]):
        x = layers.Conv2D(times * filters, 3, strides, "same", activation="relu")(x)
        if normalize and i == 0:
            x = layers.BatchNormalization()(x)
    return x


def decoder(x, widths, doubled):
    """3x3 ReLU convolutions of these widths, then two channels by tanh; the side doubles after those in `doubled`.

    `doubled` counts the convolutions from 0; doubling is by nearest neighbor.
    """
    for i, width in enumerate([*widths, 2]):
        x = layers.Conv2D(width, 3, padding="same", activation="tanh" if i == len(widths) else "relu")(x)
        if i in doubled:
            x = layers.UpSampling2D(2, interpolation="nearest")(x)
    return x


def leaky(x, width, *, normalize=True):
    """A 3x3 convolution, LeakyReLU and BatchNorm, as system 3 has them."""
    x = layers.LeakyReLU(0.3)(layers.Conv2D(width, 3, padding="same")(x))
    return layers.BatchNormalization()(x) if normalize else x


def joining_decoder(x, picture, filters):
    """System 3's decoder: features (S/4, S/4, n), up twice, joined with what went in, to ab (S, S, 2) by tanh."""
    for width in (filters, filters // 2):
        x = leaky(layers.UpSampling2D(2, interpolation="nearest")(x), width)
    x = layers.Concatenate()([x, picture])
    for width in (filters // 2, filters // 4):
        x = leaky(x, width)
    return layers.Conv2D(2, 3, padding="same", activation="tanh")(x)


def with_lightness(colorizer):
    """The colorizer with the lightness it read before its ab: (S, S, 1) to (S, S, 3), for `losses.perceptual`."""
    return keras.Model(
        colorizer.input, layers.Concatenate()([colorizer.input, colorizer.output]), name="with_lightness"
    )


def predict(model, *inputs, batch_size=32):
    """What a model makes of NumPy arrays (N, ...), one for each of its inputs, in batches: a NumPy array (N, ...).

    The model is called: its own `predict` traces a graph first, which for a new model takes longer than a few batches.
    """
    starts = range(0, len(inputs[0]), batch_size)
    parts = [[np.float32(values[start : start + batch_size]) for values in inputs] for start in starts]
    made = [model(part if len(inputs) > 1 else part[0], training=False) for part in parts]
    return np.concatenate([ops.convert_to_numpy(batch) for batch in made])
