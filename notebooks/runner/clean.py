"""`make clean`: removes what the project built, file by file, and leaves what it does not know."""

import re
import shutil
from pathlib import Path

from colorlib import console

ROOT = Path(__file__).resolve().parent.parent.parent
WHOLE = (".pytest_cache", ".ruff_cache", ".venv-colab", "build/lib", "data/cache/matplotlib", "data/cache/ipython")
PLACES = ("data/runs", "data/processed", "data/cache")
OURS = re.compile(
    r"""
    (epoch|kept)-\d{3,}\.weights\.h5 | preview-\d{3,}\.png | \w+(-seed\d+)?\.keras | features\.npy   # of training
    | (history|settings|progress|minutes|set)\.json | journal\.jsonl | \.lock | \..+\.part | index\.html
    | \d\d_\w+\.(ipynb|partial\.ipynb|html|log|csv|json|pictures\.csv\.gz)                            # of notebooks
    | (plan|cleaned|groups|pictures|manifest|rejects|about)-\d{5}.*\.(json|jsonl|jpegs|csv|tfrecord)   # of shards
    | beam\.log
    | (manifest|rejects|pictures)\.csv | hashes\.npy | [0-9a-f]{16}-[0-9a-f]{6}\.jpg | \d{7,}\.rgb    # of sets
    """,
    re.VERBOSE,
)


def clean(root=ROOT):
    """Removes what was built below a checkout; returns the paths in its places that are not of its making."""
    for place in [root / name for name in WHOLE] + [each for each in root.glob("*/**/__pycache__")]:
        if ".venv" not in place.relative_to(root).parts:
            shutil.rmtree(place, ignore_errors=True)
    left = []
    for place in [root / name for name in PLACES]:
        for path in sorted(place.rglob("*"), reverse=True):  # what is in a folder before the folder
            if path.is_symlink() or path.is_file():
                if OURS.fullmatch(path.name) or (path.name in ("pictures", "shards") and path.is_symlink()):
                    path.unlink()
                else:
                    left.append(path)
            elif not any(path.iterdir()):
                path.rmdir()
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    return sorted(left)


if __name__ == "__main__":
    for path in clean():
        print(console.in_one_line(f"left: {path.relative_to(ROOT)}, which is not of the project's making"))
