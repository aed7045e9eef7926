"""Run folders: seeds, a checkpoint after every epoch, exact resume, and result.json.

A run folder holds epoch-NNN.weights.h5 (weights and optimizer), history.json, and when the run is scored result.json
with scores.csv beside it. Each file is written beside and renamed, so a file that is there is whole.
"""

import datetime
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import time

import keras

ROOT = pathlib.Path(__file__).resolve().parent.parent


def set_seed(seed):
    """Seeds Python, NumPy and Keras, and asks TensorFlow for deterministic kernels: the same seed, the same scores."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and history in `folder` after every epoch; `restore` takes up where that ended.

    A run that is killed loses at most one epoch, and ends with the weights it would have had: batches follow from
    the epoch's number (see `pipeline`), and the optimizer's state is saved. The last two checkpoints are kept.
    `history` is {name: [one value an epoch]}, with the epoch's `seconds`.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.history = {}

    def restore(self, model):
        """Loads the newest checkpoint into the compiled `model`; returns the number of epochs already done.

        A checkpoint that cannot be read is reported and passed over for the one before it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.glob("epoch-*.weights.h5"), reverse=True):
            model.optimizer.build(model.trainable_variables)
            try:
                model.load_weights(path)
            except (OSError, KeyError, ValueError) as error:
                print(f"{path} cannot be read ({error}); taking the checkpoint before it")
                continue
            done = int(path.name[6:9])
            history = json.loads((self.folder / "history.json").read_text())
            self.history = {name: values[:done] for name, values in history.items()}
            return done
        return 0

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the epoch's clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the checkpoint and removes the one before the last."""
        for name, value in {**(logs or {}), "seconds": time.perf_counter() - self._start}.items():
            self.history.setdefault(name, []).append(float(value))
        # History first: a checkpoint is never ahead of it, and `restore` cuts what is too long.
        write_json(self.history, self.folder / "history.json")
        beside = self.folder / ".partial.weights.h5"
        self.model.save_weights(beside)
        os.replace(beside, self.folder / f"epoch-{epoch + 1:03}.weights.h5")
        for old in sorted(self.folder.glob("epoch-*.weights.h5"))[:-2]:
            old.unlink()

    @property
    def minutes(self):
        """The minutes trained so far, resumed runs included."""
        return sum(self.history.get("seconds", [])) / 60


def write_result(folder, *, experiment, variant, parameters, data, seed, scores, per_picture, **more):
    """Writes result.json, and per_picture (a DataFrame) as scores.csv beside it; returns the result as a dict.

    `data` names the set, its digest and its counts; `more` holds what else a reader may want: dials, curve, history,
    minutes. Commit, hardware, versions and date are added. A NaN is an error: ValueError.
    """
    folder = pathlib.Path(folder)
    result = {
        "experiment": experiment,
        "variant": variant,
        "parameters": parameters,
        "data": data,
        "seed": seed,
        "scores": scores,
        **more,
        "commit": commit(),
        "hardware": hardware(),
        "versions": {name: importlib.metadata.version(name) for name in ("keras", keras.backend.backend(), "numpy")},
        "date": datetime.date.today().isoformat(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / ".scores.csv"
    per_picture.to_csv(beside, index=False, float_format="%.6g", lineterminator="\n")
    os.replace(beside, folder / "scores.csv")
    write_json(result, folder / "result.json")
    return result


def write_json(value, path):
    """Writes a value as JSON, whole or not at all. Raises ValueError for NaN or infinity, which JSON lacks."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(beside, path)


@functools.cache
def commit():
    """The git commit of the checkout, with "+" where files have changed since; "unknown" outside a checkout."""
    try:
        run = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True)
        head = run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip()
        return head + ("+" if run(["git", "status", "--porcelain", "--", "colorlib"]).stdout else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def hardware():
    """What the run ran on, in words: GPUs if there are any, else the processor and its cores."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = [
            tf.config.experimental.get_device_details(g)["device_name"] for g in tf.config.list_physical_devices("GPU")
        ]
        if gpus:
            return f"{len(gpus)} x {gpus[0]}"
    try:
        cpu = pathlib.Path("/proc/cpuinfo").read_text()
        name = next(line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {name}"
