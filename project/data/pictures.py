"""Images in memory, or mapped: what all data sets of them have in common, whatever belongs to each image."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.loader import EpochLoader, alone, check_batch_size
from project.data.module import DataModule, placement, require
from project.errors import UserError


@dataclass(frozen=True)
class Split:
    """Rows of an array of images (M, H, W, 3) uint8 that may be the whole data set's, or a file that is mapped."""

    images: np.ndarray
    rows: np.ndarray  # (N,)
    labels: np.ndarray  # (N,) int64

    @classmethod
    def whole(cls, images: np.ndarray, labels: np.ndarray) -> "Split":
        return cls(images, np.arange(len(images)), labels)

    def part(self, members: np.ndarray) -> "Split":
        return Split(self.images, self.rows[members], self.labels[members])


class PictureDataModule(DataModule):
    """Images in memory, or mapped, each with what belongs to it. A member gives `read`, `hold_out` and `loader`.

    After `setup`: `mean` and `std` per channel for pixels in 0..1 (measured on the training images), `counts` of images
    per split. Batches are on the trainer's device, and `batch_size` is shared among its processes.

    Without `shuffle` every epoch has the first one's batches, and their images as they are.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    unit = "images"

    def __init__(
        self,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        seed: int = 0,
        shift: int = 2,
        color: float = 0.0,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        require(batch_size >= 1, "data.batch_size must be at least 1", batch_size)
        require(eval_batch_size >= 1, "data.eval_batch_size must be at least 1", eval_batch_size)
        require(0 < val_fraction < 1, "data.val_fraction must lie between 0 and 1, both excluded", val_fraction)
        require(split_seed >= 0, "data.split_seed must be at least 0", split_seed)
        require(seed >= 0, "data.seed must be at least 0", seed)
        require(shift >= 0, "data.shift must be at least 0 pixels", shift)
        require(color >= 0, "data.color must be at least 0 (standard deviations; 0: none)", color)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_fraction, self.split_seed, self.seed = val_fraction, split_seed, seed
        self.shift, self.color, self.shuffle = shift, color, shuffle
        self.splits: dict[str, Split] = {}
        self.image_shape: list[int] = []
        self.mean: list[float] = []
        self.std: list[float] = []

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """`train` and `test`, and `val` where the data set has its own."""

    @abstractmethod
    def hold_out(self, train: Split) -> tuple[np.ndarray, np.ndarray]:
        """The sorted places of the images that stay, and of those that validate: a function of `split_seed`."""

    @property
    @abstractmethod
    def named(self) -> dict[str, list[str]]:
        """What the numbers beside an image mean: one entry of `facts`, such as `{"classes": ["ground", "road"]}`."""

    @abstractmethod
    def loader(self, split: Split, train: bool = False) -> EpochLoader:
        """The split's batches, for the process that asks."""

    def check_splits(self, splits: dict[str, Split]) -> None:
        """Whether `read` has given what it should; a TypeError or ValueError for the one who writes a data set."""

    def setup(self, stage: str | None = None) -> None:
        """Read the data once, hold the validation images out of the training images, measure the mean."""
        if self.splits:
            return
        splits = self.read()
        self.check_splits(splits)
        if "val" not in splits:
            kept, held = self.hold_out(splits["train"])
            splits["train"], splits["val"] = splits["train"].part(kept), splits["train"].part(held)
        for name, split in splits.items():
            if not len(split.rows):
                raise UserError(
                    f"The {name} set has no images: data.val_fraction={self.val_fraction} of so few rounds to none.\n"
                    "Choose a larger fraction, or add images."
                )
        self.measure(splits["train"])
        self.splits = splits

    def measure(self, train: Split) -> None:
        """Set what the network and the batches need to know: `image_shape`, `mean` and `std`."""
        self.image_shape = [3, *train.images.shape[1:3]]
        self.mean, self.std = mean_and_std(train)

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(self.splits[name].rows) for name in ("train", "val", "test")}

    def content(self, split: str) -> Iterator[bytes]:
        """Names, labels and pixels; of images that are not in memory their files."""
        part = self.splits[split]
        yield repr(self.named).encode() + part.labels.tobytes()
        yield from (part.images[row].tobytes() for row in part.rows)

    @property
    def facts(self) -> dict[str, Any]:
        """The names by number, and the mean and standard deviation of each channel for pixels in 0..1."""
        return {
            **self.named,
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
        }

    @property
    def samples_per_batch(self) -> int:
        return self.batch_size

    def check_batch_size(self, ranks: int) -> None:
        """Whether `ranks` processes can share the training batches; a UserError if not."""
        check_batch_size(self.counts["train"], self.batch_size, ranks)

    def train_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["train"], train=True)

    def val_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["val"])

    def test_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["test"])

    def order(self, split: Split) -> np.ndarray:
        """The places (N,) of a split's images in the order in which `examples` are spread over it."""
        return np.arange(len(split.rows))

    def examples(self, part: str, count: int, batch_size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of at most `count` images of a part, evenly spread over it, as evaluation sees them.

        The same ones whenever they are asked for, for each process alone.
        """
        split = self.splits[part]
        places = np.linspace(0, len(split.rows) - 1, min(count, len(split.rows))).round().astype(int)
        chosen = self.order(split)[places]
        ranks = placement(self)["world_size"]
        loader = self.loader(split.part(np.resize(chosen, max(len(chosen), ranks))))  # no loader takes less
        yield from alone(loader, len(chosen), batch_size).batches(0, 0)

    def arguments(self, split: Split, train: bool) -> dict[str, Any]:
        """Of an `ImageLoader` of the split."""
        return {
            "images": torch.from_numpy(split.images[split.rows]),
            "labels": torch.from_numpy(split.labels),
            "batch_size": self.batch_size if train else self.eval_batch_size,
            "mean": self.mean,
            "std": self.std,
            "train": train,
            "shuffle": self.shuffle,
            "seed": self.seed,
            **self.augmentation,
            **placement(self),
        }

    @property
    @abstractmethod
    def augmentation(self) -> dict[str, Any]:
        """What is done to training images; nothing where all epochs have the batches of the first."""


def mean_and_std(split: Split) -> tuple[list[float], list[float]]:
    """Per channel, for pixels in 0..1. NumPy, not torch: the start of a run waits for it, on busy machines too."""
    chunk = 256  # 256 * 255^2 < 2^24: float32 holds each chunk's sums without rounding
    sums = np.zeros((2, split.images[0].size))
    for start in range(0, len(split.rows), chunk):
        images = split.images[split.rows[start : start + chunk]]
        pixels = images.reshape(len(images), -1).astype(np.float32)
        sums += pixels.sum(0), np.square(pixels, out=pixels).sum(0)
    mean, square = sums.reshape(2, -1, 3).mean(1) / len(split.rows)
    std = np.sqrt(np.maximum(square - mean**2, 1.0))  # 1: the noise of an even channel is not to be blown up
    return (mean / 255).tolist(), (std / 255).tolist()
