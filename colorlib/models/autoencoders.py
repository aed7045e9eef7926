"""The published networks trained from scratch: encoders and decoders of faces (1, 3) and of landscapes (5).

Each takes lightness (S, S, 1) in [-1, 1] to ab (S, S, 2), and raises ValueError for a size its stride does not divide.
"""

from keras import Model, layers

from colorlib.models.blocks import decoder, encoder, joining_decoder, leaky, lightness_input


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

    3x3, LeakyReLU and BatchNorm: f (no BatchNorm), 2f, pool, 4f, pool, 8f, 16f; up 8f, up 4f, the input joined, 4f,
    2f, 2. With 16 filters: 820,770 parameters.
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
    return Model(inputs, layers.Conv2DTranspose(2, 4, 2, "same")(x), name="conv_autoencoder")


def simple_conv_autoencoder(image_size, *, filters=16):
    """System 5's Simple_ConvAE, published at 128x128; ab without a final activation.

    f (4x4, stride 2), f/2, f/4, f/2, transposed f and 2 (4x4, stride 2). The source gives the second convolution no
    stride; it is 4x4 of stride 2 here, since only so has what comes out the size of what went in. With 16 filters:
    5,494 parameters.
    """
    inputs = lightness_input(image_size, 4)
    x = inputs
    for width in (filters, filters // 2):
        x = layers.Conv2D(width, 4, 2, "same", activation="relu")(x)
    for width in (filters // 4, filters // 2):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(filters, 4, 2, "same", activation="relu")(x)
    return Model(inputs, layers.Conv2DTranspose(2, 4, 2, "same")(x), name="simple_conv_autoencoder")
