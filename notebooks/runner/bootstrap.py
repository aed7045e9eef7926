"""The first code cell of every notebook, and the repository's public address.

The address stands in pyproject.toml, once `make address URL=https://github.com/OWNER/NAME` has written it there. Until
then no notebook carries a badge, and no page a clone line.
"""

import json
import pathlib
import re
import tomllib

from colorlib.data import disk

CELL = """\
# The same in every notebook. In Colab it fetches and installs the library; elsewhere it only finds it.
import os
import pathlib
import subprocess
import sys

address = "{address}"  # of the repository; `make address URL=...` writes it
here = pathlib.Path.cwd()
if "google.colab" in sys.modules and not (here / "colorlib").is_dir():
    if not address:
        print("This copy does not name its repository: open the notebook from the repository's own page.")
    if not pathlib.Path("checkout").is_dir():
        subprocess.run(["git", "clone", "-q", "--depth", "1", address, "checkout"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "checkout"], check=True)
    os.chdir("checkout")
    print("Colab forgets this folder when the runtime ends: download what you want to keep.")
os.environ.setdefault("COLORLIB_STARTED_IN", str(here))  # your own pictures are found beside the notebook
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else Albumentations calls home
here = pathlib.Path.cwd()
os.chdir(next((folder for folder in (here, *here.parents) if (folder / "colorlib").is_dir()), here))
sys.path.insert(0, os.getcwd())"""


def address(root):
    """Returns the repository's address, `https://github.com/OWNER/NAME`, from pyproject.toml in `root`; "" for none."""
    with open(pathlib.Path(root) / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"].get("urls", {}).get("Repository", "")


def cell(root):
    """Returns the text of the bootstrap cell, the same for every notebook of the checkout at `root`."""
    return CELL.format(address=address(root))


def badge(root, stem):
    """Returns the Markdown of the button that opens notebook `stem` in Colab; "" while there is no address."""
    if not (known := address(root)):
        return ""
    owner_and_name = known.removeprefix("https://github.com/")
    notebook = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/{stem}.ipynb"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({notebook})"


def write_address(url, root):
    """Writes an address into pyproject.toml, and from there into each notebook's badge and first cell, and the README.

    Returns the files changed. Raises ValueError unless the address reads https://github.com/OWNER/NAME, the
    only kind that Colab opens.
    """
    url = url.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ValueError(f"URL={url!r} does not read https://github.com/OWNER/NAME")
    root = pathlib.Path(root)
    project = root / "pyproject.toml"
    text = re.sub(r'\n\[project\.urls\]\nRepository = ".*"\n', "", project.read_text(encoding="utf-8"))
    section = f'\n[project.urls]\nRepository = "{url}"\n'
    changed = _write({project: text.replace("\n[project.scripts]", f"{section}\n[project.scripts]", 1)})
    new = {path: _addressed(path, root) for path in sorted(root.glob("notebooks/[0-9]*.ipynb"))}
    if (readme := root / "README.md").is_file():
        clone = f"git clone {url} && cd {url.rpartition('/')[2]}\n"
        before = re.sub(r"(?m)^git clone .*\n", "", readme.read_text(encoding="utf-8"))
        new[readme] = before.replace("```sh\nmake setup", f"```sh\n{clone}make setup", 1)
    return changed + _write(new)


def _addressed(path, root):
    """The text of a notebook with the present address in its badge and first code cell."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    title, first = notebook["cells"][0], notebook["cells"][1]
    lines = [line for line in "".join(title["source"]).split("\n") if "colab-badge.svg" not in line]
    heading = lines.pop(0)
    body = "\n".join(lines).lstrip("\n")
    title["source"] = "\n\n".join(part for part in (heading, badge(root, path.stem), body) if part).splitlines(True)
    first["source"] = cell(root).splitlines(True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _write(texts):
    changed = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        disk.write(path, texts[path])
    return changed
