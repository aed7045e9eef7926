"""ImageNet networks, frozen: backbones and embedders for colorizers, feature maps for perceptual losses.

Each function composes a `keras.Model` of two layers: "preprocess", which turns a picture into what the network was
trained on, and "network", the frozen network itself. The model's `origin` says whose weights it got: "imagenet",
"random", or the name of a file. It is a plain attribute that a .keras file does not keep: read it where the model is
made. `weights` is everywhere one of

- "imagenet": the published ones, from Keras's cache folder ($KERAS_HOME/models, else ~/.keras/models) or downloaded;
- "auto": the same, but random ones, with a printed notice, where they are neither cached nor can be downloaded;
- the path of an .h5 file in the layout of keras.applications, which `save("x.h5")` of the whole network writes too;
- None: random ones, the same in every process.
"""

import fcntl
import hashlib
import http.client
import json
import os
import re
import threading
import urllib.request
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from keras.applications import VGG16, InceptionResNetV2, MobileNet, ResNet50, imagenet_utils
from tqdm import tqdm

from colorlib import color
from colorlib.data import files

TIMEOUT = 10  # seconds for a host to be found and to answer, then for each byte of the download
_NO_TOP, _TOP = "_weights_tf_dim_ordering_tf_kernels_notop.h5", "_weights_tf_dim_ordering_tf_kernels.h5"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_INCEPTION = f"{_KERAS}inception_resnet_v2/inception_resnet_v2"
_COMMIT = "a73d4339aa4d37c51a0b3ba044bed55477abec73"
_SQUEEZENET = f"https://raw.githubusercontent.com/DeepCognition/keras-squeezenet/{_COMMIT}/squeezenet"


class WeightsError(ValueError):
    """Weights that cannot be had or used; the message says which file, what is wrong and what was expected."""


class DownloadError(WeightsError):
    """Published weights that are not in Keras's cache folder and cannot be downloaded."""


def _squeezenet(*, input_shape, pooling, **_):
    """SqueezeNet 1.1 (Iandola et al. 2016) without its top, made like those of keras.applications.

    Layers are named as in the published file, but with _ for the / that Keras 3 forbids: "fire2_squeeze1x1" to
    "fire9_concat". What a convolution returns has passed its ReLU.
    """
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(64, 3, strides=2, activation="relu", name="conv1")(inputs)
    for i, width in enumerate((16, 16, 32, 32, 48, 48, 64, 64), start=2):
        if i in (2, 4, 6):
            x = layers.MaxPooling2D(3, strides=2, name=f"pool{i - 1}")(x)
        x = layers.Conv2D(width, 1, activation="relu", name=f"fire{i}_squeeze1x1")(x)
        left = layers.Conv2D(4 * width, 1, activation="relu", name=f"fire{i}_expand1x1")(x)
        right = layers.Conv2D(4 * width, 3, padding="same", activation="relu", name=f"fire{i}_expand3x3")(x)
        x = layers.Concatenate(name=f"fire{i}_concat")([left, right])
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x) if pooling else x)


_WITH_TOP = "inception_resnet_v2 with its top"
# name: builder, scaling of its input, address and md5 of its weights; Keras publishes no md5 of its MobileNets
_NETWORKS = {
    "vgg16": (VGG16, "caffe", f"{_KERAS}vgg16/vgg16{_NO_TOP}", "6d6bbae143d832006294945121d1f1fc"),
    "resnet50": (ResNet50, "caffe", f"{_KERAS}resnet/resnet50{_NO_TOP}", "4d473c1dd8becc155b73f8504c6f6626"),
    "inception_resnet_v2": (InceptionResNetV2, "tf", _INCEPTION + _NO_TOP, "d19885ff4a710c122648d3b5c3b684e4"),
    _WITH_TOP: (InceptionResNetV2, "tf", _INCEPTION + _TOP, "e693bd0210a403b3192acc6073ad2e96"),
    "mobilenet_0.75": (partial(MobileNet, alpha=0.75), "tf", f"{_KERAS}mobilenet/mobilenet_7_5_224_tf_no_top.h5", None),
    "mobilenet_0.25": (partial(MobileNet, alpha=0.25), "tf", f"{_KERAS}mobilenet/mobilenet_2_5_224_tf_no_top.h5", None),
    "squeezenet": (_squeezenet, "caffe", _SQUEEZENET + _NO_TOP, "80b66c92d79d4310e07fb60a297bf0d1"),
}
NAMES = tuple(name for name in _NETWORKS if name != _WITH_TOP)


@keras.saving.register_keras_serializable("colorlib")
class ImageNetInput(layers.Layer):
    """Lightness (B, H, W, 1) in [-1, 1], or sRGB (B, H, W, 3) in [0, 1], to what a network was trained on (B, S, S, 3).

    Lightness becomes grey sRGB. `size` S: pictures of another size are resized, bilinearly and without antialiasing,
    which XLA cannot compile; None keeps H and W. `scaling`: "tf" is 0..255 scaled to [-1, 1], "caffe" is BGR, 0..255
    less ImageNet's mean.
    """

    def __init__(self, scaling, size=None, **kwargs):
        super().__init__(**kwargs)
        self.scaling, self.size = scaling, size

    def call(self, picture):
        """Converts; see the class."""
        if picture.shape[-1] == 1:
            picture = color.lab_to_rgb(color.merge(picture, ops.repeat(0 * picture, 2, axis=-1)))
        if self.size and tuple(picture.shape[1:3]) != (self.size, self.size):
            picture = ops.image.resize(picture, (self.size, self.size), data_format="channels_last")
        return imagenet_utils.preprocess_input(255 * picture, data_format="channels_last", mode=self.scaling)

    def compute_output_shape(self, input_shape):
        """(B, H, W, 1 or 3) -> (B, S, S, 3)."""
        return (input_shape[0], *((self.size,) * 2 if self.size else input_shape[1:3]), 3)

    def get_config(self):
        """The scaling and the size."""
        return {**super().get_config(), "scaling": self.scaling, "size": self.size}


def imagenet_backbone(name, *, image_size, at=None, layer=None, weights="auto"):
    """A frozen network from lightness (S, S, 1) in [-1, 1] to the features of `layer`, None for its last ones.

    `name` is one of NAMES. The network sees the picture resized to `at`, if given; `image_size` None takes any size.
    Raises ValueError for an unknown name or layer and a size too small for the network, and WeightsError.
    """
    return _compose("backbone", name, (image_size, image_size, 1), weights, at=at, cut=layer)


def imagenet_embedder(name, *, image_size, weights="auto"):
    """A frozen network from lightness (S, S, 1) in [-1, 1] to one vector, of the picture resized as in its training.

    "inception_resnet_v2" sees 299x299 and returns the probabilities (softmax) of ImageNet's 1000 classes, as in
    Wallner 2017; the others see 224x224 and return their last features, averaged and of length 1: fifty times as long,
    as they come, they would drown what they are joined to. `image_size` None takes any size. Raises ValueError for an
    unknown name, and WeightsError.
    """
    name, at = (_WITH_TOP, 299) if name == "inception_resnet_v2" else (name, 224)
    return _compose("embedder", name, (image_size, image_size, 1), weights, at=at, pooling="avg")


def feature_extractor(name="vgg16", names=("block1_conv2", "block2_conv2", "block3_conv3"), *, weights="auto"):
    """A frozen network from sRGB (H, W, 3) in [0, 1], of any size, to a list of the feature maps of its layers `names`.

    For a perceptual loss; the default layers are the first three of Johnson et al. 2016. Raises ValueError for an
    unknown name or layer, and WeightsError.
    """
    return _compose("feature_extractor", name, (None, None, 3), weights, cut=list(names))


def _compose(title, name, shape, weights, *, at=None, cut=None, pooling=None):
    """Puts "preprocess" and the frozen "network", ending at the layer or list of layers `cut`, behind an input."""
    if name not in NAMES and (name, title) != (_WITH_TOP, "embedder"):
        raise ValueError(f"unknown network {name!r}; known are {', '.join(NAMES)}")
    build, scaling, address, md5 = _NETWORKS[name]
    path, origin = _find(address, md5, weights)  # before the network is built, which takes seconds
    seen = (at, at, 3) if at else (*shape[:2], 3)
    base = build(include_top=name == _WITH_TOP, weights=None, input_shape=seen, pooling=pooling)
    try:
        base.load_weights(path) if path else _initialize(base, name)
    except (ValueError, KeyError, OSError, RuntimeError) as error:  # in part, maybe, but nobody gets this model
        flaw = "is of another network" if isinstance(error, ValueError) else "is cut off or damaged"
        raise WeightsError(f"{path} {flaw} ({error}); expected the file of {address}") from error
    ends = base.output if cut is None else keras.tree.map_structure(lambda end: base.get_layer(end).output, cut)
    if pooling and name != _WITH_TOP:
        ends = layers.UnitNormalization()(ends)
    frozen = keras.Model(base.input, ends, name="network")
    # This puts BatchNorm in inference mode too; a call with training=False would not (keras issue 20285). As an
    # argument of Model it would not reach the layers.
    frozen.trainable = False
    inputs = keras.Input(shape, name="lightness" if shape[-1] == 1 else "rgb")
    scaled = ImageNetInput(scaling, at, name="preprocess", dtype="float32")(inputs)
    model = keras.Model(inputs, frozen(scaled), name=title)
    model.origin = origin
    return model


def _initialize(network, name):
    """Random weights that keep the variance (He et al. 2015), the same for a name in every process.

    Keras's own would differ from a run to the one that takes it up, and let the features of a MobileNet vanish.
    """
    rng = np.random.default_rng(list(name.encode()))
    for layer in network.layers:
        if (kernel := getattr(layer, "kernel", None)) is not None:
            # Of one channel each; Keras's own HeNormal counts all of them.
            fan_in = np.prod(kernel.shape[: 2 if isinstance(layer, layers.DepthwiseConv2D) else -1])
            kernel.assign(rng.normal(0, np.sqrt(2 / fan_in), kernel.shape))


def _find(address, md5, weights):
    """The file of the weights, or None for random ones; and their origin."""
    if weights is None:
        return None, "random"
    published = weights in ("imagenet", "auto")
    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    path = folder / address.rpartition("/")[2] if published else Path(weights).expanduser()
    if published and not path.is_file():
        try:
            files.write(path, _download(address, md5, path))
        except DownloadError as error:
            if weights == "imagenet":
                raise
            print(f"NOTICE: RANDOM weights instead of ImageNet's. {error}", flush=True)
            return None, "random"
    if path.is_file() and path.suffix != ".h5":
        raise WeightsError(f"{path}: Keras reads weights from files named .h5 only")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; weights are 'imagenet', 'auto', None or the path of an .h5 file")
    if flaw := _flaw(path.read_bytes(), md5 if published else None):
        raise WeightsError(f"{path} {flaw}; expected the file of {address}")
    return path, "imagenet" if published else path.name


def _flaw(content, md5):
    """What tells that bytes are no HDF5 file, or not that of `md5` where it is known; None for nothing."""
    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        return "is an HTML page, not HDF5" if content.lstrip()[:1] == b"<" else "is not HDF5" if content else "is empty"
    if md5 and hashlib.md5(content).hexdigest() != md5:
        return f"is cut off, damaged or another file (its md5 is not {md5})"
    return None


def _download(address, md5, path):
    """The published weights, whole and checked. Raises DownloadError, which advises to put the file at `path`."""
    response = Future()

    def connect():
        try:
            response.set_result(urllib.request.urlopen(address, timeout=TIMEOUT))
        except Exception as error:  # whatever it is, `result` raises it below
            response.set_exception(error)

    # In a thread: urllib's own time-out is for each of a host's many numbers, and none is for finding them.
    threading.Thread(target=connect, daemon=True).start()
    try:
        with response.result(TIMEOUT) as body:
            print(f"downloading {address} to {path}", flush=True)
            content = body.read()  # raises IncompleteRead where it ends too soon
        flaw = _flaw(content, md5)
    except (OSError, http.client.HTTPException) as error:
        flaw = f"cannot be downloaded ({str(getattr(error, 'reason', error)) or 'timed out'})"
    if flaw:
        raise DownloadError(f"{address} {flaw}; if you are offline, get it elsewhere and put it at {path}")
    return content


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
            batch = np.float32(lab[start : start + BATCH_SIZE, ..., :1]) / 32767
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
