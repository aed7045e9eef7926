"""Named sets: what is downloaded is whole, goes on after a break, and is checked; what is by hand is asked for."""

import dataclasses
import hashlib
import http.server
import io
import json
import re
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from colorlib import __main__ as cli
from colorlib.data import catalog, disk, sets


def jpeg(seed):
    colors = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(colors).resize((96, 64)).save(file, "JPEG")
    return file.getvalue()


def packed(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


NOISE = np.random.default_rng(0).bytes(400_000)  # so that a part of the archive is more than one piece
ARCHIVE = packed({f"jpg/{index}.jpg": jpeg(index) for index in range(12)} | {"noise": NOISE})


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ARCHIVE, in the way that its class says."""

    how, log, pages = "well", [], {}

    def do_GET(self):
        how, total = type(self).how, len(ARCHIVE)
        self.log.append((self.path, self.headers.get("Range")))
        if self.path in self.pages:
            return self.answer(200, self.pages[self.path])
        if how in ("404", "500"):
            return self.send_error(int(how))
        if how == "redirects" and self.path == "/set.tgz":
            self.send_response(302)
            self.send_header("Location", "/elsewhere.tgz")
            return self.end_headers()
        if how == "a page":
            return self.answer(200, b"<html>Please sign in</html>")
        if how == "other bytes":
            return self.answer(200, ARCHIVE[:-9] + b"no gzip!!")
        if how == "too much":
            return self.answer(200, ARCHIVE + b"and more")
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if how == "no ranges":
            start = 0
        if start >= total:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        self.wfile.write(ARCHIVE[start:][: total // 3 if how in ("cuts off", "slow") else None])
        if how == "slow":
            time.sleep(1.5)
        return None

    def answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.how, Handler.log, Handler.pages = "well", [], {}
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


@pytest.fixture
def recipe(server, monkeypatch):
    """A recipe whose file the server has."""
    made = dataclasses.replace(
        catalog.RECIPES["oxford-flowers"], url=f"{server}/set.tgz", file="set.tgz", size=len(ARCHIVE),
        md5=hashlib.md5(ARCHIVE).hexdigest(),
    )  # fmt: skip
    monkeypatch.setitem(catalog.RECIPES, "flowers", made)
    return made


def prepare(name, folder):
    return sets.prepare(name, role="varied", folder=folder / "data" / "processed")


def raw(tmp_path):
    return {path.name for path in (tmp_path / "data" / "raw").iterdir()}


@pytest.mark.parametrize("how", ["well", "redirects", "no ranges"])
def test_a_set_is_fetched_once_and_kept(tmp_path, recipe, how):
    Handler.how = how
    folder = prepare("flowers", tmp_path)
    assert sum(sets.describe(folder)[split] for split in sets.SPLITS) == 12
    assert raw(tmp_path) == {"set.tgz"}
    asked = len(Handler.log)
    assert prepare("flowers", tmp_path) == folder and len(Handler.log) == asked


@pytest.mark.parametrize("then", ["well", "no ranges"])
def test_a_download_goes_on_where_it_broke_off(tmp_path, recipe, then):
    Handler.how = "cuts off"
    with pytest.raises(sets.SourceError, match=r"flowers: cannot download .*broke off after .* of .* bytes.*try again"):
        catalog.fetch("flowers", tmp_path)
    third = (tmp_path / "set.tgz.part").stat().st_size
    assert 0 <= len(ARCHIVE) // 3 - third < 2**16  # the last piece was not whole
    Handler.how = then
    assert catalog.fetch("flowers", tmp_path).read_bytes() == ARCHIVE
    assert Handler.log[-1] == ("/set.tgz", f"bytes={third}-")
    assert [path.name for path in tmp_path.iterdir()] == ["set.tgz"]


def test_a_server_that_falls_silent_is_not_waited_for(tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(disk, "TIMEOUT", 0.3)
    Handler.how, begun = "slow", time.monotonic()
    with pytest.raises(sets.SourceError, match="flowers: cannot download .*timed out.*try again"):
        catalog.fetch("flowers", tmp_path)
    assert time.monotonic() - begun < 1.4


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("404", "404 Client Error"),
        ("a page", "the server offers 27 bytes, not the"),
        ("other bytes", "what was sent has the md5 .* it is another file, or damaged"),
        ("too much", "the server offers .* bytes, not the"),
    ],
)
def test_what_is_sent_in_its_place_is_refused(tmp_path, recipe, how, why):
    Handler.how = how
    with pytest.raises(sets.SourceError, match=f"flowers: cannot download .*{why}.*md5 {recipe.md5}"):
        catalog.fetch("flowers", tmp_path)
    assert not (tmp_path / "set.tgz").exists()
    Handler.how = "well"
    assert catalog.fetch("flowers", tmp_path).read_bytes() == ARCHIVE


def test_a_part_that_is_whole_is_only_checked(tmp_path, recipe):
    (tmp_path / "set.tgz.part").write_bytes(ARCHIVE)
    assert catalog.fetch("flowers", tmp_path).read_bytes() == ARCHIVE
    (tmp_path / "set.tgz").write_bytes(ARCHIVE[:-1])
    with pytest.raises(sets.SourceError, match="is another file, of .* bytes: remove it"):
        catalog.fetch("flowers", tmp_path)


def test_a_named_set_without_checksum_is_made_again_where_its_file_changed(tmp_path, monkeypatch):
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    for count in (4, 6):
        with zipfile.ZipFile(raw / "ncd.zip", "w") as archive:
            for number in range(count):
                archive.writestr(f"{number}.jpg", jpeg(number))
        folder = prepare("ncd", tmp_path)
        assert sum(sets.describe(folder)[split] for split in sets.SPLITS) == count


def test_a_part_that_is_longer_than_the_file_is_begun_anew(tmp_path, recipe):
    (tmp_path / "set.tgz.part").write_bytes(ARCHIVE + b"x")
    assert catalog.fetch("flowers", tmp_path).read_bytes() == ARCHIVE


def test_where_no_checksum_is_known_the_first_download_is_written_down(tmp_path, recipe, monkeypatch):
    monkeypatch.setitem(catalog.RECIPES, "flowers", dataclasses.replace(recipe, md5="", size=None))
    path = catalog.fetch("flowers", tmp_path)
    assert (tmp_path / "set.tgz.md5").read_text() == f"{recipe.md5}\n"
    path.write_bytes(ARCHIVE[:-1])
    with pytest.raises(sets.SourceError, match="is another file, of md5 .*: remove it"):
        catalog.fetch("flowers", tmp_path)


def test_offline_says_where_to_put_the_file(tmp_path, recipe, monkeypatch):
    monkeypatch.setitem(catalog.RECIPES, "flowers", dataclasses.replace(recipe, url="http://127.0.0.1:1/set.tgz"))
    with pytest.raises(sets.SourceError, match=rf"flowers: cannot download .*refused.*put .* at {tmp_path}/set\.tgz"):
        catalog.fetch("flowers", tmp_path)
    (tmp_path / "set.tgz").write_bytes(ARCHIVE)
    assert catalog.fetch("flowers", tmp_path) == tmp_path / "set.tgz"


def test_a_disk_without_room_is_told_before_the_download(tmp_path, recipe, monkeypatch):
    monkeypatch.setitem(catalog.RECIPES, "flowers", dataclasses.replace(recipe, size=10**15))
    with pytest.raises(sets.SourceError, match=r"flowers take 1000000\.0 GB, and .* GB are free"):
        catalog.fetch("flowers", tmp_path)
    assert not Handler.log


def test_what_needs_an_account_is_asked_for_and_then_checked(tmp_path, monkeypatch):
    with pytest.raises(sets.SourceError, match=rf"celeba cannot be .*: get img_align.*put it at {tmp_path}/img_align"):
        catalog.fetch("celeba", tmp_path)
    put = tmp_path / "img_align_celeba.zip"
    put.write_bytes(ARCHIVE)
    with pytest.raises(sets.SourceError, match=r"is not the file that was .*not 1,443,490,838.*: get it again"):
        catalog.fetch("celeba", tmp_path)
    fits = dataclasses.replace(catalog.RECIPES["celeba"], size=len(ARCHIVE), md5=hashlib.md5(ARCHIVE).hexdigest())
    monkeypatch.setitem(catalog.RECIPES, "celeba", fits)
    assert catalog.fetch("celeba", tmp_path) == put


def test_of_a_recipe_only_its_pictures_are_taken(tmp_path, recipe, monkeypatch):
    monkeypatch.setitem(catalog.RECIPES, "flowers", dataclasses.replace(recipe, keep="*/1*.jpg"))
    folder = prepare("flowers", tmp_path)
    assert sum(sets.describe(folder)[split] for split in sets.SPLITS) == 3


def test_a_collection_of_the_library_is_fetched_picture_by_picture(tmp_path, server, monkeypatch, capsys):
    made = dataclasses.replace(catalog.RECIPES["prokudin-gorskii"], url=f"{server}/prokudin/")
    monkeypatch.setitem(catalog.RECIPES, "prokudin-gorskii", made)
    for page, numbers in ((1, (0, 1)), (2, (2, 3))):
        items = [
            {"id": f"http://library/item/{n}/", "image_url": [f"{server}/{n}-small.jpg", f"{server}/{n}.jpg#h=1024"]}
            for n in numbers
        ]
        items.append({"id": "http://library/item/text/"})
        answer = {"results": items, "pagination": {"next": "more" if page == 1 else None}}
        Handler.pages[f"/prokudin/?fo=json&c=100&sp={page}"] = json.dumps(answer).encode()
    Handler.pages |= {f"/{number}.jpg": jpeg(number) for number in range(3)}
    Handler.how = "500"
    with pytest.raises(sets.SourceError, match="prokudin-gorskii: cannot download .*500"):
        catalog.fetch("prokudin-gorskii", tmp_path)
    Handler.how = "404"
    catalog.fetch("prokudin-gorskii", tmp_path)
    assert "1 left out: 1 x listed, but not there any more (3)" in capsys.readouterr().err
    Handler.pages["/3.jpg"] = jpeg(3)
    asked = len(Handler.log)
    folder = catalog.fetch("prokudin-gorskii", tmp_path)
    assert [path for path, _ in Handler.log[asked:]] == ["/3.jpg"], "what is there is not fetched again"
    assert sorted(path.name for path in folder.glob("*.jpg")) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_every_recipe_says_what_people_need():
    for name, recipe in catalog.RECIPES.items():
        assert recipe.role in sets.ROLES and recipe.terms and recipe.what, name
        assert re.match("https?://", recipe.page) and bool(recipe.url) != bool(recipe.by_hand), name
        assert not recipe.md5 or re.fullmatch("[0-9a-f]{32}", recipe.md5), name


def test_the_command_line_lists_them(capsys):
    assert cli.main(["data", "--list"]) == 0
    out = capsys.readouterr().out
    for name in ("scenes", "oxford-flowers", "celeba", "voxceleb2", "fsa-color"):
        assert re.search(rf"^{name} +", out, re.MULTILINE)
    assert "345 MB" in out and "by hand" in out
