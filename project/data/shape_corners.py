"""Arrowheads and kites whose corners are to be found: key points that need no file and no network."""

from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.ahead import ahead
from project.data.module import require
from project.data.pictures import Split
from project.data.shapes import SIDE, Later, paint
from project.data.targeted import Moves, TargetedDataModule, moved_points

CORNERS = ("tip", "left wing", "tail", "right wing")
MIRRORED = (0, 3, 2, 1)  # a mirror image has its left wing where the right one was
CHUNK = 200  # images at a time: what the processor's cache holds


def _corners(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 4, 2) x and y in pixels: any place, size and direction, half of them with a tail that stands in.

    The tip is farthest from the line between the wings, so that its place in the order can be seen; left and right are
    as seen from the tail.
    """
    half, back = rng.uniform(0.45, 0.8, n), rng.uniform(0.2, 0.6, n)  # the wings, from the figure's axis and centre
    tail = back + np.where(rng.random(n) < 0.5, rng.uniform(0.15, 0.4, n), -rng.uniform(0.35, 0.6, n))
    zero = np.zeros(n)
    across = np.stack([zero, -half, zero, half], axis=1)
    down = np.stack([zero - 1, back, tail, back], axis=1)
    radius, angle = rng.uniform(8, 12, n), rng.uniform(0, 2 * np.pi, n)
    centre = (SIDE - 1) / 2 + rng.uniform(-1, 1, (2, n)) * (SIDE / 2 - 2.5 - radius)
    cos, sin = (radius * part(angle) for part in (np.cos, np.sin))
    x = centre[0, :, None] + cos[:, None] * across - sin[:, None] * down
    y = centre[1, :, None] + sin[:, None] * across + cos[:, None] * down
    return np.stack([x, y], axis=2).astype(np.float32)


def polygon_cover(corners: np.ndarray, side: int = SIDE) -> np.ndarray:
    """How much of each pixel (n, side, side) a polygon with corners (n, K, 2) covers, 0 to 1.

    By the distance from the pixel's centre to the nearest edge, which counts as inside after an odd number of edges.
    """
    column = np.arange(side, dtype=np.float32)
    row = column[:, None]
    nearest = np.full((len(corners), side, side), np.inf, dtype=np.float32)
    inside = np.zeros(nearest.shape, dtype=bool)
    for number in range(corners.shape[1]):
        (from_x, from_y), (to_x, to_y) = (corners[:, place].T[..., None, None] for place in (number - 1, number))
        edge_x, edge_y = to_x - from_x, to_y - from_y  # (n, 1, 1)
        x, y = column - from_x, row - from_y  # (n, 1, W) and (n, H, 1)
        along = ((x * edge_x + y * edge_y) / (edge_x**2 + edge_y**2)).clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(x - along * edge_x, y - along * edge_y))
        crosses = (from_y > row) != (to_y > row)
        inside ^= crosses & ((edge_x * y - edge_y * x > 0) == (edge_y < 0))
    return (0.5 + np.where(inside, nearest, -nearest)).clip(0, 1)


def draw_corners(count: int, seed: int) -> Split:
    """`count` images (count, 32, 32, 3) and their corners (count, 4, 2); a function of both numbers alone.

    Place, size, direction, form, both colours, the ground's slope, three blots and the noise all vary.
    """
    rng, corners = np.random.default_rng(seed), list[np.ndarray]()

    def drawn(n: int) -> Later:
        own = _corners(rng, n)
        corners.append(own)
        return paint(rng, n, lambda: partial(polygon_cover, own))

    sizes = (min(CHUNK, count - start) for start in range(0, count, CHUNK))
    images = [painted() for painted in ahead(map(drawn, sizes))]
    return Split.whole(np.concatenate(images), np.concatenate(corners))


_drawn = lru_cache(maxsize=2)(draw_corners)  # trial after trial in one process needs the same; nobody writes to it


class ShapeCorners(TargetedDataModule):
    """Figures with four corners, 32x32, the same images in every run; targets are the corners (B, 4, 2) in pixels.

    Args:
        train_images: to train and validate on.
        test_images: to test on.
        common: what `TargetedDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, train_images: int = 10000, test_images: int = 2000, **common: Any) -> None:
        super().__init__(**common)
        require(train_images >= 2, "data.train_images must be at least 2", train_images)
        require(test_images >= 1, "data.test_images must be at least 1", test_images)
        self.train_images, self.test_images = train_images, test_images

    def read(self) -> dict[str, Split]:
        return {"train": _drawn(self.train_images, seed=1), "test": _drawn(self.test_images, seed=2)}

    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        _, height, width = self.image_shape
        return moved_points(targets, moves, height, width, torch.tensor(MIRRORED, device=targets.device))

    @property
    def named(self) -> dict[str, list[str]]:
        return {"points": list(CORNERS)}

    @property
    def sizes(self) -> dict[str, Any]:
        return {"num_points": len(CORNERS), "image_shape": list(self.image_shape)}
