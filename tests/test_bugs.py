"""The bugs do what they are said to do, and nothing else."""

import keras
import numpy as np
import tensorflow as tf
from numpy.testing import assert_allclose

from colorlib import bugs, color


def test_dividing_twice_makes_all_tiny_and_can_be_undone():
    rng = np.random.default_rng(0)
    lightness, ab = color.from_uint8(rng.integers(0, 256, (2, 8, 8, 3), np.uint8))
    tiny_lightness, tiny_ab = bugs.divided_twice(lightness, ab)
    white, _ = bugs.divided_twice(np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 2), np.float32))
    assert_allclose(white, 0.0027, atol=1e-4)  # lightness 0..1 of white
    assert np.abs(tiny_ab).max() < 0.01 < np.abs(ab).max()
    assert_allclose(bugs.multiplied_again(tiny_lightness, tiny_ab), ab, atol=2e-3)


def test_apart_lightness_and_ab_are_turned_by_angles_of_their_own_and_a_run_that_goes_on_draws_the_same():
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 1)).astype(np.float32)
    one = tf.data.Dataset.from_tensors((picture, np.repeat(picture, 2, axis=-1))).repeat(5)

    def drawn(**options):
        return [(seen.numpy(), ab.numpy()) for seen, ab in bugs.turned(one, 0, **options)]

    for seen, ab in drawn(apart=False):
        assert_allclose(ab, np.repeat(seen, 2, axis=-1), atol=1e-6)
        assert np.abs(seen - picture).max() > 0.1
    gaps = [np.abs(ab - seen).mean() for seen, ab in drawn()]
    assert min(gaps) > 0.05
    for (seen, ab), (again, ab_again) in zip(drawn()[3:], drawn(first_step=3)[:2], strict=True):
        assert_allclose(seen, again)
        assert_allclose(ab, ab_again)


def test_a_misread_backbone_gets_percent_and_a_blind_one_nearly_black():
    inputs = keras.Input((8, 8, 1))
    grey = keras.layers.Concatenate(name="preprocess")([inputs] * 3)
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Identity()], name="network")
    reader = keras.Model(inputs, network(grey))
    lightness = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    seen = keras.ops.convert_to_numpy(bugs.misread(reader)(lightness))
    assert_allclose(seen, np.repeat(50 * (lightness + 1), 3, axis=-1), atol=1e-4)
    almost = keras.ops.convert_to_numpy(bugs.AlmostBlack()(lightness))
    assert almost.shape == (1, 8, 8, 3)
    assert_allclose([almost.min(), almost.max()], [0, 1 / 255], atol=1e-6)
