"""Builders: the published systems layer by layer, the contract, any size and precision, the dials, other backends."""

import importlib.util
import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
from keras import layers, ops

from colorlib import color, colorize, models
from colorlib.models import pretrained, scratch
from colorlib.models import vivid as vivid_module

WIDTHS = (4, 8, 8, 8)
TENSORFLOW = keras.backend.backend() == "tensorflow"
ONCE = pytest.mark.skipif(not TENSORFLOW, reason="TensorFlow's, or the same on every backend")

# Of each published network, called with its size alone: all its parameters, the trained ones, and its steps. Of a
# convolution: kernel, side and width of what it returns, activation; of what changes the side or joins: side, width.
PUBLISHED = {
    ("face_autoencoder", 224, 6_219_666, 6_219_538): (
        "conv3 112x64 relu, norm, conv3 112x128 relu, conv3 56x128 relu, conv3 56x256 relu, conv3 28x256 relu, "
        "conv3 28x512 relu, conv3 28x512 relu, conv3 28x256 relu, conv3 28x128 relu, up 56x128, conv3 56x64 relu, "
        "up 112x64, conv3 112x32 relu, conv3 112x16 relu, conv3 112x2 tanh, up 224x2"
    ),
    ("skip_autoencoder", 128, 820_770, 819_234): (
        "conv3 128x16, leaky 0.3, conv3 128x32, leaky 0.3, norm, pool 64x32, conv3 64x64, leaky 0.3, norm, "
        "pool 32x64, conv3 32x128, leaky 0.3, norm, conv3 32x256, leaky 0.3, norm, up 64x256, conv3 64x128, "
        "leaky 0.3, norm, up 128x128, conv3 128x64, leaky 0.3, norm, join 128x65, conv3 128x64, leaky 0.3, norm, "
        "conv3 128x32, leaky 0.3, norm, conv3 128x2 tanh"
    ),
    ("unet", 256, 54_419_714, 54_409_858): (
        "conv4 128x64, leaky 0.2, conv4 64x128, norm, leaky 0.2, conv4 32x256, norm, leaky 0.2, conv4 16x512, "
        "norm, leaky 0.2, conv4 8x512, norm, leaky 0.2, conv4 4x512, norm, leaky 0.2, conv4 2x512, norm, "
        "leaky 0.2, conv4 1x512, relu, back4 2x512, norm, join 2x1024, relu, back4 4x512, norm, drop 0.5, "
        "join 4x1024, relu, back4 8x512, norm, drop 0.5, join 8x1024, relu, back4 16x512, norm, drop 0.5, "
        "join 16x1024, relu, back4 32x256, norm, join 32x512, relu, back4 64x128, norm, join 64x256, relu, "
        "back4 128x64, norm, join 128x128, relu, back4 256x2 tanh"
    ),
    ("conv_autoencoder", 128, 11_021_570, 11_021_570): (
        "conv3 128x64 relu, conv4 64x128 relu, conv4 32x256 relu, conv3 32x512 relu, conv3 32x512 relu, "
        "conv3 32x512 relu, conv3 32x512 relu, back4 64x256 relu, back4 128x2"
    ),
    ("simple_conv_autoencoder", 128, 5_494, 5_494): (
        "conv4 64x16 relu, conv4 32x8 relu, conv3 32x4 relu, conv3 32x8 relu, back4 64x16 relu, back4 128x2"
    ),
}
KINDS = {
    layers.Conv2D: "conv",
    layers.Conv2DTranspose: "back",
    layers.UpSampling2D: "up",
    layers.MaxPooling2D: "pool",
    layers.Concatenate: "join",
    layers.Reshape: "reshape",
    layers.BatchNormalization: "norm",
    layers.LeakyReLU: "leaky",
    layers.ReLU: "relu",
    layers.Dropout: "drop",
}


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def steps(model):
    """A network's layers in order, as in PUBLISHED."""
    told = []
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        step, own = KINDS[type(layer)], vars(layer)
        if step in ("leaky", "drop"):
            step += f" {own.get('negative_slope', own.get('rate')):g}"
        elif step not in ("norm", "relu"):
            step += f"{own['kernel_size'][0] if 'kernel_size' in own else ''}"
            step += f" {layer.output.shape[2]}x{layer.output.shape[3]}"
            activation = getattr(own.get("activation"), "__name__", "linear")
            step += "" if activation == "linear" else f" {activation}"
        told.append(step)
    return ", ".join(told)


def frozen(size, stride, *, pooled=False, outputs=6):
    """A small frozen network behind its preprocessing, composed as `transfer` does, of that stride."""
    seen = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, stride, "same", activation="relu", name="first")(seen)
    x = layers.Conv2D(outputs, 1, name="last")(layers.BatchNormalization(name="middle")(x))
    network = keras.Model(seen, layers.GlobalAveragePooling2D()(x) if pooled else x, name="network")
    network.trainable = False
    inputs = keras.Input((size, size, 1), name="lightness")
    return keras.Model(inputs, network(layers.Concatenate(name="preprocess")([inputs] * 3)))


def small(build, size):
    """A colorizer on the backbone that is trained from scratch, which gives one map."""
    return build(models.small_backbone(size, widths=WIDTHS), widths=())


def pyramid(size):
    """A backbone that gives three maps, at strides 2, 4 and 8."""
    inputs = scratch.lightness_input(size, 8)
    maps = []
    x = inputs
    for width in (4, 6, 8):
        x = layers.Conv2D(width, 3, 2, "same", activation="relu")(x)
        maps.append(x)
    return keras.Model(inputs, maps)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def vivid():
    return small(models.vivid_colorizer, 32)


@pytest.fixture
def lightness():
    return np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)


@ONCE
@pytest.mark.parametrize(("name", "size", "total", "trained"), PUBLISHED)
def test_a_builder_called_with_the_published_size_gives_the_published_network(name, size, total, trained):
    model = getattr(models, name)(size)
    assert (model.count_params(), count(model.trainable_weights)) == (total, trained)
    assert steps(model) == PUBLISHED[name, size, total, trained]


@ONCE
def test_the_vgg16_colorizer_is_the_published_decoder_on_the_whole_frozen_network():
    model = models.vgg16_colorizer(224)
    assert count(model.trainable_weights) == 1_572_114
    assert count(model.non_trainable_weights) == 14_714_688  # VGG16 without its top
    assert steps(model.get_layer("head")) == (
        "conv3 7x256 relu, conv3 7x128 relu, up 14x128, conv3 14x64 relu, up 28x64, conv3 28x32 relu, up 56x32, "
        "conv3 56x16 relu, up 112x16, conv3 112x2 tanh, up 224x2"
    )


@ONCE
def test_the_fusion_colorizer_repeats_the_embedding_at_every_place():
    model = models.fusion_colorizer(256, frozen(256, 32, pooled=True, outputs=1000))
    assert count(model.trainable_weights) == model.get_layer("head").count_params() == 6_541_202
    assert steps(model.get_layer("head")) == (
        "conv3 128x64 relu, conv3 128x128 relu, conv3 64x128 relu, conv3 64x256 relu, conv3 32x256 relu, "
        "conv3 32x512 relu, conv3 32x512 relu, reshape 1x1000, conv3 32x256 relu, up 32x1000, join 32x1256, "
        "conv1 32x256 relu, conv3 32x128 relu, up 64x128, "
        "conv3 64x64 relu, up 128x64, conv3 128x32 relu, conv3 128x16 relu, conv3 128x2 tanh, up 256x2"
    )


@pytest.mark.slow
def test_the_fusion_colorizer_alone_takes_the_frozen_inception_resnet():
    model = models.fusion_colorizer(256)
    assert count(model.trainable_weights) == 6_541_202
    assert count(model.non_trainable_weights) == 55_873_736  # InceptionResNetV2 with its top


@ONCE
def test_the_resnet50_colorizer_trains_all_but_the_first_ten_layers():
    model = models.resnet50_colorizer(128)
    assert model.count_params() == 514_338
    network = model.get_layer("backbone").get_layer("network")
    assert network.output.shape == (None, 32, 32, 256)
    assert [layer.trainable for layer in network.layers[:12]] == [False] * 10 + [True] * 2
    assert [layer.name for layer in network.layers if layer.trainable_weights] == [
        f"conv2_block1_{part}" for part in ("2_conv", "2_bn", "0_conv", "3_conv", "0_bn", "3_bn")
    ]
    assert steps(model.get_layer("head")) == (
        "up 64x256, conv3 64x128, leaky 0.3, norm, up 128x128, conv3 128x64, leaky 0.3, norm, join 128x3, join 128x67, "
        "conv3 128x64, leaky 0.3, norm, conv3 128x32, leaky 0.3, norm, conv3 128x2 tanh"
    )


CONTRACT = {
    "unet": (lambda size: models.unet(size, downsamplings=3, filters=4), "multiple of 8"),
    "vivid": (lambda size: small(models.vivid_colorizer, size), "multiple of 16"),
    "vivid u": (lambda size: models.vivid_colorizer(pyramid(size), widths=(8, 8), smooth=True), "30 is not"),
    "regression": (lambda size: small(models.regression_colorizer, size), "multiple of 16"),
    "face": (lambda size: models.face_autoencoder(size, filters=8), "multiple of 8"),
    "skip": (lambda size: models.skip_autoencoder(size, filters=4), "multiple of 4"),
    "conv": (lambda size: models.conv_autoencoder(size, filters=2), "multiple of 4"),
    "simple conv": (lambda size: models.simple_conv_autoencoder(size, filters=4), "multiple of 4"),
    "vgg16": (lambda size: models.vgg16_colorizer(size, frozen(size, 8), filters=16), "cannot be doubled to 30"),
    "fusion": (lambda size: models.fusion_colorizer(size, frozen(size, 8, pooled=True), filters=8), "multiple of 8"),
    "resnet50": (lambda size: models.resnet50_colorizer(size, frozen(size, 4), filters=8), "side 8 is not 30 / 4"),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_every_colorizer_keeps_the_contract(name, lightness, tmp_path):
    build, message = CONTRACT[name]
    model = build(32)
    for weight in model.trainable_weights:  # far from the small ones that training starts with
        weight.assign(2 * weight)
    ab = ops.convert_to_numpy(model(lightness))
    assert ab.shape == (2, 32, 32, 2) and ab.dtype == np.float32
    assert name.endswith("conv") or np.abs(ab).max() <= 1
    assert np.abs(ab[0] - ab[1]).max() > 1e-4  # it looks at the picture
    model.save(tmp_path / "model.keras")
    for load in (keras.saving.load_model, colorize.load):
        np.testing.assert_allclose(models.predict(load(tmp_path / "model.keras"), lightness), ab, atol=1e-6)
    with pytest.raises(ValueError, match=message):
        build(30)


@pytest.mark.parametrize("name", ["vgg16", "fusion", "resnet50"])
def test_fitting_leaves_the_frozen_layers_as_they_were(name, lightness, monkeypatch):
    monkeypatch.setattr(pretrained, "FROZEN", 2)  # the stand-in has fewer than ten layers
    colorizer = CONTRACT[name][0](32)
    before = {weight.path: ops.convert_to_numpy(weight) for weight in colorizer.weights}
    colorizer.compile(keras.optimizers.Adam(0.05), "mean_squared_error", run_eagerly=TENSORFLOW)
    colorizer.fit(lightness, np.full((2, 32, 32, 2), 0.3, np.float32), verbose=0)
    found = {each.path for each in colorizer.weights if (ops.convert_to_numpy(each) != before[each.path]).any()}
    backbone = {weight.path for weight in colorizer.get_layer("backbone").weights}
    assert {weight.path for weight in colorizer.get_layer("head").weights} <= found
    # Of ResNet50's stand-in the input and the first layer are frozen; moving averages of a frozen layer stay, too.
    trained = {path for path in backbone if path.startswith(("middle", "last"))} if name == "resnet50" else set()
    assert found & backbone == trained and len(backbone) == 8 and len(trained) in (0, 6)


def test_a_backbone_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"the backbone reads \(64, 64, 1\), the pictures are \(32, 32, 1\)"):
        models.vgg16_colorizer(32, frozen(64, 8))


def test_smoothing_brings_one_color_to_one_thing_and_stops_at_edges():
    """The smoothed shares are the geometric mean of those of like lightness around."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 16, 16, 5)).astype(np.float32)
    lightness = np.full((1, 64, 64, 1), -0.5, np.float32)
    lightness[:, :, 32:] = 0.5  # an edge of 50 L* down the middle
    layer = vivid_module.SmoothLogits()
    smooth = ops.convert_to_numpy(layer([logits, lightness]))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer([logits, lightness], training=True)), logits)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def mean_of_nine(maps, row, column, distance):
        around = (-distance, 0, distance)
        return np.mean([maps(row + i, column + j) for i in around for j in around], axis=0)

    def once(row, column):
        return mean_of_nine(lambda i, j: logs[0, i, j], row, column, 1)

    np.testing.assert_allclose(smooth[0, 6, 4], mean_of_nine(once, 6, 4, 2), atol=1e-5)
    left = ops.convert_to_numpy(layer([logits[:, :, :8], lightness[:, :, :32]]))
    np.testing.assert_allclose(smooth[:, :, :8], left, atol=1e-5)


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def half_precision(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", [*CONTRACT, "vanilla"])
def test_colors_are_float32_under_any_policy(name, half_precision, lightness):
    build = CONTRACT[name][0] if name in CONTRACT else lambda size: models.vanilla_autoencoder(size, widths=(4, 8))
    model = build(16)
    pictures = np.repeat(lightness[:, :16, :16], model.input_shape[-1], axis=-1)
    ab = ops.convert_to_numpy(model(pictures))
    assert ab.dtype == np.float32 and np.isfinite(ab).all()
    colors = ab[ab != 0]
    assert colors.size and (np.float16(colors) != colors).mean() > 0.9  # not rounded to half precision at the end
    if name.startswith("vivid"):
        assert ops.convert_to_numpy(models.bin_logits(model)(pictures)).dtype == np.float32
        with_lightness = models.with_lightness(model)
        np.testing.assert_array_equal(models.predict(with_lightness, pictures), np.concatenate([pictures, ab], -1))
        for part in (with_lightness, models.bin_logits(model)):  # what trains them trains the colorizer
            assert [*map(id, part.trainable_weights)] == [*map(id, model.trainable_weights)]


def smooth_colorizer(backbone, **options):
    return models.vivid_colorizer(backbone, smooth=True, **options)


@pytest.mark.parametrize("build", [models.vivid_colorizer, smooth_colorizer, models.regression_colorizer])
def test_a_model_of_any_size_predicts_at_two_sizes_in_a_row(build, tmp_path):
    """Also an exported one. Its small ab is enlarged by OpenCV, too."""
    model = small(build, None)
    fourth = keras.Model(model.input, model.get_layer("ab").input)
    predictors = [lambda pictures: model.predict(pictures, verbose=0)]
    if TENSORFLOW:
        model.export(tmp_path, verbose=False)
        predictors.append(keras.layers.TFSMLayer(tmp_path, call_endpoint="serve"))
    for height, width in ((48, 32), (16, 80)):
        pictures = np.random.default_rng(0).uniform(-1, 1, (1, height, width, 1)).astype(np.float32)
        expected = cv2.resize(models.predict(fourth, pictures)[0], (width, height))
        for predictor in predictors:
            np.testing.assert_allclose(predictor(pictures)[0], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed (the extra `jax`)")
def test_a_saved_model_predicts_the_same_under_jax(vivid, lightness, tmp_path):
    turned = vivid.get_layer("decode")
    turned.temperature, turned.rebalance, turned.gain, turned.prior = 0.3, 0.6, 1.2, np.arange(1, 262)
    vivid.save(tmp_path / "vivid.keras")
    np.save(tmp_path / "lightness.npy", lightness)
    script = (
        "import numpy as np; from colorlib import colorize\n"
        "np.save('ab.npy', colorize.load('vivid.keras').predict(np.load('lightness.npy'), verbose=0))"
    )
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    expected = models.predict(vivid, lightness)
    np.testing.assert_allclose(np.load(tmp_path / "ab.npy"), expected, atol=1e-4)
    assert expected.std() > 1e-2


def test_decoding_follows_the_formula(vivid):
    """The three dials against NumPy, in double precision."""
    layer = vivid.get_layer("decode")
    rng = np.random.default_rng(1)
    logits, prior = rng.normal(size=(1, 2, 2, 261)) * 3, rng.dirichlet(np.ones(261))
    layer.prior, layer.temperature, layer.rebalance, layer.gain = prior, 0.5, 0.4, 1.3
    z = (logits - 0.4 * np.log(0.999 * prior + 0.001 / 261)) / 0.5
    shares = np.exp(z - z.max(-1, keepdims=True))
    expected = 1.3 * (shares / shares.sum(-1, keepdims=True)) @ color.bins() / 128
    np.testing.assert_allclose(ops.convert_to_numpy(layer(logits.astype(np.float32))), expected, atol=1e-5)


def test_restoring_gives_each_picture_the_chroma_that_its_shares_expect():
    rng = np.random.default_rng(1)
    sure = np.array([6.0, 5.0, 0.0]).reshape(3, 1, 1, 1)  # of the third picture nothing is known
    logits = (sure * rng.normal(size=(3, 1, 1, 261)) + rng.normal(size=(3, 4, 4, 261))).astype(np.float32)

    def chroma(restore):
        ab = models.vivid.BinDecoding(restore)(logits)
        return np.linalg.norm(ops.convert_to_numpy(ab), axis=-1).mean((1, 2)) * 128

    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = (shares @ np.linalg.norm(color.bins(), axis=1)).mean((1, 2))
    found = chroma(0)
    ratio = expected / found
    assert (1.05 < ratio[:2]).all() and (ratio[:2] < 2).all() and ratio[2] > 3.5
    for restore in (0.5, 1, 1.5):
        np.testing.assert_allclose(chroma(restore), found * np.minimum(ratio**restore, 2), rtol=1e-4)


@pytest.mark.parametrize("build", [models.vivid_colorizer, models.regression_colorizer])
def test_every_weight_follows_from_the_seed(build):
    def made(seed):
        keras.utils.set_random_seed(seed)
        return small(build, 32).trainable_weights

    for one, again, other in zip(made(0), made(0), made(1), strict=True):
        one, again, other = (keras.ops.convert_to_numpy(each) for each in (one, again, other))
        np.testing.assert_array_equal(one, again)
        assert not one.any() or np.ptp(one) == 0 or (one != other).any()  # unless all are 0 or 1
