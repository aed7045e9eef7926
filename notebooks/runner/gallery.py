"""Executed notebooks made into things to look at: an index page of a run, copies fit for the repository."""

import html
import json
import pathlib
import re
import string

from colorlib.data import disk
from notebooks.runner import profiles

GREETING = re.compile(r"WARNING: All log messages before absl::|[IWE]0000 |To enable the following instruct")
RETRACING = re.compile(r"WARNING:tensorflow:.* retracing")  # as every new model is
PAGE = pathlib.Path(__file__).with_suffix(".html")


def write_index(folder, stems):
    """Writes index.html into a run's folder: its executed notebooks as pages, with minutes and results.

    Returns the path. `stems` are the notebooks to list; those that have not been executed are left out.
    """
    import nbformat
    from nbconvert import HTMLExporter

    folder = pathlib.Path(folder)
    exporter = HTMLExporter()
    items, total = [], 0.0
    for stem in stems:
        path = folder / f"{stem}.ipynb"
        if not path.is_file():
            continue
        notebook = nbformat.read(path, as_version=4)
        body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": stem}})
        disk.write(folder / f"{stem}.html", body)
        minutes = notebook.metadata["papermill"]["duration"] / 60
        total += minutes
        name = html.escape(profiles.title(notebook) or stem)
        items.append(f'<li><a href="{stem}.html">{name}</a><span class="quiet">{minutes:.1f} min</span></li>')
    summary = f"{len(items)} notebooks, {total:.1f} minutes."
    page = string.Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=f"Colorization laboratory · {html.escape(folder.name)}",
        summary=summary,
        items="\n".join(items),
        table=_table(folder),
    )
    return disk.write(folder / "index.html", page)


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
    """Copies an executed notebook to `place` without what differs between machines: paths and times."""
    notebook = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
    return disk.write(place, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _table(folder):
    """The results of a run as an HTML table; nothing where it has none yet."""
    from colorlib.scoring import results

    table = results.results_table(folder)
    if table.empty:
        return ""
    return f'<h2>Results</h2>\n<div class="table">{table.to_html(index=False, border=0)}</div>'
