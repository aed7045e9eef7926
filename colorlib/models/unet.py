"""The U-Net of the system that compared losses (UPC 2023, after Isola et al. 2017)."""

from keras import Model, initializers, layers

from colorlib.models.blocks import lightness_input


def unet(image_size, *, downsamplings=8, filters=64, dropout=0.5):
    """A U-Net of nested blocks, lightness (S, S, 1) in [-1, 1] to ab (S, S, 2) in [-1, 1] by tanh.

    Each downsampling is a 4x4 convolution of stride 2, LeakyReLU 0.2 and BatchNorm, each upsampling a 4x4 transposed
    convolution, BatchNorm and ReLU; widths double from `filters` up to eightfold; dropout from the fifth block on.
    With 8 and 64 at 256x256: 54,409,858 trainable parameters. Raises ValueError for a size that 2**downsamplings does
    not divide.
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
                down = layers.BatchNormalization()(down)
            down = block(down, depth + 1)
        up = layers.ReLU()(down)
        if outermost:
            return layers.Conv2DTranspose(2, 4, 2, "same", activation="tanh", kernel_initializer=normal)(up)
        up = layers.Conv2DTranspose(x.shape[-1], 4, 2, "same", use_bias=False, kernel_initializer=normal)(up)
        up = layers.BatchNormalization()(up)
        if depth >= 4 and not innermost:
            up = layers.Dropout(dropout)(up)
        return layers.Concatenate()([x, up])

    return Model(inputs, block(inputs, 0), name="unet")
