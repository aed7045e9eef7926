"""The published systems at full width: what they need, and how quickly a GPU trains them.

    python tests/benchmarks/full.py               on paper: parameters, operations, memory, hours
    python tests/benchmarks/full.py --train 20    in fact (make gpu-check): so many steps of each, on this computer

On paper: operations are those of a forward pass as TensorFlow's profiler counts them, a multiplication and an addition
being two; a step takes three times as many. Memory: 16 bytes a parameter (its value, gradient and two moments of Adam),
and the outputs of all layers, in half precision, twice (for the way back). Hours: of the epochs and pictures of the
profile `full`, at RATE operations a second, which is an assumption until `make gpu-check` has run.

In fact: batches come from painted scenes through the pipeline, with its cache on disk. "Input wait" is the share of a
step's time that goes when one batch is shown again and again.
"""

import argparse
import functools
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from colorlib import models, training
from colorlib.data import disk, pipeline, sets
from colorlib.models import losses
from colorlib.scoring import results

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from notebooks.runner import profiles  # noqa: E402

RATE = 40e12  # operations a second that a GPU of 2020 and later keeps up on small convolutions, in half precision
SHARE = sets.SPLITS["train"]  # of a profile's pictures
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "notebooks" / "results" / "benchmarks"
WARM_UP = 3  # steps in which graphs are made and memory is taken


def vivid(size):
    """Notebook 09's classifier, as it is trained."""
    trunk = models.small_backbone(size, widths=PROFILE["notebooks"]["09_vivid_colors"]["widths"])
    return models.bin_logits(models.vivid_colorizer(trunk, widths=()))


# Name: builder, batch, loss, and the notebook, whose size, epochs and pictures the profile says. Weights are random.
PROFILE = profiles.load("full", ROOT / "notebooks")
SYSTEMS = {
    "1 faces, from scratch (03)": (models.face_autoencoder, 32, "mse", "03_faces_scratch_vs_vgg16"),
    "1 faces, VGG16 (03)": (models.vgg16_colorizer, 32, "mse", "03_faces_scratch_vs_vgg16"),
    "2 fusion, InceptionResNetV2 (04)": (models.fusion_colorizer, 20, "mse", "04_inception_fusion"),
    "3 skips (05)": (models.skip_autoencoder, 8, "mse", "05_resnet50_transfer"),
    "3 ResNet50 (05)": (models.resnet50_colorizer, 8, "mse", "05_resnet50_transfer"),
    "4 U-Net (07)": (models.unet, 8, "mse", "07_loss_comparison"),
    "5 landscapes (06)": (models.conv_autoencoder, 32, "mse", "06_landscape_autoencoder"),
    "classification (09)": (vivid, 32, losses.BinCrossEntropy(), "09_vivid_colors"),
}


def published(notebook):
    """What the profile says of a notebook: image_size, epochs, limit."""
    return PROFILE["shared"] | PROFILE["notebooks"][notebook]


def operations(model, size):
    """Floating point operations of a forward pass of one picture."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    call = tf.function(lambda lightness: model(lightness, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec((1, size, size, 1)))
    graph = convert_variables_to_constants_v2_as_graph(concrete)[0].graph
    how = tf.compat.v1.profiler.ProfileOptionBuilder(tf.compat.v1.profiler.ProfileOptionBuilder.float_operation())
    counted = tf.compat.v1.profiler.profile(graph, options=how.with_empty_output().build())
    return counted.total_float_ops


def outputs(model, batch):
    """Numbers in the outputs of all layers for a batch, those of models inside it included."""
    count = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            count += outputs(layer, batch)
        else:
            shapes = [np.shape(each)[1:] for each in keras.tree.flatten(layer.output)]
            count += sum(batch * int(np.prod([side or 1 for side in shape])) for shape in shapes)
    return count


def on_paper(name):
    """What a system needs at full width."""
    build, batch, _, notebook = SYSTEMS[name]
    size, epochs, pictures = (published(notebook)[key] for key in ("image_size", "epochs", "limit"))
    model = build(size)
    forward = operations(model, size)
    needed = 3 * forward * pictures * SHARE * epochs
    return {
        "size": size,
        "batch": batch,
        "epochs": epochs,
        "pictures": pictures,
        "parameters": model.count_params(),
        "forward, billion operations": round(forward / 1e9, 2),
        "memory, GB": round((16 * model.count_params() + 4 * outputs(model, batch)) / 1e9, 2),
        "hours": round(needed / RATE / 3600, 2),
    }


def in_fact(name, steps, folder):
    """So many steps of a system on this computer: pictures a second, wait for input, memory."""
    build, batch, loss, notebook = SYSTEMS[name]
    size = published(notebook)["image_size"]
    training.setup(0)
    # Enough for a batch; in full, several of them, so that the disk's cache does not hold one alone.
    made = sets.prepare("scenes", role="varied", limit=max(200, 4 * batch), folder=folder / "sets")
    pictures = pipeline.load(sets.paths(made, "train"), size, cache=folder / "cache")
    drawn = pipeline.batches(pictures, batch_size=batch, training=True)
    model = build(size)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss)

    def seconds_a_step(batches):
        ends = []
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: ends.append(time.perf_counter()))
        model.fit(batches, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0, callbacks=[note])
        first = min(WARM_UP, steps - 2)
        return (ends[-1] - ends[first]) / (len(ends) - 1 - first)

    with_input = seconds_a_step(drawn)
    alone = seconds_a_step(drawn.take(1).cache().repeat())
    return {
        "pictures a second": round(batch / with_input, 2),
        "input wait": round(max(0.0, 1 - alone / with_input), 3),
        "memory, GB": round(peak_memory() / 1e9, 2),
    }


def peak_memory():
    """Bytes, at most, so far: of the GPU where there is one, else of this process."""
    if keras.backend.backend() == "jax":
        import jax

        if stats := jax.devices()[0].memory_stats():
            return stats["peak_bytes_in_use"]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            found = tf.config.experimental.get_memory_info("GPU:0")["peak"]
            tf.config.experimental.reset_memory_stats("GPU:0")
            return found
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def report(options, measure):
    """Measures each system and writes down what is known so far; one that fails is told, and the others go on."""
    found = {"hardware": results.hardware(), "backend": keras.backend.backend(), "systems": {}}
    if options.train:
        found["steps"] = options.train
    else:
        found["operations a second, assumed"] = RATE
    failed = []
    for name in SYSTEMS:
        if options.only and not any(name.startswith(each) for each in options.only):
            continue
        keras.backend.clear_session()
        try:
            found["systems"][name] = measure(name)
            print(f"{name}: {json.dumps(found['systems'][name])}", flush=True)
        except Exception as error:  # such as too little memory
            failed.append(name)
            print(f"{name}: failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
        disk.write_json(found, options.out)
    return 1 if failed else 0


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, metavar="STEPS", help="train so many steps of each, at least 5")
    parser.add_argument("--only", nargs="*", help="systems whose names begin so")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.train is not None and options.train < 5:
        parser.error(f"--train {options.train}: it takes at least 5 steps to tell one from the first")
    options.out = options.out or RESULTS / ("gpu_check.json" if options.train else "full.json")
    if options.train is None:
        return report(options, on_paper)
    with tempfile.TemporaryDirectory() as folder:
        return report(options, functools.partial(in_fact, steps=options.train, folder=Path(folder)))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    raise SystemExit(main())
