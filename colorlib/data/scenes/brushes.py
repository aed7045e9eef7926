"""What the painters of scenes share: noise with a natural spectrum, soft edges, inks, and the camera."""

import functools
import math

import cv2
import numpy as np

from ... import color

_LARGE = 96  # pixels


@functools.cache
def grid(size):
    """x and y of the pixel centers, float32 (size, size), in [-1, 1]."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    return tuple(np.ascontiguousarray(plane) for plane in np.meshgrid(axis, axis))


@functools.cache
def tile(power):
    """A seamless random field, float32 (1024, 1024), mean 0, sd 1, of amplitude 1/frequency^power."""
    rng = np.random.default_rng(int(power * 10))
    frequency = np.hypot(np.fft.fftfreq(1024)[:, None], np.fft.rfftfreq(1024)).astype(np.float32)
    # Waves longer than 128 texels, the width of a picture, would only make some pictures lighter than others.
    amplitude = np.maximum(frequency, 1 / 128) ** -power
    spectrum = amplitude * np.exp(np.complex64(2j * np.pi) * rng.random(frequency.shape, np.float32))
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (1024, 1024))
    return (field / field.std()).astype(np.float32)


def offset(rng):
    """Where to read a noise tile: a point near its middle, for reads that wrap around are slow."""
    return rng.uniform(256, 768, 2).tolist()  # Python floats: NumPy ones would turn planes into float64


def noise(at, u, v, power=1.0):
    """Reads noise, sd 1, at coordinates u and v; a step of 1 is 64 texels, half a picture. Shape kept."""
    u, v = np.broadcast_arrays(u, v)
    if power > 1.5 and min(u.shape) >= _LARGE:  # so smooth that every second point tells the rest
        return cv2.resize(_read(at, u[::2, ::2], v[::2, ::2], power), u.shape[::-1])
    return _read(at, u, v, power)


def _read(at, u, v, power):
    return cv2.remap(
        tile(power),
        np.asarray(u * 64 + at[0], np.float32),
        np.asarray(v * 64 + at[1], np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def relief(at, u, v, light, power=1.7):
    """Light on a rough surface, about 0 +- 1: the slope of the noise toward the light."""
    step = 0.04
    return 4 * (noise(at, u, v, power) - noise(at, u + light[0] * step, v + light[1] * step, power))


def ramp(low, high, values):
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = values * (1 / (high - low))
    t -= low / (high - low)
    t.clip(0, 1, out=t)
    smooth = t * -2
    smooth += 3
    smooth *= t
    smooth *= t
    return smooth


def out_of_focus(paint, rng, x, y, *how):
    """What paint(rng, x, y, *how) paints, planes: at half the size and enlarged, for a blur hides the difference."""
    coarse = paint(rng, *grid((len(x) + 1) // 2), *how)
    return np.stack([cv2.resize(plane, x.shape) for plane in np.broadcast_to(coarse, (3, *coarse.shape[1:]))])


def bump(u, v):
    """A Gaussian hill of height 1 at the origin."""
    return np.exp(-(u * u + v * v))


@functools.cache
def ink(code):
    """A color given as hex, float32 (3, 1, 1)."""
    return np.array([[[int(code[i : i + 2], 16) / 255]] for i in (0, 2, 4)], np.float32)


def lch(lightness, chroma, hue):
    """The sRGB color, (3, 1, 1), of a CIELAB lightness, chroma and hue in degrees, clipped to the gamut."""
    angle = np.deg2rad(hue)
    lab = np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])
    return np.clip(color.lab_to_rgb(lab), 0, 1).astype(np.float32)[:, None, None]


def pick(rng, *inks):
    """One of the colors, a little off: no two leaves or walls are quite alike."""
    return vary(rng, ink(inks[rng.integers(len(inks))]) * rng.uniform(0.88, 1.12), 0.035)


def vary(rng, shade, spread):
    """A color near another."""
    return (shade * rng.normal(1, spread, (3, 1, 1))).clip(0, 1).astype(np.float32)


def mix(under, over, share):
    """Paints `over` on `under` where and as much as `share`, 0 to 1, says."""
    blend = (over - under) * share
    blend += under
    return blend


def develop(rng, canvas):
    """The camera: white balance, exposure, vignette, grain. Planes -> uint8 (S, S, 3)."""
    size = canvas.shape[1]
    x, y = grid(size)
    balance = 1 + rng.normal(0, 0.015, (3, 1, 1)).astype(np.float32)
    canvas = canvas * (balance * rng.uniform(0.92, 1.1)) * (1.03 - 0.07 * rng.random() * (x * x + y * y))
    row, column = rng.integers(0, 512, 2)
    if size <= 512:  # in a larger picture grain is too fine to show
        canvas += tile(0.4)[row : row + size, column : column + size] * rng.uniform(0.002, 0.012)
    return np.ascontiguousarray(cv2.merge([np.uint8(np.clip(plane, 0, 1) * 255 + 0.5) for plane in canvas]))


def band(axis, low, high):
    """Where the first column of `axis`, which rises, lies between two values: a slice, never empty."""
    first, end = np.searchsorted(axis[:, 0], (low, high)).tolist()
    first = min(first, len(axis) - 1)
    return slice(first, max(end, first + 1))


def _between(size, low, high):
    """As `band`, where the axis is that of `grid`."""
    first, end = (min(max(math.ceil((edge + 1) * size / 2 - 0.5), 0), size) for edge in (low, high))
    first = min(first, size - 1)
    return slice(first, max(end, first + 1))


def window(x, y, center, reach):
    """The canvas within `reach` of a center: an index into planes, and x and y from the center there."""
    columns, rows = (_between(len(x), middle - reach, middle + reach) for middle in center)
    return (slice(None), rows, columns), x[rows, columns] - center[0], y[rows, columns] - center[1]


def over(depth, x):
    """Share of a pixel that a thing covers, from how far the pixel lies inside; its edge is a pixel wide."""
    return ramp(-0.5, 1, depth * (x.shape[1] / 2))
