"""Writes what is generated in README.md, docs/ and the model card: tables from the results, the first picture.

`make docs`. A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, where NAME is a function below.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from colorlib import color
from colorlib.data import files
from colorlib.scoring import claims, results

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "notebooks" / "results"
VIVID = RESULTS / "photos" / "09_vivid_colors.csv"
WEIGHTS = ROOT / "colorlib" / "weights"
PAGES = [ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "benchmarks.md", WEIGHTS / "README.md"]
PICTURE = ROOT / "docs" / "lightness_and_color.jpg"
MATCHED = ("mean chroma", "colorfulness", "b > a", "effective bins")  # what the embedded pictures are made to match
NOTEBOOKS = {  # title, question, answer
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
        "Undecided. As published, it paints everything sepia.",
    ),
    "05_resnet50_transfer": (
        "ResNet50",
        "Own skip connections or a pretrained network? Why are colors dull?",
        "Undecided: the pretrained one is slightly ahead. No effect of scale shown.",
    ),
    "06_landscape_autoencoder": (
        "Landscapes",
        "Does a small training set overfit?",
        "Yes, on photographs. A large one does not.",
    ),
    "07_loss_comparison": (
        "Losses",
        "L2, L1, Huber, perceptual: which overfits, which looks sepia?",
        "L2, perceptual, two Huber losses overfit. Huber: more sepia than L2.",
    ),
    "08_class_imbalance_flowers": (
        "Class imbalance",
        "Do flowers teach more color than faces?",
        "They color faces more variedly, and less accurately.",
    ),
    "09_vivid_colors": (
        "Vivid colors",
        "Does classification bring the color back?",
        "Yes: more accurate than L2 at the same colorfulness.",
    ),
    "11_leaderboard": (
        "Leaderboard",
        "Which colorizer is best, and which claims hold?",
        "It depends on the score. Read all columns together.",
    ),
}


def _read(name):
    return json.loads((RESULTS / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def _shipped():
    """What training the shipped colorizer reported."""
    return json.loads((WEIGHTS / "colorizer.json").read_text(encoding="utf-8"))


def _cell(score, found):
    decimals = results.SCORES[score][1]
    interval = f" [{found['low']:.{decimals}f}, {found['high']:.{decimals}f}]" if "low" in found else ""
    return f"{found['mean']:.{decimals}f}{interval}"


def _grey():
    """CIEDE2000 of leaving a picture set grey, as text, by the digest of the set."""
    rows = results.load_results(VIVID)
    rows = rows[rows["variant"] == "grey"]
    return {digest: f"{mean:.2f}" for digest, mean in zip(rows["digest"], rows["ciede2000"], strict=True)}


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


def notebooks():
    """The notebooks: question, answer, minutes of `make train-all`."""
    minutes, rows = _read("train_all")["minutes"], []
    for stem, (title, question, answer) in NOTEBOOKS.items():
        link = f"[{stem[:2]} {title}](notebooks/rendered/{stem}.ipynb)"
        took = f"{minutes[stem]:.1f}" if stem in minutes else "–"
        rows.append({"notebook": link, "question": question, "answer, on photographs": answer, "minutes": took})
    return markdown(pd.DataFrame(rows))


def what_we_found():
    """The eleven claims, each by the one row that stands for it, on photographs."""
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
    grey, rows = _grey(), []
    for name, found in _shipped()["test"].items():
        means = {score: f"{found['scores'][score]['mean']:.2f}" for score in ("ciede2000", "colorfulness_ratio")}
        row = {"photographs": name, "CIEDE2000 ↓": means["ciede2000"]}
        row["CIEDE2000 of grey ↓"] = grey.get(found["digest"], "–")
        rows.append(row | {"colorfulness (truth = 1)": means["colorfulness_ratio"]})
    return markdown(pd.DataFrame(rows))


def claims_tested():
    """Every claim, on scenes and on photographs."""
    return markdown(claims.side_by_side({"scenes": RESULTS / "scenes", "photographs": RESULTS / "photos"}))


def set_sizes():
    """What each experiment was trained on, and what all of them took."""
    rows = []
    for path in [*sorted(RESULTS.glob("photos/*.csv")), *sorted(RESULTS.glob("scenes/*.csv"))]:
        found = results.load_results(path)
        sets = sorted({(row.data, row.train) for row in found.itertuples()})
        trained = found[["seed", "minutes"]].dropna().drop_duplicates()  # a variant may be scored several times
        settings = json.loads(found["parameters"].iloc[0])
        row = {"pictures": path.parent.name, "experiment": path.stem, "seeds": found["seed"].nunique()}
        row["training pictures"] = ", ".join(f"{count:,} {name}" for name, count in sets)
        row["widths"] = str(settings.get("widths") or settings["filters"])
        rows.append(row | {"epochs": settings["epochs"], "minutes": trained["minutes"].sum()})
    table = pd.DataFrame(rows)
    hours = ", ".join(
        f"{minutes / 60:.1f} on {name}" for name, minutes in table.groupby("pictures")["minutes"].sum().items()
    )
    rest = "cached features, dials and scores come on top"
    return f"{markdown(table)}\n\nHours of training in all: {hours} ({rest}); {found['hardware'].iloc[0]}."


def made_under():
    """The backbones and the splits under which the rows were made."""
    rows = []
    for path in [*sorted(RESULTS.glob("photos/*.csv")), *sorted(RESULTS.glob("scenes/*.csv"))]:
        found = results.load_results(path)
        backbones = ", ".join(sorted(set(found["backbone"]) - {"none"})) or "none"
        row = {"pictures": path.parent.name, "experiment": path.stem, "backbone, where there is one": backbones}
        rows.append(row | {"splits": "; ".join(sorted(set(found["split_rule"])))})
    return markdown(pd.DataFrame(rows))


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


def shipped():
    """The shipped colorizer on the test split of each set."""
    grey, rows = _grey(), []
    for name, found in _shipped()["test"].items():
        cells = {results.SCORES[score][0]: _cell(score, found["scores"][score]) for score in list(results.SCORES)[:6]}
        row = {"data": name, "test pictures": found["test"]} | cells
        rows.append(row | {"CIEDE2000 of grey": grey.get(found["digest"], "–")})
    return markdown(pd.DataFrame(rows))


def training_of_shipped():
    """How the shipped colorizer was trained, in one line."""
    card = _shipped()
    dials = ", ".join(f"{name} {value:g}" for name, value in card["dials"].items())
    pictures = sum(found["train"] for found in card["test"].values())
    return (
        f"{card['parameters']:,} parameters; {pictures:,} training pictures at {card['image_size']} pixels, "
        f"{card['epochs']} epochs in {card['minutes']:.0f} minutes on {card['hardware']}; "
        f"dials chosen on validation: {dials}."
    )


def working_sizes():
    """Whole validation pictures, by the size at which the shipped colorizer sees them."""
    found = _shipped()["working_sizes"]
    headings = {name: results.SCORES[name][0] for name in ("ciede2000", "colorfulness_ratio")}
    rows = [{"short side": size} | {headings[k]: f"{v:.2f}" for k, v in means.items()} for size, means in found.items()]
    return markdown(pd.DataFrame(rows))


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


def train_all():
    """What `make train-all` took."""
    found = _read("train_all")
    rows = [{"notebook": name, "minutes": minutes} for name, minutes in found["minutes"].items()]
    rows.append({"notebook": f"all, {found['at_a_time']} at a time", "minutes": found["minutes_in_all"]})
    install = f"Installing: {found['install_minutes']:.1f} minutes, once. " if found["install_minutes"] else ""
    table = markdown(pd.DataFrame(rows))
    return f"{table}\n\n{install}Peak memory of a notebook {found['peak_memory_gb']:.1f} GB; {found['hardware']}."


TABLES = (
    *(notebooks, what_we_found, shipped_rows),
    *(claims_tested, set_sizes, made_under, flowers, other_sets, dials_chosen),
    *(shipped, training_of_shipped, working_sizes),
    *(train_all, startup, pipeline, features, scenes),
)


def tables_of(page):
    """The functions whose markers stand in a page."""
    text = page.read_text(encoding="utf-8")
    return [table for table in TABLES if f"<!-- begin {table.__name__} -->" in text]


def draw_picture(path=PICTURE):
    """Saves a photograph of the gallery beside its lightness and its color alone."""
    picture = files.load(ROOT / "data" / "gallery" / "kodim23.jpg")
    lightness, ab = color.from_uint8(files.shrink(picture, 240))
    grey, alone = color.render(lightness, 0 * ab)[0], color.render(np.full_like(lightness, 0.3), ab)[0]
    gap = np.full((len(grey), 12, 3), 255, np.uint8)
    files.save(np.concatenate([files.shrink(picture, 240), gap, grey, gap, alone], axis=1), path)


def main():
    """Rewrites what changed and says so."""
    for page in PAGES:
        for table in tables_of(page):
            if update_marked(page, table.__name__, table()):
                print(f"{page.relative_to(ROOT)}: {table.__name__}")
    draw_picture()
    return 0


if __name__ == "__main__":
    sys.exit(main())
