"""Measures the pipeline: python tests/benchmarks/pipeline.py [PICTURES_FOLDER] [--count 2000] [--out FILE].

All in one run, on 128x128 pictures (the embedded flowers unless a folder of JPEGs is given): training batches of the
second epoch with augmentation, and of the first, against (a) decode + resize alone in tf.data and (b) a Python
generator with scikit-image's rgb2lab and Albumentations a picture, as the published systems did it.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import albumentations
import numpy as np
import tensorflow as tf
from PIL import Image
from skimage.color import rgb2lab

from colorlib import training
from colorlib.data import files, pipeline, scenes
from colorlib.scoring import results

SIZE, BATCH = 128, 32


def rate(batches, count):
    """Pictures a second over `count` pictures."""
    start, seen = time.perf_counter(), 0
    for batch in batches:
        seen += len(batch[0])
        if seen >= count:
            break
    return seen / (time.perf_counter() - start)


def published(paths):
    """Batches the published way: one Python thread, every conversion anew in every epoch."""
    move = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(scale=(0.8, 1.2), rotate=(-15, 15), translate_percent=(-0.1, 0.1), p=1),
        ]
    )
    for i in range(0, len(paths) - BATCH + 1, BATCH):
        rgb = [np.asarray(Image.open(p).convert("RGB").resize((SIZE, SIZE))) for p in paths[i : i + BATCH]]
        lab = np.stack([rgb2lab(move(image=picture)["image"]) for picture in rgb]).astype(np.float32)
        yield lab[..., :1] / 50 - 1, lab[..., 1:] / 128


def measure(paths):
    """One pass over every variant; pictures a second by name."""
    count = len(paths) // BATCH * BATCH
    decoded = tf.data.Dataset.from_tensor_slices([str(p) for p in paths]).map(
        lambda p: (pipeline.decode(p, SIZE), 0), num_parallel_calls=tf.data.AUTOTUNE
    )
    rates = {"decode + resize alone (a)": rate(decoded.batch(BATCH).prefetch(2), count)}
    for name in ("warp", "albumentations"):
        start = time.perf_counter()
        lab = pipeline.load_lab(paths, SIZE)  # decoding and conversion belong to the first epoch
        batches = iter(pipeline.lab_batches(lab, batch_size=BATCH, training=True, augmentation=name))
        rate(batches, count)
        rates[f"first epoch, {name}"] = count / (time.perf_counter() - start)
        rates[f"second epoch, {name}"] = rate(batches, count)
    rates["published way (b)"] = rate(published(paths[: max(BATCH, len(paths) // 4)]), count)
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--out", default="notebooks/results/benchmarks/pipeline.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.folder:
            paths = sorted(Path(options.folder).glob("**/*.jpg"))[: options.count]
        else:
            for name, picture in scenes.pictures("flowers", options.count, SIZE, 0, workers=2):
                files.save(picture, Path(scratch) / f"{Path(name).stem}.jpg")
            paths = sorted(Path(scratch).glob("*.jpg"))
        measure(paths[:256])  # warm the file cache
        rounds = [measure(paths) for _ in range(5)]

    def median(base=None):  # of ratios within a round, for the machine may be quicker in the next
        return {name: float(np.median([r[name] / (r[base] if base else 1) for r in rounds])) for name in rounds[0]}

    report = {
        "pictures": len(paths),
        "size": SIZE,
        "pictures_per_second": {k: round(v) for k, v in median().items()},
        "ratio_to_a": {k: round(v, 2) for k, v in median("decode + resize alone (a)").items()},
        "ratio_to_b": {k: round(v, 1) for k, v in median("published way (b)").items()},
        "hardware": results.hardware(),
    }
    print(json.dumps(report, indent=2))
    training.write_json(report, options.out)


if __name__ == "__main__":
    main()
