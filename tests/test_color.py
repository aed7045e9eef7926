"""color.py against scikit-image, its own inverse, and the three kinds of array it serves."""

import numpy as np
import pytest
import skimage.color

from colorlib import color


@pytest.fixture(scope="module")
def cube():
    """A 17^3 grid of sRGB and the edges of the 8-bit range, float32 (n, 3)."""
    axis = np.linspace(0, 1, 17)
    edges = np.array([0, 1, 10, 11, 254, 255]) / 255  # around the linear part's end, and the ends
    grids = [np.stack(np.meshgrid(a, a, a), -1).reshape(-1, 3) for a in (axis, edges)]
    return np.concatenate(grids).astype(np.float32)


def test_both_ways_agree_with_scikit_image_and_undo_each_other(cube):
    lab = color.rgb_to_lab(cube)
    np.testing.assert_allclose(lab, skimage.color.rgb2lab(cube), atol=1e-3)
    np.testing.assert_allclose(color.lab_to_rgb(lab), skimage.color.lab2rgb(lab), atol=1e-3)
    np.testing.assert_allclose(color.lab_to_rgb(lab), cube, atol=1e-4)
    doubles = color.lab_to_rgb(color.rgb_to_lab(np.float64(cube)))
    assert doubles.dtype == np.float64 and np.abs(doubles - cube).max() < 1e-6


def test_the_same_numbers_inside_tf_data_and_as_backend_tensors(cube):
    import tensorflow as tf
    from keras import ops

    expected = color.rgb_to_lab(cube)
    (inside,) = tf.data.Dataset.from_tensors(cube).map(color.rgb_to_lab)
    np.testing.assert_allclose(inside, expected, atol=1e-3)
    backend = ops.convert_to_tensor(cube)
    np.testing.assert_allclose(ops.convert_to_numpy(color.rgb_to_lab(backend)), expected, atol=1e-3)
    np.testing.assert_allclose(ops.convert_to_numpy(color.lab_to_rgb(color.rgb_to_lab(backend))), cube, atol=1e-4)
    lightness, ab = color.split(color.rgb_to_lab(backend))
    np.testing.assert_allclose(ops.convert_to_numpy(color.merge(lightness, ab)), expected, atol=1e-3)


def test_8_bit_pictures_take_a_quicker_way_to_the_same_numbers():
    pictures = np.random.default_rng(4).integers(0, 256, (3, 70, 90, 3), np.uint8)  # more than a block of pixels
    pictures[0, :9] = np.arange(27).reshape(9, 1, 3) // 3  # near black, where the curve is a line
    expected = color.rgb_to_lab(pictures / 255.0)
    np.testing.assert_allclose(color.lab_of(pictures), expected, atol=1e-3)
    lightness, ab = color.from_uint8(pictures[:, ::2, ::-1])  # not contiguous
    np.testing.assert_allclose(color.merge(lightness, ab), expected[:, ::2, ::-1], atol=1e-3)
    np.testing.assert_allclose(color.lab_of(pictures.astype(np.uint16) * 257), expected, atol=1e-3)
    for wrong in (pictures / 255.0, pictures[..., :1], pictures.astype(np.int64)):
        with pytest.raises(ValueError, match=r"sRGB, uint8 or uint16 \(..., 3\), not"):
            color.lab_of(wrong)
    with pytest.raises(ValueError, match="three numbers"):
        color.rgb_to_lab(np.zeros((6, 6)))
    assert color.lab_of(np.empty((0, 3), np.uint8)).shape == color.lab_to_rgb(np.empty((0, 3))).shape == (0, 3)


def test_a_loss_in_lab_has_the_gradient_of_its_formula():
    import tensorflow as tf

    rgb = tf.constant([[0.001, 0.3, 0.9], [0.02, 0.5, 0.03]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(rgb)
        total = tf.reduce_sum(color.rgb_to_lab(tf.cast(rgb, tf.float32)) * [1.0, 2.0, 3.0])
    found, step = tape.gradient(total, rgb).numpy(), 1e-6
    for index in np.ndindex(2, 3):
        moved = [rgb.numpy(), rgb.numpy()]
        moved[0][index] += step
        moved[1][index] -= step
        above, below = ((color.rgb_to_lab(each) * [1.0, 2.0, 3.0]).sum() for each in moved)
        assert found[index] == pytest.approx((above - below) / (2 * step), rel=1e-3)


def test_split_scales_to_the_contract():
    lightness, ab = color.split(np.array([[[100.0, 128.0, -64.0]], [[0.0, 0.0, 0.0]]]))
    np.testing.assert_array_equal(lightness[..., 0], [[1.0], [-1.0]])
    np.testing.assert_array_equal(ab[0, 0], [1.0, -0.5])
    np.testing.assert_allclose(color.merge(lightness, ab)[0, 0], [100.0, 128.0, -64.0])


def test_render_returns_pictures_it_was_given():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    back, _ = color.render(*color.from_uint8(pictures))
    np.testing.assert_array_equal(back, pictures)


def test_render_clips_to_the_gamut_and_says_where():
    lightness = np.zeros((1, 2, 1), np.float32)  # L* = 50
    ab = np.array([[[0.1, 0.1], [0.9, 0.9]]], np.float32)  # the second is far outside
    rgb, clipped = color.render(lightness, ab)
    assert clipped.tolist() == [[False, True]]
    assert rgb[0, 1, 0] == 255 and rgb[0, 1, 1] == 0 and rgb[0, 1, 2] == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_muted_colors_keep_lightness_and_hue_and_lie_on_the_gamut(dtype):
    pictures = np.random.default_rng(3).integers(0, 256, (60, 50, 3), np.uint8)
    lightness, ab = color.from_uint8(pictures)
    unchanged = color.render_muted(lightness, ab, dtype)
    assert unchanged.dtype == dtype
    np.testing.assert_array_equal(unchanged, pictures.astype(dtype) * (np.iinfo(dtype).max // 255))
    lightness, ab = np.clip(lightness, -0.9, 0.9), 2 * ab  # not so dark that 8 bits have no hues
    wanted = color.merge(lightness, ab)
    found = color.lab_of(color.render_muted(lightness, ab, dtype))
    assert np.abs(found[..., 0] - wanted[..., 0]).mean() < 0.1 and np.abs(found[..., 0] - wanted[..., 0]).max() < 0.5
    chroma, before = np.linalg.norm(found[..., 1:], axis=-1), np.linalg.norm(wanted[..., 1:], axis=-1)
    turned = np.abs(wanted[..., 1] * found[..., 2] - wanted[..., 2] * found[..., 1]) / before  # off the ray of its hue
    assert turned.max() < 1.5
    muted = chroma < 0.95 * before
    share = (1.03 * chroma + 1) / before  # a little more chroma would be outside
    more = color.lab_to_rgb(color.merge(lightness, ab * share[..., None]))[muted]
    assert muted.mean() > 0.5 and (np.abs(more - 0.5).max(-1) > 0.5).all()


def test_bins_are_those_of_the_whole_cube():
    centers = color.bins()
    assert centers.shape == (261, 2)
    np.testing.assert_array_equal(np.unique(centers % 10), [0])
    found = set()
    axis = np.arange(256, dtype=np.float32) / 255
    for red in np.array_split(axis, 64):
        ab = color.rgb_to_lab(np.stack(np.meshgrid(red, axis, axis, indexing="ij"), -1))[..., 1:]
        found.update(np.unique((np.rint(ab / 10) @ [1000, 1]).astype(int)))
    assert found == set((centers / 10 @ [1000, 1]).astype(int))


def test_nearest_bin_is_the_nearest():
    ab = color.from_uint8(np.random.default_rng(1).integers(0, 256, (2000, 3), np.uint8))[1] * 128
    distances = np.linalg.norm(ab[:, None] - color.bins(), axis=-1)
    chosen = distances[np.arange(len(ab)), color.nearest_bin(ab)]
    assert (chosen - distances.min(-1)).max() <= 0.71  # half a cell's diagonal, twice
    assert (chosen == distances.min(-1)).mean() > 0.9
