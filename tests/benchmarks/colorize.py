"""Measures colorizing: python tests/benchmarks/colorize.py [--model FILE] [--size SHORT_SIDE] [--out FILE].

Seconds and peak memory for pictures of 0.3 to 100 megapixels, each in a fresh process: to load the model, for the first
picture and for the next. The memory counts all: Python, TensorFlow, model, picture and result. Bytes a pixel are those
above the first case, which holds the model and what a prediction takes. Keras is imported as `colorlib colorize` does
it, without what colorizing does not need. Takes two minutes on two idle cores; the printed load average says how idle
they were.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np

from colorlib import colorize
from colorlib.__main__ import _import_keras_quietly
from colorlib.data import disk, files

PHOTOGRAPH = Path(__file__).parents[2] / "data" / "gallery" / "kodim05.jpg"
CASES = [(0.3, 8), (1, 8), (2, 8), (12, 8), (48, 8), (100, 8), (12, 16), (100, 16)]  # megapixels, bits
COLUMNS = ["megapixels", "bits", "load_s", "first_s", "next_s", "loaded_mb", "peak_mb"]


def peak():
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def photograph(megapixels, bits):
    """A photograph enlarged to so many megapixels, of 3:2."""
    source = files.load(PHOTOGRAPH)
    source = source.astype(np.uint16) * 257 if bits == 16 else source
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    return cv2.resize(source, (round(1.5 * height), height), interpolation=cv2.INTER_LINEAR)


def measure(model, size, megapixels, bits):
    """One case, in this process."""
    start = time.perf_counter()
    _import_keras_quietly()
    model = colorize.load(model)
    loaded, seconds = peak(), [time.perf_counter() - start]
    picture = photograph(megapixels, bits)
    for _ in range(4):
        start = time.perf_counter()
        colorize.colorize(model, picture, size=size)
        seconds.append(time.perf_counter() - start)
    found = [megapixels, bits, *(round(each, 2) for each in (seconds[0], seconds[1], np.median(seconds[2:])))]
    return dict(zip(COLUMNS, [*found, round(loaded / 1e6), round(peak() / 1e6)], strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model file in place of the shipped one")
    parser.add_argument("--size", type=int, default=colorize.SHORT_SIDE)
    parser.add_argument("--out", default="notebooks/results/benchmarks/colorize.json")
    parser.add_argument("--case", nargs=2, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.model, options.size, options.case[0], int(options.case[1]))))
        return
    from colorlib.scoring import results  # here, for the cases' processes are to hold nothing needless

    rows = []
    for case in CASES:
        command = [sys.executable, __file__, "--size", options.size, "--case", *case]
        command += ["--model", options.model] if options.model else []
        output = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True).stdout
        row = json.loads(output)
        smallest = rows[0] if rows else row
        if row is not smallest:
            row["bytes_a_pixel"] = round((row["peak_mb"] - smallest["peak_mb"]) / (case[0] - CASES[0][0]), 1)
        rows.append(row | {"load_average": round(os.getloadavg()[0], 1)})
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    disk.write_json({"short_side": options.size, "cases": rows, "hardware": results.hardware()}, options.out)


if __name__ == "__main__":
    main()
