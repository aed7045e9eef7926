"""Builders: the published systems layer by layer, the contract, backbones, the dials, saving and loading."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from colorlib import color, models
from colorlib.models import losses, pretrained

WIDTHS = (4, 8, 8, 8)


# Of each published network, called with its size alone: all its parameters, the trained ones, and its steps. Of a
# convolution: kernel, side and width of what it returns, activation; of what changes the side or joins: side, width.
PUBLISHED = {
    ("face_autoencoder", 224): (
        6_219_666,
        6_219_538,
        "conv3 112x64 relu, norm, conv3 112x128 relu, conv3 56x128 relu, conv3 56x256 relu, conv3 28x256 relu, "
        "conv3 28x512 relu, conv3 28x512 relu, conv3 28x256 relu, conv3 28x128 relu, up 56x128, conv3 56x64 relu, "
        "up 112x64, conv3 112x32 relu, conv3 112x16 relu, conv3 112x2 tanh, up 224x2",
    ),
    ("skip_autoencoder", 128): (
        820_770,
        819_234,
        "conv3 128x16, leaky 0.3, conv3 128x32, leaky 0.3, norm, pool 64x32, conv3 64x64, leaky 0.3, norm, "
        "pool 32x64, conv3 32x128, leaky 0.3, norm, conv3 32x256, leaky 0.3, norm, up 64x256, conv3 64x128, "
        "leaky 0.3, norm, up 128x128, conv3 128x64, leaky 0.3, norm, join 128x65, conv3 128x64, leaky 0.3, norm, "
        "conv3 128x32, leaky 0.3, norm, conv3 128x2 tanh",
    ),
    ("unet", 256): (
        54_419_714,  # 9,856 moving averages beside the published 54,409,858
        54_409_858,
        "conv4 128x64, leaky 0.2, conv4 64x128, norm, leaky 0.2, conv4 32x256, norm, leaky 0.2, conv4 16x512, "
        "norm, leaky 0.2, conv4 8x512, norm, leaky 0.2, conv4 4x512, norm, leaky 0.2, conv4 2x512, norm, "
        "leaky 0.2, conv4 1x512, relu, back4 2x512, norm, join 2x1024, relu, back4 4x512, norm, drop 0.5, "
        "join 4x1024, relu, back4 8x512, norm, drop 0.5, join 8x1024, relu, back4 16x512, norm, drop 0.5, "
        "join 16x1024, relu, back4 32x256, norm, join 32x512, relu, back4 64x128, norm, join 64x256, relu, "
        "back4 128x64, norm, join 128x128, relu, back4 256x2 tanh",
    ),
    ("conv_autoencoder", 128): (
        11_021_570,
        11_021_570,
        "conv3 128x64 relu, conv4 64x128 relu, conv4 32x256 relu, conv3 32x512 relu, conv3 32x512 relu, "
        "conv3 32x512 relu, conv3 32x512 relu, back4 64x256 relu, back4 128x2",
    ),
    ("simple_conv_autoencoder", 128): (
        5_494,
        5_494,
        "conv4 64x16 relu, conv4 32x8 relu, conv3 32x4 relu, conv3 32x8 relu, back4 64x16 relu, back4 128x2",
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
            names = getattr(own.get("activation"), "__name__", "linear"), own.get("interpolation", "nearest")
            step += "".join(f" {name}" for name in names if name not in ("linear", "nearest"))
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


@pytest.fixture
def vivid():
    keras.utils.set_random_seed(0)
    return models.vivid_colorizer(32, widths=WIDTHS)


@pytest.fixture
def lightness():
    return np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)


@pytest.mark.parametrize(("name", "size"), PUBLISHED, ids=lambda value: str(value))
def test_a_builder_called_with_the_published_size_gives_the_published_network(name, size):
    model = getattr(models, name)(size)
    total, trained, wanted = PUBLISHED[name, size]
    assert (model.count_params(), count(model.trainable_weights)) == (total, trained)
    assert steps(model) == wanted


def test_the_skips_of_the_unet_carry_the_picture_past_its_innermost_block(lightness):
    model = models.unet(32, downsamplings=3, filters=4)
    innermost = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)][-1]
    assert innermost.output.shape[1:] == (4, 4, 16)
    innermost.set_weights([0 * innermost.get_weights()[0]])
    one, other = ops.convert_to_numpy(model(lightness))
    assert np.abs(one - other).max() > 1e-5


def test_the_vgg16_colorizer_is_the_published_decoder_on_the_whole_frozen_network():
    model = models.vgg16_colorizer(224)
    assert count(model.trainable_weights) == 1_572_114
    assert count(model.non_trainable_weights) == 14_714_688  # VGG16 without its top
    assert steps(model.get_layer("head")) == (
        "conv3 7x256 relu, conv3 7x128 relu, up 14x128, conv3 14x64 relu, up 28x64, conv3 28x32 relu, up 56x32, "
        "conv3 56x16 relu, up 112x16, conv3 112x2 tanh, up 224x2"
    )


def test_the_fusion_colorizer_repeats_the_embedding_at_every_place():
    model = models.fusion_colorizer(256, frozen(256, 32, pooled=True, outputs=1000))
    assert count(model.trainable_weights) == model.get_layer("head").count_params() == 6_541_202
    encoder, _, decoder = steps(model.get_layer("head")).partition("reshape 1x1000, ")
    assert encoder == (
        "conv3 128x64 relu, conv3 128x128 relu, conv3 64x128 relu, conv3 64x256 relu, conv3 32x256 relu, "
        "conv3 32x512 relu, conv3 32x512 relu, "
    )
    assert decoder == (
        "conv3 32x256 relu, up 32x1000, join 32x1256, conv1 32x256 relu, conv3 32x128 relu, up 64x128, "
        "conv3 64x64 relu, up 128x64, conv3 128x32 relu, conv3 128x16 relu, conv3 128x2 tanh, up 256x2"
    )


@pytest.mark.slow
def test_the_fusion_colorizer_alone_takes_the_frozen_inception_resnet():
    model = models.fusion_colorizer(256)
    assert count(model.trainable_weights) == 6_541_202
    assert count(model.non_trainable_weights) == 55_873_736  # InceptionResNetV2 with its top


def test_the_resnet50_colorizer_trains_all_but_the_first_ten_layers():
    model = models.resnet50_colorizer(128)
    assert model.count_params() == 514_338
    network = model.get_layer("backbone").get_layer("network")
    assert network.output.shape == (None, 32, 32, 256)
    assert [layer.name for layer in network.layers if layer.trainable_weights] == [
        f"conv2_block1_{part}" for part in ("2_conv", "2_bn", "0_conv", "3_conv", "0_bn", "3_bn")
    ]
    assert steps(model.get_layer("head")) == (
        "up 64x256, conv3 64x128, leaky 0.3, norm, up 128x128, conv3 128x64, leaky 0.3, norm, join 128x3, join 128x67, "
        "conv3 128x64, leaky 0.3, norm, conv3 128x32, leaky 0.3, norm, conv3 128x2 tanh"
    )


CONTRACT = {
    "unet": (lambda size: models.unet(size, downsamplings=3, filters=4), "multiple of 8"),
    "vivid": (lambda size: models.vivid_colorizer(size, widths=WIDTHS), "multiple of 16"),
    "regression": (lambda size: models.regression_colorizer(size, widths=WIDTHS), "multiple of 16"),
    "face": (lambda size: models.face_autoencoder(size, filters=8), "multiple of 8"),
    "skip": (lambda size: models.skip_autoencoder(size, filters=4), "multiple of 4"),
    "conv": (lambda size: models.conv_autoencoder(size, filters=2), "multiple of 4"),
    "simple conv": (lambda size: models.simple_conv_autoencoder(size, filters=4), "multiple of 4"),
    "vgg16": (
        lambda size: models.vgg16_colorizer(size, frozen(size, 8), filters=16),
        "a feature map of side 4 cannot be doubled to 30 pixels",
    ),
    "fusion": (
        lambda size: models.fusion_colorizer(size, frozen(size, 8, pooled=True), filters=8),
        "30 is not a positive multiple of 8",
    ),
    "resnet50": (
        lambda size: models.resnet50_colorizer(size, frozen(size, 4), filters=8),
        "a feature map of side 8 is not 30 / 4",
    ),
}
ON_A_BACKBONE = ("vgg16", "fusion", "resnet50")


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
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(loaded(lightness)), ab, atol=1e-6)
    with pytest.raises(ValueError, match=message):
        build(30)


@pytest.mark.parametrize("name", ON_A_BACKBONE)
def test_a_head_trained_alone_is_the_colorizers_own(name, lightness):
    colorizer = CONTRACT[name][0](32)
    backbone, head = colorizer.get_layer("backbone"), colorizer.get_layer("head")
    features = ops.convert_to_numpy(backbone(lightness))
    before = ops.convert_to_numpy(colorizer(lightness))
    np.testing.assert_array_equal(ops.convert_to_numpy(head([lightness, features])), before)
    head.compile(keras.optimizers.Adam(0.05), "mean_squared_error", run_eagerly=True)
    head.fit([lightness, features], np.full((2, 32, 32, 2), 0.3, np.float32), verbose=0)
    after = ops.convert_to_numpy(colorizer(lightness))
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(ops.convert_to_numpy(head([lightness, features])), after)


def changed(model, lightness):
    """The names of the weights that a step of training changes."""
    before = {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}
    model.compile(keras.optimizers.Adam(0.05), "mean_squared_error", run_eagerly=True)
    model.fit(lightness, np.full((2, 32, 32, 2), 0.3, np.float32), verbose=0)
    return {weight.path for weight in model.weights if (ops.convert_to_numpy(weight) != before[weight.path]).any()}


def test_ten_layers_of_resnet50_are_frozen():
    network = models.resnet50_colorizer(32).get_layer("backbone").get_layer("network")
    assert [layer.trainable for layer in network.layers[:12]] == [False] * 10 + [True] * 2


@pytest.mark.parametrize("name", ON_A_BACKBONE)
def test_fitting_leaves_the_frozen_layers_as_they_were(name, lightness, monkeypatch):
    monkeypatch.setattr(pretrained, "FROZEN", 2)  # the stand-in has fewer than ten layers
    colorizer = CONTRACT[name][0](32)
    found = changed(colorizer, lightness)
    backbone = {weight.path for weight in colorizer.get_layer("backbone").weights}
    assert {weight.path for weight in colorizer.get_layer("head").weights} <= found
    # Of ResNet50's stand-in the input and the first layer are frozen; moving averages of a frozen layer stay, too.
    trained = {path for path in backbone if path.startswith(("middle", "last"))} if name == "resnet50" else set()
    assert found & backbone == trained and len(backbone) == 8 and len(trained) in (0, 6)


@pytest.mark.parametrize(
    ("build", "backbone", "message"),
    [
        (models.vgg16_colorizer, (64, 8), r"the backbone reads \(64, 64, 1\), the pictures are \(32, 32, 1\)"),
        (models.fusion_colorizer, (64, 8), r"the backbone reads \(64, 64, 1\), the pictures are \(32, 32, 1\)"),
        (models.resnet50_colorizer, (64, 8), r"the backbone reads \(64, 64, 1\), the pictures are \(32, 32, 1\)"),
        (models.vgg16_colorizer, (32, 7), "a feature map of side 5 cannot be doubled to 32 pixels"),
        (models.vgg16_colorizer, (32, 3), "a feature map of side 11 cannot be doubled to 32 pixels"),
        (models.resnet50_colorizer, (32, 2), "a feature map of side 16 is not 32 / 4"),
        (models.resnet50_colorizer, (32, 8), "a feature map of side 4 is not 32 / 4"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(build, backbone, message):
    with pytest.raises(ValueError, match=message):
        build(32, frozen(*backbone, pooled=build is models.fusion_colorizer))


def test_a_map_is_doubled_five_times_at_most_and_never_halved():
    with pytest.raises(ValueError, match="a feature map of side 1 cannot be doubled to 64 pixels"):
        models.vgg16_colorizer(64, frozen(64, 64))
    inputs = keras.Input((32, 32, 1))
    with pytest.raises(ValueError, match="a feature map of side 64 cannot be doubled to 32 pixels"):
        models.vgg16_colorizer(32, keras.Model(inputs, layers.UpSampling2D(2)(inputs)))


def test_lightness_goes_before_the_colorizers_own_ab(lightness):
    colorizer = models.unet(32, downsamplings=3, filters=4)
    model = models.with_lightness(colorizer)
    both = ops.convert_to_numpy(model(lightness))
    np.testing.assert_array_equal(both[..., :1], lightness)
    np.testing.assert_array_equal(both[..., 1:], ops.convert_to_numpy(colorizer(lightness)))
    assert [id(weight) for weight in model.weights] == [id(weight) for weight in colorizer.weights]


def test_a_model_without_a_size_takes_any_multiple_of_its_stride():
    model = models.vivid_colorizer(None, widths=WIDTHS)
    assert model.predict(np.zeros((1, 48, 80, 1), np.float32), verbose=0).shape == (1, 48, 80, 2)


def test_vanilla_autoencoder_codes_and_decodes():
    model = models.vanilla_autoencoder(16, widths=(4, 8, 8), code=5)
    assert model.get_layer("code").output.shape == (None, 5)
    assert model.predict(np.zeros((1, 16, 16, 3)), verbose=0).shape == (1, 16, 16, 3)
    assert [layer.strides for layer in model.layers if layer.name.startswith(("down", "up"))] == [(2, 2)] * 6


def test_decoding_follows_the_formula(vivid):
    """T, tau and gain against NumPy, in double precision."""
    layer = vivid.get_layer("decode")
    rng = np.random.default_rng(1)
    logits, prior = rng.normal(size=(1, 2, 2, 261)) * 3, rng.dirichlet(np.ones(261))
    layer.prior, layer.temperature, layer.tau, layer.gain = prior, 0.5, 0.4, 1.3
    z = (logits - 0.4 * np.log(0.999 * prior + 0.001 / 261)) / 0.5
    shares = np.exp(z - z.max(-1, keepdims=True))
    expected = 1.3 * (shares / shares.sum(-1, keepdims=True)) @ color.bins() / 128
    np.testing.assert_allclose(ops.convert_to_numpy(layer(logits.astype(np.float32))), expected, atol=1e-5)


def test_dials_are_saved_and_can_be_turned_after_loading(vivid, lightness, tmp_path):
    layer = vivid.get_layer("decode")
    layer.temperature, layer.tau, layer.gain, layer.prior = 0.25, 0.5, 1.5, np.arange(1, 262)
    before = vivid.predict(lightness, verbose=0)
    vivid.save(tmp_path / "vivid.keras")
    loaded = keras.saving.load_model(tmp_path / "vivid.keras")
    decode = loaded.get_layer("decode")
    assert (decode.temperature, decode.tau, decode.gain) == (0.25, 0.5, 1.5)
    np.testing.assert_allclose(decode.prior, np.arange(1, 262) / np.arange(1, 262).sum(), rtol=1e-5)
    np.testing.assert_allclose(loaded.predict(lightness, verbose=0), before, atol=1e-6)
    decode.gain = 0.75
    np.testing.assert_allclose(loaded.predict(lightness, verbose=0), before / 2, atol=1e-6)


@pytest.mark.parametrize(
    "name, value", [("temperature", 0), ("temperature", -1), ("tau", -0.1), ("gain", float("nan"))]
)
def test_a_dial_refuses_what_means_nothing(vivid, name, value):
    with pytest.raises(ValueError, match=name):
        setattr(vivid.get_layer("decode"), name, value)


def test_the_trained_part_shares_its_weights(vivid, lightness):
    model = models.bin_logits(vivid)
    model.compile(keras.optimizers.Adam(0.01), loss=losses.BinCrossEntropy(), run_eagerly=True)
    before = vivid.predict(lightness, verbose=0)
    model.fit(lightness, np.full((2, 32, 32, 2), 0.2, np.float32), epochs=3, verbose=0)
    after = vivid.predict(lightness, verbose=0)
    assert np.abs(after - 0.2).mean() < np.abs(before - 0.2).mean()


@pytest.mark.parametrize("batch_size", [2, 5, 32])
def test_predictions_come_in_batches_and_are_the_models_own(batch_size, lightness):
    model = models.face_autoencoder(32, filters=4)
    pictures = np.concatenate([lightness] * 3)[:5]
    made = models.predict(model, pictures, batch_size=batch_size)
    np.testing.assert_allclose(made, model.predict(pictures, verbose=0), atol=1e-5)
    assert made.shape == (5, 32, 32, 2) and made.std() > 0
