"""Paints faces: a head modeled as a height field and lit, hair in strands, clothes, a blurred background."""

import cv2
import numpy as np

from .brushes import band, bump, ink, lch, mix, noise, offset, out_of_focus, pick, ramp, relief, window

_SKINS = ("f4bfaa", "eeb097", "e49e82", "d88f70", "c27856", "a9664a", "8c5640", "6f4534")
_SKIN_CHANCES = (0.16, 0.2, 0.2, 0.16, 0.1, 0.07, 0.06, 0.05)
_HAIRS = ("160f0d", "2c180f", "4a2718", "6c3c25", "9c7040", "ccaa74", "e0c898", "82381c", "a8a49e")
_HAIR_CHANCES = (0.2, 0.19, 0.16, 0.12, 0.1, 0.08, 0.05, 0.05, 0.05)


def paint(rng, x, y):
    """A face on a background, planes (3, S, S)."""
    light = rng.uniform(-0.9, 0.9), rng.uniform(-0.7, -0.1), rng.uniform(0.55, 1.1)
    skin = pick(rng, _SKINS[rng.choice(len(_SKINS), p=_SKIN_CHANCES)])
    shades = 9 if skin.mean() > 0.62 else 4 if skin.mean() > 0.4 else 2  # fair hair comes with fair skin
    hair = pick(rng, _HAIRS[rng.choice(len(_HAIRS), p=_HAIR_CHANCES) % shades])
    if rng.random() < 0.02:
        hair = lch(rng.uniform(30, 60), rng.uniform(40, 80), rng.uniform(0, 360))
    long, man = rng.random() < 0.55, rng.random() < 0.5
    man = man and not long
    # Head coordinates: u is 1 at the temples, v is 1 at the chin and -0.2 at the eyes.
    cx, cy, roll = rng.normal(0, 0.03), rng.normal(0.1, 0.03), rng.normal(0, 0.08)
    scale = rng.uniform(0.93, 1.07)
    wide, tall = 0.47 * scale * rng.uniform(0.95, 1.05), 0.63 * scale
    u, v = (x - cx + roll * (y - cy)) / wide, (y - cy - roll * (x - cx)) / tall

    canvas = out_of_focus(_backdrop, rng, x, y)
    strands, body, fringe = _hair(rng, u, v, hair, light, long, man)
    canvas = mix(canvas, strands * 0.62, body)
    rows = band(v, 0.45, 9)
    _bust(rng, canvas[:, rows], u[rows], v[rows], skin, light)
    face = slice(None), band(y, cy - 1.3 * tall, cy + 1.2 * tall), band(x.T, cx - 1.3 * wide, cx + 1.3 * wide)
    turned = _head(rng, canvas[face], u[face[1:]], v[face[1:]], skin, hair, light, len(x) * wide / 2, man)
    _eyes(rng, canvas[face], *turned, skin, hair, tall / wide, man)
    _mouth(rng, canvas[face], *turned, skin, man)
    return mix(canvas, strands, fringe)


def _backdrop(rng, x, y):
    """A wall, a hall or a garden, out of focus."""
    place = rng.choice(4, p=[0.28, 0.24, 0.3, 0.18])
    if place == 0:
        one = pick(rng, "e8e4e0", "f6f4f0", "b0a8a0", "d8d0c4", "84807c")
    elif place == 1:
        one = pick(rng, "0c0c0c", "161616", "1e1a18", "221c18")
    elif place == 2:  # a wall of any hue
        one = lch(rng.uniform(15, 75), rng.uniform(2, 28), rng.uniform(0, 360))
    else:
        one = pick(rng, "3c5428", "587038", "2c3c20", "6c6040", "887858")
    other = pick(rng, "181412", "504030", "c8bcac", "8c7c68", "fff8f0", "3c4048")
    if rng.random() < 0.2:
        other = lch(rng.uniform(25, 75), rng.uniform(10, 60), rng.uniform(0, 360))
    stretch = (1, 1) if rng.random() < 0.6 else (1.2, 0.1)
    blobs = noise(offset(rng), x * stretch[0] * 0.5, y * stretch[1] * 0.5, 2.0)
    canvas = mix(one, other, rng.uniform(0.2, 0.9) * ramp(0, rng.uniform(0.5, 2.5), blobs))
    for _ in range(rng.integers(0, 5) if place in (1, 3) else 0):  # lights
        part, dx, dy = window(x, y, rng.uniform(-1, 1, 2).tolist(), 0.2)
        disc = ramp(0.17, 0.13, cv2.magnitude(dx, dy) / rng.uniform(0.4, 1.1))
        canvas[part] = mix(canvas[part], pick(rng, "fff0c8", "e8f0d0", "f0c090", "c0d8f0"), 0.5 * disc)
    return canvas * (1 + rng.uniform(-0.2, 0.2) * x)


def _hair(rng, u, v, hair, light, long, man):
    """The hair's paint, and where it lies behind the head and in front of the brow."""
    part = rng.uniform(-0.5, 0.5)
    curl, at = rng.uniform(0.02, 0.35), offset(rng)
    wave = noise(at, u * 0.5, v * 0.5, 1.7)
    reach, angle = cv2.cartToPolar(np.maximum(v + 1.2, 0.02), u - part)  # strands spread from the parting
    angle += 0.5 * curl * wave
    lock = noise(at, angle * 1.3, reach * 0.12 + 0.1 * wave, 1.0)
    gloss = np.exp(-(((reach - 0.75 - 0.1 * lock) / 0.3) ** 2)) * np.clip(0.5 + u * light[0], 0, 1)
    strands = hair * np.clip(0.85 + 0.2 * lock + 0.25 * u * light[0], 0.2, 2) + (0.35 * hair + 0.06) * gloss
    if man and rng.random() < 0.12:  # bald, or shaved
        return strands, np.zeros_like(u), np.zeros_like(u)
    full = rng.uniform(1.04, 1.14) if man else rng.uniform(1.14, 1.4)
    crown = cv2.magnitude(u / full, (v + 0.1) / rng.uniform(1.18, 1.3)) + 0.02 * wave * (1 + 3 * curl) + 0.01 * lock
    end = rng.uniform(0.5, 2.2) if long else rng.uniform(-0.25, 0.1)
    fall = np.abs(u) / (full + 0.12 * v + 0.08 * wave) + 0.015 * lock
    ends = ramp(end + 0.1, end - 0.1, v + 0.12 * lock)
    body = mix(ramp(1.03, 0.94, crown), ramp(1.03, 0.93, fall) * ends, ramp(-0.3, 0, v))
    line = rng.uniform(-0.78, -0.55) if man or rng.random() < 0.7 else rng.uniform(-0.6, -0.36)
    sweep = rng.uniform(0.25, 0.6)
    edge = line + sweep * np.abs(u - part) ** 2 + 0.06 * lock + 0.05 * wave
    cap = ramp(0.06, -0.06, v - edge)
    side = ramp(0.86, 0.98, np.abs(u) + 0.08 * wave + 0.03 * lock + 0.1 * np.maximum(v, 0)) * (long or v < end)
    return strands, body, body * np.maximum(cap, side)


def _bust(rng, canvas, u, v, skin, light):
    """Neck, shoulders and clothes of any hue, though often black or white."""
    neck = ramp(0.64, 0.54, np.abs(u) - 0.2 * ramp(1.1, 1.6, v)) * ramp(0.5, 0.6, v)
    chest = ramp(0, 0.1, v - 1.22 - 0.22 * np.abs(u) ** 1.5)
    shade = (0.5 + 0.35 * ramp(0.95, 1.5, v)) * (1 + 0.25 * u * light[0])
    canvas[:] = mix(canvas, mix(skin * ink("5c3424"), skin, shade), np.maximum(neck, chest))
    choice = rng.random()
    if choice < 0.45:
        cloth = pick(rng, "141416", "1c2028", "2c2c30", "e8e8ea", "f4f2f0", "7c7c80")
    else:
        cloth = lch(rng.uniform(15, 70), rng.uniform(5, 55), rng.uniform(0, 360))
    opening, depth = rng.uniform(0.3, 1.1), rng.uniform(0, 0.7)
    collar = 1.15 + 0.18 * np.abs(u) ** 1.5 + depth * np.maximum(1 - np.abs(u) / opening, 0)
    folds = relief(offset(rng), u * 0.5, v * 0.4, light, 1.7)
    inside = ramp(-0.02, 0.04, v - collar)
    canvas[:] = mix(canvas, cloth * np.clip(0.85 + 0.2 * folds + 0.2 * u * light[0], 0.3, 1.4), inside)


def _head(rng, canvas, u, v, skin, hair, light, pixels, man):
    """Ears and the lit face. Also returns u and v as turned with the head: where the features lie."""
    jaw = rng.uniform(0.05, 0.2) if man else rng.uniform(0.12, 0.28)
    d = cv2.magnitude(u / (1 - jaw * ramp(0, 1.2, v)), np.maximum(v, v / -1.2))
    dome = np.sqrt(np.maximum(1.05 - d * d, 0.02))
    yaw, pitch = float(np.clip(rng.normal(0, 0.14), -0.3, 0.3)), rng.normal(0, 0.04)
    fu, fv = u - yaw * dome, v - pitch * dome
    mirror = np.abs(fu)
    z = 0.85 * dome
    z += (0.24 * ramp(-0.35, 0.2, fv) * ramp(0.36, 0.24, fv)) * np.exp(-((fu / 0.16) ** 2))  # nose
    z += 0.07 * bump((mirror - 0.14) / 0.09, (fv - 0.23) / 0.07)
    z -= 0.13 * bump((mirror - 0.42) / 0.26, (fv + 0.17) / 0.13)  # sockets of the eyes
    z += 0.09 * bump((mirror - 0.52) / 0.24, (fv - 0.12) / 0.2)  # cheeks
    z += 0.06 * bump(fu / 0.34, (fv - 0.53) / 0.13) + 0.08 * bump(fu / 0.28, (fv - 0.86) / 0.13)
    slope = pixels / 8  # a Sobel filter sums 8 differences of one pixel
    zu, zv = cv2.Sobel(z, cv2.CV_32F, 1, 0, scale=slope), cv2.Sobel(z, cv2.CV_32F, 0, 1, scale=slope)
    facing = (light[2] - zu * light[0] - zv * light[1]) / np.sqrt(1 + zu * zu + zv * zv)
    facing /= float(np.sqrt(np.square(light).sum()))
    lit = np.clip(0.18 + rng.uniform(0, 0.12) + 0.82 * facing, 0.05, 1.1)
    flush = bump((mirror - 0.5) / 0.26, (fv - 0.22) / 0.2) + bump(fu / 0.2, (fv - 0.24) / 0.1)
    skin_here = mix(skin, skin * ink("ffc4b8"), 0.45 * flush + 0.05 * noise(offset(rng), u, v, 1.0))
    shadow = mix(ink("5c3424"), ink("a07868"), 1 - skin.mean())  # dark skin needs less shade
    paint = mix(skin_here * shadow, skin_here * ink("fff2e4"), ramp(0, 1, lit))
    paint += (0.05 + 0.1 * (1 - skin.mean())) * ramp(0.8, 1, facing)  # and it shines more
    if man and rng.random() < 0.5:
        beard = ramp(0.25, 0.5, d + 0.25 * v - 0.55 + 0.03 * noise(offset(rng), u, v, 0.8)) * ramp(0, 0.3, v)
        beard = np.maximum(beard, 0.8 * bump(fu / 0.36, (fv - 0.41) / 0.07))
        paint = mix(paint, hair * 0.8 * (0.5 + 0.6 * lit), rng.uniform(0.15, 0.85) * beard)
    ears = ramp(1.1, 0.9, cv2.magnitude((np.abs(u) - 1.0) / 0.12, (v + 0.04) / 0.2))
    canvas[:] = mix(canvas, skin * ink("e8b4a4") * (0.75 + 0.25 * u * light[0]), ears)
    canvas[:] = mix(canvas, paint, ramp(1.03, 0.97, d))
    return fu, fv


def _around(fu, fv, u, v, width, height):
    """The part of the canvas around a place of the face, and a little more."""
    middle = fu.shape[1] // 2
    rows = band(fv[:, middle : middle + 1], v - height, v + height)
    beside = fu[(rows.start + rows.stop) // 2 :][:1].T
    return slice(None), rows, band(beside, u - width, u + width)


def _eyes(rng, canvas, fu, fv, skin, hair, aspect, man):
    """Eyes and brows, at times glasses. Aspect: how much longer a step of v is than one of u."""
    light_irises = ("5c7c94", "58704c") if skin.mean() > 0.45 else ()
    iris = pick(rng, "3c2414", "2c1a10", "54381e", *light_irises)
    brow = mix(hair, ink("281c16"), 0.5)
    wide_open, lift, gaze = rng.uniform(0.055, 0.085), rng.uniform(-0.03, 0.03), rng.uniform(-0.04, 0.04)
    thick, makeup = rng.uniform(0.035, 0.06) * (1.25 if man else 0.9), 0 if man else rng.uniform(0, 0.7)
    arched, glasses = rng.uniform(0.015, 0.06), rng.random() < 0.08
    for side in (-1, 1):
        part = _around(fu, fv, side * 0.43, -0.22, 0.5, 0.4)
        eu, ev = (fu[part[1:]] - side * 0.43) * side, fv[part[1:]] + 0.17
        arch = ev + 0.2 + lift - arched * (eu / 0.3 - 0.3) ** 2
        strength = ramp(1.1, 0.7, np.abs(eu) / 0.3) * ramp(thick, 0.2 * thick, np.abs(arch) * (1 + eu))
        view = mix(canvas[part], brow, 0.85 * strength)
        width = 1 - (eu / 0.235) ** 2
        lid, under = ev + wide_open * width, 0.75 * wide_open * width - ev
        view = mix(view, skin * ink("8c5c54"), (0.35 + makeup * 0.5) * bump(eu / 0.26, (ev + 0.04) / 0.08))
        white = mix(ink("e4dcd4"), skin, 0.3)  # in the shade of the brow, and with the skin's light on it
        ball = white * (0.7 + 0.25 * ramp(0, 0.06, lid)) * (1 - 0.25 * (eu / 0.235) ** 2)
        ring = cv2.magnitude(eu - gaze * side, (ev + 0.005) * aspect)
        ball = mix(ball, iris * (0.6 + 6 * np.maximum(ev, -0.05)), ramp(0.112, 0.095, ring))
        ball = mix(ball, ink("0a0808"), ramp(0.05, 0.035, ring))
        glint = cv2.magnitude(eu * side + 0.03, (ev + 0.03) * aspect)
        ball = mix(ball, 1, 0.75 * ramp(0.035, 0.015, glint))
        view = mix(view, ball, ramp(-0.012, 0.012, np.minimum(lid, under)))
        lash = ramp(0.03, 0.005, np.abs(lid)) * (width > -0.2)
        lash += 0.3 * ramp(0.02, 0, np.abs(under)) * (width > 0)
        view = mix(view, ink("1c1210"), np.clip((0.6 + 0.5 * makeup) * lash, 0, 0.95))
        if glasses:
            frame = np.abs(cv2.magnitude(eu / 0.36, ev / 0.2) - 1)
            view = mix(view, ink("141214"), 0.9 * ramp(0.16, 0.06, frame))
        canvas[part] = view


def _mouth(rng, canvas, fu, fv, skin, man):
    """Nostrils and lips, closed or in a smile."""
    part = _around(fu, fv, 0, 0.45, 0.5, 0.35)
    mu, mv = fu[part[1:]], fv[part[1:]]
    nostrils = bump((np.abs(mu) - 0.11) / 0.06, (mv - 0.29) / 0.03)
    view = mix(canvas[part], skin * ink("4c2820"), 0.75 * nostrils)
    half, smile = rng.uniform(0.3, 0.4), rng.uniform(-0.02, 0.1)
    stick = pick(rng, "b0283c", "c84858", "a03038")
    lips = mix(skin * ink("e09088"), stick, 0 if man else rng.uniform(0, 0.8))
    bow = 1 - (mu / half) ** 2
    mv = mv - 0.54 + smile * (1 - bow)
    gap = max(0.0, smile - 0.03) * rng.uniform(0, 1) * bow
    upper = mv + 0.065 * bow * (1 + 0.25 * np.cos(mu * 18)) + 0.4 * gap
    lower = 0.1 * bow + gap - mv
    tone = lips * (0.82 + 1.8 * np.clip(mv, -0.1, 0.09))
    view = mix(view, tone, 0.9 * ramp(-0.015, 0.02, np.minimum(upper, lower)))
    teeth = ramp(0, 0.015, np.minimum(mv + 0.4 * gap, gap - mv)) * (gap > 0.01)
    view = mix(view, mix(ink("f0e8e0"), skin, 0.2) * (0.95 - 0.4 * (mu / half) ** 2), teeth)
    line = ramp(0.022, 0, np.abs(mv - 0.2 * gap)) * (gap < 0.01) * ramp(-0.1, 0.1, bow)
    canvas[part] = mix(view, lips * 0.35, 0.8 * line)
