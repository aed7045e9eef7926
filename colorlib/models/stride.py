"""The one check every builder makes of its image size."""

import keras


def lightness_input(image_size, stride, channels=1, name="lightness"):
    """A Keras input (S, S, channels), or of any size when `image_size` is None.

    Raises ValueError where the size is not a positive multiple of the model's stride.
    """
    if image_size is not None and (image_size <= 0 or image_size % stride):
        raise ValueError(f"image_size {image_size} is not a positive multiple of {stride}, the model's stride")
    return keras.Input((image_size, image_size, channels), name=name)
