"""The same seed gives the same run, a run that was stopped ends as one never stopped, and no file is half of one."""

import datetime
import errno
import json
import os
import re

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from colorlib import color, evaluate, losses, models, pipeline, training

SETTINGS = {"image_size": 32, "batch_size": 4}
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


class Kill(keras.callbacks.Callback):
    """Ends the run in the middle of an epoch, as Ctrl-C does."""

    def __init__(self, epoch):
        super().__init__()
        self.batches = epoch * STEPS + 1

    def on_train_batch_end(self, batch, logs=None):
        self.batches -= 1
        if self.batches == 0:
            raise KeyboardInterrupt


def run(paths, folder, *callbacks):
    """One run as notebooks do it: batch norm, dropout, Adam on a schedule. Returns colorizer, model, checkpoint."""
    training.set_seed(3)
    colorizer = models.vivid_colorizer(32, widths=(4, 8))
    logits = keras.layers.Dropout(0.3)(colorizer.get_layer("logits").output)
    model = keras.Model(colorizer.input, logits)
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * STEPS)
    # Eagerly, because tracing would take longer than all its batches.
    model.compile(keras.optimizers.Adam(schedule), loss=losses.BinCrossEntropy(), run_eagerly=True)
    checkpoint = training.Checkpoint(folder, {"epochs": 3})
    first_epoch = checkpoint.restore(model)
    batches = pipeline.lab_batches(
        pipeline.load_lab(paths, 32), batch_size=SETTINGS["batch_size"], training=True, seed=3, first_epoch=first_epoch
    )
    options = {"epochs": EPOCHS, "initial_epoch": first_epoch, "steps_per_epoch": STEPS, "shuffle": False, "verbose": 0}
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
    assert set(one[2].history) == set(other[2].history) == {"loss", "seconds"}
    assert one[2].history["loss"] == other[2].history["loss"]
    assert len(one[2].history["seconds"]) == EPOCHS


def test_the_same_seed_gives_the_same_scores(paths, straight, tmp_path):
    again = run(paths, tmp_path)
    assert_same_run(straight, again)
    truth = pipeline.load_pictures(paths, 32)
    lightness = color.from_uint8(truth)[0]
    frames = [
        evaluate.per_picture(evaluate.render_report(lightness, np.array(made[0](lightness)))[0], truth)
        for made in (straight, again)
    ]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert frames[0]["ciede2000"].std() > 0
    loss = straight[2].history["loss"]
    assert loss[0] > loss[1] > loss[2]


def test_a_run_stopped_within_an_epoch_ends_as_one_never_stopped(paths, straight, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(paths, tmp_path, Kill(epoch=2))
    assert contents(tmp_path) == ["epoch-001.weights.h5", "epoch-002.weights.h5", "history.json"]
    resumed = run(paths, tmp_path)
    assert_same_run(straight, resumed)
    assert contents(tmp_path) == ["epoch-002.weights.h5", "epoch-003.weights.h5", "history.json"]
    assert json.loads((tmp_path / "history.json").read_text()) == resumed[2].history
    assert resumed[2].minutes == sum(resumed[2].history["seconds"]) / 60 > 0


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
    assert re.fullmatch(r"[0-9a-f]{7,40}\+?|unknown", training.commit())
    assert re.fullmatch(r"\d+ (x|cores,) .*\w.*", training.hardware())
    monkeypatch.setattr(training, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert training.commit.__wrapped__() == "unknown"
    monkeypatch.setattr(training, "ROOT", tmp_path / "gone")
    assert training.commit.__wrapped__() == "unknown"


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
