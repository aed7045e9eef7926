"""A colorizer on a picture of any size: it keeps its own lightness and size, only a* and b* are the model's.

`load` gives the shipped colorizer, or opens a stranger's file: what Keras gets to see was checked here first.
"""

import json
import re
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from colorlib import color

WEIGHTS = Path(__file__).parent / "weights" / "colorizer.weights.h5"  # colorizer.json beside it names the builder
SHORT_SIDE = 128  # pixels: the scale at which the models here have seen the world
_LONGEST = 4  # times the short side; a narrower strip is shown to the model reduced further
_MULTIPLE = 32  # divisible by the stride of every colorizer here that takes any size
_BLOCK = 2**16  # pixels at a time in the full size: what fits a processor's cache is converted twice as fast

# What a .keras file may hold: its members and their bytes; the classes that it may name, and those that it may not,
# since they run code or read other files. The last: what Keras 3.15 writes and 3.13 does not know.
_MEMBERS = {"config.json": 2**23, "metadata.json": 2**16, "model.weights.h5": 2**31}
_KERAS = r"keras(\.src)?(\.(layers|models|ops|initializers|regularizers|constraints|dtype_policies)(\.\w+)*)?"
_CLASSES = rf"None\.__(keras_tensor|tensor|numpy|slice|ellipsis)__|builtins\.function|{_KERAS}\.(?!function)\w+"
_UNSAFE = "Lambda|TFSMLayer|TorchModule|JaxLayer|FlaxLayer|Lookup|Vectorization"
_DEFAULTS = ("input_axes", "output_axes", "renorm", "renorm_clipping", "renorm_momentum")


class ModelError(ValueError):
    """A file that is no colorizer; the message names it and the reason."""


def load(path=None):
    """Loads a colorizer, a keras.Model from lightness (B, H, W, 1) to ab (B, H, W, 2); the shipped one by default.

    `path` is a .keras file, or a .weights.h5 beside a .json that names the builder. Raises ModelError for a file that
    is missing, broken or not safe to open, or that maps other things onto one another.
    """
    path = Path(path or WEIGHTS)
    if not path.is_file():
        raise ModelError(f"{path}: {'a folder, no model file' if path.is_dir() else 'no such model file'}")
    try:
        model = _build(path) if path.name.endswith(".weights.h5") else _open(path)
        ends, weights = (model.input_shape, model.output_shape), model.get_weights()
    except Exception as error:  # whatever Keras, HDF5 and zipfile raise where a file is not as they expect it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path}: not a Keras model that can be loaded ({reason})") from error
    if [end[-1] if isinstance(end, tuple) and len(end) == 4 else None for end in ends] != [1, 2]:
        raise ModelError(f"{path}: not a colorizer; it maps {ends[0]} to {ends[1]}, not lightness to ab")
    if not all(np.isfinite(weight).all() for weight in weights):
        raise ModelError(f"{path}: some of its weights are no finite numbers")
    return model


def _build(path):
    """The model of the builder that the .json names, with these weights."""
    from colorlib import models
    from colorlib.models import backbones

    report = json.loads(path.with_name(path.name.replace(".weights.h5", ".json")).read_text(encoding="utf-8"))
    backbone = backbones.imagenet_backbone(**report["backbone"], image_size=None, weights=None)
    model = models.vivid_colorizer(backbone, **report["decoder"])
    _load_weights(model, path)
    return model


def _open(path):
    """The model of a .keras file: unpacked within bounds, checked, built in Keras's safe mode."""
    import keras

    from colorlib import models  # noqa: F401  registers our classes

    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        if sorted(archive.namelist()) != list(_MEMBERS):
            raise ValueError(f"it holds {', '.join(archive.namelist())}, not {', '.join(_MEMBERS)}")
        for name, limit in _MEMBERS.items():
            with archive.open(name) as packed, open(Path(folder, name), "wb") as file:
                while part := packed.read(2**20):  # counted, for a header may lie
                    if file.write(part) and file.tell() > limit:
                        raise ValueError(f"its {name} is larger than {limit} bytes")
        config = _checked(json.loads(Path(folder, "config.json").read_bytes()))
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        _load_weights(model, Path(folder, "model.weights.h5"))
    return model


def _checked(config):
    """A config.json's content, less how to train. ValueError for a class that is not Keras's or ours, or is unsafe."""
    import keras

    if isinstance(config, list):
        return [_checked(each) for each in config]
    if not isinstance(config, dict):
        return config
    if name := config.get("class_name"):
        full, registered = f"{config.get('module')}.{name}", config.get("registered_name")
        ours = registered == f"colorlib>{name}" and keras.saving.get_registered_object(registered)
        its = registered in (None, name) and re.fullmatch(_CLASSES, full) and not re.search(_UNSAFE, name)
        if not (ours or its):
            raise ValueError(f"it names {full}, which is not allowed")
    left_out = ("compile_config", *(() if config.get("renorm") else _DEFAULTS))
    return {key: _checked(value) for key, value in config.items() if key not in left_out}


def _load_weights(model, path):
    """Loads weights. ValueError for an HDF5 file that leads out of itself, or holds more than it may."""
    import h5py

    links, items = [], []
    with h5py.File(path) as file:
        file.visititems_links(lambda _, link: links.append(link))
        file.visititems(lambda _, item: items.append(item))
        data = [item for item in items if isinstance(item, h5py.Dataset)]
        outside = any(type(link) is not h5py.HardLink for link in links)
        if outside or any(each.external or each.is_virtual for each in data):
            raise ValueError("its weights lead to another place")
        if sum(each.nbytes for each in data) > _MEMBERS["model.weights.h5"]:
            raise ValueError("its weights are too large")
    model.load_weights(path)


def set_dials(model, *, temperature=None, rebalance=None, gain=None):
    """Sets the dials of a model's decoding (see `models.vivid.BinDecoding`); None leaves one as it is.

    Raises ModelError for a model without dials, ValueError for a value that a dial does not take.
    """
    dials = {"temperature": temperature, "rebalance": rebalance, "gain": gain}
    given = {name: value for name, value in dials.items() if value is not None}
    found = [layer for layer in model.layers if hasattr(layer, "rebalance")]
    if given and not found:
        raise ModelError(f"the model {model.name!r} does not choose among bins, so it has no {', '.join(given)} to set")
    for name, value in given.items():
        setattr(found[0], name, value)


def colorize(model, picture, *, size=SHORT_SIDE):
    """Colorizes one picture: uint8 (H, W, 3) sRGB of any size and color -> uint8 (H, W, 3) with its own L*.

    The model sees the lightness with its short side at `size` pixels, or at the size that it was built for; the
    predicted ab is brought back bicubically. Raises ValueError for another kind of array.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is uint8 (H, W, 3), not {picture.dtype} {picture.shape}")
    height, width = picture.shape[:2]
    step = max(1, _BLOCK // width)
    rows = [slice(top, top + step) for top in range(0, height, step)]
    lightness = np.empty((height, width, 1), np.float32)
    result = np.empty_like(picture)

    def read(block):
        lightness[block] = color.from_uint8(picture[block])[0]

    def write(block):
        ab = (vertical[block] @ across).reshape(-1, width, 2)
        result[block], _ = color.render(lightness[block], ab)

    with ThreadPoolExecutor() as pool:  # NumPy lets go of the interpreter while it computes
        list(pool.map(read, rows))
        ab = _predict(model, lightness, size)
        # Up to full size in two steps, the second in blocks: the identity, resized, holds each row's weights.
        across = _resize(ab, len(ab), width).reshape(len(ab), -1)
        vertical = _resize(np.eye(len(ab), dtype=np.float32), height, len(ab))
        list(pool.map(write, rows))
    return result


def _predict(model, lightness, size):
    """Lightness (H, W, 1) -> ab (h, w, 2) of the size at which the model sees it."""
    from colorlib import models

    height, width = model.input_shape[1:3]
    if free := None in (height, width):
        sides = lightness.shape[:2]
        scale = min(size / min(sides), _LONGEST * size / max(sides))
        height, width = (max(1, round(side * scale)) for side in sides)
    seen = _resize(lightness, height, width)
    if free:  # mirrored at the far edges, up to a size that the model's stride divides
        seen = np.pad(seen, ((0, -height % _MULTIPLE), (0, -width % _MULTIPLE)), mode="symmetric")
    return models.predict(model, seen[None, ..., None])[0, :height, :width].astype(np.float32)


def _resize(array, height, width):
    """Resizes (H, W) or (H, W, C) float32: area averages where a side shrinks, else bicubic."""
    shrinking = height < array.shape[0] or width < array.shape[1]
    how = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=how)
