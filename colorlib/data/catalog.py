"""Picture sets by name: where they come from, on what terms, and how they are laid out.

What needs an account or a form cannot be fetched: `fetch` says what to get and where to put it, and checks it then.
"""

import dataclasses
import json
import sys
from pathlib import Path

from colorlib import console
from colorlib.data import disk, listing


class SourceError(ValueError):
    """A source that cannot be prepared, or a set that cannot be used; the message says what and where."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A picture set: one file to fetch, or one by hand, or pictures that a library lists."""

    what: str  # in a few words
    role: str
    terms: str  # in one line
    page: str  # where people read about it
    file: str  # its name in data/raw
    url: str = ""  # where there is none, it is got by hand
    size: int | None = None  # bytes
    md5: str = ""  # where none is known, the first download's is written down beside it
    keep: str = "*"  # the names of the members that are its pictures
    by_hand: str = ""  # what to get, and how


_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_KAGGLE = "needs an account of Kaggle: download the whole set there"
RECIPES = {
    "oxford-flowers": Recipe(
        "8,189 flowers of 102 species", "flowers", "for research; of their photographers",
        f"{_OXFORD}/flowers/102/", "102flowers.tgz", f"{_OXFORD}/flowers/102/102flowers.tgz",
        344_862_509, "52808999861908f626f3c1f4e79d11fa",
    ),
    "oxford-pets": Recipe(
        "7,390 cats and dogs", "varied", "CC BY-SA 4.0; pictures of their photographers",
        f"{_OXFORD}/pets/", "oxford-pets.tar.gz", f"{_OXFORD}/pets/data/images.tar.gz",
        791_918_971, "5c4f3ee8e5d25df40f4fd59a7f44e54c",
    ),
    "tf-flowers": Recipe(
        "3,670 flowers of 5 kinds", "flowers", "CC BY 2.0, by Flickr's photographers: see its LICENSE.txt",
        "https://www.tensorflow.org/datasets/catalog/tf_flowers", "flower_photos.tgz",
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz", 228_813_984,
    ),
    "coco-val2017": Recipe(
        "5,000 everyday scenes", "varied", "annotations CC BY 4.0; pictures on Flickr's terms",
        "https://cocodataset.org/#download", "val2017.zip", "http://images.cocodataset.org/zips/val2017.zip",
        815_585_330, "442b8da7639aecaf257c1dceb8ba8c80",
    ),
    "places365-val": Recipe(
        "36,500 places of 365 kinds, 256 pixels", "landscapes", "for research and education, not commercial",
        "http://places2.csail.mit.edu/download.html", "val_256.tar",
        "http://data.csail.mit.edu/places/places365/val_256.tar", 525_158_400, "e27b17d8d44f4af9a78502beb927f808",
    ),
    "imagenette2-160": Recipe(
        "13,394 pictures of ten ImageNet classes", "varied", "as ImageNet: research and education, not commercial",
        "https://github.com/fastai/imagenette", "imagenette2-160.tgz",
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
        99_003_388, "e793b78cc4c9e9a4ccc0c1155377a412",
    ),
    "celeba": Recipe(
        "202,599 faces", "faces", "research, not commercial; not to be passed on",
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html", "img_align_celeba.zip",
        size=1_443_490_838, md5="00d2c5bc6d35e252742224ab0c1e8fcb",
        by_hand="get img_align_celeba.zip, of the folder Img, from its page",
    ),
    "kaggle-colorization": Recipe(
        "5,739 color photographs beside grey copies", "varied", "terms on its page",
        "https://www.kaggle.com/datasets/aayush9753/image-colorization-dataset", "kaggle-colorization.zip",
        keep="*_color/*", by_hand=_KAGGLE,
    ),
    "kaggle-landscapes": Recipe(
        "7,129 landscapes beside grey copies", "landscapes", "terms on its page",
        "https://www.kaggle.com/datasets/theblackmamba31/landscape-image-colorization", "kaggle-landscapes.zip",
        keep="*/color/*", by_hand=_KAGGLE,
    ),
    "ncd": Recipe(
        "723 fruits and vegetables (Natural-Color Dataset)", "varied", "for research",
        "https://github.com/saeed-anwar/ColorSurvey", "ncd.zip",
        by_hand="get the Natural-Color Dataset from Google Drive, as its page links it",
    ),
    "voxceleb2": Recipe(
        "videos of 6,112 people who talk", "faces", "for research, on request; videos of their makers",
        "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html", "voxceleb2",
        by_hand="ask for access, and unpack its parts to a folder <speaker>/<video>/<clip>.mp4",
    ),
}  # fmt: skip
# Collections of the Library of Congress: pictures that its JSON lists, page by page, fetched one by one.
_LIBRARY = "https://www.loc.gov/collections"
COLLECTIONS = ("prokudin-gorskii", "fsa-color")
RECIPES |= {
    "prokudin-gorskii": Recipe(
        "about 1,900 color photographs of Russia, 1905 to 1915", "varied", "no known restrictions",
        f"{_LIBRARY}/prokudin-gorskii/", "prokudin-gorskii", f"{_LIBRARY}/prokudin-gorskii/",
    ),
    "fsa-color": Recipe(
        "about 1,600 color photographs of America, 1939 to 1944", "varied", "no known restrictions",
        f"{_LIBRARY}/fsa-owi-color-photographs/", "fsa-color", f"{_LIBRARY}/fsa-owi-color-photographs/",
    ),
}  # fmt: skip
RECIPES["flowers"] = RECIPES["oxford-flowers"]  # its short name


def fetch(name, raw):
    """Returns the path of a recipe's file or folder in `raw`, where need be after a download, or the rest of one.

    Raises SourceError offline, for a broken connection, a file of another size or checksum, a full disk, and for what
    is got by hand and is not there.
    """
    recipe, raw = RECIPES[name], Path(raw)
    path = raw / recipe.file
    if not recipe.url:
        if not path.exists():
            why = f"{name} cannot be fetched automatically: {recipe.by_hand}"
            raise SourceError(f"{why} ({recipe.page}; {recipe.terms}); put it at {path}")
        if path.is_file() and (wrong := _what_is_wrong(recipe, path)):
            raise SourceError(f"{name}: {path} is not the file that was published ({wrong}): get it again")
        return path
    try:
        if name in COLLECTIONS:
            return _fetch_collection(recipe, path)
        if not path.exists() and recipe.size:
            disk.check_disk(raw, recipe.size, name)
        fetched = disk.fetch(recipe.url, path, md5=recipe.md5, size=recipe.size)
    except (OSError, ValueError) as error:  # ValueError: the checksum
        checked = f" (md5 {recipe.md5})" if recipe.md5 else ""
        todo = f"try again, or put the file{checked} at {path}"
        raise SourceError(f"{name}: cannot download {recipe.url} ({error}); {todo}") from error
    return fetched


def _what_is_wrong(recipe, path):
    """What speaks against a file that was put there by hand; "" for nothing."""
    size = path.stat().st_size
    if recipe.size and size != recipe.size:
        return f"{size:,} bytes, not {recipe.size:,}"
    return "another md5" if recipe.md5 and disk.md5_of(path) != recipe.md5 else ""


def _fetch_collection(recipe, folder):
    """Fetches the pictures that a collection of the library lists, each of 1,024 pixels or the largest below."""
    listed = folder / "listed.json"
    if not listed.exists():
        found, page = {}, 1
        while page:
            answer = json.loads(disk.get(f"{recipe.url}?fo=json&c=100&sp={page}"))
            for item in answer["results"]:
                if urls := [url.split("#")[0] for url in item.get("image_url") or () if ".jpg" in url]:
                    found[str(item["id"]).rstrip("/").rpartition("/")[2]] = urls[-1]  # the last is the largest
            page = page + 1 if answer["pagination"].get("next") else 0
        if not found:
            raise ValueError("it lists no pictures")
        disk.write_json(found, listed)
    gone = []
    for name, url in console.progress(json.loads(listed.read_text()).items(), desc=folder.name, unit=" pictures"):
        if not (path := folder / f"{name}.jpg").exists():
            try:
                disk.write(path, disk.get(url))
            except FileNotFoundError:
                gone.append((name, "listed, but not there any more"))
    if gone:
        print(f"{folder}: {listing.in_short(gone)}", file=sys.stderr)
    return folder


def in_table(raw):
    """What there is, for `colorlib data --list`: [(name, what, megabytes or "", how it comes, terms)]."""
    rows = [("scenes", "painted from a seed, any number", "", "made", "as this project")]
    for name, recipe in RECIPES.items():
        there = "there" if (Path(raw) / recipe.file).exists() else "download" if recipe.url else "by hand"
        size = f"{recipe.size / 1e6:.0f} MB" if recipe.size else ""
        if name != "flowers":
            rows.append((name, recipe.what, size, there, recipe.terms))
    return rows
