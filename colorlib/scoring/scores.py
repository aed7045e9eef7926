"""Scores colorized pictures against the true ones, picture by picture, with intervals.

Pictures are 8-bit sRGB arrays (N, H, W, 3); `color.render` makes them from what a model predicts. Distances are in
Lab units. Every interval is a 95 % percentile bootstrap over pictures, seeded. scikit-image computes CIEDE2000, SSIM
and PSNR, SciPy the Wasserstein distance.
"""

import functools
import math

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, sobel
from scipy.optimize import brentq
from scipy.stats import wasserstein_distance
from skimage.color import deltaE_ciede2000
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorlib import color, console

AUC_LIMIT = 150  # Lab units; Zhang, Isola and Efros 2016
PSNR_CEILING = 10 * math.log10(255**2 * 12)  # dB, 58.9: rounding alone; equal pictures would be infinite
PRIOR_FLOOR = 1e-6  # one training pixel in a million: an unseen color must not carry a picture's whole weight
SMALLEST_SIDE = 11  # pixels, SSIM's window
DRAWS = 10_000  # of the bootstrap, from seed 0
DIRECTIONS = 64  # of the sliced Wasserstein distance, evenly over half a turn
CONVENTIONS = {  # what published codes differ in; stands in every result
    "pictures": "8-bit sRGB, area filter (bilinear where that enlarges), center crop",
    "lab": "CIELAB, D65, 2 degrees",
    "colorfulness": "Hasler and Suesstrunk 2003, signed rg and yb, 0-255 scale",
    "variety": "exp(entropy) over the 261 ab bins of 10 Lab units inside the sRGB gamut",
    "sepia, blue": "share of the chroma with a hue of 40 to 100, 220 to 310 degrees",
    "blots": "pixels that change by < 0.7 L* but > 1.5 ab a pixel, after a Gaussian of sigma 1.5; made for 128 px",
    "ssim": "11x11 Gaussian window, sigma 1.5, population covariances, mean of R, G and B",
    "psnr": f"of R, G and B together, at most {PSNR_CEILING:.1f} dB",
    "auc": f"of the share of pixels within t, t = 0..{AUC_LIMIT} Lab units of ab distance",
    "ab_wasserstein": f"sliced Wasserstein-1, mean of {DIRECTIONS} directions, Lab units",
    "intervals": f"95 % percentile bootstrap over pictures, {DRAWS:,} draws",
}
SECTORS = {"sepia": (40, 100), "blue": (220, 310)}  # degrees of hue: orange to yellow, sky to ultramarine
_CELLS = 512  # along a* and along b*, over -128..128
# SSIM as in Wang et al. 2004: an 11x11 Gaussian (scikit-image cuts sigma 1.5 there), population covariances
_WINDOW = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
_CHUNK = 16  # pictures at a time: the many planes of CIEDE2000 then stay in the processor's cache


def _b_larger(lab):
    return lab[..., 2] - lab[..., 1] > 0.05  # a margin: grey, within 0.01 of 0, is a*, the first of equals


def colorfulness(pictures):
    """Measures 8-bit pictures (N, H, W, 3) -> (N,): signed opponent colors, 0-255 scale, 0 for grey.

    Hasler and Suesstrunk 2003, rg = R - G and yb = (R + G)/2 - B; codes that take |rg|, |yb| report less.
    """
    red, green, blue = np.moveaxis(np.asarray(pictures, np.float32), -1, 0)
    planes = np.stack([red - green, (red + green) / 2 - blue])
    spread, offset = planes.var((2, 3), dtype=np.float64), planes.mean((2, 3), dtype=np.float64)
    return np.sqrt(spread.sum(0)) + 0.3 * np.hypot(*offset)


def best_constant_sign_agreement(truth):
    """Sign agreement (0-1) of the best single color with the truth (N, H, W, 3): what a model must beat."""
    larger = float(_b_larger(color.lab_of(truth)).mean())
    return max(larger, 1 - larger)


def per_picture(predicted, truth, *, prior=None, only=None):
    """Scores 8-bit pictures (N, H, W, 3) against the true ones: a DataFrame, one row a picture, in order.

    Columns: `ab_rmse` (Lab units), `psnr` (dB, at most 58.9), `ssim`, `ciede2000`, `auc` (0-1), `colorfulness`,
    `variety` (effective ab bins, 1-261), `sepia`, `blue` (share of the chroma with such a hue, 0-1), `blots` (share of
    the pixels whose color changes where lightness does not, 0-1), the truth's own as `colorfulness_true` and so on,
    `sign_agreement` (0-1), and, given `prior` (261,), the training set's share of
    each bin, `auc_rebalanced`. `only` names the columns wanted; without `ssim` it takes a third of the time.
    Raises ValueError for pictures that differ in shape, are not 8-bit sRGB, or are smaller than 11x11, and KeyError
    for a column that is none of these.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted pictures {predicted.shape} and true ones {truth.shape} differ in shape")
    if truth.ndim != 4 or truth.shape[-1] != 3 or {truth.dtype, predicted.dtype} != {np.dtype(np.uint8)}:
        raise ValueError(f"pictures must be 8-bit sRGB (N, H, W, 3), not {predicted.dtype} {truth.shape}")
    if not len(truth) or min(truth.shape[1:3]) < SMALLEST_SIDE:
        raise ValueError(f"no pictures, or below the {SMALLEST_SIDE} pixels of SSIM's window: {truth.shape}")
    if prior is not None:
        prior, count = np.asarray(prior, np.float64), len(color.bins())
        if prior.shape != (count,) or not (prior >= 0).all() or not prior.any():
            raise ValueError(f"the prior must be {count} shares, one for each ab bin, none negative")
        prior = np.maximum(prior / prior.sum(), PRIOR_FLOOR)
    chunks = []
    for start in range(0, len(truth), _CHUNK):
        scores = _scores(predicted[start : start + _CHUNK], truth[start : start + _CHUNK], prior)
        with np.errstate(divide="ignore"):  # the PSNR of equal pictures is infinite, so cut at its ceiling
            chunks.append(pd.DataFrame({name: scores[name]() for name in only or scores}))
    return pd.concat(chunks, ignore_index=True)


def _scores(predicted, truth, prior):
    """Name -> function computing that score of each picture, (N,); what several share is computed once."""
    lab, lab_true = color.lab_of(predicted), color.lab_of(truth)
    distance = np.linalg.norm(lab[..., 1:] - lab_true[..., 1:], axis=-1)
    # Each pixel's area under "distance <= t", t = 0, 1 .. 150, in trapezoids: the first t to count it enters by half.
    within = np.where(distance == 0, 1.0, np.maximum(1 - (np.ceil(distance) - 0.5) / AUC_LIMIT, 0.0))
    pairs = list(zip(predicted.astype(np.float32), truth.astype(np.float32), strict=True))
    scores = {
        "ab_rmse": lambda: np.sqrt((distance**2).mean((1, 2), dtype=np.float64)),
        "psnr": lambda: [min(peak_signal_noise_ratio(*pair, data_range=255), PSNR_CEILING) for pair in pairs],
        "ssim": lambda: [structural_similarity(*pair, channel_axis=-1, data_range=255, **_WINDOW) for pair in pairs],
        "ciede2000": lambda: deltaE_ciede2000(lab_true, lab).mean((1, 2), dtype=np.float64),
        "auc": lambda: within.mean((1, 2), dtype=np.float64),
        "colorfulness": lambda: colorfulness(predicted),
        "colorfulness_true": lambda: colorfulness(truth),
        "variety": lambda: _variety(lab),
        "variety_true": lambda: _variety(lab_true),
        "sepia": lambda: hue_share(lab, SECTORS["sepia"]),
        "sepia_true": lambda: hue_share(lab_true, SECTORS["sepia"]),
        "blue": lambda: hue_share(lab, SECTORS["blue"]),
        "blue_true": lambda: hue_share(lab_true, SECTORS["blue"]),
        "blots": lambda: _blots(lab),
        "blots_true": lambda: _blots(lab_true),
        "sign_agreement": lambda: (_b_larger(lab) == _b_larger(lab_true)).mean((1, 2)),
    }
    if prior is not None:
        weights = 1 / prior[color.nearest_bin(lab_true[..., 1:])]
        scores["auc_rebalanced"] = lambda: (weights * within).sum((1, 2)) / weights.sum((1, 2))
    return scores


def _variety(lab):
    """Effective number of ab bins, exp(entropy), of each picture (N, H, W, 3) in Lab -> (N,)."""
    count = len(color.bins())
    cells = color.nearest_bin(lab[..., 1:]) + count * np.arange(len(lab))[:, None, None]
    shares = np.bincount(cells.ravel(), minlength=count * len(lab)).reshape(len(lab), count) / cells[0].size
    return np.exp(-(shares * np.log(np.where(shares, shares, 1))).sum(1))


def hue_share(lab, sector):
    """The share of each picture's chroma whose hue lies in a sector, degrees: (N, H, W, 3) -> (N,); 0 for grey."""
    a, b = lab[..., 1], lab[..., 2]
    chroma = np.hypot(a, b)
    chroma[chroma < color.GREY_BELOW] = 0
    inside = np.abs((np.degrees(np.arctan2(b, a)) - np.mean(sector) + 180) % 360 - 180) <= np.ptp(sector) / 2
    return (chroma * inside).sum((1, 2)) / np.maximum(chroma.sum((1, 2)), 1e-9)


def _blots(lab):
    """The share of pixels whose color changes where no edge explains it: (N, H, W, 3) in Lab -> (N,)."""
    lightness, a, b = (np.stack([_slope(plane) for plane in planes]) for planes in np.moveaxis(lab, -1, 0))
    return ((lightness < 0.7) & (np.hypot(a, b) > 1.5)).mean((1, 2))


def _slope(plane):
    """By how much a plane (H, W) changes, a pixel."""
    smooth = gaussian_filter(plane, 1.5)
    return np.hypot(sobel(smooth, 0), sobel(smooth, 1)) / 8


def ab_wasserstein(predicted, truth):
    """Sliced Wasserstein-1 distance, Lab units, of all ab values of two sets of 8-bit pictures (N, H, W, 3).

    The mean, over 64 fixed directions, of the distance of the sets projected on one. The values are gathered in
    cells of 1/2 Lab unit first, each cell kept at its mean: off by under 0.01.
    """
    return _cloud_distance(*(_cloud(color.lab_of(pictures)[..., 1:]) for pictures in (predicted, truth)))


def _cloud(ab):
    """Count, sum of a* and sum of b* in each cell: the clouds of parts add up to that of the whole."""
    points = np.asarray(ab, np.float64).reshape(-1, 2)
    row, column = np.clip((points.T + 128) * (_CELLS / 256), 0, _CELLS - 1).astype(np.int64)
    return np.stack([np.bincount(row * _CELLS + column, of, _CELLS**2) for of in (None, *points.T)], axis=-1)


def _cloud_distance(*clouds):
    filled = [cloud[cloud[:, 0] > 0] for cloud in clouds]
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    along = [(c[:, 1:] / c[:, :1] @ np.stack([np.cos(angles), np.sin(angles)])).T for c in filled]
    counts = [c[:, 0] for c in filled]
    return float(np.mean([wasserstein_distance(*pair, *counts) for pair in zip(*along, strict=True)]))


def summary(frame):
    """Means over pictures of `per_picture`'s scores with 95 % intervals: name -> {"mean", "low", "high"}.

    `colorfulness_ratio` and `variety_ratio` are the predictions' mean by the truth's, resampled together, and
    absent where the truth's is 0. All scores share the draws; of one picture, low and high are its mean.
    """
    values = frame.to_numpy(np.float64)
    drawn = dict(zip(frame.columns, _resampled_means(values).T, strict=True))
    means = dict(zip(frame.columns, values.mean(0), strict=True))
    for name in ("colorfulness", "variety"):
        if name in means and means.get(f"{name}_true", 0) > 0:
            with np.errstate(divide="ignore", invalid="ignore"):  # a draw of grey pictures only
                drawn[f"{name}_ratio"] = drawn[name] / drawn[f"{name}_true"]
            means[f"{name}_ratio"] = means[name] / means[f"{name}_true"]
    return {name: _interval(means[name], drawn[name]) for name in means if not name.endswith("_true")}


def paired_difference(a, b):
    """Mean of a - b over the same pictures and its 95 % paired bootstrap interval: {"mean", "low", "high"}.

    `a`, `b` are per-picture scores (N,) in the same order; average several seeds picture by picture first.
    Raises ValueError where their lengths or, of two Series, their indices differ.
    """
    a, b = pd.Series(a), pd.Series(b)
    if not a.index.equals(b.index):
        raise ValueError(f"paired scores need the same pictures in the same order: {a.shape}, {b.shape}")
    gaps = (a - b).to_numpy(np.float64)
    return _interval(gaps.mean(), _resampled_means(gaps[:, None])[:, 0])


def _resampled_means(values):
    """Bootstrap means of (N, scores) -> (DRAWS, scores). The same N draws the same pictures."""
    return np.concatenate([part @ values for part in _drawn(len(values))]) / len(values)


@functools.lru_cache(maxsize=8)  # drawing takes longer than all that is done with it, and many scores share a draw
def _drawn(count):
    """How often each of `count` pictures is drawn in each draw: parts (500, count), of the smallest type possible."""
    rng, shares = np.random.default_rng(0), np.full(count, 1 / count)
    return [rng.multinomial(count, shares, 500).astype(np.min_scalar_type(count)) for _ in range(DRAWS // 500)]


def _interval(mean, drawn):
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def curve_point(predicted, truth):
    """The scores a dial is chosen by, of 8-bit pictures (N, H, W, 3); quicker than all of them.

    `ciede2000`, `colorfulness_ratio`, `variety_ratio`, `ab_wasserstein`, `blots`, `blots_true`: a point of
    `plots.tradeoff_curves`.
    """
    twice = [f"{name}{of}" for name in ("colorfulness", "variety", "blots") for of in ("", "_true")]
    means = per_picture(predicted, truth, only=("ciede2000", *twice)).mean()
    ratios = {f"{name}_ratio": float(means[name] / means[f"{name}_true"]) for name in ("colorfulness", "variety")}
    kept = {name: float(means[name]) for name in ("ciede2000", "blots", "blots_true")}
    return ratios | kept | {"ab_wasserstein": ab_wasserstein(predicted, truth)}


def clipping(lightness, ab):
    """{"clipped_share": of the pixels, "clip_dl": mean |dL*| over all pixels} of (N, H, W, 1) and (N, H, W, 2)."""
    clipped = color.render(lightness, ab)[1]
    lab = color.merge(np.asarray(lightness)[clipped], np.asarray(ab)[clipped])
    kept = color.rgb_to_lab(np.clip(color.lab_to_rgb(lab), 0, 1))
    moved = float(np.abs(kept[..., 0] - lab[..., 0]).sum())
    return {"clipped_share": float(clipped.mean()), "clip_dl": moved / clipped.size}


def matching_gain(lightness, ab, truth):
    """Finds the factor on ab (N, H, W, 2) that gives the rendered pictures the truth's colorfulness, within 0.1 %.

    0 where the truth is grey. Raises ValueError where no factor up to 64 does.
    """
    target = colorfulness(truth).mean()
    if target == 0:
        return 0.0

    def excess(gain):
        return colorfulness(color.render(lightness, gain * ab)[0]).mean() - target

    high = 1.0
    while excess(high) < 0:
        if high == 64:
            raise ValueError(f"no gain up to 64 gives the colorfulness of the truth, {target:.1f}")
        high *= 2
    return brentq(excess, high / 2 if high > 1 else 0.0, high, rtol=1e-4)


def one_by_one(names, load):
    """Scores pictures of any sizes: `load(name)` returns the predicted and the true one, 8-bit (H, W, 3).

    Returns the per-picture scores indexed by name, {"ab_wasserstein", "constant_sign_agreement"} of the whole set, and
    (name, reason) for each that loading or scoring could not take. Raises ValueError where none is left.
    """
    rows, clouds, larger, skipped = {}, [0, 0], [], []
    for name in console.progress(names, desc="scoring", unit="picture", leave=False):
        try:
            pair = [picture[None] for picture in load(name)]
            rows[name] = per_picture(*pair)
        except ValueError as error:
            skipped.append((getattr(error, "name", name), getattr(error, "reason", str(error))))
            continue
        lab = [color.lab_of(pictures) for pictures in pair]
        clouds = [cloud + _cloud(of[..., 1:]) for cloud, of in zip(clouds, lab, strict=True)]
        larger.append(_b_larger(lab[1]).mean())
    if not rows:
        raise ValueError(f"none of {len(skipped)} pictures can be scored; the first: {': '.join(skipped[0])}")
    agreement = float(max(np.mean(larger), 1 - np.mean(larger)))
    frame = pd.concat(rows.values(), ignore_index=True).set_index(pd.Index(rows, name="name"))
    return frame, {"ab_wasserstein": _cloud_distance(*clouds), "constant_sign_agreement": agreement}, skipped
