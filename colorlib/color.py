"""sRGB <-> CIELAB, the model's scaling of it, the gamut, and the ab bins.

This is the only home of scaling constants: a model reads lightness = L*/50 - 1 and predicts ab = (a*, b*)/128.
Every formula is written once, for NumPy arrays, tf tensors inside `tf.data` and backend tensors inside a loss.
"""

import functools
import sys

import cv2
import numpy as np

AB_SCALE = 128.0
BIN_SIZE = 10.0
GREY_BELOW = 1.0  # Lab units of chroma: what rounding to 8 bits leaves of grey has no hue
_GAMUT = (-1e-4,) * 3, (1 + 1e-4,) * 3  # sRGB from and to, with a margin: by rounding, white lies outside too
_BLOCK = 2**13  # pixels at a time: so little stays in the cache

# sRGB primaries and the D65 white of the 2 degree observer, as in IEC 61966-2-1 and scikit-image.
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([[0.95047], [1.0], [1.08883]])
# To the responses of the eye's cones, in which one white is adapted to another.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_TO_RELATIVE_XYZ = (_XYZ / _WHITE).T.copy()  # rows are R, G, B: a picture (..., 3) is multiplied from the right
_TO_LAB = np.array([[0.0, 500.0, 0.0], [116.0, -500.0, 200.0], [0.0, 0.0, -200.0]])  # CIE 15, from f(X), f(Y), f(Z)
_FROM_RELATIVE_XYZ, _FROM_LAB = np.linalg.inv(_TO_RELATIVE_XYZ), np.linalg.inv(_TO_LAB)
_LINEAR_BELOW = 0.008856  # CIE 15: the cube root is replaced by a line below (6/29)^3
_SLOPE, _OFFSET = 7.787, 16 / 116


def _namespace(x):
    """The module whose `maximum`, `exp` and `tensordot` take `x`: numpy, tensorflow or keras.ops."""
    if isinstance(x, np.ndarray | np.generic):
        return np
    if type(x).__module__.partition(".")[0] == "tensorflow":
        return sys.modules["tensorflow"]
    from keras import ops  # a backend tensor; keras is loaded already where one exists

    return ops


def _power(xp, x, exponent):
    """x**exponent for x > 0, mostly as exp(log): tensorflow's own power runs three times slower on a CPU."""
    if xp is np and exponent == 1 / 3:  # quicker still
        return np.cbrt(x)
    log = getattr(xp, "log", None) or xp.math.log
    return xp.exp(exponent * log(x))


def _times(xp, x, matrix):
    """x (..., 3) times a 3x3 matrix, in the precision of x."""
    if xp is np:
        if x.shape[-1:] != (3,):
            raise ValueError(f"colors have three numbers each, (..., 3), not {x.shape}")
        if x.size and x.dtype in (np.float32, np.float64):  # BLAS, made for larger matrices, takes 3 to 8 times as long
            return cv2.transform(x.reshape(1, -1, 3), np.asarray(matrix.T, x.dtype)).reshape(x.shape)
        return np.tensordot(x, np.asarray(matrix, np.result_type(x, np.float16)), axes=1)
    return xp.tensordot(x, np.asarray(matrix, np.float32), axes=1)


def rgb_to_lab(rgb):
    """Converts sRGB in [0, 1] to CIELAB: L* in 0..100, a* and b* in Lab units. Shape (..., 3) -> (..., 3).

    D65, 2 degrees (IEC 61966-2-1, CIE 15). Floating point in, the same type and precision out.
    """
    xp = _namespace(rgb)
    return _linear_to_lab(xp, _to_linear(xp, rgb))


def rgb_to_linear(rgb):
    """Converts sRGB in [0, 1] to linear light, in which sRGB's white is 1 (IEC 61966-2-1). Shape kept."""
    return _to_linear(_namespace(rgb), rgb)


def _to_linear(xp, rgb):
    # Here and below a power above a limit and a line under it are written as a sum, the power of the larger of both and
    # the line of the rest: three times as quick as a choice pixel by pixel.
    above = xp.maximum(rgb, 0.04045)
    return _power(xp, (above + 0.055) / 1.055, 2.4) + (rgb - above) / 12.92


def _linear_to_lab(xp, linear, matrix=_TO_LAB, black=_OFFSET):
    """CIELAB of linear sRGB. `black`, the f of L* = 0, is taken off all three f: only L* is no difference of two."""
    t = _times(xp, linear, _TO_RELATIVE_XYZ)
    above = xp.maximum(t, _LINEAR_BELOW)
    return _times(xp, _power(xp, above, 1 / 3) + (_SLOPE * (t - above) - black), matrix)


def lab_to_rgb(lab):
    """Converts CIELAB to sRGB, not clipped: outside [0, 1] where the color is outside the gamut. Shape kept."""
    return linear_to_rgb(_lab_to_linear(_namespace(lab), lab))


def linear_to_rgb(linear):
    """Converts linear light, in which sRGB's white is 1, to sRGB (IEC 61966-2-1). Shape kept."""
    xp = _namespace(linear)
    above = xp.maximum(linear, 0.0031308)
    return 1.055 * _power(xp, above, 1 / 2.4) - 0.055 + 12.92 * (linear - above)


def primaries_to_srgb(chromaticity):
    """The matrix (3, 3) that linear RGB (..., 3) of other primaries is multiplied by from the right to be linear sRGB.

    `chromaticity`: x and y of white, red, green and blue, eight numbers (CIE 15). White becomes sRGB's (Bradford).
    Raises ValueError where they span no colors, or have no white among them.
    """
    points = np.reshape(np.asarray(chromaticity, float), (4, 2))
    edges = points[2:] - points[1]
    if not (points[:, 1] > 0).all() or np.linalg.det(edges) < 0.01:  # red, green and blue go around to the left
        raise ValueError(f"{np.round(points, 4).tolist()} span no colors")
    white, *primaries = np.stack([points[:, 0], points[:, 1], 1 - points.sum(axis=1)], -1) / points[:, 1:]
    primaries = np.array(primaries)
    shares, cones = np.linalg.solve(primaries.T, white), _BRADFORD @ white
    if min(*shares, *cones) <= 0:
        raise ValueError(f"{np.round(points, 4).tolist()} have a white that is none of their colors")
    to_xyz = shares[:, None] * primaries
    adapted = np.diag((_BRADFORD @ _WHITE)[:, 0] / cones)
    return to_xyz @ (np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD).T @ np.linalg.inv(_XYZ.T)


def _lab_to_linear(xp, lab):
    f = xp.maximum(_times(xp, lab, _FROM_LAB) + _OFFSET, 0.0)
    above = xp.maximum(f, _SLOPE * _LINEAR_BELOW + _OFFSET)
    return _times(xp, above * above * above + (f - above) / _SLOPE, _FROM_RELATIVE_XYZ)


def split(lab):
    """Splits CIELAB (..., 3) into what a model reads and predicts: lightness (..., 1) and ab (..., 2) in [-1, 1]."""
    return lab[..., :1] / 50.0 - 1.0, lab[..., 1:] / AB_SCALE


def merge(lightness, ab):
    """Joins lightness (..., 1) and ab (..., 2), both in [-1, 1], into CIELAB (..., 3). Undoes `split`."""
    xp = _namespace(ab)
    join = xp.concat if hasattr(xp, "concat") else xp.concatenate
    return join([50.0 * (lightness + 1.0), AB_SCALE * ab], -1)


def to_float(pictures):
    """8-bit sRGB, a NumPy array of 0..255, as float32 in [0, 1]; shape kept."""
    return np.asarray(pictures, np.float32) / np.float32(255)


def to_uint8(rgb):
    """sRGB in [0, 1], a NumPy array, rounded to 8 bits; what lies outside is clipped to the gamut. Shape kept."""
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


_LINEAR = _to_linear(np, to_float(np.arange(256)))  # of 8 bits


def _from_integers(pictures, *matrix_and_black):
    pictures = np.ascontiguousarray(pictures)
    if pictures.dtype not in (np.uint8, np.uint16) or pictures.shape[-1:] != (3,):
        raise ValueError(f"pictures must be sRGB, uint8 or uint16 (..., 3), not {pictures.dtype} {pictures.shape}")
    out = np.empty(pictures.shape, np.float32)
    flat, flat_out = pictures.reshape(1, -1, 3), out.reshape(1, -1, 3)
    for start in range(0, flat.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        part = flat[:, block]
        linear = cv2.LUT(part, _LINEAR) if part.dtype == np.uint8 else _to_linear(np, part / np.float32(2**16 - 1))
        flat_out[:, block] = _linear_to_lab(np, linear, *matrix_and_black)
    return out


def lab_of(pictures):
    """CIELAB, float32 (..., 3), of 8- or 16-bit sRGB pictures (..., 3), a NumPy array. Quicker than `rgb_to_lab`."""
    return _from_integers(pictures)


def from_uint8(pictures):
    """Splits 8- or 16-bit sRGB pictures (..., 3), NumPy arrays, into float32 lightness (..., 1) and ab (..., 2)."""
    both = _from_integers(pictures, _TO_LAB / (50, AB_SCALE, AB_SCALE), 66 / 116)  # the f of L* = 50: lightness 0
    return both[..., :1], both[..., 1:]


def render(lightness, ab):
    """Renders lightness (..., 1) and ab (..., 2), NumPy arrays, as 8-bit sRGB (..., 3), clipped to the gamut.

    Also returns which pixels were clipped, bool (...): those outside by more than half an 8-bit step.
    """
    rgb = lab_to_rgb(merge(np.asarray(lightness), np.asarray(ab)))
    clipped = (np.abs(rgb - 0.5) > 0.5 + 0.5 / 255).any(axis=-1)
    return to_uint8(rgb), clipped


def render_muted(lightness, ab, dtype=np.uint8):
    """Renders float32 (H, W, 1) and (H, W, 2) as sRGB, uint8 or uint16. Outside the gamut only chroma is reduced."""
    lab = merge(lightness, ab)
    rgb = lab_to_rgb(lab)
    outside = cv2.inRange(rgb, *_GAMUT) == 0
    if outside.any():
        chroma = lab[None, outside] * np.float32([0, 1, 1])
        muted = lab[None, outside] - chroma
        for halving in range(1, 9):  # bisection, to 1/256 of the chroma
            more = muted + chroma / 2**halving
            inside = cv2.inRange(_lab_to_linear(np, more), *_GAMUT) > 0
            muted = np.where(inside[..., None], more, muted)
        rgb[outside] = lab_to_rgb(muted[0])
    return np.rint(np.clip(rgb, 0, 1) * np.iinfo(dtype).max).astype(dtype)


@functools.cache
def bins():
    """The 261 centers of the 10x10 ab bins that hold an 8-bit sRGB color, float32 (261, 2), Lab units, a-major.

    Zhang, Isola and Efros 2016, section 2.2. Computed from the six faces of the RGB cube: what a solid covers of
    the ab plane, its surface covers.
    """
    u, v = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    faces = [np.stack(np.roll([np.full_like(u, w), u, v], k, 0), -1) for w in (0, 255) for k in range(3)]
    found = []
    for face in faces:  # one after another: all at once take 70 MB
        ab = rgb_to_lab(face / 255.0)[..., 1:]
        found.append(np.unique(np.rint(ab / BIN_SIZE).astype(int).reshape(-1, 2), axis=0))
    centers = np.float32(BIN_SIZE * np.unique(np.concatenate(found), axis=0))
    centers.flags.writeable = False
    return centers


@functools.cache
def bin_lattice():
    """The 5 nearest bins, nearest first, of each a* = i/2 - 128 and b* = j/2 - 128: int32 (513, 513, 5).

    Quicker than distances to all bins; a color within a quarter unit of a border may fall to its other side.
    """
    from scipy.spatial import cKDTree  # here, not above: `import colorlib` stays quick

    axis = np.arange(-128, 128.5, 0.5, dtype=np.float32)
    lattice = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    return cKDTree(bins()).query(lattice, k=5)[1].astype(np.int32)


def nearest_bin(ab):
    """The index of the nearest of the 261 bins for ab in Lab units, a NumPy array (..., 2) -> int32 (...)."""
    cell = np.rint((np.clip(ab, -128, 128) + 128) * 2).astype(np.int32)
    return bin_lattice()[cell[..., 0], cell[..., 1], 0]


def is_toned_or_grey(lab):
    """Whether Lab pixels (..., 3) are those of a grey or toned picture: in 95 % of them a* and b* follow from L*."""
    lab = np.float64(lab).reshape(-1, 3)
    powers = np.vander(lab[:, 0] / 50 - 1, 6)
    tone, *_ = np.linalg.lstsq(powers, lab[:, 1:], rcond=None)
    away, chroma = (np.linalg.norm(ab, axis=1) for ab in (lab[:, 1:] - powers @ tone, lab[:, 1:]))
    return bool(np.quantile(away, 0.95) < 2.5 + 0.15 * chroma.mean())


def distance_to_tone(lab):
    """How far Lab pixels (..., 3) are from the nearest print in one tone: root mean square distance in a*b*.

    In such a print a* and b* follow from L*, here as cubic polynomials. 0 for grey.
    """
    lab = np.float64(lab).reshape(-1, 3)
    powers = np.vander((lab[:, 0] - lab[:, 0].mean()) / (lab[:, 0].std() or 1.0), 4)
    # The normal equations of least squares: four numbers each, where thousands would keep every core busy.
    tone, *_ = np.linalg.lstsq(powers.T @ powers, powers.T @ lab[:, 1:], rcond=None)
    return float(np.sqrt(np.square(lab[:, 1:] - powers @ tone).sum(axis=1).mean()))
