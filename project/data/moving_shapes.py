"""Two figures that come in, move and bump into each other: videos made on the spot, which need no file and no network.

Some of their labels can be told from the frame alone, others only by who remembers the frames before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from project.data.ahead import ahead
from project.data.module import require
from project.data.shapes import FIGURES
from project.data.videos import VideoDataModule, Videos

SIDE = 32
KINDS = ("disc", "cross", "frame", "triangle")
COLOURS = {"red": (215, 45, 45), "green": (40, 170, 60), "blue": (50, 80, 225), "yellow": (225, 200, 40)}
MOST_MEETINGS = 3
CLASSES = {
    "first": ["none", *COLOURS],
    "meetings": ["0", "1", "2", "3 or more"],
    "count": ["0", "1", "2"],
}
RADIUS = 5.0  # pixels; a figure's whole circle is in the picture from its first frame on
TOUCHING, APART = 1.1 * RADIUS, 2.2 * RADIUS  # distances of the centres: of two that meet, and below which they do
SLOWEST, FASTEST = 2.6, 4.2  # pixels a frame
LATEST, LATEST_AFTER = 3, 4  # frames: the first figure comes at 0 to 3, the other 1 to 4 frames later
CHUNK = 256  # frames drawn at a time


@dataclass(frozen=True)
class Scenes:
    """What happens in n videos of T frames. Of a video's two figures, 0 is the one that comes first."""

    entries: np.ndarray  # (2, n) the frames in which they come in
    places: np.ndarray  # (T, 2, n, 2) centres, rows and columns; of no meaning before the entry
    met: np.ndarray  # (T, n) how many times so far


def move(rng: np.random.Generator, n: int, steps: int) -> Scenes:
    """n videos of so many frames.

    Each figure comes in at a random place of a random side, goes straight on, bounces off the sides, and is thrown
    back when it meets the other. Two figures either overlap clearly, in the frame in which they meet, or are clearly
    apart, so that a frame leaves no doubt.
    """
    entries = np.empty((2, n), np.int64)
    entries[0] = rng.integers(0, LATEST + 1, n)
    entries[1] = entries[0] + rng.integers(1, LATEST_AFTER + 1, n)
    (at, velocity), (nearest, farthest) = _doors(rng, n), (RADIUS, SIDE - 1 - RADIUS)
    places, met = np.empty((steps, 2, n, 2), np.float32), np.zeros((steps, n), np.int64)
    touched = np.zeros(n, bool)
    for step in range(steps):
        moving = (entries < step)[:, :, None]  # (2, n, 1)
        at = np.where(moving, at + velocity, at)
        beyond = (at < nearest) | (at > farthest)
        velocity = np.where(beyond & moving, -velocity, velocity)
        at = np.where(at < nearest, 2 * nearest - at, np.where(at > farthest, 2 * farthest - at, at))
        entering = entries[1] == step
        at[1] = np.where((entering & (_gap(at) < APART))[:, None], SIDE - 1 - at[1], at[1])  # not on top of the other
        velocity[1] = np.where((entering[:, None]) & ((at[1] - SIDE / 2) * velocity[1] > 0), -velocity[1], velocity[1])
        touching = (entries[1] < step) & (_gap(at) < APART) & ~touched  # thrown back, they have a frame to part
        at, velocity = _bump(rng, at, velocity, touching, nearest, farthest)
        met[step] = met[step - 1] + touching if step else 0
        places[step], touched = at, touching
    return Scenes(entries, places, met)


def _doors(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Places just inside of a side, and velocities inwards, (2, n, 2) each."""
    at = rng.uniform(RADIUS, SIDE - 1 - RADIUS, (2, n, 2))
    axis, far = rng.integers(0, 2, (2, n, 1)), rng.integers(0, 2, (2, n, 1))
    at = np.where(np.arange(2) == axis, np.where(far, SIDE - 1 - RADIUS, RADIUS), at)
    angle = np.deg2rad(rng.uniform(-60, 60, (2, n, 1)))
    speed = rng.uniform(SLOWEST, FASTEST, (2, n, 1))
    velocity = speed * np.where(np.arange(2) == axis, np.cos(angle) * np.where(far, -1, 1), np.sin(angle))
    return at, velocity


def _gap(at: np.ndarray) -> np.ndarray:
    """(n,) distances of the centres (2, n, 2)."""
    return np.hypot(*(at[1] - at[0]).T)


def _bump(
    rng: np.random.Generator, at: np.ndarray, velocity: np.ndarray, touching: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Those that touch are brought to one distance, and thrown back: away from each other, at any speed."""
    towards = (at[1] - at[0]) / np.maximum(_gap(at), 1e-6)[:, None]  # (n, 2)
    middle = at.mean(0).clip(low + TOUCHING / 2, high - TOUCHING / 2)
    signs = np.array([-0.5, 0.5])[:, None, None]
    turn = np.deg2rad(rng.uniform(-35, 35, (2, len(touching))))
    back = 2 * signs * towards
    cos, sin = np.cos(turn), np.sin(turn)
    back = np.stack([cos * back[..., 0] - sin * back[..., 1], sin * back[..., 0] + cos * back[..., 1]], -1)
    speed = rng.uniform(SLOWEST + 0.4, FASTEST, (2, len(touching), 1))
    where = touching[:, None]
    return np.where(where, middle + signs * TOUCHING * towards, at), np.where(where, speed * back, velocity)


def label(scenes: Scenes, colours: np.ndarray, labels: str) -> np.ndarray:
    """The label of every frame, (T, n) int64; `colours` (2, n) are the figures' numbers in `COLOURS`."""
    steps = np.arange(len(scenes.met))[:, None]
    if labels == "meetings":
        return np.minimum(scenes.met, MOST_MEETINGS)
    if labels == "count":
        return (steps[:, None] >= scenes.entries).sum(1)
    return np.where(steps >= scenes.entries[0], 1 + colours[0], 0)


def draw(count: int, seed: int, labels: str, lengths: Sequence[int]) -> Videos:
    """`count` videos of `lengths[0]` to `lengths[1]` frames; a function of the arguments alone.

    Colours, kinds, which figure lies on top, the ground and the noise have nothing to do with which one came first.
    """
    rng = np.random.default_rng(seed)
    own = rng.integers(lengths[0], lengths[1] + 1, count)
    scenes, looks = move(rng, count, int(lengths[1])), Looks(rng, count)
    starts = np.concatenate([[0], own.cumsum()])
    video = np.repeat(np.arange(count), own)  # (M,) the video of each frame, and its time there
    time = np.arange(starts[-1]) - starts[video]
    frames = np.empty((len(video), SIDE, SIDE, 3), np.uint8)
    chunks = [slice(start, start + CHUNK) for start in range(0, len(video), CHUNK)]
    noises = (rng.standard_normal(frames[chunk].shape, dtype=np.float32) for chunk in chunks)
    for chunk, noise in zip(chunks, ahead(noises), strict=True):
        frames[chunk] = looks.paint(noise, scenes, video[chunk], time[chunk])
    return Videos(frames, starts, label(scenes, looks.colours, labels)[time, video])


class Looks:
    """What n videos look like: the ground and its slope, both figures' colours and kinds, which is drawn last."""

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self.colours = np.empty((2, n), np.int64)
        self.colours[0] = rng.integers(0, len(COLOURS), n)
        self.colours[1] = (self.colours[0] + rng.integers(1, len(COLOURS), n)) % len(COLOURS)  # another one
        palette = np.array(list(COLOURS.values()), np.float32)
        self.paints = (palette[self.colours] + rng.uniform(-25, 25, (2, n, 3)))[:, :, None, None].astype(np.float32)
        self.kinds = rng.integers(0, len(KINDS), (2, n))
        self.ground = (rng.uniform(30, 225, (n, 1)) + rng.uniform(-12, 12, (n, 3)))[:, None, None].astype(np.float32)
        self.slope = rng.uniform(-40, 40, (2, n, 1, 1, 1)).astype(np.float32)
        self.on_top = rng.integers(0, 2, n)

    def paint(self, noise: np.ndarray, scenes: Scenes, video: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Frames (F, H, W, 3) uint8: those of the videos (F,) at the times (F,), with noise of a deviation of 1."""
        videos, own = np.unique(video, return_inverse=True)
        line = np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)[:, None]
        images = (self.ground[videos] + self.slope[0][videos] * line + self.slope[1][videos] * line[:, None])[own]
        images += 8 * noise
        for layer in range(2):
            who = layer ^ self.on_top[video]  # (F,)
            seen = np.flatnonzero(time >= scenes.entries[who, video])
            who, where = who[seen], video[seen]
            window, cover = _cover(scenes.places[time[seen], who, where], self.kinds[who, where])
            pixels = seen[:, None, None], *window
            beneath = images[pixels]
            images[pixels] = beneath + cover[..., None] * (self.paints[who, where] - beneath)
        return images.clip(0, 255).astype(np.uint8)


_drawn = lru_cache(maxsize=2)(draw)  # trial after trial in one process needs the same; nobody writes to it


def _cover(places: np.ndarray, kinds: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Rows (F, W, 1) and columns (F, 1, W) of the pixels around figures at `places` (F, 2), and their shares, 0 to 1.

    `kinds` (F,) are their numbers in `KINDS`; (F, W, W) says how much of each pixel is covered.
    """
    window = np.floor(places).astype(np.int64)[:, :, None] + np.arange(-5, 6)  # (F, 2, W)
    offset = ((window - places[:, :, None]) / RADIUS).astype(np.float32)
    down, across = np.broadcast_arrays(offset[:, 0, :, None], offset[:, 1, None])
    distance = np.empty_like(down)
    for number, kind in enumerate(KINDS):
        members = kinds == number
        distance[members] = FIGURES[kind](across[members], down[members])
    return (window[:, 0, :, None], window[:, 1, None]), (0.5 - distance * RADIUS).clip(0, 1)


class MovingShapes(VideoDataModule):
    """Videos of two figures, 32x32, the same ones in every run.

    Labels of a frame: `first`, the colour of the figure that came in first (`none` before), and `meetings`, how many
    times the two have met so far, need memory; `count`, how many figures are in view, needs none.

    Args:
        labels: which of them.
        train_videos: to train and validate on.
        test_videos: to test on.
        shortest: frames, at least 8: by then both figures are in view.
        longest: frames.
        common: what `VideoDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        labels: Literal["first", "meetings", "count"] = "first",
        train_videos: int = 2000,
        test_videos: int = 400,
        shortest: int = 8,
        longest: int = 24,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(labels in CLASSES, f"data.labels must be one of {', '.join(CLASSES)}", labels)
        require(train_videos >= 20, "data.train_videos must be at least 20", train_videos)
        require(test_videos >= 10, "data.test_videos must be at least 10", test_videos)
        least = LATEST + LATEST_AFTER + 1
        require(shortest >= least, f"data.shortest must be at least {least} frames", shortest)
        require(longest >= shortest, f"data.longest must be at least data.shortest={shortest} frames", longest)
        self.labels, self.classes = labels, CLASSES[labels]
        self.counts_wanted = {"train": train_videos, "test": test_videos}
        self.frames_between = (shortest, longest)

    def read(self) -> tuple[Videos, dict[str, np.ndarray], np.ndarray]:
        parts = [
            _drawn(count, seed, self.labels, self.frames_between)
            for seed, count in enumerate(self.counts_wanted.values(), 1)
        ]
        videos = Videos(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([[0], np.concatenate([part.lengths for part in parts]).cumsum()]),
            np.concatenate([part.labels for part in parts]),
        )
        train, test = (len(part) for part in parts)
        numbers = {"train": np.arange(train), "test": np.arange(train, train + test)}
        return videos, numbers, np.zeros(train + test, np.int64)
