"""The dials of a vivid colorizer, temperature, tau and gain: swept, and chosen on validation pictures."""

import itertools

import keras
import numpy as np
from tqdm import tqdm

from colorlib import color
from colorlib.models import bin_logits, predict
from colorlib.scoring import scores

TEMPERATURES = (1.0, 0.6, 0.38, 0.25)
TAUS = (0.0, 0.2, 0.4, 0.6)
_RANKED = ("ciede2000", "colorfulness", "colorfulness_true")


def logits(colorizer, lightness):
    """The logits of a vivid colorizer for lightness (N, S, S, 1): (N, S/4, S/4, 261). Computed once, decoded often."""
    return predict(bin_logits(colorizer), lightness)


def decode(colorizer, values, *, temperature=1.0, tau=0.0, gain=1.0, batch_size=64):
    """Decodes logits (N, h, w, 261) with these dials, which stay set, into ab (N, 4h, 4w, 2) in [-1, 1]."""
    layer = colorizer.get_layer("decode")
    layer.temperature, layer.tau, layer.gain = temperature, tau, gain
    upsample = colorizer.get_layer("ab")
    parts = [upsample(layer(values[i : i + batch_size])) for i in range(0, len(values), batch_size)]
    return keras.ops.convert_to_numpy(keras.ops.concatenate(parts))


def sweep(colorizer, values, lightness, truth, settings):
    """Scores each setting of the dials on pictures (N, S, S, 3) whose logits are `values`: a list of points.

    A point is its setting with `scores.curve_point`'s four scores.
    """
    points = []
    for setting in tqdm(settings, desc="dials", leave=False):
        ab = decode(colorizer, values, **setting)
        points.append({**setting, **scores.curve_point(color.render(lightness, ab)[0], truth)})
    return points


def choose(colorizer, lightness, truth, *, temperatures=TEMPERATURES, taus=TAUS, most_gain=2.0):
    """Sets the dials that score best on validation pictures, all at the truth's colorfulness; returns the points.

    For each temperature and tau the gain is matched to colorfulness ratio 1, within 0.5 to `most_gain`; among those the
    lowest CIEDE2000 wins. A point is a setting, its CIEDE2000 and its colorfulness ratio. `truth` is uint8
    (N, S, S, 3). Where every gain lies outside, the one nearest 1 is taken, with a notice. Raises ValueError for a
    truth without color, or where no gain at all gives the truth's colorfulness.
    """
    if not scores.colorfulness(truth).any():
        raise ValueError("the validation pictures are grey, so there is no color to choose dials by")
    values = logits(colorizer, lightness)
    points = []
    for temperature, tau in tqdm([*itertools.product(temperatures, taus)], desc="dials", leave=False):
        ab = decode(colorizer, values, temperature=temperature, tau=tau)
        try:
            gain = round(scores.matching_gain(lightness, ab, truth), 3)
        except ValueError:
            continue  # colorless: no gain reaches the truth's colorfulness
        pictures, _ = color.render(lightness, np.float32(gain) * ab)
        means = scores.per_picture(pictures, truth, only=_RANKED).mean()
        ratio = float(means["colorfulness"] / means["colorfulness_true"])
        found = {"ciede2000": float(means["ciede2000"]), "colorfulness_ratio": ratio}
        points.append({"temperature": temperature, "tau": tau, "gain": gain, **found})
    if not points:
        raise ValueError("no temperature and tau reach the truth's colorfulness, whatever the gain")
    mildest = min(points, key=lambda point: abs(np.log(point["gain"])))
    points = [point for point in points if 0.5 <= point["gain"] <= most_gain]
    if not points:
        points = [mildest]
        print(f"every setting needs a gain outside 0.5 to {most_gain:g}; taking the mildest, {mildest['gain']:g}")
    best = min(points, key=lambda point: point["ciede2000"])
    layer = colorizer.get_layer("decode")
    layer.temperature, layer.tau, layer.gain = (best[name] for name in ("temperature", "tau", "gain"))
    return points
