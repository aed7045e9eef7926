"""The published networks trained from scratch: faces (systems 1 and 3), the U-Net (4), landscapes (5).

Each builder takes lightness (S, S, 1) in [-1, 1] to ab (S, S, 2), and raises ValueError for a size its stride does not
divide. The last layer computes in float32, so colors are exact where the others compute in half precision. The stacks
of convolutions that several systems share come first.
"""

import importlib

import keras
import numpy as np
from keras import Model, initializers, layers, ops


def lightness_input(image_size, stride, channels=1, name="lightness"):
    """A Keras input (S, S, channels), or of any size when `image_size` is None.

    Raises ValueError where the size is not a positive multiple of the model's stride.
    """
    if image_size is not None and (image_size <= 0 or image_size % stride):
        near = max(stride, image_size - image_size % stride)
        remedy = f"take {near} or {near + stride}"
        raise ValueError(
            f"image_size {image_size} is not a positive multiple of {stride}, the model's stride: {remedy}"
        )
    return keras.Input((image_size, image_size, channels), name=name)


def normalization(**options):
    """A `BatchNormalization` over the whole batch, also where TensorFlow shares it among devices (`training.setup`)."""
    if keras.backend.backend() == "tensorflow":  # under JAX it is so anyway
        strategy = importlib.import_module("tensorflow").distribute.get_strategy()
        options["synchronized"] = strategy.num_replicas_in_sync > 1
    return layers.BatchNormalization(**options)


def encoder(x, filters, *, normalize=False):
    """The encoder of Iizuka et al. 2016 as systems 1 and 2 have it: (S, S, 1) to (S/8, S/8, 4 filters), 3x3 and ReLU.

    Widths are f s2, 2f, 2f s2, 4f, 4f s2, 8f, 8f, 4f; with `normalize`, a BatchNorm follows the first.
    """
    for i, (times, strides) in enumerate([(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 1), (4, 1)]):
        x = layers.Conv2D(times * filters, 3, strides, "same", activation="relu")(x)
        if normalize and i == 0:
            x = normalization()(x)
    return x


def decoder(x, widths, doubled):
    """3x3 ReLU convolutions of these widths, then two channels by tanh; the side doubles after those in `doubled`.

    `doubled` counts the convolutions from 0; doubling is by nearest neighbor.
    """
    for i, width in enumerate(widths):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"decoder_{i}")(x)
        if i in doubled:
            x = layers.UpSampling2D(2, interpolation="nearest")(x)
    ab = layers.Conv2D(2, 3, padding="same", activation="tanh", name="decoder_ab", dtype="float32")(x)
    return layers.UpSampling2D(2, interpolation="nearest", dtype="float32")(ab) if len(widths) in doubled else ab


def leaky(x, width, *, normalize=True):
    """A 3x3 convolution, LeakyReLU and BatchNorm, as system 3 has them."""
    x = layers.LeakyReLU(0.3)(layers.Conv2D(width, 3, padding="same")(x))
    return normalization()(x) if normalize else x


def joining_decoder(x, picture, filters):
    """System 3's decoder: features (S/4, S/4, n), up twice, joined with what went in, to ab (S, S, 2) by tanh."""
    for width in (filters, filters // 2):
        x = leaky(layers.UpSampling2D(2, interpolation="nearest")(x), width)
    x = layers.Concatenate()([x, picture])
    for width in (filters // 2, filters // 4):
        x = leaky(x, width)
    return layers.Conv2D(2, 3, padding="same", activation="tanh", dtype="float32")(x)


def predict(model, *inputs, batch_size=32):
    """Runs a model on NumPy arrays (N, ...), one for each of its inputs, in batches: a NumPy array (N, ...).

    Quicker than `model.predict` for few batches, since no graph is traced.
    """
    starts = range(0, len(inputs[0]), batch_size)
    parts = [[np.float32(values[start : start + batch_size]) for values in inputs] for start in starts]
    made = [model(part if len(inputs) > 1 else part[0], training=False) for part in parts]
    return np.concatenate([ops.convert_to_numpy(batch) for batch in made])


def face_autoencoder(image_size, *, filters=64):
    """System 1's network from scratch (UPC 2020), published at 224x224; ab in [-1, 1] by tanh.

    Encoder of stride 8, BatchNorm after its first convolution; decoder 2f up, f up, f/2, f/4, 2 up. With 64 filters:
    6,219,666 parameters, 6,219,538 of them trainable.
    """
    inputs = lightness_input(image_size, 8)
    x = encoder(inputs, filters, normalize=True)
    ab = decoder(x, (2 * filters, filters, filters // 2, filters // 4), doubled=(0, 1, 4))
    return Model(inputs, ab, name="face_autoencoder")


def skip_autoencoder(image_size, *, filters=16):
    """System 3's own network, published at 128x128; ab in [-1, 1] by tanh.

    3x3, LeakyReLU and BatchNorm (not after the first): f, 2f, pool, 4f, pool, 8f, 16f; up 8f, up 4f, the input joined,
    4f, 2f, 2. With 16 filters: 820,770 parameters.
    """
    inputs = lightness_input(image_size, 4)
    x = leaky(leaky(inputs, filters, normalize=False), 2 * filters)
    x = leaky(layers.MaxPooling2D()(x), 4 * filters)
    x = leaky(leaky(layers.MaxPooling2D()(x), 8 * filters), 16 * filters)
    return Model(inputs, joining_decoder(x, inputs, 8 * filters), name="skip_autoencoder")


def conv_autoencoder(image_size, *, filters=64):
    """System 5's ConvAE (UAB 2023), published at 128x128; ab without a final activation.

    3x3 f; 4x4 stride 2 of 2f and 4f; four 3x3 of 8f; 4x4 transposed, stride 2, of 4f and 2. With 64 filters:
    11,021,570 parameters.
    """
    inputs = lightness_input(image_size, 4)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(inputs)
    for times in (2, 4):
        x = layers.Conv2D(times * filters, 4, 2, "same", activation="relu")(x)
    for _ in range(4):
        x = layers.Conv2D(8 * filters, 3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(4 * filters, 4, 2, "same", activation="relu")(x)
    return Model(inputs, layers.Conv2DTranspose(2, 4, 2, "same", dtype="float32")(x), name="conv_autoencoder")


def simple_conv_autoencoder(image_size, *, filters=16):
    """System 5's Simple_ConvAE, published at 128x128; ab without a final activation.

    4x4 stride 2 of f and f/2; 3x3 of f/4 and f/2; 4x4 transposed, stride 2, of f and 2. The source gives the second
    no stride, but only stride 2 brings back the size of what went in. With 16 filters: 5,494 parameters.
    """
    inputs = lightness_input(image_size, 4)
    x = inputs
    for width in (filters, filters // 2):
        x = layers.Conv2D(width, 4, 2, "same", activation="relu")(x)
    for width in (filters // 4, filters // 2):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(filters, 4, 2, "same", activation="relu")(x)
    return Model(inputs, layers.Conv2DTranspose(2, 4, 2, "same", dtype="float32")(x), name="simple_conv_autoencoder")


def unet(image_size, *, downsamplings=8, filters=64, dropout=0.5):
    """System 4's U-Net of nested blocks, published at 256x256; ab in [-1, 1] by tanh.

    Each downsampling is a 4x4 convolution of stride 2, LeakyReLU 0.2 and BatchNorm, each upsampling a 4x4 transposed
    convolution, BatchNorm and ReLU; widths double from `filters` up to eightfold; dropout from the fifth block on.
    With 8 and 64: 54,409,858 trainable parameters. The size must be a multiple of 2**downsamplings.
    """
    inputs = lightness_input(image_size, 2**downsamplings)
    normal = initializers.RandomNormal(stddev=0.02)

    def block(x, depth):
        width = filters * min(2**depth, 8)
        outermost, innermost = depth == 0, depth == downsamplings - 1
        down = x if outermost else layers.LeakyReLU(0.2)(x)
        down = layers.Conv2D(width, 4, 2, "same", use_bias=False, kernel_initializer=normal)(down)
        if not innermost:
            if not outermost:
                down = normalization()(down)
            down = block(down, depth + 1)
        up = layers.ReLU()(down)
        if outermost:
            ab = layers.Conv2DTranspose(2, 4, 2, "same", activation="tanh", kernel_initializer=normal, dtype="float32")
            return ab(up)
        up = layers.Conv2DTranspose(x.shape[-1], 4, 2, "same", use_bias=False, kernel_initializer=normal)(up)
        up = normalization()(up)
        if depth >= 4 and not innermost:
            up = layers.Dropout(dropout)(up)
        return layers.Concatenate()([x, up])

    return Model(inputs, block(inputs, 0), name="unet")


def vanilla_autoencoder(image_size, *, widths=(16, 32, 64), code=128):
    """RGB (S, S, 3) in [0, 1] through a code of `code` numbers back to RGB (S, S, 3) in [0, 1] by sigmoid.

    Three downsampling steps, one fully connected layer (named "code"), three upsampling steps. The first filters are
    7x7, so that one can look at them, the others 3x3. The one model here that is no colorizer. Raises ValueError for a
    size that 2**len(widths) does not divide.
    """
    inputs = x = lightness_input(image_size, 2 ** len(widths), channels=3, name="rgb")
    for i, width in enumerate(widths):
        kernel = 3 if i else 7
        x = layers.Conv2D(width, kernel, 2, "same", activation="relu", name=f"down_{i + 1}")(x)
    side = x.shape[1]
    x = layers.Dense(code, name="code")(layers.Flatten()(x))
    x = layers.Dense(side * side * widths[-1], activation="relu", name="from_code")(x)
    x = layers.Reshape((side, side, widths[-1]))(x)
    for i, width in enumerate(reversed(widths)):
        x = layers.Conv2DTranspose(width, 3, 2, "same", activation="relu", name=f"up_{i + 1}")(x)
    rgb = layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="rgb_out", dtype="float32")(x)
    return Model(inputs, rgb, name="vanilla")
