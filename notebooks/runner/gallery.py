"""Executed notebooks made into things to look at: an index page of a run, copies fit for the repository."""

import base64
import html
import io
import json
import pathlib
import re
import string

from PIL import Image, ImageChops

from colorlib.data import disk
from notebooks.runner import profiles

GREETING = re.compile(r"WARNING: All log messages before absl::|[IWE]0000 |To enable the following instruct")
RETRACING = re.compile(r"WARNING:tensorflow:.* retracing")  # as every new model is
SHOWN = ("kodim21", "kodim23", "kodim16", "kodim05")  # of the gallery, on the page of a run
COLORED = pathlib.Path(__file__).parents[2] / "docs" / "gallery"
UNSEEN = 16  # of 255 levels: what a plot may change by
GAP = 8  # pixels of white between the pictures of docs/gallery
PAGE = pathlib.Path(__file__).with_suffix(".html")


def write_index(folder, stems):
    """Writes index.html into a run's folder: its executed notebooks as pages, with pictures, minutes and results.

    Returns the path. `stems` are the notebooks to list; those that have not been executed are left out. The page needs
    no network, and no other file but the notebooks' pages.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    folder = pathlib.Path(folder)
    collapse = {"enabled": True, "remove_input_tags": ["collapsed"]}
    exporter = HTMLExporter(config=Config({"TagRemovePreprocessor": collapse}))
    items, total = [], 0.0
    for stem in stems:
        path = folder / f"{stem}.ipynb"
        if not path.is_file():
            continue
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            is_injected = "injected-parameters" in cell.metadata.get("tags", ())  # they stand above already
            if is_injected or cell.metadata.get("jupyter", {}).get("source_hidden"):
                cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "collapsed"]
        body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": stem}})
        disk.write(folder / f"{stem}.html", body)
        minutes = notebook.metadata["papermill"]["duration"] / 60
        total += minutes
        name = html.escape(profiles.title(notebook) or stem)
        picture = _first_picture(notebook)
        thumbnail = f'<img src="{picture}" alt="">' if picture else ""
        items.append(
            f'<li><a href="{stem}.html"><span class="thumbnail">{thumbnail}</span>{name}</a>'
            f'<span class="quiet">{minutes:.1f} min</span></li>'
        )
    page = string.Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=f"Colorization laboratory · {html.escape(folder.name)}",
        summary=f"{len(items)} notebooks, {total:.1f} minutes.",
        sliders="\n".join(_slider(name) for name in SHOWN),
        items="\n".join(items),
        tables=_tables(folder),
    )
    return disk.write(folder / "index.html", page)


def _first_picture(notebook):
    """The first picture that a notebook shows, small, as an address that holds it; None for one without."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        for kind in ("image/png", "image/jpeg"):
            if kind in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output["data"][kind]))).convert("RGB")
                width, height = picture.size
                picture = picture.crop((0, 0, width, min(height, width * 9 // 16)))
                return _address(picture.resize((320, 320 * picture.height // width), Image.Resampling.LANCZOS))
    return None


def _slider(name):
    """A photograph of the gallery in grey and as the shipped colorizer colors it, one below the other."""
    row = Image.open(COLORED / f"{name}.jpg")  # grey, colored and true, with white between
    width = (row.width - 2 * GAP) // 3
    grey, colored = (row.crop((left, 0, left + width, row.height)) for left in (0, width + GAP))
    return (
        '<figure class="slider">'
        f'<img src="{_address(grey)}" alt="in grey"><img src="{_address(colored)}" alt="colored">'
        '<input type="range" value="50" aria-label="how much is shown in grey" '
        "oninput=\"this.parentNode.style.setProperty('--at', this.value + '%')\"></figure>"
    )


def _address(picture):
    """A picture as an address of the web that holds it."""
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def strip_greetings(path):
    """Takes out of an executed notebook what TensorFlow says of itself when imported, which no setting silences.

    Of a progress bar its last state stays.
    """
    path = pathlib.Path(path)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        outputs = cell.get("outputs", [])
        noise = [output for output in outputs if output.get("name") == "stderr"]
        if noise:  # a bar comes in many pieces: one text again, of whose lines what follows the last return is seen
            lines = "".join("".join(output["text"]) for output in noise).split("\n")
            seen = [line.rsplit("\r", 1)[-1] for line in lines]
            noise[0]["text"] = [f"{line}\n" for line in seen if line.strip() and not GREETING.match(line)]
            gone = noise[1:] if noise[0]["text"] else noise
            cell["outputs"] = [output for output in outputs if not any(output is other for other in gone)]
        for output in cell.get("outputs", []):  # in a notebook TensorFlow's own warnings go to standard output
            if output.get("name") == "stdout":
                lines = "".join(output["text"]).splitlines(keepends=True)
                output["text"] = [line for line in lines if not RETRACING.match(line)]
    disk.write(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def render(path, place):
    """Copies an executed notebook to `place` without what differs between machines: paths and times.

    Of the parameters only those that it ran with are shown, not the defaults above them.
    """
    notebook = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    notebook["metadata"].pop("papermill", None)
    tags = [set(cell["metadata"].get("tags", ())) for cell in notebook["cells"]]
    if {"injected-parameters"} in tags:
        notebook["cells"] = [cell for cell, of in zip(notebook["cells"], tags, strict=True) if of != {"parameters"}]
    for cell in notebook["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        for data in (output["data"] for output in cell.get("outputs", ()) if "image/png" in output.get("data", ())):
            data["image/png"] = _packed("".join(data["image/png"]))
    return disk.write(place, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _packed(png):
    """A PNG in base64, of 256 colors where one sees no difference, as in plots: a quarter as large."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    packed = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    differences = ImageChops.difference(picture, packed.convert("RGB")).getextrema()
    if max(high for _, high in differences) > UNSEEN:
        return png
    encoded = io.BytesIO()
    packed.save(encoded, "PNG", optimize=True)
    return base64.b64encode(encoded.getvalue()).decode()


def _tables(folder):
    """The results of a run as HTML, a table a set of pictures; nothing where it has none yet."""
    from colorlib.scoring import results

    found = results.results_table(folder)
    if found.empty:
        return ""
    parts = ["<h2>Leaderboard</h2>", "<p>Each set by itself, the most accurate above.</p>"]
    for data, rows in found.groupby("data"):
        table = rows.drop(columns="data").to_html(index=False, border=0)
        parts.append(f'<h3>{html.escape(data)}</h3>\n<div class="table">{table}</div>')
    return "\n".join(parts)
