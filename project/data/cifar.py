"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 60,000 images of 32x32, in 10 and in 100 classes."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

from project.data.archive import Archive
from project.data.images import ImageDataModule
from project.data.pictures import Split
from project.data.published import published_archive


class Cifar10(ImageDataModule):
    """Downloaded once into `root`; an archive or an unpacked folder that lies there is used.

    The names of the files and their md5 are torchvision's. `common`: what `ImageDataModule` takes.
    """

    source = CIFAR10

    def __init__(
        self,
        root: str = "data",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root = Path(root)

    @property
    def archive(self) -> Archive:
        names = ("url", "filename", "tgz_md5", "base_folder", "train_list", "test_list", "meta")
        return published_archive(self.source.__name__, {name: getattr(self.source, name) for name in names})

    def prepare_data(self) -> None:
        self.archive.provide(self.root)

    def read(self) -> dict[str, Split]:
        self.prepare_data()
        self.classes = list(self._unpickled(self.source.meta["filename"])[self.source.meta["key"]])
        return {"train": self._split(self.source.train_list), "test": self._split(self.source.test_list)}

    def _split(self, files: list[list[str]]) -> Split:
        batches = [self._unpickled(name) for name, _ in files]
        pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([batch.get("labels", batch.get("fine_labels")) for batch in batches])
        return Split.whole(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), labels.astype(np.int64))

    def _unpickled(self, name: str) -> dict[str, Any]:
        """A pickle can run any code: only the very bytes whose md5 is known come this far."""
        return pickle.loads(self.archive.verified(self.root, name), encoding="latin1")


class Cifar100(Cifar10):
    source = CIFAR100
