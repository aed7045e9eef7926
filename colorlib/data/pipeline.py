"""Clean pictures -> tf.data batches of (lightness, ab).

The order is fixed: decode, resize, convert and cache once; shuffle, augment and batch afresh each epoch. What is
drawn at random follows from (seed, epoch, batch) alone, so a run that stops and resumes at epoch n sees what it
would have seen, and the number of threads changes nothing.
"""

import atexit
import concurrent.futures
import math
import os
import threading
import time

import cv2
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from colorlib import color
from colorlib.data import files

_THREADS = os.cpu_count() or 1
_AT_ONCE = 32  # pictures
_FULL = 32767.0  # what 1 is held as: int16 takes half the memory of float32, and keeps a* and b* within 0.002

# Every number of threads is given, so nothing is to be tuned; the thread that would sleeps for spans that double, up to
# a minute, and an iterator that ends often waits for it to wake.
_FIXED = tf.data.Options()
_FIXED.autotune.enabled = False

_ending, _inside = threading.Event(), threading.Semaphore(_THREADS)

# Geometry only, as the originals did it: never color. Reflection, so that no border teaches a false black.
FLIP, SCALE, ROTATE, SHIFT = 0.5, 0.2, 15.0, 0.1


def lab_batches(
    lab,
    *,
    batch_size,
    training=False,
    seed=0,
    first_epoch=0,
    steps=None,
    shuffle=True,
    augmentation="warp",
    features=None,
):
    """Batches of (lightness, ab), float32 (B, S, S, 1) and (B, S, S, 2), both in [-1, 1], of what `load_lab` made.

    With `features` (N, ...), of the same pictures as `backbones.cached` makes them: ((lightness, features), ab).

    With `training`, the batches go on without end (give `fit` `steps_per_epoch`): each epoch is shuffled anew (with
    `shuffle`), loses its incomplete last batch, and every picture is flipped, scaled by up to 20 %, rotated by up to 15
    degrees and shifted by up to 10 %. `first_epoch` resumes. `steps` makes an epoch of that many batches, of fewer
    pictures or of each several times. `augmentation` is "warp" (one OpenCV warp a picture), "albumentations" (the
    same geometry through that library, slower) or None.

    Raises ValueError for fewer training pictures than a batch, an unknown augmentation, features of another number
    of pictures, and features with an augmentation: they are those of the pictures as they are.
    """
    if augmentation not in _AUGMENTATIONS:
        raise ValueError(f"augmentation {augmentation!r} is none of {list(_AUGMENTATIONS)}")
    if features is not None and len(features) != len(lab):
        raise ValueError(f"{len(features)} features for {len(lab)} pictures: they are of another set")
    if not training:
        arrays = (lab,) if features is None else (lab, features)
        batches = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
        return batches.map(_inputs_and_ab).prefetch(2).with_options(_FIXED)
    if features is not None and augmentation is not None:
        raise ValueError("features were computed of the pictures as they are: give augmentation=None")
    shapes = [(*lab.shape[1:3], 1), (*lab.shape[1:3], 2)] + ([] if features is None else [features.shape[1:]])
    whole = steps_per_epoch(lab, batch_size)

    def order_of(epoch):
        rng, orders = np.random.default_rng([seed, epoch]), []
        for _ in range(math.ceil((steps or whole) / whole)):
            order = rng.permutation(len(lab)) if shuffle else np.arange(len(lab))
            orders.append(order[: whole * batch_size].reshape(whole, batch_size))
        return np.concatenate(orders)[: steps or whole]

    def pictures_of(epoch, step, indices):
        if _ending.is_set():
            raise StopIteration
        with _inside:
            batch = _AUGMENTATIONS[augmentation](lab[indices] * np.float32(1 / _FULL), [seed, epoch, step])
            parts = [np.empty((*batch.shape[:3], channels), np.float32) for channels in (1, 2)]
            # A slice of the last axis would be copied value by value.
            cv2.mixChannels([_rows(batch)], [_rows(part) for part in parts], [0, 0, 1, 1, 2, 2])
            return parts if features is None else [*parts, features[indices].astype(np.float32)]

    def epoch_of(epoch):
        order = tf.data.Dataset.from_tensor_slices(tf.numpy_function(order_of, [epoch], tf.int64))
        return order.enumerate().map(lambda step, indices: (epoch, step, indices))

    def batch_of(*key):
        parts = tf.numpy_function(pictures_of, key, [tf.float32] * len(shapes))
        parts = [tf.ensure_shape(part, (batch_size, *shape)) for part, shape in zip(parts, shapes, strict=True)]
        return ((parts[0], parts[2]), parts[1]) if parts[2:] else tuple(parts)

    epochs = tf.data.Dataset.counter(first_epoch).flat_map(epoch_of)
    return epochs.map(batch_of, num_parallel_calls=_THREADS, deterministic=True).prefetch(2).with_options(_FIXED)


@atexit.register
def _end():
    """Lets TensorFlow's threads leave Python before it ends: one that is caught inside aborts the process."""
    _ending.set()
    for _ in range(_THREADS):
        _inside.acquire(timeout=5)
    time.sleep(0.2)  # for TensorFlow's own way out


def steps_per_epoch(lab, batch_size):
    """The whole batches in an epoch. Raises ValueError where the pictures do not fill one."""
    if len(lab) < batch_size:
        raise ValueError(f"{len(lab)} training pictures do not fill a batch of {batch_size}: add pictures")
    return len(lab) // batch_size


def load_lab(paths, image_size):
    """Converts clean JPEG pictures once to what is held in memory: int16 (N, S, S, 3), lightness and ab times 32767.

    Short side to `image_size` with an area filter (bilinear where that enlarges), center crop, 8 bits, as `files.fit`
    does. Raises ValueError for no pictures.
    """
    if not len(paths):
        raise ValueError("no pictures to convert")
    batches = (
        tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
        .map(lambda path: tf.cast(tf.round(decode(path, image_size)), tf.uint8), num_parallel_calls=_THREADS)
        .batch(_AT_ONCE)
        .prefetch(4)
        .with_options(_FIXED)
    )
    lab = np.empty((len(paths), image_size, image_size, 3), np.int16)
    encoded = np.empty(lab.shape[1:], np.float32)
    with tqdm(total=len(paths), desc="converting", unit=" pictures", delay=3, leave=False) as progress:
        for batch in batches.as_numpy_iterator():  # TensorFlow decodes the next meanwhile
            for number, picture in enumerate(batch, progress.n):
                np.multiply(color.encode(picture, out=encoded), _FULL, out=encoded)
                np.rint(encoded, out=lab[number], casting="unsafe")
            progress.update(len(batch))
    return lab


def decode(path, image_size):
    """Reads one clean JPEG as float32 (S, S, 3) in 0..255, fitted as `load_lab` says. For tf.data."""
    # TensorFlow's default DCT is the fast, inexact one; Pillow and everybody else use this one.
    picture = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
    height, width = tf.unstack(tf.shape(picture)[:2])
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square, size = picture[top : top + side, left : left + side], (image_size, image_size)
    fitted = tf.cond(
        side < image_size,  # the area filter would repeat pixels
        lambda: tf.image.resize(square, size, method="bilinear"),
        lambda: tf.image.resize(square, size, method="area"),
    )
    return tf.ensure_shape(fitted, (*size, 3))


def load_pictures(paths, image_size):
    """Reads pictures as the protocol scores them: uint8 sRGB (N, S, S, 3), area filter, center crop.

    Raises ValueError for no paths, and `files.ImageError` for a file that is no picture.
    """
    if not len(paths):
        raise ValueError("no pictures to read: the split is empty")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return np.stack(list(pool.map(lambda path: files.fit(files.load(path), image_size), paths)))


def split(lab):
    """Pictures as `load_lab` holds them, int16 (N, S, S, 3) -> lightness and ab, float32, both in [-1, 1]."""
    lab = np.float32(lab) / np.float32(_FULL)
    return lab[..., :1], lab[..., 1:]


def _inputs_and_ab(lab, features=None):
    lab = tf.cast(lab, tf.float32) / _FULL
    lightness, ab = lab[..., :1], lab[..., 1:]
    return (lightness if features is None else (lightness, tf.cast(features, tf.float32))), ab


def _rows(batch):
    """(B, H, W, C) as one tall picture, which OpenCV takes."""
    return batch.reshape(-1, *batch.shape[2:])


def _warp(batch, key):
    """Flip, scale, rotation and shift of a batch (B, S, S, 3) as one affine map a picture, bilinear."""
    rng = np.random.default_rng(key)
    count, size = batch.shape[:2]
    flip = np.where(rng.random(count) < FLIP, -1.0, 1.0)
    scale, angle = rng.uniform(1 - SCALE, 1 + SCALE, count), np.deg2rad(rng.uniform(-ROTATE, ROTATE, count))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    turn = np.stack([np.stack([cos * flip, -sin], -1), np.stack([sin * flip, cos], -1)], 1)  # (B, 2, 2)
    center = (size - 1) / 2
    shift = rng.uniform(-SHIFT, SHIFT, (count, 2)) * size + center - turn @ np.full(2, center)
    maps = np.concatenate([turn, shift[..., None]], -1)
    out = np.empty_like(batch)
    for picture, matrix, target in zip(batch, maps, out, strict=True):
        cv2.warpAffine(
            picture,
            matrix,
            (size, size),
            dst=target,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return out


def _albumentations(batch, key):
    """The same geometry through Albumentations, a fresh seeded pipeline a batch, so threads share no state."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
    import albumentations

    move = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=FLIP),
            albumentations.Affine(
                scale=(1 - SCALE, 1 + SCALE),
                rotate=(-ROTATE, ROTATE),
                translate_percent=(-SHIFT, SHIFT),
                border_mode=cv2.BORDER_REFLECT_101,
                p=1,
            ),
        ],
        seed=int(np.random.default_rng(key).integers(2**31)),
    )
    return np.stack([move(image=picture)["image"] for picture in batch])


_AUGMENTATIONS = {"warp": _warp, "albumentations": _albumentations, None: lambda batch, key: batch}
