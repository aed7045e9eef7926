"""Measures the embedded picture set: python tests/benchmarks/scenes.py [--count 600] [--sets FOLDER] [--out FILE].

Pictures painted in a second at 128x128, by one process and by two, and how the colors of each kind compare with
those of real photographs of it at 64x64. `--sets` names a folder that holds real sets, one folder of pictures
for each kind, to measure them too.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from colorlib import color
from colorlib.data import disk, files, scenes
from colorlib.scoring import results, scores

# Measured on 600 photographs of each kind at 64x64: CelebA, Oxford flowers, landscapes. Lab units, 8-bit
# colorfulness (Hasler and Suesstrunk 2003, signed), shares, and exp(entropy) over the 261 ab bins.
TARGETS = {
    "faces": {
        "mean chroma": 17.6,
        "median chroma": 16.0,
        "95th percentile": 40.6,
        "chroma < 5": 0.23,
        "colorfulness": 45.4,
        "b > a": 0.65,
        "effective bins": 15.9,
        "explained by L*": 0.22,
    },
    "flowers": {
        "mean chroma": 31.2,
        "median chroma": 26.4,
        "95th percentile": 77.1,
        "chroma < 5": 0.12,
        "colorfulness": 70.6,
        "b > a": 0.64,
        "effective bins": 62.9,
        "explained by L*": 0.08,
    },
    "landscapes": {
        "mean chroma": 15.8,
        "median chroma": 11.8,
        "95th percentile": 43.8,
        "chroma < 5": 0.23,
        "colorfulness": 37.9,
        "b > a": 0.49,
        "effective bins": 19.6,
        "explained by L*": 0.03,
    },
}


def statistics(pictures):
    """Color statistics of a set, uint8 (N, S, S, 3), under the names of TARGETS."""
    lab = color.rgb_to_lab(pictures.astype(np.float32) / 255).reshape(-1, 3)
    lightness, ab = lab[:, 0], lab[:, 1:]
    chroma = np.hypot(*ab.T)
    share = np.bincount(color.nearest_bin(ab)) / len(ab)
    share = share[share > 0]
    level = np.clip(lightness, 0, 99.9).astype(int)
    count = np.maximum(np.bincount(level, minlength=100), 1)
    means = np.stack([np.bincount(level, weights=channel, minlength=100) / count for channel in ab.T], -1)
    return {
        "mean chroma": float(chroma.mean()),
        "median chroma": float(np.median(chroma)),
        "95th percentile": float(np.percentile(chroma, 95)),
        "chroma < 5": float((chroma < 5).mean()),
        "colorfulness": float(scores.colorfulness(pictures).mean()),
        "b > a": float((ab[:, 1] > ab[:, 0]).mean()),
        "effective bins": float(np.exp(-(share * np.log(share)).sum())),
        "explained by L*": float(1 - (ab - means[level]).var(0).sum() / ab.var(0).sum()),
    }


def rate(kind, workers, count, rounds=5):
    """Pictures of 128x128 painted in a second, processes and noise tiles already there: the median round."""
    found = []
    for _ in range(rounds):
        paint = scenes.pictures(kind, count + 64, 128, workers=workers)
        for _ in range(64):
            next(paint)
        start = time.perf_counter()
        found.append(sum(1 for _ in paint) / (time.perf_counter() - start))
    return float(np.median(found))


def main():
    """Prints the tables and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--out", type=Path, default=Path("notebooks/results/benchmarks/scenes.json"))
    options = parser.parse_args()
    result = {"count": options.count, "hardware": results.hardware()}
    result |= {"rates": {}, "statistics": {}}
    for kind in (*scenes.KINDS, "varied"):
        rates = {f"processes: {workers}": round(rate(kind, workers, 400 * workers), 1) for workers in (1, 2)}
        result["rates"][kind] = rates
        print(f"{kind:11} pictures/s by " + ", by ".join(f"{name} {value:.0f}" for name, value in rates.items()))
    for kind, targets in TARGETS.items():
        rows = {"target": targets}
        rows["scenes"] = statistics(np.stack([p for _, p in scenes.pictures(kind, options.count, 64)]))
        if options.sets:
            photographs = sorted((options.sets / kind).glob("*.jpg"))
            chosen = np.random.default_rng(0).choice(photographs, min(options.count, len(photographs)), replace=False)
            rows["photographs"] = statistics(np.stack([files.fit(files.load(f), 64) for f in chosen]))
        print(f"\n{kind:16}" + "".join(f"{row:>13}" for row in rows) + "   scenes / target")
        for name, target in targets.items():
            values = "".join(f"{row[name]:13.3g}" for row in rows.values())
            print(f"{name:16}{values}   {rows['scenes'][name] / target:.2f}")
        result["statistics"][kind] = {
            row: {name: round(value, 4) for name, value in values.items()} for row, values in rows.items()
        }
    disk.write(options.out, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
