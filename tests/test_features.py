"""Features are those of the network, computed once; a cache is another's, or cut short, never by mistake."""

import fcntl
import json
import os
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from colorlib.data import pipeline
from colorlib.models import backbones

COUNT, BATCH = 10, 4  # two whole batches and one of two pictures


@pytest.fixture(scope="module")
def lab():
    """Ten pictures of noise, as `load_lab` holds them."""
    return np.random.default_rng(0).integers(-32767, 32768, (COUNT, 8, 8, 3)).astype(np.int16)


def network(scaling="tf"):
    """Three numbers a picture; always the same weights."""
    inputs = keras.Input((8, 8, 1))
    x = backbones.ImageNetInput(scaling)(inputs)
    x = keras.layers.Conv2D(3, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=1))(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="tiny")


@pytest.fixture(scope="module")
def backbone():
    return network()


@pytest.fixture
def calls(monkeypatch):
    """The pictures of each call of a network; a call whose turn `calls.stop` is raises KeyboardInterrupt."""

    class Calls(list):
        stop = None

        def taken(self):
            found = list(self)
            self.clear()
            return found

    calls, predict = Calls(), keras.Model.predict_on_batch

    def counted(model, batch):
        if len(calls) == calls.stop:
            raise KeyboardInterrupt
        calls.append(len(batch))
        return predict(model, batch)

    monkeypatch.setattr(backbones, "BATCH_SIZE", BATCH)
    monkeypatch.setattr(keras.Model, "predict_on_batch", counted)
    return calls


ALL = [4, 4, 2]


def assert_features(found, backbone, lab):
    expected = np.asarray(backbone(pipeline.split(lab)[0]))
    assert found.shape == expected.shape == (len(lab), 3) and expected.std(axis=0).min() > 0
    np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-6)  # float16 has 11 bits


def interrupted(backbone, lab, folder, calls, after):
    """Computes so many batches, then is stopped."""
    calls.stop = after
    with pytest.raises(KeyboardInterrupt):
        backbones.cached(backbone, lab, folder)
    calls.stop = None
    assert calls.taken() == ALL[:after]
    return next(folder.iterdir())


def test_features_are_the_networks_and_computed_once(backbone, lab, tmp_path, calls):
    found = backbones.cached(backbone, lab, tmp_path)
    assert_features(found, backbone, lab)
    assert calls.taken() == ALL
    again = backbones.cached(network(), lab, tmp_path)  # the same network built anew
    assert calls.taken() == []
    np.testing.assert_array_equal(again, found)
    for features_map in (found, again):
        assert isinstance(features_map, np.memmap) and features_map.dtype == np.float16
        with pytest.raises(ValueError, match="read-only"):
            features_map[0] = 0
    (place,) = tmp_path.iterdir()
    assert sorted(path.name for path in place.iterdir()) == ["features.npy", "progress.json"]
    assert np.load(place / "features.npy").dtype == np.float16


def test_a_second_process_waits_for_the_first(backbone, lab, tmp_path, calls):
    place = interrupted(backbone, lab, tmp_path, calls, 1)
    held = os.open(place, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    second = threading.Thread(target=backbones.cached, args=(backbone, lab, tmp_path), daemon=True)
    second.start()
    second.join(0.5)
    assert second.is_alive() and calls.taken() == []
    os.close(held)
    second.join(60)
    assert calls.taken() == ALL[1:]
    assert_features(backbones.cached(backbone, lab, tmp_path), backbone, lab)


def test_features_that_half_precision_does_not_hold_are_refused(backbone, lab, tmp_path):
    for much in (1e6, np.nan):
        loud = keras.Model(backbone.input, keras.layers.Rescaling(much)(backbone.output), name="loud")
        with pytest.raises(ValueError, match=r"features of loud up to (\d.*|nan) do not fit float16"):
            backbones.cached(loud, lab, tmp_path)


def test_feature_maps_keep_their_shape(lab, tmp_path):
    inputs = keras.Input((8, 8, 1))
    backbone = keras.Model(inputs, keras.layers.Conv2D(5, 3, strides=2)(inputs))
    found = backbones.cached(backbone, lab[:3], tmp_path)
    assert found.shape == (3, 3, 3, 5)
    np.testing.assert_allclose(found, backbone(pipeline.split(lab[:3])[0]), rtol=2**-10, atol=1e-4)


def other_weights(backbone, lab):
    other = network()
    other.set_weights([weight + np.float32(0.01) for weight in backbone.get_weights()])
    return other, lab


def one_pixel(backbone, lab):
    other = lab.copy()
    other[7, 3, 3, 0] ^= 1
    return backbone, other


@pytest.mark.parametrize(
    "change",
    [
        other_weights,
        lambda backbone, lab: (network("caffe"), lab),
        one_pixel,
        lambda backbone, lab: (backbone, lab[::-1]),
        lambda backbone, lab: (backbone, lab[:9]),
    ],
    ids=["weights", "preprocessing", "a pixel", "the order", "a picture less"],
)
def test_another_network_or_another_set_is_computed_anew(backbone, lab, tmp_path, calls, change):
    first = np.array(backbones.cached(backbone, lab, tmp_path))
    calls.clear()
    changed = change(backbone, lab)
    assert_features(backbones.cached(*changed, tmp_path), *changed)
    assert sum(calls.taken()) == len(changed[1])
    np.testing.assert_array_equal(backbones.cached(backbone, lab, tmp_path), first)  # beside it, not in its place
    assert calls == []


def test_colors_do_not_matter(backbone, lab, tmp_path, calls):
    backbones.cached(backbone, lab, tmp_path)
    backbones.cached(backbone, lab * np.int16([1, 0, 0]), tmp_path)
    assert calls == ALL


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_cache_goes_on_after_the_last_whole_batch(backbone, lab, tmp_path, calls, after):
    interrupted(backbone, lab, tmp_path, calls, after)
    assert_features(backbones.cached(backbone, lab, tmp_path), backbone, lab)
    assert calls == ALL[after:]


def test_what_is_said_to_be_done_is_on_disk_before(backbone, lab, tmp_path, calls, monkeypatch):
    seen, flushed, write, flush = [], [], backbones.files.write, np.memmap.flush

    def counted(features_map):
        flushed.append(features_map)
        flush(features_map)

    def checked(note, text):
        done = json.loads(text)["done"]
        seen.append(done)
        assert len(flushed) == len(seen)
        on_disk = np.load(note.with_name("features.part.npy"))  # read, not mapped
        assert_features(on_disk[:done], backbone, lab[:done])
        write(note, text)

    monkeypatch.setattr(np.memmap, "flush", counted)
    monkeypatch.setattr(backbones.files, "write", checked)
    backbones.cached(backbone, lab, tmp_path)
    assert seen == [4, 8, 10]


def test_a_cache_stopped_after_its_last_batch_needs_no_network(backbone, lab, tmp_path, calls, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", stopped)
        backbones.cached(backbone, lab, tmp_path)
    assert calls.taken() == ALL
    assert_features(backbones.cached(backbone, lab, tmp_path), backbone, lab)
    assert calls == []


def truncate(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_a_part_cut_short_is_reported_and_computed_anew(backbone, lab, tmp_path, calls, capsys, share):
    """Opened for writing, NumPy would fill it up with zeros."""
    place = interrupted(backbone, lab, tmp_path, calls, 2)
    truncate(place / "features.part.npy", share)
    assert_features(backbones.cached(backbone, lab, tmp_path), backbone, lab)
    assert calls == ALL
    assert "features.part.npy cannot be read (" in capsys.readouterr().out


@pytest.mark.parametrize(
    "note",
    [None, "", "{", "[]", "\udcff", '{"done": 8}'],
    ids=["missing", "empty", "cut", "a list", "no text", "without a key"],
)
def test_a_part_without_a_note_is_computed_anew(backbone, lab, tmp_path, calls, note):
    place = interrupted(backbone, lab, tmp_path, calls, 2)
    (place / "progress.json").unlink()
    if note is not None:
        (place / "progress.json").write_text(note, errors="surrogateescape")
    assert_features(backbones.cached(backbone, lab, tmp_path), backbone, lab)
    assert calls == ALL


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_features_cut_short_are_reported_and_computed_anew(backbone, lab, tmp_path, calls, capsys, share):
    backbones.cached(backbone, lab, tmp_path)
    calls.clear()
    (place,) = tmp_path.iterdir()
    truncate(place / "features.npy", share)
    assert_features(backbones.cached(backbone, lab, tmp_path), backbone, lab)
    assert calls.taken() == ALL
    assert "features.npy cannot be read (" in capsys.readouterr().out
    backbones.cached(backbone, lab, tmp_path)
    assert calls == []


@pytest.mark.parametrize("loss", [Path.unlink, truncate], ids=["gone", "cut short"])
def test_the_note_of_lost_features_does_not_pass_for_that_of_new_ones(backbone, lab, tmp_path, calls, loss):
    """It says that all are done, and the new file is still empty when it is stopped."""
    backbones.cached(backbone, lab, tmp_path)
    calls.clear()
    (place,) = tmp_path.iterdir()
    loss(place / "features.npy")
    interrupted(backbone, lab, tmp_path, calls, 0)
    assert_features(backbones.cached(backbone, lab, tmp_path), backbone, lab)
    assert calls == ALL


@pytest.mark.parametrize("after", [2, 3], ids=["a part", "whole"])
def test_the_cache_of_another_set_under_this_ones_name_is_not_taken(backbone, lab, tmp_path, calls, after):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    backbones.cached(backbone, lab, mine)
    calls.clear()
    if after == 3:
        backbones.cached(backbone, lab[::-1], theirs)
    else:
        interrupted(backbone, lab[::-1], theirs, calls, after)
    calls.clear()
    (key,), (other,) = mine.iterdir(), theirs.iterdir()
    assert key.name != other.name
    other.rename(theirs / key.name)
    assert_features(backbones.cached(backbone, lab, theirs), backbone, lab)
    assert calls == ALL


def test_features_of_another_shape_or_type_are_not_taken(backbone, lab, tmp_path, calls):
    found = np.array(backbones.cached(backbone, lab, tmp_path))
    (place,) = tmp_path.iterdir()
    for wrong in (found[:9], found[:, :2], np.float32(found)):
        calls.clear()
        np.save(place / "features.npy", wrong)
        np.testing.assert_array_equal(backbones.cached(backbone, lab, tmp_path), found)
        assert calls == ALL
