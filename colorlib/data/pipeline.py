"""Clean pictures -> tf.data batches of (lightness, ab): decoded once, then shuffled, moved and batched in each epoch.

Pictures lie in a folder or in shards of TFRecord (`scale`); what is made of them is the same.

What is drawn at random follows from (seed, epoch, step) alone, so training that resumes at epoch n sees what it would
have seen, and threads change nothing. All is TensorFlow operations; only `albumentations` calls Python.
"""

import copy
import functools
import hashlib
import json
import math
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from colorlib import color, console
from colorlib.data import disk, files

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # when imported, it would ask the network for a newer version
SHARD = ".tfrecord"
_part = (0, 1, 1)  # which of how many hosts this is, and its devices: see `take_part`
_FORMAT = 2  # part of a cache's name; raise it when what is cached changes
_PARALLEL = {"num_parallel_calls": os.cpu_count(), "deterministic": True}
_OPTIONS = tf.data.Options()
# Not tuned while it runs: of 90 iterators with tuning, 6 took 1 to 16 s to end, until its thread woke; without, none.
_OPTIONS.autotune.enabled = False
_OPTIONS.experimental_optimization.apply_default_optimizations = False  # they would copy the pictures in memory


def decode(path, image_size):
    """Reads one clean JPEG: uint8 (S, S, 3) sRGB, center crop, area filter (bilinear where that enlarges)."""
    return decode_bytes(tf.io.read_file(path), image_size)


def decode_bytes(content, image_size):
    """As `decode`, of the content of a file."""
    # TensorFlow's default DCT is the fast, inexact one; Pillow and everybody else use this one.
    picture = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    height, width = tf.unstack(tf.io.extract_jpeg_shape(content)[:2])  # refuses a PNG, which `decode_jpeg` would read
    side, size = tf.minimum(height, width), (image_size, image_size)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    fitted = tf.cond(
        side < image_size,  # the area filter would repeat pixels
        lambda: tf.image.resize(square, size, method="bilinear"),
        lambda: tf.image.resize(square, size, method="area"),
    )
    return tf.cast(tf.round(tf.ensure_shape(fitted, (*size, 3))), tf.uint8)


def pictures(paths, image_size):
    """Reads clean JPEGs as the protocol scores them: np.uint8 (N, S, S, 3), sRGB. Raises as `load` does."""
    found = np.empty((len(paths), image_size, image_size, 3), np.uint8)
    for places, batch in _decoded(paths, image_size):
        found[places] = batch
    return found


def load(paths, image_size, *, cache=None):
    """Reads clean JPEGs once, for `batches`: N rows, which can be sliced. `sets.paths` lists them, in shards or not.

    Without `cache`: a float32 tensor (N, S, S, 3) in memory, lightness and ab in [-1, 1]. With deterministic kernels,
    TensorFlow holds it twice while batches are drawn. With a folder as `cache`, for sets larger than memory: a tensor
    (N,) of names of files in it. The next call with the same pictures and size uses them again, and makes those anew
    that are missing or damaged.

    Raises ValueError for no paths, `files.ImageError`, which names the file, for one that is no clean JPEG, and
    MemoryError or OSError, before it begins, where memory or disk are too small.
    """
    with tf.device("CPU:0"):
        if cache is not None:
            return tf.constant([str(file) for file in _cached(paths, image_size, Path(cache))])
        size = 12 * len(paths) * image_size**2
        disk.check_memory(size, f"{len(paths):,} pictures of {image_size} pixels", "give a folder as `cache`")
        lab = tf.raw_ops.Empty(shape=(len(paths), image_size, image_size, 3), dtype=tf.float32)
        for places, batch in _decoded(paths, image_size, _to_lab):
            lab = tf.raw_ops.InplaceUpdate(x=lab, i=places, v=batch)  # so that nothing is held twice
        return lab


def steps_per_epoch(pictures, batch_size):
    """The whole batches in an epoch of the pictures. Raises ValueError where they do not fill one."""
    if len(pictures) < batch_size:
        raise ValueError(f"{len(pictures)} training pictures do not fill a batch of {batch_size}: add pictures")
    return len(pictures) // batch_size


def take_part(host, hosts, devices=1):
    """Makes `batches` yield one host's part of every batch, one of `hosts` equal ones, each for so many devices.

    `training.setup` calls it. Together the parts are the batches of one host, but for what `albumentations` draws.
    """
    global _part
    _part = (host, hosts, devices)


def _draw(numbers, lab, seed, least=0.0):
    """Uniform numbers in [least, 1) for each picture of a batch, (numbers, B): this host's of those of all hosts."""
    (host, hosts, _), size = _part, lab.shape[0]
    drawn = tf.random.stateless_uniform((numbers, size * hosts), seed, least, 1.0)
    return tf.unstack(drawn[:, host * size : (host + 1) * size])


def flip_and_crop(lab, seed, *, least=0.72):
    """Flips half of the pictures and enlarges a random square of `least` to all of the side. (B, S, S, 3), kept."""
    flip, share, top, left = _draw(4, lab, seed)
    share = 1 - (1 - least) * share
    top, left = top * (1 - share), left * (1 - share)
    ends = tf.where(flip < 0.5, [left, left + share], [left + share, left])  # from right to left: flipped
    boxes = tf.stack([top, ends[0], top + share, ends[1]], -1)
    return tf.image.crop_and_resize(lab, boxes, tf.range(lab.shape[0]), lab.shape[1:3])


def rotate_and_shift(lab, seed):
    """Flips half of the pictures; scales by up to 20 %, rotates by up to 15 degrees, shifts by up to 10 % of the side.

    (B, S, S, 3) -> the same. Borders are mirrored: black ones would teach a false color. Slower than `flip_and_crop`.
    """
    flip, scale, angle, x, y = _draw(5, lab, seed, -1.0)
    flip, scale, angle = tf.where(flip < 0, -1.0, 1.0), 1 + 0.2 * scale, math.radians(15) * angle
    cos, sin, center = tf.cos(angle) / scale, tf.sin(angle) / scale, (lab.shape[1] - 1) / 2
    x, y = (center + 0.1 * lab.shape[1] * shift for shift in (x, y))  # the source of the target's center
    zero = tf.zeros_like(x)
    maps = [cos * flip, -sin, x - (cos * flip - sin) * center, sin * flip, cos, y - (sin * flip + cos) * center]
    how = {"output_shape": lab.shape[1:3], "fill_value": 0.0, "interpolation": "BILINEAR", "fill_mode": "REFLECT"}
    return tf.raw_ops.ImageProjectiveTransformV3(images=lab, transforms=tf.stack([*maps, zero, zero], -1), **how)


def albumentations(transform):
    """Makes an augment function for `batches` of an Albumentations transform, such as a `Compose`.

    It gets one picture at a time, float32 (S, S, 3) of lightness and ab, so it may move pixels but not change colors.
    A script that ends while it still draws such batches may crash; `fit` draws none once it is done.
    """

    def move(lab, number):
        own = copy.deepcopy(transform)  # one a call: threads share no state
        own.set_random_seed(int(number))
        return np.stack([own(image=picture)["image"] for picture in lab])

    def augment(lab, seed):
        number = tf.random.stateless_uniform((), seed, maxval=2**31 - 1, dtype=tf.int32) + _part[0]
        return tf.numpy_function(move, [lab, number], tf.float32, stateful=False)  # else one call after the other

    return augment


def batches(
    pictures, *, batch_size, training=False, seed=0, first_epoch=0, steps=None, shuffle=True,
    augment=flip_and_crop, features=None, own=False,
):  # fmt: skip
    """Batches of (lightness, ab), float32 (B, S, S, 1) and (B, S, S, 2) in [-1, 1], of what `load` returned.

    With `features`, an array (N, ...) of the same pictures: ((lightness, features), ab). Not training: all, in order.

    Training: without end, so `fit` needs `steps_per_epoch`. Each epoch is shuffled anew (with `shuffle`) and drops its
    incomplete last batch; `augment`, (lab (B, S, S, 3), seed (2,)) -> lab, moves its pictures, None does not.
    `first_epoch` resumes. `steps` makes an epoch of that many batches, of fewer pictures or of each several times.

    On several hosts (`take_part`), their part of these; of validation pictures what they cannot share is left out. With
    `own`, for sets too large for one disk, the pictures are this host's alone (`sets.paths(..., part=)`), of which its
    part of each batch is drawn: `steps`, the same on all hosts, says how many batches.

    Raises ValueError for fewer training pictures than a batch, a batch that the hosts cannot share, features of another
    number of pictures, features together with an augmentation, and an `augment` that is no function.
    """
    if features is not None and len(features) != len(pictures):
        raise ValueError(f"{len(features)} features for {len(pictures)} pictures: they are of another set")
    if training and features is not None and augment is not None:
        raise ValueError("features were computed of the pictures as they are: give augment=None")
    if augment is not None and not callable(augment):
        raise ValueError(f"augment is a function such as pipeline.flip_and_crop, or None, not {augment!r}")
    host, hosts, devices = _part
    if batch_size % (hosts * devices):
        raise ValueError(f"a batch of {batch_size} pictures cannot be shared equally among {hosts * devices} devices")
    if own:
        batch_size, host, hosts = batch_size // hosts, 0, 1
        if not steps or (not training and len(pictures) < steps * batch_size):
            raise ValueError(f"pictures of this host's own need `steps`, and {steps} times {batch_size} pictures")
    with tf.device("CPU:0"):  # where tf.data works
        pictures = tf.identity(pictures)
        features = None if features is None else tf.identity(features)
    size = math.isqrt(os.path.getsize(pictures[0].numpy()) // 3) if pictures.dtype == tf.string else None

    def cached(file):
        content = tf.strings.substr(tf.io.read_file(file), 0, 3 * size**2)
        return _to_lab(tf.reshape(tf.io.decode_raw(content, tf.uint8), (size, size, 3)))

    def batch(indices, epoch, step):
        # The last ones of a validation are fewer; what cannot be shared equally is left out.
        share = batch_size // hosts if training else tf.shape(indices)[0] // (hosts * devices) * devices
        indices = indices[host * share : (host + 1) * share]
        lab = tf.gather(pictures, indices)
        if size is not None:
            lab = tf.map_fn(cached, lab, fn_output_signature=tf.float32)
        if training and augment is not None:
            key = tf.random.experimental.stateless_fold_in([seed, epoch], step)
            lab = tf.ensure_shape(augment(lab, key), lab.shape)
        lightness, ab = tf.split(lab, [1, 2], -1)
        if features is None:
            return lightness, ab
        return (lightness, tf.cast(tf.gather(features, indices), tf.float32)), ab

    if not training:
        in_order = tf.data.Dataset.range(len(pictures)).batch(batch_size).take(steps if own else -1)
        return in_order.map(lambda indices: batch(indices, 0, 0), **_PARALLEL).prefetch(2).with_options(_OPTIONS)
    whole = steps_per_epoch(pictures, batch_size)
    rounds = math.ceil((steps or whole) / whole)  # in each, every picture is shown once

    def order(epoch):
        shape = (rounds, len(pictures))
        chance = tf.random.stateless_uniform(shape, [seed, epoch]) if shuffle else tf.zeros(shape)
        indices = tf.argsort(chance, stable=True)[:, : whole * batch_size]
        indices = tf.reshape(indices, (-1, batch_size))[: steps or whole]
        return tf.data.Dataset.from_tensor_slices((indices, tf.repeat(epoch, len(indices)), tf.range(len(indices))))

    epochs = tf.data.Dataset.counter(first_epoch).flat_map(order)
    return epochs.map(batch, **_PARALLEL).prefetch(2).with_options(_OPTIONS)


def _to_lab(picture):
    """One picture, uint8 (S, S, 3) -> lightness and ab, float32 (S, S, 3) in [-1, 1].

    Never a batch: the last bit of a number may depend on the shape, and both ways of keeping pictures should agree.
    """
    # `color.split` as a product and a sum: for tensors, slicing the last axis takes as long as all the rest.
    zero, one = (np.concatenate(color.split(np.full(picture.shape, value, np.float32)), -1) for value in (0, 1))
    return color.rgb_to_lab(tf.cast(picture, tf.float32) / 255) * (one - zero) + zero


def _decoded(paths, image_size, then=tf.identity):
    """Yields (places, batch): `then` of each picture and its place in the list, in any order; with a progress bar."""
    if not len(paths):
        raise ValueError("no pictures to read: the list of paths is empty")
    paths = [Path(path) for path in paths]
    read, done = _of_shards if paths[0].parent.suffix == SHARD else _of_files, 0
    with console.progress(total=len(paths), desc="reading", unit=" pictures", leave=False) as progress:
        pictures = read(paths).map(lambda place, content: (place, then(decode_bytes(content, image_size))), **_PARALLEL)
        try:
            for places, batch in pictures.batch(32).prefetch(2).with_options(_OPTIONS):
                yield places, batch
                done += len(batch)
                progress.update(len(batch))
        except tf.errors.OpError as error:
            _tell_which(paths, image_size, done, error)
    if done < len(paths):
        raise files.ImageError(str(paths[0].parent.parent), f"{len(paths) - done} pictures are not in its shards")


def _of_files(paths):
    """A dataset of (place, content) of files."""
    named = tf.data.Dataset.from_tensor_slices((np.int32(range(len(paths))), [str(path) for path in paths]))
    return named.map(lambda place, path: (place, tf.io.read_file(path)), **_PARALLEL)


def _of_shards(paths):
    """A dataset of (place, content) of pictures in shards, interleaved. A path is the shard's, and then its own."""
    names = [f"pictures/{path.name}" for path in paths]
    wanted = tf.lookup.KeyValueTensorInitializer(names, np.int32(range(len(names))))
    wanted = tf.lookup.StaticHashTable(wanted, -1)
    features = {name: tf.io.FixedLenFeature((), tf.string) for name in ("file", "jpeg")}

    def parsed(record):
        found = tf.io.parse_single_example(record, features)
        return wanted.lookup(found["file"]), found["jpeg"]

    shards = sorted({str(path.parent) for path in paths})
    records = tf.data.Dataset.from_tensor_slices(shards).interleave(
        lambda shard: tf.data.TFRecordDataset(shard).map(parsed).filter(lambda place, _: place >= 0),
        cycle_length=min(len(shards), 4),
        block_length=32,
        **_PARALLEL,
    )
    return records


def _tell_which(paths, image_size, done, error):
    """Raises ImageError with the name of the file, or of the shard, that cannot be read."""
    if paths[0].parent.suffix == SHARD:
        for shard in sorted({path.parent for path in paths}):
            try:
                for _ in tf.data.TFRecordDataset(str(shard)):
                    pass
            except tf.errors.OpError as why:
                reason = (
                    "no such file" if isinstance(why, tf.errors.NotFoundError) else "damaged: prepare the set again"
                )
                raise files.ImageError(str(shard), reason) from error
    for path in paths[done:]:
        try:
            decode(str(path), image_size)
        except tf.errors.OpError:
            files.load(path)  # says what is wrong, unless it is a picture of another kind
            raise files.ImageError(str(path), "no clean JPEG: prepare its folder first") from error
    raise error


def _cached(paths, image_size, cache):
    """The files of the pictures in a cache folder, each made where it is missing or not whole.

    A file holds the picture's bytes and behind them their CRC-32.
    """
    shards = {shard: os.stat(shard) for path in paths if (shard := Path(path).parent).suffix == SHARD}
    states = [shards.get(Path(path).parent) or os.stat(path) for path in paths]
    stats = [[Path(path).name, each.st_size, each.st_mtime_ns] for path, each in zip(paths, states, strict=True)]
    key = hashlib.sha256(json.dumps([_FORMAT, image_size, stats]).encode()).hexdigest()[:16]
    folder = cache / key
    with disk.locked(folder):
        for leftover in folder.glob("*.part"):  # of a process that was killed
            leftover.unlink()
        kept = [folder / f"{number:07d}.rgb" for number in range(len(paths))]
        with ThreadPoolExecutor() as pool:
            whole = list(pool.map(functools.partial(_is_whole, size=3 * image_size**2), kept))
        missing = [number for number, fine in enumerate(whole) if not fine]
        if missing and any(folder.glob("*.rgb")):
            print(f"{folder}: {len(missing)} of {len(kept)} cached pictures are missing or damaged; making them anew")
        if missing or not kept:
            disk.check_disk(folder, 3 * len(missing) * image_size**2, f"{len(missing):,} cached pictures")
            for places, batch in _decoded([paths[number] for number in missing], image_size):
                for place, picture in zip(places.numpy(), batch.numpy(), strict=True):
                    content = picture.tobytes()
                    disk.write(kept[missing[place]], content + zlib.crc32(content).to_bytes(4))
    return kept


def _is_whole(file, size):
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    return len(content) == size + 4 and zlib.crc32(content[:size]).to_bytes(4) == content[size:]
