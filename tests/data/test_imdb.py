"""Where IMDB comes from: a real server, and an archive in the real one's layout."""

import hashlib
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from project.data import published
from project.data.imdb import Imdb
from project.data.published import IMDB
from project.errors import UserError
from tests.data.conftest import Server
from tests.data.sentence_sets import make_imdb


@pytest.fixture
def imdb(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server has a small archive, and the data set knows it."""
    folder = make_imdb(tmp_path / "made")
    (folder / "train" / "pos" / "0_0.txt").write_text("Très good.<br /><br />Really", encoding="utf-8")
    path = server.folder / IMDB.filename
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(folder, "aclImdb")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(Imdb, "archive", replace(IMDB, url=f"{server.url}/{IMDB.filename}", md5=md5))
    return server


def provided(root: Path) -> Imdb:
    module = Imdb(str(root), min_count=1)
    module.prepare_data()
    module.setup()
    return module


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.suffix != ".lock")


def test_downloads_once_what_it_needs(imdb: Server, tmp_path: Path) -> None:
    module = provided(tmp_path / "data")
    assert module.classes == ["neg", "pos"]
    assert module.counts == {"train": 54, "val": 6, "test": 60}
    assert left_in(tmp_path / "data") == ["aclImdb"]
    kept = {str(path.parent.relative_to(tmp_path / "data")) for path in (tmp_path / "data").rglob("*.txt")}
    assert kept == {"aclImdb/train/neg", "aclImdb/train/pos", "aclImdb/test/neg", "aclImdb/test/pos"}
    provided(tmp_path / "data")
    assert imdb.asked == ["/aclImdb_v1.tar.gz"]


def test_line_breaks_of_web_pages_are_spaces(imdb: Server, tmp_path: Path) -> None:
    module = provided(tmp_path)
    assert {"très", "good", "really"} <= set(module.vocabulary.tokens)
    assert not {"br", "<", ">"} & set(module.vocabulary.tokens)


def test_an_archive_that_lies_there_is_used_and_kept(imdb: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    shutil.copy(imdb.folder / IMDB.filename, root)
    provided(root)
    assert imdb.asked == []
    assert left_in(root) == ["aclImdb", "aclImdb_v1.tar.gz"]


def test_an_unpacked_folder_is_only_read(imdb: Server, tmp_path: Path) -> None:
    root = tmp_path / "made"
    before = sorted(root.rglob("*"))
    assert provided(root).counts == {"train": 54, "val": 6, "test": 60}  # train/unsup has no classes
    assert sorted(root.rglob("*")) == before
    assert imdb.asked == []


def test_missing_folders_are_filled_in(imdb: Server, tmp_path: Path) -> None:
    provided(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "aclImdb" / "test")
    assert provided(tmp_path / "data").counts["test"] == 60
    assert len(imdb.asked) == 2


def test_what_is_not_the_archive_is_not_kept(imdb: Server, tmp_path: Path) -> None:
    (imdb.folder / IMDB.filename).write_bytes(b"<html>Please log in to this network.</html>")
    with pytest.raises(UserError, match=r"is not IMDB: its md5 is .* Nothing was kept"):
        provided(tmp_path / "data")
    assert left_in(tmp_path / "data") == []


def test_no_network_is_told_before_anything_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = replace(IMDB, url="http://127.0.0.1:9/aclImdb_v1.tar.gz")  # a port that nobody listens on
    monkeypatch.setitem(published._FILES, "project.data.imdb.Imdb", [closed])
    with pytest.raises(UserError) as caught:
        published.check_reach("project.data.imdb.Imdb", str(tmp_path))
    assert str(caught.value).startswith(f"IMDB is not in {tmp_path}, and http://127.0.0.1:9/aclImdb_v1.tar.gz cannot")
    assert "train on data=opinions, which needs no file" in str(caught.value)
    assert not list(tmp_path.iterdir())
    make_imdb(tmp_path)
    published.check_reach("project.data.imdb.Imdb", str(tmp_path))
