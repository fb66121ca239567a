"""Videos frame by frame, with what each frame is and what the network says of it."""

from typing import Any

import numpy as np
from lightning import Trainer

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import answer
from project.callbacks.tiles import grid, pixels_of, sized, write_image
from project.tasks.frame_classification import FrameClassification

EDGE, RIGHT, WRONG = 3, (40, 160, 70), (215, 40, 40)  # pixels of a tile's lower edge, and its colours
SIDE = 56  # of a tile, at least


class Frames(Drawing):
    """Videos of the validation, a row each: the true class below each frame, then the predicted one; red where wrong.

    The same ones in every picture, from short to long.

    Args:
        count: videos.
        frames: shown of each, from the first to the last, evenly spread, at most.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task classifies no frames.
    """

    def __init__(
        self,
        count: int = 4,
        frames: int = 10,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        for name, value, most in (("count", count, 16), ("frames", frames, 24)):
            if not 1 <= value <= most:
                raise ValueError(f"callbacks.frames.{name} must be from 1 to {most}, got {value}")
        self.count, self.frames = count, frames
        self._batch: Any = None

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, FrameClassification):
            return None
        return f"shows videos frame by frame, and this is a {type(task).__name__}"

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if self._batch is None:
            self._batch = data.examples("val", self.count)
        frames, lengths, labels = self._batch
        logits = answer(trainer, lambda images: task.net(images, lengths), frames)  # (N, K)
        shares, predicted = logits.softmax(1).max(1)
        pixels = pixels_of(frames, data.mean, data.std)
        rows = zip(*(part.cpu().split(lengths.tolist()) for part in (labels, predicted, shares)), strict=True)
        tiles, captions = [], []
        for own, (true, said, sure) in zip(np.split(pixels, lengths.cumsum(0)[:-1]), rows, strict=True):
            shown = np.unique(np.linspace(0, len(own) - 1, min(self.frames, len(own))).round().astype(int))
            tiles += [edged(sized(own[at], least=SIDE), bool(true[at] == said[at])) for at in shown]
            captions += [
                f"{data.classes[int(true[at])]}\n{data.classes[int(said[at])]} {float(sure[at]):.0%}" for at in shown
            ]
            missing = self.frames - len(shown)
            tiles += [np.full_like(tiles[0], 255)] * missing
            captions += [""] * missing
        write_image(
            writer,
            "frames",
            grid(tiles, self.frames, captions, "true class, predicted class; a red line where they differ"),
            step,
        )


def edged(tile: np.ndarray, right: bool) -> np.ndarray:
    """A tile (H, W, 3) with a line below it, green or red."""
    line = np.empty((EDGE, tile.shape[1], 3), np.uint8)
    line[:] = RIGHT if right else WRONG
    return np.concatenate([tile, line])
