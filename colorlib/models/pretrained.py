"""The published networks on a backbone trained on ImageNet: VGG16 (1), InceptionResNetV2 (2) and ResNet50 (3).

Each takes lightness (S, S, 1) in [-1, 1] to ab (S, S, 2) in [-1, 1] by tanh. It is composed of two layers: "backbone",
the injected model from lightness to features (see `backbones`), and "head", which is trained. The head shares its
weights with the colorizer and can be trained alone, on features that were computed once (`backbones.cached_features`).
It reads what it needs: of `vgg16_colorizer` the features, of the other two lightness and features.
"""

from keras import Input, Model, layers

from colorlib.models import backbones
from colorlib.models.scratch import decoder, encoder, joining_decoder, lightness_input

FROZEN = 10  # layers of system 3's ResNet50


def _compose(image_size, stride, backbone, make_head, name, *, sees_lightness=True):
    inputs = lightness_input(image_size, stride)
    if backbone.input_shape[1:] != inputs.shape[1:]:
        raise ValueError(f"the backbone reads {backbone.input_shape[1:]}, the pictures are {inputs.shape[1:]}")
    features, seen = Input(backbone.output_shape[1:], name="features"), Input(inputs.shape[1:], name="lightness")
    found = Model(backbone.input, backbone.output, name="backbone")(inputs)
    # Keras 3.13 refuses an input that leads nowhere.
    head = Model([seen, features] if sees_lightness else features, make_head(seen, features), name="head")
    return Model(inputs, head([inputs, found] if sees_lightness else found), name=name)


def vgg16_colorizer(image_size, backbone=None, *, filters=256):
    """System 1's second network (UPC 2020), published at 224x224: a decoder on a frozen backbone's feature map.

    3x3 and ReLU: f, f/2, f/4, f/8, f/16, 2, the side doubling after the last of them, as often as the backbone's map
    (S/2^n) needs; on VGG16, five times. Without a `backbone`: VGG16 with random weights. With 256 filters on VGG16:
    1,572,114 trainable parameters. Raises ValueError for a backbone whose map does not lead back to S.
    """
    backbone = backbone or backbones.imagenet_backbone("vgg16", image_size=image_size, weights=None)
    widths = [filters // 2**i for i in range(5)]

    def make_head(_, features):
        doublings = (image_size // features.shape[1]).bit_length() - 1
        if features.shape[1] * 2**doublings != image_size or not 0 <= doublings <= len(widths):
            found = f"a feature map of side {features.shape[1]} cannot be doubled to {image_size} pixels"
            raise ValueError(f"{found}: image_size must be a power of 2 times that, such as 64 or 128")
        return decoder(features, widths, doubled=range(len(widths) + 1 - doublings, len(widths) + 1))

    return _compose(image_size, 1, backbone, make_head, "vgg16_colorizer", sees_lightness=False)


def fusion_colorizer(image_size, embedder=None, *, filters=64):
    """System 2's fusion network (UPV, after Wallner 2017 and Iizuka et al. 2016), published at 256x256.

    Encoder of stride 8; the embedding, a vector, repeated at every place and joined; 1x1 to 4f; decoder 2f up, f up,
    f/2, f/4, 2 up. Without an `embedder`: InceptionResNetV2 with its top (1000) and random weights. With 64 filters and
    1000 numbers: 6,541,202 parameters beside the frozen network's.
    """
    embedder = embedder or backbones.imagenet_embedder("inception_resnet_v2", image_size=image_size, weights=None)

    def make_head(lightness, embedding):
        x = encoder(lightness, filters)
        everywhere = layers.UpSampling2D(x.shape[1])(layers.Reshape((1, 1, embedding.shape[1]))(embedding))
        x = layers.Conv2D(4 * filters, 1, activation="relu")(layers.Concatenate()([x, everywhere]))
        return decoder(x, (2 * filters, filters, filters // 2, filters // 4), doubled=(0, 1, 4))

    return _compose(image_size, 8, embedder, make_head, "fusion_colorizer")


def resnet50_colorizer(image_size, backbone=None, *, filters=128):
    """System 3's transfer network, published at 128x128: ResNet50 to the end of conv2_block1, then its own decoder.

    The first 10 layers of the backbone's network stay as they are, the others are unfrozen: give it one of its own, an
    EfficientNet-Lite cut at "stride_4" with `fold=False`. 3x3, LeakyReLU and BatchNorm: up f, up f/2, the input (three
    channels) joined, f/2, f/4, 2. Without a `backbone`: ResNet50 with random weights. With 128 filters: 514,338
    parameters. Raises ValueError for a backbone whose stride is not 4.
    """
    cut = {"layer": "conv2_block1_out", "weights": None}
    backbone = backbone or backbones.imagenet_backbone("resnet50", image_size=image_size, **cut)
    if backbone.output_shape[1] * 4 != image_size:
        found = f"a feature map of side {backbone.output_shape[1]} is not {image_size} / 4"
        raise ValueError(f"{found}: image_size must be a multiple of 4, and the backbone's stride 4")
    network = backbone.get_layer("network")
    network.trainable = True
    for layer in network.layers[:FROZEN]:
        layer.trainable = False

    def make_head(lightness, features):
        return joining_decoder(features, layers.Concatenate()([lightness] * 3), filters)

    return _compose(image_size, 4, backbone, make_head, "resnet50_colorizer")
