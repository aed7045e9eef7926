"""Bugs of the five published systems, each a function, to be switched on on purpose: notebooks 03, 04, 05 and 10 do.

None of it is used where pictures are colored.
"""

import keras
import numpy as np
import tensorflow as tf

from colorlib import color


def divided_twice(lightness, ab):
    """System 3: lightness (..., 1) in 0..1 and ab (..., 2) of pictures that were divided by 255 once too often.

    Takes lightness and ab in [-1, 1], arrays or tensors.
    """
    rgb = color.lab_to_rgb(color.merge(lightness, ab)) / 255  # the bug: it is between 0 and 1 already
    lab = color.rgb_to_lab(rgb)
    return lab[..., :1] / 100, color.split(lab)[1]


def multiplied_again(tiny_lightness, tiny_ab):
    """Brings ab from the scale of `divided_twice` back to [-1, 1]; NumPy arrays."""
    lab = np.concatenate([100 * tiny_lightness, color.merge(tiny_lightness, tiny_ab)[..., 1:]], axis=-1)
    return color.split(color.rgb_to_lab(np.clip(color.lab_to_rgb(lab) * 255, 0, 1)))[1]


def turned(batches, seed, *, first_step=0, apart=True):
    """System 3: turns lightness and ab of batches by up to 15 degrees, each by an angle of its own.

    `batches` is a tf.data.Dataset of (lightness, ab); `first_step` counts those of a run that goes on. With `apart`
    False both get the same angle, as they should.
    """

    def turn(number, batch):
        angles = tf.random.stateless_uniform((2, len(batch[0])), [seed, number], -np.pi / 12, np.pi / 12)
        return _rotated(batch[0], angles[0]), _rotated(batch[1], angles[1 if apart else 0])  # the bug: two angles

    return batches.enumerate(first_step).map(turn)


def _rotated(pictures, angle):
    """Pictures (B, S, S, C), each turned by its angle (B,), in radians; borders are mirrored."""
    cos, sin, middle = keras.ops.cos(angle), keras.ops.sin(angle), (pictures.shape[1] - 1) / 2
    rows = [cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - sin - cos), 0 * angle, 0 * angle]
    return keras.ops.image.affine_transform(pictures, keras.ops.stack(rows, -1), fill_mode="reflect")


@keras.saving.register_keras_serializable("colorlib")
class AlmostBlack(keras.layers.Layer):
    """System 2: lightness (B, H, W, 1) as grey sRGB (B, H, W, 3), which is divided by 255 once too often."""

    def call(self, lightness):
        """Converts and divides."""
        grey = color.lab_to_rgb(color.merge(lightness, keras.ops.repeat(0 * lightness, 2, axis=-1)))
        return grey / 255  # the bug: a network that expects 0 to 255, scaled to its range, gets 0 to 1


def blind(reader):
    """System 2: a backbone or embedder of `models.backbones` that sees nearly the same black for every picture."""
    scaled = reader.get_layer("preprocess")(AlmostBlack(dtype="float32")(reader.input))
    return keras.Model(reader.input, reader.get_layer("network")(scaled, training=False), name="blind")


def misread(reader):
    """System 1: a backbone of `models.backbones` that gets L* itself, 0 to 100, without its preprocessing."""
    network = reader.get_layer("network")
    side = network.input_shape[1]
    percent = keras.layers.Rescaling(50.0, offset=50.0, dtype="float32")(reader.input)
    three = keras.layers.Concatenate(dtype="float32")([percent] * 3)
    if side and side != reader.input_shape[1]:
        three = keras.layers.Resizing(side, side, dtype="float32")(three)
    return keras.Model(reader.input, network(three, training=False), name="misread")
