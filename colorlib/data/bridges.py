"""Sets that other libraries keep: `tfds:oxford_flowers102` of TensorFlow Datasets, `hf:NAME` of Hugging Face datasets.

Each is read through its library, which an extra brings, in its first feature that is a picture. Splits are made
anew: theirs may keep copies apart. A folder with a folder for each class, as `keras.utils.image_dataset_from_directory`
reads it, needs no bridge: a class is no group.
"""

import contextlib

from colorlib.data import catalog, files, sources

SourceError = catalog.SourceError


def locate(source, limit):
    """Finds what `tfds:NAME` or `hf:NAME` is: a `sources.Source`. Raises SourceError where the library or set lacks."""
    library, _, name = source.partition(":")
    opened = {"tfds": _tfds, "hf": _hugging_face}[library]
    with _told(source, library):
        label, version, counts, examples = opened(name)
    identity = [source, version, counts]

    def listed():
        names = [f"{split}/{index:07d}" for split, count in counts.items() for index in range(count)]
        taken = sources.lowest(names, limit)
        entries = [sources.Entry(each, [version], None) for each in names if each in taken]
        return sources.Listed(entries, [], read)

    def read(entries):
        wanted = {entry.name: entry for entry in entries}
        for split in counts:
            if any(name.startswith(f"{split}/") for name in wanted):
                with _told(source, library):
                    for index, content in enumerate(examples(split)):
                        if entry := wanted.get(f"{split}/{index:07d}"):
                            yield entry, content or files.ImageError(entry.name, "no picture in this example")

    return sources.Source(label, identity, listed)


@contextlib.contextmanager
def _told(source, library):
    """Tells what goes wrong in a library, which may raise anything, as a SourceError."""
    try:
        yield
    except SourceError:
        raise
    except ImportError as error:
        raise SourceError(
            f"{source}: pip install -e '.[{library}]' in the checkout lets it be read ({error})"
        ) from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SourceError(f"{source}: {reason[:300]}") from error


def _tfds(name):
    import tensorflow_datasets as tfds

    builder = tfds.builder(name)
    pictures = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)]
    if not pictures:
        raise SourceError(f"tfds:{name}: none of its features is a picture ({', '.join(builder.info.features)})")
    builder.download_and_prepare()
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}

    def examples(split):
        """The bytes of the files, as they came."""
        how = {"decoders": {pictures[0]: tfds.decode.SkipDecoding()}, "shuffle_files": False}
        for example in tfds.as_numpy(builder.as_dataset(split=split, **how)):
            yield bytes(example[pictures[0]])

    return name.replace("/", "-"), builder.info.full_name, counts, examples


def _hugging_face(name):
    import datasets

    found = datasets.load_dataset(name)
    first = next(iter(found.values()))
    pictures = [key for key, feature in first.features.items() if isinstance(feature, datasets.Image)]
    if not pictures:
        raise SourceError(f"hf:{name}: none of its columns is a picture ({', '.join(first.features)})")
    counts = {split: len(rows) for split, rows in found.items()}

    def examples(split):
        """The bytes of the files, as they came; of pictures that the set does not store as files, a PNG."""
        for row in found[split].cast_column(pictures[0], datasets.Image(decode=False)):
            of = row[pictures[0]] or {}
            content = of.get("bytes")
            if content is None and of.get("path"):
                try:
                    content = files.read(of["path"])
                except files.ImageError as error:
                    content = error
            yield content

    return name.strip("./").replace("/", "-") or "hf", str(first._fingerprint), counts, examples
