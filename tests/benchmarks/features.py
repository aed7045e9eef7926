"""Measures cached embeddings: python tests/benchmarks/features.py [--out FILE].

All in one run: a training epoch of the fusion model of notebook 04 on embeddings that were computed once, against the
published way, in which InceptionResNetV2 with its top sees every batch of every epoch at 299x299. Its weights and the
pictures are random here, which changes no time. What might make the cached epoch at the published widths quicker still
is tried too. Takes about seven minutes on 2 idle cores.
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
import tensorflow as tf

from colorlib import models, training
from colorlib.data import disk, pipeline
from colorlib.models import backbones
from colorlib.scoring import results

PICTURES, SIZE, BATCH = 200, 64, 20
FILTERS = {"experiment on 2 cores": 16, "published widths": 64}
ROUNDS = 3
TIMED = 2  # batches of the published way in a round, scaled to an epoch's
# Measured before `training.setup`, after which every kernel has to be deterministic, and XLA does not compile.
TRIES = {
    "as it is, but kernels need not be deterministic": {},
    "batches of 5": {"batch_size": 5},
    "batches of 100": {"batch_size": 100},
    "XLA": {"jit_compile": True},
}


def seconds(action, *args, **kwargs):
    """What it takes, and what it returns."""
    start = time.perf_counter()
    result = action(*args, **kwargs)
    return time.perf_counter() - start, result


def steps_of(model, lab, known, batch_size=BATCH, jit_compile=False):
    """A function that trains so many steps."""
    model.compile(keras.optimizers.Adam(1e-3), loss="mean_squared_error", jit_compile=jit_compile)
    batches = pipeline.batches(lab, batch_size=batch_size, training=True, augment=None, features=known)
    return lambda steps: model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)


def operations(model):
    """Floating-point operations of one picture's way forward, as TensorFlow's profiler counts them."""
    specs = [tf.TensorSpec((1, *tensor.shape[1:]), tf.float32) for tensor in model.inputs]
    graph = tf.function(lambda *inputs: model(inputs if inputs[1:] else inputs[0])).get_concrete_function(*specs).graph
    counted = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation() | {"output": "none"}
    return tf.compat.v1.profiler.profile(graph, options=counted).total_float_ops


def tried(head, lab, embeddings):
    """What was tried -> the median seconds of a cached epoch at the published widths."""
    taken = {}
    for name, setting in TRIES.items():
        train = steps_of(head, lab, embeddings, **setting)
        epoch = pipeline.steps_per_epoch(lab, setting.get("batch_size", BATCH))
        train(1)  # traces, and warms up
        taken[name] = round(float(np.median([seconds(train, epoch)[0] for _ in range(ROUNDS)])), 2)
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="notebooks/results/benchmarks/features.json")
    options = parser.parse_args()
    lab = tf.random.stateless_uniform((PICTURES, SIZE, SIZE, 3), (0, 0), -1, 1)
    batches = pipeline.batches(lab, batch_size=BATCH)
    embedder = backbones.imagenet_embedder("inception_resnet_v2", image_size=SIZE, weights=None)
    with tempfile.TemporaryDirectory() as scratch:
        backbones.cached_features(embedder, batches.take(1), f"{scratch}/warm")  # TensorFlow traces
        filling, embeddings = seconds(backbones.cached_features, embedder, batches, f"{scratch}/timed")
        whole = {name: models.fusion_colorizer(SIZE, embedder, filters=filters) for name, filters in FILTERS.items()}
        heads = {name: model.get_layer("head") for name, model in whole.items()}
        tries = tried(heads["published widths"], lab, embeddings)
        training.setup(0)  # as the notebooks do: deterministic kernels
        trained = {}
        for name in FILTERS:
            cached, published = steps_of(heads[name], lab, embeddings), steps_of(whole[name], lab, None)
            trained[name] = {"cached": cached, "published way": published}
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
        "seconds_an_epoch_of_what_was_tried_at_published_widths": tries,
        "settings": {},
        "hardware": results.hardware(),
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
            # Of a training step, which costs three times the way forward; the embedding network has no way back.
            "ratio_of_operations": round(1 + operations(embedder) / (3 * operations(heads[name])), 1),
        }
    print(json.dumps(report, indent=2))
    disk.write_json(report, options.out)


if __name__ == "__main__":
    main()
