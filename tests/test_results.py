"""Tables of results: written whole or not at all, read back with their pictures, averaged and compared."""

import gzip
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from colorlib.data import disk, sets
from colorlib.scoring import results, scores
from notebooks.runner import run as runner

NAME = "09_vivid_colors"


def write(folder, variant, seed, values, *, data="scenes", experiment=NAME, history=None, **more):
    """Adds a run, cut to what tables and comparisons read."""
    mean = sum(values) / len(values)
    row = {"experiment": experiment, "variant": variant, "role": data, "seed": seed, "data": data, "digest": "d1"}
    row |= {"parameters": "{}", **dict.fromkeys(results.DIALS), "colorfulness_ratio": 0.8}
    row |= {"ciede2000": mean, "ciede2000_low": mean, "ciede2000_high": mean, "settings": "s1"} | more
    frame = pd.DataFrame({"psnr": [10.0 * value for value in values], "ciede2000": values}, dtype=float)
    results.add(folder / f"{experiment}.csv", row, frame, history)
    return folder / f"{experiment}.csv"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Writing


def test_a_scored_run_is_read_back_with_all_that_repeats_it(tmp_path):
    truth = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    lightness, ab = np.full((3, 16, 16, 1), 0.1, np.float32), np.full((3, 16, 16, 2), 0.2, np.float32)
    data = {"name": "scenes-faces", "role": "faces", "digest": "123456789012", "train": 75, "validation": 10, "test": 3}
    about = {"experiment": NAME, "data": data, "prior": np.ones(261), "parameters": {"epochs": 4, "widths": [8]}}
    run = {"variant": "l2", "seed": 1, "epoch": 2, "minutes": 0.5, "backbone": "tiny", "dials": {"gain": 1.25}}
    pictures, frame = results.score(tmp_path, lightness, ab, truth, **about, **run, history={"loss": [0.5, 0.25]})
    results.score_baselines(tmp_path, truth, truth, **about)
    table = tmp_path / "results" / f"{NAME}.csv"
    rows = results.load_results(table).set_index("variant")
    assert sorted(rows.index) == ["grey", "l2", "mean-ab", "mean-ab-by-lightness"]
    row = rows.loc["l2"]
    expected = {"role": "faces", "seed": 1, "digest": "123456789012", "train": 75, "epoch": 2, "backbone": "tiny"}
    expected |= {"gain": 1.25, "split_rule": sets.SPLIT_RULE}
    assert {name: row[name] for name in expected} == expected and np.isnan(row["rebalance"])
    assert json.loads(row["parameters"]) == {"epochs": 4, "widths": [8]} and "keras" in row["versions"]
    found = scores.summary(frame)["ciede2000"]
    told = [row["ciede2000"], row["ciede2000_low"], row["ciede2000_high"], row["ab_wasserstein"]]
    assert told == pytest.approx([*found.values(), scores.ab_wasserstein(pictures, truth)], rel=1e-12)
    read = results.picture_scores(row)
    assert list(read) == list(frame) and np.allclose(read, frame, rtol=1e-5)
    notes = results.read(table)[2]
    assert notes["history: l2, faces, seed 1"] == {"loss": [0.5, 0.25]} and notes["conventions"] == scores.CONVENTIONS


def test_a_run_takes_the_place_of_the_one_before_and_leaves_the_others(tmp_path):
    write(tmp_path, "classes", 0, [1, 2])
    write(tmp_path, "classes", 1, [3, 4])
    table = write(tmp_path, "classes", 0, [5, 6, 7], epoch=3)
    rows = results.load_results(table).set_index("seed")
    assert rows["ciede2000"].to_dict() == {0: 6, 1: 3.5} and rows.loc[0, "epoch"] == 3
    assert [results.picture_scores(rows.loc[seed])["ciede2000"].tolist() for seed in (0, 1)] == [[5, 6, 7], [3, 4]]
    assert len(gzip.decompress(table.with_suffix(".pictures.csv.gz").read_bytes()).splitlines()) == 1 + 3 + 2


def test_the_same_runs_make_the_same_files_in_any_order(tmp_path):
    for folder, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        for seed in order:
            write(tmp_path / folder, "classes", seed, [seed, 1.23456789], history={"loss": [seed]}, epoch=seed or None)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_four_writers_lose_nothing(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: write(tmp_path, "classes", seed, [seed, 2]), range(12)))
    rows = results.load_results(tmp_path)
    assert sorted(rows["seed"]) == list(range(12))
    assert all(results.picture_scores(row)["ciede2000"][0] == row["seed"] for row in rows.to_dict("records"))


@pytest.mark.parametrize("step", range(6))
def test_a_writer_that_dies_at_any_step_leaves_a_table_that_can_be_read(tmp_path, monkeypatch, step):
    table = write(tmp_path, "classes", 0, [1, 2])
    write(tmp_path, "L2", 0, [3, 4])
    steps = iter(range(step))

    def dying(path, content):
        next(steps)  # StopIteration: the process is gone
        return whole(path, content)

    whole = disk.write
    with monkeypatch.context() as patch, pytest.raises(StopIteration):
        patch.setattr(disk, "write", dying)
        write(tmp_path, "classes", 0, [7, 8])
    rows = results.load_results(table).set_index("variant")
    found = {name: results.picture_scores(rows.loc[name])["ciede2000"].tolist() for name in rows.index}
    assert found["L2"] == [3, 4] and found["classes"] == ([1, 2] if step < 3 else [7, 8])


@pytest.mark.parametrize(("values", "more"), [([1, np.nan], {"ciede2000": 1.0}), ([1, 2], {"psnr": np.inf})])
def test_a_nan_makes_no_row_and_leaves_the_table(tmp_path, values, more):
    table = write(tmp_path, "classes", 0, [1, 2])
    before = content(tmp_path)
    with pytest.raises(ValueError, match=rf"{table}: not finite: .*{'psnr' if more.get('psnr') else 'ciede2000'}"):
        write(tmp_path, "classes", 1, values, **more)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path, "classes", 1, [1, 2], history={"loss": [np.nan]})
    assert content(tmp_path) == before


# Reading


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a digit": lambda table: flip(table, -3),
    "a word": lambda table: flip(table, table.read_bytes().index(b"classes")),
    "a note": lambda table: flip(table.with_suffix(".json"), table.with_suffix(".json").read_bytes().index(b"8-bit")),
    "notes of older rows": lambda table: table.write_text(table.read_text().replace("classes", "others")),
    "a bit of the pictures": lambda table: flip(table.with_suffix(".pictures.csv.gz"), -5),
    "no checksums": lambda table: table.with_suffix(".json").write_text("{}"),
    "a row cut": lambda table: table.write_text(table.read_text()[:-20] + "\n"),
    "pictures cut": lambda table: cut(table.with_suffix(".pictures.csv.gz")),
    "pictures missing": lambda table: table.with_suffix(".pictures.csv.gz").unlink(),
    "notes cut": lambda table: cut(table.with_suffix(".json")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_table_is_named(tmp_path, damage):
    table = write(tmp_path, "classes", 0, [1, 2])
    damage(table)
    with pytest.raises(ValueError, match=re.escape(str(table))):
        results.load_results(table)


def test_pictures_of_another_table_are_not_taken_for_its_own(tmp_path):
    one, other = write(tmp_path / "one", "classes", 0, [1, 2]), write(tmp_path / "other", "classes", 0, [1, 3])
    pictures = other.with_suffix(".pictures.csv.gz")
    pictures.replace(one.with_suffix(".pictures.csv.gz"))
    with pytest.raises(ValueError, match=rf"{one} and .*one/{NAME}\.pictures\.csv\.gz do not belong together: classes"):
        results.picture_scores(results.load_results(one).iloc[0])


def test_a_folder_is_read_below_and_other_files_are_no_tables(tmp_path):
    table = write(tmp_path / "run" / "results", "classes", 0, [1, 2])
    (tmp_path / "manifest.csv").write_text("file,group\na.jpg,b\n")
    assert results.load_results(tmp_path)["file"].tolist() == [str(table)]
    other = write(tmp_path / "again", "classes", 0, [8, 9])
    with pytest.raises(ValueError, match=rf"{table}: the same run as in {other}: .*variant classes"):
        results.load_results(tmp_path)


def test_a_baseline_counts_for_every_seed_of_its_experiment_and_pictures(tmp_path):
    for seed in (0, 4):
        write(tmp_path, "classes", seed, [1, 2])
    write(tmp_path, "classes", 2, [1, 2], data="faces")
    write(tmp_path, "L2", 3, [1, 2], experiment="07_loss_comparison")
    for data in ("scenes", "faces", "flowers"):
        table = write(tmp_path, "grey", results.ALL, [3, 4], data=data)
    rows = results.load_results(tmp_path)
    grey = rows[rows["variant"] == "grey"]
    seeds = {name: of["seed"].tolist() for name, of in grey.groupby("data")}
    assert seeds == {"faces": [2], "flowers": ["all"], "scenes": [0, 4]}
    assert results.compare(table, "classes", "grey")["seeds"].tolist() == [1, 2]


# Tables


def test_a_table_has_a_row_for_each_data_set_and_variant(tmp_path):
    for seed, mean in enumerate((15, 16, 17)):
        ends = {"ciede2000_low": mean - 1.0, "ciede2000_high": mean + 2.0, "ab_wasserstein": 7.0 + seed}
        write(tmp_path, "L2", seed, [mean], colorfulness_ratio_low=0.4, colorfulness_ratio_high=0.9, **ends)
    write(tmp_path, "classes", 0, [14])
    write(tmp_path, "L2", 0, [15], data="flowers")
    table = results.results_table(tmp_path)
    order = [["flowers", "L2", 1], ["scenes", "classes", 1], ["scenes", "L2", 3]]
    assert table[["data", "variant", "seeds"]].to_numpy().tolist() == order
    cells = ["16.00 [15.00, 18.00] ± 1.00", "0.80 [0.40, 0.90] ± 0.00", "–", "8.00 ± 1.00"]
    assert table.iloc[2, 3:].tolist() == cells and table.loc[0, "CIEDE2000 ↓"] == "15.00 [15.00, 15.00]"


def test_a_table_of_one_digest_leaves_out_what_was_scored_on_other_pictures(tmp_path):
    for seed, digest in enumerate(("d1", "d1", "d2")):
        write(tmp_path, "classes", seed, [1 + 2 * seed, 2 + 2 * seed], digest=digest)
    with pytest.raises(ValueError, match="scenes: pictures differ between classes of seed 0, classes of seed 1"):
        results.results_table(tmp_path)
    (row,) = results.results_table(tmp_path, digest="d1").to_dict("records")
    assert (row["seeds"], row["CIEDE2000 ↓"]) == (2, "2.50 [2.50, 2.50] ± 1.41")


def test_seeds_trained_in_other_ways_are_not_averaged(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "L2", seed, [1, 2], parameters=json.dumps({"epochs": 10 + seed}))
    for tabulate in (results.results_table, lambda folder: results.compare(folder, "L2", "L2")):
        with pytest.raises(ValueError, match="parameters differ between L2 of seed 0, L2 of seed 1"):
            tabulate(tmp_path)


# Comparisons


def test_the_difference_is_paired_over_pictures_and_averaged_over_common_seeds(tmp_path):
    write(tmp_path, "classes", 0, [1, 2, 9], colorfulness_ratio=0.7)
    write(tmp_path, "classes", 1, [3, 4, 11], colorfulness_ratio=0.9)
    write(tmp_path, "classes", 2, [500, 500, 500], colorfulness_ratio=5.0)  # L2 has no seed 2
    write(tmp_path, "L2", 0, [4, 4, 12], colorfulness_ratio=0.2)
    write(tmp_path, "L2", 1, [4, 6, 12], colorfulness_ratio=0.4)
    (row,) = results.compare(tmp_path, "classes", "L2").to_dict("records")
    assert [row[name] for name in ("data", "seeds", "pictures", "dials")] == ["scenes", 2, 3, ""]
    assert row["classes: ciede2000 at ratio"] == "5.00 at 0.80"  # means over seeds 2, 3, 10
    assert row["L2: ciede2000 at ratio"] == "7.00 at 0.30"  # 4, 5, 12
    assert (row["difference"], row["verdict"]) == ("-2.00 [-2.00, -2.00]", "better")
    assert results.compare(tmp_path, "L2", "classes")["verdict"].tolist() == ["worse"]


def test_runs_on_other_pictures_and_seeds_are_not_compared(tmp_path):
    write(tmp_path, "classes", 0, [1, 2])
    write(tmp_path, "L2", 1, [1, 2])
    assert len(results.compare(tmp_path, "classes", "L2")) == 0
    write(tmp_path, "L2", 0, [1, 2], digest="d2")
    with pytest.raises(ValueError, match="scenes: pictures differ between classes of seed 0, L2 of seed 0"):
        results.compare(tmp_path, "classes", "L2")


# `make results`


def test_settings_are_what_is_trained_and_not_where(tmp_path):
    values = {"epochs": 4, "role": "faces", "source": "a", "faces_source": "b", "run_folder": "c", "seed": 0}
    digest = runner.settings(values)
    assert digest == runner.settings(values | {"source": "x", "faces_source": "y", "run_folder": "z", "seed": 1})
    assert len({digest, *(runner.settings(values | change) for change in ({"epochs": 5}, {"role": "flowers"}))}) == 3


def test_a_collected_run_replaces_its_role_and_seed_and_is_skipped_afterwards(tmp_path):
    place = tmp_path / "published"
    for seed in (0, 1):
        published = write(place, "renamed since", seed, [9, 9], data="faces", settings="old")
    write(tmp_path / "run" / "results", "L2", 1, [1, 2], data="faces")
    write(tmp_path / "run" / "results", "grey", results.ALL, [5, 6], data="faces")
    assert runner._there(published, "faces", 1, "s2") is None
    runner.collect(tmp_path / "run", place, "s2")
    rows = results.load_results(published)
    found = rows[["variant", "seed", "settings"]].to_numpy().tolist()
    assert sorted(found) == [["L2", 1, "s2"], ["grey", 0, "s2"], ["grey", 1, "s2"], ["renamed since", 0, "old"]]
    assert results.compare(published, "L2", "grey")["difference"].tolist() == ["-4.00 [-4.00, -4.00]"]
    assert runner._there(published, "faces", 1, "s2") == "faces (d1)"
    missing = [("faces", 1, "s3"), ("faces", 2, "s2"), ("flowers", 1, "s2"), ("faces", 0, "s2")]
    assert [runner._there(published, *run) for run in missing] == [None] * 4


def test_a_note_is_kept_beside_the_runs(tmp_path):
    table = write(tmp_path / "results", "classes", 0, [1, 2])
    before = content(table.parent)
    results.add_note(tmp_path, NAME, "curves: faces, seed 0", {"gain": [{"label": "1"}]})
    write(tmp_path / "results", "classes", 0, [1, 2])
    after = content(table.parent)
    assert json.loads(after.pop(f"{NAME}.json"))["curves: faces, seed 0"] == {"gain": [{"label": "1"}]}
    assert all(before[name] == after[name] for name in after)
