"""What makes pictures look old changes lightness alone, by as much as it is told, and only in training."""

import keras
import numpy as np
import pytest
import skimage.data
from keras import ops

from colorlib import color
from colorlib.models import aging

NAMES = list(aging.DEGRADATIONS)


@pytest.fixture(scope="module")
def photograph():
    """Lightness and ab of four squares of a color photograph."""
    picture = skimage.data.astronaut()[:128, 128:384]
    squares = np.stack([picture[top : top + 64, left : left + 64] for top in (0, 64) for left in (0, 128)])
    return color.from_uint8(squares)


def degraded(name, photograph, amount, seed=0):
    lightness, ab = (ops.convert_to_tensor(part) for part in photograph)
    amount = ops.full((len(lightness), 1, 1, 1), amount)
    generator = keras.random.SeedGenerator(seed)
    return ops.convert_to_numpy(aging.DEGRADATIONS[name](lightness, ab, amount, generator))


@pytest.mark.parametrize("name", NAMES)
def test_each_degradation_changes_nothing_at_0_and_is_plain_to_see_at_1(name, photograph):
    lightness = photograph[0]
    least = 0.02 if name == "jpeg" else 1e-4  # quality 95
    assert np.abs(degraded(name, photograph, 0.0) - lightness).mean() < least
    old = degraded(name, photograph, 1.0)
    assert old.shape == lightness.shape and np.isfinite(old).all()
    assert 50 * np.abs(old - lightness).mean() > 1  # L*


def test_a_faded_picture_keeps_40_percent_of_its_range(photograph):
    assert np.ptp(degraded("fading", photograph, 1.0), axis=(1, 2, 3)) == pytest.approx(
        0.4 * np.ptp(photograph[0], axis=(1, 2, 3)), rel=1e-5
    )


def test_blur_is_a_gaussian_of_14_tenths_of_a_pixel():
    point = np.zeros((1, 64, 64, 1), np.float32)
    point[0, 32, 32] = 1
    blurred = degraded("blur", (point, np.zeros((1, 64, 64, 2), np.float32)), 1.0)[0, ..., 0]
    spread = (blurred * (np.arange(64) - 32) ** 2).sum()
    assert blurred.sum() == pytest.approx(1, abs=1e-5) and spread == pytest.approx(2, rel=0.02)


def test_film_blind_to_red_shows_red_dark_and_blue_light():
    red, blue = color.from_uint8(np.full((1, 16, 16, 3), (230, 10, 10), np.uint8)), None
    blue = color.from_uint8(np.full((1, 16, 16, 3), (60, 60, 250), np.uint8))
    assert degraded("blind_to_red", red, 1.0).mean() < red[0].mean() - 0.5
    assert degraded("blind_to_red", blue, 1.0).mean() > blue[0].mean() + 0.2


def test_half_of_the_pictures_look_old_in_training_and_none_otherwise(photograph):
    lightness, ab = (np.tile(part, (25, 1, 1, 1)) for part in photograph)
    layer = aging.OldPhotograph(seed=3)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer([lightness, ab])), lightness)
    old = ops.convert_to_numpy(layer([lightness, ab], training=True))
    changed = np.abs(old - lightness).max((1, 2, 3)) > 1e-4
    # An old one escapes all eight with a chance of 0.65^8, 3 %.
    assert 0.3 < changed.mean() < 0.65
    assert np.abs(old).max() <= 1
    again = aging.OldPhotograph.from_config(layer.get_config())
    np.testing.assert_array_equal(ops.convert_to_numpy(again([lightness, ab], training=True)), old)
