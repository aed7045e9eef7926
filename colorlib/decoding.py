"""The dials of a vivid colorizer, temperature, rebalance and gain: swept, and chosen on validation pictures.

Logits are computed once and decoded with as many settings as you like. What each dial does: `models.vivid.BinDecoding`.
"""

import itertools

import keras
import numpy as np

from colorlib import color, console
from colorlib.models import bin_logits, predict
from colorlib.scoring import scores

TEMPERATURES = (1.0, 0.6, 0.38, 0.25)
REBALANCES = (0.0, 0.2, 0.4, 0.6)


def logits(colorizer, lightness):
    """The logits of a vivid colorizer for lightness (N, S, S, 1): NumPy (N, S/4, S/4, 261)."""
    return predict(bin_logits(colorizer), lightness)


def decode(colorizer, values, *, temperature=1.0, rebalance=0.0, gain=1.0, batch_size=64):
    """Decodes logits (N, h, w, 261) with these dials, which stay set, into NumPy ab (N, 4h, 4w, 2) in [-1, 1]."""
    layer, enlarge = colorizer.get_layer("decode"), colorizer.get_layer("ab")
    layer.temperature, layer.rebalance, layer.gain = temperature, rebalance, gain
    parts = [enlarge(layer(values[i : i + batch_size])) for i in range(0, len(values), batch_size)]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def sweep(colorizer, values, lightness, truth, settings):
    """Scores each setting of the dials on pictures (N, S, S, 3) whose logits are `values`: a list of points.

    A setting is a dictionary of `decode`'s dials; a point is the setting with `scores.curve_point`'s scores.
    """
    points = []
    for setting in console.progress(settings, desc="dials", leave=False):
        ab = decode(colorizer, values, **setting)
        points.append({**setting, **scores.curve_point(color.render(lightness, ab)[0], truth)})
    return points


def choose(colorizer, lightness, truth, *, temperatures=TEMPERATURES, rebalances=REBALANCES, most_gain=2.0):
    """Sets the dials that score best on validation pictures, all at the truth's colorfulness; returns the points.

    For each temperature and rebalance the gain is matched to colorfulness ratio 1, within 0.5 to `most_gain`; among
    those the lowest CIEDE2000 wins. A point is a setting, its CIEDE2000 and its colorfulness ratio. `truth` is uint8
    (N, S, S, 3). Where every gain lies outside, the one nearest 1 is taken, with a notice. Raises ValueError for a
    truth without color, or where no gain at all gives the truth's colorfulness.
    """
    if not scores.colorfulness(truth).any():
        raise ValueError("the validation pictures are grey, so there is no color to choose dials by")
    values = logits(colorizer, lightness)
    points = []
    combinations = [*itertools.product(temperatures, rebalances)]
    for temperature, rebalance in console.progress(combinations, desc="dials", leave=False):
        ab = decode(colorizer, values, temperature=temperature, rebalance=rebalance)
        try:
            gain = round(scores.matching_gain(lightness, ab, truth), 3)
        except ValueError:
            continue  # colorless: no gain reaches the truth's colorfulness
        pictures, _ = color.render(lightness, np.float32(gain) * ab)
        means = scores.per_picture(pictures, truth, only=("ciede2000", "colorfulness", "colorfulness_true")).mean()
        ratio = float(means["colorfulness"] / means["colorfulness_true"])
        point = {"temperature": temperature, "rebalance": rebalance, "gain": gain}
        points.append(point | {"ciede2000": float(means["ciede2000"]), "colorfulness_ratio": ratio})
    if not points:
        raise ValueError("no temperature and rebalance reach the truth's colorfulness, whatever the gain")
    mildest = min(points, key=lambda point: abs(np.log(point["gain"])))
    points = [point for point in points if 0.5 <= point["gain"] <= most_gain]
    if not points:
        points = [mildest]
        print(f"every setting needs a gain outside 0.5 to {most_gain:g}; taking the mildest, {mildest['gain']:g}")
    best, layer = min(points, key=lambda point: point["ciede2000"]), colorizer.get_layer("decode")
    layer.temperature, layer.rebalance, layer.gain = best["temperature"], best["rebalance"], best["gain"]
    return points


def natural(swept, *, least_ratio, most_blots=1.0):
    """The setting that colors most naturally, of validation pictures of several sets.

    `swept` is {set: points of `sweep`}, all with the same settings in the same order; `least_ratio` is {set: the lowest
    colorfulness ratio allowed}, `most_blots` how many there may be, in those of the truth. Among settings that keep to
    both on every set, the lowest mean CIEDE2000 wins. Where there is none, the one that misses least, with a notice.
    """
    found = []
    for points in zip(*swept.values(), strict=True):
        missed = 0.0
        for name, point in zip(swept, points, strict=True):
            missed += max(0.0, least_ratio[name] - point["colorfulness_ratio"])
            missed += max(0.0, point["blots"] / max(point["blots_true"], 1e-9) - most_blots)
        found.append((missed, float(np.mean([point["ciede2000"] for point in points])), points[0]))
    missed, _, best = min(found, key=lambda each: each[:2])
    if missed:
        print(f"no setting is both colorful enough and free of blots on every set; the nearest misses by {missed:.2f}")
    return {name: best[name] for name in ("temperature", "rebalance", "gain")}
