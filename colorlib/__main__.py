"""The command line: `colorlib colorize`, `colorlib evaluate`, `colorlib data`.

Exit status: 0, or 1 where some files were left out, 2 where nothing could be done, 130 after Ctrl-C.
"""

import argparse
import collections
import contextlib
import json
import os
import sys
import unicodedata
from pathlib import Path

import colorlib

_VERSION = f"""colorlib {colorlib.__version__}
The code is under the MIT license. The shipped weights are for research use only: see colorlib/weights/LICENSE.
"""
_EXAMPLES = """examples:
  colorlib colorize grandfather.jpg --out colored
  colorlib colorize album/ --out colored --strength 1.5 --compare
  colorlib evaluate predictions/ originals/ --json
  colorlib data holiday.zip
  colorlib data --list
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments=None):
    """Runs one command and returns the exit status."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "shards", None):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.beam = rest
    try:
        return options.run(options)
    except (ValueError, OSError, MemoryError) as error:
        _say(str(error) or "too little memory")
        return 2
    except KeyboardInterrupt:
        print("\ncolorlib: stopped; what was finished is kept", file=sys.stderr)
        return 130


def _say(text):
    """Says something in one line, above a progress bar if there is one."""
    from tqdm import tqdm

    from colorlib import console

    tqdm.write(f"colorlib: {console.in_one_line(text)}", file=sys.stderr)


def _parser():
    parser = _Parser(
        prog="colorlib",
        description="Colorizes grey photographs and measures how well that went.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_VERSION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("colorize", help="color photographs; each keeps its own lightness and size")
    add = command.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="a picture, or a folder of pictures")
    add("--out", required=True, type=Path, metavar="DIR", help="for the results; run again, it skips what is done")
    add("--strength", type=_strength, metavar="S", help="0 is grey, 1 natural (default), 2 vivid")
    add("--format", choices=("jpeg", "png", "webp", "tiff"), help="of all results; else JPEG for JPEG, PNG for others")
    add("--compare", action="store_true", help="also write NAME-compare.jpg: before and after")
    add(
        "--all-pages",
        action="store_true",
        help="color every page of a scan and frame of an animation, not the first alone",
    )
    add("--recolor", action="store_true", help="color anew what is in color already")
    add("--overwrite", action="store_true", help="color all again; replaces earlier results and nothing else")
    add("--model", type=Path, metavar="FILE", help="a .keras colorizer in place of the shipped one")
    advanced = command.add_argument_group("advanced", "the dials that --strength sets")
    for dial, meaning in {
        "temperature": "1: cautious and muted; towards 0: decided and saturated",
        "rebalance": "0: the common colors; up to 1: rare ones too",
        "gain": "multiplies the predicted color; 0 is grey",
    }.items():
        advanced.add_argument(f"--{dial}", type=_amount, metavar=dial[0].upper(), help=meaning)
    command.set_defaults(run=_colorize)

    command = commands.add_parser("evaluate", help="score pictures against the true ones of the same paths")
    command.add_argument("predicted", type=Path, metavar="PRED_DIR")
    command.add_argument("truth", type=Path, metavar="TRUTH_DIR")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("data", help="make a clean picture folder with a manifest out of any source")
    add = command.add_argument
    what = "a name (--list), a folder, a .tar or a .zip, a video, tfds:NAME or hf:NAME"
    add("source", nargs="?", metavar="SOURCE", help=what)
    add("--list", action="store_true", help="the named sets, their size, terms and how they come")
    add("--limit", type=int, metavar="N", help="at most so many files, or frames of videos")
    add("--role", default="varied", help="what scenes show: faces, flowers, landscapes or varied (default)")
    rules = command.add_argument_group("what is left out, and cut off")
    add = rules.add_argument
    add("--grey", action="store_true", help="keep what is grey or of one tint")
    add("--longest", type=_amount, metavar="X", help="the long side is at most X short ones (4)")
    add("--no-portraits", action="store_true", help="leave out what is higher than wide")
    add("--square", action="store_true", help="cut each picture to its central square")
    add("--faces", action="store_true", help="cut each picture to its largest face; leave out those without")
    add = command.add_argument_group("frames of videos").add_argument
    add("--every", type=_amount, metavar="S", help="one every S seconds (2)")
    add("--frames", type=int, metavar="N", help="N of each video, spread evenly, instead")
    add("--scenes", action="store_true", help="only frames that show another scene than those before")
    add = command.add_argument_group(
        "many machines", "by Apache Beam; its own options, --runner and others, pass"
    ).add_argument
    add("--shards", type=int, metavar="N", help="write N shards of TFRecord; SOURCE may be a pattern: gs://mine/**.jpg")
    add("--out", metavar="DIR", help="for the shards (of a folder: data/processed/SOURCE-shards-...)")
    command.set_defaults(run=_data)
    return parser


def _amount(text):
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")


def _strength(text):
    if _amount(text) > 2:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 2, not {text!r}")
    return float(text)


def _colorize(options):
    """Colors each picture it can, says of each other why not, and counts them in the end."""
    from colorlib import album, colorize, console
    from colorlib.data import disk, files, listing

    if not options.out.is_dir():
        if os.path.lexists(options.out):
            what = "a file" if options.out.exists() else "a link to nothing"
            raise ValueError(f"--out {options.out} is {what}; name a folder")
        if listing.kind_of(options.out.name):
            raise ValueError(f"--out {options.out} would be a folder of this name; name one for the results")
    sources, count = [], collections.Counter()
    left_out, in_color, remarks = [], [], []  # (name, reason) each
    for path in options.files:
        try:
            found, rest = album.pictures_of(path, options.out, all_pages=options.all_pages)
            sources, left_out = sources + found, left_out + rest
        except files.ImageError as error:
            count["skipped"] += 1
            _say(f"skipped {error}")
    if not sources:
        return 2
    dials = {name: getattr(options, name) for name in ("strength", "temperature", "rebalance", "gain")}
    dials = {name: value for name, value in dials.items() if value is not None}
    with disk.locked(options.out):
        results = album.Album(options.out, album.made_with(options.model, dials), overwrite=options.overwrite)
        jobs = results.plan(sources, suffix=album.SUFFIXES.get(options.format), compare=options.compare)
        count["done already"] = len(set(sources)) - len(jobs)
        if jobs:
            _import_keras_quietly()
            model = colorize.load(options.model)
            colorize.set_dials(model, **dials)
            outcomes = results.color(jobs, model, recolor=options.recolor)
            outcomes = console.progress(outcomes, total=len(jobs), unit="picture", delay=0)
            for (source, _), (outcome, said) in zip(jobs, outcomes, strict=True):
                count[outcome] += 1
                if outcome == "in color already":
                    in_color.append((str(source.path), "in color already: --recolor colors them anew"))
                elif outcome == "colored":
                    remarks.extend((str(source.path), remark) for remark in said)
                else:
                    for reason in said:
                        _say(f"{outcome} {reason}")
    _report(remarks, what="remarked")
    _report(in_color + left_out)
    kinds = ("colored", "done already", "in color already", "skipped")
    print(f"{', '.join(f'{count[kind]} {kind}' for kind in kinds)}; results in {console.in_one_line(str(options.out))}")
    return 0 if not count["skipped"] and not left_out else 1 if any(count[kind] for kind in kinds[:3]) else 2


def _evaluate(options):
    from colorlib.scoring import scores

    pairs, load, left_out, remarks = _pairs(options.predicted, options.truth)
    frame, set_scores, skipped = scores.one_by_one(pairs, load)
    _report(remarks, what="remarked")
    _report(left_out + skipped)
    found = scores.summary(frame)
    if options.json:
        conventions = scores.CONVENTIONS | {"pictures": "8-bit sRGB, as they are"}
        report = {"pictures": len(frame), "scores": found, "set_scores": set_scores, "conventions": conventions}
        print(json.dumps(report, indent=2))
    else:
        print(f"{len(frame)} pictures{'mean':>21}   95 % interval")
        for name, score in found.items():
            print(f"{name:24} {score['mean']:9.3f}   {score['low']:.3f} .. {score['high']:.3f}")
        for name, score in set_scores.items():
            print(f"{name:24} {score:9.3f}   of the whole set")
    return 1 if skipped or left_out else 0


def _pairs(predicted, truth):
    """What two folders, or two files, have in common: (names, load, left_out, remarks).

    `load(name)` returns the two pictures of a name; `left_out` is what is not read of the folders, [(name, reason)];
    `remarks`, a list like it, fills while pictures are loaded. Names go together if they are equal, else if they are
    without their suffixes and whatever their case; composed and decomposed letters are the same. `load` raises
    ValueError where one lacks its counterpart, has several, or cannot be read.
    """
    from colorlib import album
    from colorlib.data import files

    remarks = []

    def opened(path):
        photograph = files.open_photograph(files.read(path), str(path), is_deep=False)
        remarks.extend((str(path), remark) for remark in photograph.remarks)
        return files.flat(photograph)

    for path in (predicted, truth):
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
    if predicted.is_file() != truth.is_file():
        raise ValueError(f"{predicted} and {truth}: a file and a folder; name two files or two folders")
    if predicted.is_file():
        return [predicted.name], lambda _: [opened(predicted), opened(truth)], [], remarks
    sides, left_out = [], []
    for folder, other in ((predicted, truth), (truth, predicted)):
        pictures, rest = album.below(folder, other)
        side = {}
        for name, path in pictures:
            if (composed := unicodedata.normalize("NFC", name)) in side:
                rest.append((name, "two of this name, but for how its letters are composed"))
            side.setdefault(composed, path)
            with contextlib.suppress(files.ImageError):  # which scoring it will report
                rest += [
                    (of, "pages: the first is scored") for of in album.further_pages(name, files.count_pages(path))
                ]
        sides.append(side)
        left_out += [(str(folder / name), reason) for name, reason in rest]
    both = {name: (sides[0][name], sides[1][name]) for name in sides[0].keys() & sides[1].keys()}
    by_stem = [collections.defaultdict(list), collections.defaultdict(list)]
    for side, of_stem in zip(sides, by_stem, strict=True):
        for name in side.keys() - both.keys():
            of_stem[os.path.splitext(name)[0].casefold()].append(side[name])

    def load(name):
        if name in both:
            return [opened(path) for path in both[name]]
        for folder, of_stem in zip((predicted, truth), by_stem, strict=True):
            if len(of_stem.get(name, ())) != 1:
                raise ValueError(f"{'several pictures' if name in of_stem else 'no picture'} of this name in {folder}")
        return [opened(of_stem[name][0]) for of_stem in by_stem]

    return sorted({*both, *by_stem[0], *by_stem[1]}), load, left_out, remarks


def _data(options):
    from colorlib import console
    from colorlib.data import catalog, cleaning, sets, sources

    if options.list:
        for row in catalog.in_table(Path("data/raw")):
            print("{:20} {:55} {:>8}  {:8}  {}".format(*row))
        return 0
    if not options.source:
        raise ValueError("data needs a SOURCE: a folder, an archive or a name that colorlib data --list tells")
    rules = cleaning.Rules(
        grey=options.grey,
        longest=cleaning.USUAL.longest if options.longest is None else options.longest,
        portraits=not options.no_portraits,
        square=options.square,
        faces=options.faces,
    )
    frames = sources.Frames(
        every=sources.TWO_SECONDS.every if options.every is None else options.every,
        number=options.frames,
        apart=sources.SCENES_APART if options.scenes else sources.NEARLY_AS_ONE,
    )
    if options.shards is None:
        folder = sets.prepare(options.source, role=options.role, limit=options.limit, rules=rules, frames=frames)
    else:
        folder, counts = _shards(options, rules, frames)
    if "://" not in str(folder):
        about, rejects = sets.describe(folder), sets.rejects(folder)
        counts = {name: about[name] for name in sets.SPLITS} | {"rejects": len(rejects)}
    parts = ", ".join(f"{counts[name]} {name}" for name in sets.SPLITS)
    print(f"{sum(counts[name] for name in sets.SPLITS)} pictures ({parts}), {counts['rejects']} rejected")
    print(console.in_one_line(str(folder)))
    if "://" in str(folder):
        print("Copy it to a local disk to train from it.")
    else:
        _report(rejects)
    return 1 if counts["rejects"] else 0


def _shards(options, rules, frames):
    """Makes shards; returns their folder and {split or "rejects": count}."""
    import logging

    logging.disable(logging.WARNING)  # Beam tells of what it could also use
    try:
        from colorlib.data import scale
    except ImportError as error:
        raise ValueError(f"--shards: pip install -e '.[scale]' in the checkout brings Apache Beam ({error})") from error

    if options.limit is not None:
        raise ValueError("--shards takes all there is: --limit later, where the set is used")
    from colorlib.data import cleaning

    source, out = options.source, options.out
    if not out:
        if "://" in source or not Path(source).exists():
            raise ValueError(f"--shards of {source} needs --out, a folder for them")
        place = Path(source).resolve()
        out = f"data/processed/{place.name}-shards-{cleaning.name_hash(str(place))[:6]}"
    counts = scale.prepare(source, out, shards=options.shards, rules=rules, frames=frames, options=options.beam)
    return out, counts


def _report(those, *, what="left out"):
    """Says in one line what was left out and why, or what was remarked, if anything was: [(name, reason)]."""
    from colorlib.data import listing

    if those:
        _say(listing.in_short(those, what=what))


def _import_keras_quietly():
    """Imports Keras without greetings, and without what it and TensorFlow load along for other uses.

    Only this process, which colors pictures and ends, does without DataFrames: that saves 230 MB and 2 seconds.
    """
    hidden = {"sklearn", "pandas", "matplotlib", "IPython"} - sys.modules.keys()
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        hidden |= {"jax"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # None stands for a package that is not installed
    try:
        colorlib.import_keras()
    finally:
        for name in hidden:
            del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main())
