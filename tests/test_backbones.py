"""ImageNet networks: the range that reaches them, frozenness, their weights from everywhere, saving and loading."""

import contextlib
import functools
import hashlib
import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import cv2
import h5py
import keras
import numpy as np
import pytest
import skimage.color
from keras import ops

from colorlib.models import backbones

SMALL = "mobilenet_0.25"
CUT = "conv_pw_1_relu"  # early: with random weights MobileNet's last features are 1e-16
FILE = "mobilenet_2_5_224_tf_no_top.h5"
MODULES = {
    "vgg16": keras.applications.vgg16,
    "resnet50": keras.applications.resnet50,
    "inception_resnet_v2": keras.applications.inception_resnet_v2,
    "mobilenet_0.75": keras.applications.mobilenet,
    "mobilenet_0.25": keras.applications.mobilenet,
    "squeezenet": keras.applications.vgg16,  # trained in Caffe, as VGG16 was
}


def grey(lightness):
    """Grey sRGB (..., 3) in 0..255 of lightness (..., 1), by scikit-image."""
    return 255 * skimage.color.lab2rgb(np.concatenate([50 * (lightness + 1), 0 * lightness, 0 * lightness], -1))


def preprocessed(model, pictures):
    """What reaches the network."""
    return ops.convert_to_numpy(keras.Model(model.input, model.get_layer("preprocess").output)(pictures))


def features(model, pictures, **kwargs):
    return ops.convert_to_numpy(model(pictures, **kwargs))


def tiny_network(*, input_shape, **_):
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(2, 1, name="conv")(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization()(x))


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """A file of MobileNet 0.25's weights, random ones, as keras.applications lays it out."""
    path = tmp_path_factory.mktemp("weights") / FILE
    keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(32, 32, 3)).save(path)
    return path


@pytest.fixture
def content(tmp_path):
    """The bytes of a weights file of the tiny network."""
    tiny_network(input_shape=(32, 32, 3)).save(tmp_path / "content.h5")
    return (tmp_path / "content.h5").read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keras's cache folder, empty."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


@pytest.fixture
def offline(cache, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("the network is away")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return cache


@pytest.fixture
def tiny(monkeypatch):
    """Replaces every network by one layer; returns the arguments that the builders get."""
    calls = []

    def build(**kwargs):
        calls.append(kwargs)
        return tiny_network(**kwargs)

    for name, (_, *rest) in backbones._NETWORKS.items():
        monkeypatch.setitem(backbones._NETWORKS, name, (build, *rest))
    return calls


@pytest.fixture
def lightness():
    return np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)


@contextlib.contextmanager
def served(monkeypatch, body, *, length=None, status=200, md5=None):
    """Serves MobileNet 0.25's file on this machine, in place of its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    redirect(monkeypatch, server.server_port, md5)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def redirect(monkeypatch, port, md5=None):
    build, scaling, *_ = backbones._NETWORKS[SMALL]
    monkeypatch.setitem(backbones._NETWORKS, SMALL, (build, scaling, f"http://127.0.0.1:{port}/x/{FILE}", md5))


@pytest.mark.parametrize("name", backbones.NAMES)
def test_each_network_sees_what_it_was_trained_on(name, tiny):
    """Black, mid-grey (L* 50, sRGB 118.9) and white, against each network's own preprocess_input."""
    pictures = np.ones((3, 8, 8, 1), np.float32) * np.array([-1, 0, 1], np.float32)[:, None, None, None]
    expected = MODULES[name].preprocess_input(grey(pictures))
    for make in (backbones.imagenet_backbone, backbones.imagenet_embedder):
        seen = preprocessed(make(name, image_size=8, weights=None), pictures)
        np.testing.assert_allclose(seen[:, :8, :8], expected, atol=0.01)
    low, high = (-1, 1) if name.startswith(("inception", "mobilenet")) else (-123.68, 255 - 103.939)
    assert (seen.min(), seen.max()) == pytest.approx((low, high), abs=0.01)


def test_lightness_becomes_the_grey_of_scikit_image(lightness, tiny):
    seen = preprocessed(backbones.imagenet_backbone(SMALL, image_size=32, weights=None), lightness)
    np.testing.assert_allclose(127.5 * (seen + 1), grey(lightness), atol=0.01)


def test_caffe_networks_see_blue_first(tiny):
    red = np.zeros((1, 4, 4, 3), np.float32)
    red[..., 0] = 1
    seen = preprocessed(backbones.feature_extractor("vgg16", ["conv"], weights=None), red)
    np.testing.assert_allclose(seen[0, 0, 0], [-103.939, -116.779, 255 - 123.68], atol=1e-3)


@pytest.mark.parametrize("image_size", [32, None])
def test_pictures_are_resized_bilinearly(lightness, tiny, image_size):
    model = backbones.imagenet_backbone(SMALL, image_size=image_size, at=48, weights=None)
    expected = np.stack([cv2.resize(picture, (48, 48)) for picture in grey(lightness)])
    np.testing.assert_allclose(127.5 * (preprocessed(model, lightness) + 1), expected, atol=0.02)
    assert tiny[0]["input_shape"] == (48, 48, 3)


def test_embedders_are_built_as_published(tiny):
    assert backbones.imagenet_embedder("inception_resnet_v2", image_size=8, weights=None).input_shape == (None, 8, 8, 1)
    backbones.imagenet_embedder("squeezenet", image_size=8, weights=None)
    inception, squeezenet = tiny
    assert (inception["include_top"], inception["input_shape"]) == (True, (299, 299, 3))
    assert squeezenet == {"include_top": False, "weights": None, "input_shape": (224, 224, 3), "pooling": "avg"}


def test_an_embedding_is_the_mean_of_the_last_features_at_length_1(lightness):
    keras.utils.set_random_seed(0)
    embedder = backbones.imagenet_embedder("squeezenet", image_size=32, weights=None)
    keras.utils.set_random_seed(0)
    backbone = backbones.imagenet_backbone("squeezenet", image_size=32, at=224, weights=None)
    embedding = features(embedder, lightness)
    assert embedding.shape == (2, 512)
    mean = features(backbone, lightness).mean((1, 2))
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(embedding, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow  # seconds to build
def test_inception_embeds_into_the_probabilities_of_1000_classes():
    embedder = backbones.imagenet_embedder("inception_resnet_v2", image_size=32, weights=None)
    assert embedder.output_shape == (None, 1000)
    assert embedder.get_layer("network").layers[-1].activation is keras.activations.softmax
    assert embedder.count_params() == 55_873_736  # as Keras documents


@pytest.mark.parametrize(
    "name, parameters",
    [("vgg16", 14_714_688), ("mobilenet_0.75", 1_832_976), (SMALL, 218_544), ("squeezenet", 1_235_496 - 513_000)],
)
def test_networks_have_the_published_parameters(name, parameters):
    """Without their tops; SqueezeNet 1.1 has 1,235,496 with its last convolution, 512 x 1000 + 1000."""
    model = backbones.imagenet_backbone(name, image_size=64, weights=None)
    assert model.count_params() == parameters
    assert [layer.name for layer in model.layers] == ["lightness", "preprocess", "network"]


def test_a_backbone_may_be_cut():
    model = backbones.imagenet_backbone("resnet50", image_size=128, layer="conv2_block1_out", weights=None)
    assert model.output_shape == (None, 32, 32, 256)


def test_a_perceptual_loss_reaches_the_picture():
    """Any size, a list of maps, and a gradient: what is not a function of the picture cannot be trained on it."""
    extractor = backbones.feature_extractor("squeezenet", ("fire3_concat", "fire5_concat"), weights=None)
    picture = np.random.default_rng(0).random((1, 48, 64, 3)).astype(np.float32)
    first, second = extractor(picture)
    assert (first.shape, second.shape) == ((1, 11, 15, 128), (1, 5, 7, 256))
    inputs = keras.Input((48, 64, 3))
    colors = keras.layers.Dense(3, use_bias=False, kernel_initializer="identity")
    model = keras.Model(inputs, extractor(colors(inputs))[0])
    model.compile("sgd", "mse")
    before = extractor.get_weights()
    model.fit(picture, 0 * features(model, picture), verbose=0)
    assert np.abs(colors.get_weights()[0] - np.eye(3)).max() > 1e-6
    np.testing.assert_equal(extractor.get_weights(), before)


def test_vgg16_gives_the_layers_of_johnson():
    extractor = backbones.feature_extractor(weights=None)
    maps = [tuple(each.shape) for each in extractor(np.zeros((1, 32, 32, 3), np.float32))]
    assert maps == [(1, 32, 32, 64), (1, 16, 16, 128), (1, 8, 8, 256)]


def test_a_backbone_is_frozen_while_a_head_is_trained(lightness):
    """Weights and BatchNorm statistics; the last layer would show a change in any."""
    backbone = backbones.imagenet_backbone(SMALL, image_size=32, layer=CUT, weights=None)
    assert backbone.trainable_weights == []
    before = features(backbone, lightness)
    assert before.std() > 0.01
    np.testing.assert_array_equal(features(backbone, lightness, training=True), before)
    model = keras.Sequential([backbone, keras.layers.Conv2D(2, 1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(lightness, np.ones((2, 16, 16, 2)), epochs=2, verbose=0)
    np.testing.assert_array_equal(features(backbone, lightness), before)
    assert len(model.trainable_weights) == 2


def test_a_fresh_process_loads_what_was_composed(lightness, tiny, tmp_path):
    backbone = backbones.imagenet_backbone(SMALL, image_size=32, at=64, weights=None)
    inputs = keras.Input((32, 32, 1))
    keras.Model(inputs, keras.layers.Conv2D(2, 1)(backbone(inputs))).save(tmp_path / "model.keras")
    np.save(tmp_path / "lightness.npy", lightness)
    script = (
        "import colorlib.models.backbones, keras, numpy as np; model = keras.saving.load_model('model.keras'); "
        "backbone = model.get_layer('backbone'); print(len(model.trainable_weights), len(backbone.trainable_weights)); "
        "np.save('features.npy', backbone(np.load('lightness.npy'), training=True))"
    )
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "0"]
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), features(backbone, lightness), atol=1e-5)


def test_the_input_layer_is_made_again_from_its_config():
    layer = backbones.ImageNetInput("caffe", 48)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (again.scaling, again.size) == ("caffe", 48)


def test_a_file_is_loaded_and_named(mobilenet, lightness):
    make = functools.partial(backbones.imagenet_backbone, SMALL, image_size=32, layer=CUT)
    first, second, random = make(weights=mobilenet), make(weights=str(mobilenet)), make(weights=None)
    assert (first.origin, random.origin) == (FILE, "random")
    np.testing.assert_array_equal(features(first, lightness), features(second, lightness))
    assert np.abs(features(first, lightness) - features(random, lightness)).max() > 0.01


def test_squeezenet_loads_the_published_layout(tmp_path):
    """Names with /, layers without weights, kernels named after nothing: what the published file has."""
    model = backbones.imagenet_backbone("squeezenet", image_size=48, weights=None)
    path = tmp_path / "squeezenet.h5"
    rng, kernels = np.random.default_rng(0), []
    with h5py.File(path, "w") as file:
        names = []
        for layer in model.get_layer("network").layers:
            names.append(layer.name.replace("_", "/", 1))
            group = file.create_group(names[-1])
            arrays = [rng.normal(size=weight.shape).astype(np.float32) for weight in layer.weights]
            group.attrs["weight_names"] = [f"uniform{len(kernels) + i}".encode() for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group[f"uniform{len(kernels) + i}"] = array
            kernels += arrays
        file.attrs["layer_names"] = [name.encode() for name in names]
    assert "fire2/squeeze1x1" in names
    convolutions = [layer for layer in model.get_layer("network").layers if layer.weights]
    assert {layer.activation for layer in convolutions} == {keras.activations.relu}
    loaded = backbones.imagenet_backbone("squeezenet", image_size=48, weights=path)
    for weight, kernel in zip(loaded.get_weights(), kernels, strict=True):
        np.testing.assert_array_equal(weight, kernel)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda content: b"", "is empty"),
        (lambda content: b"\n<!DOCTYPE html><html>404", "is an HTML page, not HDF5"),
        (lambda content: b"version https://git-lfs.github.com/spec/v1", "is not HDF5"),
        (lambda content: content[:-1000], "is cut off or damaged .*truncated file"),
        (lambda content: content[:5000], "is cut off or damaged .*truncated file"),
        (lambda content: content.replace(b"SNOD", b"XXXX"), "is cut off or damaged"),
    ],
    ids=["empty", "html", "text", "end cut off", "start only", "damaged"],
)
def test_a_bad_file_is_reported(content, change, message, tmp_path, offline, tiny, capsys):
    """Given as a path, and found in the cache: then by "auto" too, without falling back to random weights."""
    for weights, path in (
        (tmp_path / "bad.h5", tmp_path / "bad.h5"),
        ("imagenet", offline / FILE),
        ("auto", offline / FILE),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(change(content))
        with pytest.raises(backbones.WeightsError, match=f"(?s){path.name} {message}.*expected the file of .*/{FILE}"):
            backbones.imagenet_backbone(SMALL, image_size=32, weights=weights)
    assert capsys.readouterr().out == ""


def test_a_file_of_another_network_is_never_loaded_in_part(mobilenet, tmp_path):
    for name in ("mobilenet_0.75", "squeezenet", "vgg16"):  # other widths, fewer layers, other layers
        with pytest.raises(
            backbones.WeightsError, match=f"{FILE} is of another network .*mismatch.*; expected .*/{name[:5]}"
        ):
            backbones.imagenet_backbone(name, image_size=48, weights=mobilenet)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "other.h5")
    with pytest.raises(backbones.WeightsError, match="another network"):
        backbones.imagenet_backbone(SMALL, image_size=32, weights=tmp_path / "other.h5")


@pytest.mark.parametrize("weights", ["missing.h5", "imagnet", "."])
def test_a_missing_file_is_reported(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        backbones.WeightsError, match=f"^{weights}: no such file; weights are 'imagenet', 'auto', None or"
    ):
        backbones.imagenet_backbone(SMALL, image_size=32, weights=weights)


def test_only_files_named_h5_are_read(mobilenet, tmp_path):
    other = shutil.copy(mobilenet, tmp_path / "weights.bin")
    with pytest.raises(backbones.WeightsError, match="weights.bin: Keras reads weights from files named .h5 only"):
        backbones.imagenet_backbone(SMALL, image_size=32, weights=other)


@pytest.mark.parametrize("name", ["mobilenet_0.75", "squeezenet", "vgg16"])
def test_random_weights_are_the_same_each_time_and_keep_a_signal(name, lightness):
    first, again = (backbones.imagenet_backbone(name, image_size=32, at=64, weights=None) for _ in range(2))
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    found = features(first, lightness)
    assert 1e-2 < np.abs(found).max() < 6e4 and found.std() > 1e-3  # neither gone in half precision nor beyond it


def test_offline_says_which_file_to_put_where(offline, tiny):
    with pytest.raises(backbones.DownloadError) as error:
        backbones.imagenet_embedder("inception_resnet_v2", image_size=32, weights="imagenet")
    file = "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5"
    address = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_resnet_v2/{file}"
    message = (
        f"{address} cannot be downloaded (the network is away); if you are offline, get it elsewhere and put it at "
    )
    assert str(error.value) == message + str(offline / file)
    assert tiny == [] and not offline.exists()  # at once: before a network is built


def test_auto_falls_back_with_a_notice(offline, tiny, capsys):
    model = backbones.imagenet_backbone(SMALL, image_size=32)
    assert model.origin == "random"
    said = capsys.readouterr().out
    assert said.startswith("NOTICE: RANDOM weights") and "the network is away" in said and str(offline / FILE) in said


@pytest.mark.parametrize("weights", ["imagenet", "auto"])
def test_a_cached_file_needs_no_network(weights, content, offline, tiny, capsys):
    offline.mkdir(parents=True)
    (offline / FILE).write_bytes(content)
    assert backbones.imagenet_backbone(SMALL, image_size=32, weights=weights).origin == "imagenet"
    assert capsys.readouterr().out == ""


def test_a_cached_file_must_be_the_published_one(content, offline):
    """VGG16's file has a checksum; this one is whole HDF5 with another."""
    path = offline / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(backbones.WeightsError, match="another file .its md5 is not 6d6bbae143d832006294945121d1f1fc"):
        backbones.imagenet_backbone("vgg16", image_size=32)


def test_weights_are_downloaded_once(content, cache, tiny, monkeypatch):
    make = functools.partial(backbones.imagenet_backbone, SMALL, image_size=32, weights="imagenet")
    with served(monkeypatch, content, md5=hashlib.md5(content).hexdigest()):
        assert make().origin == "imagenet"
    assert [(path.name, path.read_bytes()) for path in cache.iterdir()] == [(FILE, content)]
    assert make().origin == "imagenet"  # the server is gone


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"md5": "0" * 32}, "md5 is not 000"),
        ({"length": 10**7}, "cannot be downloaded .*IncompleteRead"),
        ({"status": 503}, "cannot be downloaded .Service Unavailable"),
        ({"body": b"<html>Please log in"}, "is an HTML page"),
    ],
    ids=["checksum", "cut off", "503", "portal"],
)
def test_a_bad_download_leaves_nothing(kwargs, message, content, cache, tiny, monkeypatch, capsys):
    with served(monkeypatch, **{"body": content} | kwargs):
        with pytest.raises(backbones.DownloadError, match=message):
            backbones.imagenet_backbone(SMALL, image_size=32, weights="imagenet")
        assert backbones.imagenet_backbone(SMALL, image_size=32, weights="auto").origin == "random"
    assert "NOTICE" in capsys.readouterr().out
    assert list(cache.glob("*")) == []


@pytest.mark.parametrize("said", [b"", b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nAnd then"])
def test_a_server_that_falls_silent_is_left_in_time(said, cache, monkeypatch):
    monkeypatch.setattr(backbones, "TIMEOUT", 0.3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        redirect(monkeypatch, server.getsockname()[1])
        callers = []

        def accept():
            callers.append(server.accept()[0])
            callers[0].sendall(said)

        threading.Thread(target=accept, daemon=True).start()
        start = time.monotonic()
        with pytest.raises(backbones.DownloadError, match="timed out"):
            backbones.imagenet_backbone(SMALL, image_size=32, weights="imagenet")
        assert 0.2 < time.monotonic() - start < 3
        callers[0].close()


def test_a_slow_search_for_the_host_is_left_in_time(cache, monkeypatch):
    """urllib has no time-out for it, and one for each of the host's addresses."""
    monkeypatch.setattr(backbones, "TIMEOUT", 0.3)
    found = threading.Event()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: found.wait(20))
    start = time.monotonic()
    with pytest.raises(backbones.DownloadError, match="timed out"):
        backbones.imagenet_backbone(SMALL, image_size=32, weights="imagenet")
    assert time.monotonic() - start < 3
    found.set()


def test_a_closed_port_fails_at_once(cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    redirect(monkeypatch, port)
    start = time.monotonic()
    with pytest.raises(backbones.DownloadError, match="refused"):
        backbones.imagenet_backbone(SMALL, image_size=32, weights="imagenet")
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("make", [backbones.imagenet_backbone, backbones.imagenet_embedder])
def test_an_unknown_network_is_an_error(make):
    with pytest.raises(ValueError, match="unknown network 'vgg61'; known are vgg16, resnet50, .*squeezenet$"):
        make("vgg61", image_size=32, weights=None)


def test_an_unknown_layer_or_a_small_picture_is_an_error():
    with pytest.raises(ValueError, match="fire3/concat.*fire3_concat"):
        backbones.imagenet_backbone("squeezenet", image_size=64, layer="fire3/concat", weights=None)
    with pytest.raises(ValueError, match="No such layer: block9.*block1_conv1"):
        backbones.feature_extractor("vgg16", ["block1_conv2", "block9"], weights=None)
    with pytest.raises(ValueError, match="at least 32x32"):
        backbones.imagenet_backbone(SMALL, image_size=16, weights=None)
