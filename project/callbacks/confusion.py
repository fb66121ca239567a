"""Which classes a classifier takes for which others."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from PIL import Image, ImageDraw
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.fonts import font
from project.callbacks.tiles import BLACK, GAP, LINE, TEXT, WHITE, clipped, write_image
from project.tasks.classification import ImageClassifier
from project.tasks.frame_classification import FrameClassification
from project.tasks.text_classification import TextClassification

DEEP = np.array([8, 48, 107])  # the blue of a share of 1
NAMED, COUNTED = 60, 20  # classes up to which names, and counts, have room
ROOM = 110  # pixels for a name, at most


class Confusion(Drawing):
    """The confusion matrix of the validation: rows are true classes, columns predicted ones.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no classifier.
    """

    def __init__(self, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        self.pairs: list[Tensor] = []  # of each batch: true class * K + predicted class, (B,)
        self.counts: Tensor | None = None  # (K, K)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, (ImageClassifier, TextClassification, FrameClassification)):
            return None
        return f"shows which classes a classifier mistakes, and this is a {type(task).__name__}"

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.pairs = []
        self.pairs.append(batch[-1] * outputs.shape[1] + outputs.argmax(1))

    def gather(self, trainer: Trainer, task: Any) -> None:
        if not self.pairs:
            return
        classes = len(trainer.datamodule.classes)  # type: ignore[attr-defined]
        counts = torch.bincount(torch.cat(self.pairs), minlength=classes**2).view(classes, classes)
        self.pairs = []
        self.counts = trainer.strategy.reduce(counts, reduce_op="sum").cpu()

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        if self.counts is not None:
            picture = confusion_picture(self.counts.numpy(), trainer.datamodule.classes)  # type: ignore[attr-defined]
            write_image(writer, "confusion", picture, step)


def confusion_picture(counts: np.ndarray, classes: Sequence[str]) -> Image.Image:
    """Colours are the share of the row, from 0 (white) to 1; up to 20 classes show their counts.

    Args:
        counts: (K, K).
        classes: K names.
    """
    number = len(classes)
    cell = 36 if number <= COUNTED else max(1, 840 // number)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    colours = np.rint(255 - shares[:, :, None] * (255 - DEEP)).astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    size = min(TEXT, cell)
    names = [clipped(name, ROOM, size) for name in classes] if number <= NAMED else []
    room = max((math.ceil(font(size).getlength(name)) for name in names), default=0)
    left, top = room + 2 * GAP, room + LINE + 2 * GAP
    picture = Image.new("RGB", (left + len(colours) + GAP, top + len(colours) + GAP), WHITE)
    pen = ImageDraw.Draw(picture)
    title = (
        f"rows: true class, columns: predicted; {np.trace(counts) / max(1, counts.sum()):.1%} of {counts.sum():,} right"
    )
    pen.text((GAP, GAP), clipped(title, picture.width - 2 * GAP), BLACK, font(TEXT))
    picture.paste(Image.fromarray(colours), (left, top))
    pen.rectangle((left - 1, top - 1, left + len(colours), top + len(colours)), outline=(160, 160, 160))
    _write_names(picture, names, (left, top), cell, room)
    if number <= COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            place = left + (column + 0.5) * cell, top + (row + 0.5) * cell
            pen.text(place, f"{count}", WHITE if shares[row, column] > 0.5 else BLACK, font(TEXT), anchor="mm")
    return picture


def _write_names(picture: Image.Image, names: Sequence[str], corner: tuple[int, int], cell: int, room: int) -> None:
    """Beside the rows, and upright above the columns, of a matrix with its upper left corner there."""
    (left, top), letters = corner, font(min(TEXT, cell))
    pen = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        pen.text((left - GAP, top + (number + 0.5) * cell), name, BLACK, letters, anchor="rm")
        lying = Image.new("RGB", (room, cell), WHITE)
        ImageDraw.Draw(lying).text((0, cell / 2), name, BLACK, letters, anchor="lm")
        picture.paste(lying.rotate(90, expand=True), (left + number * cell, top - room - GAP))
