"""Where a number comes from: the commit of the code and the machine it ran on."""

import functools
import os
import pathlib
import platform
import subprocess

import keras

ROOT = pathlib.Path(__file__).resolve().parent.parent
_CODE = ("colorlib", ":!colorlib/weights/vivid.*", ":(glob)notebooks/*.ipynb", "notebooks/profiles")  # makes results


@functools.cache
def commit():
    """The git commit of the checkout, with "+" where files have changed since; "unknown" outside a checkout."""
    try:
        run = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True)
        head = run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip()
        return head + ("+" if run(["git", "status", "--porcelain", "--", *_CODE]).stdout else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def hardware():
    """What the run ran on, in words: GPUs if there are any, else the processor and its cores."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if gpus := tf.config.list_physical_devices("GPU"):
            return f"{len(gpus)} x {tf.config.experimental.get_device_details(gpus[0])['device_name']}"
    try:
        cpu = pathlib.Path("/proc/cpuinfo").read_text()
        name = next(line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {name}"
