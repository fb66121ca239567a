"""Ten kinds of coloured figures, drawn on the spot: a data set that needs no file and no network."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from project.data.ahead import ahead
from project.data.images import ImageDataModule
from project.data.module import require
from project.data.pictures import Split

SIDE = 32
Plane = np.ndarray  # (n, H, W), in units of the figure's radius
Later = Callable[[], np.ndarray]  # what is left to compute when all random numbers are drawn, by any thread


def _triangle(x: Plane, y: Plane) -> Plane:
    """The farthest of three sides, each half a radius away; one corner points up."""
    return np.maximum(y, 0.866 * np.abs(x) - 0.5 * y) - 0.5


def _star(x: Plane, y: Plane) -> Plane:
    """Five points; the inner corners lie at 0.4 of the radius."""
    step = 2 * np.pi / 5
    angle = np.arctan2(x, -y)
    angle = np.abs(angle - step * np.round(angle / step))  # 0 at a point, step / 2 at an inner corner
    radius = np.hypot(x, y)
    inner_across, inner_along = 0.4 * np.sin(step / 2), 0.4 * np.cos(step / 2)
    rise, run = 1 - inner_along, inner_across  # a side goes from the point (0, 1) to the inner corner
    return (rise * radius * np.sin(angle) + run * (radius * np.cos(angle) - 1)) / math.hypot(rise, run)


def _plus(x: Plane, y: Plane) -> Plane:
    across, along = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.maximum(across - 0.28, along - 0.95)


def _cross(x: Plane, y: Plane) -> Plane:
    return _plus((x + y) / math.sqrt(2), (x - y) / math.sqrt(2))


def _crescent(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.hypot(x, y) - 1, 0.8 - np.hypot(x - 0.5, y))


# Below 0 inside, above 0 outside, near the edge the distance to it. No class becomes another when mirrored.
FIGURES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "disc": lambda x, y: np.hypot(x, y) - 0.9,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.72) - 0.22,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.78,
    "frame": lambda x, y: np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.62) - 0.2,
    "diamond": lambda x, y: (np.abs(x) / 0.7 + np.abs(y) - 1) * 0.57,
    "triangle": _triangle,
    "plus": _plus,
    "cross": _cross,
    "star": _star,
    "crescent": _crescent,
}


def _covers(rng: np.random.Generator, n: int) -> Later:
    """How much of each pixel its figure covers, (n, H, W), 0 to 1: the classes in turn, anywhere, of any size."""
    centre = (SIDE - 1) / 2 + rng.uniform(-4, 4, (2, n, 1, 1)).astype(np.float32)
    radius = rng.uniform(7, 11.5, (n, 1, 1)).astype(np.float32)
    tilt = np.deg2rad(rng.uniform(-12, 12, (n, 1, 1))).astype(np.float32)
    return partial(_cover, centre, radius, tilt)


def _cover(centre: np.ndarray, radius: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    line = np.arange(SIDE, dtype=np.float32)
    down, across = (line[:, None] - centre[0]) / radius, (line - centre[1]) / radius
    x, y = np.cos(tilt) * across + np.sin(tilt) * down, np.cos(tilt) * down - np.sin(tilt) * across
    distance = np.empty_like(x)
    for label, figure in enumerate(FIGURES.values()):
        members = slice(label, None, len(FIGURES))
        distance[members] = figure(x[members], y[members])
    return (0.5 - distance * radius).clip(0, 1)


def colours(rng: np.random.Generator, n: int) -> np.ndarray:
    """The grounds' and the figures' colours, (2, n, 3), at least 90 apart in one channel, lighter or darker."""
    ground, colour = rng.uniform(20, 235, (2, n, 3)).astype(np.float32)
    return np.stack([ground, set_apart(rng, ground, colour)])


def set_apart(rng: np.random.Generator, ground: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Colours (n, 3) with one of their channels at least 90 away from the ground's (n, 3)."""
    n, colour = len(ground), colour.copy()
    channel = rng.integers(0, 3, n)
    old = ground[np.arange(n), channel]
    away = rng.uniform(90, 150, n) * np.where(old < 128, 1, -1)
    colour[np.arange(n), channel] = old + away
    return colour


def grounds(rng: np.random.Generator, colours: np.ndarray, side: int) -> Later:
    """(n, side, side, 3) float32 of colours (n, 3), which become another from side to side, with three soft blots.

    Blots are of any colour, and each up to a third of the picture wide.
    """
    n = len(colours)
    slope = rng.uniform(-60, 60, (2, n, 3, 1, 1)).astype(np.float32)
    blots = []
    for _ in range(3):
        middles = rng.uniform(0, side, (2, n, 1)).astype(np.float32)  # rows and columns
        width = rng.uniform(1, 4, (n, 1)).astype(np.float32)
        blots.append((middles, width, rng.uniform(-100, 100, (n, 3, 1, 1)).astype(np.float32)))
    return partial(_grounds, colours, side, slope, blots)


def _grounds(
    colours: np.ndarray, side: int, slope: np.ndarray, blots: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> np.ndarray:
    """In memory each channel lies by itself, which is four times as fast: numpy's inner loops are rows, not pixels."""
    line = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    planes = colours[:, :, None, None] + slope[0] * line + slope[1] * line[:, None]
    pixels = np.arange(side, dtype=np.float32)
    for middles, width, colour in blots:
        down, across = np.exp(-(((pixels - middles) / width) ** 2))  # (n, H), (n, W)
        planes += (down[:, None, :, None] * across[:, None, None]) * colour
    return planes.transpose(0, 2, 3, 1)


def photographed(noise: np.ndarray, images: np.ndarray, deviation: float = 12) -> np.ndarray:
    """Images (n, H, W, 3) float32 with a camera's range and noise (given with a deviation of 1, overwritten), uint8."""
    noise *= deviation
    noise += images
    return noise.clip(0, 255, out=noise).astype(np.uint8)


def paint(rng: np.random.Generator, n: int, covers: Callable[[], Later], side: int = SIDE) -> Later:
    """(n, side, side, 3) uint8: a figure on each ground, where `covers` gives how much of each pixel it covers."""
    ground, colour = colours(rng, n)  # (n, 3)
    grounded, covered = grounds(rng, ground, side), covers()
    noise = rng.standard_normal((n, side, side, 3), dtype=np.float32)

    def painted() -> np.ndarray:
        images = grounded()
        images += covered()[..., None] * (colour[:, None, None] - images)
        return photographed(noise, images)

    return painted


def draw(count: int, seed: int) -> Split:
    """`count` images (count, 32, 32, 3) and their labels, the classes in turn; a function of both numbers alone.

    Position, size, tilt, both colours, the ground's slope, three blots and the noise all vary.
    """
    rng, chunk = np.random.default_rng(seed), 200  # images at a time: what the processor's cache holds
    sizes = [min(chunk, count - start) for start in range(0, count, chunk)]
    images = [painted() for painted in ahead(paint(rng, n, partial(_covers, rng, n)) for n in sizes)]
    return Split.whole(np.concatenate(images), np.arange(count) % len(FIGURES))


_drawn = lru_cache(maxsize=2)(draw)  # trial after trial in one process needs the same; nobody writes to it


class Shapes(ImageDataModule):
    """Ten classes in equal numbers, 32x32, the same images in every run.

    Args:
        train_images: to train and validate on.
        test_images: to test on.
        shift: as in `ImageDataModule`; figures are anywhere already, so little is enough.
        common: what `ImageDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        train_images: int = 10000,
        test_images: int = 2000,
        shift: int = 2,
        **common: Any,
    ) -> None:
        super().__init__(shift=shift, **common)
        require(train_images >= 20, "data.train_images must be at least 20", train_images)
        require(test_images >= 10, "data.test_images must be at least 10", test_images)
        self.classes = list(FIGURES)
        self.train_images, self.test_images = train_images, test_images

    def read(self) -> dict[str, Split]:
        return {"train": _drawn(self.train_images, seed=1), "test": _drawn(self.test_images, seed=2)}
