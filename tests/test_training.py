"""The same seed gives the same run, a run that was stopped ends as one never stopped, and no file is half of one."""

import datetime
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import types

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
import skimage.color
from PIL import Image

from colorlib import color, models, training
from colorlib.data import files, pipeline
from colorlib.models import losses
from colorlib.scoring import results, scores

EPOCHS, STEPS = 3, 2
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Eight smooth pictures as clean JPEGs."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(8):
        noise = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        noise.resize((40, 32), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=95, subsampling=0)
    return sorted(folder.glob("*.jpg"))


class Within(keras.callbacks.Callback):
    """Does something in the middle of an epoch, counted from 1."""

    def __init__(self, epoch, act):
        super().__init__()
        self.epoch, self.act = epoch, act

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, 0):
            self.act()


def interrupt(*_, **__):
    raise KeyboardInterrupt


def run(paths, folder, *callbacks, epochs=EPOCHS, **kept):
    """One run as notebooks do it: batch norm, dropout, Adam on a schedule. Returns colorizer, model, checkpoint."""
    training.set_seed(3)
    colorizer = models.vivid_colorizer(32, widths=(4, 8))
    logits = keras.layers.Dropout(0.3)(colorizer.get_layer("logits").output)
    model = keras.Model(colorizer.input, logits)
    falling = [STEPS, 2 * STEPS, 3 * STEPS], [1e-2, 8e-3, 5e-3, 1.0]  # but in the fourth epoch all is lost
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(*falling)
    # Eagerly, because tracing would take longer than all its batches.
    model.compile(keras.optimizers.Adam(schedule), loss=losses.BinCrossEntropy(), run_eagerly=True)
    checkpoint = training.Checkpoint(folder, {"epochs": epochs}, **kept)
    first_epoch = checkpoint.restore(model)
    lab = pipeline.load_lab(paths, 32)
    batches = pipeline.lab_batches(lab, batch_size=4, training=True, seed=3, first_epoch=first_epoch)
    options = {"epochs": epochs, "initial_epoch": first_epoch, "steps_per_epoch": STEPS, "shuffle": False, "verbose": 0}
    if kept:
        options["validation_data"] = pipeline.lab_batches(lab, batch_size=8)
    model.fit(batches, callbacks=[*callbacks, checkpoint], **options)
    return colorizer, model, checkpoint


@pytest.fixture(scope="module")
def straight(paths, tmp_path_factory):
    return run(paths, tmp_path_factory.mktemp("straight"))


def assert_same_run(one, other):
    for mine, theirs in zip(one[1].weights, other[1].weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy(), err_msg=mine.path)
    for mine, theirs in zip(one[1].optimizer.variables, other[1].optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy(), err_msg=mine.path)
    histories = [{**made[2].history} for made in (one, other)]
    seconds = [len(history.pop("seconds")) for history in histories]
    assert histories[0] == histories[1] and seconds == [len(histories[0]["loss"])] * 2
    assert one[2].best_epoch == other[2].best_epoch
    assert contents(one[2].folder) == contents(other[2].folder)


def assert_same_scores(one, other, paths):
    truth = pipeline.load_pictures(paths, 32)
    lightness = color.from_uint8(truth)[0]
    frames = [
        scores.per_picture(scores.render_report(lightness, np.array(made[0](lightness)))[0], truth)
        for made in (one, other)
    ]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert frames[0]["ciede2000"].std() > 0


def test_the_same_seed_gives_the_same_scores(paths, straight, tmp_path):
    again = run(paths, tmp_path)
    assert_same_run(straight, again)
    assert_same_scores(straight, again, paths)
    loss = straight[2].history["loss"]
    assert loss[0] > loss[1] > loss[2]


def test_a_run_stopped_within_an_epoch_ends_as_one_never_stopped(paths, straight, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(paths, tmp_path, Within(3, interrupt))
    assert contents(tmp_path) == ["epoch-001.weights.h5", "epoch-002.weights.h5", "history.json"]
    resumed = run(paths, tmp_path)
    assert_same_run(straight, resumed)
    assert contents(tmp_path) == ["epoch-002.weights.h5", "epoch-003.weights.h5", "history.json"]
    assert json.loads((tmp_path / "history.json").read_text()) == resumed[2].history
    assert resumed[2].minutes == sum(resumed[2].history["seconds"]) / 60 > 0


KEPT = {"epochs": 9, "keep": (1,), "patience": 2}


def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_the_fifth_tensor():
    """Within save_weights: what is in the file so far is flushed, as a full buffer would be."""
    create, made = h5py.Group.create_dataset, []

    def count(group, *args, **kwargs):
        made.append(group)
        if len(made) == 5:
            group.file.flush()
            killed()
        return create(group, *args, **kwargs)

    h5py.Group.create_dataset = count


def killed_while_keeping():
    """The checkpoint is there, its copy by half."""

    def copy(source, target):
        target.write_bytes(cut(source.read_bytes()))
        killed()

    training.shutil.copyfile = copy


MOMENTS = [(2, killed), (3, killed_at_the_fifth_tensor), (3, killed_while_keeping)]
LEFT = [
    ["epoch-001", "kept-001"],
    [".partial", "epoch-001", "epoch-002", "kept-001", "kept-002"],
    [".partial-kept", "epoch-001", "epoch-002", "epoch-003", "kept-001", "kept-002"],
]


def killed_run(pictures, folder, moment):
    """What the process runs that is to be killed."""
    run(sorted(pathlib.Path(pictures).glob("*.jpg")), pathlib.Path(folder), Within(*MOMENTS[int(moment)]), **KEPT)


@pytest.mark.slow
def test_a_run_killed_three_times_ends_as_one_never_killed(paths, tmp_path):
    straight = run(paths, tmp_path / "straight", **KEPT)
    assert straight[2].best_epoch == 3 and len(straight[2].history["loss"]) == 5  # of 9: it had no patience left
    here, folder = pathlib.Path(__file__).parent, tmp_path / "killed"
    script = "import sys, test_training; test_training.killed_run(*sys.argv[1:])"
    place = {"cwd": here, "env": os.environ | {"PYTHONPATH": str(here.parent)}}
    for moment, left in enumerate(LEFT):
        command = [sys.executable, "-c", script, str(paths[0].parent), str(folder), str(moment)]
        ended = subprocess.run(command, capture_output=True, timeout=120, **place)
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
        assert contents(folder) == sorted([*(f"{name}.weights.h5" for name in left), "history.json"])
    for _ in range(2):  # the second time there is nothing to do
        resumed = run(paths, folder, **KEPT)
        assert_same_run(straight, resumed)
        assert_same_scores(straight, resumed, paths)
    for epoch in (1, None):
        for made in (straight, resumed):
            made[2].load(made[1], epoch)
        assert_same_run(straight, resumed)
        assert int(resumed[1].optimizer.iterations.numpy()) == (epoch or 3) * STEPS


def test_seeds_differ():
    kernels = []
    for seed in (1, 2, 1):
        training.set_seed(seed)
        kernels.append(small()[0].get_weights()[0])
    assert (kernels[0] == kernels[2]).all() and (kernels[0] != kernels[1]).any()


# Checkpoints, without the training


def small(units=2):
    """A compiled model of one layer, and the callback's way through an epoch that leaves its weights at a value."""
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(units)])
    model.compile("adam", loss="mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)

    def epoch(checkpoint, number, **logs):
        checkpoint.set_model(model)
        checkpoint.on_epoch_begin(number - 1)
        model.set_weights([np.full_like(weight, number) for weight in model.get_weights()])
        checkpoint.on_epoch_end(number - 1, {"loss": 1 / number} | logs)

    return model, epoch


def contents(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "settings.json")


def three_epochs(folder):
    checkpoint = training.Checkpoint(folder, {"epochs": 3})
    model, epoch = small()
    assert checkpoint.restore(model) == 0
    for number in (1, 2, 3):
        epoch(checkpoint, number)


def test_the_last_two_checkpoints_are_kept(tmp_path):
    three_epochs(tmp_path / "run")
    assert contents(tmp_path / "run") == ["epoch-002.weights.h5", "epoch-003.weights.h5", "history.json"]
    model, _ = small()
    checkpoint = training.Checkpoint(tmp_path / "run", {"epochs": 3})
    assert checkpoint.restore(model) == 3
    assert (model.get_weights()[0] == 3).all()
    assert checkpoint.history["loss"] == [1, 1 / 2, 1 / 3]


def cut(data):
    return data[: len(data) // 2]


def scrambled(data):
    assert b"SNOD" in data
    return data.replace(b"SNOD", b"\0\0\0\0")  # a table of names within the file; h5py then raises RuntimeError


@pytest.mark.parametrize("damage", [cut, scrambled, lambda data: b""], ids=["cut", "scrambled", "empty"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_taken(tmp_path, capsys, damage):
    three_epochs(tmp_path)
    last = tmp_path / "epoch-003.weights.h5"
    last.write_bytes(damage(last.read_bytes()))
    model, epoch = small()
    checkpoint = training.Checkpoint(tmp_path, {"epochs": 3})
    assert checkpoint.restore(model) == 2
    assert re.match(r".*epoch-003\.weights\.h5 cannot be read \(.+\); taking the checkpoint", capsys.readouterr().out)
    assert (model.get_weights()[0] == 2).all()
    assert checkpoint.history["loss"] == [1, 1 / 2] and len(checkpoint.history["seconds"]) == 2
    epoch(checkpoint, 3, loss=0.25)
    assert training.Checkpoint(tmp_path, {"epochs": 3}).restore(small()[0]) == 3
    assert json.loads((tmp_path / "history.json").read_text())["loss"] == [1, 1 / 2, 0.25]


def test_where_no_checkpoint_fits_the_model_stays_as_it_was(tmp_path, capsys):
    three_epochs(tmp_path)
    for path in tmp_path.glob("epoch-*"):
        path.write_bytes(b"cut")
    model, epoch = small()
    before = model.get_weights()
    checkpoint = training.Checkpoint(tmp_path, {"epochs": 3})
    assert checkpoint.restore(model) == 0
    assert "no checkpoint can be read; starting anew" in capsys.readouterr().out
    for mine, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, weight)
    assert int(model.optimizer.iterations.numpy()) == 0
    epoch(checkpoint, 1)  # the first of the new run stays, the last ones of the old run go
    assert contents(tmp_path) == ["epoch-001.weights.h5", "history.json"]


def failing(*_, **__):
    raise FULL


def half_written(path, **_):
    path.write_bytes(b"\x89HDF half")
    raise FULL


@pytest.mark.parametrize(
    ("where", "name", "fails"),
    [(training.os, "replace", failing), (keras.Model, "save_weights", lambda self, path: half_written(path))],
    ids=["rename", "save"],
)
def test_a_full_disk_stops_the_run_and_the_checkpoints_stay_whole(tmp_path, monkeypatch, where, name, fails):
    three_epochs(tmp_path)
    whole = {path.name: path.read_bytes() for path in tmp_path.glob("epoch-*")}
    model, epoch = small()
    checkpoint = training.Checkpoint(tmp_path, {"epochs": 3})
    assert checkpoint.restore(model) == 3
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(where, name, fails)
        epoch(checkpoint, 4)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("epoch-*")} == whole
    again = training.Checkpoint(tmp_path, {"epochs": 3})
    assert again.restore(model) == 3
    assert again.history["loss"] == [1, 1 / 2, 1 / 3]
    epoch(again, 4)
    assert contents(tmp_path) == sorted([*(f"epoch-00{n}.weights.h5" for n in (3, 4)), "history.json"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_before_anything_is_written(tmp_path, value):
    three_epochs(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    checkpoint, (model, epoch) = training.Checkpoint(tmp_path, {"epochs": 3}), small()
    checkpoint.restore(model)
    with pytest.raises(FloatingPointError, match=rf"epoch 4 diverged: val_loss is {value}; the checkpoints before it"):
        epoch(checkpoint, 4, val_loss=value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(checkpoint.history["loss"]) == 3


def test_a_loss_that_becomes_nan_ends_the_run_in_that_step(tmp_path):
    model, _ = small()
    checkpoint = training.Checkpoint(tmp_path, {"epochs": 3})
    checkpoint.restore(model)
    pictures = np.ones((40, 3), np.float32)
    pictures[20:] = np.nan  # the third batch of 10 has the first
    with pytest.raises(FloatingPointError, match="step 3 of epoch 1 diverged: loss is nan"):
        model.fit(pictures, np.ones((40, 2)), batch_size=10, epochs=3, shuffle=False, callbacks=[checkpoint], verbose=0)
    assert contents(tmp_path) == []


def test_a_thousand_epochs_are_counted(tmp_path):
    three_epochs(tmp_path)
    for name, kind in (("epoch-002.weights.h5", "epoch-999"), ("epoch-003.weights.h5", "epoch-1000")):
        (tmp_path / name).rename(tmp_path / f"{kind}.weights.h5")
    (tmp_path / "history.json").write_text(json.dumps({"loss": [1.0] * 1000, "seconds": [1.0] * 1000}))
    checkpoint, (model, epoch) = training.Checkpoint(tmp_path, {"epochs": 3}), small()
    assert checkpoint.restore(model) == 1000 and (model.get_weights()[0] == 3).all()
    epoch(checkpoint, 1001)
    assert [name for name in contents(tmp_path) if "epoch" in name] == [f"epoch-{n}.weights.h5" for n in (1000, 1001)]


@pytest.mark.parametrize("name", ["history.json", "settings.json"])
def test_a_damaged_note_is_named_and_costs_no_checkpoint(tmp_path, name):
    three_epochs(tmp_path)
    before = contents(tmp_path)
    (tmp_path / name).write_text("")
    with pytest.raises(OSError, match=rf"{name} cannot be read .*to train anew, remove this folder"):
        training.Checkpoint(tmp_path, {"epochs": 3}).restore(small()[0])
    assert contents(tmp_path) == before


# The best epoch, epochs to keep, and patience

LOSSES = [3.0, 1.0, 2.0, 1.0, 0.5]  # with a patience of 2 the fourth ends the run: an equal loss is no lower one


def patient_run(folder, model, epoch):
    """Up to six epochs; returns the checkpoint and what `restore` said."""
    checkpoint = training.Checkpoint(folder, {"epochs": 6}, patience=2, keep=(1, 3))
    model.stop_training = False
    done = checkpoint.restore(model)
    for number in range(done + 1, 7):
        epoch(checkpoint, number, val_loss=LOSSES[number - 1])
        if model.stop_training:
            break
    return checkpoint, done


def kept_values(checkpoint, model, epochs):
    values = []
    for epoch in epochs:
        checkpoint.load(model, epoch)
        values.append(set(np.unique(np.concatenate([np.ravel(weight) for weight in model.get_weights()]))))
    return values


def test_the_best_epoch_and_those_asked_for_are_kept_and_patience_ends_the_run(tmp_path):
    model, epoch = small()
    checkpoint, done = patient_run(tmp_path, model, epoch)
    assert done == 0 and len(checkpoint.history["loss"]) == 4 and checkpoint.best_epoch == 2
    kept = [f"kept-00{number}.weights.h5" for number in (1, 2, 3)]
    assert contents(tmp_path) == ["epoch-003.weights.h5", "epoch-004.weights.h5", "history.json", *kept]
    assert kept_values(checkpoint, model, (1, None, 3, 2)) == [{1}, {2}, {3}, {2}]
    again, done = patient_run(tmp_path, model, epoch)
    assert done == 6 and again.history == checkpoint.history
    assert (model.get_weights()[0] == 4).all()  # the last ones, as in the run that was not taken up


def test_the_best_before_is_dropped(tmp_path):
    model, epoch = small()
    checkpoint = training.Checkpoint(tmp_path, {"epochs": 3})
    checkpoint.restore(model)
    for number, best in enumerate((1, 2, 2), start=1):
        epoch(checkpoint, number, val_loss=(2.0, 1.0, 1.0)[number - 1])
        assert [path.name for path in tmp_path.glob("kept-*")] == [f"kept-00{best}.weights.h5"]
        assert checkpoint.best_epoch == best


class Stopped(BaseException):
    """The process ends here, and nothing is tidied up."""


def stop_at(place, monkeypatch):
    """Ends the run before the file operation of that number, or within it where that can be; counts the operations."""
    count = []

    def counted(original, half=None):
        def operation(*args, **kwargs):
            count.append(original)
            if len(count) == place:
                if half:
                    half(*args)
                raise Stopped
            return original(*args, **kwargs)

        return operation

    def half_saved(model, path):
        save(model, path)
        path.write_bytes(cut(path.read_bytes()))

    def half_copied(source, target):
        target.write_bytes(cut(source.read_bytes()))

    save = keras.Model.save_weights
    monkeypatch.setattr(keras.Model, "save_weights", counted(save, half_saved))
    monkeypatch.setattr(training.shutil, "copyfile", counted(training.shutil.copyfile, half_copied))
    for owner, name in ((os, "replace"), (pathlib.Path, "unlink")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return count


def test_a_run_stopped_at_any_file_it_writes_ends_with_the_same_files(tmp_path, monkeypatch):
    model, epoch = small()
    with monkeypatch.context() as patch:
        operations = stop_at(None, patch)
        straight, _ = patient_run(tmp_path / "straight", model, epoch)
    assert len(operations) > 24
    for place in range(1, len(operations) + 1):
        folder = tmp_path / str(place)
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            stop_at(place, patch)
            patient_run(folder, model, epoch)
        for path in folder.glob("[ek]*.weights.h5"):  # what is there is whole
            h5py.File(path).close()
        resumed, done = patient_run(folder, model, epoch)
        assert resumed.best_epoch == 2 and len(resumed.history["seconds"]) == 4
        for name in ("loss", "val_loss"):
            assert resumed.history[name] == straight.history[name]
        assert contents(folder) == contents(tmp_path / "straight"), (place, done)
        assert kept_values(resumed, model, (1, 2, 3)) == [{1}, {2}, {3}], (place, done)


@pytest.mark.parametrize("damage", [cut, scrambled, lambda data: b""], ids=["cut", "scrambled", "empty"])
def test_a_damaged_kept_file_is_named(tmp_path, damage):
    model, epoch = small()
    checkpoint, _ = patient_run(tmp_path, model, epoch)
    best = tmp_path / "kept-002.weights.h5"
    best.write_bytes(damage(best.read_bytes()))
    with pytest.raises(OSError, match=r"kept-002\.weights\.h5 cannot be read \(.+\); to train anew, remove"):
        checkpoint.load(model)
    assert kept_values(checkpoint, model, (1, 3)) == [{1}, {3}]


def test_an_epoch_that_was_not_kept_or_not_measured_is_named(tmp_path):
    model, epoch = small()
    checkpoint, _ = patient_run(tmp_path / "run", model, epoch)
    with pytest.raises(OSError, match=r"kept-004\.weights\.h5 cannot be read"):
        checkpoint.load(model, 4)
    unmeasured = training.Checkpoint(tmp_path / "none", {"epochs": 3})
    assert unmeasured.best_epoch is None
    with pytest.raises(OSError, match=r"kept-000\.weights\.h5 cannot be read"):
        unmeasured.load(model)


def test_a_damaged_kept_file_is_written_anew_with_its_epoch(tmp_path):
    """As a machine that lost its power leaves them: the newest files were not on the disk yet."""
    model, epoch = small()
    patient_run(tmp_path, model, epoch)
    (tmp_path / "epoch-004.weights.h5").unlink()
    for name in ("epoch-003", "kept-003"):
        (tmp_path / f"{name}.weights.h5").write_bytes(b"")
    shutil.copyfile(tmp_path / "kept-002.weights.h5", tmp_path / "epoch-002.weights.h5")
    checkpoint, done = patient_run(tmp_path, model, epoch)
    assert done == 2 and kept_values(checkpoint, model, (1, 2, 3)) == [{1}, {2}, {3}]


def test_kept_files_and_previews_of_other_settings_go(tmp_path):
    model, epoch = small()
    patient_run(tmp_path, model, epoch)
    files.save(np.zeros((24, 16, 3), np.uint8), tmp_path / "preview-002.png")
    (tmp_path / "scores.csv").write_text("ciede2000\n1\n")
    checkpoint = training.Checkpoint(tmp_path, {"epochs": 7})
    assert checkpoint.restore(model) == 0 and checkpoint.best_epoch is None
    assert contents(tmp_path) == ["history.json", "scores.csv"]


# Previews


def constant_colorizer():
    """Colors every pixel with its bias, a* and b* / 128."""
    return keras.Sequential([keras.layers.Input((16, 16, 1)), keras.layers.Conv2D(2, 1, kernel_initializer="zeros")])


@pytest.fixture
def truth():
    """Three smooth pictures of middling lightness, whose every color within 20 of grey is in the gamut."""
    rng = np.random.default_rng(4)
    noise = [Image.fromarray(rng.integers(100, 160, (4, 4, 3), np.uint8)) for _ in range(3)]
    return np.stack([np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC)) for picture in noise])


def previewed(folder, truth, epochs, every=2):
    """Previews of a color that changes with the epochs."""
    colorizer = constant_colorizer()
    preview = training.Preview(folder, colorizer, truth, every=every)
    for epoch in epochs:
        colorizer.layers[0].bias.assign([0.01 * epoch, -0.02 * epoch])
        preview.on_epoch_end(epoch - 1)
    return preview


def test_a_preview_holds_the_true_the_grey_and_the_predicted(tmp_path, truth):
    previewed(tmp_path, truth, range(1, 6))
    assert contents(tmp_path) == ["preview-002.png", "preview-004.png"]
    for epoch in (2, 4):
        picture = np.asarray(Image.open(tmp_path / f"preview-00{epoch}.png"))
        assert picture.shape == (48, 48, 3)
        rows = picture.reshape(3, 16, 3, 16, 3).swapaxes(1, 2)  # (row, picture, S, S, 3)
        np.testing.assert_array_equal(rows[0], truth)
        lab = skimage.color.rgb2lab(truth)
        for row, ab in ((rows[1], [0, 0]), (rows[2], [1.28 * epoch, -2.56 * epoch])):
            lab[..., 1:] = ab
            np.testing.assert_allclose(row / 255, skimage.color.lab2rgb(lab), atol=0.6 / 255)


def test_epochs_to_preview_can_be_named(tmp_path, truth):
    previewed(tmp_path, truth, range(1, 7), every=(1, 2, 5))
    assert contents(tmp_path) == ["preview-001.png", "preview-002.png", "preview-005.png"]
    assert list(previewed(tmp_path, truth, (), every=(1, 5)).pictures) == [1, 5]  # one before had others


def test_predicted_pictures_are_given_back_those_before_a_restart_too(tmp_path, truth):
    previewed(tmp_path, truth, (1, 2))
    pictures = previewed(tmp_path, truth, range(3, 7)).pictures
    lightness = color.from_uint8(truth)[0]
    assert list(pictures) == [2, 4, 6]
    for epoch, found in pictures.items():
        ab = np.broadcast_to(np.float32([0.01 * epoch, -0.02 * epoch]), (3, 16, 16, 2))
        np.testing.assert_array_equal(found, color.render(lightness, ab)[0])


def test_previews_come_along_while_a_model_is_fitted(tmp_path, truth):
    colorizer = constant_colorizer()
    colorizer.compile(keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    lightness, ab = color.from_uint8(truth)
    preview = training.Preview(tmp_path, colorizer, truth, every=1)
    colorizer.fit(lightness, ab + 0.05, epochs=2, callbacks=[preview], verbose=0)
    pictures = preview.pictures
    np.testing.assert_array_equal(pictures[2], color.render(lightness, np.array(colorizer(lightness)))[0])
    assert (pictures[1] != pictures[2]).any()


class Shown:
    """What IPython has for this: a display that can be updated."""

    def __init__(self):
        self.first, self.updates = [], []

    def display(self, image, display_id):
        self.first.append(image)
        return types.SimpleNamespace(update=self.updates.append) if display_id else None


@pytest.mark.parametrize("shell", ["a notebook's", None, "not imported"])
def test_a_preview_is_shown_in_a_notebook_and_nowhere_else(tmp_path, truth, monkeypatch, shell):
    """Papermill imports IPython and ipykernel into a process that is no notebook."""
    shown = Shown()
    modules = {
        "ipykernel": types.SimpleNamespace(),
        "IPython": types.SimpleNamespace(get_ipython=lambda: shell),
        "IPython.display": types.SimpleNamespace(Image=bytes, display=shown.display),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, None if shell == "not imported" else module)
    previewed(tmp_path, truth, range(1, 5))
    written = [(tmp_path / f"preview-00{epoch}.png").read_bytes() for epoch in (2, 4)]
    in_notebook = shell == "a notebook's"
    assert shown.first == written[:1] * in_notebook and shown.updates == written * in_notebook


# Results


RUN = {
    "experiment": "09_vivid_colors",
    "variant": "classes",
    "parameters": 1234,
    "data": {"name": "scenes", "train": 75, "validation": 10, "test": 15, "digest": "d1"},
    "seed": 0,
}
SCORES = {"ciede2000": {"mean": 1.5, "low": 1.0, "high": 2.0}}


def test_a_result_says_everything_needed_to_repeat_it(tmp_path):
    frame = pd.DataFrame({"ciede2000": [1.0, 2.0], "psnr": [20.1234567, 30.0]})
    more = {"dials": {"tau": 0.2}, "curve": [], "history": {"loss": [1.0]}, "minutes": 0.5, "set_scores": {"x": 1.0}}
    result = training.write_result(tmp_path / "run", **RUN, scores=SCORES, per_picture=frame, **more)
    assert contents(tmp_path / "run") == ["result.json", "scores.csv"]
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    found = {name: result.pop(name) for name in ("commit", "hardware", "versions", "date")}
    assert result == RUN | {"scores": SCORES} | more
    assert found["versions"] == {
        "keras": keras.version(),
        "tensorflow": found["versions"]["tensorflow"],
        "numpy": np.__version__,
    }
    assert found["date"] == datetime.date.today().isoformat()
    assert (tmp_path / "run" / "scores.csv").read_text() == "ciede2000,psnr\n1,20.1235\n2,30\n"


@pytest.mark.parametrize(
    ("scores", "values"),
    [({"ciede2000": {"mean": float("nan")}}, [1.0, 2.0]), (SCORES, [1.0, float("nan")])],
    ids=["mean", "picture"],
)
def test_a_nan_makes_no_result_and_leaves_the_one_before(tmp_path, scores, values):
    frame = pd.DataFrame({"ciede2000": values})
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        training.write_result(tmp_path / "run", **RUN, scores=scores, per_picture=frame)
    assert list(tmp_path.rglob("*.*")) == []
    training.write_result(tmp_path, **RUN, scores=SCORES, per_picture=pd.DataFrame({"ciede2000": [1.0, 2.0]}))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"Out of range float|no finite numbers: ciede2000"):
        training.write_result(tmp_path, **RUN, scores=scores, per_picture=frame)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "down" / "a.json"
    training.write_json({"é": [1, 2.5, None]}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": [1, 2.5, None]}
    assert path.read_text().endswith("}\n")
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"a\.json: Out of range float"):
            training.write_json({"x": value}, path)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "replace", failing)
        training.write_json({"x": 1}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": [1, 2.5, None]}
    training.write_json([], path)
    assert path.read_text() == "[]\n" and contents(path.parent) == ["a.json"]


def test_commit_and_hardware_are_told_in_a_word_or_a_line(monkeypatch, tmp_path):
    assert re.fullmatch(r"[0-9a-f]{7,40}\+?|unknown", results.commit())
    assert re.fullmatch(r"\d+ (x|cores,) .*\w.*", results.hardware())
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert results.commit.__wrapped__() == "unknown"
    monkeypatch.setattr(results, "ROOT", tmp_path / "gone")
    assert results.commit.__wrapped__() == "unknown"


def test_a_checkpoint_of_other_settings_is_never_taken_up(tmp_path, capsys):
    model, epoch = small()
    checkpoint = training.Checkpoint(tmp_path, {"epochs": 3, "widths": (4, 8)})
    checkpoint.restore(model)
    checkpoint.set_model(model)
    epoch(checkpoint, 1)
    same = {"epochs": 3, "widths": [4, 8]}
    assert training.Checkpoint(tmp_path, same).restore(small()[0]) == 1
    assert f"{tmp_path}: taken up after epoch 1" in capsys.readouterr().out
    assert training.Checkpoint(tmp_path, same | {"epochs": 4}).restore(small()[0]) == 0
    assert "of other settings; starting anew" in capsys.readouterr().out
    assert not list(tmp_path.glob("epoch-*"))


def another_loss(model):
    model.compile(model.optimizer, loss="mean_absolute_error")


def another_rate(model):
    model.compile(keras.optimizers.SGD(0.5), loss=model.loss)


@pytest.mark.parametrize("change", [another_loss, another_rate, None])
def test_a_checkpoint_of_another_model_is_never_taken_up(tmp_path, change):
    three_epochs(tmp_path)
    model, _ = small() if change else small(units=5)
    if change:
        change(model)
    assert training.Checkpoint(tmp_path, {"epochs": 3}).restore(model) == 0
    assert not list(tmp_path.glob("epoch-*"))
