"""An autoencoder small enough to look inside: what a code is, before any color is predicted."""

from keras import Model, layers

from colorlib.models.blocks import lightness_input


def vanilla_autoencoder(image_size, *, widths=(16, 32, 64), code=128):
    """RGB (S, S, 3) in [0, 1] through a code of `code` numbers back to RGB (S, S, 3) in [0, 1] by sigmoid.

    Three downsampling steps, one fully connected layer (named "code"), three upsampling steps. The one model here
    that is no colorizer. Raises ValueError for a size that 2**len(widths) does not divide.
    """
    inputs = x = lightness_input(image_size, 2 ** len(widths), channels=3, name="rgb")
    for i, width in enumerate(widths):
        x = layers.Conv2D(width, 3, 2, "same", activation="relu", name=f"down_{i + 1}")(x)
    side = x.shape[1]
    x = layers.Dense(code, name="code")(layers.Flatten()(x))
    x = layers.Dense(side * side * widths[-1], activation="relu", name="from_code")(x)
    x = layers.Reshape((side, side, widths[-1]))(x)
    for i, width in enumerate(reversed(widths)):
        x = layers.Conv2DTranspose(width, 3, 2, "same", activation="relu", name=f"up_{i + 1}")(x)
    return Model(inputs, layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="rgb_out")(x), name="vanilla")
