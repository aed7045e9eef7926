"""Profiles: which picture set fills each role, and which parameters each notebook runs with.

notebooks/profiles/NAME.yaml says what differs from the literals in a notebook's cell tagged `parameters`:

    sources: {faces: scenes, flowers: scenes, landscapes: scenes, varied: scenes}
    shared: {image_size: 64}                    # for each notebook that has the parameter
    notebooks: {09_vivid_colors: {epochs: 2}}   # for one
    results: {09_vivid_colors: {flowers: [0, 1, 2]}}   # what `make results` measures: role -> seeds

Everything is checked before anything runs: papermill only warns of a parameter that does not exist.
"""

import ast
import difflib
import json
import os
import pathlib
import re

import yaml

from colorlib.data import sets as picture_sets
from colorlib.data import sources
from colorlib.data.sets import ROLES

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# What every notebook must have, since the runner or the person at `make` sets it.
REQUIRED = {"profile": str, "source": str, "role": str, "image_size": int, "run_folder": str, "seed": int}
SECTIONS = ("sources", "shared", "notebooks", "results")


class ProfileError(ValueError):
    """A profile, notebook, source or parameter that is not right; the message names it and the place."""


def source_notebooks(folder):
    """Returns {stem: notebook as a dict} for the numbered notebooks of a folder, in order."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("[0-9]*.ipynb")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ProfileError(f"{path} is not a notebook: {error}") from error
    if not found:
        raise ProfileError(f"no numbered notebook in {folder}")
    return found


def title(notebook):
    """Returns the first heading of a notebook, without its `#`; empty if there is none."""
    for cell in notebook["cells"]:
        match = re.search(r"^#\s+(.+)$", "".join(cell["source"]), re.MULTILINE)
        if cell["cell_type"] == "markdown" and match:
            return match.group(1)
    return ""


def parameters(notebook, name):
    """Returns {parameter: default} from the cell tagged `parameters`.

    Raises ProfileError if there is not exactly one such cell, if it holds more than flat literals, or if
    one of REQUIRED is missing.
    """
    cells = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ())]
    if len(cells) != 1:
        raise ProfileError(f"{name}: {len(cells)} cells are tagged `parameters`; it takes exactly one")
    defaults = {}
    for statement in ast.parse("".join(cells[0]["source"])).body:
        try:
            (target,) = statement.targets
            defaults[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError) as error:
            line = ast.unparse(statement)
            raise ProfileError(f"{name}: `{line}` in the parameters cell is not a literal") from error
    for key, kind in REQUIRED.items():
        if not isinstance(defaults.get(key), kind):
            raise ProfileError(f"{name}: the parameters cell lacks `{key}` ({kind.__name__})")
    if defaults["role"] not in ROLES:
        raise ProfileError(f"{name}: role {defaults['role']!r} is none of {', '.join(ROLES)}")
    return defaults


def load(name, folder):
    """Returns a profile as a dict with the keys of SECTIONS. Raises ProfileError if unknown or malformed."""
    path = pathlib.Path(folder) / "profiles" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(other.stem for other in path.parent.glob("*.yaml"))
        raise ProfileError(f"unknown profile {name!r}{hint(name, known)}")
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ProfileError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(profile, dict):
        raise ProfileError(f"{path} is not a mapping of {', '.join(SECTIONS)}")
    for section, value in profile.items():
        if section not in SECTIONS:
            raise ProfileError(f"{path}: unknown section {section!r}{hint(section, SECTIONS)}")
        if not isinstance(value, dict):
            raise ProfileError(f"{path}: section {section!r} is not a mapping")
    for role in profile.get("sources", {}):
        _check_role(role, path)
    return {section: profile.get(section, {}) for section in SECTIONS}


def plan(name, folder, *, data=None, sets=None, only=(), seeds=None, results=False):
    """Checks everything and returns the runs to make, [(notebook's stem, parameters)], in order.

    `data` fills every role; `sets` is a folder with a source for each, which becomes FOLDER::ROLE, so that look-alikes
    across all its sets fall into one split. `only` names notebooks by number.
    With `results`: one run for each notebook, role and seed of that section. Raises ProfileError, and SourceError for
    a source that is missing, empty or a broken archive.
    """
    profile = load(name, folder)
    where = f"profile {name!r}"
    defaults = {stem: parameters(notebook, stem) for stem, notebook in source_notebooks(folder).items()}
    chosen = sorted({_find(number, list(defaults)) for number in only} or defaults)
    if seeds and len(seeds) > 1 and not results:
        raise ProfileError(f"one run has one seed, not {len(seeds)}: `make results` runs several")
    values = _values(profile, defaults, where, {"seed": seeds[0]} if seeds else {})
    for path in picture_sets.sources_in(sets).values() if sets else ():  # each is prepared, whoever asks for one
        _check_source(path)
    filled = {}

    def run(stem, run_folder, **fixed):
        own = values[stem] | {"profile": name, "run_folder": run_folder} | fixed
        # A notebook that compares two picture sets names the second by its role, as in landscapes_source.
        wanted = {"source": own["role"]} | {f"{role}_source": role for role in ROLES if f"{role}_source" in own}
        for role in set(wanted.values()) - filled.keys():
            filled[role] = _source(role, profile, where, data, sets)
        return stem, own | {name: filled[role] for name, role in wanted.items()}

    if not results:
        return [run(stem, f"data/runs/{name}/{stem}") for stem in chosen]
    if data:
        raise ProfileError("results are kept by role: give SETS=FOLDER with a set for each role, not DATA=")
    runs = []
    for stem in chosen:
        for role, own_seeds in profile["results"].get(stem, {}).items():
            _check_role(role, f"{where}, results of {stem}")
            for seed in own_seeds if seeds is None else seeds:
                place = f"data/runs/results/{name}/{stem}/{role}-seed{seed}"
                runs.append(run(stem, place, role=role, seed=seed))
    if not runs:
        raise ProfileError(f"{where} lists no results for {', '.join(chosen)}")
    return runs


def hint(name, known):
    """Returns the end of a message about an unknown name: the names that come close, else all there are."""
    close = difflib.get_close_matches(name, known, n=2)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there {'are' if len(known) > 1 else 'is'}: {', '.join(known) or 'none'}"


def _values(profile, defaults, where, given_to_all):
    """{stem: parameters}: each notebook's literals with what the profile changes, checked."""
    for name in profile["shared"]:
        known = sorted({key for own in defaults.values() for key in own})
        if name not in known:
            raise ProfileError(f"{where}: no notebook has the parameter {name!r}{hint(name, known)}")
    for section in ("notebooks", "results"):
        for stem in profile[section]:
            if stem not in defaults:
                raise ProfileError(f"{where}: unknown notebook {stem!r}{hint(stem, list(defaults))}")
    values = {}
    for stem, own in defaults.items():
        given = {name: value for name, value in profile["shared"].items() if name in own}
        given |= (profile["notebooks"].get(stem) or {}) | given_to_all
        for name, value in given.items():
            _check(name, value, own, f"{where}, notebook {stem}")
        values[stem] = own | given
    return values


def _check(name, value, defaults, where):
    """Raises ProfileError unless `value` fits the default of the parameter `name`."""
    if name not in defaults:
        raise ProfileError(f"{where}: unknown parameter {name!r}{hint(name, list(defaults))}")
    default = defaults[name]
    if default is None:  # says nothing about the type
        return
    pairs = [(value, default)]
    if isinstance(default, list) and isinstance(value, list) and default:
        pairs += [(item, default[0]) for item in value]
    for item, example in pairs:
        if type(item) is not type(example) and not (type(example) is float and type(item) is int):
            wanted = f"{type(default).__name__}, such as {default!r}"
            raise ProfileError(f"{where}: {name} = {value!r} is not a {wanted}")
    if name == "role":
        _check_role(value, where)


def _check_role(role, where):
    if role not in ROLES:
        raise ProfileError(f"{where}: unknown role {role!r}{hint(str(role), ROLES)}")


def _find(number, stems):
    """The notebook that a number (09 or 9) or a whole name means."""
    found = [stem for stem in stems if number == stem or stem.split("_")[0] == number.zfill(2)]
    if not found:
        raise ProfileError(f"unknown notebook {number!r}{hint(number, stems)}")
    return found[0]


def _source(role, profile, where, data, sets):
    """The source that fills a role: a name, or a path relative to the root. Raises SourceError for one without use."""
    if sets:
        picture_sets.in_sets(sets, role)  # raises where there is none
        return f"{_relative(sets)}::{role}"
    data = str(data or profile["sources"].get(role, ""))
    if not data:
        raise ProfileError(f"{where} has no source for the role {role!r}: give DATA= or SETS=")
    _check_source(data)
    if data in picture_sets.NAMES:
        return data
    relative = _relative(data)
    return f"./{relative}" if relative in picture_sets.NAMES else relative  # a folder named as a set is


def _check_source(path):
    """Raises SourceError for a source that is unknown, missing, empty or a broken archive, before anything runs."""
    found = sources.locate(str(path), ROLES[0], None, ROOT / "data" / "raw")
    if str(path) not in picture_sets.NAMES and pathlib.Path(path).expanduser().is_file():
        found.listed()  # reads an archive's list


def _relative(path):
    return pathlib.Path(os.path.relpath(pathlib.Path(path).expanduser().resolve(), ROOT)).as_posix()
