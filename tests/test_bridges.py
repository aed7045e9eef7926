"""Sets of TensorFlow Datasets and Hugging Face datasets, made here in small; `make test-scale` installs both."""

import csv
import io
import sys

import numpy as np
import pytest
from PIL import Image

from colorlib.data import sets


def jpeg(seed):
    colors = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(colors).resize((96, 64)).save(file, "JPEG")
    return file.getvalue()


def class_folders(folder, count=5):
    """A folder as `keras.utils.image_dataset_from_directory` reads it."""
    for index in range(2 * count):
        path = folder / ("cat", "dog")[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(index))
    return folder


def prepare(source, folder, **options):
    return sets.prepare(source, role="varied", folder=folder / "processed", **options)


def groups(folder):
    with open(folder / "manifest.csv", newline="") as file:
        return {row["source"]: row["group"] for row in csv.DictReader(file)}


def test_a_folder_of_classes_is_a_set_and_a_class_no_group(tmp_path):
    folder = prepare(class_folders(tmp_path / "in"), tmp_path)
    assert len(groups(folder)) == len(set(groups(folder).values())) == 10


def test_a_hugging_face_set_is_read_in_all_its_splits(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    class_folders(tmp_path / "pets" / "train")
    class_folders(tmp_path / "pets" / "test", 2)
    monkeypatch.chdir(tmp_path)
    plain = groups(prepare("./pets/train", tmp_path))
    found = groups(prepare("hf:./pets", tmp_path))
    assert sorted(name.split("/")[0] for name in found) == ["test"] * 4 + ["train"] * 10
    assert set(found.values()) == set(plain.values()), "the same bytes, so the same groups; copies share one"
    assert len(groups(prepare("hf:./pets", tmp_path, limit=3))) == 3


def test_a_tensorflow_set_is_read_in_all_its_splits(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Pets(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self):
            features = {"label": tfds.features.ClassLabel(num_classes=2), "image": tfds.features.Image()}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {split: self._generate_examples(numbers) for split, numbers in SPLITS.items()}

        def _generate_examples(self, numbers):
            for number in numbers:
                yield number, {"label": number % 2, "image": io.BytesIO(jpeg(number))}

    SPLITS = {"train": range(8), "test": range(8, 10)}
    monkeypatch.setattr(tfds, "builder", lambda name: Pets(data_dir=tmp_path / "tfds"))
    found = groups(prepare("tfds:pets", tmp_path))
    assert sorted(found) == sorted(f"{split}/{index:07d}" for split in SPLITS for index in range(len(SPLITS[split])))
    plain = groups(prepare(class_folders(tmp_path / "in"), tmp_path))
    assert set(found.values()) == set(plain.values()), "the bytes of the files, not pictures that were coded again"


@pytest.mark.parametrize("source", ["tfds:no_such_set", "hf:no_such_set"])
def test_a_set_that_a_library_lacks_is_told(tmp_path, monkeypatch, source):
    pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sets.SourceError, match=f"^{source}: .*(not found|find|reach|offline)"):
        prepare(source, tmp_path)


@pytest.mark.parametrize(("source", "module"), [("tfds:flowers", "tensorflow_datasets"), ("hf:flowers", "datasets")])
def test_without_its_library_the_extra_is_named(tmp_path, monkeypatch, source, module):
    monkeypatch.setitem(sys.modules, module, None)
    extra = source.split(":")[0]
    with pytest.raises(
        sets.SourceError, match=rf"^{source}: pip install -e '.\[{extra}\]' in the checkout lets it be read"
    ):
        prepare(source, tmp_path)
