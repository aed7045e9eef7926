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
  colorlib colorize album/ --out colored --temperature 0.3 --vividness 0.5
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
    command.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a picture, or a folder: all pictures in it"
    )
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the colored pictures go")
    command.add_argument("--model", type=Path, metavar="FILE", help="a .keras colorizer in place of the shipped one")
    command.add_argument(
        "--temperature", type=_amount, metavar="T", help="1: cautious and muted; towards 0: decided and saturated"
    )
    command.add_argument(
        "--vividness", type=_amount, metavar="TAU", help="0: the common colors; up to 1: rare ones too"
    )
    command.add_argument("--gain", type=_amount, metavar="G", help="multiplies the predicted color; 0 is grey")
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

    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is a file; name a folder")
    sources, skipped, done = [], 0, 0
    for path in options.files:
        try:
            sources += _pictures_of(path, options.out)
        except files.ImageError as error:
            skip(error)
    targets = _targets([source for source, _ in sources], [options.out / below for _, below in sources])
    if sources:
        options.out.mkdir(parents=True, exist_ok=True)
        with _tensorflow_greeting_silenced():
            import keras  # noqa: F401
        model = colorize.load(options.model)
        colorize.set_dials(model, temperature=options.temperature, tau=options.vividness, gain=options.gain)
    # No bar where nobody looks at it: in a script's log it would be noise.
    for (source, _), target in tqdm(list(zip(sources, targets, strict=True)), unit="picture", disable=None):
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
        return 1 if skipped else 0
    print(f"{len(frame)} pictures{'mean':>19}   95 % interval")
    constant = set_scores.pop("constant_sign_agreement")
    beside = {"sign_agreement": f"   (the best single color: {constant:.3f})"}
    for name, score in found.items():
        interval = f"{score['low']:.3f} .. {score['high']:.3f}"
        print(f"{name:22} {score['mean']:9.3f}   {interval}{beside.get(name, '')}")
    for name, score in set_scores.items():
        print(f"{name:22} {score:9.3f}   of the whole set")
    return 1 if skipped else 0


def _pairs(predicted, truth):
    """Two folders' paths below them, without suffixes, and a function that loads the two pictures of one.

    That one raises ValueError unless both folders have exactly one picture there, readable. Raises it at once for a
    folder without pictures. A folder inside the other is no part of it.
    """
    from colorlib.data import files, sets

    sides = [(predicted, truth, {}), (truth, predicted, {})]
    for folder, other, found in sides:
        inside = other.resolve() if folder.resolve() in other.resolve().parents else None
        for path in sorted(each for each in folder.rglob("*") if sets.is_picture(str(each.relative_to(folder)))):
            if inside not in path.resolve().parents:
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
        if not found:
            raise ValueError(f"{folder}: no such folder, or no pictures in it")

    def load(name):
        for folder, _, found in sides:
            if len(paths := found.get(name, ())) != 1:
                raise ValueError(f"{'several pictures' if paths else 'no picture'} of this name in {folder}")
        return [files.load(found[name][0]) for _, _, found in sides]

    return sorted({name for *_, found in sides for name in found}), load


def _data(options):
    from colorlib.data import sets

    folder = sets.prepare(options.source, role=options.role)
    data = sets.describe(folder)
    counts = {name: data[name] for name in sets.SPLITS}
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
    from colorlib.data import files, sets

    if not path.is_dir():
        if not path.exists():
            raise files.ImageError(str(path), "no such file or folder")
        return [(path, Path(path.stem))]
    if out.resolve() == path.resolve():
        raise ValueError(f"--out {out} is the folder that is read; name another")
    found = sorted(
        each
        for each in path.rglob("*")
        if sets.is_picture(str(each.relative_to(path))) and each.is_file()
        if out.resolve() not in each.resolve().parents  # what an earlier run made
    )
    if not found:
        raise files.ImageError(str(path), "no picture in this folder")
    return [(each, each.relative_to(path).with_suffix("")) for each in found]


def _targets(sources, wanted):
    """Where each colored picture goes: a JPEG for a JPEG, else PNG; no two the same and none of the sources."""
    taken = {os.path.realpath(source).casefold() for source in sources}
    targets = []
    for source, want in zip(sources, wanted, strict=True):
        suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg", ".jpe") else ".png"
        target, number = want.with_name(want.name + suffix), 2
        while os.path.realpath(target).casefold() in taken:
            target, number = want.with_name(f"{want.name}-{number}{suffix}"), number + 1
        taken.add(os.path.realpath(target).casefold())
        targets.append(target)
    return targets


@contextlib.contextmanager
def _tensorflow_greeting_silenced():
    """TensorFlow writes to file descriptor 2 while it is imported, before any of its settings apply."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # from then on: not even that there is no GPU
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
