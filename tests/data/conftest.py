"""Small data of every kind, and a real server to fetch them from."""

import hashlib
import io
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from project.data.images import ImageDataModule
from project.data.loader import Batch
from tests.conftest import CONF


@dataclass
class Server:
    """Serves `folder` on this machine and remembers what it was asked for; without `flowing` it sends but half."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    flowing: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path / "served")
    served.folder.mkdir()
    served.flowing.set()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            super().do_GET()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            content = source.read()
            outputfile.write(content[: len(content) // 2])
            served.flowing.wait(60)
            outputfile.write(content[len(content) // 2 :])

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served.folder))) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        served.url = f"http://127.0.0.1:{http.server_port}"
        yield served
        served.flowing.set()
        http.shutdown()


def make_cifar(source: Any, folder: Path, per_file: int) -> dict[str, Any]:
    """An archive like the real one, with `per_file` images in each file; what torchvision's class must say of it."""
    rng = np.random.default_rng(0)
    key = "labels" if source is CIFAR10 else "fine_labels"
    count = 10 if source is CIFAR10 else 100
    contents: dict[str, bytes] = {}
    for name, _ in source.train_list + source.test_list:
        pixels = rng.integers(0, 256, (per_file, 3072), dtype=np.uint8)
        contents[name] = pickle.dumps({"data": pixels, key: [i % count for i in range(per_file)]})
    contents[source.meta["filename"]] = pickle.dumps({source.meta["key"]: [f"class {i}" for i in range(count)]})
    with tarfile.open(folder / source.filename, "w:gz", compresslevel=1) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"{source.base_folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    return {
        "tgz_md5": hashlib.md5((folder / source.filename).read_bytes()).hexdigest(),
        "train_list": [[name, md5[name]] for name, _ in source.train_list],
        "test_list": [[name, md5[name]] for name, _ in source.test_list],
        "meta": {**source.meta, "md5": md5[source.meta["filename"]]},
    }


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Any, dict[str, Any]]]:
    """Small CIFAR-10 (5 x 40 and 40 images) and CIFAR-100 (400 and 400), and what is known of them."""
    folder = tmp_path_factory.mktemp("archives")
    return folder, {CIFAR10: make_cifar(CIFAR10, folder, 40), CIFAR100: make_cifar(CIFAR100, folder, 400)}


@pytest.fixture
def cifar(server: Server, archives: tuple[Path, dict[Any, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> Server:
    """Torchvision's classes speak of the small archives, and the server has them."""
    folder, known = archives
    for source, facts in known.items():
        shutil.copy(folder / source.filename, server.folder)
        for name, value in {**facts, "url": f"{server.url}/{source.filename}"}.items():
            monkeypatch.setattr(source, name, value)
    return server


def make_images(folder: Path, count: int, *, size: tuple[int, int] = (20, 20), seed: int = 0) -> None:
    """`count` different pictures, PNG and JPEG in turn; `size` is (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.{('png', 'jpg')[i % 2]}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes: 20 images each to train on, 8 to test on, 20x20."""
    root = tmp_path / "pictures"
    for label, name in enumerate(("cat", "dog", "fox")):
        make_images(root / "train" / name, 20, seed=label)
        make_images(root / "test" / name, 8, seed=10 + label)
    return root


def make_pairs(folder: Path, count: int, *, classes: int = 3, size: tuple[int, int] = (20, 20), seed: int = 0) -> None:
    """`count` different pictures in `images/`, and masks of these classes in `masks/`; `size` is (width, height)."""
    make_images(folder / "images", count, size=size, seed=seed)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed + 100)
    for i in range(count):
        Image.fromarray(rng.integers(0, classes, size[::-1], dtype=np.uint8)).save(folder / "masks" / f"{i:03}.png")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pictures of 20x20 with masks of three classes: 30 to train on, 10 to test on."""
    root = tmp_path / "pairs"
    make_pairs(root / "train", 30)
    make_pairs(root / "test", 10, seed=1)
    return root


Build = Callable[..., ImageDataModule]


@pytest.fixture
def build(tmp_path: Path, request: pytest.FixtureRequest) -> Build:
    """`build("cifar10", flip=False)`: the data set of conf/data/cifar10.yaml, on small data."""
    pictures = {"cache_folder": str(tmp_path / "cache"), "num_workers": 0}
    small: dict[str, dict[str, Any]] = {
        "cifar10": {"root": str(tmp_path / "data")},
        "cifar100": {"root": str(tmp_path / "data"), "val_fraction": 0.25},
        "shapes": {"train_images": 200, "test_images": 50},
        "shape_corners": {"train_images": 100, "test_images": 50},
        "shape_masks": {"train_images": 60, "test_images": 20, "side": 16},
        "mask_folder": pictures,
        "image_folder": pictures,
        "image_folder, streamed": {**pictures, "cache": 0},
    }

    def build_member(name: str, **arguments: Any) -> ImageDataModule:
        member = OmegaConf.load(CONF / "data" / f"{name.split(',')[0]}.yaml")
        if name.startswith("cifar"):
            request.getfixturevalue("cifar")
        if name.startswith("image_folder"):
            small[name].setdefault("root", str(request.getfixturevalue("folder")))
        if name == "mask_folder":
            small[name] = {"root": str(request.getfixturevalue("pairs")), **pictures}
        overrides = {"batch_size": 12, "eval_batch_size": 16, **small[name], **arguments}
        config = OmegaConf.create({"seed": 0, "data": OmegaConf.merge(member, overrides)})
        return hydra.utils.instantiate(config.data)

    return build_member


def attach(module: ImageDataModule, rank: int, world_size: int) -> ImageDataModule:
    """As if a trainer's process number `rank` of `world_size` held the module."""
    place = {"global_rank": rank, "world_size": world_size, "num_devices": world_size}
    module.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")), **place)  # type: ignore[assignment]
    return module


def equal(batches: list[Batch], others: list[Batch]) -> bool:
    """Bit for bit, batch by batch."""
    return len(batches) == len(others) and all(
        torch.equal(x, other_x) and torch.equal(y, other_y)
        for (x, y), (other_x, other_y) in zip(batches, others, strict=True)
    )
