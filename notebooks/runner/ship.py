"""Trains the colorizer that ships: python -m notebooks.runner.ship SOURCE [SOURCE ...] [--epochs 11].

Each source is a name, a folder, a .tar or a .zip; `--sets FOLDER` takes the one of each role there. Trains on the
training splits together, chooses the dials on the validation splits, scores each source's test split, and writes
colorizer.weights.h5 and colorizer.json into colorlib/weights. A run that stops is resumed by the same command;
checkpoints lie in data/runs/weights.
"""

import argparse
import os
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from colorlib import color, colorize, decoding, models, training
from colorlib.data import files, pipeline, sets
from colorlib.models import losses
from colorlib.scoring import results, scores

BUILDER = {"name": "vivid_colorizer", "arguments": {"image_size": None, "widths": [32, 64, 128, 224]}}
IMAGE_SIZE, BATCH_SIZE, SEED, RATE = 64, 32, 0, 2e-3
CHOSEN_ON, PRIOR_FROM = 64, 500  # pictures of each source
WORKING_SIZES = (48, 64, 80, 96, 128)  # pixels of the short side; `colorize.SHORT_SIDE` is the best of them


def save_weights(model, path):
    """Saves weights, rounded to 12 bits of mantissa, so that gzip halves them, as .weights.h5. Whole or not at all."""
    for weight in model.weights:
        mantissa, exponent = np.frexp(keras.ops.convert_to_numpy(weight).astype(np.float32))
        weight.assign(np.ldexp(np.rint(mantissa * 2**12) / 2**12, exponent))
    plain, beside = (Path(path).with_name(name + Path(path).name) for name in ("plain-", "partial-"))

    def copy(name, item):
        if isinstance(item, h5py.Dataset):
            gzip = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if item.size > 64 else {}
            packed.create_dataset(name, data=item[()], **gzip)
        else:
            packed.create_group(name)

    try:
        model.save_weights(plain)
        with h5py.File(plain) as stored, h5py.File(beside, "w", libver=("v110", "v110")) as packed:
            stored.visititems(copy)
        os.replace(beside, path)
    finally:
        plain.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)


def train(paths, prior, epochs, folder, digests):
    """Trains a classifier without class weights on pictures of any size; returns it and its checkpoint."""
    training.setup(SEED)
    colorizer = getattr(models, BUILDER["name"])(**BUILDER["arguments"])
    colorizer.get_layer("decode").prior = prior
    model = models.bin_logits(colorizer)
    lab = {split: pipeline.load(found, IMAGE_SIZE) for split, found in paths.items()}
    steps = pipeline.steps_per_epoch(lab["train"], BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(RATE, epochs * steps)
    model.compile(keras.optimizers.Adam(schedule), loss=losses.BinCrossEntropy())
    checkpoint = training.Checkpoint(folder, {"data": digests, "epochs": epochs, "rate": RATE, "batch": BATCH_SIZE})
    first_epoch = checkpoint.restore(model)
    model.fit(
        pipeline.batches(lab["train"], batch_size=BATCH_SIZE, training=True, seed=SEED, first_epoch=first_epoch),
        validation_data=pipeline.batches(lab["validation"], batch_size=BATCH_SIZE),
        steps_per_epoch=steps,
        epochs=epochs,
        initial_epoch=first_epoch,
        callbacks=[checkpoint],
        shuffle=False,  # the pipeline does
        verbose=0,
    )
    return colorizer, checkpoint


def working_sizes(model, paths):
    """Scores whole pictures, colorized with their short side shown at each size: {size: {score: mean}}."""
    pictures, names = [files.load(path) for path in paths], ("ciede2000", "colorfulness", "colorfulness_true")
    found = {}
    for size in tqdm(WORKING_SIZES, desc="working sizes"):
        pairs = [(colorize.colorize(model, picture, size=size), picture) for picture in pictures]
        means = pd.concat([scores.per_picture(made[None], true[None], only=names) for made, true in pairs]).mean()
        ratio = means["colorfulness"] / means["colorfulness_true"]
        found[str(size)] = {"ciede2000": float(means["ciede2000"]), "colorfulness_ratio": float(ratio)}
    return found


def main():
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--sets", help="a folder with one source per role")
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--folder", default="data/runs/weights", help="for checkpoints")
    options = parser.parse_args()
    try:
        run(options)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last epoch", file=sys.stderr)
        sys.exit(130)


def run(options):
    """Prepares, trains, chooses, scores and writes."""
    given = options.sources + [sets.in_sets(options.sets, role) for role in sets.ROLES if options.sets]
    if not given:
        raise ValueError("give sources, or --sets FOLDER")
    folders = [sets.prepare(source, role="varied") for source in given]
    paths = {split: sorted(p for f in folders for p in sets.paths(f, split)) for split in ("train", "validation")}
    print({split: len(found) for split, found in paths.items()})

    sample = pipeline.pictures([p for f in folders for p in sets.paths(f, "train")[:PRIOR_FROM]], IMAGE_SIZE)
    prior = losses.bin_prior(color.lab_of(sample)[..., 1:])
    colorizer, checkpoint = train(paths, prior, options.epochs, options.folder, [sets.digest(f) for f in folders])

    chosen_on = [p for f in folders for p in sets.paths(f, "validation")[:CHOSEN_ON]]
    truth = pipeline.pictures(chosen_on, IMAGE_SIZE)
    # The bound on the gain was set by eye: more turns single doubtful places into blots.
    points = decoding.choose(colorizer, color.from_uint8(truth)[0], truth, most_gain=1.25)
    best = min(points, key=lambda point: point["ciede2000"])
    dials = {name: best[name] for name in ("temperature", "rebalance", "gain")}
    report = {"builder": BUILDER, "dials": dials, "validation": best, "test": {}}
    save_weights(colorizer, colorize.WEIGHTS)
    report["working_sizes"] = working_sizes(colorizer, chosen_on)
    for folder in folders:
        truth = pipeline.pictures(sets.paths(folder, "test"), IMAGE_SIZE)
        lightness = color.from_uint8(truth)[0]
        ab = models.predict(colorizer, lightness)
        pictures, gamut = color.render(lightness, ab)[0], scores.clipping(lightness, ab)
        found = scores.summary(scores.per_picture(pictures, truth, prior=prior))
        found["ab_wasserstein"] = {"mean": scores.ab_wasserstein(pictures, truth)}
        report["test"][sets.describe(folder)["name"]] = sets.describe(folder) | {"scores": found, **gamut}
    report |= {
        "parameters": colorizer.count_params(),
        "image_size": IMAGE_SIZE,
        "epochs": options.epochs,
        "batch_size": BATCH_SIZE,
        "seed": SEED,
        "minutes": checkpoint.minutes,
        "history": checkpoint.history,
        "commit": results.commit(),
        "hardware": results.hardware(),
    }
    files.write_json(report, colorize.WEIGHTS.with_name("colorizer.json"))


if __name__ == "__main__":
    main()
