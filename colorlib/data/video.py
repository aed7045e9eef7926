"""Videos -> frames: how system 1's faces were picked from VoxCeleb2, one frame every two seconds.

Times come from the presentation timestamps, so a variable rate and a late start do no harm. Frames stand upright,
mirrored where the file says so. Colors are converted as tagged: BT.601, 709 or 2020, limited or full range.
"""

import bisect
import contextlib
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from colorlib.data import files

EVERY = 2.0  # seconds, as in system 1's data set
# MP4 is of the first, WebM of the second. FFmpeg knows others that would read further files or addresses (concat, HLS).
_OPTIONS = {"format_whitelist": "mov,matroska,avi"}
_HDR = {16: "PQ", 18: "HLG"}  # transfer functions, ITU-T H.273 table 3
_DAY = 86_400  # seconds: a damaged header may promise any length


def frames(path, *, every=EVERY, at=None):
    """Yields (seconds, picture) of a video at 0, every, 2 * every ... seconds: upright uint8 RGB (H, W, 3).

    With `at`, sorted times in seconds, at these instead. A time's picture is the one shown then; times count from the
    first frame. A frame that stays on over several of the times comes once, for the first of them. H.264 in .avi, which
    stores no timestamps, may be off by a few frames.

    Raises ValueError where `every` is not above 0, and `files.ImageError`, naming the file and the reason: missing,
    empty, no video, too large, HDR (to be tone mapped first), or damaged, after the frames before the damage. A file
    cut off in a format that needs no end (.mkv) is a shorter video.
    """
    step = Fraction(str(every))
    if step <= 0:
        raise ValueError(f"one frame every {every} seconds: there must be time between two")
    wanted = None if at is None else [Fraction(str(seconds)) for seconds in at]

    def due(begin, taken):
        """The first time that counts: from `begin` on, and after the one that was `taken` last."""
        if wanted is None:
            return max(math.ceil(begin / step), math.floor(taken / step) + 1) * step
        index = max(bisect.bisect_left(wanted, begin), bisect.bisect_right(wanted, taken))
        return wanted[index] if index < len(wanted) else math.inf

    sound, taken = Fraction(0), Fraction(-1)
    with _opened(path) as stream:
        try:
            for begin, end, frame in _shown(stream):
                if frame.is_corrupt:  # what follows is predicted from it
                    raise av.FFmpegError(0, "a frame with errors")
                sound, next_one = begin, due(begin, taken)
                if next_one < end:
                    taken = next_one
                    yield float(taken), _upright(frame)
                elif next_one == math.inf:
                    return
        except av.FFmpegError as error:
            raise files.ImageError(str(path), f"damaged after {float(sound):.1f} s ({error.strerror})") from error


def times(path, *, every=EVERY, number=None):
    """Lists the times in seconds of a video's frames, as its header promises: there may be more or fewer.

    One every so many seconds, or a `number` of them, each in the middle of an equal part. [0.0] where the header cannot
    be read.
    """
    seconds = 0
    with contextlib.suppress(files.ImageError), _opened(path) as stream:
        seconds = (stream.container.duration or 0) / av.time_base
    seconds = min(seconds, _DAY)
    if seconds <= 0:
        return [0.0]
    if number is not None:
        return [round((index + 0.5) * seconds / number, 3) for index in range(number)]
    step = Fraction(str(every))
    return [float(index * step) for index in range(math.ceil(seconds / step))]


@contextlib.contextmanager
def _opened(path):
    """Opens a file and gives its video stream. Raises ImageError where there is none to be read."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise files.Passing(str(path), (error.strerror or str(error)).lower()) from error
    try:
        # Absolute: a colon in a relative path would name a protocol.
        container = av.open(Path(path).absolute(), options=_OPTIONS, metadata_errors="replace")
    except (OSError, av.FFmpegError) as error:
        reason = "not a video, or cut off (known: MP4, MOV, Matroska, WebM, AVI)"
        raise files.ImageError(str(path), reason) from error
    with container:
        cover = av.stream.Disposition.attached_pic
        found = [each for each in container.streams.video if each.codec_context and not each.disposition & cover]
        if not found:
            raise files.ImageError(str(path), "no video in it that could be decoded")
        if (pixels := found[0].width * found[0].height) > files.MAX_PIXELS:
            raise files.ImageError(str(path), f"{pixels:,} pixels are more than the {files.MAX_PIXELS:,} allowed")
        if kind := _HDR.get(found[0].codec_context.color_trc):
            raise files.ImageError(str(path), f"HDR ({kind}): convert it to standard range")
        yield found[0]


def _shown(stream):
    """Yields (begin, end, frame) of all frames: from when until when each is shown, in seconds since the first."""
    tick, held = Fraction(stream.time_base), None
    for frame in stream.container.decode(stream):
        if held is None:
            first = begin = frame.pts or 0
        else:
            end = begin if frame.pts is None else frame.pts
            yield (begin - first) * tick, (end - first) * tick, held
            begin = end
        held = frame
    if held is None:
        raise av.FFmpegError(0, "it has no frames")
    yield (begin - first) * tick, (begin - first + max(held.duration or 0, 1)) * tick, held


def _upright(frame):
    """Turns a decoded frame into uint8 RGB (H, W, 3), turned and mirrored as its display matrix says."""
    # Untagged (2 in ITU-T H.273), swscale takes BT.601 for any size, players take BT.709 for high definition.
    space = "ITU709" if frame.colorspace == 2 and frame.height > 576 else None
    picture = frame.to_ndarray(format="rgb24", src_colorspace=space)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32)  # x' = a x + c y, y' = b x + d y (libavutil/display.h)
    if abs(b) > abs(a):  # a quarter turn
        picture, a, d = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
