"""What time, cameras and film did to old photographs, done to the lightness of new ones: `OldPhotograph`.

A colorizer that only saw clear pictures in training fails on faded ones. Each degradation in DEGRADATIONS takes
lightness (B, S, S, 1) and ab (B, S, S, 2), both in [-1, 1], an amount (B, 1, 1, 1) in 0..1 and a seed, and returns
the lightness that an old photograph of the same scene would have. 0 changes nothing, 1 is as bad as albums hold.
"""

import math

import keras
import numpy as np
from keras import layers, ops, random

from colorlib import color

CHANCE = 0.5  # of a picture to become an old one
EACH = 0.35  # chance of each degradation in an old one: between two and three of them
_LUMINANCE_STEPS = np.array(  # for 8x8 blocks at JPEG's quality 50: ITU-T T.81, table K.1
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
     14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
     49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99], np.float32).reshape(8, 8)  # fmt: skip


def _uniform(like, count, seed):
    """A random number in 0..1 for each picture, `count` times: (count, B, 1, 1, 1)."""
    return random.uniform((count, ops.shape(like)[0], 1, 1, 1), seed=seed)


def fading(lightness, ab, amount, seed):
    """Black turns grey and white turns dull: what is left is at least 40 % of the range, anywhere in it."""
    share = 1 - 0.6 * amount
    lost = 1 - share
    return share * lightness + lost * (2 * _uniform(lightness, 1, seed)[0] - 1)


def gamma(lightness, ab, amount, seed):
    """A print too dark or too light: (L*/100)^g, g from 1/2 to 2."""
    exponent = ops.exp(math.log(2) * amount * ops.sign(_uniform(lightness, 1, seed)[0] - 0.5))
    return 2 * ops.exp(exponent * ops.log(ops.maximum((lightness + 1) / 2, 1e-4))) - 1


def grain(lightness, ab, amount, seed):
    """Noise, half of it as coarse as two pixels, of up to 6 L* rms."""
    fine = random.normal(ops.shape(lightness), seed=seed)
    coarse = 2 * _blurred(random.normal(ops.shape(lightness), seed=seed))
    return lightness + 0.12 * amount * ops.where(_uniform(lightness, 1, seed)[0] < 0.5, fine, coarse)


def blur(lightness, ab, amount, seed):
    """Out of focus: a Gaussian of up to 1.4 pixels."""
    return lightness + amount * (_blurred(_blurred(lightness)) - lightness)


def jpeg(lightness, ab, amount, seed):
    """Compressed as a JPEG of quality 95 to 15: its 8x8 blocks lose their fine detail. S is a multiple of 8."""
    frequency, place = np.mgrid[:8, :8]
    cosines = np.cos((2 * place + 1) * frequency * np.pi / 16) * np.where(frequency, 0.5, math.sqrt(1 / 8))
    batch, height, width, _ = ops.shape(lightness)
    blocks = 127.5 * ops.reshape(lightness, (batch, height // 8, 8, width // 8, 8))
    cosines = ops.convert_to_tensor(cosines, "float32")
    found = ops.einsum("uy,bhywx,vx->bhuwv", cosines, blocks, cosines)
    steps = ops.reshape(_LUMINANCE_STEPS, (1, 1, 8, 1, 8)) * (0.1 + 3.2 * ops.expand_dims(amount, -1))
    kept = steps * ops.round(found / steps)
    return ops.reshape(ops.einsum("uy,bhuwv,vx->bhywx", cosines, kept, cosines), ops.shape(lightness)) / 127.5


def scratches(lightness, ab, amount, seed):
    """Four thin lines from top to bottom, light or dark, nearly upright."""
    height, width = ops.shape(lightness)[1:3]
    y = ops.reshape(ops.linspace(0.0, 1.0, height), (1, -1, 1, 1))
    x = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, -1, 1))
    for _ in range(4):
        start, lean, shade = ops.unstack(_uniform(lightness, 3, seed), 3)
        distance = ops.abs(x - width * (start + 0.3 * (lean - 0.5) * y))
        cover = amount * ops.relu(1 - distance)  # a pixel wide
        lightness = lightness + cover * (ops.where(shade < 0.5, -1.0, 1.0) - lightness)
    return lightness


def vignetting(lightness, ab, amount, seed):
    """Corners up to 40 L* darker than the middle; in one picture of three, lighter."""
    height, width = ops.shape(lightness)[1:3]
    y = ops.reshape(ops.linspace(-1.0, 1.0, height), (1, -1, 1, 1))
    x = ops.reshape(ops.linspace(-1.0, 1.0, width), (1, 1, -1, 1))
    sign = ops.where(_uniform(lightness, 1, seed)[0] < 1 / 3, 0.4, -0.4)
    return lightness + sign * amount * (x * x + y * y)


def blind_to_red(lightness, ab, amount, seed):
    """Film that sees green and blue alone, as most did before 1930: red lips are black, blue skies white."""
    rgb = color.lab_to_rgb(color.merge(lightness, ab))
    grey = ops.repeat(ops.clip(0.65 * rgb[..., 1:2] + 0.35 * rgb[..., 2:], 0.0, 1.0), 3, axis=-1)
    return lightness + amount * (color.split(color.rgb_to_lab(grey))[0] - lightness)


def _blurred(maps):
    """Maps (B, H, W, 1) under a Gaussian of 1 pixel."""
    weights = np.exp(-np.square(np.arange(-3, 4)) / 2)
    kernel = ops.convert_to_tensor((np.outer(weights, weights) / weights.sum() ** 2)[..., None, None], "float32")
    return ops.conv(ops.pad(maps, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect"), kernel)


DEGRADATIONS = {  # in the order in which they happen: the film, the camera, the years, the scan
    each.__name__: each for each in (blind_to_red, blur, vignetting, gamma, grain, scratches, fading, jpeg)
}


@keras.saving.register_keras_serializable("colorlib")
class OldPhotograph(layers.Layer):
    """In training, makes half of the pictures look old; else changes nothing.

    Called on [lightness, ab], (B, S, S, 1) and (B, S, S, 2) in [-1, 1]; returns lightness. Only lightness is degraded:
    what the model is to predict stays the scene's own color. S is a multiple of 8. `seed` makes it repeatable.
    """

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Degrades; see the class."""
        lightness, ab = inputs
        if not training:
            return lightness
        seed = self.seed_generator
        is_old = ops.cast(_uniform(lightness, 1, seed)[0] < CHANCE, "float32")
        for degrade in DEGRADATIONS.values():
            chance, amount = ops.unstack(_uniform(lightness, 2, seed), 2)
            degraded = degrade(lightness, ab, amount, seed)
            lightness = lightness + is_old * ops.cast(chance < EACH, "float32") * (degraded - lightness)
        return ops.clip(lightness, -1.0, 1.0)

    def compute_output_shape(self, shapes):
        """The lightness's."""
        return shapes[0]

    def get_config(self):
        """The seed."""
        return {**super().get_config(), "seed": self.seed}
