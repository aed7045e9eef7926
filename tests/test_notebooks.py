"""The runner of the notebooks, on tiny ones made here; what each profile asks for; the anatomy of the real ones."""

import ast
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from colorlib.data import disk
from colorlib.scoring import results
from notebooks.runner import bootstrap, clean, gallery, profiles
from notebooks.runner import run as runner

ROOT = profiles.ROOT
SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
RENDERED = sorted((ROOT / "notebooks" / "rendered").glob("*.ipynb"))
PARAMETERS = """\
profile = "quick"
source = "scenes"
role = "faces"
image_size = 64
run_folder = "data/runs/tiny"
seed = 0"""
OTHER = PARAMETERS.replace('"faces"', '"flowers"') + "\nepochs = 5\nrate = 0.1"
QUICK = "sources: {faces: scenes, flowers: scenes}\n"


def make_notebook(*code, parameters=PARAMETERS, title="# 01 · Tiny"):
    texts = [("markdown", title), ("code", parameters), *(("code", text) for text in code)]
    cells = []
    for number, (kind, text) in enumerate(texts):
        cell = {"cell_type": kind, "id": str(number), "metadata": {}, "source": text}
        if kind == "code":
            cell |= {"outputs": [], "execution_count": None}
        if text is parameters:
            cell["metadata"] = {"tags": ["parameters"]}
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A function that makes a small checkout of notebooks and profiles, which the runner takes for the real one."""

    def make(sources, **yamls):
        folder = tmp_path / "checkout" / "notebooks"
        (folder / "profiles").mkdir(parents=True)
        for stem, notebook in sources.items():
            (folder / f"{stem}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        for name, text in yamls.items():
            (folder / "profiles" / f"{name}.yaml").write_text(text, encoding="utf-8")
        monkeypatch.chdir(folder.parent)
        for module in (profiles, runner):
            monkeypatch.setattr(module, "ROOT", folder.parent)
        return folder

    return make


@pytest.mark.parametrize(
    ("yaml", "options", "message"),
    [
        (QUICK, {"name": "quik"}, "unknown profile 'quik'; did you mean quick?"),
        ("sources: [", {}, "is not YAML"),
        ("sauces: {}", {}, "unknown section 'sauces'; did you mean sources?"),
        ("sources: {face: scenes}", {}, "unknown role 'face'; did you mean faces?"),
        (QUICK + "shared: {epocs: 3}", {}, "no notebook has the parameter 'epocs'; did you mean epochs?"),
        (QUICK + "notebooks: {02_othr: {}}", {}, "unknown notebook '02_othr'; did you mean 02_other?"),
        (QUICK + "notebooks: {02_other: {epochs: many}}", {}, "epochs = 'many' is not a int, such as 5"),
        (QUICK + "shared: {seed: one}", {}, "seed = 'one' is not a int, such as 0"),
        (QUICK, {"seeds": [0, 1]}, "one run has one seed, not 2: `make results` runs several"),
        ("sources: {faces: scenes}", {}, "no source for the role 'flowers': give DATA= or SETS="),
        (QUICK, {"data": "scenery"}, "scenery: no such folder or file in .*; did you mean 'scenes'?"),
        (QUICK, {"data": "notebooks/profiles/quick.yaml"}, "quick.yaml: not a whole .tar, .tar.gz or .zip"),
        (QUICK, {"only": ["7"]}, "unknown notebook '7'; there are: 01_tiny, 02_other"),
        (QUICK, {"results": True}, "profile 'quick' lists no results for 01_tiny, 02_other"),
    ],
)
def test_bad_input_is_one_clear_message_before_anything_runs(checkout, yaml, options, message):
    folder = checkout({"01_tiny": make_notebook(), "02_other": make_notebook(parameters=OTHER)}, quick=yaml)
    with pytest.raises(ValueError, match=message) as caught:
        profiles.plan(options.pop("name", "quick"), folder, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (PARAMETERS + "\nwidth = 2 * 8", "`width = 2 . 8` in the parameters cell is not a literal"),
        (PARAMETERS.replace("image_size = 64", ""), "the parameters cell lacks `image_size` .int"),
        (PARAMETERS.replace('"faces"', '"cats"'), "role 'cats' is none of faces"),
    ],
)
def test_a_parameters_cell_holds_flat_literals(parameters, message):
    with pytest.raises(profiles.ProfileError, match=f"01_tiny: .*{message}"):
        profiles.parameters(make_notebook(parameters=parameters), "01_tiny")


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    with pytest.raises(profiles.ProfileError, match="0 cells are tagged `parameters`"):
        profiles.parameters({"cells": []}, "01_tiny")
    (tmp_path / "01_tiny.ipynb").write_text("{")
    with pytest.raises(profiles.ProfileError, match="01_tiny.ipynb is not a notebook"):
        profiles.source_notebooks(tmp_path)
    with pytest.raises(profiles.ProfileError, match="no numbered notebook in"):
        profiles.source_notebooks(tmp_path / "nowhere")


def test_the_plan_fills_in_what_differs(checkout):
    yaml = "shared: {epochs: 2, image_size: 32, rate: 1}\nnotebooks: {02_other: {epochs: 9}}\n"
    folder = checkout({"01_tiny": make_notebook(), "02_other": make_notebook(parameters=OTHER)}, quick=QUICK + yaml)
    (first, tiny), (second, other) = profiles.plan("quick", folder, data="scenes", seeds=[3])
    assert (first, second) == ("01_tiny", "02_other")
    expected = {"profile": "quick", "source": "scenes", "role": "faces", "image_size": 32, "seed": 3}
    assert tiny == expected | {"run_folder": "data/runs/quick/01_tiny"}
    assert (other["epochs"], other["rate"], other["role"]) == (9, 1, "flowers")
    assert [stem for stem, _ in profiles.plan("quick", folder, only=["2"])] == ["02_other"]


def test_sets_give_each_role_its_own_source_relative_to_the_root(checkout, tmp_path):
    folder = checkout({"01_tiny": make_notebook(), "02_other": make_notebook(parameters=OTHER)}, quick=QUICK)
    (tmp_path / "sets" / "faces").mkdir(parents=True)
    (tmp_path / "sets" / "faces" / "a.jpg").touch()
    with tarfile.open(tmp_path / "sets" / "flowers.tar", "w") as archive:
        archive.add(tmp_path / "sets" / "faces" / "a.jpg", "a.jpg")
    runs = profiles.plan("quick", folder, sets=tmp_path / "sets")
    assert [values["source"] for _, values in runs] == ["../sets::faces", "../sets::flowers"]


def test_a_second_picture_set_is_filled_as_its_role_says(checkout, tmp_path):
    two = make_notebook(parameters=PARAMETERS + '\nlandscapes_source = "nowhere"')
    yaml = "sources: {faces: scenes, landscapes: flowers}\nresults: {01_two: {faces: [0], varied: [1]}}"
    folder = checkout({"01_two": two}, quick=yaml, short=QUICK)

    def filled(name="quick", **options):
        runs = profiles.plan(name, folder, **options)
        return [(values["source"], values["landscapes_source"]) for _, values in runs]

    assert filled() == [("scenes", "flowers")]
    for role in ("faces", "landscapes", "varied"):
        (tmp_path / "sets" / role).mkdir(parents=True)
        (tmp_path / "sets" / role / "a.jpg").touch()
    runs = [("../sets::faces", "../sets::landscapes"), ("../sets::varied", "../sets::landscapes")]
    assert filled(sets=tmp_path / "sets", results=True) == runs
    with pytest.raises(profiles.ProfileError, match="'short' has no source for the role 'landscapes'"):
        filled("short")


def test_results_are_one_run_for_each_role_and_seed(checkout):
    yaml = QUICK + "results: {01_tiny: {faces: [0, 1], flowers: [0]}}"
    folder = checkout({"01_tiny": make_notebook()}, quick=yaml)
    runs = [values for _, values in profiles.plan("quick", folder, results=True)]
    assert [(values["role"], values["seed"]) for values in runs] == [("faces", 0), ("faces", 1), ("flowers", 0)]


WRITE_RESULT = """\
import pandas as pd
from colorlib.scoring import results
row = {"experiment": "01_tiny", "variant": "l2", "role": role, "seed": seed, "data": source, "digest": "0"}
row |= {"parameters": "{}", "hardware": "2 cores", "ciede2000": 7.25, "ciede2000_low": 7.0, "ciede2000_high": 7.5}
results.add(f"../{run_folder}/results/01_tiny.csv", row, pd.DataFrame({"ciede2000": [7.0, 7.5]}))
print("trained on", source)"""


@pytest.mark.slow
def test_training_all_leaves_executed_copies_a_page_and_renderings(checkout):
    folder = checkout({"01_tiny": make_notebook(WRITE_RESULT)}, quick=QUICK)
    checkpoint = folder.parent / "data" / "runs" / "quick" / "01_tiny" / "epoch-001.weights.h5"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert runner.main(["--seeds", "5", "--render"]) == 0
    assert not checkpoint.exists()  # a rendering is of a whole run
    run = folder.parent / "data" / "runs" / "quick"
    assert "trained on scenes" in (run / "01_tiny.ipynb").read_text()
    assert results.load_results(run)["seed"].tolist() == [5]
    page = (run / "index.html").read_text(encoding="utf-8")
    assert '<a href="01_tiny.html">' in page and "01 · Tiny</a>" in page and "7.2" in page
    html = (run / "01_tiny.html").read_text(encoding="utf-8")
    assert "trained on scenes" in html and html.count("run_folder") == 2  # as a parameter and where it is used
    rendered = (folder / "rendered" / "01_tiny.ipynb").read_text(encoding="utf-8")
    assert "trained on scenes" in rendered and 'papermill":' not in rendered and str(folder) not in rendered
    assert rendered.count("run_folder =") == 1
    assert not list(run.glob("*partial*"))


BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
LOOK = """<script>addEventListener("load", () => {
  const slider = document.querySelector(".slider"), input = slider.querySelector("input");
  const clipped = () => getComputedStyle(slider.querySelector("img + img")).clipPath;
  const before = clipped();
  input.value = 20; input.dispatchEvent(new Event("input"));
  const whole = [...document.images].filter(image => image.naturalWidth > 100).length;
  document.title = `${whole} of ${document.images.length} images; ${before} to ${clipped()}`;
});</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_the_page_of_a_run_opens_in_a_browser_without_network(tmp_path):
    notebook = make_notebook("show()")
    notebook["metadata"]["papermill"] = {"duration": 90}
    picture = base64.b64encode((ROOT / "docs" / "strip.jpg").read_bytes()).decode()
    notebook["cells"][-1]["outputs"] = [
        {"output_type": "display_data", "data": {"image/jpeg": picture}, "metadata": {}}
    ]
    (tmp_path / "01_tiny.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page = gallery.write_index(tmp_path, ["01_tiny", "02_not_run"])
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=.(https?:)?//", text) and "1 notebooks, 1.5 minutes" in text
    page.write_text(text + LOOK, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    seen = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60).stdout
    assert (
        re.search("<title>(.*)</title>", seen)[1] == "9 of 9 images; inset(0px 0px 0px 50%) to inset(0px 0px 0px 20%)"
    )


def test_results_are_collected_once(checkout, capsys):
    folder = checkout({"01_tiny": make_notebook(WRITE_RESULT)}, quick=QUICK + "results: {01_tiny: {faces: [2]}}")
    assert runner.main(["--results"]) == 0
    table = folder / "results" / "quick" / "01_tiny.csv"
    assert results.load_results(table)["seed"].tolist() == [2]
    assert runner.main(["--results"]) == 0
    assert "01_tiny faces-seed2: there already, of scenes (0)" in capsys.readouterr().out
    changed = QUICK + "notebooks: {01_tiny: {image_size: 32}}\nresults: {01_tiny: {faces: [2]}}"
    (folder / "profiles" / "quick.yaml").write_text(changed)
    assert runner.main(["--results"]) == 0
    assert "there already" not in capsys.readouterr().out


def test_scores_of_an_earlier_run_are_not_taken_for_this_ones(checkout):
    folder = checkout({"01_tiny": make_notebook(WRITE_RESULT)}, quick=QUICK)
    run = folder.parent / "data" / "runs" / "quick" / "01_tiny"
    for name in ("results/09_gone.csv", "l2/epoch-001.weights.h5"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("of an earlier run")
    assert runner.main([]) == 0
    left = sorted(path.name for path in run.rglob("*.*") if path.is_file())
    assert left == ["01_tiny.csv", "01_tiny.json", "01_tiny.pictures.csv.gz", "epoch-001.weights.h5"]


@pytest.mark.parametrize("options", [[], ["--jobs", "2"]])
def test_the_first_failure_stops_and_is_readable(checkout, capsys, options):
    failing = make_notebook("pictures = []\nraise ValueError(f'{source}: no picture in there')")
    folder = checkout({"01_bad": failing, "02_next": make_notebook(), "03_last": make_notebook()}, quick=QUICK)
    assert runner.main(options) == 1
    error = capsys.readouterr().err
    assert "01_bad failed in this cell" in error and ">   2 | raise ValueError" in error
    assert "\nValueError: scenes: no picture in there\n" in error
    assert "data/runs/quick/01_bad.partial.ipynb" in error and "Traceback" not in error
    run = folder.parent / "data" / "runs" / "quick"
    assert (run / "01_bad.partial.ipynb").is_file() and not (run / "03_last.ipynb").exists()


MEET = """import pathlib, time
pathlib.Path('{0}').touch()
until = time.monotonic() + 60
while not pathlib.Path('{1}').exists():
    assert time.monotonic() < until, 'the other never began'
    time.sleep(0.05)
time.sleep(2)
pathlib.Path('{0}-done').touch()
"""


def test_notebooks_run_side_by_side_and_the_last_one_alone(checkout):
    last = make_notebook("import pathlib\nassert pathlib.Path('a-done').exists() and pathlib.Path('b-done').exists()")
    first, second = make_notebook(MEET.format("a", "b")), make_notebook(MEET.format("b", "a"))
    folder = checkout({"01_one": first, "02_two": second, "03_last": last}, quick=QUICK)
    assert runner.main(["--jobs", "2"]) == 0
    took = json.loads((folder.parent / "data/runs/quick/minutes.json").read_text())
    assert list(took["minutes"]) == ["01_one", "02_two", "03_last"] and took["at_a_time"] == 2


def test_a_kernel_that_dies_is_said_to(checkout, capfd):
    checkout({"01_bad": make_notebook("import os\nos._exit(9)")}, quick=QUICK)
    assert runner.main([]) == 1
    assert re.fullmatch(
        r"01_bad: its Python process died, .*; see data/runs/quick/01_bad.log\n", capfd.readouterr().err
    )


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_leaves_no_process(checkout):
    mark = "kernel-pid"
    waiting = (  # renamed when it is whole, for it is read as soon as it is there
        "import os, pathlib, time\npathlib.Path('part').write_text(str(os.getpid()))\n"
        f"os.replace('part', '{mark}')\ntime.sleep(60)"
    )
    folder = checkout({"01_wait": make_notebook(waiting)}, quick=QUICK)
    script = (
        # A shell's background jobs, and so these tests in one, start with the signal ignored.
        "import pathlib, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from notebooks.runner import profiles, run\n"
        "run.ROOT = profiles.ROOT = pathlib.Path.cwd()\nsys.exit(run.main([]))"
    )
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    run = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)
    deadline = time.monotonic() + 60
    while not (folder / mark).is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    kernel = int((folder / mark).read_text())
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=30)
    assert (run.returncode, error) == (130, "stopped; what was finished is kept\n")
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)


def test_tensorflows_greeting_is_taken_out_and_nothing_else(tmp_path):
    notebook = make_notebook("1")
    noise = ["WARNING: All log messages before absl::InitializeLog() is called\n", "I0000 00:00 port.cc:153] oneDNN\n"]
    notebook["cells"][1]["outputs"] = [
        {"output_type": "stream", "name": "stderr", "text": [*noise, "UserWarning: keep me\n"]},
        {"output_type": "stream", "name": "stderr", "text": noise},
        {
            "output_type": "stream",
            "name": "stdout",
            "text": ["I0000 printed\n", "WARNING:tensorflow:5 calls triggered tf.function retracing\n"],
        },
    ]
    path = tmp_path / "01_tiny.ipynb"
    path.write_text(json.dumps(notebook))
    gallery.strip_greetings(path)
    outputs = json.loads(path.read_text())["cells"][1]["outputs"]
    assert [output["text"] for output in outputs] == [["UserWarning: keep me\n"], ["I0000 printed\n"]]


def test_the_address_is_written_everywhere_from_one_place(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text("```sh\nmake setup\n```\n")
    notebook = tmp_path / "notebooks" / "01_tiny.ipynb"
    tiny = make_notebook(title="# 01 · Tiny\n\nA question.")
    tiny["cells"].insert(1, make_notebook(bootstrap.CELL.format(address=""))["cells"][2])
    notebook.write_text(json.dumps(tiny))
    for name in ("lab", "lab-two"):  # a second address replaces the first
        bootstrap.write_address(f"https://github.com/someone/{name}.git", tmp_path)
        assert bootstrap.address(tmp_path) == f"https://github.com/someone/{name}"
        cells = json.loads(notebook.read_text())["cells"]
        assert text_of(cells[1]) == bootstrap.cell(tmp_path)
        assert text_of(cells[0]).count("colab-badge") == 1 and text_of(cells[0]).endswith("A question.")
        assert f"github/someone/{name}/blob/main/notebooks/01_tiny.ipynb" in text_of(cells[0])
        readme = (tmp_path / "README.md").read_text()
        assert readme == f"```sh\ngit clone https://github.com/someone/{name} && cd {name}\nmake setup\n```\n"
    with pytest.raises(ValueError, match="does not read https://github.com/OWNER/NAME"):
        bootstrap.write_address("github.com/someone", tmp_path)


def test_the_bootstrap_cell_moves_to_the_root(tmp_path, monkeypatch):
    (tmp_path / "colorlib").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    exec(bootstrap.cell(ROOT), {})
    assert os.environ["COLORLIB_STARTED_IN"] == str(tmp_path / "notebooks")
    assert pathlib.Path.cwd() == tmp_path and sys.path[0] == str(tmp_path)


def make(*arguments, cwd=ROOT):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_make_says_which_python_it_needs(tmp_path):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    run = make("setup", "PYTHON=false", cwd=tmp_path)
    assert run.returncode != 0 and "This needs Python 3.11, 3.12 or 3.13" in run.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_passes_names_with_spaces_on():
    run = make("-n", "train-all", "DATA=my photos", "PROFILE=photos", "SEEDS=0 1", "ONLY=1 9")
    assert '--profile "photos" --data "my photos"' in run.stdout and "--only 1 9 --seeds 0 1" in run.stdout


# What follows looks at the real notebooks.


def text_of(cell):
    return "".join(cell["source"])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_begins_as_every_other(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert text_of(cells[1]) == bootstrap.cell(ROOT)
    assert bootstrap.badge(ROOT, path.stem) in text_of(cells[0])
    nodes = [node for cell in cells if cell["cell_type"] == "code" for node in ast.walk(ast.parse(text_of(cell)))]
    within = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
    strings = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within
    ]
    assert not [string for string in strings if re.match(r"/\w|~|[A-Za-z]:[\\/]", string)], "an absolute path"


DRAWN = {"dataset_sheet", "variants_sheet", "comparison_grid", "picture_map", "imshow"}


def pictures_drawn(tree):
    """The names of what is drawn as pictures, but where `source == "scenes"` was asked."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "source == 'scenes'":
        return set()
    if isinstance(tree, ast.Call) and getattr(tree.func, "attr", "") in DRAWN:
        return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {name for child in ast.iter_child_nodes(tree) for name in pictures_drawn(child)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_photograph_of_a_set_is_shown(path):
    """Renderings are published, and the photographs of a set are not ours to show."""
    of_a_set = {"truth", "train", "test", "validation", "sample", "samples", "paths", "lab", "batch"}
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [text_of(cell) for cell in cells if cell["cell_type"] == "code"]
    drawn = {name for text in code for name in pictures_drawn(ast.parse(text))}
    assert drawn and not drawn & of_a_set


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_profile_fits_the_notebooks(path):
    assert profiles.load(path.stem, ROOT / "notebooks")["shared"]
    if SOURCES:
        assert len(profiles.plan(path.stem, ROOT / "notebooks", data="scenes")) == len(SOURCES)


def numbers_of(text):
    """The numbers of a text as written, without signs; C10 and 02_name hold none."""
    return re.findall(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w)", text)


def unfounded(conclusion, outputs):
    """The numbers of a conclusion that are no number of the outputs, rounded; before % a hundredfold of one."""
    shown = [float(number.replace(",", "")) for number in numbers_of(outputs)]
    percents = [number for run in re.findall(r"([\d., and]+)%", conclusion) for number in numbers_of(run)]
    return [
        number
        for number in numbers_of(conclusion)
        if not any(
            round(scale * value, len(number.partition(".")[2])) == float(number.replace(",", ""))
            for value in shown
            for scale in ((1, 100) if number in percents else (1,))
        )
    ]


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_a_rendering_holds_no_error_and_its_conclusion_quotes_what_it_printed(path):
    text = path.read_text(encoding="utf-8")
    assert '"output_type": "error"' not in text and str(ROOT) not in text
    cells = json.loads(text)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    texts = ["".join(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in outputs]
    (conclusion,) = [text_of(cell) for cell in cells if text_of(cell).startswith("## Conclusion")]
    assert numbers_of(conclusion) and unfounded(conclusion, "\n".join(texts)) == []


def test_a_number_that_was_never_printed_is_seen():
    outputs = "train 0.728, gap -2.07 [-2.68, -1.43], 1,234 pictures, bins 49.77"
    assert unfounded("C10: 73 % of 1,234, 2.07 [1.43, 2.68], 50 bins", outputs) == []
    assert unfounded("C10: 74 % of 1,235, 2.06, 51 bins, 73 bins", outputs) == ["74", "1,235", "2.06", "51", "73"]


def test_clean_leaves_what_it_does_not_know(tmp_path):
    ours = [
        "data/runs/quick/index.html", "data/runs/quick/12_the_colorizer.ipynb", "colorlib/data/__pycache__/a.pyc",
        "data/runs/quick/12_the_colorizer/64-pixels/epoch-003.weights.h5", "data/runs/quick/12_the_colorizer/.lock",
        "data/processed/a-0123456789/set.json", "data/cache/pictures/0123456789abcdef/0000001.rgb", ".ruff_cache/x",
        "data/processed/a-0123456789/pictures/0123456789abcdef-012345.jpg", "data/processed/.set.json.1-2.part",
    ]  # fmt: skip
    theirs = [
        "data/runs/quick/thesis.docx", "data/runs/quick/12_the_colorizer/64-pixels/holiday.jpg", "build/mine.txt",
        "data/processed/notes.txt", "data/raw/set.json", "data/README.md", ".venv/lib/__pycache__/a.pyc", "set.json",
        "data/runs/best-model.h5", "data/processed/.a-0123456789.part/x.csv",
    ]  # fmt: skip
    for name in ours + theirs:
        disk.write(tmp_path / name, name)
    left = {path.relative_to(tmp_path).as_posix() for path in clean.clean(tmp_path)}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(theirs) and left == {
        name for name in theirs if name.startswith(("data/runs", "data/processed"))
    }
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_dir() and not any(path.iterdir())]
