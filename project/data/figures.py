"""Pictures of two to four figures, drawn on the spot, and what is in them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

from project.data.shapes import FIGURES, photographed
from project.machine import usable_cores

SIZES = ("small", "large")
SHAPES = ("disc", "square", "triangle", "plus", "star")
COLOURS = {
    "red": (215, 45, 45),
    "green": (45, 175, 65),
    "blue": (55, 85, 225),
    "yellow": (235, 215, 55),
    "purple": (165, 60, 190),
    "white": (238, 238, 238),
}
MOST = 4  # figures of a picture
CHUNK = 250  # pictures of one generator: picture i is a function of the seed and of i alone
RADII = np.array([[0.27, 0.31], [0.43, 0.47]])  # of a small and of a large figure, in cells
GRID = 3  # cells in a row, of which a figure has one to itself


@dataclass(frozen=True)
class Scene:
    """The figures of a picture: name parts, and centres as shares of its side, x from the left and y from above."""

    size: tuple[str, ...]
    colour: tuple[str, ...]
    shape: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.size)


@dataclass(frozen=True)
class Scenes:
    """N scenes as arrays, (N, MOST) each; of scene i the first count[i] entries count."""

    count: np.ndarray  # (N,)
    size: np.ndarray  # numbers of SIZES, SHAPES and COLOURS
    shape: np.ndarray
    colour: np.ndarray
    x: np.ndarray  # shares of the side
    y: np.ndarray
    radius: np.ndarray

    def __len__(self) -> int:
        return len(self.count)

    def __getitem__(self, number: int) -> Scene:
        own = slice(int(self.count[number]))
        sizes, shapes, colours = (values[number, own].tolist() for values in (self.size, self.shape, self.colour))
        return Scene(
            tuple(SIZES[one] for one in sizes),
            tuple(list(COLOURS)[one] for one in colours),
            tuple(SHAPES[one] for one in shapes),
            tuple(self.x[number, own].tolist()),
            tuple(self.y[number, own].tolist()),
        )

    def __iter__(self) -> Iterator[Scene]:
        return (self[number] for number in range(len(self)))

    @classmethod
    def joined(cls, parts: "list[Scenes]") -> "Scenes":
        return cls(*(np.concatenate([getattr(part, own.name) for part in parts]) for own in fields(cls)))

    def first(self, count: int) -> "Scenes":
        return Scenes(*(getattr(self, own.name)[:count] for own in fields(self)))


def draw_scenes(count: int, seed: int, side: int) -> tuple[np.ndarray, Scenes]:
    """`count` pictures (count, side, side, 3) uint8 and what is in them.

    Where figures are, their sizes, tilts and shades, the ground's and the noise vary.
    """

    def drawn(chunk: int) -> tuple[np.ndarray, Scenes]:
        rng = np.random.default_rng((seed, chunk))
        own = _scenes(rng)
        return _painted(rng, own, side), own

    with ThreadPoolExecutor(usable_cores()) as pool:  # numpy lets others work while it does
        images, scenes = zip(*pool.map(drawn, range(-(-count // CHUNK))), strict=True)
    return np.concatenate(images)[:count], Scenes.joined(list(scenes)).first(count)


def _scenes(rng: np.random.Generator) -> Scenes:
    n = CHUNK
    size = rng.integers(0, len(SIZES), (n, MOST))
    low, high = RADII[size].transpose(2, 0, 1)
    radius = rng.uniform(low, high) / GRID
    cells = rng.random((n, GRID**2)).argsort(1)[:, :MOST]
    centre = np.stack([cells % GRID, cells // GRID]) + 0.5
    room = 0.5 - radius * GRID  # that a figure has in its cell, to each side
    x, y = (centre + rng.uniform(-1, 1, (2, n, MOST)) * room) / GRID
    shape, colour = rng.integers(0, len(SHAPES), (n, MOST)), rng.integers(0, len(COLOURS), (n, MOST))
    return Scenes(rng.integers(2, MOST + 1, n), size, shape, colour, x, y, radius)


def _painted(rng: np.random.Generator, scenes: Scenes, side: int) -> np.ndarray:
    n = len(scenes)
    ground = rng.uniform(30, 110, (n, 1, 1, 1)) + rng.uniform(-15, 15, (n, 1, 1, 3))
    images = np.broadcast_to(ground.astype(np.float32), (n, side, side, 3)).copy()
    shades = np.array(list(COLOURS.values()), np.float32)[scenes.colour]  # (n, MOST, 3)
    shades = (shades + rng.uniform(-18, 18, shades.shape)).astype(np.float32)
    tilts = np.deg2rad(rng.uniform(-10, 10, (n, MOST)))
    for place in range(MOST):
        members = np.flatnonzero(place < scenes.count)
        rows, columns, cover = _cover(scenes, place, tilts[:, place], side)
        where = members[:, None, None], rows[members][:, :, None], columns[members][:, None, :]
        under = images[where]
        images[where] = under + cover[members, ..., None] * (shades[members, place, None, None] - under)
    return photographed(rng.standard_normal(images.shape, dtype=np.float32), images, deviation=6)


def _cover(scenes: Scenes, place: int, tilt: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows (n, w) and columns (n, w) around figure number `place`, and how much of each pixel it covers, 0 to 1."""
    n, width = len(scenes), side // GRID + 3  # more than a figure is wide
    radius, x, y = (values[:, place] * side for values in (scenes.radius, scenes.x, scenes.y))
    lines = [np.clip(np.rint(centre - width / 2), 0, side - width)[:, None] + np.arange(width) for centre in (y, x)]
    down, across = (
        (line + 0.5 - centre[:, None]) / radius[:, None] for line, centre in zip(lines, (y, x), strict=True)
    )
    down, across = down.astype(np.float32)[:, :, None], across.astype(np.float32)[:, None, :]
    cos, sin = (turn(tilt).astype(np.float32)[:, None, None] for turn in (np.cos, np.sin))
    x, y = cos * across + sin * down, cos * down - sin * across
    distance = np.empty((n, width, width), np.float32)
    for number, name in enumerate(SHAPES):
        members = scenes.shape[:, place] == number
        distance[members] = FIGURES[name](x[members], y[members])
    cover = (0.5 - distance * radius[:, None, None]).clip(0, 1).astype(np.float32)
    return lines[0].astype(int), lines[1].astype(int), cover
