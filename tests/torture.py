"""Kills, damages, starves and crowds what the project writes, and counts what comes of it: `make torture`.

    python tests/torture.py [--seed 0] [--rounds 1.0] [--out torture.json]

Each work is done once undisturbed. Then it is disturbed at random, done again, and compared with the first:

right     the same result, to the byte, or to the bit of the weights
read      of a mutant: something, as far as its damage lets it be seen
refused   an error in one line, and nothing that looks finished
lost      a result that is gone, or an exception or signal that nobody expected
wrong     another result, and nobody said so
"""

import argparse
import collections
import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": "-1"}

import keras  # imported, but not used before the forks: TensorFlow's threads would not survive one
import numpy as np
import pandas as pd

from colorlib import __main__ as cli
from colorlib import colorize, console, training
from colorlib.data import disk, files, pipeline, sets
from colorlib.models import backbones
from colorlib.scoring import results

FORK = multiprocessing.get_context("fork")
OUTCOMES = ("right", "read", "refused", "lost", "wrong")
ALBUM = [f"{number:02}.{kind}" for number in range(16) for kind in ("jpg", "png")]


# The works. Each is done in its own folder, goes on where it stopped, and `kept` tells what it must leave.


def painted(seed, side=48):
    """A small picture that JPEG keeps well."""
    coarse = np.random.default_rng(seed).integers(40, 215, (6, 6, 3), np.uint8)
    return files.fit(coarse, side)


def build():
    """A set from an archive."""
    sets.prepare("album.tar", role="varied")


def cache():
    """Pictures decoded once for training."""
    paths = sorted(Path("clean").glob("*.jpg"))
    pipeline.load(paths, 16, cache="cache")


def features():
    """Features of a backbone, computed once."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    backbone = keras.Model(inputs, keras.layers.Conv2D(8, 3, kernel_initializer="ones")(inputs))
    rng = np.random.default_rng(0)
    batches = [(rng.random((4, 16, 16, 1), np.float32), None) for _ in range(12)]
    backbones.cached_features(backbone, batches, "features")


def train():
    """A training with checkpoints."""
    training.setup(0)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(40)(keras.layers.Dropout(0.2, seed=1)(inputs)))
    model.compile("adam", "mse", run_eagerly=True)
    checkpoint = training.Checkpoint("run", {"epochs": 6})
    first = checkpoint.restore(model)
    x = np.random.default_rng(0).random((64, 6), np.float32)
    model.fit(x, x @ np.ones((6, 40)), epochs=6, initial_epoch=first, callbacks=[checkpoint], shuffle=False, verbose=0)
    disk.write("run/trained.npy", np.concatenate([each.ravel() for each in model.get_weights()]).tobytes())


def color():
    """An album, colored by the command line."""
    cli._import_keras_quietly = lambda: None
    if cli.main(["colorize", "album", "--out", "out", "--model", "model.keras"]) != 0:
        raise ValueError("not all were colored")


def score():
    """Results, a row a run."""
    for seed in range(8):
        numbers = np.random.default_rng(seed).random(40)
        row = {"experiment": "01_x", "variant": "l2", "role": "faces", "seed": seed, "data": "a", "digest": "0"}
        row |= {"parameters": "{}", "ciede2000": float(numbers.mean())}
        results.add("results/01_x.csv", row, pd.DataFrame({"ciede2000": numbers}))
    assert len(results.load_results("results")) == 8


WORKS = {each.__name__: each for each in (build, cache, features, train, color, score)}
# What they must leave, and what of it may differ from run to run: times, locks, the record's order.
KEPT = {
    "build": "data/processed/[!.]*/**/*",
    "cache": "cache/**/*.rgb",
    "features": "features/*/features.npy",
    "train": "run/trained.npy",
    "color": "out/*",
    "score": "results/*",
}
STATE = {  # files that are damaged one at a time; all that the next run trusts
    "build": ["data/processed/*/*.*", "data/processed/*/pictures/*"],
    "cache": ["cache/*/*.rgb"],
    "features": ["features/*/*.*"],
    "train": ["run/epoch-*.h5", "run/*.json"],
    "color": [".out.colorlib.jsonl"],
    "score": ["results/*"],
}


def prepare(folder):
    """What the works read."""
    album, clean = folder / "album", folder / "clean"
    for number, name in enumerate(ALBUM):
        grey = painted(number).mean(axis=-1, keepdims=True).astype(np.uint8).repeat(3, axis=-1)
        files.save(grey, album / name)
        files.save(painted(number), clean / f"{number:02}.jpg")
    with tarfile.open(folder / "album.tar", "w") as archive:
        for path in sorted(clean.iterdir()):
            archive.add(path, path.name)
    with zipfile.ZipFile(folder / "album.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(clean.iterdir()):
            archive.write(path, path.name)


def make_model(path):
    """A colorizer in a file; in a process of its own, for it uses TensorFlow."""
    inputs = keras.Input((None, None, 1))
    keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same", kernel_initializer="ones")(inputs)).save(path)


def kept(folder, name):
    """{path: digest} of what a work left."""
    found = [path for path in folder.glob(KEPT[name]) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


# Doing and disturbing


def start(work, folder):
    """Starts a work in a process of its own, in a folder; what it says goes into `said` there."""

    def run():
        os.chdir(folder)
        handle = os.open(said(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        status = 0
        try:
            work()
        except (ValueError, OSError, MemoryError) as error:
            print(f"refused: {console.in_one_line(str(error))}", flush=True)
            status = 2
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)

    process = FORK.Process(target=run)
    process.start()
    return process


def finish(process, timeout=120):
    """The exit status of a process; -9 for one that hangs."""
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def outcome(status, folder, name, whole):
    """What has come of a work, of which `whole` is known to be right."""
    if status == 0:
        return "right" if kept(folder, name) == whole else "wrong"
    return "refused" if status == 2 else "lost"


def copied(source):
    """A copy of a folder, always of the same name: sets know where their source lies."""
    folder = source.with_name("try")
    remove(folder)
    shutil.copytree(source, folder, symlinks=True)
    return folder


def said(folder):
    """The file of what a work said: beside its folder, whose disk may be full."""
    return folder.with_name("said")


def kills(name, before, whole, seconds, rng):
    """Killed at a random moment, done again."""
    folder = copied(before)
    process = start(WORKS[name], folder)
    time.sleep(rng.random() * seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return outcome(finish(start(WORKS[name], folder)), folder, name, whole), folder


def mutate(path, rng):
    """Damages a file: a flipped bit, a cut, a hole of zeros, nothing left, or gone."""
    content, kind = bytearray(path.read_bytes()), rng.choice(["bit", "bit", "bit", "cut", "zeros", "empty", "gone"])
    if kind == "gone" or not content:
        path.unlink()
        return "gone"
    place = rng.randrange(len(content))
    if kind == "bit":
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    path.write_bytes(content[: {"cut": place, "empty": 0}.get(kind, len(content))])
    return kind


def damages(name, after, whole, seconds, rng):
    """One file of the state damaged, done again."""
    folder = copied(after)
    path = rng.choice([path for pattern in STATE[name] for path in sorted(folder.glob(pattern)) if path.is_file()])
    time.sleep(0.01)  # file systems count time in such steps
    mutate(path, rng)
    found = outcome(finish(start(WORKS[name], folder)), folder, name, whole)
    if found == "wrong" and said(folder).read_text().strip():
        found = "refused"  # it was told, and what is left is another's, such as a picture kept beside a numbered one
    return found, folder


def crowds(name, before, whole, seconds, rng):
    """Two at once."""
    folder = copied(before)
    processes = [start(WORKS[name], folder) for _ in range(2)]
    statuses = sorted(finish(process) for process in processes)
    found = outcome(statuses[0], folder, name, whole)
    if found == "right" and statuses[1] == 2:
        found = "refused" if "in use" in said(folder).read_text() else "lost"
    return found if statuses[1] in (0, 2) else "lost", folder


def full_disks(name, before, whole, seconds, rng):
    """On a disk that is too small; done again when it is not any more."""
    remove(folder := before.with_name("try"))
    folder.mkdir()
    read = sum(4096 * (path.stat().st_size // 4096 + 2) for path in before.rglob("*"))  # in whole pages
    size = read + rng.randrange(20_000, 400_000)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    shutil.copytree(before, folder, dirs_exist_ok=True)
    first = finish(start(WORKS[name], folder))
    subprocess.run(["mount", "-o", "remount,size=1G", folder], check=True)
    if first not in (0, 2):
        return "lost", folder
    return outcome(finish(start(WORKS[name], folder)), folder, name, whole), folder


# Mutants: files of strangers


def mutants(kind, before, count, rng):
    """Mutated pictures, archives or models: each is read, or refused in one line."""
    found, seeds = collections.Counter(), [rng.getrandbits(32) for _ in range(count)]
    for first in range(0, count, 50):
        folder = copied(before)
        process = start(lambda some=seeds[first : first + 50]: [_mutant(kind, seed) for seed in some], folder)
        status = finish(process, timeout=300)
        lines = said(folder).read_text(errors="replace").splitlines()
        found.update(line for line in lines if line in OUTCOMES)
        missing = len(seeds[first : first + 50]) - sum(line in OUTCOMES for line in lines)
        found["lost"] += missing if status != 0 else 0
        remove(folder)
    return found


def _mutant(kind, seed):
    rng = random.Random(seed)
    archive, model = rng.choice(["album.tar", "album.zip"]), "model.keras"
    source = Path({"pictures": f"album/{rng.choice(ALBUM)}", "archives": archive, "models": model}[kind])
    path = Path(f"mutant{source.suffix}")
    content = bytearray(source.read_bytes())
    for _ in range(rng.choice([1, 1, 3, 30])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content[: rng.choice([len(content), len(content), rng.randrange(len(content))])])
    try:
        found = whole = None
        if kind == "pictures":
            photograph = files.open_photograph(path.read_bytes(), "mutant")
            files.encode(photograph, ".png")
            found, whole = (
                files.flat(each).tobytes() for each in (photograph, files.open_photograph(source.read_bytes(), ""))
            )
        elif kind == "archives":
            found, whole = (
                sets.digest(sets.prepare(each, role="varied", folder=Path(f"sets-{seed}"))) for each in (path, source)
            )
        else:
            colorize.load(path)
        print("right" if found is not None and found == whole else "read", flush=True)
    except (files.ImageError, sets.SourceError, colorize.ModelError) as error:
        print("refused" if "\n" not in str(error) else "lost", flush=True)


def remove(folder):
    """Removes a folder of a try and what was said, also where a disk was mounted."""
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)
    shutil.rmtree(folder, ignore_errors=True)
    said(folder).unlink(missing_ok=True)


def may_mount(folder):
    """Whether this user may mount a small disk."""
    place = folder / "mounted"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", place], capture_output=True)
    if done.returncode == 0:
        subprocess.run(["umount", place], check=True)
    place.rmdir()
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=float, default=1.0, help="times the usual number of tries")
    parser.add_argument("--out", type=Path, help="a JSON file for the table")
    options = parser.parse_args()
    rng, table, failed, begun = random.Random(options.seed), {}, [], time.time()
    with tempfile.TemporaryDirectory() as root:
        before = Path(root, "before")
        prepare(before)
        finish(start(lambda: make_model("model.keras"), before))
        said(before).unlink()
        disturbances = {kills: 30, damages: 60, crowds: 6} | ({full_disks: 8} if may_mount(Path(root)) else {})
        for name, work in WORKS.items():
            folder, start_time = copied(before), time.time()
            if finish(start(work, folder)) != 0:
                sys.exit(f"{name} fails undisturbed: {said(folder).read_text()[-500:]}")
            seconds, whole = time.time() - start_time, kept(folder, name)
            after = folder.rename(folder.with_name("after"))
            said(folder).unlink()
            for disturb, tries in disturbances.items():
                found = collections.Counter()
                for _ in range(max(1, round(tries * options.rounds))):
                    came, folder = disturb(name, after if disturb is damages else before, whole, seconds, rng)
                    found[came] += 1
                    if came in ("lost", "wrong"):
                        failed.append(f"{disturb.__name__} {name}: {came}: {said(folder).read_text()[-300:]}")
                    remove(folder)
                table[f"{disturb.__name__} {name}"] = {each: found[each] for each in OUTCOMES}
                print(f"{disturb.__name__:12} {name:10}", dict(found), flush=True)
            shutil.rmtree(after)
        for kind, count in {"pictures": 4000, "archives": 200, "models": 100}.items():
            found = mutants(kind, before, max(1, round(count * options.rounds)), rng)
            table[f"mutants {kind}"] = {each: found[each] for each in OUTCOMES}
            print(f"{'mutants':12} {kind:10}", dict(found), flush=True)
    print(f"{(time.time() - begun) / 60:.1f} minutes, seed {options.seed}")
    print(*failed[:20], sep="\n")
    if options.out:
        minutes, hardware = (time.time() - begun) / 60, results.hardware()
        disk.write_json({"seed": options.seed, "minutes": minutes, "hardware": hardware, "table": table}, options.out)
    sys.exit(1 if any(row["lost"] or row["wrong"] for row in table.values()) else 0)


if __name__ == "__main__":
    main()
