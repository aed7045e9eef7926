"""The embedded picture set: faces, flowers and landscapes painted from a seed, at any size.

Not clip-art: forms are shaded from one light, surfaces carry noise with a natural (1/f) spectrum, edges are
soft and backgrounds out of focus. Sky, sea, foliage, skin and the petals of most species have the colors that
their shape tells; a third of the flowers, clothes and walls take any hue. Chances and colors are set so that
each kind matches real photographs of it in chroma, colorfulness and variety of color
(`tests/benchmarks/scenes.py` measures it).

A painter works on planes, float32 (3, S, S), sRGB around [0, 1], over x (right) and y (down), both in
[-1, 1]. What it draws by chance does not depend on S, so a scene at another size is the same scene.
"""

import multiprocessing

import numpy as np

from . import brushes, faces, flowers, landscapes

_PAINTERS = {"faces": faces, "flowers": flowers, "landscapes": landscapes}
KINDS = tuple(_PAINTERS)


def scene(kind, index, size=128, seed=0):
    """Paints picture `index` of a kind, uint8 sRGB (size, size, 3). Same arguments, same bytes.

    Raises ValueError for a kind not in KINDS, a size below 8, or a negative index or seed.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of scene {kind!r}; there are {', '.join(KINDS)}")
    if size < 8 or index < 0 or seed < 0:
        raise ValueError(f"a scene needs size >= 8, index >= 0, seed >= 0; got {size}, {index}, {seed}")
    rng = np.random.default_rng([seed, KINDS.index(kind), index])
    return brushes.develop(rng, _PAINTERS[kind].paint(rng, *brushes.grid(size)))


def pictures(kind, count, size=128, seed=0, workers=1):
    """Yields (name, picture) for the first `count` scenes of a kind; "varied" takes the kinds in turn.

    More workers are more processes (threads would wait for each other); the pictures are the same.
    """
    kinds = KINDS if kind == "varied" else (kind,)
    jobs = [(kinds[index % len(kinds)], index, size, seed) for index in range(count)]
    names = (f"{job[0]}-{seed}-{job[1]:06d}" for job in jobs)
    if workers == 1:
        yield from zip(names, map(_job, jobs), strict=True)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from zip(names, pool.imap(_job, jobs, chunksize=16), strict=True)


def _job(job):
    return scene(*job)
