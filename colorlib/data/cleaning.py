"""One file of a source -> what is stored of it, or why it is left out; and which pictures of a set look alike.

`clean` is all that happens to a file, whether one computer prepares a set (`sets`) or many do (`scale`).
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import zlib

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from colorlib import color, console
from colorlib.data import disk, files

SHORT_SIDE = 256
MIN_SIDE = 16  # what is smaller holds nothing to learn from once enlarged
MAX_PIXELS = 150_000_000  # of all pictures that are decoded at a time
# Bits of 512 in which pictures that look alike may differ. Of 32,591 photographs 24 pairs are that near, 23 of them of
# one moment; at 80 bits 26 of 36 pairs. Copies that were only compressed or halved are at most 62 apart.
ALIKE = 70
_DRAWS, _DRAWN = 200, 20  # how often, and how many of the bits are drawn: see `_near`
_CROWD = 64  # at most so many are compared with each in a draw, for thousands may agree: frames of one film
# Units of CIELAB between a picture and its best print in one tone (`color.distance_to_tone`). Of 24 photographs in
# three tones, as JPEG of quality 50, the farthest is 1.84 away; of 15,473 color photographs the nearest is 2.06 away.
TONED = 1.85
GREY = "grey or of one tint: a colorizer would learn grey from it"
_FACE = 1.6  # side of the square that is cut out, of the side of the face that is found


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which pictures of a source are left out, and what is cut off the others."""

    grey: bool = False  # keep pictures that are grey or of one tint
    longest: float = 4.0  # the long side of a picture is at most so many short ones
    portraits: bool = True  # keep pictures that are higher than wide
    square: bool = False  # cut each to its central square
    faces: bool = False  # cut each to its largest face, and leave out those without one

    def __post_init__(self):
        if self.longest < 1:
            raise ValueError(f"a long side of at most {self.longest} short ones: it is at least 1")


USUAL = Rules()


@dataclasses.dataclass
class Film:
    """A video as a source gives it: what reads its frames, and the speaker, who is the group of all of them."""

    frames: object  # () -> iterator of (seconds, uint8 (H, W, 3))
    speaker: str
    apart: int  # bits of 512 in which a frame must differ from each one kept before it


def name_hash(name):
    """Hashes a file name, which some file systems allow to be no Unicode: hexadecimal sha256."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()


def clean(name, content, rules, room=None):
    """Cleans one file. Yields rows, each with the JPEG to store or None: (row, bytes), one by one of a film's frames.

    `content` is its bytes, a uint8 picture (H, W, 3), a `Film`, or the ImageError met while reading it. The row of a
    picture holds `file`, `group`, `width`, `height`, `source`, `bytes`, `crc32`, `chroma` (its mean, in CIELAB units),
    `pages`, `remark` and `hash` (hexadecimal, of `difference_hash`); that of a reject `source`, `reason` and
    `passing`: whether it may be readable another time. `room`, a `disk.Room`, holds up threads that lack memory.
    """
    if isinstance(content, Film):
        yield from _clean_film(name, content, rules)
    else:
        yield _clean_picture(name, content, rules, room or disk.Room(MAX_PIXELS))


def moment_of(name, seconds):
    """The name of a film's frame; sorted, such names are in the order of time."""
    return f"{name}@{seconds:07.1f}s" if round(seconds, 1) == seconds else f"{name}@{seconds:09.3f}s"


def _clean_film(name, film, rules):
    kept = np.zeros((0, 32 * 16), bool)
    try:
        for seconds, picture in film.frames():
            moment = moment_of(name, seconds)
            own = difference_hash(picture).reshape(1, -1)
            if len(kept) and np.sum(kept != own, axis=1).min() < film.apart:
                yield _reject(moment, "frame: nearly as one before it"), None
                continue
            row, jpeg = _clean_picture(moment, picture, rules, None)
            if jpeg:
                kept = np.concatenate([kept, own])
            yield row | ({"group": film.speaker} if jpeg else {}), jpeg
    except files.ImageError as error:
        yield _reject(name, error.reason, error), None


def _reject(name, reason, error=None):
    return {"source": name, "reason": " ".join(reason.split()), "passing": isinstance(error, files.Passing)}


def _clean_picture(name, content, rules, room):
    try:
        picture, pages, remarks = _load(name, content, rules, room)
        small = color.lab_of(files.shrink(picture, 64))  # where single pixels do not count
        _check(name, picture, small, rules)
    except files.ImageError as error:
        return _reject(name, error.reason, error), None
    own = hashlib.sha256(bytes(content)).hexdigest()
    chroma = np.hypot(small[..., 1], small[..., 2]).mean()
    jpeg = files.encode(picture, ".jpg")
    height, width = picture.shape[:2]
    row = {
        # Exact duplicates share the first part; the second keeps their files apart.
        "file": f"pictures/{own[:16]}-{name_hash(name)[:6]}.jpg", "group": own, "width": width, "height": height,
        "source": name, "bytes": len(jpeg), "crc32": zlib.crc32(jpeg), "chroma": round(float(chroma), 2),
        "pages": pages, "remark": console.in_one_line("; ".join(remarks)),
        "hash": np.packbits(difference_hash(picture)).tobytes().hex(),
    }  # fmt: skip
    return row, jpeg


def _load(name, content, rules, room):
    """The picture of an entry: decoded, painted, or of a video; cut and reduced. Also its pages, and remarks on it."""
    if isinstance(content, files.ImageError):
        raise content
    pages, remarks, place = 1, [], contextlib.nullcontext()
    is_file = isinstance(content, bytes)
    try:
        if is_file:
            place = room.place(files.count_pixels(content, name))
        with place:
            picture = content
            if is_file:
                photograph = files.open_photograph(content, name, is_deep=False)
                picture, pages, remarks = files.flat(photograph), photograph.pages, photograph.remarks
            if rules.faces:
                picture = cut_to_face(picture, name)
            if rules.square:
                side = min(picture.shape[:2])
                top, left = (np.array(picture.shape[:2]) - side) // 2
                picture = picture[top : top + side, left : left + side]
            return files.shrink(picture, SHORT_SIDE), pages, remarks
    except MemoryError:
        raise files.Passing(name, "too large for this computer's memory") from None


def _check(name, picture, small, rules):
    """Raises ImageError for a picture that the rules leave out; `small` is its Lab, reduced."""
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise files.ImageError(name, f"tiny: a side is below {MIN_SIDE} pixels")
    if max(height, width) > rules.longest * min(height, width):
        raise files.ImageError(name, f"narrow: one side is more than {rules.longest:g} times the other")
    if height > width and not rules.portraits:
        raise files.ImageError(name, "higher than wide")
    if not rules.grey and color.distance_to_tone(small) < TONED:
        raise files.ImageError(name, GREY)


def cut_to_face(picture, name="picture"):
    """Cuts uint8 (H, W, 3) to a square around its largest face, as far as there is room. Raises ImageError for none.

    Found with the cascade of local binary patterns that scikit-image ships: faces from the front, upright, at
    least a seventh of the short side. It found those of 150 photographs of faces, and "faces" in 2 of 100 landscapes.
    """
    grey = np.asarray(Image.fromarray(files.shrink(picture, SHORT_SIDE)).convert("L"))
    found = _cascade().detect_multi_scale(
        grey, scale_factor=1.1, step_ratio=1, min_size=(38, 38), max_size=grey.shape[:2]
    )
    if not found:
        raise files.ImageError(name, "no face found")
    face = max(found, key=lambda each: (each["width"], -each["r"], -each["c"]))
    scale = picture.shape[0] / grey.shape[0]
    side = min(round(_FACE * face["width"] * scale), *picture.shape[:2])
    center = np.array([face["r"] + face["height"] / 2, face["c"] + face["width"] / 2]) * scale
    top, left = np.clip(np.round(center - side / 2).astype(int), 0, np.array(picture.shape[:2]) - side)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


@functools.cache
def _cascade():
    from skimage import data, feature  # a second to import, and only for this

    return feature.Cascade(data.lbp_frontal_face_cascade_filename())


def difference_hash(picture):
    """What uint8 (H, W, 3) looks like: bool (32, 16), where its lightness grows between places of a 16 x 16 grid.

    The first 16 rows compare towards the middle, so that mirroring only turns the columns around; the others downwards.
    """
    grey = Image.fromarray(picture).convert("L")
    wide, high = (np.asarray(grey.resize(size, Image.Resampling.LANCZOS)) for size in ((17, 16), (16, 17)))
    inwards = np.concatenate([wide[:, 1:9] > wide[:, :8], wide[:, 8:16] > wide[:, 9:]], axis=1)
    return np.concatenate([inwards, high[1:] > high[:-1]])


def join_alike(groups, hashes):
    """Gives pictures one group where their hashes, bool (N, 32, 16), are at most ALIKE bits apart, mirrored or not.

    `groups` are N names, and a likeness through a third counts. The joined group takes the lowest of its members'
    names. Returns the new names. Not every pair is compared, only those that agree in one of many draws of bits: so a
    million pictures take minutes. A pair ALIKE bits apart is missed once in 50,000 times, one 62 bits apart once in
    seven million times.
    """
    names, group = np.unique(groups, return_inverse=True)
    is_plain = np.sum(hashes, axis=(1, 2)) < ALIKE  # the black frames of two films show nothing alike
    places = np.flatnonzero(~is_plain)
    _, first, same = np.unique(
        np.packbits(hashes[places].reshape(len(places), -1), axis=1), axis=0, return_index=True, return_inverse=True
    )
    equal = np.stack([np.arange(len(places)), first[same]])  # copies, of which one is compared with others
    for pairs in itertools.chain([equal], (first[near] for near in _near(hashes[places[first]]))):
        left, right = group[places[pairs]]
        if (left != right).any():
            graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(names), len(names)))
            _, cluster = connected_components(graph, directed=False)
            group = np.unique(cluster, return_index=True)[1][cluster[group]]  # the first: names are sorted
    return [str(name) for name in names[group]]


def _near(hashes):
    """Yields pairs (2, P) of hashes that are near, of those that agree in a draw: locality-sensitive hashing.

    Two hashes that differ in d of 512 bits agree in _DRAWN bits drawn at random with a chance of (1 - d / 512)^_DRAWN.
    """
    count, both = len(hashes), np.concatenate([hashes, hashes[:, :, ::-1]])  # each, and each mirrored
    bits = both.reshape(len(both), -1)
    words = np.packbits(bits, axis=1).view(np.uint64)
    columns = np.ascontiguousarray(bits.T)
    rng = np.random.default_rng(0)
    for _ in console.progress(range(_DRAWS), desc="comparing pictures", unit=" draws"):
        key = np.zeros(len(both), np.int32)
        for column in rng.choice(columns.shape[0], _DRAWN, replace=False):
            key = 2 * key + columns[column]
        order = rng.permutation(len(both))  # so that in a crowd each meets others in each draw
        order = order[np.argsort(key[order], kind="stable")]
        key, found = key[order], []
        at = np.arange(len(order))
        for step in range(1, _CROWD):  # sorted, what agrees stands together
            at = at[at + step < len(order)]
            at = at[key[at] == key[at + step]]
            if not len(at):
                break
            pairs = np.stack([order[at], order[at + step]])
            pairs = pairs[:, pairs.min(axis=0) < count]  # of two mirrored ones, the same two are compared as they are
            differing = np.bitwise_count(words[pairs[0]] ^ words[pairs[1]]).sum(axis=1)
            found.append(pairs[:, differing <= ALIKE] % count)
        if found:
            yield np.concatenate(found, axis=1)
