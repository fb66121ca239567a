"""What the data sets of images in memory share: the validation split, the sizes, the loaders."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from project.data.decode import fitted, open_rgb
from project.data.loader import Batch, EpochLoader, ImageLoader, alone, check_batch_size
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


class ImageDataModule(DataModule):
    """A data set of small images for classification. A member gives `classes` and `read`.

    After `setup`: `sizes` for the network, `classes` by label, `mean` and `std` per channel for pixels in 0..1
    (measured on the training images), `counts` of images per split. Batches are (images (B, 3, H, W) float32
    channels_last, labels (B,) int64), on the trainer's device, and `batch_size` is shared among its processes.

    Without `shuffle` every epoch has the first one's batches, and their images as they are.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    unit = "images"
    classes: list[str]

    def __init__(
        self,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        seed: int = 0,
        shift: int = 4,
        flip: bool | Literal["alternating"] = True,
        padding: Literal["zero", "reflect"] = "zero",
        cutout: int = 0,
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
        require(flip in (True, False, "alternating"), "data.flip must be true, false or alternating", flip)
        require(padding in ("zero", "reflect"), "data.padding must be zero or reflect", padding)
        require(cutout >= 0, "data.cutout must be at least 0 pixels (0: none)", cutout)
        require(color >= 0, "data.color must be at least 0 (standard deviations; 0: none)", color)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_fraction, self.split_seed, self.seed = val_fraction, split_seed, seed
        self.shift, self.flip, self.padding, self.cutout = shift, flip, padding, cutout
        self.color, self.shuffle = color, shuffle
        self.splits: dict[str, Split] = {}
        self.image_shape: list[int] = []
        self.mean: list[float] = []
        self.std: list[float] = []

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """`train` and `test`, and `val` where the data set has its own; `self.classes` must be set by then.

        Images are (N, H, W, 3) uint8, labels (N,) int64 from 0 on; `Split.whole(images, labels)` makes a split of them.
        """

    def setup(self, stage: str | None = None) -> None:
        """Read the data once, hold the validation images out of the training images, measure the mean."""
        if self.splits:
            return
        splits = self.read()
        for name, split in splits.items():
            _check_split(type(self).__name__, name, split, len(self.classes))
        if "val" not in splits:
            kept, held = stratified_split(splits["train"].labels, self.val_fraction, self.split_seed)
            splits["train"], splits["val"] = splits["train"].part(kept), splits["train"].part(held)
        for name, split in splits.items():
            if not len(split.labels):
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
        return {name: len(self.splits[name].labels) for name in ("train", "val", "test")}

    def content(self, split: str) -> Iterator[bytes]:
        """Classes, labels and pixels; of images that are not in memory their files."""
        part = self.splits[split]
        yield repr(self.classes).encode() + part.labels.tobytes()
        yield from (part.images[row].tobytes() for row in part.rows)

    @property
    def sizes(self) -> dict[str, Any]:
        """What a network is built from."""
        return {"num_classes": len(self.classes), "image_shape": list(self.image_shape)}

    @property
    def facts(self) -> dict[str, Any]:
        """The classes by label, and the mean and standard deviation of each channel for pixels in 0..1."""
        return {
            "classes": list(self.classes),
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
        }

    @property
    def samples_per_batch(self) -> int:
        return self.batch_size

    @property
    def augmentation(self) -> dict[str, Any]:
        """What is done to training images; nothing where all epochs have the batches of the first."""
        if not self.shuffle:
            return {}
        names = ("shift", "flip", "padding", "cutout", "color")
        return {name: getattr(self, name) for name in names}

    def check_batch_size(self, ranks: int) -> None:
        """Whether `ranks` processes can share the training batches; a UserError if not."""
        check_batch_size(self.counts["train"], self.batch_size, ranks)

    def train_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["train"], train=True)

    def val_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["val"])

    def test_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["test"])

    def examples(self, part: str, count: int, batch_size: int = 64) -> Iterator[Batch]:
        """Batches of at most `count` images of a part, evenly spread over its classes, as evaluation sees them.

        The same ones whenever they are asked for, for each process alone.
        """
        split = self.splits[part]
        places = np.linspace(0, len(split.labels) - 1, min(count, len(split.labels))).round().astype(int)
        chosen = np.argsort(split.labels, kind="stable")[places]
        ranks = placement(self)["world_size"]
        loader = self.loader(split.part(np.resize(chosen, max(len(chosen), ranks))))  # no loader takes less
        yield from alone(loader, len(chosen), batch_size).batches(0, 0)

    def loader(self, split: Split, train: bool = False) -> EpochLoader:
        """The split's batches, for the process that asks."""
        return ImageLoader(
            torch.from_numpy(split.images[split.rows]),
            torch.from_numpy(split.labels),
            self.batch_size if train else self.eval_batch_size,
            mean=self.mean,
            std=self.std,
            train=train,
            shuffle=self.shuffle,
            seed=self.seed,
            **self.augmentation,
            **placement(self),
        )


def _check_split(owner: str, name: str, split: Split, classes: int) -> None:
    """What `read` has to give; a TypeError or ValueError for the one who writes a data set."""
    if not isinstance(split, Split):
        raise TypeError(
            f"{owner}.read gives a {type(split).__name__} for {name!r}: make it Split.whole(images, labels)"
        )
    images, labels = split.images, split.labels
    if images.dtype.kind != "U" and (images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3):
        raise ValueError(
            f"{owner}'s {name} images must be (N, H, W, 3) uint8, got {images.shape} {images.dtype}: "
            "repeat grey images three times, and leave the normalisation to the loader"
        )
    if labels.dtype != np.int64 or (len(labels) and not 0 <= labels.min() <= labels.max() < classes):
        raise ValueError(
            f"{owner}'s {name} labels must be int64 from 0 to {classes - 1}, "
            f"got {labels.dtype} from {labels.min()} to {labels.max()}"
        )


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (kept, held): of each class's n images round(n * fraction) are held, but never all of them.

    A function of the labels, the fraction and the seed alone.
    """
    held = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(int(len(members) * fraction + 0.5), len(members) - 1)
        held.append(np.random.default_rng((seed, int(label))).permutation(members)[:count])
    chosen = np.sort(np.concatenate(held)) if held else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


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


def read_image(path: str | Path, image_shape: Sequence[int]) -> torch.Tensor:
    """A picture as evaluation sees it: its shorter side resized, its centre cut out; (3, H, W) uint8.

    Raises:
        UserError: no such file, or not a picture.
    """
    pixels = fitted(open_rgb(path), height=image_shape[1], width=image_shape[2])
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
