"""Measures the pipeline as notebooks train with it: python tests/benchmarks/pipeline.py [--rounds 4] [--out FILE].

All in one run, deterministic kernels on, on embedded scenes: training batches of the first epoch (with the reading) and
of the second, against (a) decode + resize alone and (b) a Python generator with scikit-image's rgb2lab and
Albumentations a picture, as the published systems did it; batches beside a model that takes 10 ms a step; and the peak
memory of a process that trains on more or fewer pictures. Takes under four minutes on 2 idle cores.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
from colorlib.data import disk

from colorlib.data import pipeline, sets  # isort: skip  (keeps Albumentations from asking the network)

import albumentations
import cv2
import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from skimage.color import rgb2lab

from colorlib import training
from colorlib.scoring import results

SIZE, BATCH, COUNT = 128, 32, 2000
STEP = 0.01  # seconds that a training step takes
MEMORY_COUNTS = (1000, 8000)
SAME_MOVES = [
    albumentations.HorizontalFlip(p=0.5),
    albumentations.Affine(
        scale=(0.8, 1.2), rotate=(-15, 15), translate_percent=(-0.1, 0.1), border_mode=cv2.BORDER_REFLECT_101, p=1
    ),
]
AUGMENTS = {
    "flip_and_crop": pipeline.flip_and_crop,
    "rotate_and_shift": pipeline.rotate_and_shift,
    "albumentations": pipeline.albumentations(albumentations.Compose(SAME_MOVES)),
}


def timed(action, *args, **options):
    """What a call returns, and the seconds it took."""
    start = time.perf_counter()
    result = action(*args, **options)
    return result, time.perf_counter() - start


def consume(batches, count, pause=0.0):
    """Takes so many pictures, with a pause after each batch."""
    seen = 0
    while seen < count:
        seen += len(next(batches)[0])
        time.sleep(pause)


def published(paths):
    """Batches the published way: one Python thread, every conversion anew in every epoch."""
    move = albumentations.Compose(SAME_MOVES)
    while True:
        for i in range(0, len(paths) - BATCH + 1, BATCH):
            rgb = [np.asarray(Image.open(p).convert("RGB").resize((SIZE, SIZE))) for p in paths[i : i + BATCH]]
            lab = np.stack([rgb2lab(move(image=picture)["image"]) for picture in rgb]).astype(np.float32)
            yield lab[..., :1] / 50 - 1, lab[..., 1:] / 128


def speeds(paths, scratch):
    """One pass over every variant; pictures a second by name."""
    count = len(paths) // BATCH * BATCH
    names = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    decoded = names.map(lambda path: (pipeline.decode(path, SIZE), 0), num_parallel_calls=tf.data.AUTOTUNE)
    rates = {"decode + resize alone (a)": count / timed(consume, iter(decoded.batch(BATCH).prefetch(2)), count)[1]}

    def two_epochs(name, pictures, reading, **options):
        start = time.perf_counter()
        batches = iter(pipeline.batches(pictures, batch_size=BATCH, training=True, **options))
        consume(batches, count)
        rates[f"first epoch, {name}"] = count / (reading + time.perf_counter() - start)
        rates[f"second epoch, {name}"] = count / timed(consume, batches, count)[1]

    pictures, reading = timed(pipeline.load, paths, SIZE)
    for name, augment in AUGMENTS.items():
        two_epochs(name, pictures, reading, augment=augment)
    del pictures
    shutil.rmtree(scratch / "cache", ignore_errors=True)
    two_epochs("flip_and_crop, cache folder", *timed(pipeline.load, paths, SIZE, cache=scratch / "cache"))
    rates["published way (b)"] = count // 4 / timed(consume, published(paths), count // 4)[1]
    return rates


def share_beside_a_step(paths):
    """The speed of steps of 10 ms that need batches at 64 pixels, as a share of that of the steps alone."""
    batches = iter(pipeline.batches(pipeline.load(paths, 64), batch_size=BATCH, training=True))
    consume(batches, BATCH)  # a model starts after the first batch
    alone = iter([next(batches)] * 200)
    return timed(consume, alone, 200 * BATCH, STEP)[1] / timed(consume, batches, 200 * BATCH, STEP)[1]


def peak_memory(folder, count, cache):
    """MB, at most, of a new process that trains a tiny model for an epoch of `count` pictures."""
    command = [sys.executable, __file__, "--train-on", str(folder), str(count), str(cache or "")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return round(int(said.split()[-1]) / 1024)


def train_on(folder, count, cache):
    """What that process does. Prints its peak memory in kB."""
    pictures = pipeline.load(all_paths(folder)[: int(count)], SIZE, cache=cache or None)
    inputs = keras.Input((SIZE, SIZE, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3, strides=1, padding="same")(inputs))
    model.compile("adam", "mse")
    steps = pipeline.steps_per_epoch(pictures, BATCH)
    train = pipeline.batches(pictures, batch_size=BATCH, training=True)
    model.fit(
        train, validation_data=pipeline.batches(pictures[:64], batch_size=BATCH), steps_per_epoch=steps, verbose=0
    )
    print(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def all_paths(folder):
    return sorted(path for split in sets.SPLITS for path in sets.paths(folder, split))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", default="notebooks/results/benchmarks/pipeline.json")
    parser.add_argument("--train-on", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    training.setup(0)
    if options.train_on:
        return train_on(*options.train_on)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        folder = sets.prepare("scenes", role="varied", limit=max(MEMORY_COUNTS), folder=scratch / "sets")
        paths = all_paths(folder)[:COUNT]
        speeds(paths[:256], scratch)  # warms up
        rounds = [(speeds(paths, scratch), share_beside_a_step(paths)) for _ in range(options.rounds)]
        memory = {
            kind: {str(count): peak_memory(folder, count, cache) for count in MEMORY_COUNTS}
            for kind, cache in (("cache folder", scratch / "cache"), ("in memory", None))
        }
    rates, shares = zip(*rounds, strict=True)

    def median(base=None):  # of ratios within a round, for the machine may be quicker in the next
        return {name: float(np.median([r[name] / (r[base] if base else 1) for r in rates])) for name in rates[0]}

    report = {
        "pictures": len(paths),
        "size": SIZE,
        "pictures_per_second": {k: round(v) for k, v in median().items()},
        "ratio_to_a": {k: round(v, 2) for k, v in median("decode + resize alone (a)").items()},
        "ratio_to_b": {k: round(v, 1) for k, v in median("published way (b)").items()},
        "share_beside_a_step_of_10_ms": round(float(np.median(shares)), 3),
        "peak_memory_MB": memory,
        "hardware": results.hardware(),
    }
    print(json.dumps(report, indent=2))
    disk.write_json(report, options.out)


if __name__ == "__main__":
    main()
