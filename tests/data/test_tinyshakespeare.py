"""One published file: a real server, and everything that can be wrong with a download."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from project.data.download import Download, fetch
from project.data.published import TINY_SHAKESPEARE
from project.data.tinyshakespeare import TinyShakespeare
from project.errors import UserError
from tests.data.conftest import Server

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n" * 20
CLOSED = "http://127.0.0.1:9"  # a port that nobody listens on stands for the absent network


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Download:
    """The class speaks of a small file, and the server has it."""
    (server.folder / "input.txt").write_text(TEXT)
    digest = f"sha256:{hashlib.sha256(TEXT.encode()).hexdigest()}"
    source = replace(TINY_SHAKESPEARE, url=f"{server.url}/input.txt", digest=digest)
    monkeypatch.setattr(TinyShakespeare, "source", source)
    return source


def provided(root: Path) -> TinyShakespeare:
    module = TinyShakespeare(str(root), cache_folder=str(root / "cache"), batch_size=4, truncate=8)
    module.prepare_data()
    module.setup()
    return module


def left_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def in_a_process(source: Download, root: Path) -> "subprocess.Popen[bytes]":
    code = f"""
from pathlib import Path
from project.data.download import Download
Download(**{asdict(source)!r}).provide(Path({str(root)!r}))
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


def test_downloads_once(server: Server, published: Download, tmp_path: Path) -> None:
    root = tmp_path / "data"
    module = provided(root)
    assert module.counts == {"train": int(len(TEXT) * 0.9), "val": len(TEXT) - int(len(TEXT) * 0.9), "test": 0}
    assert module.sizes == {"vocab_size": len(set(TEXT)) + 1, "token": "character"}
    [(inputs, targets), *_] = module.train_dataloader()
    assert module.vocabulary.decode(inputs[:, 0].tolist()) == "First Ci"
    assert module.vocabulary.decode(targets[:, 0].tolist()) == "irst Cit"
    assert (root / "tinyshakespeare" / "input.txt").read_text() == TEXT
    provided(root)
    assert server.asked == ["/input.txt"]


def test_a_file_that_lies_there_is_verified_and_only_read(published: Download, tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "data" / "tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / "input.txt").write_text(TEXT)
    published.provide(tmp_path / "data")
    assert server.asked == []
    assert [path.name for path in folder.iterdir()] == ["input.txt"]  # no lock either: it may be read-only
    (folder / "input.txt").write_text(TEXT[:-1])
    with pytest.raises(UserError, match=rf"{folder}/input.txt is truncated or altered: its sha256 is .*\nReplace it"):
        provided(tmp_path / "data")
    assert (folder / "input.txt").read_text() == TEXT[:-1]
    assert server.asked == []


def test_processes_that_start_together_download_once(published: Download, server: Server, tmp_path: Path) -> None:
    processes = [in_a_process(published, tmp_path / "data") for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert server.asked == ["/input.txt"]
    assert left_in(tmp_path / "data") == ["tinyshakespeare/input.txt"]


def test_a_killed_download_leaves_nothing_that_hurts(published: Download, server: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    server.flowing.clear()
    process = in_a_process(published, root)
    deadline = time.monotonic() + 30
    while not list(root.glob("*/.*.partial/input.txt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    assert list(root.glob("*/.*.partial/input.txt"))
    assert not (root / "tinyshakespeare" / "input.txt").exists()
    server.flowing.set()
    published.provide(root)
    assert left_in(root) == ["tinyshakespeare/input.txt"]


@pytest.mark.parametrize("content", [None, "<html>Please log in to this network.</html>", TEXT[:-1]])
def test_what_is_not_the_file_is_not_kept(
    published: Download, server: Server, tmp_path: Path, content: str | None
) -> None:
    served = server.folder / "input.txt"
    served.unlink() if content is None else served.write_text(content)
    with pytest.raises(UserError) as caught:
        provided(tmp_path / "data")
    folder = tmp_path / "data" / "tinyshakespeare"
    remedy = f"Put the file at {folder / 'input.txt'}, or say where it is with data.root=..."
    if content is None:
        expected = f"Tiny Shakespeare is not in {folder}, and {published.url} cannot be downloaded: HTTP Error 404: "
        assert str(caught.value) == f"{expected}File not found.\n{remedy}"
    else:
        actual = hashlib.sha256(content.encode()).hexdigest()
        expected = f"What {published.url} sent is not Tiny Shakespeare: its sha256 is {actual}, expected "
        assert str(caught.value) == f"{expected}{published.digest[7:]}. Nothing was kept.\nRun again. {remedy}"
    assert left_in(tmp_path / "data") == []


@pytest.fixture
def breaking() -> Iterator[int]:
    """A port whose server announces 1,000 bytes, sends 400 and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(4096):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 400)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_breaks(breaking: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{breaking}/input.txt"
    with pytest.raises(UserError, match=rf"{url} cannot be downloaded: it ended after 400 of 1,000 bytes.\nTry later."):
        fetch(url, tmp_path / "data" / "input.txt", "md5:0", "Tiny Shakespeare", "Try later.")
    assert left_in(tmp_path / "data") == []


def test_no_network_is_said_at_once(published: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyShakespeare, "source", replace(published, url=f"{CLOSED}/input.txt"))
    began = time.monotonic()
    with pytest.raises(UserError, match=rf"Tiny Shakespeare is not in {tmp_path}/data/tinyshakespeare, and {CLOSED}/"):
        provided(tmp_path / "data")
    assert time.monotonic() - began < 1.5
    assert not (tmp_path / "data").exists()


def test_no_place_to_write(published: Download, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Tiny Shakespeare cannot be written to .*/file/data.*\n.*data.root="):
        provided(tmp_path / "file" / "data")


def test_md5_will_do_as_well(published: Download, tmp_path: Path) -> None:
    digest = f"md5:{hashlib.md5(TEXT.encode()).hexdigest()}"
    for _ in range(2):
        fetch(published.url, tmp_path / "input.txt", digest, "Tiny Shakespeare", "")
    with pytest.raises(UserError, match=r"input.txt is truncated or altered: its md5 is .*, expected 0"):
        fetch(published.url, tmp_path / "input.txt", "md5:0", "Tiny Shakespeare", "")


def test_the_network_is_asked_for_before_torch_is_imported(tmp_path: Path) -> None:
    code = """
import sys
from project.data.published import check_reach
from project.errors import UserError
try:
    check_reach("project.data.tinyshakespeare.TinyShakespeare", "data")
except UserError as error:
    print(error)
print("torch" in sys.modules)
"""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "https_proxy": CLOSED, "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"Tiny Shakespeare is not in {tmp_path}/data/tinyshakespeare, and https://raw.github")
    assert f"Put the file at {tmp_path}/data/tinyshakespeare/input.txt" in lines[1]
    assert lines[2] == "False"
    assert not list(tmp_path.iterdir())


def test_a_text_of_the_same_name_elsewhere_is_no_obstacle(published: Download, tmp_path: Path) -> None:
    provided(tmp_path / "first")
    shutil.copytree(tmp_path / "first" / "tinyshakespeare", tmp_path / "second" / "tinyshakespeare")
    assert provided(tmp_path / "second").counts == provided(tmp_path / "first").counts
