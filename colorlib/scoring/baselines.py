"""Colorizers that need no network: what every model must beat."""

import numpy as np

from colorlib import color


def fit(train_pictures):
    """The three colorizers that need no model, from 8-bit pictures (N, H, W, 3): name -> function.

    "grey", "mean ab" (one color for all) and "mean ab by lightness" (one for each whole L*, joined by lines);
    each takes lightness (..., 1) to ab (..., 2), scaled as a model's.
    """
    lightness, ab = color.from_uint8(train_pictures)
    level, ab = np.rint(lightness.ravel() * 50 + 50).astype(np.int64), ab.reshape(-1, 2).astype(np.float64)
    counts = np.bincount(level, minlength=101)
    seen = np.flatnonzero(counts)
    means = [np.bincount(level, plane, 101)[seen] / counts[seen] for plane in ab.T]

    def by_lightness(lightness):
        levels = np.asarray(lightness)[..., 0] * 50 + 50
        return np.stack([np.interp(levels, seen, mean) for mean in means], axis=-1).astype(np.float32)

    def constant(value):
        return lambda lightness: np.broadcast_to(np.float32(value), (*np.shape(lightness)[:-1], 2))

    return {"grey": constant([0, 0]), "mean ab": constant(ab.mean(0)), "mean ab by lightness": by_lightness}
