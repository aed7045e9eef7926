"""Claims put to the test on result files made here: verdicts by hand, and that every claim names what is produced."""

import ast
import json
import re

import numpy as np
import pandas as pd
import pytest

from colorlib.scoring import baselines, claims, scores
from notebooks.runner import profiles

ROOT = profiles.ROOT / "notebooks"
EXPERIMENTS = {stem[:2]: stem for stem in profiles.source_notebooks(ROOT)}
EVERY = claims.CLAIMS
COLUMNS = ["claim", "it says", "on", "test", "expected", "seeds", "effect", "verdict", "weights"]


@pytest.fixture(autouse=True)
def fewer_claims(monkeypatch):
    """Without those that ask an arm for another score than its claim does: runs are written here with that one only."""
    further = (claims.CLAIMS["claim"] == "C11") & (claims.CLAIMS["against"] == "truth")
    further |= claims.CLAIMS["score"] == "sign_agreement"
    monkeypatch.setattr(claims, "CLAIMS", claims.CLAIMS[~further])


def write(folder, notebook, variant, scores, *, seed=0, role="faces", name=None, digest="d1", **parameters):
    """One run's result.json and scores.csv, cut to what claims read; with `name`, the role is in the name only."""
    path = folder / EXPERIMENTS[notebook] / (name or role) / f"{variant}-seed{seed}" / "result.json"
    path.parent.mkdir(parents=True)
    data = {"name": name or "pictures", "digest": digest} | ({} if name else {"role": role})
    result = {"experiment": EXPERIMENTS[notebook], "variant": variant, "seed": seed, "data": data, "scores": {}}
    result["parameters"] = parameters
    path.write_text(json.dumps(result))
    pd.DataFrame(scores).to_csv(path.with_name("scores.csv"), index=False)
    return path


def rows(folder, **options):
    return claims.table(folder, **options).to_dict("records")


def compare(folder, notebook, variant, against, values, others, score="ciede2000", **options):
    write(folder, notebook, variant, {score: values}, **options)
    write(folder, notebook, against, {score: others}, **options)
    return next(row for row in rows(folder) if row["test"] == f"{score}: {variant} − {against}")


@pytest.mark.parametrize(
    ("gap", "less", "more", "equal"),
    [
        ([-2, -2, -2, -2], "holds", "fails", "fails"),
        ([-0.3, -0.3, -0.3, -0.3], "holds", "fails", "holds"),
        ([0, 0, 0, 0], "undecided", "undecided", "holds"),
        ([0.3, -0.3, 0.2, -0.2], "undecided", "undecided", "holds"),
        ([0.2, 0.3, 0.6, 0.9], "fails", "holds", "undecided"),
        ([2, -2, 2, -2], "undecided", "undecided", "undecided"),
        ([0.7, 0.7, 0.7, 0.7], "fails", "holds", "fails"),
    ],
)
def test_a_verdict_says_on_which_side_the_interval_lies(tmp_path, gap, less, more, equal):
    tests = {"less": ("03", "transfer", "scratch"), "more": ("06", "small", "small-best")}
    tests |= {"equal": ("06", "large", "large-best")}
    for expected, verdict in {"less": less, "more": more, "equal": equal}.items():
        notebook, variant, against = tests[expected]
        role = "landscapes" if notebook == "06" else "faces"
        row = compare(tmp_path, notebook, variant, against, [8 + g for g in gap], [8] * 4, role=role)
        assert (row["expected"], row["verdict"]) == (expected, verdict)


def test_the_effect_is_paired_over_pictures_and_averaged_over_the_seeds_that_both_have(tmp_path):
    for seed, (one, other) in enumerate((([1, 2, 9], [2, 3, 10]), ([1, 4, 11], [4, 7, 14]))):  # less by 1, by 3
        compare(tmp_path, "03", "transfer", "scratch", one, other, seed=seed)
    write(tmp_path, "03", "transfer", {"ciede2000": [500, 500, 500]}, seed=2)
    assert rows(tmp_path) == [
        {
            "claim": "C1",
            "it says": "a decoder on a backbone is better than from scratch",
            "on": "faces",
            "test": "ciede2000: transfer − scratch",
            "expected": "less",
            "seeds": 2,
            "effect": "-2.00 [-2.00, -2.00] ± 1.41",
            "verdict": "holds",
            "weights": "–",
        }
    ]


@pytest.mark.parametrize(("gaps", "verdict"), [((-1, -3), "holds"), ((1, -5), "undecided"), ((0, -4), "undecided")])
def test_a_claim_is_decided_where_every_seed_agrees(tmp_path, gaps, verdict):
    for seed, gap in enumerate(gaps):
        row = compare(tmp_path, "03", "transfer", "scratch", [9 + gap] * 3, [9] * 3, seed=seed)
    assert row["effect"].startswith("-2.00 [-2.00, -2.00]") and row["verdict"] == verdict


def test_equal_are_two_of_which_every_seed_lies_within_the_margin(tmp_path):
    for seed, gap in enumerate((0.9, -0.9)):
        row = compare(tmp_path, "06", "large", "large-best", [9 + gap] * 3, [9] * 3, seed=seed, role="landscapes")
    assert (row["effect"][:5], row["verdict"]) == ("+0.00", "undecided")


def test_an_effect_has_the_digits_of_its_score(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", EVERY[EVERY["score"] == "sign_agreement"])
    for seed, gap in enumerate((0.0114, 0.0134)):
        row = compare(tmp_path, "03", "transfer", "scratch", [0.5 + gap] * 3, [0.5] * 3, "sign_agreement", seed=seed)
    assert row["effect"] == "+0.012 [+0.012, +0.012] ± 0.001"


def test_a_table_says_whose_weights_the_frozen_network_had(tmp_path):
    assert compare(tmp_path, "03", "transfer", "scratch", [1, 2], [3, 4], weights="random")["weights"] == "random"


def test_seeds_trained_in_other_ways_are_not_averaged(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "03", "transfer", {"ciede2000": [1.0, 2.0]}, seed=seed, epochs=10 + seed)
        write(tmp_path, "03", "scratch", {"ciede2000": [1.0, 2.0]}, seed=seed)
    with pytest.raises(ValueError, match="parameters differ between transfer of seed 0, transfer of seed 1"):
        claims.table(tmp_path)


def test_the_interval_of_one_seed_is_over_its_pictures(tmp_path):
    row = compare(tmp_path, "03", "transfer", "scratch", [4, 5, 6, 7], [5, 7, 9, 11])
    mean, low, high = map(float, re.fullmatch(r"(\S+) \[(\S+), (\S+)\]", row["effect"]).groups())
    assert (mean, row["seeds"]) == (-2.5, 1)
    assert -4 < low < -3 and -2 < high < -1


def test_against_the_truth_a_run_is_held_to_its_own_true_pictures(tmp_path):
    scores = {"colorfulness": [10.0, 20.0, 30.0], "colorfulness_true": [15.0, 26.0, 37.0]}
    for seed in (0, 1):
        write(tmp_path, "05", "skip", scores, seed=seed)
    (row,) = rows(tmp_path)
    assert (row["claim"], row["test"]) == ("C5", "colorfulness: skip − truth")
    assert row["effect"].startswith("-6.00 [-7.00, -5.00] ± 0.00") and row["verdict"] == "holds"


def test_low_variety_is_the_fifth_of_the_pictures_with_the_fewest_colors(tmp_path):
    variety = np.array([7.0, 1, 9, 3, 10, 5, 2, 8, 4, 6])  # the fewest: the second and the seventh
    blue = np.where(variety <= 2, 0.5, 0.0)
    scores = {"blue": blue, "blue_true": np.full(10, 0.1), "variety_true": variety, "sepia": 0.2, "sepia_true": 0.3}
    write(tmp_path, "04", "fusion", scores, role="varied")
    sepia, bluish = rows(tmp_path)
    assert (bluish["on"], bluish["effect"]) == ("varied, low variety", "+0.40 [+0.40, +0.40]")
    assert (sepia["on"], sepia["effect"], sepia["verdict"]) == ("varied", "-0.10 [-0.10, -0.10]", "fails")


def test_the_role_is_what_the_run_says_or_else_the_end_of_its_sets_name(tmp_path):
    for name in ("scenes-faces", "flowers"):
        compare_to = {"ciede2000": [2.0, 2.0]}
        write(tmp_path, "09", "l2-gain", compare_to, name=name)
        write(tmp_path, "09", "adjusted", {"ciede2000": [1.0, 1.0]}, name=name)
    assert [(row["claim"], row["on"]) for row in rows(tmp_path)] == [("C10", "faces"), ("C10", "flowers")]
    other = tmp_path / "said"
    for notebook, variant in (("03", "transfer"), ("03", "scratch")):
        path = write(other, notebook, variant, {"ciede2000": [1.0, 1.0]}, name="scenes-landscapes")
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"data": result["data"] | {"role": "faces"}}))
    assert [row["on"] for row in rows(other)] == ["faces"]


def test_a_claim_without_both_runs_is_left_out(tmp_path):
    assert claims.table(tmp_path).columns.tolist() == COLUMNS and len(claims.table(tmp_path)) == 0
    write(tmp_path, "03", "transfer", {"ciede2000": [1.0, 2.0]})
    write(tmp_path, "03", "scratch", {"ciede2000": [1.0, 2.0]}, seed=1)
    write(tmp_path, "05", "skip-scaled", {"ciede2000": [1.0, 2.0]})
    assert rows(tmp_path) == []


def test_runs_on_other_pictures_raise(tmp_path):
    write(tmp_path, "03", "transfer", {"ciede2000": [1.0, 2.0]})
    other = write(tmp_path, "03", "scratch", {"ciede2000": [1.0, 2.0]}, digest="d2")
    with pytest.raises(ValueError, match="pictures differ between transfer of seed 0, scratch of seed 0"):
        claims.table(tmp_path)
    result = json.loads(other.read_text())
    other.write_text(json.dumps(result | {"data": result["data"] | {"digest": "d1"}}))
    assert len(rows(tmp_path)) == 1


def test_two_sets_of_one_role_are_not_taken_for_one(tmp_path):
    one = write(tmp_path, "09", "adjusted", {"ciede2000": [1.0]}, name="faces")
    other = write(tmp_path, "09", "adjusted", {"ciede2000": [2.0]}, name="scenes-faces")
    with pytest.raises(ValueError, match=f"{other}: the same notebook, role, variant and seed as {one}"):
        claims.table(tmp_path)


def test_tables_stand_side_by_side_in_the_order_of_the_claims(tmp_path):
    for folder, gap in (("scenes", -1.0), ("photos", 1.0)):
        compare(tmp_path / folder, "06", "large", "large-best", [5 + gap] * 2, [5.0] * 2, role="landscapes")
        compare(tmp_path / folder, "03", "transfer", "scratch", [5 + gap] * 2, [5.0] * 2)
        compare(tmp_path / folder, "06", "small", "small-best", [5 + gap, 5 - gap], [5.0] * 2, role="landscapes")
    compare(tmp_path / "photos", "07", "mended", "l2", [4.0] * 2, [5.0] * 2)
    table = claims.side_by_side({name: tmp_path / name for name in ("scenes", "photos")})
    assert table.columns.tolist() == ["claim", "it says", "test", "expected", "scenes", "photos", "agree"]
    told = table[["claim", "scenes", "photos", "agree"]].itertuples(index=False, name=None)
    assert list(told) == [
        ("C1", "-1.00 [-1.00, -1.00], 1 seed, holds", "+1.00 [+1.00, +1.00], 1 seed, fails", "no"),
        ("C9", "+0.00 [-1.00, +1.00], 1 seed, undecided", "+0.00 [-1.00, +1.00], 1 seed, undecided", ""),
        ("C9", "-1.00 [-1.00, -1.00], 1 seed, fails", "+1.00 [+1.00, +1.00], 1 seed, fails", "yes"),
        ("C11", "–", "-1.00 [-1.00, -1.00], 1 seed, holds", ""),
    ]
    with_none = claims.side_by_side({"nothing yet": tmp_path / "nowhere", "photos": tmp_path / "photos"})
    assert with_none["nothing yet"].tolist() == ["–"] * 4
    assert len(claims.side_by_side({"nothing yet": tmp_path / "nowhere"})) == 0


# What follows looks at the claims themselves, and at the notebooks that are to produce their runs.


def test_every_claim_asks_for_a_score_that_is_there():
    picture = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    scored = set(scores.per_picture(picture, picture))
    for claim in EVERY.itertuples():
        assert {claim.score, f"{claim.score}_true" if claim.against == "truth" else claim.score} <= scored, claim
        assert claim.expected in ("less", "more", "equal") and claim.pictures in ("all", "low variety"), claim
    assert not EVERY.duplicated(["claim", "it says"]).any()
    assert set(EVERY["claim"]) == {"S2"} | {f"C{number}" for number in range(1, 12)}


class Texts:
    """The texts that a notebook's code can make: its strings, and its f-strings filled with those and its numbers."""

    def __init__(self, notebook):
        code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        nodes = [node for text in code for node in ast.walk(ast.parse(text))]
        self.whole = {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
        self.filled = []
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(part.value) if isinstance(part, ast.Constant) else "(.+)" for part in node.values]
                if parts.count("(.+)") < len(parts):  # one that is filled wholly could say anything
                    self.filled.append("".join(parts))

    def __contains__(self, text):
        matches = (re.fullmatch(pattern, text) for pattern in self.filled)
        return text in self.whole or any(all(part in self for part in match.groups()) for match in matches if match)


def test_texts_are_those_that_the_code_can_make():
    code = 'arms = {f"huber-{delta:g}": 1 for delta in (0.02, 0.1)} | {"l2": 2}\nfor arm in arms:\n    f"{arm}-half"\n'
    texts = Texts({"cells": [{"cell_type": "code", "source": code + 'print(f"{arm}")'}]})
    assert all(text in texts for text in ("huber-0.1", "l2", "l2-half", "huber-0.02-half"))
    assert not any(text in texts for text in ("huber-0.5", "l1", "l1-half", "half", "fusion"))


@pytest.mark.parametrize("claim", list(EVERY.itertuples()), ids=lambda claim: f"{claim.claim}-{claim.Index}")
def test_every_claim_names_runs_that_its_notebook_makes(claim):
    notebook = profiles.source_notebooks(ROOT)[EXPERIMENTS[claim.notebook]]
    texts = Texts(notebook)
    made = {"truth"}
    if any("results.score_baselines(" in "".join(cell["source"]) for cell in notebook["cells"]):
        made |= {name.replace(" ", "-") for name in baselines.fit(np.zeros((1, 2, 2, 3), np.uint8))}
    assert EXPERIMENTS[claim.notebook] in texts
    assert claim.variant in texts and (claim.against in made or claim.against in texts)
    own = profiles.parameters(notebook, claim.notebook)
    measured = profiles.load("photos", ROOT)["results"][EXPERIMENTS[claim.notebook]]
    assert claim.on in {own["role"], *measured} or f"{claim.on}_source" in own
