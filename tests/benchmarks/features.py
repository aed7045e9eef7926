"""Measures cached embeddings: python tests/benchmarks/features.py [--out FILE].

All in one run: a training epoch of the fusion model of notebook 04 on embeddings that were computed once, against the
published way, in which InceptionResNetV2 with its top sees every batch of every epoch at 299x299. Its weights and the
pictures are random here, which changes no time. Takes about five minutes on 2 idle cores.
"""

import argparse
import itertools
import json
import os
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from colorlib import features, models, pipeline, provenance, training, transfer

PICTURES, SIZE, BATCH = 200, 64, 20
FILTERS = {"experiment on 2 cores": 16, "published widths": 64}
ROUNDS = 3
TIMED = 2  # batches of the published way in a round, scaled to an epoch's


def seconds(action, *args, **kwargs):
    """What it takes, and what it returns."""
    start = time.perf_counter()
    result = action(*args, **kwargs)
    return time.perf_counter() - start, result


def ways(embedder, lab, embeddings, filters):
    """Name -> function that trains so many steps: the head on cached embeddings, and the whole network."""
    colorizer = models.fusion_colorizer(SIZE, embedder, filters=filters)
    trained = {"cached": (colorizer.get_layer("head"), embeddings), "published way": (colorizer, None)}

    def steps_of(model, known):
        model.compile(keras.optimizers.Adam(1e-3), loss="mean_squared_error")
        batches = pipeline.lab_batches(lab, batch_size=BATCH, training=True, augmentation=None, features=known)
        return lambda steps: model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)

    return {name: steps_of(*way) for name, way in trained.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="notebooks/results/benchmarks/features.json")
    options = parser.parse_args()
    training.set_seed(0)  # as the notebooks do: deterministic kernels, so no XLA either
    lab = np.random.default_rng(0).integers(-32767, 32768, (PICTURES, SIZE, SIZE, 3)).astype(np.int16)
    embedder = transfer.imagenet_embedder("inception_resnet_v2", image_size=SIZE, weights=None)
    with tempfile.TemporaryDirectory() as scratch:
        # A whole batch and the last, smaller one: TensorFlow traces both.
        features.cached(embedder, lab[: features.BATCH_SIZE + PICTURES % features.BATCH_SIZE], f"{scratch}/warm")
        filling, embeddings = seconds(features.cached, embedder, lab, f"{scratch}/timed")
        trained = {name: ways(embedder, lab, embeddings, filters) for name, filters in FILTERS.items()}
        epoch = pipeline.steps_per_epoch(lab, BATCH)
        steps = {"cached": epoch, "published way": TIMED}
        taken = {}  # (setting, way): seconds an epoch, one of each round
        for number, name, way in itertools.product(range(1 + ROUNDS), trained, steps):
            train = trained[name][way]
            if number == 0:
                train(1)  # traces, and warms up
            else:
                taken.setdefault((name, way), []).append(epoch / steps[way] * seconds(train, steps[way])[0])
    report = {
        "pictures": PICTURES,
        "size": SIZE,
        "batch": BATCH,
        "embedder": "InceptionResNetV2 with its top, at 299x299; random weights, which take the time of trained ones",
        "measured": f"seconds of a training epoch of {epoch} batches without augmentation and validation, "
        f"after a warm-up: medians of {ROUNDS} interleaved rounds. Of the published way {TIMED} batches a round "
        "were timed, and scaled to the epoch. The cache was filled once, after a warm-up too.",
        "seconds_to_fill_the_cache": round(filling, 1),
        "settings": {},
        "hardware": provenance.hardware(),
    }
    for name, filters in FILTERS.items():
        cached, published = (np.array(taken[name, way]) for way in steps)
        medians = {way: round(float(np.median(taken[name, way])), 2) for way in steps}
        report["settings"][name] = {
            "filters": filters,
            "seconds_an_epoch": medians,
            # Within a round, for the machine may be quicker in the next.
            "ratio": round(float(np.median(published / cached)), 1),
            "epochs_until_the_cache_has_paid": round(filling / float(np.median(published - cached)), 1),
        }
    print(json.dumps(report, indent=2))
    training.write_json(report, options.out)


if __name__ == "__main__":
    main()
