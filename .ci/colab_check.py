"""Runs notebooks 01 and 09 as Colab would, and the fast tests on Colab's versions.

As Colab would: its versions, an empty folder, nothing but the notebook's own first cell.

Run by `make colab-check` in .venv-colab. The checkout is cloned from this one. pip fails once, as a network may, and
the first cell is run again. A folder of pictures beside the notebook is found by its name. No version of
.ci/colab.txt may change. Exit status 0 when all of that holds.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version

import nbformat
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parent.parent
PINNED = [line.split("==")[0] for line in (ROOT / ".ci" / "colab.txt").read_text().splitlines() if "==" in line]
# Colab has this module loaded before the first cell. The kernel gets it from here, and a pip that fails once.
PRETEND = """
import pathlib, subprocess, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
failed, real = pathlib.Path("pip_has_failed_once"), subprocess.run
def run(command, **options):
    if "pip" in command and not failed.exists():
        failed.touch()
        raise subprocess.CalledProcessError(1, command)
    return real(command, **options)
subprocess.run = run
"""


def versions():
    """The versions of what Colab pins, by name."""
    return {name: version(name) for name in PINNED}


def notebook(stem, **parameters):
    """A notebook of this checkout that fetches the library from here, with parameters set, and its first cell twice."""
    path = next((ROOT / "notebooks").glob(f"{stem}_*.ipynb"))
    found = nbformat.read(path, as_version=4)
    first = found.cells[1]
    first.source = re.sub(r"(?m)^address = .*$", f"address = {str(ROOT)!r}", first.source)
    assert str(ROOT) in first.source
    again = nbformat.v4.new_code_cell(first.source)
    first.metadata["tags"] = ["raises-exception"]  # pip fails here, once
    (cell,) = [cell for cell in found.cells if "parameters" in cell.metadata.get("tags", ())]
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    found.cells[1:2] = [nbformat.v4.new_code_cell(PRETEND), first, again]
    return found


def main():
    """Runs both notebooks, then the fast tests; says what was installed."""
    before = versions()
    print(json.dumps(before))
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        own = pathlib.Path("my pictures")
        own.mkdir()
        for source in sorted((ROOT / "data" / "gallery").glob("*.jpg")):
            shutil.copy(source, own)
        for stem, parameters in (("01", {"source": "my pictures"}), ("09", {"limit": 120, "epochs": 2})):
            pathlib.Path("pip_has_failed_once").unlink(missing_ok=True)
            found = notebook(stem, **parameters)
            NotebookClient(found, timeout=1200, kernel_name="python3").execute()
            said = [output.get("text", "") for cell in found.cells for output in cell.get("outputs", [])]
            assert any("Colab forgets" in text for text in said)
            print(f"{stem}: ran to its end", flush=True)
            shutil.rmtree("checkout")
    after = subprocess.run(
        [sys.executable, "-c", f"import importlib.metadata as m; print([m.version(n) for n in {PINNED!r}])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if after != str(list(before.values())):
        sys.exit(f"installing the library changed Colab's versions: {before} -> {after}")
    print("Colab's versions are as they were", flush=True)
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "not slow"]
    sys.exit(subprocess.run(tests, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode)


if __name__ == "__main__":
    main()
