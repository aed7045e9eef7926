"""A colorizer on a picture of any size: it keeps its own lightness and size, only a* and b* are the model's."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from colorlib import color

WEIGHTS = Path(__file__).parent / "weights" / "vivid.keras"
SHORT_SIDE = 64  # pixels: the scale at which the models here have seen the world
_LONGEST = 4  # times the short side; a narrower strip is shown to the model reduced further
_MULTIPLE = 32  # divisible by the stride of every colorizer here that takes any size
_BLOCK = 2**16  # pixels at a time in the full size: what fits a processor's cache is converted twice as fast


class ModelError(ValueError):
    """A file that is no colorizer; the message names it and the reason."""


def load(path=None):
    """Loads a colorizer, a keras.Model from lightness (B, H, W, 1) to ab (B, H, W, 2); the shipped one by default.

    Raises ModelError for a file that is missing, is no Keras model, or maps other things onto one another.
    """
    path = Path(path or WEIGHTS)
    if not path.is_file():
        raise ModelError(f"{path}: {'a folder, no model file' if path.is_dir() else 'no such model file'}")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a Keras model (a .keras file, as model.save writes it)")
    import keras

    from colorlib.scoring import metrics  # noqa: F401  registers what a saved model may hold

    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{path}: not a Keras model that can be loaded ({reason})") from error
    ends = [getattr(model, name, None) for name in ("input_shape", "output_shape")]
    if [end[-1] if isinstance(end, tuple) and len(end) == 4 else None for end in ends] != [1, 2]:
        raise ModelError(f"{path}: not a colorizer; it maps {ends[0]} to {ends[1]}, not lightness to ab")
    return model


def set_dials(model, **dials):
    """Sets the dials `temperature`, `tau` and `gain` of a model's decoding; None leaves one as it is.

    Raises ModelError for a model without dials, ValueError for a value that a dial does not take.
    """
    given = {name: value for name, value in dials.items() if value is not None}
    if not given:
        return
    from colorlib.models.vivid import BinDecoding  # here: it loads Keras

    found = [layer for layer in model.layers if isinstance(layer, BinDecoding)]
    if not found:
        raise ModelError(f"the model {model.name!r} does not choose among bins, so it has no {', '.join(given)} to set")
    for name, value in given.items():
        setattr(found[0], name, value)


def colorize(model, picture, *, size=None):
    """Colorizes one picture: uint8 (H, W, 3) sRGB of any size and color -> uint8 (H, W, 3) with its own L*.

    The model sees the lightness with its short side at `size` pixels (64, or what the model was built for), the
    predicted ab is brought back bicubically. Raises ValueError for another kind of array.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is uint8 (H, W, 3), not {picture.dtype} {picture.shape}")
    height, width = picture.shape[:2]
    rows = [slice(top, top + max(1, _BLOCK // width)) for top in range(0, height, max(1, _BLOCK // width))]
    lightness = np.empty((height, width, 1), np.float32)
    result = np.empty_like(picture)

    def read(block):
        lightness[block] = color.from_uint8(picture[block])[0]

    def write(block):
        ab = (vertical[block] @ across).reshape(-1, width, 2)
        result[block], _ = color.render(lightness[block], ab)

    with ThreadPoolExecutor() as pool:  # NumPy lets go of the interpreter while it computes
        list(pool.map(read, rows))
        seen = _resize(lightness, *_seen_shape(model, height, width, size))
        ab = _predict(model, seen)
        # Up to full size in two steps, the second in blocks: the identity, resized, holds each row's weights.
        across = _resize(ab, None, width).reshape(len(ab), -1)
        vertical = _resize(np.eye(len(ab), dtype=np.float32), height, None)
        list(pool.map(write, rows))
    return result


def _seen_shape(model, height, width, size):
    """The (height, width) at which the model sees the picture."""
    fixed = model.input_shape[1:3]
    if None not in fixed:
        return fixed
    scale = min((size or SHORT_SIDE) / min(height, width), _LONGEST * (size or SHORT_SIDE) / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _predict(model, lightness):
    """Lightness (h, w) -> ab (h, w, 2); mirrored at its far edges up to a size that the model's stride divides."""
    from keras import ops

    height, width = lightness.shape
    if None in model.input_shape[1:3]:
        lightness = np.pad(lightness, ((0, -height % _MULTIPLE), (0, -width % _MULTIPLE)), mode="symmetric")
    ab = model(lightness[None, ..., None], training=False)
    return ops.convert_to_numpy(ab)[0, :height, :width].astype(np.float32)


def _resize(array, height, width):
    """Resizes (H, W) or (H, W, C) float32 along one axis or both: area averages down, bicubic up."""
    height, width = height or array.shape[0], width or array.shape[1]
    shrinking = height < array.shape[0] or width < array.shape[1]
    how = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=how)
