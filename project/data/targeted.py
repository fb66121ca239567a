"""Images whose targets lie in the picture and move with it: points, and a class for every pixel."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.loader import EpochLoader, ImageLoader
from project.data.pictures import PictureDataModule, Split

IGNORED = 255  # the class of pixels that nothing is known of


@dataclass(frozen=True)
class Moves:
    """What was done to a batch of training images: pixel (y, x) shows what stood at (y + dy, x + dx); where `flip` is 1
    it was mirrored after that. (B,) int64 each."""

    dy: Tensor
    dx: Tensor
    flip: Tensor


class TargetedDataModule(PictureDataModule):
    """Images in memory, each with a target that moves with it. A member gives `read`, `move` and `named`.

    After `setup`: what `PictureDataModule` has. Batches are (images (B, 3, H, W) float32 channels_last, targets
    (B, ...)); they are cut, shared among processes, resumed and reproduced as those of `ImageDataModule`.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    def __init__(self, flip: bool = True, **common: Any) -> None:
        super().__init__(**common)
        self.flip = flip

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """`train` and `test`, and `val` where the data set has its own; the targets (N, ...) stand for labels."""

    @abstractmethod
    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        """Targets (B, ...) of images that were moved."""

    def hold_out(self, train: Split) -> tuple[np.ndarray, np.ndarray]:
        return random_split(len(train.rows), self.val_fraction, self.split_seed)

    @property
    def augmentation(self) -> dict[str, Any]:
        return {"shift": self.shift, "flip": self.flip, "color": self.color} if self.shuffle else {}

    def loader(self, split: Split, train: bool = False) -> EpochLoader:
        return TargetedLoader(module=self, **self.arguments(split, train))


class TargetedLoader(ImageLoader):
    """`ImageLoader`'s batches, with the targets (N, ...) moved like their images.

    Args:
        module: whose targets they are, for its `move`.
    """

    def __init__(self, *, module: TargetedDataModule, **common: Any) -> None:
        super().__init__(**common)
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
