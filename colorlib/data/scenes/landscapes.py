"""Paints landscapes: sky, ranges in aerial perspective, water that mirrors them, land, trees; or a wood."""

import types

import numpy as np

from .brushes import band, ink, mix, noise, offset, over, pick, ramp, relief

# chance, zenith, horizon, light, shade of the clouds, cover of cloud, height of the sun over the horizon
_SKIES = (
    (0.31, "3f70a8", "bdd6e6", "fffaf0", "93a5bd", 0.4, 1.2),
    (0.13, "1d4f94", "86b4dc", "fff8ea", "8496b0", 0.15, 1.0),
    (0.25, "94a0ad", "d4dadf", "e4e6e8", "8c959f", 0.85, 1.0),
    (0.12, "b4c0ca", "e6e4de", "f4f1ec", "a9b0b8", 0.6, 0.6),
    (0.07, "5b6a94", "f2b67c", "ffca90", "6d6880", 0.6, 0.15),
    (0.04, "2b2832", "e8853a", "ff9848", "3c3038", 0.7, 0.08),
    (0.08, "34467e", "d6a4aa", "e8bcb4", "565f8c", 0.5, 0.2),
)


def paint(rng, x, y):
    """A landscape, planes (3, S, S)."""
    if rng.random() < 0.18:
        return _forest(rng, x, y)
    _, zenith, haze, light, shade, cover, height = _SKIES[rng.choice(len(_SKIES), p=[sky[0] for sky in _SKIES])]
    level = rng.uniform(-0.3, 0.6)
    sun = rng.uniform(-0.9, 0.9), level - height
    day = types.SimpleNamespace(
        zenith=pick(rng, zenith),
        haze=pick(rng, haze),
        light=ink(light),
        shade=ink(shade),
        cover=cover,
        low=height < 0.5,
        level=level,  # y of the horizon
        sun=sun,
        toward=(rng.uniform(0.5, 1) * (1 if sun[0] > 0 else -1), -0.7),
        dim=(0.35 + 0.65 * min(1, height)) * ink(light),  # what reaches the land
    )
    ground = rng.choice(["water", "meadow", "dry", "sand", "snow", "rock"], p=[0.43, 0.2, 0.04, 0.05, 0.18, 0.1])
    ranges = rng.integers(0 if ground in ("water", "sand", "snow") else 1, 4)
    snowy = ground == "snow" or rng.random() < 0.35
    canvas = np.zeros((3, *x.shape), np.float32)
    rows = band(y, -1, level + 0.2)
    _sky(rng, canvas[:, rows], x[rows], y[rows], day)
    for depth in np.linspace(1, 0.2, ranges).tolist():
        _mountains(rng, canvas, x, y, day, depth, snowy)
    if ground == "water":
        _water(rng, canvas, x, y, day)
    else:
        _land(rng, canvas, x, y, day, ground)
    if ground not in ("dry", "sand") and rng.random() < 0.4:
        _trees(rng, canvas, x, y, day)
    return canvas


def _sky(rng, canvas, x, y, day):
    fall = np.clip((y + 1) / (day.level + 1.02), 0, 1)
    canvas[:] = mix(day.zenith, day.haze, fall**1.6)
    away = (x - day.sun[0]) ** 2 + (y - day.sun[1]) ** 2
    canvas[:] = mix(canvas, day.light, 0.55 * np.exp(-2.5 * away) + day.low * ramp(0.012, 0.004, away))
    if rng.random() < 0.15:
        return
    # Clouds lie in a plane overhead, so they grow smaller and flatter toward the horizon.
    far = 1 / np.maximum(day.level + rng.uniform(0.3, 0.9) - y, 0.25)
    u, v = x * far * rng.uniform(0.5, 1.1), far * rng.uniform(0.8, 2.5)
    at = offset(rng)
    density = noise(at, u, v, 1.4)
    toward = noise(at, u + (day.sun[0] - x) * 0.08, v + 0.09, 1.4)
    thin = 0.9 - 1.9 * day.cover
    body = ramp(thin, thin + 1, density)
    lit = np.clip(0.65 + 0.8 * (density - toward) - 0.25 * body * (density - 0.5), 0, 1)
    canvas[:] = mix(canvas, mix(day.shade, day.light, lit), body * (0.95 - 0.45 * fall**3))


def _mountains(rng, canvas, x, y, day, depth, snowy):
    """One range; depth 1 is far and hazy, 0 near."""
    tall = rng.uniform(0.12, 0.3) + 0.35 * depth * rng.random()
    at, across = offset(rng), x[:1] * rng.uniform(0.4, 0.9)
    profile = noise(at, across, 0, 2.0) + rng.uniform(0, 0.35) * np.abs(noise(at, across * 2, 1, 1.4))
    crest = day.level - tall * np.clip(0.5 + 0.4 * profile, 0.02, 2)
    rows = band(y, float(crest.min()) - 0.05, day.level + 0.2)
    canvas, x, y = canvas[:, rows], x[rows], y[rows]
    high = (day.level - y) / max(tall, 0.1)  # 1 at the height of a usual crest
    at, coarse = offset(rng), rng.uniform(0.8, 1.8)
    facets = relief(at, x * coarse, (y - 0.4 * crest) * coarse * 0.8, day.toward, 1.4)
    rock = mix(pick(rng, "6f6a62", "7d7468", "5c5f66"), pick(rng, "5d6b3c", "47592f", "7b7347"), ramp(0.7, 0.2, high))
    paint = rock * day.dim * np.clip(0.75 + 0.35 * facets, 0.15, 1.5)
    if snowy:
        cap = ramp(0.25, 0.6, high + 0.35 * facets - 0.3 * rng.random())
        snow = mix(ink("8fa3c4"), ink("ffffff"), np.clip(0.6 + 0.4 * facets, 0, 1))
        paint = mix(paint, snow * day.dim, cap)
    # The air between, and mist in the valleys.
    air = depth * rng.uniform(0.45, 0.8) + 0.08 + 0.25 * depth * ramp(0.4, -0.1, high)
    veil = mix(day.haze, ink("7f9cc4"), 0.35) * (0.55 + 0.45 * day.dim)
    canvas[:] = mix(canvas, mix(paint, veil, np.minimum(air, 0.95)), over(y - crest, x))


def _water(rng, canvas, x, y, day):
    """A lake or the sea, with a beach at times. Reads what is painted above it."""
    above, rows = canvas, band(y, day.level - 0.02, 1)
    canvas, x, y = canvas[:, rows], x[rows], y[rows]
    near = np.clip((y - day.level) / (1 - day.level), 0, 1)
    at, long, far = offset(rng), rng.uniform(1, 3), 1 / (near + 0.2)
    waves = noise(at, x * far * 0.7, far * long, 0.8)
    # Each point mirrors the land or sky as far above the shore as it lies below, shaken by the waves.
    mirror = 2 * day.level - y - (0.04 + 0.25 * near) * rng.uniform(0.1, 1) * np.abs(waves)
    size = x.shape[1]
    image = above[:, np.clip((np.abs(mirror + 1) * (size / 2)).astype(np.int32), 0, size - 1), np.arange(size)]
    deep = mix(pick(rng, "10406a", "0e5a78", "1d4a5c", "2b4a50", "2a6f86") * day.dim, day.zenith, 0.25)
    paint = mix(image * 0.92, deep * (1 + 0.22 * waves), np.clip(0.2 + 0.55 * near + 0.1 * waves, 0, 1))
    glitter = ramp(0.6, 2.2, waves - 6 * np.abs(x - day.sun[0]) / (1 + 2 * near) + 0.9)
    paint = mix(paint, day.light, glitter * (1 if day.low else 0.3))
    if rng.random() < 0.3:
        shore = near - 0.55 - 0.25 * rng.random() + 0.06 * noise(offset(rng), x[:1], 0, 1.4)
        paint = mix(paint, _ground(rng, x, near, "sand") * day.dim, ramp(0, 0.03, shore))
        foam = ramp(0.09, 0, np.abs(shore + 0.05)) * ramp(-0.8, 0.8, waves)
        paint = mix(paint, ink("f4f7f8") * day.light, foam)
    canvas[:] = mix(canvas, paint, over(y - day.level, x))


_GROUNDS = {
    "meadow": (("4c7a26", "5f8f30", "3c6428", "7d9a3c"), ("93a648", "b4ac58", "35561f", "6e9a3a")),
    "dry": (("a08a52", "8c7440", "b49c62"), ("6d6a38", "c9b27a", "6b5632")),
    "sand": (("c9b48c", "b89c70", "d8c8a4"), ("a0825a", "e6d9ba", "8f7a5c")),
    "snow": (("e8edf4", "dce4ee"), ("a9bcd6", "f8fafc")),
    "rock": (("77706a", "5e5c5a", "86796a"), ("4c4a46", "9c9184", "5a6440")),
}


def _ground(rng, x, near, material):
    """Ground seen at a grazing angle: patches and tufts that grow toward the viewer."""
    far = 1 / (near + 0.15)
    base, other = (pick(rng, *inks) for inks in _GROUNDS[material])
    patches = noise(offset(rng), x * far * 0.4, far * 1.2, 1.4)
    tufts = noise(offset(rng), x * far * 0.8, far * 2.2, 0.8)
    return mix(base, other, ramp(-1.2, 1.5, patches)) * (1 + (0.06 if material == "snow" else 0.24) * tufts)


def _land(rng, canvas, x, y, day, material):
    top = day.level + 0.06 * noise(offset(rng), x[:1] * 0.6, 0, 1.7) * (rng.random() < 0.7)
    rows = band(y, float(top.min()) - 0.02, 1)
    canvas, x, y = canvas[:, rows], x[rows], y[rows]
    near = np.clip((y - top) / (1.15 - day.level), 0, 1)
    swell = 0.16 * relief(offset(rng), x * 0.5, near * 1.5, day.toward, 2.0)
    if material in ("rock", "snow"):
        stones = relief(offset(rng), x * (1.4 - near), near * 2, day.toward, 1.4)
        swell += (0.3 if material == "rock" else 0.06) * stones
    paint = _ground(rng, x, near, material) * day.dim * np.clip(0.88 + swell, 0.3, 1.5)
    canvas[:] = mix(canvas, mix(paint, day.haze, 0.5 * np.exp(-9 * near)), over(y - top, x))


def _trees(rng, canvas, x, y, day):
    """Conifers: a row along the far shore, or a few near by."""
    if rng.random() < 0.3:
        count, foot, tallest = rng.integers(2, 6), 1.1, rng.uniform(0.7, 1.4)
        places = rng.uniform(0.55, 1.1, count) * rng.choice([-1, 1], count)
    else:
        count, foot, tallest = rng.integers(15, 60), day.level + 0.03, 0.16
        places = rng.uniform(-1.1, 1.1, count)
    rows = band(y, foot - tallest, foot)
    canvas, x, y = canvas[:, rows], x[rows], y[rows]
    ragged = x + 0.035 * tallest * noise(offset(rng), x * 2, y * 2, 0.8)
    crown, slope = np.full_like(x, -1), rng.uniform(0.28, 0.4)
    for place in places.tolist():
        crown = np.maximum(crown, tallest * rng.uniform(0.5, 1) - np.abs(ragged - place) / slope)
    leaf = pick(rng, "24361f", "2f4526", "1c2c22", "3c4a22") * day.dim
    texture = noise(offset(rng), x * 2, y * 2, 0.8)
    canvas[:] = mix(canvas, leaf * np.clip(0.9 + 0.35 * texture, 0.2, 2), ramp(-0.01, 0.03, crown - (foot - y)))


# dark leaves, leaves, light between them, floor: summer, autumn, mist, winter
_SEASONS = (
    (
        ("1c2c12", "14240f", "22300f", "1e2a14"),
        ("6f9a2c", "8fb43c", "4f7f30"),
        ("d9eaa0", "eef4d8"),
        ("4a5a24", "5a4a30", "5f7a2c"),
    ),
    (("3a2410", "2c2412"), ("c8861f", "b4581c", "c8a83c"), ("f4dc9a",), ("a0622c", "8c4a22")),
    (("1c2c18", "22301f"), ("8f9c92", "a3aca8"), ("d8dedc",), ("4c5640", "5a5a4c")),
    (("22261e", "2a2824"), ("8a857c", "a8a8ac"), ("e4e8ee",), ("dfe4ea", "cfd6e0")),
)


def _forest(rng, x, y):
    """Inside a wood: bright leaves far off, trunks from far to near, a dappled floor."""
    dark, leaf, glow, floor = (pick(rng, *inks) for inks in _SEASONS[rng.choice(4, p=[0.55, 0.2, 0.13, 0.12])])
    sun = rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.1)
    level = rng.uniform(0.1, 0.6)
    clumps = noise(offset(rng), x, y, 1.4) + 1.3 * np.exp(-2 * ((x - sun[0]) ** 2 + (y - sun[1]) ** 2)) - 0.4
    leaves = clumps + 0.5 * noise(offset(rng), x * 1.5, y * 1.5, 0.8)
    canvas = mix(mix(dark, leaf, ramp(-1.8, 1.2, leaves)), glow, ramp(0.4, 3.2, leaves))
    near = np.clip((y - level) / (1 - level), 0, 1)
    far = 1 / (near + 0.3)
    light = noise(offset(rng), x * far * 0.8, far * 2, 1.0)
    floor = mix(floor * 0.35, mix(floor, glow, 0.3), ramp(-1.2, 1.8, light))
    if rng.random() < 0.35:
        path = rng.uniform(-0.4, 0.4) * (1 - near) - (x - 0.1)
        trodden = ramp(0.12, 0.04, np.abs(path) - 0.25 * near)
        floor = mix(floor, pick(rng, "8c7a62", "a08f78") * (0.8 + 0.2 * light), trodden)
    canvas = mix(canvas, floor, ramp(-0.03, 0.06, y - level + 0.03 * light))
    bark = pick(rng, "4a3a2c", "3c342c", "5c5448", "6b5a48")
    for depth in sorted(rng.random(rng.integers(5, 16)).tolist(), reverse=True):
        place, lean, wide = rng.uniform(-1, 1), rng.normal(0, 0.06), 0.025 + 0.11 * (1 - depth) ** 2
        across = (x - place - lean * y) / (wide * (1 + 0.12 * y))
        left, right = np.searchsorted(x[0], (place - 2.5 * wide - 0.2, place + 2.5 * wide + 0.2))
        part = slice(None), slice(None), slice(left, right)
        across = across[part[1:]]
        foot = level + (1 - level) * (1 - depth) ** 1.5 * 0.8 + 0.03
        inside = ramp(1.15, 0.85, np.abs(across)) * ramp(foot + 0.03, foot - 0.03, y[part[1:]])
        round_ = 0.7 - across * (0.45 if place > sun[0] else -0.45)
        rough = noise(offset(rng), across * 0.25, y[part[1:]] * 0.7, 0.8)
        paint = mix(bark * np.clip(round_ + 0.25 * rough, 0.1, 1.6), mix(leaf, glow, 0.4), 0.55 * depth)
        canvas[part] = mix(canvas[part], paint, inside)
    return canvas
