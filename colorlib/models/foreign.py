"""Opens model files of strangers: what Keras and HDF5 get to see was checked here first. `colorize.load` calls it."""

import json
import re
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras

# What a .keras file may hold: its members and their bytes; the classes that it may name, and those that it may not,
# since they run code or read other files. The last: what Keras 3.15 writes and 3.13 does not know.
_MEMBERS = {"config.json": 2**23, "metadata.json": 2**16, "model.weights.h5": 2**31}
_KERAS = r"keras(\.src)?(\.(layers|models|ops|initializers|regularizers|constraints|dtype_policies)(\.\w+)*)?"
_CLASSES = rf"None\.__(keras_tensor|tensor|numpy|slice|ellipsis)__|builtins\.function|{_KERAS}\.(?!function)\w+"
_UNSAFE = "Lambda|TFSMLayer|TorchModule|JaxLayer|FlaxLayer|Lookup|Vectorization"
_DEFAULTS = ("input_axes", "output_axes", "renorm", "renorm_clipping", "renorm_momentum")


def open_keras(path):
    """The model of a .keras file: unpacked within bounds, checked, built in Keras's safe mode."""
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
        load_weights(model, Path(folder, "model.weights.h5"))
    return model


def _checked(config):
    """A config.json's content, less how to train. ValueError for a class that is not Keras's or ours, or is unsafe."""
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


def load_weights(model, path):
    """Loads weights. ValueError for an HDF5 file that leads out of itself, or holds more than it may."""
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
