"""Runs the numbered notebooks of a profile: `python -m notebooks.runner.run --profile quick`."""

import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import pathlib
import re
import resource
import shutil
import sys
import time

from colorlib.data import disk, sets
from notebooks.runner import bootstrap, gallery, profiles
from notebooks.runner.profiles import ROOT


class CellError(RuntimeError):
    """A cell raised, or its kernel died; the message is a readable block with the cell and the error."""


def execute(path, values, output, *, progress=True):
    """Executes the notebook `path` with papermill into the file `output`; returns the minutes.

    The copy is written beside `output` under the name *.partial.ipynb, renamed when it is whole, and stays
    there for reading when a cell fails; *.log takes what the kernel says outside its cells. Raises CellError.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    path, output = pathlib.Path(path), pathlib.Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, log = output.with_suffix(".partial.ipynb"), output.with_suffix(".log")
    start = time.monotonic()
    hidden = None if progress else True  # None: where there is no terminal, as in a log
    os.environ["TQDM_DISABLE"] = "1"  # in the kernel: nobody watches the bars of its cells
    try:
        with _stderr_into(log) as terminal:  # TensorFlow greets there, whatever one sets
            papermill.execute_notebook(
                path,
                partial,
                parameters=values,
                kernel_name="python3",  # this Python, whatever kernel the notebook was last saved with
                cwd=path.parent,  # as in Jupyter; the bootstrap cell moves to the root
                progress_bar={"desc": path.stem, "file": terminal, "leave": False, "disable": hidden},
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's own chatter; errors come back by papermill
            )
    except papermill.PapermillExecutionError as error:
        raise CellError(_cell_block(path.stem, error, partial)) from error
    except DeadKernelError as error:
        reason = f"its Python process died, most often for want of memory; see {os.path.relpath(log)}"
        raise CellError(f"{path.stem}: {reason}") from error
    gallery.strip_greetings(partial)
    os.replace(partial, output)
    return (time.monotonic() - start) / 60


@contextlib.contextmanager
def _stderr_into(path):
    """Sends standard error, of this process and those it starts, into a file; gives what it was, to write to."""
    sys.stderr.flush()
    with open(os.dup(2), "w") as terminal:
        with open(path, "wb") as log:
            os.dup2(log.fileno(), 2)
        try:
            yield terminal
        finally:
            os.dup2(terminal.fileno(), 2)


def settings(values):
    """Digest of what a notebook runs with: its parameters, but not its seed, where it writes and where pictures lie.

    `make results` writes it into the rows that it collects, and skips a run whose rows carry it. The pictures are not
    in it, since they are known only when the notebook has prepared them: their own digest stands in the rows. Nor is
    the code: the commit stands in the rows too.
    """
    apart = ("run_folder", "seed", "source", "cache_folder", *(f"{role}_source" for role in profiles.ROLES))
    kept = {name: value for name, value in values.items() if name not in apart}
    kept["split rule"] = sets.SPLIT_RULE
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def collect(run_folder, place, digest):
    """Merges the tables that a run left with those in the folder `place`; rows there of its roles and seeds go.

    `digest` is that of its settings. Raises ValueError if there is no table.
    """
    from colorlib.scoring import results  # here: pandas takes a second, and most runs of this module need none

    tables = sorted(pathlib.Path(run_folder).glob("results/*.csv"))
    if not tables:
        raise ValueError(f"the run left no table in {run_folder}/results")
    for table in tables:
        rows, pictures, notes = results.read(table)
        rows = rows.assign(settings=digest)
        results.merge(pathlib.Path(place) / table.name, rows, pictures, notes, same=["role", "seed"])


def main(arguments=None):
    """Runs the command line; returns the exit status: 0, 1 (a cell failed), 2 (bad input), 130 (Ctrl-C)."""
    options = _parser().parse_args(arguments)
    logging.disable(logging.CRITICAL)  # papermill and the kernel's client would tell again what is told here
    try:
        if options.address is not None:
            for path in bootstrap.write_address(options.address, ROOT):
                print(path.relative_to(ROOT))
            return 0
        runs = profiles.plan(
            options.profile,
            ROOT / "notebooks",
            data=options.data,
            sets=options.sets,
            only=options.only,
            seeds=options.seeds,
            results=options.results,
        )
        (_results if options.results else _train)(runs, options)
    except (CellError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, CellError) else 2
    except KeyboardInterrupt:
        print("stopped; what was finished is kept", file=sys.stderr)
        return 130
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.runner.run", description=__doc__, usage=argparse.SUPPRESS
    )
    parser.add_argument("--profile", default="quick", help="a file of notebooks/profiles (default: quick)")
    fill = parser.add_mutually_exclusive_group()
    fill.add_argument("--data", help="one source for every role: a name, a folder, a .tar or a .zip")
    fill.add_argument("--sets", help="a folder with one source per role")
    parser.add_argument("--only", nargs="+", default=(), metavar="NN", help="these notebooks alone")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the profile's")
    parser.add_argument(
        "--jobs", type=int, default=1, help="so many notebooks of train-all at a time, but the leaderboard alone"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--results", action="store_true", help="its experiments, into notebooks/results")
    mode.add_argument("--render", action="store_true", help="executed copies into notebooks/rendered, too")
    mode.add_argument("--address", metavar="URL", help="write the repository's address and stop")
    return parser


def _train(runs, options):
    """Executes the runs of a profile in order, then writes the index page (and the rendered copies)."""
    run_root = ROOT / "data" / "runs" / options.profile
    start = time.monotonic()
    if options.render:  # what is published tells of a whole run, not of one taken up
        for _, values in runs:
            shutil.rmtree(ROOT / values["run_folder"], ignore_errors=True)
    minutes = {}
    last = list(profiles.source_notebooks(ROOT / "notebooks"))[-1]  # reads what the others wrote
    for some in ([run for run in runs if run[0] != last], [run for run in runs if run[0] == last]):
        if options.jobs > 1 and len(some) > 1:
            minutes |= _side_by_side(some, run_root, options.jobs)
        else:
            minutes |= {stem: _timed(stem, stem, values, run_root / f"{stem}.ipynb") for stem, values in some}
    if options.render:
        for stem, _ in runs:
            gallery.render(run_root / f"{stem}.ipynb", ROOT / "notebooks" / "rendered" / f"{stem}.ipynb")
    page = gallery.write_index(run_root, profiles.source_notebooks(ROOT / "notebooks"))
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    took = {
        "profile": options.profile,
        "minutes": {stem: round(minutes[stem], 2) for stem, _ in runs},
        "at_a_time": options.jobs,
        "minutes_in_all": round((time.monotonic() - start) / 60, 2),
        "install_minutes": _install_minutes(),
        "peak_memory_gb": round(peak, 2),
        "hardware": _hardware(run_root),
    }
    disk.write(run_root / "minutes.json", json.dumps(took, indent=1) + "\n")
    print(
        f"{took['minutes_in_all']:.1f} minutes, peak memory of a notebook {peak:.1f} GB\nopen {os.path.relpath(page)}"
    )


def _side_by_side(runs, run_root, at_once):
    """Executes runs in so many processes; the first failure is raised when the others that began have ended."""
    minutes = {}
    # Spawned: a process that has threads, as papermill's does, is not to be forked.
    with concurrent.futures.ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        begun = {}
        for stem, values in runs:
            _clear(values)
            path, output = ROOT / "notebooks" / f"{stem}.ipynb", run_root / f"{stem}.ipynb"
            begun[pool.submit(execute, path, values, output, progress=False)] = stem
        try:
            for done in concurrent.futures.as_completed(begun):
                minutes[begun[done]] = done.result()
                print(f"{begun[done]} ".ljust(44, "."), f"{done.result():5.1f} min", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return minutes


def _install_minutes():
    """What the Makefile noted when it filled .venv; None in an environment of the user's own."""
    note = ROOT / ".venv" / "installed"
    words = note.read_text().split() if note.is_file() else []
    return round(int(words[0]) / 60, 1) if words else None


def _hardware(run_root):
    """What the run's results say they ran on; asking Keras here would load TensorFlow for one line."""
    from colorlib.scoring import results

    rows = results.load_results(run_root)
    return rows["hardware"].iloc[0] if len(rows) else "unknown"


def _results(runs, options):
    """Executes the runs whose results are not in notebooks/results yet, and puts them there."""
    place = ROOT / "notebooks" / "results" / options.profile
    for stem, values in runs:
        run_folder, digest = ROOT / values["run_folder"], settings(values)
        label = f"{stem} {run_folder.name}"
        if there := _there(place / f"{stem}.csv", values["role"], values["seed"], digest):
            table = os.path.relpath(place / f"{stem}.csv")
            print(f"{label}: there already, of {there}; to run it anew, remove its rows from {table}")
            continue
        _timed(label, stem, values, run_folder / f"{stem}.ipynb")
        collect(run_folder, place, digest)


def _there(table, role, seed, digest):
    """The picture set of a run that a table has already, in words; None where it is missing or had other settings."""
    from colorlib.scoring import results

    if not table.exists():
        return None
    rows = results.read(table)[0]
    rows = rows[(rows["role"] == role) & (rows["seed"] == str(seed))]
    if rows.empty or (rows["settings"] != digest).any():
        return None
    return f"{rows['data'].iloc[0]} ({rows['digest'].iloc[0]})"


def _timed(label, stem, values, output):
    """Executes one notebook and prints a line: its label at the start, its minutes at the end."""
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    _clear(values)
    line = f"{label} ".ljust(44, ".")
    print(line, end=" ", flush=True)
    outcome = "stopped"
    try:
        minutes = execute(path, values, output)
        outcome = f"{minutes:5.1f} min"
    finally:
        # Where there was a progress bar, it took the line.
        print(f"\r{line} {outcome}" if sys.stderr.isatty() else outcome, flush=True)
    return minutes


def _clear(values):
    """Removes the scores of an earlier run, perhaps on other pictures; this one scores its own."""
    shutil.rmtree(ROOT / values["run_folder"] / "results", ignore_errors=True)


def _cell_block(stem, error, partial):
    """A cell's failure for reading: its lines, the failing one marked, the error, and where the rest is."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    marked = re.search(r"^-+>\s*(\d+)", plain, re.MULTILINE)
    failed = int(marked.group(1)) if marked else 0
    lines = [
        f"{'>' if number == failed else ' '} {number:3} | {line}"
        for number, line in enumerate(error.source.splitlines(), start=1)
    ]
    message = f"{error.ename}: {error.evalue}"
    rest = f"The executed copy with the full traceback: {os.path.relpath(partial)}"
    rule = "-" * 78
    return "\n".join([rule, f"{stem} failed in this cell:", "", *lines, "", message, "", rest, rule])


if __name__ == "__main__":
    sys.exit(main())
