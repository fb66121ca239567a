"""What the data sets of labelled images share: the validation split, the sizes, the loaders."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from project.data.decode import fitted, open_rgb
from project.data.loader import EpochLoader, ImageLoader
from project.data.module import require
from project.data.pictures import PictureDataModule
from project.data.pictures import Split as Split  # of those who write a data set


class ImageDataModule(PictureDataModule):
    """A data set of small images for classification. A member gives `classes` and `read`.

    After `setup`: `sizes` for the network, `classes` by label, and what `PictureDataModule` has. Batches are (images
    (B, 3, H, W) float32 channels_last, labels (B,) int64).

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    classes: list[str]

    def __init__(
        self,
        shift: int = 4,
        flip: bool | Literal["alternating"] = True,
        padding: Literal["zero", "reflect"] = "zero",
        cutout: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(shift=shift, **common)
        require(flip in (True, False, "alternating"), "data.flip must be true, false or alternating", flip)
        require(padding in ("zero", "reflect"), "data.padding must be zero or reflect", padding)
        require(cutout >= 0, "data.cutout must be at least 0 pixels (0: none)", cutout)
        self.flip, self.padding, self.cutout = flip, padding, cutout

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """`train` and `test`, and `val` where the data set has its own; `self.classes` must be set by then.

        Images are (N, H, W, 3) uint8, labels (N,) int64 from 0 on; `Split.whole(images, labels)` makes a split of them.
        """

    def check_splits(self, splits: dict[str, Split]) -> None:
        for name, split in splits.items():
            _check_split(type(self).__name__, name, split, len(self.classes))

    def hold_out(self, train: Split) -> tuple[np.ndarray, np.ndarray]:
        return stratified_split(train.labels, self.val_fraction, self.split_seed)

    @property
    def named(self) -> dict[str, list[str]]:
        return {"classes": list(self.classes)}

    @property
    def sizes(self) -> dict[str, Any]:
        """What a network is built from."""
        return {"num_classes": len(self.classes), "image_shape": list(self.image_shape)}

    @property
    def augmentation(self) -> dict[str, Any]:
        if not self.shuffle:
            return {}
        names = ("shift", "flip", "padding", "cutout", "color")
        return {name: getattr(self, name) for name in names}

    def order(self, split: Split) -> np.ndarray:
        """Class by class."""
        return np.argsort(split.labels, kind="stable")

    def loader(self, split: Split, train: bool = False) -> EpochLoader:
        return ImageLoader(**self.arguments(split, train))


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


def read_image(path: str | Path, image_shape: Sequence[int]) -> torch.Tensor:
    """A picture as evaluation sees it: its shorter side resized, its centre cut out; (3, H, W) uint8.

    Raises:
        UserError: no such file, or not a picture.
    """
    pixels = fitted(open_rgb(path), height=image_shape[1], width=image_shape[2])
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
