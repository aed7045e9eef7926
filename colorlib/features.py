"""Features of frozen networks, computed once for each picture and kept on disk beside the pictures."""

import fcntl
import hashlib
import json
import os
import re
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from colorlib import files, pipeline

BATCH_SIZE = 32


def cached(backbone, lab, folder):
    """Features of the pictures `lab` (N, S, S, 3), as `pipeline.load_lab` makes them: a float16 memory map (N, ...).

    `backbone` is a `keras.Model` from lightness. They lie in `folder`/KEY/features.npy; the key follows from the
    backbone's configuration (its preprocessing too), its weights and the pictures' lightness, so another network,
    another set or other weights are computed anew, and never mistaken. What was interrupted goes on after the last
    whole batch; a second process waits for the first. Shows a progress bar. Raises ValueError for features that are no
    finite numbers in half precision.
    """
    key = _key(backbone, lab)
    place = Path(folder) / "-".join(text[:10] for text in key.values())
    place.mkdir(parents=True, exist_ok=True)
    lock = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _filled(backbone, lab, place, key)
    finally:
        os.close(lock)


def _filled(backbone, lab, place, key):
    whole, part, note = (place / name for name in ("features.npy", "features.part.npy", "progress.json"))
    shape = (len(lab), *backbone.output_shape[1:])
    if (found := _open(whole, shape, "r")) is not None and _read(note) == {**key, "done": len(lab)}:
        return found
    done = _read(note).pop("done", 0) if part.is_file() else 0
    if {**key, "done": done} != _read(note) or (features := _open(part, shape, "r+")) is None:
        done = 0
        note.unlink(missing_ok=True)  # of another file: this one, stopped before its first batch, would pass for it
        features = np.lib.format.open_memmap(part, "w+", np.float16, shape)
    with tqdm(total=len(lab), initial=done, desc="features", unit=" pictures", delay=2, leave=False) as progress:
        for start in range(done, len(lab), BATCH_SIZE):
            batch = pipeline.split(lab[start : start + BATCH_SIZE])[0]
            computed = backbone.predict_on_batch(batch)
            if not np.abs(computed).max() <= np.finfo(np.float16).max:
                raise ValueError(f"features of {backbone.name} up to {np.abs(computed).max():g} do not fit float16")
            features[start : start + len(batch)] = computed
            features.flush()  # before it is said to be there
            files.write(note, json.dumps({**key, "done": start + len(batch)}))
            progress.update(len(batch))
    part.replace(whole)
    return _open(whole, shape, "r")


def _key(backbone, lab):
    """Digests of the backbone's configuration, of its weights and of the pictures' lightness."""
    # Keras counts up the names of layers and tensors, from one model to the next.
    config = re.sub(r'_\d+"', '"', json.dumps(backbone.get_config(), default=str))
    weights = hashlib.sha256()
    for weight in backbone.weights:
        weights.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)))
    pictures = hashlib.sha256(np.ascontiguousarray(lab[..., 0]))
    digests = {"backbone": hashlib.sha256(config.encode()), "weights": weights, "pictures": pictures}
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _open(path, shape, mode):
    """Maps a file of features; None where there is none of that shape, or it was cut short."""
    try:
        np.load(path, mmap_mode="r")  # "r+" would fill up with zeros what was cut off
        found = np.load(path, mmap_mode=mode)
    except FileNotFoundError:
        return None
    except (ValueError, OSError, EOFError) as error:
        print(f"{path} cannot be read ({error}); computing it anew")
        return None
    return found if found.shape == shape and found.dtype == np.float16 else None


def _read(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
