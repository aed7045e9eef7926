"""The set-up of a training, checkpoints with exact resume, and previews.

Call `setup` first. Give a `Checkpoint` to `fit`, beside Keras's own callbacks. Its folder holds epoch-NNN.weights.h5
(weights and optimizer), kept-NNN.weights.h5, history.json and settings.json. Each file is there whole or not at all.
"""

import fcntl
import hashlib
import importlib
import io
import json
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile
import time
import weakref

import h5py
import keras
import numpy as np

from colorlib import color
from colorlib.data import disk, files

_LENGTHS = ("decay_steps", "first_decay_steps", "boundaries")  # of Keras's learning-rate schedules
_told = []  # the line that `setup` printed last
_locks = weakref.WeakValueDictionary()  # the lock files of this process, by device and inode


def setup(seed, *, precision="auto", deterministic=True, devices=None):
    """Seeds Python, NumPy and Keras, sets the precision, and prints in one line what was set, if it is news.

    `precision` is one of Keras's dtype policies (it raises ValueError for another word) or "auto": float32 on a CPU; on
    a GPU mixed_bfloat16 from compute capability 8 on, else mixed_float16. `deterministic` makes TensorFlow's kernels so
    until the process ends: the same seed, the same scores. JAX and torch are deterministic on a CPU, not on a GPU.

    `devices` is "one" or "all"; None takes the environment's COLORLIB_DEVICES, or "one". All: each batch is shared
    among the GPUs of this computer (TensorFlow's MirroredStrategy, Keras on JAX's DataParallel), and on JAX among all
    hosts, where KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID name them. See docs/scale.md.

    With deterministic kernels Keras does without XLA. On a CPU that costs nothing: a step of the vivid model was no
    quicker with XLA, and the first one slower.
    """
    count = _share(devices or os.environ.get("COLORLIB_DEVICES") or "one")
    keras.utils.set_random_seed(seed)
    device, capability = _gpu() or ("CPU", None)
    if precision == "auto":
        precision = "float32" if capability is None else "mixed_bfloat16" if capability >= 8 else "mixed_float16"
    keras.config.set_dtype_policy(precision)
    if deterministic and keras.backend.backend() == "tensorflow":
        importlib.import_module("tensorflow").config.experimental.enable_op_determinism()
    elif capability is not None:
        deterministic = False
    device = f"{count} x {device}" if count > 1 else device
    line = f"seed {seed}, {precision} on {device}, {'' if deterministic else 'not '}deterministic"
    if line not in _told:
        print(line)
    _told[:] = [line]


def _share(devices):
    """Shares the work of what is built from now on among devices; returns how many."""
    if devices not in ("one", "all"):
        raise ValueError(f"devices {devices!r}: it is 'one' or 'all'")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        tf = importlib.import_module("tensorflow")
        names = [each.name for each in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
        if devices == "one" or len(names) == 1:
            tf.distribute.experimental_set_strategy(None)
            return 1
        if tf.distribute.get_strategy().num_replicas_in_sync != len(names):
            tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(names))
        return len(names)
    if devices == "one" and (backend != "jax" or keras.distribution.distribution() is None):
        return 1
    if backend != "jax":
        raise ValueError(f"devices 'all' needs TensorFlow or JAX, not {backend}")
    jax, pipeline = importlib.import_module("jax"), importlib.import_module("colorlib.data.pipeline")
    if devices == "one":  # after "all"
        keras.distribution.set_distribution(None)
        pipeline.take_part(0, 1)
        return 1
    if keras.distribution.distribution() is None:
        if os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES"):
            keras.distribution.initialize()
            sys.excepthook = _tell_of_lost_hosts
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    pipeline.take_part(*_hosts(), len(jax.local_devices()))
    return len(jax.devices())


def _hosts():
    """The number of this process and how many there are, of a training on several hosts."""
    if keras.backend.backend() != "jax":
        return 0, 1
    jax = importlib.import_module("jax")
    return jax.process_index(), jax.process_count()


def _wait_for_hosts(what):
    """Goes on once all hosts have come here."""
    if _hosts()[1] > 1:
        importlib.import_module("jax.experimental.multihost_utils").sync_global_devices(what)


def _tell_of_lost_hosts(kind, error, trace):
    """Tells of a training that failed because another process is gone what to do, and ends this one."""
    sys.__excepthook__(kind, error, trace)
    if re.search(
        "gloo|nccl|coordination service|heartbeat|socket closed|connection (closed|reset)", str(error).lower()
    ):
        index, count = _hosts()
        text = " ".join(str(error).split())[:200]
        print(
            f"process {index} of {count}: another process of this training has ended or cannot be reached ({text}); "
            "start all of them again: each goes on after the last epoch that was finished",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # JAX would wait for the others first


def _gpu():
    """The name and compute capability of the GPU that the Keras backend computes on; nothing on a CPU."""
    backend = importlib.import_module(keras.backend.backend())  # tensorflow, jax or torch
    if backend.__name__ == "torch":
        cuda = backend.cuda
        return (cuda.get_device_name(), cuda.get_device_capability()[0]) if cuda.is_available() else None
    if backend.__name__ == "jax":
        gpus = [device for device in backend.devices() if device.platform == "gpu"]
        return (gpus[0].device_kind, float(gpus[0].compute_capability)) if gpus else None
    if gpus := backend.config.list_physical_devices("GPU"):
        details = backend.config.experimental.get_device_details(gpus[0])
        return details.get("device_name", "GPU"), details.get("compute_capability", (0,))[0]


@keras.saving.register_keras_serializable("colorlib")
class TransferAdamW(keras.optimizers.AdamW):
    """AdamW for a new decoder on a pretrained network: the network's weights learn at `factor` of the rate.

    The decoder's are those of layers whose name begins with one of DECODER. Other arguments are AdamW's.
    """

    DECODER = ("decoder", "logits", "ab_head")

    def __init__(self, learning_rate=1e-3, *, factor=0.25, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.factor = factor
        self._rate_now = None  # within a step, its rate

    @property
    def learning_rate(self):
        """The rate of this step."""
        return super().learning_rate if self._rate_now is None else self._rate_now

    @learning_rate.setter
    def learning_rate(self, value):
        keras.optimizers.AdamW.learning_rate.fset(self, value)

    def apply(self, gradients, trainable_variables=None):
        """Updates all variables. AdamW would ask the schedule for the rate again for each of them."""
        self._rate_now = super().learning_rate
        try:
            super().apply(gradients, trainable_variables)
        finally:
            self._rate_now = None

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable at its own rate."""
        path = self._trainable_variables[self._get_variable_index(variable)].path
        is_decoder = any(name.startswith(self.DECODER) for name in path.split("/"))
        super().update_step(gradient, variable, learning_rate * (1.0 if is_decoder else self.factor))

    def get_config(self):
        """AdamW's, and the factor."""
        return {**super().get_config(), "factor": self.factor}


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and history in `folder` after every epoch; `restore` takes up where that ended.

    A run that is killed loses at most one epoch, and ends with the weights it would have had: batches (see
    `pipeline`) and dropout (under torch, one with a `seed`) follow from the epoch's number. The last two checkpoints
    are kept, each with its checksum. `history` is {name: [one value an epoch]}, with the epoch's `seconds`. Scores or
    weights that are not finite end the run with a FloatingPointError, before they are written.

    `settings`, a dict as JSON has it, say what run this is, with a digest of the model's shapes, optimizer and loss.
    Checkpoints of other settings are moved aside, with a notice. Only `epochs`, unless more are done already, and the
    length of the learning-rate schedule may change.

    The weights of the epoch with the lowest `val_loss` are kept, and those of the epochs named in `keep`; `load` brings
    them back. With `patience`, the run ends after so many epochs without a lower `val_loss`, also when it is resumed;
    `settings` must say how many `epochs` there are at most.
    """

    def __init__(self, folder, settings, *, patience=None, keep=()):
        super().__init__()
        self.folder, self.patience, self.keep = pathlib.Path(folder), patience, keep
        self.settings = json.loads(json.dumps(settings))  # as the file will have them: lists, no tuples
        self.history = {}
        self._lock, self._is_first = None, None

    def restore(self, model):
        """Loads the newest checkpoint into the compiled `model`; returns the number of epochs already done.

        A damaged checkpoint is reported and passed over for the one before it; where none can be read, the model is as
        it was. Locks the folder as long as this object is there: another process gets a BlockingIOError that names this
        one. Raises OSError for a damaged settings.json or history.json, and for files of no run that would be lost.

        Of several hosts, which share the folder, the first one makes it ready, and all load the same.
        """
        # Also where there is nothing to load: a first step that has to make the optimizer's variables is traced twice.
        model.optimizer.build(model.trainable_variables)
        self.settings["model"] = _digest(model)
        self._is_first = _hosts()[0] == 0
        if self._is_first:
            self._make_ready()
        _wait_for_hosts("ready")
        paths = self._checkpoints()
        known, self.history = self._read("history.json") if paths else {}, {}
        for done, path in sorted(paths.items(), reverse=True):
            try:
                _load_weights(model, path)
            except OSError as error:
                self._tell(f"{error}; taking the checkpoint before it")
                continue
            self.history = {name: values[:done] for name, values in known.items()}
            _wait_for_hosts("loaded")
            if self._is_first:
                self._keep(done)
            self._tell(f"{self.folder}: taken up after epoch {done}; to train anew, remove this folder")
            return self.settings["epochs"] if self._stalled(done) else done
        if paths:
            self._tell(f"{self.folder}: no checkpoint can be read; starting anew")
        return 0

    def _make_ready(self):
        """Locks the folder, moves aside what is of other settings, and writes down this run's."""
        self._lock = _lock(self.folder)
        if self._is_another_run(max(self._checkpoints(), default=0)):
            number = 1
            while (aside := self.folder / f"other-settings-{number}").exists():
                number += 1
            print(f"{self.folder}: its checkpoints are of other settings; moved to {aside.name}; starting anew")
            aside.mkdir()
            notes = [self.folder / "history.json", self.folder / "settings.json"]
            for path in [*_ours(self.folder, "epoch|kept|preview"), *notes]:
                if path.exists():
                    path.rename(aside / path.name)
        disk.write_json(self.settings, self.folder / "settings.json")

    def _checkpoints(self):
        """{epochs done: path} of all checkpoints."""
        return {int(path.name[6:].partition(".")[0]): path for path in _ours(self.folder, "epoch")}

    def _tell(self, text):
        """Prints a line, once however many hosts there are."""
        if self._is_first:
            print(text)

    def _is_another_run(self, done):
        before = self._read("settings.json") if (self.folder / "settings.json").exists() else {}
        if "model" not in before:
            notes = [path for name in ("history", "settings") for path in self.folder.glob(f"{name}.json")]
            if theirs := [*_ours(self.folder, "epoch|kept"), *notes]:
                raise FileExistsError(f"{theirs[0]} is of no run: take another folder")
            return False
        changed = {name for name in before | self.settings if before.get(name) != self.settings.get(name)}
        return bool(changed - {"epochs"}) or ("epochs" in changed and done > self.settings.get("epochs", 0))

    def _read(self, name):
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise OSError(f"{path} is damaged ({error}); to train anew, remove this folder") from error

    def on_train_begin(self, logs=None):
        """Makes sure that the folder is this run's."""
        if self._is_first is None:
            raise RuntimeError(f"{self.folder}: call restore(model) before fit")

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the epoch's clock, and its random numbers: Keras saves no state of dropout's."""
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                seed, _ = keras.ops.convert_to_numpy(variable)
                variable.assign([seed, epoch << 20])  # the second counts what was drawn; no epoch draws a million
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the checkpoint and removes all but this and the one before."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        # Of the weights too: what the last step made of them is in no loss yet.
        found = values | {weight.path: keras.ops.convert_to_numpy(weight) for weight in self.model.weights}
        if wild := [name for name, value in found.items() if not np.isfinite(value).all()]:
            raise FloatingPointError(f"{self.folder}: epoch {epoch + 1} diverged: {', '.join(wild[:3])} not finite")
        for name, value in {**values, "seconds": time.perf_counter() - self._start}.items():
            self.history.setdefault(name, []).append(value)
        content = _sealed_weights(self.model)  # on all hosts: reading their weights is a common work
        if self._is_first:
            # History first: a checkpoint is never ahead of it, and `restore` cuts what is too long.
            disk.write_json(self.history, self.folder / "history.json")
            disk.write(self._file("epoch", epoch + 1), content)
            self._keep(epoch + 1)
        if self._stalled(epoch + 1):
            self.model.stop_training = True

    @property
    def best_epoch(self):
        """The epoch, counted from 1, with the lowest `val_loss` so far; None where none was measured."""
        losses = self.history.get("val_loss", [])
        return 1 + int(np.argmin(losses)) if losses else None

    def load(self, model, epoch=None):
        """Loads weights and optimizer of `epoch`, one of `keep`, or of `best_epoch`. Raises OSError for a bad file."""
        _wait_for_hosts("written")
        _load_weights(model, self._file("kept", (self.best_epoch or 0) if epoch is None else epoch))

    def _file(self, kind, epoch):
        return self.folder / f"{kind}-{epoch:03}.weights.h5"

    def _keep(self, epoch):
        """Keeps the epoch's weights if they are to be kept, and drops all others but those of the last two epochs."""
        last = [self._file("epoch", number) for number in (epoch - 1, epoch)]
        wanted = {self._file("kept", number) for number in (*self.keep, self.best_epoch) if number}
        kept = self._file("kept", epoch)
        if kept in wanted:  # also if it is there: it may be damaged
            disk.write(kept, last[-1].read_bytes())
        # What a process that was killed left of these files.
        parts = [part for kind in ("epoch", "kept", "history") for part in self.folder.glob(f".{kind}*.part")]
        for old in {*_ours(self.folder, "epoch|kept"), *parts} - wanted - set(last):
            old.unlink()  # also later ones, which are damaged

    def _stalled(self, epoch):
        return self.patience is not None and epoch - (self.best_epoch or epoch) >= self.patience

    @property
    def minutes(self):
        """The minutes trained so far, resumed runs included."""
        return sum(self.history.get("seconds", [])) / 60


class Preview(keras.callbacks.Callback):
    """Every so many epochs writes preview-NNN.png into `folder`: the original, the grey and the predicted pictures.

    `every` is that many, or the epochs themselves, as in (1, 2, 5). `colorizer` is the model from lightness to ab,
    `truth` a few 8-bit pictures (N, S, S, 3), side by side in the file.
    In a notebook the newest is shown while the run goes on; at its end it goes, and `pictures` has them all.
    """

    def __init__(self, folder, colorizer, truth, *, every=10):
        super().__init__()
        self.folder, self.colorizer, self.truth = pathlib.Path(folder), colorizer, truth
        self._is_due = (lambda epoch: epoch % every == 0) if isinstance(every, int) else every.__contains__
        self._shown = None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the picture, if it is time."""
        if not self._is_due(epoch + 1) or _hosts()[1] > 1:  # on several hosts Keras's models do not predict
            return
        lightness, ab = color.from_uint8(self.truth)
        predicted = keras.ops.convert_to_numpy(self.colorizer(lightness, training=False))
        rows = [self.truth, *(color.render(lightness, of)[0] for of in (0 * ab, predicted))]
        path = self.folder / f"preview-{epoch + 1:03}.png"
        files.save(np.concatenate([np.concatenate(row, axis=1) for row in rows]), path)
        if (ipython := sys.modules.get("IPython")) and ipython.get_ipython():  # others import it too: papermill
            from IPython.display import Image, display

            image = Image(path.read_bytes())
            self._shown = self._shown or display(image, display_id=True)
            self._shown.update(image)

    def on_train_end(self, logs=None):
        """Takes the picture out of the notebook."""
        if self._shown:
            from IPython.display import HTML

            self._shown.update(HTML(""))

    @property
    def pictures(self):
        """{epoch: predicted pictures (N, S, S, 3)}, those written before a restart included."""
        count, side = self.truth.shape[:2]
        paths = {int(path.stem[8:]): path for path in sorted(_ours(self.folder, "preview"))}
        rows = {epoch: files.load(path)[-side:] for epoch, path in paths.items() if self._is_due(epoch)}
        return {epoch: np.stack(np.split(row, count, axis=1)) for epoch, row in rows.items()}


def save(model, path):
    """Saves a model as a .keras file, whole or not at all."""
    disk.write(path, _content(model.save, "model.keras"))


def save_to_ship(model, path, card):
    """Saves weights as NAME.weights.h5, kernels in half precision, and beside them `card`, a dict, as NAME.json.

    `colorize.load` opens the pair; it needs "backbone" and "decoder" in the card, and finds damage by the "sha256" that
    is added. A float32 model loads the file. The model's own kernels are rounded, too: what is scored afterwards is
    what ships.
    """
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(keras.ops.convert_to_numpy(weight).astype(np.float16))

    def copy(name, item):
        if isinstance(item, h5py.Dataset):
            packed[name] = item[()].astype(np.float16) if item.ndim > 1 else item[()]
        else:
            packed.create_group(name)

    content = io.BytesIO()
    plain = io.BytesIO(_content(model.save_weights, "model.weights.h5"))
    with h5py.File(plain) as stored, h5py.File(content, "w", libver=("v110", "v110")) as packed:
        stored.visititems(copy)
    disk.write(path, content.getvalue())
    card = {**card, "sha256": hashlib.sha256(content.getvalue()).hexdigest()}
    disk.write_json(card, path.with_name(path.name.replace(".weights.h5", ".json")))


def _content(save, name):
    """The bytes of the file of that name that `save` writes. Raises OSError, in one line, where it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, name)
        try:
            save(path)
        except (OSError, RuntimeError) as error:  # HDF5 tells its whole stack of calls
            free = shutil.disk_usage(folder).free
            reason = " ".join(str(error).split())[:200]
            raise OSError(
                f"{path.parent}: the weights cannot be written there, {free / 1e6:.0f} MB free ({reason})"
            ) from error
        return path.read_bytes()


def _sealed_weights(model):
    """The bytes of a file of weights and optimizer, and behind them, where HDF5 does not look, their SHA-256."""
    content = _content(model.save_weights, "model.weights.h5")
    return content + hashlib.sha256(content).digest()


def _load_weights(model, path):
    """Loads what `_sealed_weights` made; raises OSError where it is missing or one bit of it has changed."""
    content = path.read_bytes()
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise OSError(f"{path} is damaged: its checksum is wrong")
    model.load_weights(path)


def _ours(folder, kinds):
    """The files with exactly a name that a run gives; all others are somebody's own."""
    name = re.compile(rf"({kinds})-\d{{3,}}\.(weights\.h5|png)")
    return [path for path in folder.iterdir() if name.fullmatch(path.name)]


def _lock(folder):
    """Locks a folder for this process, which may do so again; the lock goes with the file that is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (path := folder / ".lock").touch()
    known = path.stat().st_dev, path.stat().st_ino  # not its name: the folder may be a new one of the old name
    file = _locks[known] = _locks.get(known) or path.open("r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(f"{folder} is in use: a training of {path.read_text()}") from None
    path.write_text(f"process {os.getpid()} on {platform.node()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}")
    return file


def _digest(model):
    """What a compiled model is trained as, without names, which Keras counts up, and without the schedule's length."""

    def without(part):
        return {name: value for name, value in part.items() if name not in ("name", *_LENGTHS)}

    variables = [(one.shape, one.trainable) for one in (*model.weights, *model.optimizer.variables)]
    compiled = [keras.saving.serialize_keras_object(part) for part in (model.optimizer, model.loss)]
    text = json.dumps(json.loads(json.dumps([variables, compiled], default=str), object_hook=without))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
