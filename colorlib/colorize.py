"""A colorizer on a picture of any size: it keeps its own lightness and size, only a* and b* are the model's."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from colorlib import color

WEIGHTS = Path(__file__).parent / "weights" / "colorizer.weights.h5"  # colorizer.json beside it names the builder
SHORT_SIDE = 128  # pixels: the scale at which the models here have seen the world
LOOKS = ((0.75, True), (1.0, False), (1.25, True))  # (share of that size, mirrored): what is sure is seen in each
_DIALS = ("temperature", "rebalance", "gain")
_MULTIPLE = 32  # divisible by the stride of every colorizer here that takes any size
_LONGEST = 2  # times the short side; a longer strip is shown to the model in windows of this shape
_VIEW = 4  # times the model's scale: enough to find the mat around a photograph
_MAT = 4  # L*: so much does a plain mat differ from itself in a scan, but for 5 % of its pixels
_BLOCK = 2**16  # pixels at a time in the full size: what fits a processor's cache is converted twice as fast


class ModelError(ValueError):
    """A file that is no colorizer; the message names it and the reason."""


def load(path=None):
    """Loads a colorizer, a keras.Model from lightness (B, H, W, 1) to ab (B, H, W, 2); the shipped one by default.

    `path` is a .keras file, or a .weights.h5 beside a .json that names the builder. `model.settings` holds "natural"
    and "vivid" dials, if it has dials. Raises ModelError for a file that is missing, broken, unsafe or no colorizer.
    """
    path = Path(path or WEIGHTS)
    if not path.is_file():
        raise ModelError(f"{path}: {'a folder, no model file' if path.is_dir() else 'no such model file'}")
    try:
        model = _open(path)
        ends, weights = (model.input_shape, model.output_shape), model.get_weights()
    except Exception as error:  # whatever Keras, HDF5 and zipfile raise where a file is not as they expect it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path}: not a Keras model that can be loaded ({reason})") from error
    if [end[-1] if isinstance(end, tuple) and len(end) == 4 else None for end in ends] != [1, 2]:
        raise ModelError(f"{path}: not a colorizer; it maps {ends[0]} to {ends[1]}, not lightness to ab")
    if not all(np.isfinite(weight).all() for weight in weights):
        raise ModelError(f"{path}: some of its weights are no finite numbers")
    return model


def _open(path):
    """The model of a file, with its two settings."""
    from colorlib import models
    from colorlib.models import backbones, foreign

    report = {}
    if path.name.endswith(".weights.h5"):
        card = path.with_name(path.name.replace(".weights.h5", ".json"))
        report = json.loads(card.read_text(encoding="utf-8"))
        if hashlib.sha256(path.read_bytes()).hexdigest() != report["sha256"]:
            raise ValueError(f"damaged: it is not the file that {card.name} describes")
        backbone = backbones.imagenet_backbone(**report["backbone"], image_size=None, weights=None)
        model = models.vivid_colorizer(backbone, **report["decoder"])
        foreign.load_weights(model, path)
    else:
        model = foreign.open_keras(path)
    for layer in model.layers:
        if hasattr(layer, "rebalance"):
            natural = report.get("dials") or {dial: getattr(layer, dial) for dial in _DIALS}
            model.settings = {"natural": natural, "vivid": report.get("vivid") or natural | {"gain": 1.5}}
            set_dials(model, **natural)
    return model


def set_dials(model, *, strength=None, temperature=None, rebalance=None, gain=None):
    """Sets how a model from `load` decodes (see `models.vivid.BinDecoding`); None leaves a dial as it is.

    `strength` sets all three: 0 is grey, 1 the model's natural setting, 2 its vivid one, linear between. A dial that is
    given too wins. Raises ModelError for a model without dials, ValueError for a value that a dial does not take.
    """
    asked = {"strength": strength, "temperature": temperature, "rebalance": rebalance, "gain": gain}
    given = {name: value for name, value in asked.items() if value is not None}
    found = [layer for layer in model.layers if hasattr(layer, "rebalance")]
    if given and not found:
        raise ModelError(f"the model {model.name!r} does not choose among bins, so it has no {', '.join(given)} to set")
    if strength is not None:
        if not 0 <= given.pop("strength") <= 2:
            raise ValueError(f"strength must be 0 to 2, not {strength}")
        natural, vivid, more = model.settings["natural"], model.settings["vivid"], max(0, strength - 1)
        dials = {name: (1 - more) * natural[name] + more * vivid[name] for name in _DIALS}
        given = dials | {"gain": min(1, strength) * dials["gain"]} | given
    for name, value in given.items():
        setattr(found[0], name, value)


def colorize(model, picture, *, size=SHORT_SIDE):
    """Colorizes a picture, uint8 or uint16 (H, W, 3) sRGB of any size and color: the same type, with its own L*.

    Or a stack of pictures (N, H, W, 3), one after the other.
    The model sees the lightness, stretched where it is faded, with its short side at `size` pixels, or at the size that
    it was built for; a long strip in windows. A plain mat around the picture stays grey, and the model does not see it.
    Raises ValueError for another kind of array.
    """
    picture = np.asarray(picture)
    if picture.ndim == 4 and len(picture):
        return np.stack([colorize(model, each, size=size) for each in picture])
    inside, result = _inside_mat(picture, size), np.empty_like(picture)
    if picture[inside].shape != picture.shape:
        _paint(result, picture, np.zeros((1, 1, 2), np.float32))
    if picture[inside].size:
        _paint(result[inside], picture[inside], _predict(model, picture[inside], size))
    return result


def is_toned_or_grey(picture):
    """Whether a picture, uint8 or uint16 (H, W, 3), is grey or toned: see `color.is_toned_or_grey`."""
    return color.is_toned_or_grey(color.lab_of(_shrunk(picture, 64)))


def is_page(picture):
    """Whether a picture, uint8 or uint16 (H, W, 3), is a page of writing: many small dark marks on even paper."""
    grey = np.uint8(np.rint(2.55 * color.lab_of(_shrunk(picture, 512))[..., 0]))
    # What is written is gone where every spot is as light as the lightest around; uneven light stays.
    paper = cv2.blur(cv2.dilate(grey, np.ones((25, 25), np.uint8)), (51, 51)).astype(int)
    marks = paper - grey > 50
    count, _, found, _ = cv2.connectedComponentsWithStats(marks.astype(np.uint8))
    largest = found[1:, cv2.CC_STAT_AREA].max(initial=0) / grey.size
    is_plain = np.mean(paper - grey < 30) > 0.6 and np.median(paper) > 130
    return bool(is_plain and count > 100 and largest < 0.012 and 0.03 < marks.mean() < 0.3)


def _shrunk(picture, short_side):
    """A picture with its short side at so many pixels at most. ValueError for another kind of array."""
    picture = np.asarray(picture)
    if picture.dtype not in (np.uint8, np.uint16) or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is uint8 or uint16 (H, W, 3), not {picture.dtype} {picture.shape}")
    scale = min(1, short_side / min(picture.shape[:2]))
    return _resize(picture, *(round(side * scale) for side in picture.shape[:2]))


def _inside_mat(picture, size):
    """The rows and columns inside a plain mat or margin that goes all around and has one lightness: slices, or ()."""
    lightness = 50 * color.from_uint8(_shrunk(picture, _VIEW * size))[0][..., 0]
    ring = np.concatenate([lightness[[0, -1]].ravel(), lightness[:, [0, -1]].ravel()])
    differs, inside = np.abs(lightness - np.median(ring)) > _MAT, ()
    for across, side in zip((1, 0), picture.shape, strict=False):
        lines = differs.mean(axis=across) > 0.05
        if lines[0] or lines[-1]:
            return ()
        first, last = np.flatnonzero(lines)[[0, -1]] if lines.any() else (0, -1)
        inside += (slice(round(first * side / len(lines)), round((last + 1) * side / len(lines))),)
    return inside


def _predict(model, picture, size):
    """Picture (H, W, 3) -> ab (h, w, 2) of the size at which the model sees it."""
    (height, width), window = model.input_shape[1:3], _LONGEST * size
    view = color.from_uint8(_shrunk(picture, _VIEW * size))[0][..., 0]
    if None in (height, width):
        scale = min(size / min(view.shape), max(1, window / max(view.shape)))  # a long strip is not enlarged
        height, width = (max(1, round(side * scale)) for side in view.shape)
    else:
        window = max(height, width)
    seen = _resize(view, height, width)
    grey = color.lab_to_rgb((seen[..., None] + 1) * np.float32([50, 0, 0]))  # as sRGB, in which scanners work
    low, high = np.percentile(grey, (0.5, 99.5))
    if 0.08 < high - low < 0.45:  # a faded or dark scan; of sound pictures 1 in 100 has as little, flat paper less yet
        seen = color.split(color.rgb_to_lab(np.clip((grey - low) / (high - low), 0, 1)))[0][..., 0]
    return _in_windows(model, seen, min(window, max(seen.shape)))


def predict(model, lightness):
    """Colors lightness (N, H, W, 1) of any size, NumPy arrays in [-1, 1]: ab (N, H, W, 2), the mean of three looks.

    See `LOOKS`. A model that was built for one size takes one look.
    """
    from colorlib import models

    height, width = lightness.shape[1:3]
    if None not in model.input_shape[1:3]:
        return models.predict(model, lightness)
    call, total = _compiled(model), np.zeros((*lightness.shape[:3], 2), np.float32)
    for scale, mirrored in LOOKS:
        rows, columns = (max(1, round(scale * side)) for side in (height, width))
        seen = np.stack([_resize(each, rows, columns) for each in lightness[..., 0]])[..., None]
        padding = ((0, 0), (0, -rows % _MULTIPLE), (0, -columns % _MULTIPLE), (0, 0))
        seen = np.pad(seen[:, :, ::-1] if mirrored else seen, padding, mode="symmetric")
        ab = models.predict(call, seen)[:, :rows, :columns]
        total += [_resize(each, height, width) for each in (ab[:, :, ::-1] if mirrored else ab)]
    return total / len(LOOKS)


def _compiled(model):
    """The model as a function; on TensorFlow one graph for all sizes, quicker from the second picture on."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return model
    import tensorflow as tf

    # A graph follows the model's variables, but not this attribute of `BinDecoding`.
    restore = [getattr(layer, "restore", None) for layer in model.layers]
    if getattr(model, "compiled_for", None) != restore:
        any_size = [tf.TensorSpec((None, None, None, 1), tf.float32)]
        graph = tf.function(lambda seen: model(seen, training=False), any_size, autograph=False)
        model.graph, model.compiled_for = (lambda seen, training: graph(seen)), restore
    return model.graph


def _in_windows(model, seen, window):
    """Lightness (h, w) -> ab (h, w, 2), in windows along the long side, each fading out where the next fades in."""
    along = int(seen.shape[1] > seen.shape[0])
    last, fade = seen.shape[along] - window, np.hanning(window + 2)[1:-1, None, None]
    total, weight = np.zeros((*np.moveaxis(seen, along, 0).shape, 2)), np.zeros((seen.shape[along], 1, 1))
    for start in np.linspace(0, last, 1 + int(np.ceil(2 * last / window))).astype(int):  # they overlap by half
        part = seen.take(range(start, start + window), along)
        there = slice(start, start + window)
        total[there] += fade * np.moveaxis(predict(model, part[None, ..., None])[0], along, 0)
        weight[there] += fade
    return np.moveaxis(total / weight, 0, along).astype(np.float32)


def _paint(result, picture, ab):
    """Writes a picture's own lightness with ab (h, w, 2), brought up to its size, into `result`, block by block."""
    height, width = picture.shape[:2]
    # In two steps: bicubic to so many rows that the second step, in blocks, can be linear.
    rows = min(height, 4 * len(ab))
    ab, step = _resize(ab, rows, width), max(1, _BLOCK // width)

    def paint(top):
        block = slice(top, top + step)
        lightness = color.from_uint8(picture[block])[0]
        at = np.clip((np.arange(top, top + len(lightness), dtype=np.float32) + 0.5) * rows / height - 0.5, 0, rows - 1)
        above = at.astype(int)
        below, share = ab[np.minimum(above + 1, rows - 1)], (at % 1)[:, None, None]
        result[block] = color.render_muted(lightness, (1 - share) * ab[above] + share * below, picture.dtype)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy lets go of the interpreter while it computes
        list(pool.map(paint, range(0, height, step)))


def _resize(array, height, width):
    """Resizes (H, W) or (H, W, C): area averages where a side shrinks, else bicubic."""
    how = cv2.INTER_AREA if height < array.shape[0] or width < array.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(array, (width, height), interpolation=how)
