"""Writes what is generated in README.md, docs/ and the model card: tables from the results, the colored gallery.

`make docs`. A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, where NAME is a function below.
The gallery is colored anew each time, about a minute.
"""

import hashlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from colorlib import color, colorize
from colorlib.data import disk, files
from colorlib.scoring import claims, results, scores

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "notebooks" / "results"
VIVID = RESULTS / "photos" / "09_vivid_colors.csv"
FAULTS = RESULTS / "photos" / "10_what_went_wrong.csv"
SHIP = RESULTS / "ship" / "12_the_colorizer.csv"
WEIGHTS = ROOT / "colorlib" / "weights"
GALLERY = ROOT / "data" / "gallery"
COLORED = ROOT / "docs" / "gallery"  # a picture for each photograph; scores.json says what they were made from
STRIP = ROOT / "docs" / "strip.jpg"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), WEIGHTS / "README.md"]
SETS = {name: name for name in ("faces", "flowers", "landscapes", "varied")}  # role in the rows of SHIP -> in words
SETS |= {"more": "more, of everyday life", "kodak": "24 by Kodak, 256 pixels"}
OFF = "largest difference of a loss"
MATCHED = ("mean chroma", "colorfulness", "b > a", "effective bins")  # what the embedded pictures are made to match
NOTEBOOKS = {  # title, question, answer
    "00_color": (
        "Color",
        "What does a colorizing network see, and what must it guess?",
        "It sees lightness and guesses two numbers a pixel. The safe guess is brown.",
    ),
    "01_dataset": (
        "Dataset",
        "What makes pictures fit for training, and what colors are in them?",
        "Bad files are rejected. A few dull colors fill most pixels.",
    ),
    "02_vanilla_autoencoder": (
        "Vanilla autoencoder",
        "What does a network keep of a picture?",
        "Large shapes and common colors. Texture is lost.",
    ),
    "03_faces_scratch_vs_vgg16": (
        "Faces",
        "Is a decoder on a pretrained network better than training from scratch?",
        "No, slightly worse. A model of faces fails on landscapes.",
    ),
    "04_inception_fusion": (
        "Fusion",
        "Does it help to tell the network what is in the picture?",
        "Yes, a little. As published, it paints everything sepia.",
    ),
    "05_resnet50_transfer": (
        "ResNet50",
        "Own skip connections or a pretrained network? Why are colors dull?",
        "Nearly equal, the pretrained one is slightly ahead. Not for the scale of the loss.",
    ),
    "06_landscape_autoencoder": (
        "Landscapes",
        "Does a small training set overfit?",
        "Yes. A large one hardly does.",
    ),
    "07_loss_comparison": (
        "Losses",
        "L2, L1, Huber, perceptual: which overfits, which looks sepia?",
        "All overfit but Huber with δ = 1. Which is more sepia is undecided.",
    ),
    "08_class_imbalance_flowers": (
        "Class imbalance",
        "Do flowers teach more color than faces?",
        "They color faces more variedly, but wrongly.",
    ),
    "09_vivid_colors": (
        "Vivid colors",
        "Does classification bring the color back?",
        "Yes: more accurate than L2 at the same colorfulness.",
    ),
    "10_what_went_wrong": (
        "What went wrong",
        "What does each bug of the originals cost?",
        "Four cost accuracy, three next to nothing. The worst makes the score better.",
    ),
    "11_leaderboard": (
        "Leaderboard",
        "Which colorizer is best, and which claims hold?",
        "It depends on the score. Read all columns together.",
    ),
    "12_the_colorizer": (
        "The colorizer",
        "What does it take to color an old photograph?",
        "A pretrained network, many photographs, and caution in choosing colors.",
    ),
}


def _read(name):
    return json.loads((RESULTS / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def _shipped():
    """What training the shipped colorizer reported."""
    return json.loads((WEIGHTS / "colorizer.json").read_text(encoding="utf-8"))


def _shipped_rows(variant="colorizer"):
    """The rows of the shipped colorizer, or of another variant, by picture set. Raises ValueError where one lacks."""
    rows = results.load_results(SHIP)
    rows = rows[rows["variant"] == variant].drop_duplicates("role").set_index("role", drop=False)
    if missing := [name for name in SETS if name not in rows.index]:
        raise ValueError(f"{SHIP}: no row of {variant} on {', '.join(missing)}")
    return rows.loc[list(SETS)]


def _cell(row, score):
    decimals = results.SCORES[score][1]
    ends = [f"{row[end]:.{decimals}f}" for end in (f"{score}_low", f"{score}_high") if end in row]
    return f"{row[score]:.{decimals}f}" + (f" [{', '.join(ends)}]" if ends else "")


def _beside_truth(row, score, decimals):
    """The mean share, in percent, of a score of a row's pictures and, in brackets, that of the true pictures."""
    means = 100 * results.picture_scores(row)[[score, f"{score}_true"]].mean()
    return "{:.{d}f} ({:.{d}f})".format(*means, d=decimals)


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
        disk.write(path, after)
    return after != before


def notebooks():
    """The notebooks: question, answer, minutes of `make train-all`."""
    minutes, rows = _read("train_all")["minutes"], []
    for stem, (title, question, answer) in NOTEBOOKS.items():
        link = f"[{stem[:2]} {title}](notebooks/rendered/{stem}.ipynb)"
        took = f"{minutes[stem]:.1f}" if stem in minutes else "–"
        rows.append({"notebook": link, "question": question, "answer, on photographs": answer, "minutes": took})
    return markdown(pd.DataFrame(rows))


def what_we_found():
    """The twelve claims, each by the one row that stands for it, on photographs."""
    short = claims.CLAIMS[claims.CLAIMS["in_short"] != ""]
    found = short.merge(claims.table(RESULTS / "photos"), how="left", on=["claim", "it says"], suffixes=("", "_found"))
    words = {"ciede2000": "CIEDE2000", "colorfulness": "colorfulness", "sepia": "share of sepia"}
    rows = [
        {
            "claim": f"{row.in_short} ({row.claim})",
            "on photographs": row.verdict,
            "difference [95 % interval]": f"{words[row.score]} {row.effect.partition(' ±')[0]}",
        }
        for row in found.fillna("–").itertuples()
    ]
    return markdown(pd.DataFrame(rows))


def shipped_rows():
    """The shipped colorizer on each set, beside grey."""
    grey, rows = _shipped_rows("grey"), []
    for name, found in _shipped_rows().iterrows():
        row = {"photographs": SETS[name], "CIEDE2000 ↓": f"{found['ciede2000']:.2f}"}
        row["CIEDE2000 of grey ↓"] = f"{grey.loc[name, 'ciede2000']:.2f}"
        rows.append(row | {"colorfulness (truth = 1)": f"{found['colorfulness_ratio']:.2f}"})
    return markdown(pd.DataFrame(rows))


def claims_tested():
    """Every claim, on scenes and on photographs."""
    return markdown(claims.side_by_side({"scenes": RESULTS / "scenes", "photographs": RESULTS / "photos"}))


def set_sizes():
    """What each experiment was trained on, and what all of them took."""
    rows = []
    for path in _experiments():
        found = results.load_results(path)
        sets = sorted({(row.data, row.train) for row in found.itertuples()})
        trained = found[["seed", "minutes"]].dropna().drop_duplicates()  # a variant may be scored several times
        settings = json.loads(found["parameters"].iloc[0])
        row = {"pictures": path.parent.name, "experiment": path.stem, "seeds": trained["seed"].nunique()}
        row["training pictures"] = ", ".join(f"{count:,} {name}" for name, count in sets)
        row["backbone"] = ", ".join(sorted(set(found["backbone"]) - {"none"})) or "none"
        row["widths"] = str(settings.get("widths") or settings["filters"])
        rows.append(row | {"epochs": settings["epochs"], "minutes": trained["minutes"].sum()})
    table = pd.DataFrame(rows)
    hours = ", ".join(
        f"{minutes / 60:.1f} on {name}" for name, minutes in table.groupby("pictures")["minutes"].sum().items()
    )
    rest = "cached features, dials and scores come on top"
    return f"{markdown(table)}\n\nHours of training in all: {hours} ({rest}); {found['hardware'].iloc[0]}."


def _experiments():
    """The tables of notebooks 03 to 10, photographs first."""
    return [path for folder in ("photos", "photos96", "scenes") for path in sorted(RESULTS.glob(f"{folder}/*.csv"))]


def faults():
    """Every fault of notebook 10 on photographs, the most harmful below, beside what was right."""
    return markdown(results.results_table(FAULTS, scores=tuple(results.SCORES)[:4]).drop(columns=["data", "seeds"]))


def flowers():
    """The variants of notebook 09 on the flower photographs."""
    table = results.results_table(VIVID, scores=tuple(results.SCORES)[:6])
    return markdown(table[table["data"] == "flowers"].drop(columns="data"))


def other_sets():
    """The variants of notebook 09 on the other sets."""
    table = results.results_table(VIVID)
    return markdown(table[table["data"] != "flowers"])


def dials_chosen():
    """C10 on every set: each classifier with its dials against L2 with its gain."""
    tables = []
    for variant in ("adjusted", "weighted-dials"):
        named = {f"{variant}: ciede2000 at ratio": "CIEDE2000 at ratio", "l2-gain: ciede2000 at ratio": "L2 with gain"}
        table = results.compare(VIVID, variant, "l2-gain")
        tables.append(table.rename(columns=named).drop(columns=["against", "pictures"]))
    return markdown(pd.concat(tables, ignore_index=True).sort_values("data", kind="stable"))


def at_96_pixels():
    """C10 once more, on pictures of 96 pixels."""
    return markdown(results.compare(RESULTS / "photos96" / VIVID.name, "adjusted", "l2-gain"))


def shipped():
    """The shipped colorizer on the test split of each set."""
    grey, rows = _shipped_rows("grey"), []
    for name, found in _shipped_rows().iterrows():
        row = {"data": SETS[name], "test pictures": f"{found['test']:.0f}"}
        row |= {results.SCORES[score][0]: _cell(found, score) for score in list(results.SCORES)[:6]}
        row["CIEDE2000 of grey ↓"] = f"{grey.loc[name, 'ciede2000']:.2f}"
        row["blots, % (truth)"] = _beside_truth(found, "blots", 1)
        rows.append(row | {"sepia, % (truth)": _beside_truth(found, "sepia", 0)})
    return markdown(pd.DataFrame(rows))


def shipped_beside():
    """The shipped colorizer and what it is compared with, the best below: CIEDE2000 at colorfulness ratio."""
    rows = results.load_results(SHIP)
    return _beside(rows[~rows["variant"].str.contains("-pixels|, short")])


def half_size():
    """The shipped colorizer at 64 pixels, where less can be recognized: CIEDE2000 at colorfulness ratio."""
    rows = results.load_results(SHIP)
    return _beside(rows[rows["variant"].str.endswith("-64-pixels")])


def natural():
    """The natural dials without and with `restore`, on validation pictures: CIEDE2000 at colorfulness ratio."""
    rows = []
    for restore, points in pd.DataFrame(results.read(SHIP)[2]["natural"]).groupby("restore"):
        row = {"restore": restore} | {name: points[name].iloc[0] for name in results.DIALS}
        for _, point in points.iterrows():
            row[point["set"]] = f"{point['ciede2000']:.2f} at {point['colorfulness_ratio']:.2f}"
        rows.append(row | {"mean": f"{points['ciede2000'].mean():.2f}"})
    return markdown(pd.DataFrame(rows))


def what_pays():
    """The recipe of the shipped colorizer changed in one part at a time, by notebook 12: a row a candidate."""
    found = pd.DataFrame(results.read(SHIP)[2]["candidates"])
    order = found["variant"].drop_duplicates()
    table = found.groupby(["variant", "set"])["ciede2000"].mean().unstack()
    table = table[[name for name in SETS if name in table]].map("{:.2f}".format)
    by_seed = found.groupby(["variant", "seed"])["ciede2000"].mean().unstack()
    table["mean ± spread of seeds"] = by_seed.apply(lambda of: f"{of.mean():.2f} ± {of.std():.2f}", axis=1)
    return markdown(table.loc[order].rename_axis("variant").reset_index())


def against_squared_error():
    """Bins against squared error with a gain: the same network and training, on test pictures."""
    table = results.compare(SHIP, "as it ships, short", "squared error, short")
    return markdown(table.drop(columns=["variant", "against", "dials"]))


def _beside(rows):
    """Variants down, sets across, the best on average below: CIEDE2000 at colorfulness ratio."""
    means = rows.groupby(["variant", "role"])[["ciede2000", "colorfulness_ratio"]].mean()
    cells = means.apply(lambda of: f"{of['ciede2000']:.2f} at {of['colorfulness_ratio']:.2f}", axis=1)
    best_below = means["ciede2000"].groupby("variant").mean().sort_values(ascending=False).index
    table = cells.unstack().loc[best_below]
    return markdown(table[[name for name in SETS if name in table]].fillna("–").reset_index())


def old_age():
    """CIEDE2000 under each degradation of `models.aging`, noted by notebook 12."""
    lost = pd.DataFrame(results.read(SHIP)[2]["old age"]).T
    return markdown(lost.rename_axis("degradation").reset_index())


def training_of_shipped():
    """How large the shipped colorizer is and how it was trained, in one line."""
    card, pictures = _shipped(), _shipped_rows()["train"].drop("kodak").sum()
    stages = ", then ".join(f"{stage['minutes']:.0f} minutes on {stage['hardware']}" for stage in card["training"])
    natural, vivid = (", ".join(f"{name} {value:g}" for name, value in card[of].items()) for of in ("dials", "vivid"))
    return (
        f"{card['parameters']:,} parameters in {colorize.WEIGHTS.stat().st_size / 1e6:.1f} MB; it sees pictures with a "
        f"short side of {colorize.SHORT_SIDE} pixels; {pictures:,.0f} training pictures; {stages}"
        f"; dials chosen on validation: {natural}; for vivid color: {vivid}."
    )


def by_lightness(found, lightness):
    """Scores of pictures (a DataFrame, one row a picture) in thirds by lightness (N,), dark to light: a DataFrame.

    `found` has `ciede2000`, `grey` (CIEDE2000 of the picture left grey), `colorfulness` and `colorfulness_true`.
    """
    rows = []
    for third, part in found.assign(lightness=lightness).groupby(pd.qcut(lightness, 3, labels=False)):
        means = {name: "{mean:.2f} [{low:.2f}, {high:.2f}]".format(**of) for name, of in scores.summary(part).items()}
        row = {"skin": ("darkest third", "middle third", "lightest third")[third]}
        row["L* of the face"] = f"{part['lightness'].min():.0f} to {part['lightness'].max():.0f}"
        row |= {"pictures": len(part), "CIEDE2000 ↓": means["ciede2000"], "CIEDE2000 of grey ↓": means["grey"]}
        rows.append(row | {"colorfulness ratio → 1": means["colorfulness_ratio"]})
    return pd.DataFrame(rows)


def skin_thirds():
    """The shipped colorizer on faces, in thirds by the lightness of the skin.

    Notebook 12 notes the mean L* of the middle half of each picture.
    """
    lightness = np.array(results.read(SHIP)[2]["center lightness, faces"])
    frame, grey = (results.picture_scores(_shipped_rows(of).loc["faces"]) for of in ("colorizer", "grey"))
    found = frame[["ciede2000", "colorfulness", "colorfulness_true"]].assign(grey=grey["ciede2000"])
    return markdown(by_lightness(found, lightness))


def _photographs():
    """The gallery's photographs with their credits: dictionaries, in the order of a hash of each file, so nobody chose.

    "name" is the file's name without suffix.
    """
    credits = pd.read_csv(GALLERY / "credits.csv")
    digests = [hashlib.sha256((GALLERY / file).read_bytes()).hexdigest() for file in credits["file"]]
    names = credits["file"].str.removesuffix(".jpg")
    return credits.assign(name=names, digest=digests).sort_values("digest").to_dict("records")


def made_from():
    """A digest of what the colored gallery is made from: the weights, their settings and the photographs."""
    digest = hashlib.sha256()
    for path in [*sorted(WEIGHTS.glob("colorizer.*")), *sorted(GALLERY.glob("[!.]*"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _gallery_scores():
    """CIEDE2000 of the gallery's pictures that have a truth: name -> {"colorized", "grey"}."""
    return json.loads((COLORED / "scores.json").read_text(encoding="utf-8"))["ciede2000"]


def _worst_first(found):
    """Names of pictures, first the one that loses most by being colorized instead of left grey."""
    return sorted(found, key=lambda name: found[name]["grey"] - found[name]["colorized"])


def gallery():
    """Every photograph of the gallery, colorized: picture, score, credits."""
    found = _gallery_scores()
    means = pd.DataFrame(found).mean(axis=1)
    better = sum(of["colorized"] < of["grey"] for of in found.values())
    parts = [
        f"Of {len(found)} pictures with known colors, {better} are closer to them colorized than left grey. "
        f"Mean CIEDE2000: {means['colorized']:.1f} colorized, {means['grey']:.1f} grey."
    ]
    for photo in _photographs():
        seen, score = "as scanned, colorized", ""
        if of := found.get(photo["name"]):
            seen, score = "grey, colorized, true colors", "CIEDE2000 {colorized:.1f}, grey {grey:.1f}. ".format(**of)
        by = f"Photograph: {photo['author and year']}; {photo['why it is free']}."
        picture = f"![{photo['title']}: {seen}](gallery/{photo['name']}.jpg)"
        parts.append(f"### {photo['title']}\n\n{picture}\n\n{score}{by}")
    return "\n\n".join(parts)


def failures():
    """The five photographs of the gallery that lose most, or gain least, by being colorized."""
    found, titles = _gallery_scores(), {photo["name"]: photo["title"] for photo in _photographs()}
    lines = []
    for name in _worst_first(found)[:5]:
        link = f"[{titles[name]}](../../docs/gallery.md#{titles[name].lower().replace(' ', '-')})"
        lines.append("- {}: CIEDE2000 {colorized:.1f}, grey {grey:.1f}".format(link, **found[name]))
    return "\n".join(lines)


def pipeline():
    """The pipeline benchmark: a row a measurement, and below it what else was measured."""
    found = _read("pipeline")
    columns = {"pictures a second": "pictures_per_second", "x (a)": "ratio_to_a", "x (b)": "ratio_to_b"}
    rows = [
        {"what": what} | {heading: found[name][what] for heading, name in columns.items()}
        for what in found["pictures_per_second"]
    ]
    memory = [
        f"{where}, {few['1000']:,} MB with 1,000 pictures and {few['8000']:,} MB with 8,000"
        for where, few in found["peak_memory_MB"].items()
    ]
    return (
        f"{markdown(pd.DataFrame(rows))}\n\n"
        f"{found['pictures']:,} pictures of {found['size']}x{found['size']}; {found['hardware']}. At 64 pixels, beside "
        f"training steps of 10 ms, the pipeline keeps up with {found['share_beside_a_step_of_10_ms']:.0%} of what the "
        f"steps alone allow. Peak memory of a training: {'; '.join(memory)}."
    )


def features():
    """Training on embeddings computed once, against the embedding network on every batch."""
    found = _read("features")
    rows = [
        {
            "fusion model": f"{name}, {one['filters']} filters",
            **{f"{way}, s an epoch": seconds for way, seconds in one["seconds_an_epoch"].items()},
            "times as fast": one["ratio"],
            "times fewer operations": one["ratio_of_operations"],
            "epochs until it has paid": one["epochs_until_the_cache_has_paid"],
        }
        for name, one in found["settings"].items()
    ]
    what = f"{found['pictures']} pictures of {found['size']}x{found['size']}, batches of {found['batch']}"
    filled = f"filling the cache took {found['seconds_to_fill_the_cache']:.0f} s"
    tries = found["seconds_an_epoch_of_what_was_tried_at_published_widths"]
    tried = "; ".join(f"{name} {seconds:.1f} s" for name, seconds in tries.items())
    return (
        f"{markdown(pd.DataFrame(rows))}\n\n{what}; {filled}; {found['hardware']}. "
        f"Tried for the cached epoch at the published widths: {tried}."
    )


def scenes():
    """The embedded pictures: how fast they are painted, and how near their colors are to photographs of their kind."""
    found = _read("scenes")
    rows = []
    for kind, rates in found["rates"].items():
        row = {"kind": kind, "pictures a second": round(rates["processes: 2"])}
        if kind in found["statistics"]:
            painted, target = (found["statistics"][kind][name] for name in ("scenes", "target"))
            for name in MATCHED:
                row[f"{name} (photographs)"] = f"{painted[name]:.3g} ({target[name]:.3g})"
        rows.append(row)
    return f"{markdown(pd.DataFrame(rows).fillna(''))}\n\n{found['hardware']}, two processes."


def startup():
    """What a start costs."""
    found = _read("startup")
    return (
        f"`import colorlib` takes {1000 * found['import colorlib']:.0f} ms, `colorlib --help` "
        f"{found['colorlib --help']:.2f} s with Python's own start: TensorFlow and Keras load only when needed."
    )


def colorizing():
    """Seconds and memory of coloring one picture, by its size."""
    found = _read("colorize")
    columns = {"first, s": "first_s", "next, s": "next_s", "memory at most, MB": "peak_mb"}
    rows = []
    for case in found["cases"]:
        row = {"megapixels": f"{case['megapixels']:g}", "bits": case["bits"]}
        row |= {heading: case[name] for heading, name in columns.items()}
        rows.append(row | {"bytes a pixel": f"{case['bytes_a_pixel']:.1f}" if "bytes_a_pixel" in case else "–"})
    load = np.median([case["load_s"] for case in found["cases"]])
    loaded = np.median([case["loaded_mb"] for case in found["cases"]])
    return (
        f"{markdown(pd.DataFrame(rows))}\n\n"
        f"To load TensorFlow, Keras and the model: {load:.1f} s, after which {loaded:.0f} MB are in use; "
        f"{found['hardware']}."
    )


def cleaning_rates():
    """What cleaning takes, by one process and by Beam's workers."""
    found, rows = _read("scale"), []
    what = {"pictures": "pictures of 500 pixels", "videos": "frames, one every 2 s of videos of 224 x 224 pixels"}
    for name, words in what.items():
        one = found[name]
        rows.append({"a second": words} | {
            "`colorlib data`": f"{one['plain a second']:.0f}",
            "with `--shards`, 2 workers": f"{one['beam a second']:.0f}",
            "after their start": f"{one['beam a second, after its start']:.0f}",
        })  # fmt: skip
    videos = found["videos"]
    length = videos["videos"] * videos["seconds of each"]
    counted = f"{found['pictures']['kept']:,} pictures, {videos['videos']} videos of {videos['seconds of each']} s"
    rate = length / min(videos["seconds"]["plain"])
    start = min(found["pictures"]["seconds"]["beam, all done before"])
    tried = ", ".join(f"{found['pictures']['kept'] / each:.0f}" for each in found["pictures"]["seconds"]["plain"])
    return (
        f"{markdown(pd.DataFrame(rows))}\n\n{counted}; {videos['hardware']}. The best of three rounds, which cleaned "
        f"{tried} pictures a second. A second takes in {rate:.0f} seconds of video. Beam's workers need {start:.0f} s "
        "to start and end."
    )


def joining():
    """Seconds to join the look-alikes of so many pictures."""
    found = _read("scale")["joining"]
    counts = [count for count in found if count.isdigit()]
    rows = [{"pictures": f"{int(count):,}", "seconds": found[count]} for count in counts]
    return f"{markdown(pd.DataFrame(rows))}\n\n{found['hardware']}, one of them in use."


def large_sets():
    """What the measured rates make of two large sets on 100 workers of one core."""
    found = _read("scale")
    frames, pictures = found["videos"], found["pictures"]
    cores = int(found["videos"]["hardware"].split()[0])
    # Of the papers: 1,128,246 utterances of 7.8 seconds; 1,281,167 pictures to train on.
    seconds = 1_128_246 * 7.8
    video_rate = frames["videos"] * frames["seconds of each"] * frames["beam a second, after its start"]
    video_rate /= frames["kept"] * cores  # seconds of video a second, of one core
    sizes = frames["bytes of a frame in shards"], pictures["bytes of a picture in shards"]
    picture_rate = pictures["beam a second, after its start"] / cores
    joining_of = found["joining"]
    # More than linear: as between the two largest sets that were joined.
    power = np.log10(joining_of["1000000"] / joining_of["100000"])
    rows = []
    for name, things, kept, work, size in (
        ("VoxCeleb2", "1,128,246 utterances", seconds / 2, seconds / video_rate, sizes[0]),
        ("ImageNet", "1,281,167 pictures", 1_281_167, 1_281_167 / picture_rate, sizes[1]),
    ):
        rows.append({
            "set": name, "in": things, "pictures out": f"{kept:,.0f}",
            "cleaning, hours": round(work / 100 / 3600, 2),
            "joining, hours": round(joining_of["1000000"] * (kept / 1e6) ** power / 3600, 2),
            "shards, GB": round(kept * size / 1e9),
        })  # fmt: skip
    return markdown(pd.DataFrame(rows))


def sets_cleaned():
    """What was taken of each set, and how long it took."""
    found, rows = _read("scale")["sets"], []
    for name, one in found.items():
        if name == "hardware":
            continue
        shown = sorted(one["rejected"].items(), key=lambda item: -item[1])
        reasons = [f"{count} {reason}" for reason, count in shown if count > 1]
        if others := sum(count for _, count in shown if count == 1):
            reasons.append(f"{others} for other reasons")
        rows.append({
            "set": name, "files": one["files"], "kept": one["kept"], "left out": ", ".join(reasons) or "–",
            "seconds": one["seconds"], "again": one["seconds, all cleaned before"],
        })  # fmt: skip
    return f"{markdown(pd.DataFrame(rows))}\n\n{found['hardware']}."


def memory_of_training():
    """Peak memory of a training on more and more pictures in shards, and what follows for 200,000."""
    found = _read("scale")["memory"]
    counts = [int(count) for count in found if count.isdigit()]
    rows = [{"pictures": f"{count:,}", "memory at most, MB": found[str(count)]} for count in counts]
    slope, base = np.polyfit(counts, [found[str(count)] for count in counts], 1)
    disk_space = 200_000 * 3 * 128**2 / 1e9
    return (
        f"{markdown(pd.DataFrame(rows))}\n\nAt 128 pixels; {found['hardware']}. A line through these gives "
        f"{(base + 200_000 * slope) / 1000:.1f} GB for 200,000 pictures, which take {disk_space:.0f} GB on the disk."
    )


def losses_on_devices():
    """The losses of a training on one device and on two."""
    found = _read("scale")["devices"]
    rows = [
        {"devices": name, "last loss": f"{one['last loss']:.6f}", "largest difference": f"{one[OFF]:.1e}"}
        for name, one in found.items()
        if name != "hardware"
    ]
    return f"{markdown(pd.DataFrame(rows))}\n\nThree epochs of a small classifier. A test allows 0.0001."


def full_width():
    """The published systems at full width, on paper."""
    found = _read("full")
    rows = []
    for name, one in found["systems"].items():
        rows.append({
            "system (notebook)": name, "size, batch": f"{one['size']}, {one['batch']}",
            "parameters, million": round(one["parameters"] / 1e6, 2),
            "forward, billion operations": one["forward, billion operations"],
            "memory, GB": one["memory, GB"], "epochs": one["epochs"], "hours": one["hours"],
        })  # fmt: skip
    rate = found["operations a second, assumed"] / 1e12
    return f"{markdown(pd.DataFrame(rows))}\n\nHours at {rate:.0f} trillion operations a second, which is assumed."


def train_all():
    """What `make train-all` took."""
    found = _read("train_all")
    rows = [{"notebook": name, "minutes": minutes} for name, minutes in found["minutes"].items()]
    rows.append({"notebook": f"all, {found['at_a_time']} at a time", "minutes": found["minutes_in_all"]})
    install = f"Installing: {found['install_minutes']:.1f} minutes, once. " if found["install_minutes"] else ""
    table = markdown(pd.DataFrame(rows))
    return f"{table}\n\n{install}Peak memory of a notebook {found['peak_memory_gb']:.1f} GB; {found['hardware']}."


def torture():
    """What came of disturbing all that writes files."""
    found = _read("torture")
    rows = []
    for name, came in found["table"].items():
        disturbed, work = name.split()
        rows.append({"disturbed by": disturbed.replace("_", " "), "what": work, "tried": sum(came.values()), **came})
    table = pd.DataFrame(rows)
    total = table.select_dtypes("number").sum().to_dict()
    table.loc[len(table)] = {"disturbed by": "all", "what": "", **total}
    return f"{markdown(table)}\n\nSeed {found['seed']}; {found['minutes']:.0f} minutes; {found['hardware']}."


TABLES = (
    *(notebooks, what_we_found, shipped_rows),
    *(claims_tested, faults, set_sizes, flowers, other_sets, dials_chosen, at_96_pixels),
    *(
        shipped,
        shipped_beside,
        half_size,
        natural,
        what_pays,
        against_squared_error,
        old_age,
        skin_thirds,
        training_of_shipped,
    ),
    *(gallery, failures),
    *(train_all, startup, colorizing, pipeline, features, scenes, torture),
    *(cleaning_rates, joining, large_sets, sets_cleaned, memory_of_training, losses_on_devices, full_width),
)


def tables_of(page):
    """The functions whose markers stand in a page."""
    text = page.read_text(encoding="utf-8")
    return [table for table in TABLES if f"<!-- begin {table.__name__} -->" in text]


def _save(image, path, quality):
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality, subsampling=0, optimize=True)
    disk.write(path, encoded.getvalue())


def color_photograph(model, path):
    """A photograph of the gallery as 8-bit pictures: grey, colorized, true. An old one: as scanned, colorized."""
    picture = files.load(path)
    colored = colorize.colorize(model, picture)
    if not path.name.startswith("kodim"):
        return [picture, colored]
    lightness, ab = color.from_uint8(picture)
    return [color.render(lightness, 0 * ab)[0], colored, picture]


def side_by_side(pictures):
    """8-bit pictures of one size as one, their short sides 220 pixels."""
    small = [files.shrink(picture, 220) for picture in pictures]
    gap = np.full((len(small[0]), 8, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for each in small for part in (gap, each)][1:], axis=1))


def draw_gallery():
    """Colors every photograph of the gallery: writes docs/gallery/, its scores.json, and the strip of the README."""
    model, drawn, found = colorize.load(), {}, {}
    for photo in tqdm(_photographs(), desc="gallery"):
        name = photo["name"]
        drawn[name] = color_photograph(model, GALLERY / photo["file"])
        _save(side_by_side(drawn[name]), COLORED / f"{name}.jpg", quality=85)
        if len(drawn[name]) == 3:
            grey, colored, truth = drawn[name]
            pair, twice = np.stack([colored, grey]), np.stack([truth, truth])
            both = scores.per_picture(pair, twice, only=("ciede2000",))["ciede2000"]
            found[name] = {"colorized": both[0], "grey": both[1]}
    disk.write_json({"made_from": made_from(), "ciede2000": found}, COLORED / "scores.json")
    _save(strip(drawn, found), STRIP, quality=88)


def strip(drawn, found):
    """Draws the README's strip: the first two pictures by hash, the worst one, and two old photographs.

    `drawn` is {name: pictures as from `color_photograph`} in the order of the hash, `found` what `_gallery_scores`
    reads. Returns a Pillow image.
    """
    worst = _worst_first(found)[0]
    one, other = [name for name in found if name != worst][:2]
    chosen = "chosen by hash: grey, colorized, true"
    fails = "fails: the worst of {}, CIEDE2000 {colorized:.1f}, grey {grey:.1f}".format(len(found), **found[worst])
    lange, adams = "D. Lange, 1936: scan, colorized", "A. Adams, 1941: scan, colorized"
    lines = [
        _line([(one, chosen), ("1936_migrant_mother", lange), ("1941_taos_church", adams)], drawn),
        _line([(other, chosen), (worst, fails)], drawn),
    ]
    return Image.fromarray(np.concatenate(lines))


def _line(photographs, drawn):
    """Pictures side by side, a label above each photograph's; of one height, such that they fill 1200 pixels."""
    width, head, gap, wide = 1200, 30, 8, 24  # pixels; `wide` between photographs
    font = ImageFont.load_default(20)
    shapes = [[picture.shape[1] / picture.shape[0] for picture in drawn[name]] for name, _ in photographs]
    gaps = sum(gap * (len(shape) - 1) for shape in shapes) + wide * (len(shapes) - 1)
    height = (width - gaps) / sum(map(sum, shapes))
    line, left = Image.new("RGB", (width, head + round(height) + gap), "white"), 0.0
    for name, label in photographs:
        ImageDraw.Draw(line).text((round(left), 2), label, fill="#222222", font=font)
        for picture in drawn[name]:
            right = left + height * picture.shape[1] / picture.shape[0]
            size = (round(right) - round(left), round(height))
            line.paste(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS), (round(left), head))
            left = right + gap
        left += wide - gap
    return np.asarray(line)


def main():
    """Colors the gallery, rewrites what changed in the tables and says so."""
    draw_gallery()
    for page in PAGES:
        for table in tables_of(page):
            if update_marked(page, table.__name__, table()):
                print(f"{page.relative_to(ROOT)}: {table.__name__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
