"""Claims put to the test on results made here: verdicts by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from colorlib.scoring import claims, results, scores
from notebooks.runner import profiles

EXPERIMENTS = {stem[:2]: stem for stem in profiles.source_notebooks(profiles.ROOT / "notebooks")}
EVERY = claims.CLAIMS
COLUMNS = ["claim", "it says", "on", "test", "expected", "seeds", "effect", "verdict", "backbone"]


@pytest.fixture(autouse=True)
def fewer_claims(monkeypatch):
    """Without those that ask a variant for another score than its claim does: runs have one score only here."""
    further = (claims.CLAIMS["claim"] == "C11") & (claims.CLAIMS["against"] == "truth")
    further |= claims.CLAIMS["score"] == "sign_agreement"
    monkeypatch.setattr(claims, "CLAIMS", claims.CLAIMS[~further])


def write(folder, notebook, variant, scores, *, seed=0, role="faces", name=None, digest="d1", **parameters):
    """Adds a run, cut to what claims read."""
    row = {"experiment": EXPERIMENTS[notebook], "variant": variant, "role": role, "seed": seed, "digest": digest}
    row |= {"data": name or "pictures", "backbone": "none", "parameters": json.dumps(parameters)}
    table = folder / f"{EXPERIMENTS[notebook]}.csv"
    results.add(table, row, pd.DataFrame(scores).astype(float))
    return table


def rows(folder):
    return claims.table(folder).to_dict("records")


def compare(folder, notebook, variant, against, values, others, score="ciede2000", **options):
    write(folder, notebook, variant, {score: values}, **options)
    write(folder, notebook, against, {score: others}, **options)
    return next(row for row in rows(folder) if row["test"] == f"{score}: {variant} − {against}")


@pytest.mark.parametrize(
    ("gap", "less", "more", "equal"),
    [
        ([-2, -2, -2, -2], "holds", "fails", "fails"),
        ([0.3, -0.3, 0.2, -0.2], "undecided", "undecided", "holds"),
        ([0.2, 0.3, 0.6, 0.9], "fails", "holds", "undecided"),
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
    (row,) = rows(tmp_path)
    assert (row["claim"], row["on"], row["test"]) == ("C1", "faces", "ciede2000: transfer − scratch")
    assert (row["seeds"], row["effect"], row["verdict"]) == (2, "-2.00 [-2.00, -2.00] ± 1.41", "holds")


@pytest.mark.parametrize(
    ("gaps", "verdict"), [((-1, -3), "holds"), ((1, -5), "undecided"), ((1, 3), "fails"), ((5, -1), "undecided")]
)
def test_a_claim_is_decided_where_every_seed_agrees(tmp_path, gaps, verdict):
    for seed, gap in enumerate(gaps):
        row = compare(tmp_path, "03", "transfer", "scratch", [9 + gap] * 3, [9] * 3, seed=seed)
    mean = f"{np.mean(gaps):+.2f}"
    assert row["effect"].startswith(f"{mean} [{mean}, {mean}]") and row["verdict"] == verdict


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


def test_a_claim_without_both_runs_is_left_out(tmp_path):
    assert claims.table(tmp_path).columns.tolist() == COLUMNS and len(claims.table(tmp_path)) == 0
    write(tmp_path, "03", "transfer", {"ciede2000": [1.0, 2.0]})
    write(tmp_path, "03", "scratch", {"ciede2000": [1.0, 2.0]}, seed=1)
    write(tmp_path, "05", "skip-scaled", {"ciede2000": [1.0, 2.0]})
    assert rows(tmp_path) == []


def test_tables_stand_side_by_side_in_the_order_of_the_claims(tmp_path):
    for folder, gap in (("scenes", -1.0), ("photos", 1.0)):
        compare(tmp_path / folder, "06", "large", "large-best", [5 + gap] * 2, [5.0] * 2, role="landscapes")
        compare(tmp_path / folder, "03", "transfer", "scratch", [5 + gap] * 2, [5.0] * 2)
    compare(tmp_path / "photos", "07", "fixed", "l2", [4.0] * 2, [5.0] * 2)
    table = claims.side_by_side({name: tmp_path / name for name in ("scenes", "photos")})
    assert table.columns.tolist() == ["claim", "it says", "on", "test", "expected", "scenes", "photos", "agree"]
    told = table[["claim", "scenes", "photos", "agree"]].itertuples(index=False, name=None)
    assert list(told) == [
        ("C1", "-1.00 [-1.00, -1.00], 1 seed, holds", "+1.00 [+1.00, +1.00], 1 seed, fails", "no"),
        ("C9", "-1.00 [-1.00, -1.00], 1 seed, fails", "+1.00 [+1.00, +1.00], 1 seed, fails", "yes"),
        ("C11", "–", "-1.00 [-1.00, -1.00], 1 seed, holds", ""),
    ]
    assert len(claims.side_by_side({"nothing yet": tmp_path / "nowhere"})) == 0


# What follows looks at the claims themselves.


def test_every_claim_asks_for_a_score_that_is_there():
    picture = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    scored = set(scores.per_picture(picture, picture))
    for claim in EVERY.itertuples():
        assert {claim.score, f"{claim.score}_true" if claim.against == "truth" else claim.score} <= scored, claim
        assert claim.expected in ("less", "more", "equal") and claim.pictures in ("all", "low variety"), claim
    assert not EVERY.duplicated(["claim", "it says"]).any()
    assert EVERY[EVERY["in_short"] != ""]["claim"].tolist() == [f"C{number}" for number in range(1, 13)]


def test_every_claim_is_decided_by_the_results_on_photographs(monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", EVERY)
    found = claims.table(profiles.ROOT / "notebooks" / "results" / "photos")
    assert found["it says"].tolist() == EVERY["it says"].tolist() and set(found["seeds"]) == {3}
