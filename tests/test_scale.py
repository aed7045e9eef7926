"""Apache Beam makes the same set as one process, in shards; `make test-scale` installs it."""

import csv
import errno
import io
import json
import os
from unittest import mock

import av
import numpy as np
import pytest
from PIL import Image

beam = pytest.importorskip("apache_beam")

from colorlib import __main__ as cli  # noqa: E402
from colorlib.data import cleaning, files, pipeline, scale, sets, sources  # noqa: E402

TWO_WORKERS = ["--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
ONE = ["--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]  # for faults set here


def jpeg(seed):
    colors = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(colors).resize((64, 48), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def folder_of_pictures(folder, count):
    """Pictures in folders of classes; each 50th is broken, each 49th a copy of the one before it."""
    for index in range(count):
        path = folder / f"class{index % 7}" / f"{index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = jpeg(index - (index % 49 == 48))
        path.write_bytes(content[:200] if index % 50 == 49 else content)
    (folder / "class0" / "notes.pdf").write_bytes(b"%PDF-1.7")
    return folder


def folder_of_films(folder, count):
    """Films of three shots each, of count / 2 speakers; each tenth is cut off."""
    for index in range(count):
        path = folder / f"id{index // 2}" / f"{index}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shots = np.random.default_rng(index).integers(0, 256, (3, 6, 8, 3), np.uint8)
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(30):
                picture = np.kron(shots[number // 10], np.ones((8, 8, 1), np.uint8))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            container.mux(stream.encode())
        if index % 10 == 9:
            path.write_bytes(path.read_bytes()[:2000])
    return folder


def table(folder, name):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def records(folder):
    """{file: (jpeg, group, split, chroma, shard)} of all shards."""
    import tensorflow as tf

    found = {}
    for path in sorted((folder / "shards").glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            texts = {name: feature[name].bytes_list.value[0] for name in ("file", "jpeg", "group", "split")}
            chroma = feature["chroma"].float_list.value[0]
            found[texts["file"].decode()] = (
                texts["jpeg"], texts["group"].decode(), texts["split"].decode(), chroma, path.name,
            )  # fmt: skip
    return found


def prepared(source, folder, **options):
    """The folder of shards; checks what is said of it."""
    counts = scale.prepare(source, folder, **options)
    assert counts == {split: sets.describe(folder)[split] for split in sets.SPLITS} | {
        "rejects": len(sets.rejects(folder))
    }
    return folder


def check_same(sharded, plain, shards):
    for name in ("manifest.csv", "rejects.csv", "pictures.csv", "hashes.npy"):
        assert (sharded / name).read_bytes() == (plain / name).read_bytes(), name
    assert sets.describe(sharded)["digest"] == sets.describe(plain)["digest"]
    found, about = records(sharded), {row["file"]: row for row in table(plain, "pictures.csv")}
    splits = {row["split"] for row in table(plain, "manifest.csv")}
    listed = {path.name: path.parent for split in splits for path in sets.paths(sharded, split)}
    for row in table(plain, "manifest.csv"):
        jpeg, group, split, chroma, shard = found.pop(row["file"])
        assert jpeg == (plain / row["file"]).read_bytes()
        assert (group, split) == (row["group"], row["split"])
        assert chroma == pytest.approx(float(about[row["file"]]["chroma"]))
        assert sharded / "shards" / shard == listed[row["file"].rpartition("/")[2]]
    assert not found
    parts = [table(sharded, f"shards/manifest-{number:05d}-of-{shards:05d}.csv") for number in range(shards)]
    assert sorted(sum(parts, []), key=lambda row: row["file"]) == table(plain, "manifest.csv")


def test_two_workers_make_of_2000_pictures_what_one_process_makes(tmp_path):
    source = folder_of_pictures(tmp_path / "in", 2000)
    plain = sets.prepare(source, role="varied", folder=tmp_path / "processed")
    sharded = prepared(source, tmp_path / "out", shards=5, options=TWO_WORKERS)
    assert len(sets.rejects(plain)) == 41 and len(table(plain, "manifest.csv")) == 1960
    check_same(sharded, plain, 5)


def test_two_workers_make_of_40_films_what_one_process_makes(tmp_path):
    source = folder_of_films(tmp_path / "in", 40)
    plain = sets.prepare(source, role="faces", folder=tmp_path / "processed")
    sharded = prepared(source, tmp_path / "out", shards=3, options=TWO_WORKERS)
    assert len(table(plain, "manifest.csv")) == 3 * 36 and len(sets.rejects(plain)) == 4
    check_same(sharded, plain, 3)
    of_speaker = {row["group"]: row["split"] for row in table(sharded, "manifest.csv")}
    assert set(of_speaker) == {f"id{number}" for number in range(20)}


def test_a_pattern_of_files_is_a_source(tmp_path):
    source = folder_of_pictures(tmp_path / "in", 60)
    plain = sets.prepare(source, role="varied", folder=tmp_path / "processed")
    sharded = prepared(f"{source}/**", tmp_path / "out", shards=2, options=ONE)
    check_same(sharded, plain, 2)
    with pytest.raises(sets.SourceError, match="no pictures or videos match it"):
        scale.prepare(f"{source}/**.mp4", tmp_path / "none", shards=2, options=ONE)


def test_a_run_that_was_stopped_goes_on_and_a_second_one_does_only_what_is_new(tmp_path, monkeypatch):
    source = folder_of_pictures(tmp_path / "in", 120)
    real, cleaned = cleaning.clean, []

    def clean(name, *arguments):
        if len(cleaned) == 70:
            raise KeyboardInterrupt
        cleaned.append(name)
        return real(name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "clean", clean)
        with pytest.raises(BaseException, match=".*"):
            scale.prepare(source, tmp_path / "out", shards=6, options=ONE)
    assert not (tmp_path / "out" / "set.json").exists()
    whole = {path.name for path in (tmp_path / "out" / "work").glob("cleaned-*.jsonl")}
    assert 0 < len(whole) < 6
    again = []
    monkeypatch.setattr(cleaning, "clean", lambda name, *arguments: again.append(name) or real(name, *arguments))
    sharded = prepared(source, tmp_path / "out", shards=6, options=ONE)
    assert {sets.shard_of(name, 6) for name in again} == set(range(6)) - {int(name.split("-")[1]) for name in whole}
    again.clear()
    (source / "class1" / "new.jpg").write_bytes(jpeg(999))
    scale.prepare(source, tmp_path / "out", shards=6, options=ONE)
    assert {sets.shard_of(name, 6) for name in again} == {sets.shard_of("class1/new.jpg", 6)}
    check_same(sharded, sets.prepare(source, role="varied", folder=tmp_path / "processed"), 6)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_another_number_of_shards_leaves_none_of_the_old(tmp_path):
    source = folder_of_pictures(tmp_path / "in", 40)
    (tmp_path / "out" / "shards").mkdir(parents=True)
    (tmp_path / "out" / "shards" / "mine.txt").write_text("not of the project's making")
    for shards in (3, 2):
        sharded = prepared(source, tmp_path / "out", shards=shards, options=ONE)
    assert len(list((sharded / "shards").iterdir())) == 2 * 4 + 1 and (sharded / "shards" / "mine.txt").exists()
    check_same(sharded, sets.prepare(source, role="varied", folder=tmp_path / "processed"), 2)


def test_errors_name_what_and_where(tmp_path):
    for source, why in [("nowhere", "no such folder"), ("in.tar", "unpack it"), ("empty", "no pictures in it")]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "in.tar").write_bytes(b"no tar" * 100)
        with pytest.raises(sets.SourceError, match=why):
            scale.prepare(tmp_path / source, tmp_path / "out", shards=2, options=ONE)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"x")
    with pytest.raises(sets.SourceError, match="none of its pictures is usable"):
        scale.prepare(tmp_path / "bad", tmp_path / "out", shards=2, options=ONE)
    for source in ("scenes", "tfds:flowers", "coco-val2017"):
        with pytest.raises(sets.SourceError, match=f"{source}: shards are made of folders and of patterns"):
            scale.prepare(source, tmp_path / "out", shards=2, options=ONE)
    with pytest.raises(sets.SourceError, match="a number of frames takes a folder"):
        scale.prepare(f"{tmp_path}/*.mp4", tmp_path / "x", shards=2, frames=sources.Frames(number=3), options=ONE)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("mine")
    with pytest.raises(sets.SourceError, match="it holds chapter1.tex, which is not of a set in shards"):
        scale.prepare(tmp_path / "bad", tmp_path / "thesis", shards=2, options=ONE)
    with pytest.raises(ValueError, match="it takes at least 1"):
        scale.prepare(tmp_path / "bad", tmp_path / "out", shards=0)


@pytest.fixture
def both(tmp_path):
    """The same pictures as a plain folder and in shards."""
    source = folder_of_pictures(tmp_path / "in", 200)
    plain = sets.prepare(source, role="varied", folder=tmp_path / "processed")
    return plain, prepared(source, tmp_path / "out", shards=4, options=ONE)


@pytest.mark.parametrize("cached", [False, True])
def test_training_sees_the_same_batches_from_shards(both, tmp_path, cached):
    batches = []
    for folder in both:
        paths = sets.paths(folder, "train")
        cache = tmp_path / "cache" / folder.name if cached else None
        lab = pipeline.load(paths, 32, cache=cache)
        drawn = pipeline.batches(lab, batch_size=8, training=True, seed=3, first_epoch=2)
        batches.append([np.concatenate(each, -1) for each in drawn.take(5).as_numpy_iterator()])
        np.testing.assert_array_equal(pipeline.pictures(paths[5:9], 32), pipeline.pictures(paths, 32)[5:9])
    np.testing.assert_array_equal(batches[0], batches[1])


def test_a_part_of_a_set_in_shards_is_a_set(both, tmp_path):
    plain, sharded = both
    folder = tmp_path / "processed"
    assert sets.prepare(sharded, role="varied", folder=folder) == sharded
    some = sets.prepare(sharded, role="varied", limit=50, folder=folder)
    assert len(table(some, "manifest.csv")) + len(table(some, "rejects.csv")) - 1 == 50
    np.testing.assert_array_equal(
        pipeline.pictures(sets.paths(some, "train"), 32),
        pipeline.pictures([plain / "pictures" / path.name for path in sets.paths(some, "train")], 32),
    )


def test_a_full_disk_is_told_and_the_next_run_goes_on(tmp_path, monkeypatch):
    source = folder_of_films(tmp_path / "in", 4)
    with monkeypatch.context() as patch:
        patch.setattr(files, "encode", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(sets.SourceError, match="Beam stopped .*No space left.*; run again, it goes on"):
            scale.prepare(source, tmp_path / "out", shards=2, options=ONE)
    sharded = prepared(source, tmp_path / "out", shards=2, options=ONE)
    check_same(sharded, sets.prepare(source, role="faces", folder=tmp_path / "processed"), 2)


def test_rules_for_shards_that_are_made_are_refused(both, tmp_path):
    with pytest.raises(sets.SourceError, match="its shards are made already"):
        sets.prepare(both[1], role="varied", rules=cleaning.Rules(square=True), folder=tmp_path / "processed")


def test_hosts_share_the_shards_among_them(both):
    _, sharded = both
    whole = sets.paths(sharded, "train")
    parts = [sets.paths(sharded, "train", part=(host, 3)) for host in range(3)]
    assert sorted(sum(parts, [])) == sorted(whole)
    assert [{path.parent.name[9:14] for path in part} for part in parts] == [
        {"00000", "00003"}, {"00001"}, {"00002"},
    ]  # fmt: skip


def test_a_shard_that_is_cut_or_gone_is_told(both, tmp_path):
    _, sharded = both
    shard = sorted((sharded / "shards").glob("*.tfrecord"))[2]
    os.truncate(shard, 1000)
    with pytest.raises(ValueError, match=f"{shard.name}.*: damaged"):
        pipeline.load(sets.paths(sharded, "train"), 32)
    with pytest.raises(sets.SourceError, match="not whole any more"):
        sets.prepare(sharded, role="varied", folder=tmp_path / "processed")
    shard.unlink()
    with pytest.raises(ValueError, match=f"{shard.name}.*: no such"):
        pipeline.load(sets.paths(sharded, "train"), 32)


def test_the_options_of_beam_pass_through(monkeypatch):
    made = scale._options(["--runner=FlinkRunner", "--flink_master=host:8081"]).get_all_options()
    assert made["runner"] == "FlinkRunner" and made["flink_master"] == "host:8081"
    made = scale._options([]).get_all_options()
    assert (made["runner"], made["direct_running_mode"]) == ("DirectRunner", "multi_processing")
    assert made["direct_num_workers"] == os.cpu_count()


def test_set_json_says_what_is_there(both):
    _, sharded = both
    about = json.loads((sharded / "set.json").read_bytes())
    assert about["shards"] == 4 and about["pictures"] == len(table(sharded, "manifest.csv"))


def test_the_command_line_writes_shards_and_passes_beams_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder_of_pictures(tmp_path / "in", 60)
    assert cli.main(["data", "in", "--shards", "2", "--square", *ONE]) == 1
    out, error = capsys.readouterr()
    assert out.startswith("59 pictures (") and "data/processed/in-shards-" in out and "1 x document" in error
    folder = tmp_path / out.splitlines()[-1]
    assert {(row["width"], row["height"]) for row in table(folder, "manifest.csv")} == {("48", "48")}
    assert cli.main(["data", "in/*.jpg", "--shards", "2"]) == 2 and "needs --out" in capsys.readouterr().err
    assert cli.main(["data", "in", "--shards", "2", "--limit", "5"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["data", "in", "--runner=DirectRunner"])
