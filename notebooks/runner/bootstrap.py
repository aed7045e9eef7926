"""The first code cell of every notebook, and the repository's public address, which pyproject.toml holds."""

import pathlib
import re
import tomllib

from colorlib.data import files

CELL = """\
# The same in every notebook: work from the root of the checkout, which Colab fetches first.
import os
import pathlib
import subprocess
import sys

address = "{address}"
if "google.colab" in sys.modules and not pathlib.Path("colorlib").is_dir():
    if not pathlib.Path("checkout").is_dir():
        subprocess.run(["git", "clone", "-q", "--depth", "1", address, "checkout"], check=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "checkout"], check=True)
    os.chdir("checkout")
here = pathlib.Path.cwd()
os.chdir(next((folder for folder in (here, *here.parents) if (folder / "colorlib").is_dir()), here))
sys.path.insert(0, os.getcwd())"""


def address(root):
    """Returns the repository's address, `https://github.com/OWNER/NAME`, from pyproject.toml in `root`."""
    with open(pathlib.Path(root) / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"]


def cell(root):
    """Returns the text of the bootstrap cell, the same for every notebook of the checkout at `root`."""
    return CELL.format(address=address(root))


def badge(root, stem):
    """Returns the Markdown of the button, for the title cell, that opens notebook `stem` in Colab."""
    owner_and_name = address(root).removeprefix("https://github.com/")
    notebook = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/{stem}.ipynb"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({notebook})"


def write_address(url, root):
    """Writes a new address into pyproject.toml, the README and the notebooks' badges and bootstrap cells.

    Returns the files changed. Raises ValueError unless the address reads https://github.com/OWNER/NAME, the
    only kind that Colab opens.
    """
    url = url.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ValueError(f"URL={url!r} does not read https://github.com/OWNER/NAME")
    root = pathlib.Path(root)
    old, new = (text.removeprefix("https://github.com/") for text in (address(root), url))
    # pyproject.toml last: if this stops half way, the old address can still be found and replaced.
    candidates = [root / "README.md", *sorted(root.glob("notebooks/*.ipynb")), root / "pyproject.toml"]
    changed = []
    for path in candidates:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        # Up to the end of the name only: OWNER/lab is no part of OWNER/lab-two.
        after = re.sub(rf"(github\.com/|\.com/github/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", before)
        if after != before:
            files.write(path, after)
            changed.append(path)
    return changed
