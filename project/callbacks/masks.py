"""Pictures, their masks, and what the network makes of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from lightning import Trainer
from PIL import Image, ImageDraw
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import FixedImages
from project.callbacks.fonts import font
from project.callbacks.marks import class_colours, coloured
from project.callbacks.tiles import BLACK, GAP, LINE, TEXT, WHITE, clipped, grid, sized, write_image
from project.callbacks.verbatim import visible
from project.tasks.segmentation import IGNORED, Segmentation, overlaps, pixel_confusion

SIDE, ROOM = 96, 110  # pixels of a tile, and of a class's name
NAMED = 40  # classes that are named below the picture


class Masks(Drawing):
    """Images of the validation, the same ones each time, with the true and the predicted mask beside each.

    The captions are the share of pixels that are right; the classes' colours stand below, with their intersection over
    union in the whole validation, which is also drawn as a curve for each, `iou/<class>`.

    Args:
        count: images, spread evenly over the validation part.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task gives no masks.
    """

    def __init__(self, count: int = 8, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        self.fixed = FixedImages(self.key, count)
        self.confusion: Tensor | None = None  # (K, K) counts of the validation

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, Segmentation):
            return None
        return f"shows a class for every pixel, and this is a {type(task).__name__}"

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        counts = pixel_confusion(outputs, batch[1].long(), task.num_classes)
        self.confusion = counts if batch_idx == 0 or self.confusion is None else self.confusion + counts

    def gather(self, trainer: Trainer, task: Any) -> None:
        if self.confusion is not None and trainer.world_size > 1:
            self.confusion = trainer.strategy.reduce(self.confusion, reduce_op="sum")  # type: ignore[assignment]

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        if self.confusion is None:
            return
        both, either = overlaps(self.confusion.cpu())
        self.confusion = None
        found = (both.double() / either.double()).tolist()  # NaN: neither there nor predicted
        classes: list[str] = trainer.datamodule.classes  # type: ignore[attr-defined]
        for name, value in zip(classes, found, strict=True):
            if value == value:
                writer.add_scalar(f"iou/{visible(name)}", value, global_step=step)
        images, masks = self.fixed.batch(trainer)
        said = self.fixed.answers(trainer, task.net).argmax(1)
        known = masks != IGNORED
        right = ((said == masks) & known).sum((1, 2)) / known.sum((1, 2)).clamp_min(1)
        parts = (self.fixed.pixels(trainer, images), *(part.byte().cpu().numpy() for part in (masks, said)))
        tiles = [side_by_side(image, true, answer, len(classes)) for image, true, answer in zip(*parts, strict=True)]
        picture = grid(tiles, 2, [f"{share:.1%} right" for share in right.tolist()], "image, true, predicted")
        write_image(writer, "masks", with_legend(picture, classes, found), step)


def side_by_side(pixels: np.ndarray, true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """An image (H, W, 3) and two masks (H, W) as one tile, each enlarged or made smaller alike."""
    parts = [sized(part, SIDE, SIDE) for part in (pixels, coloured(true, classes), coloured(predicted, classes))]
    line = np.full((len(parts[0]), 2, 3), 255, np.uint8)
    return np.concatenate([parts[0], line, parts[1], line, parts[2]], axis=1)


def with_legend(picture: Image.Image, classes: Sequence[str], found: Sequence[float]) -> Image.Image:
    """A picture with the first classes' colours, names and intersections over union below it."""
    columns = max(1, (picture.width - GAP) // (ROOM + LINE + GAP))
    names = classes[:NAMED]
    whole = Image.new("RGB", (picture.width, picture.height + -(-len(names) // columns) * (LINE + GAP) + GAP), WHITE)
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for number, (name, colour) in enumerate(zip(names, class_colours(len(classes)).tolist(), strict=False)):
        x = GAP + number % columns * (ROOM + LINE + GAP)
        y = picture.height + number // columns * (LINE + GAP)
        pen.rectangle((x, y, x + LINE - 2, y + LINE - 2), fill=tuple(colour), outline=(160, 160, 160))
        value = "" if found[number] != found[number] else f" {found[number]:.3f}"
        short = clipped(name, round(ROOM - font(TEXT).getlength(value)))
        pen.text((x + LINE + GAP, y), f"{short}{value}", BLACK, font(TEXT))
    return whole
