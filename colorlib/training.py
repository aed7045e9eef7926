"""Run folders: seeds, a checkpoint after every epoch, exact resume, and result.json.

A run folder holds epoch-NNN.weights.h5 (weights and optimizer), history.json, and when the run is scored result.json
with scores.csv beside it. Each file is written beside and renamed, so a file that is there is whole.
"""

import hashlib
import json
import math
import os
import pathlib
import shutil
import sys
import time

import keras
import numpy as np
from tqdm import tqdm

from colorlib import color
from colorlib.data import files

_UNREADABLE = (OSError, KeyError, ValueError, RuntimeError)  # h5py raises all four for a damaged file


def set_seed(seed):
    """Seeds Python, NumPy and Keras, and asks TensorFlow for deterministic kernels: the same seed, the same scores."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and history in `folder` after every epoch; `restore` takes up where that ended.

    A run that is killed loses at most one epoch, and ends with the weights it would have had: batches (see
    `pipeline`) and dropout follow from the epoch's number, and the optimizer's state is saved. The last two
    checkpoints are kept. `settings`, a dict as JSON has it, say what run this is, with a digest of the model's shapes,
    optimizer and loss: checkpoints of other settings are removed, with a notice, never taken up. `history` is
    {name: [one value an epoch]}, with the epoch's `seconds`. Shows a progress bar. A loss or score that is no longer
    finite ends the run with a FloatingPointError.

    The weights of the epoch with the lowest `val_loss` are kept, and those of the epochs named in `keep`; `load` brings
    them back. With `patience`, the run ends after so many epochs without a lower `val_loss`, and `settings` must say
    how many `epochs` there are at most.
    """

    def __init__(self, folder, settings, *, patience=None, keep=()):
        super().__init__()
        self.folder, self.patience, self.keep = pathlib.Path(folder), patience, keep
        self.settings = json.loads(json.dumps(settings))  # as the file will have them: lists, no tuples
        self.history = {}
        self._bar = tqdm(disable=True)

    def restore(self, model):
        """Loads the newest checkpoint into the compiled `model`; returns the number of epochs already done.

        A checkpoint that cannot be read is reported and passed over for the one before it; where none can be read, the
        model is as it was.
        """
        # Also where there is nothing to load: a first step that has to make the optimizer's variables is traced twice.
        model.optimizer.build(model.trainable_variables)
        self.settings["model"] = _signature(model)
        self._of_this_run()
        paths = {int(path.name[6:].partition(".")[0]): path for path in self.folder.glob("epoch-*.weights.h5")}
        if not paths:
            return 0
        known = self._read("history.json")
        variables = [*model.variables, *model.optimizer.variables]
        fresh = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        for done, path in sorted(paths.items(), reverse=True):
            try:
                model.load_weights(path)
            except _UNREADABLE as error:
                print(f"{path} cannot be read ({error}); taking the checkpoint before it")
                for variable, value in zip(variables, fresh, strict=True):  # it may have been read by half
                    variable.assign(value)
                continue
            self.history = {name: values[:done] for name, values in known.items()}
            self._keep(done)
            print(f"{self.folder}: taken up after epoch {done}; to train anew, remove this folder")
            return self.settings["epochs"] if self._stalled(done) else done
        print(f"{self.folder}: no checkpoint can be read; starting anew")
        return 0

    def _of_this_run(self):
        """Makes the folder, and clears it of another run's checkpoints and previews."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note, stale = self.folder / "settings.json", list(self.folder.glob("*-[0-9]*.*"))
        if stale and (not note.is_file() or self._read(note.name) != self.settings):
            print(f"{self.folder}: its checkpoints are of other settings; starting anew")
            for path in stale:
                path.unlink()
        files.write_json(self.settings, note)

    def _read(self, name):
        try:
            return json.loads((path := self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OSError(f"{path} cannot be read ({error}); to train anew, remove this folder") from error

    def on_train_begin(self, logs=None):
        """Starts the progress bar where the run stands."""
        done = len(self.history.get("seconds", []))
        self._bar = tqdm(total=self.params["epochs"], initial=done, desc=self.folder.name, unit=" epochs")

    def on_train_end(self, logs=None):
        """Ends the progress bar."""
        self._bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the epoch's clock, and its random numbers: Keras saves no state of dropout's."""
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                seed, _ = keras.ops.convert_to_numpy(variable)
                variable.assign([seed, epoch << 20])  # the second counts what was drawn; no epoch draws a million
        self._epoch, self._start = epoch + 1, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Stops where the loss, averaged over the epoch so far, is no number any more."""
        self._must_be_finite(f"step {batch + 1} of epoch {self._epoch}", loss=float((logs or {}).get("loss", 0)))

    def _must_be_finite(self, place, **values):
        if wild := [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]:
            kept = f"the checkpoints before it are kept in {self.folder}"
            raise FloatingPointError(f"{place} diverged: {', '.join(wild)}; {kept}")

    def on_epoch_end(self, epoch, logs=None):
        """Writes the checkpoint and removes all but this and the one before."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self._must_be_finite(f"epoch {epoch + 1}", **values)
        for name, value in {**values, "seconds": time.perf_counter() - self._start}.items():
            self.history.setdefault(name, []).append(value)
        # History first: a checkpoint is never ahead of it, and `restore` cuts what is too long.
        files.write_json(self.history, self.folder / "history.json")
        beside = self.folder / ".partial.weights.h5"
        self.model.save_weights(beside)
        os.replace(beside, self._file("epoch", epoch + 1))
        self._keep(epoch + 1)
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        self._bar.update()
        if self._stalled(epoch + 1):
            self.model.stop_training = True

    @property
    def best_epoch(self):
        """The epoch, counted from 1, with the lowest `val_loss` so far; None where none was measured."""
        losses = self.history.get("val_loss", [])
        return 1 + int(np.argmin(losses)) if losses else None

    def load(self, model, epoch=None):
        """Loads weights and optimizer of `epoch`, of `keep` or else `best_epoch`. An OSError names a file it cannot."""
        try:
            model.load_weights(path := self._file("kept", (self.best_epoch or 0) if epoch is None else epoch))
        except _UNREADABLE as error:
            raise OSError(f"{path} cannot be read ({error}); to train anew, remove this folder") from error

    def _file(self, kind, epoch):
        return self.folder / f"{kind}-{epoch:03}.weights.h5"

    def _keep(self, epoch):
        """Keeps the epoch's weights if they are to be kept, and drops all others but those of the last two epochs."""
        last = [self._file("epoch", number) for number in (epoch - 1, epoch)]
        wanted = {self._file("kept", number) for number in (*self.keep, self.best_epoch) if number}
        kept = self._file("kept", epoch)
        if kept in wanted:  # also if it is there: it may be damaged, or of a run before
            partial = self.folder / ".partial-kept.weights.h5"
            shutil.copyfile(last[-1], partial)
            os.replace(partial, kept)
        for old in set(self.folder.glob("*-*.weights.h5")) - wanted - set(last):  # later ones too, which are damaged
            old.unlink()

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
    In a notebook the newest is shown while the run goes on.
    """

    def __init__(self, folder, colorizer, truth, *, every=10):
        super().__init__()
        self.folder, self.colorizer, self.truth = pathlib.Path(folder), colorizer, truth
        self._is_due = (lambda epoch: epoch % every == 0) if isinstance(every, int) else every.__contains__
        self._shown = None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the picture, if it is time."""
        if not self._is_due(epoch + 1):
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

    @property
    def pictures(self):
        """{epoch: predicted pictures (N, S, S, 3)}, those written before a restart included."""
        count, side = self.truth.shape[:2]
        paths = {int(path.stem[8:]): path for path in sorted(self.folder.glob("preview-*.png"))}
        rows = {epoch: files.load(path)[-side:] for epoch, path in paths.items() if self._is_due(epoch)}
        return {epoch: np.stack(np.split(row, count, axis=1)) for epoch, row in rows.items()}


def _signature(model):
    """A digest of what a compiled model is trained as. Not of names: Keras counts them up from layer to layer."""
    compiled = [keras.saving.serialize_keras_object(part) for part in (model.optimizer, model.loss)]
    text = json.dumps([[weight.shape for weight in model.weights], compiled], default=str)
    text = json.dumps(json.loads(text, object_hook=lambda part: {k: v for k, v in part.items() if k != "name"}))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def save(model, path):
    """Saves a model as a .keras file, whole or not at all."""
    path = pathlib.Path(path)
    beside = path.with_name(f".partial-{path.name}")
    model.save(beside)
    os.replace(beside, path)
