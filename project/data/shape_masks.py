"""One to three figures in a picture, and the class of every pixel: dense labels that need no file and no network."""

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from project.data.module import require
from project.data.pictures import Split
from project.data.shapes import FIGURES, grounds, photographed, set_apart
from project.data.targeted import Moves, TargetedDataModule, moved_masks

CLASSES = ["ground", *FIGURES]
MOST = 3  # figures in a picture
CHUNK = 100  # images at a time: what the processor's cache holds
CANDIDATES = 8


def _places(rng: np.random.Generator, n: int, side: int) -> np.ndarray:
    """Centres (MOST, n, 2) in pixels, each the one of a few that is farthest from those before it: few overlap."""
    low, high = 0.2 * side, 0.8 * side
    chosen = rng.uniform(low, high, (1, n, 2)).astype(np.float32)
    while len(chosen) < MOST:
        tried = rng.uniform(low, high, (CANDIDATES, n, 2)).astype(np.float32)
        nearest = np.linalg.norm(tried[:, None] - chosen[None], axis=3).min(1)  # (CANDIDATES, n)
        chosen = np.concatenate([chosen, tried[nearest.argmax(0), np.arange(n)][None]])
    return chosen


def _distances(rng: np.random.Generator, labels: np.ndarray, centre: np.ndarray, side: int) -> np.ndarray:
    """(n, side, side) pixels from the edge of a figure of the class `labels` (n,), negative inside it."""
    n = len(labels)
    radius = rng.uniform(side / 8, side / 5, (n, 1, 1)).astype(np.float32)
    tilt = np.deg2rad(rng.uniform(-12, 12, (n, 1, 1))).astype(np.float32)
    line = np.arange(side, dtype=np.float32)
    down, across = (line[:, None] - centre[:, 1, None, None]) / radius, (line - centre[:, 0, None, None]) / radius
    x, y = np.cos(tilt) * across + np.sin(tilt) * down, np.cos(tilt) * down - np.sin(tilt) * across
    distance = np.empty_like(x)
    for label, figure in enumerate(FIGURES.values()):
        members = labels == label
        distance[members] = figure(x[members], y[members])
    return distance * radius


def _scenes(rng: np.random.Generator, n: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, side, side, 3) and masks (n, side, side), uint8 both."""
    ground = rng.uniform(20, 235, (n, 3)).astype(np.float32)
    images, masks = grounds(rng, ground, side)(), np.zeros((n, side, side), dtype=np.uint8)
    count, places = rng.integers(1, MOST + 1, n), _places(rng, n, side)
    for number, centre in enumerate(places):
        labels = rng.integers(0, len(FIGURES), n)
        distance = _distances(rng, labels, centre, side)
        distance[count <= number] = np.inf  # this picture has fewer
        cover = (0.5 - distance).clip(0, 1)[..., None]
        colour = set_apart(rng, ground, rng.uniform(20, 235, (n, 3)).astype(np.float32))
        images += cover * (colour[:, None, None] - images)
        masks = np.where(distance < 0, (labels + 1).astype(np.uint8)[:, None, None], masks)
    return photographed(rng.standard_normal(images.shape, dtype=np.float32), images), masks


def draw_masks(count: int, seed: int, side: int) -> Split:
    """`count` images (count, side, side, 3) and masks (count, side, side) uint8; a function of the numbers alone.

    A pixel is of a figure's class where its centre lies inside; a figure that is drawn later hides those below.
    """
    rng = np.random.default_rng(seed)
    parts = [_scenes(rng, min(CHUNK, count - start), side) for start in range(0, count, CHUNK)]
    images, masks = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Split.whole(images, masks)


_drawn = lru_cache(maxsize=2)(draw_masks)  # trial after trial in one process needs the same; nobody writes to it


class ShapeMasks(TargetedDataModule):
    """The ten figures of `Shapes` on a ground, the same images in every run; targets are masks (B, H, W) uint8.

    Args:
        train_images: to train and validate on.
        test_images: to test on.
        side: of the images, in pixels.
        common: what `TargetedDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, train_images: int = 4000, test_images: int = 500, side: int = 48, **common: Any) -> None:
        super().__init__(**common)
        require(train_images >= 2, "data.train_images must be at least 2", train_images)
        require(test_images >= 1, "data.test_images must be at least 1", test_images)
        require(side >= 16, "data.side must be at least 16 pixels", side)
        self.train_images, self.test_images, self.side = train_images, test_images, side
        self.classes = list(CLASSES)

    def read(self) -> dict[str, Split]:
        sizes = {"train": (self.train_images, 1), "test": (self.test_images, 2)}
        return {name: _drawn(count, seed, self.side) for name, (count, seed) in sizes.items()}

    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        return moved_masks(targets, moves)

    @property
    def named(self) -> dict[str, list[str]]:
        return {"classes": list(self.classes)}

    @property
    def sizes(self) -> dict[str, Any]:
        """`pixel_classes` and not `num_classes`: a network that classifies whole images does not fit."""
        return {"pixel_classes": len(self.classes), "image_shape": list(self.image_shape)}
