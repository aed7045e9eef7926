"""The same seed gives the same run, a run that was stopped ends as one never stopped, and no file is half of one."""

import itertools
import os
import pathlib
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from keras.optimizers.schedules import PiecewiseConstantDecay
from PIL import Image

from colorlib import training
from colorlib.data import files

EPOCHS, STEPS = 3, 2


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


def batch(step):
    """Four pictures that follow from the step, as the pipeline's follow from the epoch."""
    lightness = tf.random.stateless_uniform((4, 8, 8, 1), (3, step), -1, 1)
    return lightness, tf.concat([lightness, -lightness], -1) / 2


def run(folder, precision, optimizer=keras.optimizers.Adam):
    """One run as notebooks do it: batch norm, dropout, a rate that falls. Returns model and checkpoint."""
    training.setup(3, precision=precision)
    layers = keras.layers.Conv2D(8, 3, padding="same"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)
    head = keras.layers.Conv2D(2, 3, padding="same", dtype="float32")
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), *layers, head])
    rate = PiecewiseConstantDecay([STEPS, 2 * STEPS], [3e-2, 2e-2, 1e-2])
    model.compile(optimizer(rate), loss="mse", jit_compile=False)
    checkpoint = training.Checkpoint(folder, {"epochs": EPOCHS})
    done = checkpoint.restore(model)
    batches = tf.data.Dataset.range(done * STEPS, 99).map(batch)
    epochs = {"epochs": EPOCHS, "initial_epoch": done, "steps_per_epoch": STEPS}
    model.fit(batches, callbacks=[checkpoint], shuffle=False, verbose=0, **epochs)
    return model, checkpoint


def values(model):
    return [keras.ops.convert_to_numpy(variable) for variable in (*model.weights, *model.optimizer.variables)]


def assert_same_run(one, other):
    np.testing.assert_equal(values(one[0]), values(other[0]))
    histories = [{**checkpoint.history} for _, checkpoint in (one, other)]
    seconds = [len(history.pop("seconds")) for history in histories]
    assert histories[0] == histories[1] and seconds == [len(histories[0]["loss"])] * 2
    assert one[1].best_epoch == other[1].best_epoch
    assert contents(one[1].folder) == contents(other[1].folder)


def averaging(rate):
    """What the shipped colorizer is trained with; `fit` ends with the average of the weights."""
    return training.TransferAdamW(rate, use_ema=True, ema_momentum=0.9)


@pytest.mark.parametrize(
    ("precision", "optimizer"),
    [("float32", keras.optimizers.Adam), ("mixed_float16", keras.optimizers.Adam), ("float32", averaging)],
)
def test_a_run_stopped_within_an_epoch_ends_as_one_never_stopped(tmp_path, monkeypatch, precision, optimizer):
    """Half precision has a state of its own, the scale of the loss; an average of the weights is another."""
    straight = run(tmp_path / "straight", precision, optimizer)
    assert_same_run(straight, run(tmp_path / "again", precision, optimizer))
    loss = straight[1].history["loss"]
    assert loss[0] > loss[1] > loss[2]
    with monkeypatch.context() as context, pytest.raises(Stopped):
        stop_at("on_train_batch_end", 2 * STEPS + 1, context.setattr)
        run(tmp_path / "stopped", precision, optimizer)
    assert contents(tmp_path / "stopped") == ["epoch-001.weights.h5", "epoch-002.weights.h5", "history.json"]
    resumed = run(tmp_path / "stopped", precision, optimizer)
    assert_same_run(straight, resumed)
    assert contents(tmp_path / "stopped") == ["epoch-002.weights.h5", "epoch-003.weights.h5", "history.json"]
    assert resumed[1].minutes == sum(resumed[1].history["seconds"]) / 60 > 0
    assert int(getattr(resumed[0].optimizer, "step_counter", EPOCHS * STEPS)) == EPOCHS * STEPS


FLOAT32, BFLOAT16, FLOAT16 = "float32", "mixed_bfloat16", "mixed_float16"
AUTO = [(None, FLOAT32), (("T4", 7), FLOAT16), (("A100", 8), BFLOAT16), (("B200", 10.0), BFLOAT16)]


def test_a_run_with_an_average_ends_with_it(tmp_path):
    """Also one that is taken up when all epochs are done."""
    for _ in range(2):
        model, _ = run(tmp_path, "float32", averaging)
        last = {each.path.rpartition("/")[2]: keras.ops.convert_to_numpy(each) for each in model.optimizer.variables}
        for weight in model.trainable_weights:
            average = last[f"{weight.path.replace('/', '_')}_average"]
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), average)


def test_the_decoder_learns_at_the_rate_and_the_pretrained_network_at_a_quarter_of_it():
    names = ("backbone_first", "decoder_0_join", "logits")
    model = keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(2, name=name) for name in names)])
    model.compile(training.TransferAdamW(0.01, weight_decay=0.0), loss="mse")
    before = values(model)
    model.train_on_batch(np.ones((4, 2), np.float32), np.full((4, 2), 9, np.float32))
    moved = [np.abs(now - then).max() for now, then in zip(values(model), before, strict=False)]
    # Adam's first step is as long as the rate, whatever the gradient.
    np.testing.assert_allclose(moved[:6:2], [0.0025, 0.01, 0.01], rtol=1e-3)


def test_a_schedule_is_asked_for_the_rate_once_a_step():
    asked = []

    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            asked.append(step)
            return 0.5 ** (1 + keras.ops.cast(step, "float32"))

    kernels = [keras.Variable(np.ones((2, 2), np.float32), name=f"decoder_{number}") for number in range(3)]
    optimizer = training.TransferAdamW(Halving(), weight_decay=0.1)
    optimizer.build(kernels)
    asked.clear()
    for _ in range(2):
        optimizer.apply([keras.ops.ones((2, 2))] * 3)
    assert len(asked) == 2
    # Each step takes weight decay, then goes by the rate: 1/2, then 1/4.
    wanted = (1 * (1 - 0.1 / 2) - 1 / 2) * (1 - 0.1 / 4) - 1 / 4
    np.testing.assert_allclose(
        [keras.ops.convert_to_numpy(kernel) for kernel in kernels], np.full((3, 2, 2), wanted), rtol=1e-3
    )


def test_what_ships_has_kernels_in_half_precision_and_predicts_as_the_model_does(tmp_path):
    def build():
        return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, bias_initializer="random_normal")])

    model, other, path = build(), build(), tmp_path / "small.weights.h5"
    training.save_to_ship(model, path, {"name": "small"})
    with h5py.File(path) as file:
        stored = []
        file.visititems(lambda _, item: stored.append(item.dtype) if isinstance(item, h5py.Dataset) else None)
    assert sorted(map(str, stored)) == ["float16", "float32"]
    other.load_weights(path)
    np.testing.assert_equal(model.get_weights(), other.get_weights())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["small.json", path.name]


@pytest.mark.parametrize(("gpu", "chosen"), AUTO)
def test_the_precision_fits_the_machine_or_is_the_one_named(monkeypatch, gpu, chosen):
    monkeypatch.setattr(training, "_gpu", lambda: gpu)
    for asked, given in (("auto", chosen), (FLOAT32, FLOAT32), (BFLOAT16, BFLOAT16)):
        training.setup(5, precision=asked)
        assert keras.config.dtype_policy().name == given
    with pytest.raises(ValueError, match="half"):
        training.setup(0, precision="half")


# Checkpoints, without the training


def small():
    """A compiled model of one layer, and the callback's way through an epoch that leaves its weights at a value."""
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", loss="mse", run_eagerly=True)  # tracing would take longer

    def epoch(checkpoint, number, **logs):
        checkpoint.set_model(model)
        checkpoint.on_epoch_begin(number - 1)
        model.set_weights([np.full_like(weight, number) for weight in model.get_weights()])
        checkpoint.on_epoch_end(number - 1, {"loss": 1 / number} | logs)

    return model, epoch


def contents(folder):
    return sorted(path.name for path in folder.iterdir() if path.name not in ("settings.json", ".lock"))


def restored(folder, settings=None, *, change=None, **kept):
    """A new checkpoint, its model, the way through an epoch, and the epochs that `restore` found done."""
    checkpoint, (model, epoch) = training.Checkpoint(folder, settings or {"epochs": 3}, **kept), small()
    if change:
        change(model)
    return checkpoint, model, epoch, checkpoint.restore(model)


def three_epochs(folder, settings=None, **options):
    checkpoint, _, epoch, done = restored(folder, settings, **options)
    assert done == 0
    for number in (1, 2, 3):
        epoch(checkpoint, number)


def cut(data):
    return data[: len(data) // 2]


def flipped(place):
    """Damage that turns one bit, at a share of the file's length."""

    def damage(data):
        at = round(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]

    return damage


@pytest.mark.parametrize("damage", [cut, lambda data: b"", lambda data: data[:-32], *map(flipped, (0, 0.4, 1))])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_taken(tmp_path, capsys, damage):
    three_epochs(tmp_path)
    assert contents(tmp_path) == ["epoch-002.weights.h5", "epoch-003.weights.h5", "history.json"]
    last = tmp_path / "epoch-003.weights.h5"
    last.write_bytes(damage(last.read_bytes()))
    checkpoint, model, epoch, done = restored(tmp_path)
    assert done == 2 and (model.get_weights()[0] == 2).all()
    assert "epoch-003.weights.h5 is damaged: its checksum is wrong; taking" in capsys.readouterr().out
    assert checkpoint.history["loss"] == [1, 1 / 2] and len(checkpoint.history["seconds"]) == 2
    epoch(checkpoint, 3, loss=0.25)
    checkpoint, model, _, done = restored(tmp_path)
    assert done == 3 and (model.get_weights()[0] == 3).all()
    assert checkpoint.history["loss"] == [1, 1 / 2, 0.25]


def test_where_no_checkpoint_can_be_read_the_run_starts_anew(tmp_path, capsys):
    three_epochs(tmp_path)
    for path in tmp_path.glob("epoch-*"):
        path.write_bytes(cut(path.read_bytes()))
    before = []
    checkpoint, model, epoch, done = restored(tmp_path, change=lambda model: before.extend(model.get_weights()))
    assert done == 0 and "no checkpoint can be read; starting anew" in capsys.readouterr().out
    np.testing.assert_equal(values(model)[:2], before)
    assert int(model.optimizer.iterations) == 0 and checkpoint.history == {}
    (tmp_path / ".kept-009.weights.h5.1-2.part").touch()  # of a process that was killed
    epoch(checkpoint, 1)  # the first of the new run stays, the last ones of the old run go
    assert contents(tmp_path) == ["epoch-001.weights.h5", "history.json"]


def test_what_is_no_number_ends_the_run_before_anything_is_written(tmp_path):
    three_epochs(tmp_path)
    checkpoint, model, epoch, _ = restored(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FloatingPointError, match="epoch 4 diverged: val_loss not finite"):
        epoch(checkpoint, 4, val_loss=np.inf)
    model.set_weights = lambda _: model.layers[0].bias.assign([0.0, np.nan])  # by the last step, seen by no loss
    with pytest.raises(FloatingPointError, match="epoch 4 diverged: .*bias not finite"):
        epoch(checkpoint, 4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_was_not_restored_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"call restore\(model\) before fit"):
        small()[0].fit(np.ones((2, 3)), np.ones((2, 2)), callbacks=[training.Checkpoint(tmp_path, {"epochs": 9})])


# Whose files they are


@pytest.mark.parametrize("name", ["history.json", "settings.json"])
def test_a_damaged_note_is_named_and_costs_no_checkpoint(tmp_path, name):
    three_epochs(tmp_path)
    before = contents(tmp_path)
    (tmp_path / name).write_text("")
    with pytest.raises(OSError, match=rf"{name} is damaged .*to train anew, remove this folder"):
        restored(tmp_path)
    assert contents(tmp_path) == before


def rated(boundary, rate=0.1, loss="mse"):
    decay = PiecewiseConstantDecay([boundary], [rate, 0.01])
    return lambda model: model.compile(keras.optimizers.SGD(decay), loss=loss)


CHANGES = {
    "none": ({}, rated(6), 3),
    "more epochs, a longer schedule": ({"epochs": 4}, rated(8), 3),
    "fewer epochs than are done": ({"epochs": 2}, rated(6), 0),
    "more epochs, another rate": ({"epochs": 4}, rated(8, rate=0.2), 0),
    "setting": ({"widths": [4, 9]}, rated(6), 0),
    "loss": ({}, rated(6, loss="mae"), 0),
    "optimizer": ({}, lambda model: None, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_goes_on_for_more_epochs_and_another_is_never_taken_up(tmp_path, capsys, change):
    settings, compiled, done = CHANGES[change]
    three_epochs(tmp_path, {"epochs": 3, "widths": (4, 8)}, change=rated(6))
    files.save(np.zeros((24, 16, 3), np.uint8), tmp_path / "preview-002.png")
    strangers = ["2024-01-01.jpg", "epoch-1.weights.h5", "epoch-notes.txt", "kept-best.weights.h5", "scores.csv"]
    for name in strangers:
        (tmp_path / name).write_text("mine")
    checkpoint, _, _, found = restored(tmp_path, {"epochs": 3, "widths": [4, 8]} | settings, change=compiled)
    assert found == done == len(checkpoint.history.get("loss", []))
    assert (
        "taken up after epoch 3" if done else "of other settings; moved to other-settings-1"
    ) in capsys.readouterr().out
    assert set(strangers) <= set(contents(tmp_path))
    assert done or set(contents(tmp_path)) == {*strangers, "other-settings-1"}
    assert done or (tmp_path / "other-settings-1" / "epoch-003.weights.h5").exists()


@pytest.mark.parametrize("name", ["epoch-001.weights.h5", "history.json", "settings.json"])
def test_a_strangers_file_is_neither_read_nor_overwritten(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(OSError, match=name):
        restored(tmp_path)
    assert (tmp_path / name).read_text() == "{}"


def test_a_second_training_is_refused_and_a_killed_one_holds_nothing(tmp_path):
    code = (
        "import sys, pathlib, test_training as tests; held = tests.restored(pathlib.Path(sys.argv[1]));"
        "print('held', flush=True); sys.stdin.readline()"
    )
    here = pathlib.Path(__file__).parent
    place = {"cwd": here, "env": os.environ | {"PYTHONPATH": str(here.parent)}}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes, **place)
    assert any("held" in line for line in other.stdout)
    with pytest.raises(BlockingIOError, match=rf"is in use: a training of process {other.pid} on .+, started \d{{4}}-"):
        restored(tmp_path)
    other.kill()
    other.communicate()
    three_epochs(tmp_path)


# The best epoch, epochs to keep, and patience

LOSSES = [3.0, 1.0, 2.0, 1.0, 0.5]  # with a patience of 2 the fourth ends the run: an equal loss is no lower one


def patient_run(folder):
    """Up to six epochs; returns the checkpoint, its model and what `restore` said."""
    checkpoint, model, epoch, done = restored(folder, {"epochs": 6}, patience=2, keep=(3,))
    for number in range(done + 1, 7):
        epoch(checkpoint, number, val_loss=LOSSES[number - 1])
        if model.stop_training:
            break
    return checkpoint, model, done


def kept_values(checkpoint, model, epochs):
    found = []
    for epoch in epochs:
        checkpoint.load(model, epoch)
        found.append(set(np.concatenate([np.ravel(weight) for weight in model.get_weights()])))
    return found


def test_the_best_epoch_and_those_asked_for_are_kept_and_patience_ends_the_run(tmp_path):
    checkpoint, model, done = patient_run(tmp_path)
    assert done == 0 and len(checkpoint.history["loss"]) == 4 and checkpoint.best_epoch == 2
    kept = ["kept-002.weights.h5", "kept-003.weights.h5"]  # no longer the first, which was the best before
    assert contents(tmp_path) == ["epoch-003.weights.h5", "epoch-004.weights.h5", "history.json", *kept]
    assert kept_values(checkpoint, model, (None, 3, 2)) == [{2}, {3}, {2}]
    with pytest.raises(OSError, match=r"kept-004\.weights\.h5"):
        checkpoint.load(model, 4)
    kept = tmp_path / "kept-003.weights.h5"
    kept.write_bytes(cut(kept.read_bytes()))
    with pytest.raises(OSError, match=r"kept-003\.weights\.h5 is damaged"):
        checkpoint.load(model, 3)
    again, model, done = patient_run(tmp_path)
    assert done == 6 and again.history == checkpoint.history
    assert (model.get_weights()[0] == 4).all()  # the last ones, as in the run that was not taken up


class Stopped(BaseException):
    """The process ends here, and nothing is tidied up."""


def stop_at(name, count, patch):
    """Stops a run within its operation of that name ("any": of any) and count, and lets it do no other."""
    done = []

    def counted(owner, own_name):
        original = getattr(owner, own_name)

        def operation(*args, **kwargs):
            done.extend([own_name] * (name in ("any", own_name)))
            if count and len(done) >= count:
                raise Stopped
            return original(*args, **kwargs)

        patch(owner, own_name, operation)

    for owner, own_name in ((os, "fsync"), (os, "replace"), (pathlib.Path, "unlink")):
        counted(owner, own_name)
    counted(keras.Model, "save_weights")
    counted(keras.callbacks.CallbackList, "on_train_batch_end")
    return done


def test_a_run_stopped_at_any_file_it_writes_ends_with_the_same_files(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        operations = stop_at("any", 0, context.setattr)
        straight, _, _ = patient_run(tmp_path / "straight")
    assert len(operations) > 40 and operations.count("replace") == 12
    assert all(before == "fsync" for before, name in itertools.pairwise(operations) if name == "replace")
    for count in range(1, len(operations) + 1):
        folder = tmp_path / str(count)
        with monkeypatch.context() as context, pytest.raises(Stopped):
            stop_at("any", count, context.setattr)
            patient_run(folder)
        resumed, model, done = patient_run(folder)
        assert resumed.best_epoch == 2 and len(resumed.history["seconds"]) == 4
        for name in ("loss", "val_loss"):
            assert resumed.history[name] == straight.history[name]
        assert contents(folder) == contents(tmp_path / "straight"), (count, done)
        assert kept_values(resumed, model, (2, 3)) == [{2}, {3}], (count, done)


def previewed(folder, truth, epochs):
    """Previews of a color that changes with the epochs: a* and b* / 128 of every pixel are the bias."""
    convolution = keras.layers.Conv2D(2, 1, kernel_initializer="zeros")
    preview = training.Preview(folder, keras.Sequential([keras.Input((16, 16, 1)), convolution]), truth, every=2)
    for epoch in epochs:
        convolution.bias.assign([0.01 * epoch, -0.02 * epoch])
        preview.on_epoch_end(epoch - 1)
    return preview


def test_a_preview_holds_the_true_the_grey_and_the_predicted(tmp_path):
    # Of middling lightness, so that every color within 20 of grey is in the gamut.
    truth = np.random.default_rng(4).integers(100, 160, (3, 16, 16, 3), np.uint8)
    previewed(tmp_path, truth, (1, 2))
    pictures = previewed(tmp_path, truth, range(3, 6)).pictures  # those before a restart too
    assert contents(tmp_path) == ["preview-002.png", "preview-004.png"] and list(pictures) == [2, 4]
    for epoch, predicted in pictures.items():
        picture = np.asarray(Image.open(tmp_path / f"preview-00{epoch}.png"))
        rows = picture.reshape(3, 16, 3, 16, 3).swapaxes(1, 2)  # (row, picture, S, S, 3)
        np.testing.assert_array_equal(rows[0], truth)
        np.testing.assert_array_equal(rows[2], predicted)
        lab = skimage.color.rgb2lab(truth)
        for row, ab in ((rows[1], [0, 0]), (rows[2], [1.28 * epoch, -2.56 * epoch])):
            lab[..., 1:] = ab
            np.testing.assert_allclose(row / 255, skimage.color.lab2rgb(lab), atol=0.6 / 255)
