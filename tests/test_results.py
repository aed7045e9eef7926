"""Two variants compared over the seeds and pictures they share, and tables of one picture set alone."""

import json

import numpy as np
import pytest

from colorlib.scoring import results


def write(
    folder, variant, seed, values, *, data="scenes", digest="d1", ratio=0.8, experiment="09_vivid_colors", dials=()
):
    """One run's result.json and scores.csv, cut to what comparisons read."""
    path = folder / experiment / data / variant / f"seed{seed}" / "result.json"
    path.parent.mkdir(parents=True)
    mean = sum(values) / len(values)
    result = {"experiment": experiment, "variant": variant, "data": {"name": data, "digest": digest}, "seed": seed}
    result["dials"] = dict(dials)
    scores = {"ciede2000": {"mean": mean, "low": mean, "high": mean}, "colorfulness_ratio": {"mean": ratio}}
    path.write_text(json.dumps(result | {"scores": scores}))
    lines = ["psnr,ciede2000", *(f"{10 * value},{value}" for value in values)]
    path.with_name("scores.csv").write_text("\n".join(lines) + "\n")
    return path


def test_the_difference_is_paired_over_pictures_and_averaged_over_common_seeds(tmp_path):
    write(tmp_path, "classes", 0, [1, 2, 9], ratio=0.7)
    write(tmp_path, "classes", 1, [3, 4, 11], ratio=0.9)
    write(tmp_path, "classes", 2, [500, 500, 500], ratio=5)  # L2 has no seed 2
    write(tmp_path, "L2", 0, [4, 4, 12], ratio=0.2)
    write(tmp_path, "L2", 1, [4, 6, 12], ratio=0.4)
    write(tmp_path, "L1", 0, [0, 0, 0])
    table = results.compare(tmp_path, "classes", "L2")
    assert table.to_dict("records") == [
        {
            "data": "scenes",
            "variant": "classes",
            "against": "L2",
            "seeds": 2,
            "pictures": 3,
            "classes: ciede2000 at ratio": "5.00 at 0.80",  # means over seeds 2, 3, 10
            "L2: ciede2000 at ratio": "7.00 at 0.30",  # 4, 5, 12
            "difference": "-2.00 [-2.00, -2.00]",
            "dials": "",
            "verdict": "better",
        }
    ]
    (back,) = results.compare(tmp_path, "L2", "classes").to_dict("records")
    assert (back["difference"], back["verdict"]) == ("+2.00 [+2.00, +2.00]", "worse")
    (psnr,) = results.compare(tmp_path, "classes", "L2", score="psnr").to_dict("records")
    assert psnr["difference"] == "-20.00 [-20.00, -20.00]" and "classes: psnr at ratio" in psnr


def test_dials_are_told_with_their_range_over_the_seeds(tmp_path):
    for seed, gain in enumerate((1.5, 1.2, 1.3)):
        write(tmp_path, "classes", seed, [1, 2], dials={"temperature": 0.25, "gain": gain})
        write(tmp_path, "L2", seed, [1, 2])
    (row,) = results.compare(tmp_path, "classes", "L2").to_dict("records")
    assert row["dials"] == "temperature 0.25, gain 1.20–1.50"


def test_an_interval_around_zero_decides_nothing(tmp_path):
    write(tmp_path, "classes", 0, [1, 2, 3, 4, 5, 6])
    write(tmp_path, "L2", 0, [2, 1, 4, 3, 6, 5.3])
    (row,) = results.compare(tmp_path, "classes", "L2").to_dict("records")
    mean, low, high = (float(part.strip("[,]")) for part in row["difference"].split())
    assert mean == pytest.approx(-0.3 / 6, abs=0.006)
    assert -1 <= low < -0.5 and 0.5 < high <= 1
    assert row["verdict"] == "undecided"


def test_only_data_with_a_common_seed_and_the_wanted_digest_is_compared(tmp_path):
    for seed, variant in enumerate(("classes", "L2")):
        write(tmp_path, variant, 0, [1 + seed, 2 + seed])
        write(tmp_path, variant, seed, [1, 2], data="no common seed")
        write(tmp_path, variant, 0, [3, 4 + seed], data="flowers", digest="d2")
    write(tmp_path, "classes", 0, [1, 2], data="one variant")
    table = results.compare(tmp_path, "classes", "L2")
    assert list(zip(table["data"], table["difference"].str.split().str[0], strict=True)) == [
        ("flowers", "-0.50"),
        ("scenes", "-1.00"),
    ]
    assert results.compare(tmp_path, "classes", "L2", digest="d2")["data"].tolist() == ["flowers"]
    assert len(results.compare(tmp_path, "classes", "L2", digest="d3")) == 0
    assert len(results.compare(tmp_path, "classes", "L9")) == 0


def test_runs_on_other_pictures_and_runs_that_are_there_twice_raise(tmp_path):
    write(tmp_path / "a", "classes", 0, [1, 2])
    write(tmp_path / "a", "L2", 0, [1, 2], digest="d2")
    with pytest.raises(ValueError, match="scenes: pictures differ between classes of seed .*L2 of seed "):
        results.compare(tmp_path / "a", "classes", "L2")
    one = write(tmp_path / "b", "classes", 0, [1, 2], experiment="07_loss_comparison")
    other = write(tmp_path / "b", "classes", 0, [3, 4])
    with pytest.raises(ValueError, match=f"{other}: the same variant, data and seed as {one}"):
        results.compare(tmp_path / "b", "classes", "L2")


def test_a_table_of_one_digest_leaves_out_what_was_scored_on_other_pictures(tmp_path):
    write(tmp_path, "classes", 0, [1, 2])
    write(tmp_path, "classes", 1, [3, 4])
    write(tmp_path, "classes", 2, [90, 90], digest="d2")
    write(tmp_path, "L2", 0, [7, 7], digest="d2")
    with pytest.raises(ValueError, match="scenes: pictures differ between classes of seed 0, classes of seed 1"):
        results.results_table(tmp_path)
    (row,) = results.results_table(tmp_path, digest="d1").to_dict("records")
    assert (row["variant"], row["seeds"]) == ("classes", 2)
    assert row["CIEDE2000 ↓"] == "2.50 [2.50, 2.50] ± 1.41"
    assert results.results_table(tmp_path, digest="d2")["variant"].tolist() == ["L2", "classes"]
    assert len(results.results_table(tmp_path, digest="d3")) == 0


def test_one_set_in_two_roles_is_two_sets(tmp_path):
    for role in ("faces", "landscapes"):
        path = write(tmp_path / role, "L2", 0, [1, 2])
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"data": result["data"] | {"role": role}}))
    names = ["scenes (faces)", "scenes (landscapes)"]
    assert results.results_table(tmp_path)["data"].tolist() == names
    assert results.compare(tmp_path, "L2", "L2")["data"].tolist() == names


def test_seeds_trained_in_other_ways_are_not_averaged(tmp_path):
    for seed in (0, 1):
        path = write(tmp_path, "L2", seed, [1, 2])
        path.write_text(json.dumps(json.loads(path.read_text()) | {"parameters": {"epochs": 10 + seed}}))
    for tabulate in (results.results_table, lambda folder: results.compare(folder, "L2", "L2")):
        with pytest.raises(ValueError, match="parameters differ between L2 of seed 0, L2 of seed 1"):
            tabulate(tmp_path)


def test_baselines_are_scored_for_every_seed(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    about = {"experiment": "x", "parameters": {}, "data": {"name": "scenes", "digest": "d1"}, "prior": np.ones(261)}
    results.score_baselines(tmp_path, pictures, pictures, [0, 4], **about)
    table = results.results_table(tmp_path)
    assert sorted(table["variant"]) == ["grey", "mean-ab", "mean-ab-by-lightness"] and set(table["seeds"]) == {2}
    assert table.set_index("variant")["colorfulness ratio → 1"]["grey"].startswith("0.00 [0.00, 0.00]")


def test_a_table_shows_sign_agreement_beside_that_of_one_color(tmp_path):
    for seed, mean in enumerate((0.7, 0.8)):
        path = write(tmp_path, "L2", seed, [5, 5])
        result = json.loads(path.read_text())
        result["scores"]["sign_agreement"] = {"mean": mean, "low": 0.6, "high": 0.9}
        result["scores"] |= {"sepia": {"mean": 0.25, "low": 0.2, "high": 0.3}, "blue": {"mean": 0.5}}
        path.write_text(json.dumps(result | {"constant_sign_agreement": 0.691}))
    (row,) = results.results_table(tmp_path, scores=("sign_agreement", "sepia", "blue")).to_dict("records")
    assert row["sign agreement (of one color)"] == "0.750 [0.600, 0.900] ± 0.071 (0.691)"
    assert row["sepia share of chroma"] == "0.25 [0.20, 0.30] ± 0.00" and "(" not in row["sepia share of chroma"]
    assert row["blue share of chroma"].startswith("0.50")


def test_paired_scores_are_those_of_the_common_seeds_in_order(tmp_path):
    for variant, seed in (("L2", 3), ("L2", 0), ("L2", 1), ("L1", 1), ("L1", 3)):
        write(tmp_path, variant, seed, [seed, 10 + seed + 100 * (variant == "L1")])
    one, other = (
        {result["seed"]: result for result in results.load_results(tmp_path) if result["variant"] == variant}
        for variant in ("L2", "L1")
    )
    seeds, frames = results.paired(one, other)
    assert seeds == [1, 3]
    assert [[frame["ciede2000"].tolist() for frame in of] for of in frames] == [
        [[1, 11], [3, 13]],
        [[1, 111], [3, 113]],
    ]
    assert results.paired(one, {}) == ([], [[], []]) == results.paired({}, {})
    changed = {seed: result | {"data": result["data"] | {"digest": "d2"}} for seed, result in other.items()}
    with pytest.raises(ValueError, match="scenes: pictures differ between L2 of seed .*L1 of seed "):
        results.paired(one, changed)
    with pytest.raises(ValueError, match="scenes: pictures differ between L2 of seed .*L2 of seed "):
        results.paired(one, one | {3: changed[3]})
