"""Tables, made from result files only: a run's `result.json` in, a DataFrame or Markdown out."""

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from colorlib import color
from colorlib.data import files
from colorlib.scoring import baselines, scores

ROOT = Path(__file__).resolve().parent.parent.parent
_CODE = ("colorlib", ":!colorlib/weights/vivid.*", ":(glob)notebooks/*.ipynb", "notebooks/profiles")  # makes results

# name in the results -> heading, decimals; the arrow says where better lies
SCORES = {
    "ciede2000": ("CIEDE2000 ↓", 2),
    "colorfulness_ratio": ("colorfulness ratio → 1", 2),
    "variety_ratio": ("variety ratio → 1", 2),
    "ab_wasserstein": ("ab Wasserstein ↓", 2),
    "psnr": ("PSNR (dB) ↑", 2),
    "ssim": ("SSIM ↑", 3),
    "sepia": ("sepia share of chroma", 2),
    "blue": ("blue share of chroma", 2),
    "auc": ("AuC ↑", 3),
    "auc_rebalanced": ("rebalanced AuC ↑", 3),
    "ab_rmse": ("ab RMSE ↓", 2),
    "sign_agreement": ("sign agreement (of one color)", 3),
    "clipped_share": ("clipped share", 3),
    "clip_dl": ("mean |ΔL*| of clipping", 3),
}


def score(folder, lightness, ab, truth, *, prior, **result):
    """Scores one run on the test pictures and writes its result.json; returns the pictures and the per-picture scores.

    `lightness` (N, S, S, 1) and predicted `ab` (N, S, S, 2) as a model has them, `truth` uint8 (N, S, S, 3), `prior`
    the training set's share of each bin (261,); `result` is what `write_result` takes besides.
    """
    pictures, gamut = scores.render_report(lightness, ab)
    frame = scores.per_picture(pictures, truth, prior=prior)
    write_result(
        folder,
        scores=scores.summary(frame),
        set_scores=gamut | {"ab_wasserstein": scores.ab_wasserstein(pictures, truth)},
        constant_sign_agreement=scores.best_constant_sign_agreement(truth),
        conventions=scores.CONVENTIONS,
        per_picture=frame,
        **result,
    )
    return pictures, frame


def score_baselines(folder, sample, truth, seeds, **result):
    """Scores what needs no network, `baselines.fit(sample)`, into FOLDER/NAME-seedN; with every seed it is the same.

    `sample` are training pictures, `truth` the test pictures, both uint8 (N, S, S, 3); `result` is as in `score`.
    """
    lightness = color.from_uint8(truth)[0]
    for seed in seeds:
        for name, baseline in baselines.fit(sample).items():
            variant = name.replace(" ", "-")
            place = Path(folder) / f"{variant}-seed{seed}"
            score(place, lightness, baseline(lightness), truth, variant=variant, seed=seed, **result)


def role(result):
    """The role of a result's picture set; where it is not said, the end of the set's name."""
    return result["data"].get("role") or result["data"]["name"].rpartition("-")[2]


def load_results(folder):
    """Reads every `result.json` below a folder: a list of dicts, in order of path, each with its "file".

    Raises ValueError for a file that is no result, naming it, and where two files are of the same run.
    """
    results, seen = [], {}
    for path in sorted(Path(folder).rglob("result.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            run = (result["experiment"], _set(result), result["variant"], result["seed"])
            result["scores"], result["file"] = result["scores"], str(path)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a result: {error!r}") from error
        if run in seen:
            raise ValueError(f"{path}: the same run as {seen[run]}: {run}")
        seen[run] = path
        results.append(result)
    return results


def _set(result):
    """The name of a result's picture set, with its role where the name does not end in it: one set may have two."""
    name, of = result["data"]["name"], role(result)
    return name if name.endswith(of) else f"{name} ({of})"


def _same(runs, what, of):
    """Raises ValueError where runs that are to be averaged or compared differ in what `of` gives, `what` in words."""
    if len({json.dumps(of(run), sort_keys=True) for run in runs}) > 1:
        of_each = ", ".join(dict.fromkeys(f"{run['variant']} of seed {run['seed']}" for run in runs))
        raise ValueError(f"{runs[0]['experiment']}, {_set(runs[0])}: {what} differ between {of_each}")


def results_table(folder, *, scores=tuple(SCORES)[:4], digest=None):
    """Tabulates the results below a folder: a DataFrame of texts, one row an experiment, data set and variant.

    Rows are ordered by data set, then by CIEDE2000; `digest` keeps only the results scored on that picture set.
    A cell is "mean [low, high] ± spread": mean over seeds, 95 % interval over pictures (its ends averaged over the
    seeds), standard deviation over seeds where there are several. Raises ValueError where seeds differ in their
    pictures or parameters, and like `load_results`.
    """
    groups = {}
    for result in load_results(folder):
        if digest not in (None, result["data"].get("digest")):
            continue
        groups.setdefault((result["experiment"], _set(result), result["variant"]), []).append(result)
    rows = []
    order = {key: np.mean([run["scores"]["ciede2000"]["mean"] for run in runs]) for key, runs in groups.items()}
    for experiment, data, variant in sorted(groups, key=lambda key: (key[1], order[key])):
        runs = groups[experiment, data, variant]
        _same(runs, "pictures", lambda run: run["data"].get("digest"))
        _same(runs, "parameters", lambda run: run.get("parameters"))
        row = {"experiment": experiment, "data": data, "variant": variant, "seeds": len(runs)}
        rows.append(row | {SCORES[name][0]: _cell(runs, name) for name in scores})
    table = pd.DataFrame(rows, columns=["experiment", "data", "variant", "seeds", *(SCORES[n][0] for n in scores)])
    return table.drop(columns="experiment") if table["experiment"].nunique() < 2 else table


def compare(folder, variant, against, *, score="ciede2000", digest=None):
    """Compares two variants on each data set below a folder: a DataFrame, one row a set, with a verdict.

    The effect is the paired difference of `score` over the same test pictures, each averaged over the seeds that both
    have, with its 95 % bootstrap interval; an interval on one side of 0 decides "better" or "worse" (lower is better).
    Raises ValueError where those runs were scored on different pictures, and where two experiments have the same run.
    """
    runs = {}
    for result in load_results(folder):
        if digest in (None, result["data"].get("digest")) and result["variant"] in (variant, against):
            by_seed = runs.setdefault(_set(result), {}).setdefault(result["variant"], {})
            if (other := by_seed.setdefault(result["seed"], result)) is not result:
                raise ValueError(f"{result['file']}: the same variant, data and seed as {other['file']}")
    rows = []
    for data, found in runs.items():
        seeds, frames = paired(found.get(variant, {}), found.get(against, {}))
        if not seeds:
            continue
        one, other = (np.mean([frame[score] for frame in of], axis=0) for of in frames)
        ratios = [
            np.mean([found[v][s]["scores"]["colorfulness_ratio"]["mean"] for s in seeds]) for v in (variant, against)
        ]
        gap = scores.paired_difference(one, other)
        verdict = "better" if gap["high"] < 0 else "worse" if gap["low"] > 0 else "undecided"
        row = {"data": data, "variant": variant, "against": against, "seeds": len(seeds), "pictures": len(one)}
        row |= {
            f"{v}: {score} at ratio": f"{x.mean():.2f} at {r:.2f}"
            for v, x, r in zip((variant, against), (one, other), ratios, strict=True)
        }
        row["dials"] = _dials([found[variant][seed].get("dials", {}) for seed in seeds])
        row |= {"difference": f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]", "verdict": verdict}
        rows.append(row)
    return pd.DataFrame(rows)


def paired(one, other):
    """The scores, picture by picture, of two variants' results {seed: result}, of the seeds that both have.

    Returns the seeds and two lists of DataFrames in their order. Raises ValueError where their pictures differ, or the
    parameters of the seeds of one.
    """
    seeds = sorted(set(one) & set(other))
    _same([of[seed] for of in (one, other) for seed in seeds], "pictures", lambda run: run["data"].get("digest"))
    for of in (one, other):
        _same([of[seed] for seed in seeds], "parameters", lambda run: run.get("parameters"))
    frames = [[pd.read_csv(Path(of[seed]["file"]).with_name("scores.csv")) for seed in seeds] for of in (one, other)]
    return seeds, frames


def _dials(of_seeds):
    """The dials of some seeds in a text: of each the value, or the least and the greatest."""
    ends = {name: sorted(dials[name] for dials in of_seeds)[:: len(of_seeds) - 1 or 1] for name in of_seeds[0]}
    return ", ".join(f"{name} {'–'.join(dict.fromkeys(f'{end:.2f}' for end in both))}" for name, both in ends.items())


def _cell(runs, name):
    scores = [run["scores"].get(name) or {"mean": run.get("set_scores", {}).get(name)} for run in runs]
    if any(score["mean"] is None for score in scores):
        return "–"
    table, decimals = pd.DataFrame(scores), SCORES[name][1]
    shown = {column: f"{value:.{decimals}f}" for column, value in table.mean().items()}
    interval = " [{low}, {high}]".format(**shown) if "low" in shown else ""
    spread = f" ± {table['mean'].std():.{decimals}f}" if len(runs) > 1 else ""
    constant = f" ({runs[0]['constant_sign_agreement']:.3f})" if name == "sign_agreement" else ""
    return shown["mean"] + interval + spread + constant


def markdown(frame):
    """Writes a DataFrame, without its index, as a Markdown table; columns of numbers stand to the right."""
    cells = [[f"{v:.2f}" if isinstance(v, float) else str(v).replace("|", "\\|") for v in row] for row in frame.values]
    numeric = [all(re.match(r"[-−+\d–][^_]*$", row[i]) for row in cells) for i in range(frame.shape[1])]
    lines = [[str(name) for name in frame.columns], ["---:" if right else "---" for right in numeric], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def update_marked(path, name, text):
    """Replaces what stands between `<!-- begin name -->` and `<!-- end name -->` in a text file, whole or not at all.

    Returns whether that changed the file. Raises ValueError where the markers are not there exactly once.
    """
    path, begin, end = Path(path), f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = path.read_text(encoding="utf-8")
    if before.count(begin) != 1 or before.count(end) != 1 or before.index(begin) > before.index(end):
        raise ValueError(f"{path}: needs {begin} and, after it, {end}, once each")
    after = before[: before.index(begin)] + f"{begin}\n{text.strip()}\n" + before[before.index(end) :]
    if after != before:
        files.write(path, after)
    return after != before


def write_result(folder, *, experiment, variant, parameters, data, seed, scores, per_picture, **more):
    """Writes result.json, and per_picture (a DataFrame) as scores.csv beside it; returns the result as a dict.

    `data` names the set, its digest and its counts; `more` holds what else a reader may want: dials, curve, history,
    minutes. Commit, hardware, versions and date are added. Raises ValueError for a NaN, and then writes nothing.
    """
    import keras  # here: reading results needs none

    folder = Path(folder)
    if wild := [name for name in per_picture.select_dtypes("number") if not np.isfinite(per_picture[name]).all()]:
        raise ValueError(f"{folder}: scores of pictures that are no finite numbers: {', '.join(wild)}")
    result = {
        "experiment": experiment,
        "variant": variant,
        "parameters": parameters,
        "data": data,
        "seed": seed,
        "scores": scores,
        **more,
        "commit": commit(),
        "hardware": hardware(),
        "versions": {name: importlib.metadata.version(name) for name in ("keras", keras.backend.backend(), "numpy")},
        "date": datetime.date.today().isoformat(),
    }
    files._json(result, folder / "result.json")
    (folder / "result.json").unlink(missing_ok=True)  # never beside the scores of another run
    table = per_picture.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    files.write(folder / "scores.csv", table)
    files.write_json(result, folder / "result.json")
    return result


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
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if gpus := tf.config.list_physical_devices("GPU"):
            return f"{len(gpus)} x {tf.config.experimental.get_device_details(gpus[0])['device_name']}"
    try:
        cpu = Path("/proc/cpuinfo").read_text()
        name = next(line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {name}"
