"""Where CIFAR comes from: a real server, real archives, and everything that can be wrong with them."""

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from project.data.archive import Archive
from project.data.cifar import Cifar10, Cifar100
from project.errors import UserError
from tests.data.conftest import Server


def provided(root: Path) -> Cifar10:
    module = Cifar10(str(root))
    module.prepare_data()
    module.setup()
    return module


def in_a_process(archive: Archive, root: Path) -> "subprocess.Popen[bytes]":
    code = f"""
from pathlib import Path
from project.data.archive import Archive
Archive(**{asdict(archive)!r}).provide(Path({str(root)!r}))
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.suffix != ".lock")


def test_downloads_once(cifar: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    module = provided(root)
    assert module.classes == [f"class {i}" for i in range(10)]
    assert module.counts == {"train": 180, "val": 20, "test": 40}
    assert left_in(root) == ["cifar-10-batches-py"]
    provided(root)
    assert cifar.asked == ["/cifar-10-python.tar.gz"]


def test_images_and_labels_are_those_of_the_files(cifar: Server, tmp_path: Path) -> None:
    test = provided(tmp_path).splits["test"]
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes())
    assert test.images.shape == (40, 32, 32, 3)
    for channel in range(3):
        assert test.images[7, 3, 5, channel] == raw["data"][7, 1024 * channel + 32 * 3 + 5]
    assert test.labels.tolist() == raw["labels"]


def test_mean_and_std_are_those_of_the_training_images(cifar: Server, tmp_path: Path) -> None:
    module = provided(tmp_path)
    train = module.splits["train"]
    pixels = train.images[train.rows].reshape(-1, 3) / 255
    np.testing.assert_allclose(module.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(module.std, pixels.std(0), rtol=1e-12)


def test_cifar100_has_its_own_place(cifar: Server, tmp_path: Path) -> None:
    module = Cifar100(str(tmp_path), val_fraction=0.25)
    module.setup()
    assert module.sizes == {"num_classes": 100, "image_shape": [3, 32, 32]}
    assert left_in(tmp_path) == ["cifar-100-python", "served"]


def test_processes_that_start_together_download_once(cifar: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    processes = [in_a_process(Cifar10().archive, root) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert cifar.asked == ["/cifar-10-python.tar.gz"]
    assert left_in(root) == ["cifar-10-batches-py"]


def test_a_killed_download_leaves_nothing_that_hurts(cifar: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    cifar.flowing.clear()
    process = in_a_process(Cifar10().archive, root)
    deadline = time.monotonic() + 30
    while not list(root.glob(".*.partial/*.gz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert list(root.glob(".*.partial"))
    assert not (root / "cifar-10-batches-py").exists()
    cifar.flowing.set()
    provided(root)
    assert left_in(root) == ["cifar-10-batches-py"]


def test_an_archive_that_lies_there_is_used(cifar: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    shutil.copy(cifar.folder / CIFAR10.filename, root)
    provided(root)
    assert cifar.asked == []
    assert left_in(root) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_complete_data_are_only_read(cifar: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    provided(tmp_path / "first")
    root.mkdir()
    shutil.copytree(tmp_path / "first" / "cifar-10-batches-py", root / "cifar-10-batches-py")
    provided(root)
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]  # no lock either: it may be read-only


def test_missing_files_are_filled_in(cifar: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    provided(root)
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    assert provided(root).counts["train"] == 180
    assert len(cifar.asked) == 2


def test_a_truncated_archive_is_refused_and_kept(cifar: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    content = (cifar.folder / CIFAR10.filename).read_bytes()[:-100]
    (root / CIFAR10.filename).write_bytes(content)
    with pytest.raises(UserError) as caught:
        provided(root)
    assert str(root / CIFAR10.filename) in str(caught.value)
    assert f"expected {CIFAR10.tgz_md5}" in str(caught.value)
    assert (root / CIFAR10.filename).read_bytes() == content
    assert left_in(root) == [CIFAR10.filename]
    assert cifar.asked == []


def test_an_altered_file_is_refused_before_it_is_unpickled(cifar: Server, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    provided(tmp_path)
    altered = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    altered.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(
        UserError, match=f"{altered} is damaged or altered: its md5 is .*, expected {CIFAR10.train_list[1][1]}"
    ):
        provided(tmp_path)
    assert altered.exists()
    assert not (tmp_path / "harm").exists()


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that lets every new connection wait, as a network does that swallows packets."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]
        for client in clients:
            client.close()


def test_no_network_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: int) -> None:
    for url, reason in (
        ("http://127.0.0.1:9/cifar.tar.gz", "refused"),
        ("http://no-such-host.invalid/cifar.tar.gz", ""),
        (f"http://127.0.0.1:{deaf}/cifar.tar.gz", "timed out|no answer from 127.0.0.1 within 1.5 s"),
    ):
        monkeypatch.setattr(CIFAR10, "url", url)
        with pytest.raises(UserError, match=f"(?s)CIFAR-10 is not in {tmp_path}, and {url}.*({reason})") as caught:
            Cifar10(str(tmp_path)).prepare_data()
        for remedy in (str(tmp_path / "cifar-10-python.tar.gz"), "data.root=", "data=shapes"):
            assert remedy in str(caught.value)
        assert left_in(tmp_path) == []


def test_a_name_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR10, "url", "http://slow.invalid/cifar.tar.gz")
    released = threading.Event()

    def silence(*_: object, **__: object) -> None:  # a real one cannot be had here
        released.wait(5)
        raise socket.gaierror("silence")

    monkeypatch.setattr(socket, "getaddrinfo", silence)
    with pytest.raises(UserError, match=r"no answer from slow.invalid within 1.5 s"):
        Cifar10(str(tmp_path)).prepare_data()
    released.set()


def test_a_proxy_is_used(cifar: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = cifar.folder / "http:" / "far.invalid"
    behind.mkdir(parents=True)
    shutil.copy(cifar.folder / CIFAR10.filename, behind)
    monkeypatch.setattr(CIFAR10, "url", f"http://far.invalid/{CIFAR10.filename}")
    monkeypatch.setenv("http_proxy", cifar.url)
    provided(tmp_path / "data")
    assert cifar.asked == [CIFAR10.url]


@pytest.mark.parametrize("content", [None, b"<html>Please log in to this network.</html>"])
def test_what_is_not_the_archive_is_not_kept(cifar: Server, tmp_path: Path, content: bytes | None) -> None:
    served = cifar.folder / CIFAR10.filename
    served.unlink() if content is None else served.write_bytes(content)
    with pytest.raises(
        UserError, match="HTTP Error 404" if content is None else f"its md5 is .*, expected {CIFAR10.tgz_md5}"
    ):
        provided(tmp_path / "data")
    assert left_in(tmp_path / "data") == []


def test_no_place_to_write(cifar: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"CIFAR-10 cannot be written to .*/file/data.*\n.*data.root="):
        provided(tmp_path / "file" / "data")
