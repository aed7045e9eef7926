"""Writes the tables and the strip of README.md and the model card from result files: `make readme`."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from colorlib import color, colorize, plots
from colorlib.scoring import claims, results

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "notebooks" / "results"
CARD = ROOT / "colorlib" / "weights" / "README.md"
STRIP = RESULTS / "strip.png"
MATCHED = ("mean chroma", "colorfulness", "b > a", "effective bins")  # what the embedded pictures are made to match
EXAMPLES = ("coffee", "chelsea", "astronaut", "rocket")  # photographs that scikit-image ships


def _read(name):
    return json.loads((RESULTS / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def _report_of_shipped():
    return json.loads((CARD.parent / "vivid.json").read_text(encoding="utf-8"))


def flowers():
    """The variants of notebook 09 on the flower photographs."""
    table = results.results_table(RESULTS / "photos" / "09_vivid_colors", scores=tuple(results.SCORES)[:6])
    return results.markdown(table[table["data"] == "flowers"].drop(columns="data"))


def other_sets():
    """The variants of notebook 09 on the other sets."""
    table = results.results_table(RESULTS / "photos" / "09_vivid_colors")
    return results.markdown(table[table["data"] != "flowers"])


def dials_chosen():
    """C10 on every set: each classifier with its dials against L2 with its gain."""
    folder = RESULTS / "photos" / "09_vivid_colors"
    pairs = [results.compare(folder, variant, "l2-gain") for variant in ("adjusted", "weighted-dials")]
    rows = []
    for variant, table in zip(("adjusted", "weighted-dials"), pairs, strict=True):
        named = {f"{variant}: ciede2000 at ratio": "CIEDE2000 at ratio", "l2-gain: ciede2000 at ratio": "L2 with gain"}
        rows.append(table.rename(columns=named).drop(columns=["against", "pictures"]))
    return results.markdown(pd.concat(rows, ignore_index=True).sort_values("data"))


def claims_tested():
    """Every claim, on scenes and on photographs."""
    return results.markdown(claims.side_by_side({"scenes": RESULTS / "scenes", "photographs": RESULTS / "photos"}))


def set_sizes():
    """What each experiment was trained on, and what all of them took."""
    rows = []
    for folder in sorted([*RESULTS.glob("photos/[0-9]*"), *RESULTS.glob("scenes/[0-9]*")]):
        found = results.load_results(folder)
        sets = {(r["data"]["name"], r["data"]["train"]) for r in found}
        trained = {(r["seed"], r["minutes"]) for r in found if "minutes" in r}  # an arm may be scored several times
        row = {"pictures": folder.parent.name, "experiment": folder.name, "seeds": len({r["seed"] for r in found})}
        row["training pictures"] = ", ".join(f"{count:,} {name}" for name, count in sorted(sets))
        row["widths"] = str(found[0]["parameters"].get("widths") or found[0]["parameters"]["filters"])
        rows.append(row | {"epochs": found[0]["parameters"]["epochs"], "minutes": sum(took for _, took in trained)})
    table = pd.DataFrame(rows)
    hours = ", ".join(
        f"{minutes / 60:.1f} on {name}" for name, minutes in table.groupby("pictures")["minutes"].sum().items()
    )
    rest = "cached features, dials and scores come on top"
    return f"{results.markdown(table)}\n\nHours of training in all: {hours} ({rest}); {found[0]['hardware']}."


def shipped():
    """The shipped colorizer on the test split of each set."""
    photographs = results.load_results(RESULTS / "photos" / "09_vivid_colors")
    grey = {
        r["data"]["digest"]: f"{r['scores']['ciede2000']['mean']:.2f}" for r in photographs if r["variant"] == "grey"
    }
    columns = {name: results.SCORES[name] for name in list(results.SCORES)[:6]}
    rows = []
    for name, found in _report_of_shipped()["test"].items():
        row = {"data": name, "test pictures": found["test"]}
        for score, (heading, decimals) in columns.items():
            value = found["scores"][score]
            interval = f" [{value['low']:.{decimals}f}, {value['high']:.{decimals}f}]" if "low" in value else ""
            row[heading] = f"{value['mean']:.{decimals}f}{interval}"
        rows.append(row | {"CIEDE2000 of grey": grey.get(found["digest"], "–")})
    return results.markdown(pd.DataFrame(rows))


def training_of_shipped():
    """How the shipped colorizer was trained, in one line."""
    card = _report_of_shipped()
    dials = ", ".join(f"{name} {value:g}" for name, value in card["dials"].items())
    pictures = sum(found["train"] for found in card["test"].values())
    return (
        f"{card['parameters']:,} parameters; {pictures:,} training pictures at {card['image_size']} pixels, "
        f"{card['epochs']} epochs in {card['minutes']:.0f} minutes on {card['hardware']}; "
        f"dials chosen on validation: {dials}."
    )


def working_sizes():
    """Whole validation pictures, by the size at which the shipped colorizer sees them."""
    found = _report_of_shipped()["working_sizes"]
    headings = {name: results.SCORES[name][0] for name in ("ciede2000", "colorfulness_ratio")}
    rows = [{"short side": size} | {headings[k]: f"{v:.2f}" for k, v in means.items()} for size, means in found.items()]
    return results.markdown(pd.DataFrame(rows))


def pipeline():
    """The pipeline benchmark."""
    found = _read("pipeline")
    rows = [
        {
            "what": name,
            "pictures a second": rate,
            "x (a)": found["ratio_to_a"][name],
            "x (b)": found["ratio_to_b"][name],
        }
        for name, rate in found["pictures_per_second"].items()
    ]
    size = f"{found['pictures']} pictures of {found['size']}x{found['size']}"
    return f"{results.markdown(pd.DataFrame(rows))}\n\n{size}; {found['hardware']}."


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
        f"{results.markdown(pd.DataFrame(rows))}\n\n{what}; {filled}; {found['hardware']}. "
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
    return f"{results.markdown(pd.DataFrame(rows).fillna(''))}\n\n{found['hardware']}, two processes."


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
    table = results.markdown(pd.DataFrame(rows))
    return f"{table}\n\n{install}Peak memory of a notebook {found['peak_memory_gb']:.1f} GB; {found['hardware']}."


SHIPPED = (shipped, training_of_shipped)
TABLES = {
    ROOT / "README.md": (
        claims_tested,
        set_sizes,
        flowers,
        other_sets,
        dials_chosen,
        *SHIPPED,
        train_all,
        startup,
        pipeline,
        features,
        scenes,
    ),
    CARD: (*SHIPPED, working_sizes),
}


def shipped_digest():
    """Says which file of weights ships, for the strip to carry."""
    return hashlib.sha256((CARD.parent / "vivid.keras").read_bytes()).hexdigest()


def draw_strip():
    """Colorizes the grey versions of scikit-image's photographs with the shipped model; returns a Figure."""
    import skimage.data

    model, examples = colorize.load(), {}
    for name in EXAMPLES:
        picture = getattr(skimage.data, name)()
        lightness, ab = color.from_uint8(picture)
        grey = color.render(lightness, np.zeros_like(ab))[0]
        examples[name] = (grey, colorize.colorize(model, grey), picture)
    return plots.strip(examples, rows=("grey", "colorized", "truth"))


def main():
    """Rewrites what changed and says so."""
    for path, tables in TABLES.items():
        for table in tables:
            if results.update_marked(path, table.__name__, table()):
                print(f"{path.relative_to(ROOT)}: {table.__name__}")
    draw_strip().savefig(STRIP, dpi=110, metadata={"Source": shipped_digest()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
