"""The pipeline: the protocol's pictures, the same seed the same batches, geometry of lightness and ab together."""

import os
from pathlib import Path

import albumentations
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.color import rgb2lab

from colorlib.data import files, pipeline

UNITS = np.float32([50, 128, 128])  # of lightness, a* and b*
MOVES = albumentations.Compose([albumentations.HorizontalFlip(), albumentations.Affine(rotate=(-15, 15), p=1)])
AUGMENTS = {
    "flip_and_crop": pipeline.flip_and_crop,
    "rotate_and_shift": pipeline.rotate_and_shift,
    "albumentations": pipeline.albumentations(MOVES),
}
every_augment = pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)


@pytest.fixture(scope="module", autouse=True)
def as_notebooks_train():
    tf.config.experimental.enable_op_determinism()


def write_pictures(folder, count, seed=0):
    """Smooth colorful pictures of different shapes as clean JPEGs."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
        picture = noise.resize([(64, 48), (48, 64), (32, 32)][number % 3], Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.jpg", quality=95, subsampling=0)
    return sorted(folder.glob("*.jpg"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 10)


@pytest.fixture(scope="module")
def lab(paths):
    return pipeline.load(paths, 32)


def joined(batches):
    """Each batch as one array (B, S, S, 3)."""
    return [np.concatenate(batch, -1) for batch in batches.as_numpy_iterator()]


def first(lab, count=6, **options):
    return joined(pipeline.batches(lab, batch_size=4, training=True, **options).take(count))


# Decoding, and what is kept


@pytest.mark.parametrize("size", [16, 32, 33, 96])
def test_pictures_are_fitted_as_pillow_and_opencv_do(paths, size):
    expected = np.stack([files.fit(files.load(path), size) for path in paths])
    found = pipeline.pictures(paths, size)
    assert found.dtype == np.uint8
    difference = found - expected.astype(int)
    assert np.abs(difference).max() <= 1 and abs(difference.mean()) < 0.1  # rounded, not cut
    np.testing.assert_array_equal(pipeline.decode(str(paths[3]), size), found[3])


@pytest.mark.parametrize("size", [32, 33])
def test_lab_is_scikit_images_of_the_pictures_that_are_scored(paths, size):
    (batch,) = joined(pipeline.batches(pipeline.load(paths, size), batch_size=10))
    expected = rgb2lab(pipeline.pictures(paths, size) / 255.0)
    np.testing.assert_allclose(batch * UNITS + [50, 0, 0], expected, atol=1e-3)


def test_validation_shows_all_pictures_in_order_as_they_are(lab):
    batches = joined(pipeline.batches(lab, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(batches), lab)


def test_what_is_loaded_has_a_length_and_can_be_sliced(paths, lab, tmp_path):
    for rows in (lab, pipeline.load(paths, 32, cache=tmp_path)):
        assert len(rows) == 10 and len(rows[2:5]) == 3
        np.testing.assert_array_equal(joined(pipeline.batches(rows[2:5], batch_size=3))[0], lab[2:5])


# The cache folder


@pytest.mark.parametrize("size", [32, 33])
def test_memory_and_cache_folder_give_the_same_batches_to_the_bit(paths, tmp_path, size):
    memory, cached = pipeline.load(paths, size), pipeline.load(paths, size, cache=tmp_path)
    for batches in zip(first(memory), first(cached), strict=True):
        np.testing.assert_array_equal(*batches)
    for options in ({"batch_size": 10}, {"batch_size": 3}):
        batches = [np.concatenate(joined(pipeline.batches(rows, **options))) for rows in (memory, cached)]
        np.testing.assert_array_equal(*batches)


def test_a_whole_cache_is_used_again(paths, tmp_path):
    cached = pipeline.load(paths, 32, cache=tmp_path)
    times = [os.stat(file.decode()).st_mtime_ns for file in cached.numpy()]
    np.testing.assert_array_equal(pipeline.load(paths, 32, cache=tmp_path), cached)
    assert [os.stat(file.decode()).st_mtime_ns for file in cached.numpy()] == times


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "bit": flip_a_bit,
    "swapped": lambda file: file.write_bytes(file.with_name("0000004.rgb").read_bytes()[:-4] + b"1234"),
    "cut": lambda file: os.truncate(file, 100),
    "removed": os.remove,
    "killed": lambda file: file.rename(file.with_name(f".{file.name}.1-1.part")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_made_whole_with_a_notice(paths, lab, tmp_path, capsys, damage):
    damage(Path(pipeline.load(paths, 32, cache=tmp_path)[3].numpy().decode()))
    again = pipeline.load(paths, 32, cache=tmp_path)
    (notice,) = capsys.readouterr().out.splitlines()
    assert "1 of 10 cached pictures are missing or damaged" in notice
    np.testing.assert_array_equal(np.concatenate(joined(pipeline.batches(again, batch_size=4))), lab)
    assert not list(tmp_path.rglob("*.part"))


def test_the_cache_of_other_pictures_is_not_taken(paths, tmp_path):
    pipeline.load(paths, 32, cache=tmp_path / "cache")
    other = write_pictures(tmp_path, 10, seed=1)  # of the same names
    for pictures, size in ((paths, 16), (paths[:5], 32), (paths[::-1], 32), (other, 32)):
        found = pipeline.load(pictures, size, cache=tmp_path / "cache")
        found = np.concatenate(joined(pipeline.batches(found, batch_size=4)))
        np.testing.assert_array_equal(found, pipeline.load(pictures, size))


# Chance


@pytest.mark.parametrize("augment", [*AUGMENTS.values(), None], ids=[*AUGMENTS, "none"])
def test_the_same_seed_gives_the_same_batches_in_parallel_too(lab, monkeypatch, augment):
    monkeypatch.setitem(pipeline._PARALLEL, "num_parallel_calls", 8)
    once = first(lab, augment=augment)
    monkeypatch.setitem(pipeline._PARALLEL, "num_parallel_calls", 1)
    np.testing.assert_array_equal(once, first(lab, augment=augment))
    assert np.abs(np.array(once) - first(lab, augment=augment, seed=1)).max() > 0.1


@every_augment
def test_each_step_of_each_epoch_moves_otherwise(lab, augment):
    same = tf.stack([lab[0]] * 8)
    batches = first(same, 4, augment=augment, shuffle=False)  # two epochs of two steps
    for i in range(4):
        assert np.abs(batches[i][0] - batches[i][1]).max() > 0.1
        for j in range(i):
            assert np.abs(batches[i] - batches[j]).max() > 0.1


def test_training_can_be_resumed_at_an_epoch(lab):
    straight = first(lab, 8)  # two batches an epoch
    for epoch in (1, 3):
        np.testing.assert_array_equal(first(lab, 2, first_epoch=epoch), straight[2 * epoch : 2 * epoch + 2])
    straight = first(lab, 9, steps=3)
    np.testing.assert_array_equal(first(lab, 3, steps=3, first_epoch=2), straight[6:])


def test_a_late_epoch_comes_at_once(lab):
    """Nothing is replayed: a million epochs of a picture would take minutes."""
    assert len(first(lab, 2, first_epoch=10**6)) == 2


# The order, features beside the pictures, and epochs of another length


def numbered(count):
    """Pictures and features that say their number: lightness i / 100, a* and b* opposite; features i and -i."""
    numbers = np.arange(count, dtype=np.float32)
    lab = np.multiply.outer(numbers, np.float32([0.01, -0.01, 0.005]))[:, None, None]
    return np.tile(lab, (1, 8, 8, 1)), np.stack([numbers, -numbers], 1).astype(np.float16)


def numbers(batches):
    """The numbers of each batch's pictures, after a look whether lightness, ab and features are of one picture."""
    found = []
    for inputs, ab in batches.as_numpy_iterator():
        lightness, features = inputs if isinstance(inputs, tuple) else (inputs, None)
        found.append([int(number) for number in np.round(lightness[:, 0, 0, 0] * 100)])
        np.testing.assert_array_equal(np.concatenate([lightness, ab], -1), numbered(100)[0][found[-1]])
        if features is not None:
            assert features.dtype == np.float32
            np.testing.assert_array_equal(features, numbered(100)[1][found[-1]])
    return found


def drawn(count, batches, *, with_features=False, **options):
    lab, features = numbered(count)
    options = {"batch_size": 4, "augment": None, "training": True} | options
    return numbers(pipeline.batches(lab, features=features if with_features else None, **options).take(batches))


def test_features_stay_with_their_pictures_through_the_shuffle():
    epochs = drawn(10, 6, with_features=True)
    assert epochs == drawn(10, 6) and epochs[:2] != epochs[2:4]
    assert all(len(set(sum(epochs[i : i + 2], []))) == 8 for i in (0, 2, 4))
    assert drawn(10, 2, with_features=True, first_epoch=2) == epochs[4:]

    assert drawn(10, 9, with_features=True, training=False) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


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


# Geometry


@every_augment
def test_grey_stays_grey(lab, augment):
    grey = tf.concat([lab[..., :1], tf.zeros((10, 32, 32, 2))], -1)
    moved = augment(grey, (0, 1)).numpy()
    assert np.abs(moved[..., 1:]).max() == 0 and np.abs(moved - grey)[..., 0].max() > 0.1


@every_augment
def test_lightness_and_ab_move_together(lab, augment):
    """Where ab is a copy of lightness before, it is one after."""
    moved = augment(tf.repeat(lab[..., :1], 3, -1), (0, 1)).numpy()
    np.testing.assert_allclose(moved[..., 1:], moved[..., :1].repeat(2, -1), atol=1e-6)


@pytest.fixture(scope="module")
def position():
    """400 pictures whose lightness says x and whose a* says y, both from -1 to 1: what is moved says from where."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, 33, dtype=np.float32)] * 2, indexing="ij")
    return tf.constant(np.tile(np.stack([x, y, 0 * x], -1), (400, 1, 1, 1)))


@pytest.mark.parametrize("least", [0.72, 0.45])
def test_flip_and_crop_takes_squares_from_the_least_to_all_and_flips_half(position, least):
    moved = pipeline.flip_and_crop(position, (0, 1), least=least).numpy()
    left, right = moved[:, 16, 0, 0], moved[:, 16, -1, 0]
    top, bottom = moved[:, 0, 16, 1], moved[:, -1, 16, 1]
    assert np.abs(moved).max() <= 1 + 1e-5
    width, height = (right - left) / 2, (bottom - top) / 2
    np.testing.assert_allclose(np.abs(width), height, atol=1e-5)
    assert least - 1e-5 <= height.min() < least + 0.03 and 0.98 < height.max() <= 1
    assert 0.4 < (width < 0).mean() < 0.6
    assert top.min() < -0.95 and bottom.max() > 0.95  # both ends are reached
    flipped = pipeline.flip_and_crop(tf.image.flip_left_right(position), (0, 1), least=least)  # the same draw
    np.testing.assert_allclose(flipped[..., 0], -moved[..., 0], atol=1e-5)


def test_rotate_and_shift_keeps_its_ranges_and_flips_half(position):
    moved = pipeline.rotate_and_shift(position, (0, 1)).numpy()[..., :2]
    across = (moved[:, 16, 17] - moved[:, 16, 15]) * 8  # of the source's (x, y), per pixel to the right
    down = (moved[:, 17, 16] - moved[:, 15, 16]) * 8
    scale, angle = 1 / np.hypot(*down.T), np.degrees(np.arctan2(-down[:, 0], down[:, 1]))
    shift = np.abs(moved[:, 16, 16]) * 16 / 33
    flip = np.sign(across[:, 0])
    np.testing.assert_allclose(across, np.stack([down[:, 1], -down[:, 0]], 1) * flip[:, None], atol=1e-4)
    assert 0.4 < (flip < 0).mean() < 0.6
    for values, low, high in ((scale, 0.8, 1.2), (angle, -15, 15), (shift, 0, 0.1)):
        margin = (high - low) * 0.03
        assert low - 1e-3 <= values.min() < low + margin and high - margin < values.max() <= high + 1e-3


# Bad input


def test_bad_input_is_named(lab):
    for read in (pipeline.load, pipeline.pictures):
        with pytest.raises(ValueError, match="no pictures to read: the list of paths is empty"):
            read([], 32)
    with pytest.raises(ValueError, match="10 training pictures do not fill a batch of 64: add pictures"):
        pipeline.batches(lab, batch_size=64, training=True)
    with pytest.raises(ValueError, match="augment is a function .* or None, not 'sharpen'"):
        pipeline.batches(lab, batch_size=4, augment="sharpen", training=True)
    with pytest.raises(ValueError, match="computed of the pictures as they are: give augment=None"):
        pipeline.batches(lab, batch_size=4, training=True, features=np.zeros((10, 2)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count", [9, 11])
def test_features_of_another_number_of_pictures_are_refused(lab, training, count):
    with pytest.raises(ValueError, match=f"{count} features for 10 pictures: they are of another set"):
        pipeline.batches(lab, batch_size=4, training=training, features=np.zeros((count, 2)), augment=None)


BAD = {"empty.jpg": "the file is empty", "cut.jpg": "truncated", "text.jpg": "not a picture", "picture.png": "no clean"}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("read", ["pictures", "load", "cache"])
def test_a_file_that_is_no_clean_jpeg_is_named(paths, tmp_path, name, read):
    content = {"empty.jpg": b"", "cut.jpg": paths[0].read_bytes()[:700], "text.jpg": b"no picture"}.get(name)
    if content is None:
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    options = {"cache": tmp_path / "cache"} if read == "cache" else {}
    with pytest.raises(files.ImageError, match=f"{name}: .*{BAD[name]}"):
        (pipeline.pictures if read == "pictures" else pipeline.load)([*paths, tmp_path / name], 32, **options)


@pytest.fixture
def two_hosts():
    yield lambda host: pipeline.take_part(host, 2)
    pipeline.take_part(0, 1)


@pytest.mark.parametrize("augment", [None, pipeline.flip_and_crop, pipeline.rotate_and_shift])
def test_the_parts_of_two_hosts_are_the_batches_of_one(two_hosts, augment):
    lab = np.random.default_rng(0).uniform(-1, 1, (40, 8, 8, 3)).astype(np.float32)

    def drawn(**options):
        made = pipeline.batches(lab, **options).take(6).as_numpy_iterator()
        return [np.concatenate(each, -1) for each in made]

    for options in ({"batch_size": 8, "training": True, "augment": augment}, {"batch_size": 12}):
        whole, halves = drawn(**options), []
        for host in range(2):
            two_hosts(host)
            halves.append(drawn(**options))
        pipeline.take_part(0, 1)
        for one, first, second in zip(whole, *halves, strict=True):
            np.testing.assert_allclose(np.concatenate([first, second]), one, atol=1e-6)


def test_what_hosts_cannot_share_is_left_out_or_told(two_hosts):
    lab = np.zeros((43, 8, 8, 3), np.float32)
    two_hosts(1)
    sizes = [len(ab) for _, ab in pipeline.batches(lab, batch_size=12)]
    assert sizes == [6, 6, 6, 3]  # the last 7 make 3 each
    with pytest.raises(ValueError, match="a batch of 9 pictures cannot be shared equally among 2 devices"):
        pipeline.batches(lab, batch_size=9)


def test_a_host_draws_its_part_of_pictures_of_its_own(two_hosts):
    lab = np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1) * np.ones((1, 8, 8, 3), np.float32) / 20
    two_hosts(1)
    for options in ({"training": True, "augment": None}, {}):
        drawn = pipeline.batches(lab, batch_size=8, own=True, steps=5, **options).take(5).as_numpy_iterator()
        numbers = np.concatenate([np.rint(20 * lightness[:, 0, 0, 0]) for lightness, _ in drawn])
        assert sorted(numbers) == list(range(20))
    with pytest.raises(ValueError, match="need `steps`"):
        pipeline.batches(lab, batch_size=8, own=True)
    with pytest.raises(ValueError, match="need `steps`, and 6 times 4 pictures"):
        pipeline.batches(lab, batch_size=8, own=True, steps=6)
