"""The embedded picture set: faces, flowers and landscapes painted from a seed, at any size.

Not clip-art: forms are shaded from one light, surfaces carry noise with a natural (1/f) spectrum, edges are
soft and backgrounds out of focus. Sky, sea, foliage, skin and the petals of most species have the colors that
their shape tells; a third of the flowers, clothes and walls take any hue. Chances and colors are set so that
each kind matches real photographs of it in chroma, colorfulness and variety of color
(`tests/benchmarks/scenes.py` measures it).

A painter works on planes, float32 (3, S, S), sRGB around [0, 1], over x (right) and y (down), both in
[-1, 1]. What it draws by chance does not depend on S, so a scene at another size is the same scene.
"""

import contextlib
import json
import os
import subprocess
import sys

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

    More workers are more processes (threads would wait for each other), each a second or so in starting; the pictures
    are the same. The processes end with the generator. Raises ChildProcessError if one dies, e.g. for want of memory.
    """
    jobs = [(each, index, size, seed) for index, each in enumerate(_kinds(kind, count))]
    painted = _together(jobs, workers) if workers > 1 else (scene(*job) for job in jobs)
    yield from zip(names(kind, count, seed), painted, strict=True)


def names(kind, count, seed=0):
    """The names of the first `count` scenes of a kind, as `pictures` gives them."""
    return [f"{each}-{seed}-{index:06d}" for index, each in enumerate(_kinds(kind, count))]


def _kinds(kind, count):
    kinds = KINDS if kind == "varied" else (kind,)
    return [kinds[index % len(kinds)] for index in range(count)]


def _together(jobs, workers):
    """Yields the scenes of the jobs, painted by processes that take them in turn and write to pipes.

    Not by multiprocessing: it runs the caller's main module again in each worker, which a script without a guard
    does not survive.
    """
    painters = []
    try:
        for first in range(workers):
            painters.append(
                subprocess.Popen(
                    [sys.executable, "-c", "from colorlib.data import scenes; scenes._serve()"],
                    # The same modules as here; OpenCV's threads would fight over cores that the processes fill.
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENCV_FOR_THREADS_NUM": "1"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pipesize=2**20,  # where the system can: room for 20 pictures ahead
                    process_group=0,  # an interrupt at the keyboard is for the caller, who ends the painters
                )
            )
            with contextlib.suppress(BrokenPipeError), painters[-1].stdin as pipe:  # reading will tell that it died
                pipe.write(json.dumps(jobs[first::workers]).encode())
        for number, (kind, index, size, _) in enumerate(jobs):
            painter = painters[number % workers]
            picture = painter.stdout.read(size * size * 3)
            if len(picture) < size * size * 3:
                raise ChildProcessError(f"painting stopped at {kind} {index}: exit status {painter.wait()}")
            yield np.frombuffer(bytearray(picture), np.uint8).reshape(size, size, 3)
    finally:
        for painter in painters:
            painter.kill()
            with painter:  # closes its pipe and waits
                pass


def _serve():
    """Paints the jobs that come as JSON by standard input, to standard output; ends where nobody reads them."""
    jobs = json.load(sys.stdin)
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as pipe, contextlib.suppress(BrokenPipeError):
        for job in jobs:
            pipe.write(scene(*job).data)
