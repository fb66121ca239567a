"""Pictures with their points, and where the network sees them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from lightning import Trainer
from PIL import Image

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import FixedImages
from project.callbacks.marks import mark
from project.callbacks.tiles import grid, sized, write_image
from project.tasks.regression import Regression

SIDE = 160  # pixels of a tile, or about as many


class KeyPoints(Drawing):
    """Images of the validation, the same ones each time: rings are the true points, crosses the predicted ones.

    A colour for each point; the captions are the mean distance between the two, in pixels of the image.

    Args:
        count: images, spread evenly over the validation part.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no regression of points.
    """

    def __init__(self, count: int = 12, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        self.fixed = FixedImages(self.key, count)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, Regression):
            return None
        return f"shows points in images, and this is a {type(task).__name__}"

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        images, points = self.fixed.batch(trainer)
        found = self.fixed.answers(trainer, task.predict)
        distances = (found - points).norm(dim=2).nanmean(1)
        parts = zip(self.fixed.pixels(trainer, images), points.tolist(), found.tolist(), strict=True)
        tiles = [with_points(pixels, true, guessed) for pixels, true, guessed in parts]
        captions = [f"{distance:.2f} pixels" for distance in distances.tolist()]
        title = f"rings: true, crosses: predicted; {', '.join(trainer.datamodule.named['points'])}"  # type: ignore[attr-defined]
        write_image(writer, "key_points", grid(tiles, 6, captions, title), step)


def with_points(pixels: np.ndarray, true: Sequence[Sequence[float]], found: Sequence[Sequence[float]]) -> np.ndarray:
    """An image (H, W, 3) enlarged, with its true points (K, 2) as rings and those that were found as crosses."""
    height = len(pixels)
    tile = sized(pixels, least=SIDE, most=SIDE)
    picture, scale = Image.fromarray(tile), len(tile) / height
    for points, ring in ((true, True), (found, False)):
        places = [((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5) for x, y in points]
        mark(picture, places, size=5 if ring else 3, ring=ring)
    return np.asarray(picture)
