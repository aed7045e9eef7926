"""Paints flowers, of species told by their shape, before foliage that is out of focus."""

import cv2
import numpy as np

from .brushes import band, lch, mix, noise, offset, out_of_focus, pick, ramp, vary, window

# Shape tells the color of most. name: petals, rings, width, roundness of the tip, radius of the core,
# petal inks (None: any hue), core inks, how much the inner end of a petal differs.
_SPECIES = {
    "daisy": (19, 1, 1.0, 6, 0.27, ("f6f4f2", "f2ecf4"), ("e8b020", "d89a14"), 0.05),
    "sunflower": (20, 2, 1.0, 2, 0.42, ("f2b80c", "f6c81c", "eaa008"), ("4a2c12", "5c3a16"), 0.3),
    "gerbera": (26, 2, 1.0, 4, 0.2, ("e8481c", "f08a20", "d8202c", "e04888", "f0a0b8"), ("2c1810", "c8a030"), 0.5),
    "poppy": (4, 1, 1.6, 10, 0.16, ("d81c14", "e83c18", "c8141c"), ("1c1a1c", "2c2a20"), 0.6),
    "camellia": (6, 4, 1.4, 4.5, 0.1, ("d8305a", "e88aa4", "c01c34", "f2c4cc"), ("e8c040",), 0.2),
    "lily": (6, 1, 0.8, 2, 0.08, ("f07a1c", "e85820", "f2a4b4", "f4ece4"), ("b8702c", "8c9a3c"), 0.4),
    "periwinkle": (5, 1, 0.84, 9, 0.08, ("6c64c8", "8478d4", "5a6cd0", "9480d8"), ("f0ecc8", "e8d860"), 0.35),
    "clematis": (8, 1, 1.0, 2.5, 0.15, ("7c3ca8", "9450b4", "a04cb0"), ("e8e0c4", "c8b890"), 0.3),
    "petunia": (5, 1, 1.9, 14, 0.07, None, ("f0e8a8", "3c2440"), 0.6),
    "dahlia": (12, 4, 1.05, 3, 0.08, None, ("c89a30",), 0.25),
    "cosmos": (8, 1, 0.86, 12, 0.15, None, ("e8b820",), 0.3),
}


def paint(rng, x, y):
    """One to five flowers of a species, planes (3, S, S)."""
    light = rng.uniform(-0.8, 0.8), -0.7
    canvas = _foliage(rng, x, y, light)
    free = rng.random() < 1 / 3
    species = rng.choice([name for name, traits in _SPECIES.items() if (traits[5] is None) == free])
    inks = _SPECIES[species][5]
    if free:
        petal = lch(rng.uniform(35, 85), rng.uniform(25, 90), _petal_hue(rng))
    else:
        petal = vary(rng, pick(rng, *inks), 0.08)
    count = rng.choice([1, 2, 3, 5], p=[0.63, 0.22, 0.1, 0.05])
    for rank in range(count):  # the last is the largest and nearest
        last = rank == count - 1
        radius = rng.uniform(0.6, 1.05) if last else rng.uniform(0.25, 0.55)
        radius *= 1 if count < 4 else 0.75
        spread = 0.2 if last and count < 3 else 0.7
        center = rng.uniform(-spread, spread), rng.uniform(-spread, spread)
        if last or rng.random() < 0.6:
            _stem(rng, canvas, x, y, center)
        _bloom(rng, canvas, x, y, species, center, radius, vary(rng, petal, 0.03), light)
        if not last and rng.random() < 0.7:  # out of the plane of focus
            width = len(x) * rng.uniform(0.004, 0.02)
            for plane in canvas:
                cv2.GaussianBlur(plane, (0, 0), width, dst=plane)
    return canvas


def _petal_hue(rng):
    """Any hue, in degrees; greens and teals are rare in flowers."""
    hue = rng.uniform(0, 360)
    return hue if not 110 < hue < 250 or rng.random() < 0.2 else rng.uniform(-60, 100)


def _foliage(rng, x, y, light):
    """What lies behind a flower: leaves and earth out of focus, then some leaves nearly in it."""
    if rng.random() < 0.18:  # sky or a wall
        back = lch(rng.uniform(20, 85), rng.uniform(3, 30), rng.uniform(0, 360))
        dark, green = back * 0.6, back
    else:
        dark = pick(rng, "141c0e", "0b0d0a", "1c2214", "241f1a", "2c302a", "100e10")
        green = pick(rng, "4f7a2c", "3c6424", "7c9a4c", "4c5c3c", "7a7a66", "6a6660", "6c9a28")
    canvas = out_of_focus(_blur, rng, x, y, dark, green)
    for sharp in sorted(rng.random(rng.integers(3, 7)).tolist()):
        leaf = vary(rng, mix(dark, green, 0.4 + 0.8 * sharp) * rng.uniform(0.7, 1.25), 0.1)
        _leaf(rng, canvas, x, y, leaf, 0.25 - 0.22 * sharp, light)
    return canvas


def _blur(rng, x, y, dark, green):
    soft = noise(offset(rng), x * 0.8, y * 0.8, 1.7)
    canvas = mix(dark, green, ramp(-1.2, 2.2, soft + rng.uniform(-0.4, 0.5)))
    spots = noise(offset(rng), x, y, 1.4)
    return mix(canvas, pick(rng, "a8b87c", "6c5c44", "c8d09c", "8c9c94"), 0.6 * ramp(0.6, 2.4, spots))


def _leaf(rng, canvas, x, y, leaf, blur, light):
    long, wide, turn = rng.uniform(0.3, 0.9), rng.uniform(0.1, 0.32), rng.uniform(0, 2 * np.pi)
    part, u, v = window(x, y, rng.uniform(-1, 1, 2).tolist(), long)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    along, across = (u * cos + v * sin) / long, v * cos - u * sin
    side = across / (wide * np.maximum(1 - along * along, 0.01) * (1 - 0.35 * along))
    inside = ramp(1 + blur * 2, 1 - blur * 2, np.abs(side)) * ramp(1, 0.85, np.abs(along))
    half = 0.16 * np.clip(side * 5, -1, 1) * (light[1] * cos - light[0] * sin)  # the two halves face apart
    ribs = np.sin((along * 1.5 + np.abs(side) * -0.35) * 18) * 0.08
    vein = 0.25 * ramp(0.012, 0, np.abs(across))
    shade = 0.85 + half + (ribs + vein) * (1 - 4 * blur) + 0.12 * along
    canvas[part] = mix(canvas[part], leaf * shade, inside)


def _stem(rng, canvas, x, y, center):
    bend = rng.uniform(-0.4, 0.4)
    rows = band(y, center[1], 1)
    canvas, x, y = canvas[:, rows], x[rows], y[rows]
    down = y - center[1]
    across = (x - center[0] - bend * down * down) / rng.uniform(0.02, 0.045)
    inside = ramp(1.3, 0.7, np.abs(across))
    canvas[:] = mix(canvas, pick(rng, "5c7a34", "4a6428", "748c4c") * np.clip(0.75 + 0.35 * across, 0.3, 1.2), inside)


def _bloom(rng, canvas, x, y, species, center, radius, petal, light):
    """One flower: rings of petals from the outer to the inner, each shaded and shadowed, then the core."""
    petals, rings, width, tip, core, _, core_inks, inner = _SPECIES[species]
    part, u, v = window(x, y, center, radius * 1.15)
    whole = part[1:]
    spin, squash = rng.uniform(0, np.pi), rng.uniform(0.6, 1)
    cos, sin = float(np.cos(spin)), float(np.sin(spin))
    u, v = u * cos + v * sin, (v * cos - u * sin) / squash
    lx, ly = light[0] * cos + light[1] * sin, light[1] * cos - light[0] * sin
    at = offset(rng)
    u, v = (axis + 0.05 * radius * noise(at, u * 0.6 + k, v * 0.6, 1.7) for k, axis in enumerate((u, v)))
    r, angle = cv2.cartToPolar(u, v)
    r = np.maximum(r, 1e-4)
    r /= radius
    toward = (u * lx + v * ly) / (r * radius)  # how far a petal points to the light, -1 to 1
    aside = (v * lx - u * ly) / (r * radius)
    inner_ink = mix(petal, pick(rng, "fbf6ea", "3c1024", "f0d040"), inner)
    for ring in range(rings):
        outer = 1 - 0.8 * ring / rings
        part, *_ = window(x, y, center, radius * outer * 1.15)
        inset = tuple(slice(k.start - w.start, k.stop - w.start) for k, w in zip(part[1:], whole, strict=True))
        turn, away, sun, side = (plane[inset] for plane in (angle, r, toward, aside))
        phase = turn * (petals / (2 * np.pi)) + (0.5 * ring + rng.uniform(0, 0.2))
        which = phase.astype(np.int32)
        across = 2 * (phase - which) - 1
        reach = rng.normal(outer, 0.06 * outer, petals).astype(np.float32)[which % petals]
        along = np.minimum(away / reach, 1)
        half = width * 1.15 * np.sqrt(along * np.sqrt(along) * (1 - along**tip))
        inside = ramp(-0.05, 0.04 * petals / (1 + ring) ** 0.5 / np.pi, half - np.abs(across) * along) * (away < reach)
        veins = noise(at, across * 0.35 + which % 5, along * 0.12, 0.8)
        shade = 1 + 0.25 * across * side + 0.35 * (along - 0.55) * sun + 0.07 * veins
        shade *= (0.55 if rings > 1 else 0.8) + (0.45 if rings > 1 else 0.2) * np.minimum(2 * along, 1)
        shade *= 1 - 0.25 * ramp(0.6, 1.1, np.abs(across))
        paint = mix(inner_ink, petal, ramp(0.15, 0.65, along + 0.08 * veins)) * shade
        picture = mix(canvas[part], paint, inside)
        if ring + 1 < rings:  # the shadow of the ring above
            picture *= 1 - 0.4 * ramp(1.05, 0.7, away / (1 - 0.8 * (ring + 1) / rings))
        canvas[part] = picture
    part, u, v = window(x, y, center, radius * core * 1.2)
    r = cv2.magnitude(u, v / squash) / radius
    dots = noise(offset(rng), u / radius * 2, v / radius * 2, 0.4)
    dome = np.clip(0.85 + (0.35 * u * light[0] + 0.35 * v * light[1]) / (radius * core) + 0.22 * dots, 0.2, 1.5)
    canvas[part] = mix(canvas[part], pick(rng, *core_inks) * dome, ramp(core * 1.1, core * 0.9, r + 0.02 * dots))
