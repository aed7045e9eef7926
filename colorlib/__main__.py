"""The command line: `colorlib colorize`, `colorlib evaluate`, `colorlib data`.

Exit status: 0, or 1 where some files were left out, 2 where nothing could be done, 130 after Ctrl-C.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

import colorlib

_EXAMPLES = """examples:
  colorlib colorize grandfather.jpg --out colored
  colorlib colorize album/ --out colored --temperature 0.3 --rebalance 0.5
  colorlib evaluate predictions/ originals/ --json
  colorlib data holiday.zip
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments=None):
    """Runs one command and returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"colorlib: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncolorlib: stopped; what was finished is kept", file=sys.stderr)
        return 130


def _parser():
    parser = _Parser(
        prog="colorlib",
        description="Colorizes grey photographs and measures how well that went.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"colorlib {colorlib.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("colorize", help="color photographs; each keeps its own lightness and size")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a picture, or a folder of pictures")
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the colored pictures go")
    command.add_argument("--model", type=Path, metavar="FILE", help="a .keras colorizer in place of the shipped one")
    for dial, meaning in {
        "temperature": "1: cautious and muted; towards 0: decided and saturated",
        "rebalance": "0: the common colors; up to 1: rare ones too",
        "gain": "multiplies the predicted color; 0 is grey",
    }.items():
        command.add_argument(f"--{dial}", type=_amount, metavar=dial[0].upper(), help=meaning)
    command.add_argument("--vividness", "--tau", type=_amount, dest="old_rebalance", help=argparse.SUPPRESS)
    command.set_defaults(run=_colorize)

    command = commands.add_parser("evaluate", help="score pictures against the true ones of the same paths")
    command.add_argument("predicted", type=Path, metavar="PRED_DIR")
    command.add_argument("truth", type=Path, metavar="TRUTH_DIR")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("data", help="make a clean picture folder with a manifest out of any source")
    command.add_argument("source", metavar="SOURCE", help="a name (scenes, flowers, ...), a folder, a .tar or a .zip")
    command.add_argument("--role", default="varied", help="faces, flowers, landscapes or varied (default)")
    command.set_defaults(run=_data)
    return parser


def _amount(text):
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")


def _colorize(options):
    """Colors each picture it can, reports each it cannot."""
    from tqdm import tqdm

    from colorlib import colorize
    from colorlib.data import files

    def skip(error):
        nonlocal skipped
        skipped += 1
        tqdm.write(f"colorlib: skipped {' '.join(str(error).split())}", file=sys.stderr)

    if options.old_rebalance is not None:
        print("colorlib: --vividness and --tau are now called --rebalance", file=sys.stderr)
        options.rebalance = options.old_rebalance if options.rebalance is None else options.rebalance
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is a file; name a folder")
    sources, skipped, done = [], 0, 0
    for path in options.files:
        try:
            sources += _pictures_of(path, options.out)
        except files.ImageError as error:
            skip(error)
    if sources:
        options.out.mkdir(parents=True, exist_ok=True)
        _import_keras_quietly()
        model = colorize.load(options.model)
        colorize.set_dials(model, temperature=options.temperature, rebalance=options.rebalance, gain=options.gain)
    # No bar where nobody looks at it: in a script's log it would be noise.
    for source, target in tqdm(_with_targets(sources, options.out), unit="picture", disable=None):
        try:
            colored = colorize.colorize(model, files.load(source))
        except files.ImageError as error:
            skip(error)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        files.save(colored, target)
        done += 1
    return 0 if not skipped else 1 if done else 2


def _evaluate(options):
    from colorlib.scoring import scores

    frame, set_scores, skipped = scores.one_by_one(*_pairs(options.predicted, options.truth))
    _report("skipped", skipped)
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
    return 1 if skipped else 0


def _pairs(predicted, truth):
    """Two folders' paths below them, without suffixes, and a function that loads the two pictures of one.

    That one raises ValueError unless both folders have exactly one picture there, readable.
    """
    from colorlib.data import files

    sides = [(predicted, _below(predicted, truth)), (truth, _below(truth, predicted))]

    def load(name):
        for folder, found in sides:
            if len(found.get(name, ())) != 1:
                raise ValueError(f"{'several pictures' if name in found else 'no picture'} of this name in {folder}")
        return [files.load(found[name][0]) for _, found in sides]

    return sorted({name for _, found in sides for name in found}), load


def _below(folder, other):
    """{path below the folder, without suffix: its pictures}, sorted; none of `other`, where that lies in the folder."""
    from colorlib.data import files, sets

    left_out = other.resolve() if folder.resolve() in other.resolve().parents else None
    found = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if sets.is_picture(str(below)) and path.is_file() and left_out not in path.resolve().parents:
            found.setdefault(below.with_suffix("").as_posix(), []).append(path)
    if not found:
        raise files.ImageError(str(folder), "no such file, or no picture in this folder")
    return found


def _data(options):
    from colorlib.data import sets

    folder = sets.prepare(options.source, role=options.role)
    counts = {name: sets.describe(folder)[name] for name in sets.SPLITS}
    rejects = [f"{name}: {reason}" for name, reason in sets.rejects(folder)]
    parts = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{sum(counts.values())} pictures ({parts}), {len(rejects)} rejected")
    print(folder)
    _report("rejected", rejects)
    return 1 if rejects else 0


def _report(what, reasons):
    """Says of each file why it was left out, the first ten at most."""
    for reason in reasons[:10]:
        print(f"colorlib: {what} {' '.join(reason.split())}", file=sys.stderr)
    if len(reasons) > 10:
        print(f"colorlib: and {len(reasons) - 10} more", file=sys.stderr)


def _pictures_of(path, out):
    """The pictures that a FILE argument means: [(path, path below --out without its suffix)]. Raises ImageError."""
    if path.is_file():
        return [(path, Path(path.stem))]
    if out.resolve() == path.resolve():
        raise ValueError(f"--out {out} is the folder that is read; name another")
    return [(each, Path(name)) for name, found in _below(path, out).items() for each in found]


def _with_targets(sources, out):
    """[(picture, where it goes)]: a JPEG for a JPEG, else PNG; no two the same and none of the pictures themselves."""
    taken = {os.path.realpath(source).casefold() for source, _ in sources}
    pairs = []
    for source, below in sources:
        suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg", ".jpe") else ".png"
        target, number = out / below.with_name(below.name + suffix), 2
        while os.path.realpath(target).casefold() in taken:
            target, number = out / below.with_name(f"{below.name}-{number}{suffix}"), number + 1
        taken.add(os.path.realpath(target).casefold())
        pairs.append((source, target))
    return pairs


def _import_keras_quietly():
    """TensorFlow writes to file descriptor 2 while it is imported, before any of its settings apply."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # from then on: not even that there is no GPU
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import keras  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)


if __name__ == "__main__":
    sys.exit(main())
