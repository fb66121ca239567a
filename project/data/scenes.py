"""Pictures of two to four figures with captions, made on the spot: a data set that needs no file and no network."""

from functools import lru_cache
from typing import Any

import numpy as np

from project.data.captions import CaptionDataModule, Captioned
from project.data.figures import Scenes as Drawn
from project.data.figures import draw_scenes
from project.data.module import require
from project.data.statements import captions, faults

MOST_CAPTIONS = 5
SPLITS = {"train": 1, "val": 2, "test": 3}  # what the pictures of each part are drawn from
# trial after trial in one process needs the same; nobody writes to it
_drawn = lru_cache(maxsize=len(SPLITS))(draw_scenes)


class Scenes(CaptionDataModule):
    """One to five captions of each picture, which say where one figure is to another, the same ones in every run.

    Captions are right in several ways: of any two figures, in any wording, with or without their sizes. `faults` tells
    whether one is true.

    Args:
        train_images: to train on.
        val_images: for validation.
        test_images: to test on.
        image_size: side in pixels.
        common: what `CaptionDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    checks = True

    def __init__(
        self,
        train_images: int = 10000,
        val_images: int = 500,
        test_images: int = 2000,
        image_size: int = 48,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.images = {"train": train_images, "val": val_images, "test": test_images}
        for split, count in self.images.items():
            require(count >= 2, f"data.{split}_images must be at least 2", count)
        require(24 <= image_size <= 256, "data.image_size must be from 24 to 256 pixels", image_size)
        self.image_size = image_size
        self.scenes: dict[str, Drawn] = {}

    def read(self) -> dict[str, Captioned]:
        return {split: self._made(split, count) for split, count in self.images.items()}

    def _made(self, split: str, count: int) -> Captioned:
        images, self.scenes[split] = _drawn(count, SPLITS[split], self.image_size)
        written = []
        for number, scene in enumerate(self.scenes[split]):
            rng = np.random.default_rng((SPLITS[split], number, 1))
            written.append(captions(scene, rng, int(rng.integers(1, MOST_CAPTIONS + 1))))
        return Captioned(images, np.arange(count), written)

    def faults(self, split: str, place: int, caption: str) -> int:
        return faults(caption, self.scenes[split][place])
