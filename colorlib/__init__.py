"""colorlib: a colorization laboratory. Lightness in, color out, and an honest measure of how good it is.

Submodules load when they are first named (`colorlib.color`, `from colorlib import plots`), so that
`import colorlib` costs milliseconds and TensorFlow is loaded only by what needs it.
"""

import importlib
import os
import pathlib

__version__ = "0.2.0"

# So that TensorFlow, if it is imported after this package, says only what is wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_FOLDER = pathlib.Path(__file__).parent


def _submodules():
    """Names of the modules and packages that lie in this folder."""
    modules = {path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_")}
    packages = {path.parent.name for path in _FOLDER.glob("*/__init__.py")}
    return modules | packages


def import_keras():
    """Imports Keras without the greetings of TensorFlow, which writes them to file descriptor 2 whatever is set."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        importlib.import_module("keras")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def load(path=None):
    """Loads a colorizer, the shipped one by default: see `colorlib.colorize.load`."""
    import_keras()
    return importlib.import_module(f"{__name__}.colorize").load(path)


def __getattr__(name):
    if not name.startswith("_") and name in _submodules():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_submodules()})
