"""The shape that docs/design.md promises: imports that point strictly down, nothing heavy at import."""

import ast
import pathlib
import subprocess
import sys

import pytest

import colorlib

PACKAGE = pathlib.Path(colorlib.__file__).parent
# Each row may import from the rows above it only; a folder counts as one module.
LAYERS = (
    {"color", "console"},
    {"data"},
    {"models"},
    {"training", "scoring", "bugs"},
    {"decoding"},
    {"colorize", "plots"},
    {"album"},
    {"__main__", "weights"},
)
LEVELS = {module: level for level, modules in enumerate(LAYERS) for module in modules}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(source, package=("colorlib",)):
    """The modules of colorlib that a source text in `package` imports anywhere, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            names = [".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names]
        for name in names:
            root, _, rest = name.partition(".")
            if root == "colorlib" and rest:
                found.add(rest.split(".")[0])
    return found


def upward_imports(module, source, package=("colorlib",)):
    imported = imported_modules(source, package) - {module}
    return sorted(other for other in imported if LEVELS[other] >= LEVELS[module])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_strictly_down(path):
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert "notebooks.runner" not in path.read_text(encoding="utf-8")
    if module == "__init__":
        assert imported_modules(path.read_text(encoding="utf-8")) == set()
        return
    assert module in LEVELS, f"say in LAYERS where {module} stands"
    package = ("colorlib", *path.relative_to(PACKAGE).parent.parts)
    assert upward_imports(module, path.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("module", "source", "upward"),
    [
        ("data", "from colorlib import color", []),
        ("data", "def f():\n    from colorlib import plots", ["plots"]),
        ("data", "import colorlib.scoring.scores", ["scoring"]),
        ("data", "from .scoring import scores", ["scoring"]),
    ],
)
def test_an_upward_import_is_seen(module, source, upward):
    assert upward_imports(module, source) == upward


def output(script):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_quick_and_loads_nothing_heavy():
    heavy = ("tensorflow", "keras", "numpy", "skimage", "pandas", "matplotlib", "cv2", "scipy", "albumentations")
    script = (
        "import sys, time; start = time.perf_counter(); import colorlib; "
        f"print(time.perf_counter() - start, *[name for name in {heavy!r} if name in sys.modules])"
    )
    times = []
    for _ in range(3):  # the fastest of three: other programs run on this machine too
        seconds, *loaded = output(script).split()
        assert loaded == []
        times.append(float(seconds))
    assert min(times) < 0.3


@pytest.mark.parametrize("module", ["colorlib.data.sets", "colorlib.__main__", "notebooks.runner.run"])
def test_what_needs_no_network_loads_no_tensorflow(module):
    heavy = ("tensorflow", "keras", "skimage", "pandas")
    script = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    assert output(script) == "[]"
