"""Images whose targets lie in the picture and move with it: points, and a class for every pixel."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.images import Split, mean_and_std
from project.data.loader import EpochLoader, ImageLoader, alone, check_batch_size
from project.data.module import DataModule, placement, require
from project.errors import UserError

IGNORED = 255  # the class of pixels that nothing is known of


@dataclass(frozen=True)
class Moves:
    """What was done to a batch of training images: pixel (y, x) shows what stood at (y + dy, x + dx); where `flip` is 1
    it was mirrored after that. (B,) int64 each."""

    dy: Tensor
    dx: Tensor
    flip: Tensor


class TargetedDataModule(DataModule):
    """Images in memory, each with a target that moves with it. A member gives `read`, `move` and `named`.

    After `setup`: `mean` and `std` per channel for pixels in 0..1, measured on the training images, and `counts`.
    Batches are (images (B, 3, H, W) float32 channels_last, targets (B, ...)), on the trainer's device; they are cut,
    shared among processes, resumed and reproduced as those of `ImageDataModule`.

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
        flip: bool = True,
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
        self.shift, self.flip, self.color, self.shuffle = shift, flip, color, shuffle
        self.splits: dict[str, Split] = {}
        self.image_shape: list[int] = []
        self.mean: list[float] = []
        self.std: list[float] = []

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """`train` and `test`, and `val` where the data set has its own; the targets (N, ...) stand for labels."""

    @abstractmethod
    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        """Targets (B, ...) of images that were moved."""

    @property
    @abstractmethod
    def named(self) -> dict[str, list[str]]:
        """What the numbers in a target mean: one entry of `facts`, such as `{"classes": ["ground", "road"]}`."""

    def setup(self, stage: str | None = None) -> None:
        """Read the data once, hold validation images out of the training images, measure the mean."""
        if self.splits:
            return
        splits = self.read()
        if "val" not in splits:
            kept, held = random_split(len(splits["train"].rows), self.val_fraction, self.split_seed)
            splits["train"], splits["val"] = splits["train"].part(kept), splits["train"].part(held)
        for name, split in splits.items():
            if not len(split.rows):
                raise UserError(
                    f"The {name} set has no images: data.val_fraction={self.val_fraction} of so few rounds to none.\n"
                    "Choose a larger fraction, or add images."
                )
        self.image_shape = [3, *splits["train"].images.shape[1:3]]
        self.mean, self.std = mean_and_std(splits["train"])
        self.splits = splits

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(self.splits[name].rows) for name in ("train", "val", "test")}

    def content(self, split: str) -> Iterator[bytes]:
        """Names, targets and pixels."""
        part = self.splits[split]
        yield repr(self.named).encode() + part.labels.tobytes()
        yield from (part.images[row].tobytes() for row in part.rows)

    @property
    def facts(self) -> dict[str, Any]:
        return {
            **self.named,
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
        }

    @property
    def samples_per_batch(self) -> int:
        return self.batch_size

    @property
    def augmentation(self) -> dict[str, Any]:
        """What is done to training images; nothing where all epochs have the batches of the first."""
        return {"shift": self.shift, "flip": self.flip, "color": self.color} if self.shuffle else {}

    def check_batch_size(self, ranks: int) -> None:
        check_batch_size(self.counts["train"], self.batch_size, ranks)

    def train_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["train"], train=True)

    def val_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["val"])

    def test_dataloader(self) -> EpochLoader:
        return self.loader(self.splits["test"])

    def examples(self, part: str, count: int, batch_size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of at most `count` images of a part, evenly spread over it, as evaluation sees them.

        The same ones whenever they are asked for, for each process alone.
        """
        split = self.splits[part]
        chosen = np.linspace(0, len(split.rows) - 1, min(count, len(split.rows))).round().astype(int)
        ranks = placement(self)["world_size"]
        loader = self.loader(split.part(np.resize(chosen, max(len(chosen), ranks))))  # no loader takes less
        yield from alone(loader, len(chosen), batch_size).batches(0, 0)

    def loader(self, split: Split, train: bool = False) -> EpochLoader:
        """The split's batches, for the process that asks."""
        return TargetedLoader(
            torch.from_numpy(split.images[split.rows]),
            torch.from_numpy(split.labels),
            self.batch_size if train else self.eval_batch_size,
            module=self,
            mean=self.mean,
            std=self.std,
            train=train,
            shuffle=self.shuffle,
            seed=self.seed,
            **self.augmentation,
            **placement(self),
        )


class TargetedLoader(ImageLoader):
    """`ImageLoader`'s batches, with the targets (N, ...) moved like their images.

    Args:
        module: whose targets they are, for its `move`.
    """

    def __init__(
        self, images: Tensor, targets: Tensor, batch_size: int, *, module: TargetedDataModule, **common: Any
    ) -> None:
        super().__init__(images, targets, batch_size, **common)
        self.move = module.move

    def _batch(self, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        images, targets = super()._batch(draws)
        if not self.train:
            return images, targets
        flip = draws["flip"] if self.flip else torch.zeros_like(draws["flip"])
        return images, self.move(targets, Moves(draws["dy"] - self.shift, draws["dx"] - self.shift, flip))


def moved_masks(masks: Tensor, moves: Moves) -> Tensor:
    """Masks (B, H, W) uint8 as their images were moved; what was brought in from outside is `IGNORED`."""
    height, width = masks.shape[1:]
    line = torch.arange(width, device=masks.device)
    rows = torch.arange(height, device=masks.device) + moves.dy[:, None]  # (B, H)
    columns = torch.where(moves.flip[:, None] == 1, width - 1 - line, line) + moves.dx[:, None]  # (B, W)
    outside = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]
    places = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    return masks.flatten(1).gather(1, places.flatten(1)).view_as(masks).masked_fill_(outside, IGNORED)


def moved_points(points: Tensor, moves: Moves, height: int, width: int, mirrored: Tensor) -> Tensor:
    """Points (B, K, 2), x and y in pixels, (0, 0) the centre of the first, as their images were moved.

    Args:
        points: NaN where one is not known.
        moves: of their images.
        height: of the images, in pixels, as `width`.
        mirrored: (K,) which point stands in the place of each in a mirror image, such as the right hand in the left's.

    Returns:
        (B, K, 2); NaN for those that have left the picture.
    """
    points = points - torch.stack([moves.dx, moves.dy], dim=1)[:, None]
    other = points.index_select(1, mirrored)
    other = torch.stack([width - 1 - other[..., 0], other[..., 1]], dim=2)
    points = torch.where(moves.flip[:, None, None] == 1, other, points)
    limit = torch.tensor([width - 0.5, height - 0.5], device=points.device)
    inside = ((points >= -0.5) & (points <= limit)).all(2, keepdim=True)
    return points.masked_fill(~inside, torch.nan)


def random_split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (kept, held) of so many samples, of which round(count * fraction) are held, but never all."""
    held = min(int(count * fraction + 0.5), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])
