"""Measures how sets are made and used at scale: python tests/benchmarks/scale.py [--sets FOLDER] [--out FILE].

Cleaning pictures of 500 pixels and videos as VoxCeleb2's, by one process and by two workers of Apache Beam (the extra
`scale`); joining look-alikes; memory of a training on more and more pictures in shards; the losses of one device and of
two (JAX: the extra `jax`). With --sets, also what is taken of each set in a folder. A part that was measured before and
is not measured now stays in the file. Takes about 15 minutes on 2 idle cores.
"""

import argparse
import collections
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image

from colorlib.data import cleaning, disk, files, scale, sets, sources

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "notebooks" / "results" / "benchmarks" / "scale.json"
PICTURES, VIDEOS, SECONDS, ROUNDS = 2000, 240, 8, 3
MEMORY_COUNTS = (2000, 4000, 8000, 16000)


def timed(action, *arguments, **options):
    """What a call returns, and the seconds it took."""
    start = time.perf_counter()
    result = action(*arguments, **options)
    return result, time.perf_counter() - start


def pictures_of_500(folder):
    """JPEG files with a long side of 500: crops of the gallery's photographs."""
    rng = np.random.default_rng(0)
    photographs = [files.load(path) for path in sorted((ROOT / "data" / "gallery").glob("kodim*.jpg"))]
    folder.mkdir()
    for number in range(PICTURES):
        picture = photographs[number % len(photographs)]
        size = np.array(picture.shape[:2])
        crop = np.int64(size * rng.uniform(0.66, 0.99))
        top, left = rng.integers(0, size - crop + 1)
        image = Image.fromarray(picture[top : top + crop[0], left : left + crop[1]])
        share = 500 / max(image.size)
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
        image.save(folder / f"{number:05}.jpg", quality=90)
    return folder


def videos_of_224(folder):
    """Videos of 224 x 224 pixels, 25 frames a second: the camera moves over a photograph."""
    photographs = [files.load(path) for path in sorted((ROOT / "data" / "gallery").glob("kodim*.jpg"))]
    for number in range(VIDEOS):
        picture = files.shrink(photographs[number % len(photographs)], 300)
        path = folder / f"id{number // 3}" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
            stream.width = stream.height = 224
            stream.pix_fmt = "yuv420p"
            for step in range(25 * SECONDS):
                top, left = step % 70, (step + number) % 70
                frame = np.ascontiguousarray(picture[top : top + 224, left : left + 224])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode())
    return folder


def plain_and_beam(source, scratch):
    """Things a second, as `sets.prepare` and `scale.prepare` take them: the best of some rounds, and all of them."""
    times = {"plain": [], "beam": [], "beam, all done before": []}
    for number in range(ROUNDS):
        folder = scratch / f"{source.name}-{number}"
        made, seconds = timed(sets.prepare, source, role="varied", folder=folder / "processed")
        times["plain"].append(seconds)
        for how in ("beam", "beam, all done before"):
            _, seconds = timed(scale.prepare, source, folder / "shards", shards=4)
            times[how].append(seconds)
        kept = sum(sets.describe(made)[split] for split in sets.SPLITS)
    start = min(times["beam, all done before"])
    found = {f"{how} a second": round(kept / min(times[how]), 1) for how in ("plain", "beam")}
    found["beam a second, after its start"] = round(kept / (min(times["beam"]) - start), 1)
    return found | {"kept": kept, "seconds": {how: [round(each, 2) for each in some] for how, some in times.items()}}


def bytes_of_shards(scratch, source):
    """Bytes in shards for each picture."""
    folder = scratch / f"{source.name}-0" / "shards" / "shards"
    made = sum(path.stat().st_size for path in folder.glob("*.tfrecord"))
    return round(made / json.loads((folder.parent / "set.json").read_text())["pictures"])


def joining():
    """Seconds to join the look-alikes of so many pictures, of hashes with bits that are not fair, as photographs'."""
    found, rng = {}, np.random.default_rng(0)
    for count in (10_000, 100_000, 1_000_000):
        hashes = rng.random((count, 32, 16), np.float32) < np.linspace(0.3, 0.7, 16, dtype=np.float32)
        groups = [f"{number:07}" for number in range(count)]
        found[str(count)] = round(timed(cleaning.join_alike, groups, hashes)[1], 1)
    return found


def memory(scratch):
    """MB, at most, of a process that trains for an epoch on so many pictures of 128 pixels, from shards."""
    rng, found = np.random.default_rng(0), {}
    source = scratch / "many"
    source.mkdir()
    for number in range(max(MEMORY_COUNTS)):
        colors = rng.integers(0, 256, (4, 4, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(colors).resize((128, 128), Image.Resampling.BICUBIC).save(file, "JPEG", quality=80)
        (source / f"{number:05}.jpg").write_bytes(file.getvalue())
    folder = scale.prepare(source, scratch / "many-shards", shards=8, rules=cleaning.Rules(grey=True))
    for count in MEMORY_COUNTS:
        command = [sys.executable, __file__, "--train-on", str(folder), str(count), str(scratch / f"cache{count}")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[str(count)] = round(int(said.split()[-1]) / 1024)
    return found


def train_on(folder, count, cache):
    """What that process does. Prints its peak memory in kB."""
    import keras

    from colorlib.data import pipeline

    paths = [path for split in sets.SPLITS for path in sets.paths(folder, split)][: int(count)]
    pictures = pipeline.load(paths, 128, cache=cache)
    inputs = keras.Input((128, 128, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same")(inputs))
    model.compile("adam", "mse")
    train = pipeline.batches(pictures, batch_size=32, training=True)
    model.fit(train, steps_per_epoch=pipeline.steps_per_epoch(pictures, 32), shuffle=False, verbose=0)
    print(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def devices(scratch):
    """One device against two: the largest difference of a loss, and seconds of the last epoch."""
    sys.path.insert(0, str(ROOT / "tests"))
    import test_devices as code

    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    runs = {
        "TensorFlow, 1 device": [code.start(scratch / "t1", KERAS_BACKEND="tensorflow", **quiet)],
        "TensorFlow, MirroredStrategy, 2 devices": [
            code.start(scratch / "t2", before=code.LOGICAL, KERAS_BACKEND="tensorflow", COLORLIB_DEVICES="all", **quiet)
        ],
    }
    found = {}

    def finish(name, processes, base):
        histories = []
        for each in processes:
            out, error = each.communicate()
            if each.returncode:
                raise SystemExit(error)
            histories.append(json.loads(out.splitlines()[-1]))
        losses = np.array([histories[0][key] for key in ("loss", "val_loss")])
        off = 0.0 if base is None else float(np.abs(losses - base).max())
        found[name] = {"largest difference of a loss": off, "last loss": losses[0, -1]}
        return losses

    base = None
    for name, processes in runs.items():
        losses = finish(name, processes, base)
        base = losses if base is None else base
    base = finish("JAX, 1 process", [code.start(scratch / "j1", KERAS_BACKEND="jax", **quiet)], None)
    finish("JAX, DataParallel, 2 processes", code.on_two_processes(scratch / "j2"), base)
    return found


def of_sets(folder, scratch):
    """What is taken of each set of a folder: files in, kept, rejected by reason, seconds, the first time and again."""
    found = {}
    for name, path in sources_of(folder).items():
        made, seconds = timed(sets.prepare, path, role="varied", folder=scratch / "processed")
        listed = sources.locate(path, "varied", None, scratch / "raw").listed()
        reasons = collections.Counter(reason.split(":")[0] for _, reason in sets.rejects(made))
        again = next((scratch / "processed").glob(f"{made.name}"))
        (again / "set.json").unlink()  # its tables are made again of what is cleaned
        _, second = timed(sets.prepare, path, role="varied", folder=scratch / "processed")
        found[name] = {
            "files": len(listed.entries) + len(listed.left_out),
            "kept": sum(sets.describe(made)[split] for split in sets.SPLITS),
            "rejected": dict(reasons.most_common()),
            "seconds": round(seconds, 1),
            "seconds, all cleaned before": round(second, 1),
        }
    return found


def sources_of(folder):
    """The sets of a folder, and where it holds pictures itself, it."""
    return sets.sources_in(folder) or {Path(folder).name: Path(folder)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(OUT))
    parser.add_argument("--sets", nargs="*", default=[], help="folders of sets, to be cleaned and told of")
    parser.add_argument("--only", nargs="*", help="these parts alone: pictures, videos, joining, memory, devices, sets")
    parser.add_argument("--train-on", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train_on:
        return train_on(*options.train_on)
    report = json.loads(Path(options.out).read_text()) if Path(options.out).exists() else {}

    def part(name, action, *arguments):
        if options.only is None or name in options.only:
            from colorlib.scoring import results

            report[name] = action(*arguments) | {"hardware": results.hardware()}
            print(json.dumps({name: report[name]}, indent=2), flush=True)
            disk.write_json(report, options.out)

    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        if options.only is None or "pictures" in options.only:
            source = pictures_of_500(scratch / "pictures")
            part("pictures", plain_and_beam, source, scratch)
            report["pictures"]["bytes of a picture in shards"] = bytes_of_shards(scratch, source)
        if options.only is None or "videos" in options.only:
            source = videos_of_224(scratch / "videos")
            part("videos", plain_and_beam, source, scratch)
            report["videos"] |= {"videos": VIDEOS, "seconds of each": SECONDS}
            report["videos"]["bytes of a frame in shards"] = bytes_of_shards(scratch, source)
        part("joining", joining)
        part("memory", memory, scratch)
        part("devices", devices, scratch)
        if options.sets:
            part("sets", lambda: {k: v for folder in options.sets for k, v in of_sets(folder, scratch).items()})
    disk.write_json(report, options.out)
    return None


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
