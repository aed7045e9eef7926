"""Results: one row for each run. `score` adds one; `results_table`, `compare` and `load_results` read them.

An experiment's table is three files, in RUN_FOLDER/results or, where it is published, in notebooks/results/PROFILE:

    09_vivid_colors.csv              a row a run: variant, role, seed, scores with 95 % intervals, settings, machine
    09_vivid_colors.pictures.csv.gz  the scores of each picture; a row above names its own by their digest
    09_vivid_colors.json             training histories, swept curves, conventions; checksums of the two others
"""

import csv
import datetime
import functools
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from colorlib import color
from colorlib.data import disk, sets
from colorlib.scoring import baselines, scores

ROOT = Path(__file__).resolve().parent.parent.parent
_CODE = ("colorlib", ":!colorlib/weights", ":(glob)notebooks/*.ipynb", "notebooks/profiles")  # makes results

# name in the results -> heading, decimals; the arrow says where better lies
SCORES = {
    "ciede2000": ("CIEDE2000 ↓", 2),
    "colorfulness_ratio": ("colorfulness ratio → 1", 2),
    "variety_ratio": ("variety ratio → 1", 2),
    "ab_wasserstein": ("ab Wasserstein ↓", 2),
    "psnr": ("PSNR (dB) ↑", 2),
    "ssim": ("SSIM ↑", 3),
    "blots": ("blots (truth's beside)", 3),
    "sepia": ("sepia share of chroma", 2),
    "blue": ("blue share of chroma", 2),
    "auc": ("AuC ↑", 3),
    "auc_rebalanced": ("rebalanced AuC ↑", 3),
    "ab_rmse": ("ab RMSE ↓", 2),
    "sign_agreement": ("sign agreement (of one color)", 3),
    "clipped_share": ("clipped share", 3),
    "clip_dl": ("mean |ΔL*| of clipping", 3),
}
_CHECKSUMS = "checksums"  # a note of this name
KEYS = ["experiment", "variant", "role", "seed"]  # what tells one run from another
ALL = "all"  # the seed of a run that has none: a baseline counts for every seed of its experiment
DIALS = ("temperature", "rebalance", "gain")
_TEXTS = {*KEYS, "data", "digest", "parameters", "backbone", "split_rule", "settings", "pictures"}
_TEXTS |= {"commit", "hardware", "versions", "date"}


def score(folder, lightness, ab, truth, *, prior, data, parameters, dials=None, history=None, **run):
    """Scores a run on the test pictures and adds it to FOLDER/results/EXPERIMENT.csv.

    `lightness` (N, S, S, 1) and predicted `ab` (N, S, S, 2) as a model has them, `truth` uint8 (N, S, S, 3), `prior`
    the training set's share of each bin (261,), `data` {"role"} and what `sets.describe` says, `dials` some of DIALS,
    `parameters` what JSON can hold (a "seed" is left out, since runs that differ in it alone are compared), `run` the
    experiment, variant and seed and, where there are, backbone, epoch and minutes. Returns the pictures and
    `scores.per_picture`'s frame. Raises ValueError as `add`.
    """
    pictures = color.render(lightness, ab)[0]
    frame, found = scores.per_picture(pictures, truth, prior=prior), scores.clipping(lightness, ab)
    for name, value in scores.summary(frame).items():
        found |= {name: value["mean"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
    found["ab_wasserstein"] = scores.ab_wasserstein(pictures, truth)
    found["constant_sign_agreement"] = scores.best_constant_sign_agreement(truth)
    about = {name: data[name] for name in ("role", "digest", "train", "validation", "test")}
    parameters = {name: value for name, value in parameters.items() if name != "seed"}  # equal for every seed
    about |= {"data": data["name"], "split_rule": sets.SPLIT_RULE, "parameters": json.dumps(parameters, sort_keys=True)}
    about |= {"backbone": "none"} | dict.fromkeys(("epoch", "minutes", *DIALS)) | (dials or {})
    row = about | run | found | _machine()
    add(Path(folder) / "results" / f"{row['experiment']}.csv", row, frame, history)
    return pictures, frame


def score_baselines(folder, sample, truth, **run):
    """Scores what needs no network, `baselines.fit(sample)`, once for all seeds; `run` is as in `score`.

    `sample` are training pictures, `truth` the test pictures, both uint8 (N, S, S, 3).
    """
    lightness = color.from_uint8(truth)[0]
    for name, baseline in baselines.fit(sample).items():
        score(folder, lightness, baseline(lightness), truth, variant=name.replace(" ", "-"), seed=ALL, **run)


def add(table, row, frame, history=None):
    """Adds a run to a table, in the place of one with the same KEYS. Raises ValueError for NaN and infinity.

    `row` is a dict with KEYS, data and digest, `frame` the scores of its pictures, `history` what JSON can hold.
    """
    numbers = [(name, value) for name, value in row.items() if isinstance(value, float)]
    if wild := [name for name, values in [*numbers, *frame.items()] if not np.isfinite(values).all()]:
        raise ValueError(f"{table}: not finite: {', '.join(wild)}")
    row = dict.fromkeys(KEYS) | row | {"seed": str(row["seed"])}  # KEYS are the first columns
    about = {name: row[name] for name in KEYS[1:]} | {"picture": range(len(frame))}
    pictures = pd.DataFrame(about).join(frame.reset_index(drop=True))
    row["pictures"] = hashlib.sha256(pictures.to_csv(float_format="%.6g").encode()).hexdigest()[:12]
    pictures.insert(0, "pictures", row["pictures"])
    notes = {"conventions": scores.CONVENTIONS}
    if history:
        notes[f"history: {row['variant']}, {row['role']}, seed {row['seed']}"] = history
    merge(table, pd.DataFrame([row], dtype=object), pictures, notes)


def add_note(folder, experiment, name, note):
    """Keeps what JSON can hold, swept curves for one, in FOLDER/results/EXPERIMENT.json, beside runs that are there."""
    table = Path(folder) / "results" / f"{experiment}.csv"
    rows, pictures, _ = read(table)
    merge(table, rows[:0], pictures[:0], {name: note})


def merge(table, rows, pictures, notes, *, same=KEYS):
    """Adds rows, pictures and notes, as from `read`, to a table. Rows there that are equal in `same` go.

    Whole or not at all, and one writer at a time: the folder is locked meanwhile.
    """
    table = Path(table)
    with disk.locked(table.parent):
        disk.remove_parts(table.parent, {table.with_suffix(end).name for end in (".csv", ".json", ".pictures.csv.gz")})
        old, old_pictures, old_notes = read(table) if table.exists() else (rows[:0], pictures[:0], {})
        before_it = [table.read_bytes()] if table.exists() else []
        gone = pd.MultiIndex.from_frame(old[same]).isin(pd.MultiIndex.from_frame(rows[same]))
        merged = pd.DataFrame(old[~gone].to_dict("records") + rows.to_dict("records"), dtype=object).sort_values(KEYS)
        pictures = pd.concat([old_pictures, pictures]).drop_duplicates(["pictures", "picture"])
        pictures = pictures.sort_values([*KEYS[1:], "picture"])
        text, old_notes = merged.to_csv(index=False), old_notes | notes
        sums = [hashlib.sha256(content).hexdigest() for content in (*before_it, text.encode())]
        # A kill may come between any two: for a while the notes stand beside the table before, too.
        meanwhile, in_the_end = _packed(old_notes, sums), _packed(old_notes, sums[-1:])
        # What rows name is there before them; what only replaced rows named goes after them, in a second round.
        before, after = {*old["pictures"], *rows["pictures"]}, {*merged["pictures"]}
        for named in [before] if before == after else [before, after]:
            some = pictures[pictures["pictures"].isin(named)].to_csv(index=False, float_format="%.6g")
            disk.write(table.with_suffix(".pictures.csv.gz"), gzip.compress(some.encode(), mtime=0))
            disk.write(table.with_suffix(".json"), meanwhile)
            disk.write(table, text)
        disk.write(table.with_suffix(".json"), in_the_end)


def _packed(notes, tables):
    """Notes as JSON, one a line, with their checksum and those of the tables that they may stand beside."""
    lines = _lines(notes) + _lines({_CHECKSUMS: {"csv": tables, "notes": _sum(notes)}})
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lines(notes):
    return [json.dumps({name: note}, allow_nan=False)[1:-1] for name, note in sorted(notes.items())]


def _sum(notes):
    return hashlib.sha256("\n".join(_lines(notes)).encode()).hexdigest()


def read(table):
    """Reads a table's three files: rows as texts, scores of pictures, notes. Raises ValueError where one is damaged."""
    table = Path(table)
    pictures, notes = table.with_suffix(".pictures.csv.gz"), table.with_suffix(".json")
    try:
        text = table.read_text(encoding="utf-8")
        lines = list(csv.reader(text.splitlines()))
        if not text.endswith("\n") or {len(line) for line in lines} != {len(lines[0])} or lines[0][:4] != KEYS:
            raise ValueError("a line is not whole, or this is no table of results")
        rows, parts = pd.DataFrame(lines[1:], columns=lines[0]), _pictures(pictures.read_bytes())
        _with_numbers(rows)  # raises ValueError
        found = json.loads(notes.read_text(encoding="utf-8"))
        sums = found.pop(_CHECKSUMS)
        if hashlib.sha256(table.read_bytes()).hexdigest() not in sums["csv"] or _sum(found) != sums["notes"]:
            raise ValueError("its checksum is wrong: it was changed by hand or damaged")
        return rows, pd.concat(parts.values()), found
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise ValueError(f"{table} or a file beside it is cut, damaged or missing: {error}") from error


def _with_numbers(rows):
    return rows.assign(**{name: pd.to_numeric(rows[name]) for name in rows if name not in _TEXTS})


@functools.lru_cache(maxsize=32)
def _pictures(packed):
    """What the bytes of a table of pictures hold: digest -> rows."""
    frame = pd.read_csv(io.BytesIO(gzip.decompress(packed)), dtype=str)  # not every parser of numbers is exact
    types = dict.fromkeys(frame.columns.drop(["pictures", *KEYS[1:]]), float) | {"picture": int}
    return dict(list(frame.astype(types).groupby("pictures")))


def picture_scores(row):
    """The scores of the pictures of a row of `load_results`: a DataFrame, one row a picture.

    Raises ValueError where the file of pictures does not belong to the table.
    """
    path = Path(row["file"]).with_suffix(".pictures.csv.gz")
    part = _pictures(path.read_bytes()).get(row["pictures"])
    if part is None:
        raise ValueError(f"{row['file']} and {path} do not belong together: {row['variant']}, {row['role']}")
    return part.drop(columns=["pictures", *KEYS[1:], "picture"]).dropna(axis=1, how="all").reset_index(drop=True)


def load_results(place, *, digest=None):
    """Reads a table, or all tables below a folder: a DataFrame, one row a run, with the "file" it comes from.

    "set" is the name of its picture set, with the role where the name does not end in it. A baseline, which has no
    seed, is there once for every seed of its experiment and pictures. `digest` keeps the runs of one picture set.
    Raises ValueError, naming the file, for a table that is damaged, cut or of an older layout, or holds another's run.
    """
    place, tables = Path(place), []
    for path in [place] if place.is_file() else sorted(place.rglob("*.csv")):
        if path == place or path.read_bytes().startswith(b"experiment,"):
            tables.append(_with_numbers(read(path)[0]).assign(file=str(path)))
    if not tables and (older := next(place.rglob("result.json"), None)):
        raise ValueError(f"{older}: results of an older layout, a folder a run; remove them or make them anew")
    if not tables:
        return pd.DataFrame(columns=[*sorted(_TEXTS), "file", "set", *DIALS, *SCORES])
    rows = pd.concat(tables, ignore_index=True).drop_duplicates([*KEYS, "data", "pictures"])
    once(rows, [*KEYS, "data"])
    single = rows["seed"] == ALL
    seeds = rows.loc[~single, ["experiment", "role", "digest", "seed"]].drop_duplicates()
    repeated = rows[single].drop(columns="seed").merge(seeds, how="left").fillna({"seed": ALL})
    rows = pd.concat([rows[~single], repeated], ignore_index=True)
    rows["seed"] = [seed if seed == ALL else int(seed) for seed in rows["seed"]]
    names = rows[["data", "role"]].to_numpy()
    rows["set"] = [name if name.endswith(role) else f"{name} ({role})" for name, role in names]
    return rows if digest is None else rows[rows["digest"] == digest]


def results_table(place, *, scores=tuple(SCORES)[:4], digest=None):
    """Averages over seeds what `load_results` finds: a DataFrame of texts, one row an experiment, data set and variant.

    Ordered by data set, then by CIEDE2000; `digest` keeps the results of one picture set. A cell is "mean [low, high]
    ± spread": the 95 % interval over pictures, its ends averaged, and the standard deviation over seeds. Raises
    ValueError where seeds differ in their pictures or parameters.
    """
    rows, groups = [], load_results(place, digest=digest).groupby(["experiment", "set", "variant"])
    for (experiment, data, variant), runs in sorted(groups, key=lambda of: (of[0][1], of[1]["ciede2000"].mean())):
        _same(runs, "pictures", "digest")
        _same(runs, "parameters", "parameters")
        row = {"experiment": experiment, "data": data, "variant": variant, "seeds": len(runs)}
        rows.append(row | {SCORES[name][0]: _cell(runs, name) for name in scores})
    table = pd.DataFrame(rows, columns=["experiment", "data", "variant", "seeds", *(SCORES[n][0] for n in scores)])
    return table.drop(columns="experiment") if table["experiment"].nunique() < 2 else table


def compare(place, variant, against, *, digest=None):
    """Compares two variants on each data set that `load_results` finds: a DataFrame, one row a set, with a verdict.

    The difference of CIEDE2000 is paired over the test pictures, each averaged over the seeds that both have, with its
    95 % bootstrap interval; an interval on one side of 0 decides "better" or "worse". Raises ValueError as `paired`,
    and where two experiments have the same run.
    """
    rows, found = [], load_results(place, digest=digest)
    for data, runs in found[found["variant"].isin([variant, against])].groupby("set"):
        once(runs, ["variant", "seed"])
        seeds, frames = paired(*(runs[runs["variant"] == name] for name in (variant, against)))
        if not seeds:
            continue
        row = {"data": data, "variant": variant, "against": against, "seeds": len(seeds), "pictures": len(frames[0][0])}
        runs = runs[runs["seed"].isin(seeds)].set_index("variant")
        means = [np.mean([frame["ciede2000"] for frame in of], axis=0) for of in frames]
        for name, mean in zip((variant, against), means, strict=True):
            ratio = runs.loc[[name], "colorfulness_ratio"].mean()
            row[f"{name}: ciede2000 at ratio"] = f"{mean.mean():.2f} at {ratio:.2f}"
        gap = scores.paired_difference(*means)
        row["dials"] = _dials(runs.loc[[variant]])
        row["difference"] = "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**gap)
        rows.append(row | {"verdict": "better" if gap["high"] < 0 else "worse" if gap["low"] > 0 else "undecided"})
    return pd.DataFrame(rows)


def paired(one, other):
    """The seeds that two variants (rows of `load_results`) both have, and for each of the two its `picture_scores`.

    Raises ValueError where their pictures differ, or the parameters of the seeds of one.
    """
    seeds = sorted(set(one["seed"]) & set(other["seed"]))
    sides = [rows[rows["seed"].isin(seeds)].sort_values("seed") for rows in (one, other)]
    _same(pd.concat(sides), "pictures", "digest")
    for rows in sides:
        _same(rows, "parameters", "parameters")
    return seeds, [[picture_scores(row) for _, row in rows.iterrows()] for rows in sides]


def _same(runs, what, column):
    """Raises ValueError where runs that are to be averaged or compared differ in a column, `what` in words."""
    if runs[column].nunique(dropna=False) > 1:
        of_each = ", ".join(dict.fromkeys(f"{run.variant} of seed {run.seed}" for run in runs.itertuples()))
        raise ValueError(f"{runs.iloc[0]['experiment']}, {runs.iloc[0]['set']}: {what} differ between {of_each}")


def once(runs, columns):
    """Raises ValueError, naming the files, where two runs are equal in some columns."""
    twice = runs[runs.duplicated(columns, keep=False)].sort_values(columns)
    if len(twice):
        what = ", ".join(f"{name} {twice.iloc[0][name]}" for name in columns)
        raise ValueError(f"{twice.iloc[1]['file']}: the same run as in {twice.iloc[0]['file']}: {what}")


def _dials(runs):
    """The dials of some seeds in a text: of each the value, or the least and the greatest."""
    ends = {name: dict.fromkeys(f"{value:.2f}" for value in runs[name].agg(["min", "max"])) for name in DIALS}
    return ", ".join(f"{name} {'–'.join(both)}" for name, both in ends.items() if "nan" not in both)


def _cell(runs, name):
    if name not in runs or runs[name].isna().any():
        return "–"
    means, decimals = runs.mean(numeric_only=True), SCORES[name][1]
    cell = f"{means[name]:.{decimals}f}"
    if f"{name}_low" in runs:
        cell += f" [{means[f'{name}_low']:.{decimals}f}, {means[f'{name}_high']:.{decimals}f}]"
    if len(runs) > 1:
        cell += f" ± {runs[name].std():.{decimals}f}"
    if name == "sign_agreement":
        cell += f" ({runs['constant_sign_agreement'].iloc[0]:.3f})"
    return cell


def _machine():
    """What a row says of where and when it was made: commit, hardware, versions, date."""
    import keras  # here: reading results needs none

    names = ("keras", keras.config.backend(), "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return {"commit": commit(), "hardware": hardware(), "versions": versions, "date": str(datetime.date.today())}


@functools.cache
def commit():
    """The git commit of the checkout, with "+" where files have changed since; "unknown" outside a checkout."""
    try:
        run = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=True)
        head = run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip()
        return head + ("+" if run(["git", "status", "--porcelain", "--", *_CODE]).stdout else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def hardware():
    """What the run ran on, in words: GPUs if there are any, else the processor and its cores."""
    import keras  # here: reading results needs none

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if gpus := tf.config.list_physical_devices("GPU"):
            return f"{len(gpus)} x {tf.config.experimental.get_device_details(gpus[0])['device_name']}"
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)", cpu.read_text() if cpu.exists() else "", re.MULTILINE)
    return f"{os.cpu_count()} cores, {found[1] if found else platform.processor() or platform.machine()}"
