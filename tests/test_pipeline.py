"""The pipeline: the protocol's pictures, the same seed the same batches, geometry that moves both together."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from colorlib import color
from colorlib.data import files, pipeline

SIZE = 32


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Ten smooth pictures of different shapes as clean JPEGs."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(10):
        noise = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
        picture = noise.resize([(64, 48), (48, 64), (32, 32)][i % 3], Image.Resampling.BICUBIC)
        picture.save(folder / f"{i}.jpg", quality=95, subsampling=0)
    return sorted(folder.glob("*.jpg"))


@pytest.fixture(scope="module")
def lab(paths):
    return pipeline.load_lab(paths, SIZE)


def first(lab, count=6, **options):
    batches = pipeline.lab_batches(lab, batch_size=4, training=True, **options).take(count)
    return [np.concatenate(batch, -1) for batch in batches.as_numpy_iterator()]


def test_batches_hold_the_protocols_pictures(paths, lab):
    batches = list(pipeline.lab_batches(lab, batch_size=4).as_numpy_iterator())
    lightness, ab = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    expected = color.from_uint8(pipeline.load_pictures(paths, 32))
    # TensorFlow's area filter and OpenCV's may round a value to neighboring 8-bit numbers.
    assert np.abs(lightness - expected[0]).max() * 50 < 0.6
    assert np.abs(lightness - expected[0]).mean() * 50 < 0.05
    assert np.abs(ab - expected[1]).mean() * 128 < 0.1
    assert [len(batch[0]) for batch in batches] == [4, 4, 2]


def test_no_pictures_is_said_plainly():
    with pytest.raises(ValueError, match="no pictures to read"):
        pipeline.load_pictures([], 32)


def test_training_shows_the_same_pictures_as_scoring(lab):
    (scored,) = pipeline.lab_batches(lab, batch_size=len(lab)).as_numpy_iterator()
    known = np.concatenate(scored, -1)[:8]
    shown = np.concatenate(first(lab[:8], 2, augmentation=None))  # an epoch of two batches
    order = [int(np.argmin(np.abs(known - picture).mean((1, 2, 3)))) for picture in shown]
    assert sorted(order) == list(range(8))
    np.testing.assert_allclose(shown, known[order], atol=1e-6)


def test_the_same_seed_gives_the_same_batches_in_parallel_too(lab, monkeypatch):
    for augmentation in ("warp", "albumentations", None):
        monkeypatch.setattr(pipeline, "_THREADS", 4)
        once = first(lab, augmentation=augmentation)
        monkeypatch.setattr(pipeline, "_THREADS", 1)
        np.testing.assert_array_equal(once, first(lab, augmentation=augmentation))
        assert np.abs(np.array(once) - first(lab, augmentation=augmentation, seed=1)).max() > 0.1


def test_epochs_differ_and_can_be_resumed(lab):
    batches = first(lab, 6, augmentation=None)  # two batches an epoch
    assert np.abs(batches[0] - batches[2]).max() > 0.01
    np.testing.assert_array_equal(first(lab, 2, augmentation=None, first_epoch=2), batches[4:])
    np.testing.assert_array_equal(first(lab, 2, first_epoch=1), first(lab, 4)[2:])


def test_an_epoch_shows_no_picture_twice(lab):
    epoch = np.concatenate(first(lab, 2, augmentation=None))
    assert len(np.unique(epoch.reshape(8, -1), axis=0)) == 8


# Features beside the pictures, the order, and epochs of another length


def numbered(count, size=8):
    """Pictures and features that say their number: lightness 1000 i, a* -1000 i, b* 500 i; features i and -i."""
    numbers = np.arange(count)
    lab = np.broadcast_to(np.multiply.outer(numbers, [1000, -1000, 500])[:, None, None], (count, size, size, 3))
    return lab.astype(np.int16), np.stack([numbers, -numbers], 1).astype(np.float16)


def numbers(batches):
    """The numbers of each batch's pictures, after a look whether lightness, ab and features are of one picture."""
    found = []
    for inputs, ab in batches.as_numpy_iterator():
        lightness, features = inputs if isinstance(inputs, tuple) else (inputs, None)
        found.append([int(number) for number in np.round(lightness[:, 0, 0, 0] * 32.767)])
        expected = np.float32(found[-1])[:, None, None, None] * np.float32([1000, -1000, 500]) / 32767
        shape = (len(ab), 8, 8)
        np.testing.assert_allclose(lightness, np.broadcast_to(expected[..., :1], (*shape, 1)), atol=1e-6)
        np.testing.assert_allclose(ab, np.broadcast_to(expected[..., 1:], (*shape, 2)), atol=1e-6)
        if features is not None:
            assert features.dtype == np.float32
            np.testing.assert_array_equal(features, np.stack([found[-1], np.negative(found[-1])], 1))
    return found


def drawn(count, batches, *, with_features=False, **options):
    lab, features = numbered(count)
    options |= {"batch_size": 4, "augmentation": None, "training": True}
    return numbers(pipeline.lab_batches(lab, features=features if with_features else None, **options).take(batches))


def test_features_stay_with_their_pictures_through_the_shuffle():
    epochs = drawn(10, 6, with_features=True)
    assert epochs == drawn(10, 6) and epochs[:2] != epochs[2:4]
    assert all(len(set(sum(epochs[i : i + 2], []))) == 8 for i in (0, 2, 4))
    assert drawn(10, 2, with_features=True, first_epoch=2) == epochs[4:]


def test_features_stay_with_their_pictures_in_validation():
    lab, features = numbered(10)
    batches = pipeline.lab_batches(lab, batch_size=4, features=features)
    assert numbers(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_feature_maps_are_handed_over_from_a_file(tmp_path):
    maps = np.random.default_rng(0).normal(size=(8, 2, 2, 3)).astype(np.float16)
    np.save(tmp_path / "features.npy", maps)
    on_disk = np.load(tmp_path / "features.npy", mmap_mode="r")
    options = {"batch_size": 4, "training": True, "augmentation": None, "shuffle": False, "features": on_disk}
    batches = pipeline.lab_batches(numbered(8)[0], **options).take(2).as_numpy_iterator()
    np.testing.assert_array_equal(np.concatenate([features for (_, features), _ in batches]), maps)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_to_tune_for_its_thread_holds_up_the_end(lab, training):
    assert pipeline.lab_batches(lab, batch_size=4, training=training).options().autotune.enabled is False


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count", [9, 11])
def test_features_of_another_number_of_pictures_are_refused(training, count):
    lab, features = numbered(10)[0], numbered(count)[1]
    with pytest.raises(ValueError, match=f"{count} features for 10 pictures: they are of another set"):
        pipeline.lab_batches(lab, batch_size=4, training=training, features=features, augmentation=None)


@pytest.mark.parametrize("augmentation", ["warp", "albumentations"])
def test_features_of_pictures_that_are_moved_are_refused(augmentation):
    lab, features = numbered(10)
    with pytest.raises(ValueError, match="computed of the pictures as they are: give augmentation=None"):
        pipeline.lab_batches(lab, batch_size=4, training=True, features=features, augmentation=augmentation)


def test_without_the_shuffle_every_epoch_has_the_pictures_in_their_order():
    assert drawn(10, 4, shuffle=False, with_features=True) == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2
    assert drawn(10, 2, shuffle=False, steps=1) == [[0, 1, 2, 3]] * 2
    assert drawn(10, 6, shuffle=False, steps=3) == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]] * 2


@pytest.mark.parametrize("steps", [1, 3, 4, 6])
def test_an_epoch_of_so_many_steps_shows_every_picture_equally_often(steps):
    batches = drawn(8, 2 * steps, steps=steps)  # two steps show each once
    for epoch in (batches[:steps], batches[steps:]):
        for i in range(0, steps, 2):
            shown = sum(epoch[i : i + 2], [])
            assert len(set(shown)) == len(shown)
        shown = np.bincount(sum(epoch, []), minlength=8)
        assert shown.sum() == 4 * steps and np.ptp(shown) == steps % 2
    assert batches[:steps] != batches[steps:]
    assert steps < 4 or batches[:2] != batches[2:4]  # shuffled anew within the epoch too


@pytest.mark.parametrize("steps", [1, 5])
def test_epochs_of_so_many_steps_can_be_resumed(lab, steps):
    straight = drawn(10, 4 * steps, steps=steps)
    for epoch in (1, 3):
        resumed = drawn(10, (4 - epoch) * steps, steps=steps, first_epoch=epoch)
        assert resumed == straight[epoch * steps :]
    moved = first(lab, 3 * steps, steps=steps)
    np.testing.assert_array_equal(first(lab, steps, steps=steps, first_epoch=2), moved[2 * steps :])


def test_split_gives_what_batches_hold(lab):
    lightness, ab = pipeline.split(lab)
    assert lightness.dtype == ab.dtype == np.float32
    (batch,) = pipeline.lab_batches(lab, batch_size=len(lab)).as_numpy_iterator()
    np.testing.assert_allclose(lightness, batch[0], atol=1e-6)
    np.testing.assert_allclose(ab, batch[1], atol=1e-6)
    extremes = np.int16([-32767, 0, 32767])
    np.testing.assert_array_equal(pipeline.split(np.tile(extremes, (1, 1, 1, 1)))[0], [[[[-1]]]])
    np.testing.assert_array_equal(pipeline.split(np.tile(extremes, (1, 1, 1, 1)))[1], [[[[0, 1]]]])


@pytest.mark.parametrize("augmentation", ["warp", "albumentations"])
def test_lightness_and_ab_move_together(augmentation):
    """Where ab is a copy of lightness before, it is one after."""
    plane = np.random.default_rng(3).uniform(-1, 1, (3, 32, 32, 1)).astype(np.float32)
    moved = pipeline._AUGMENTATIONS[augmentation](np.repeat(plane, 3, -1), [0, 0, 0])
    np.testing.assert_allclose(moved[..., 0], moved[..., 1], atol=1e-6)
    assert np.abs(moved - plane).max() > 0.1


def test_the_warp_is_centered_and_keeps_its_ranges(monkeypatch):
    ramp = np.tile(np.linspace(-1, 1, 33, dtype=np.float32)[None, None, :, None], (200, 33, 1, 3))
    for name in ("SCALE", "ROTATE", "SHIFT"):
        monkeypatch.setattr(pipeline, name, 0.0)
    flipped = pipeline._warp(ramp, [0, 0, 0])
    is_flipped = flipped[:, 0, 0, 0] > 0
    np.testing.assert_allclose(flipped[is_flipped], -ramp[is_flipped], atol=1e-5)
    np.testing.assert_allclose(flipped[~is_flipped], ramp[~is_flipped], atol=1e-5)
    assert 0.4 < is_flipped.mean() < 0.6
    monkeypatch.setattr(pipeline, "SHIFT", 0.1)
    centers = np.abs(pipeline._warp(ramp, [0, 0, 0])[:, 16, 16, 0]) * 16  # in pixels
    assert 2.9 < centers.max() <= 3.31


def test_bad_input_is_named(lab):
    with pytest.raises(ValueError, match="no pictures"):
        pipeline.load_lab([], SIZE)
    with pytest.raises(ValueError, match="10 training pictures do not fill a batch of 64"):
        pipeline.lab_batches(lab, batch_size=64, training=True)
    with pytest.raises(ValueError, match="'sharpen' is none of"):
        pipeline.lab_batches(lab, batch_size=4, augmentation="sharpen", training=True)


@pytest.mark.parametrize("size", [32, 96], ids=["reduced", "enlarged"])
def test_decode_agrees_with_the_gate(paths, size):
    for path in paths[:3]:
        ours = np.asarray(pipeline.decode(str(path), size))
        assert np.abs(ours - files.fit(files.load(path), size)).max() <= 1.0


@pytest.mark.slow
def test_a_script_may_end_while_batches_are_made():
    script = (
        "import numpy as np; from colorlib import pipeline; lab = np.zeros((256, 96, 96, 3), np.int16)\n"
        "batches = iter(pipeline.lab_batches(lab, batch_size=32, training=True)); next(batches)"
    )
    for _ in range(3):  # without the hook nearly every one aborts or hangs
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
