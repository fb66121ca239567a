"""What the network is trained on, as it sees it."""

from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from torch import Tensor

from project.callbacks.drawing import Drawing, writers
from project.callbacks.key_points import with_points
from project.callbacks.marks import coloured
from project.callbacks.tiles import grid, pixels_of, sized, stacked, write_image
from project.data.images import ImageDataModule
from project.data.loader import alone
from project.data.targeted import TargetedDataModule

MOST_TARGETS = 16  # images with points or masks, whose tiles are larger


class Inputs(Drawing):
    """The first images of the first training batch in TensorBoard: augmented, de-normalised, with their classes, points
    or masks.

    Drawn once, before the training; a run that is resumed has it already.

    Args:
        count: images, at most as many as a batch has.
        where_it_fits: see `Drawing`.

    Raises:
        ValueError: `count` below 1.
        UserError: in `setup`: the data are no images.
    """

    def __init__(self, count: int = 32, where_it_fits: bool = False) -> None:
        super().__init__(None, where_it_fits)
        if count < 1:
            raise ValueError(f"callbacks.inputs.count must be at least 1, got {count}")
        self.count = count

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        return (
            None
            if isinstance(data, ImageDataModule | TargetedDataModule)
            else f"shows images, and these are {_unit(data)}"
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.active or trainer.ckpt_path is not None:
            return
        for writer in writers(trainer):
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            count = min(
                self.count, data.batch_size, MOST_TARGETS if isinstance(data, TargetedDataModule) else self.count
            )
            loader = alone(trainer.train_dataloader, count, count)  # type: ignore[arg-type]
            images, targets = next(loader.batches(loader.epoch, 0))
            tiles, captions = _shown(data, pixels_of(images, data.mean, data.std), targets)
            write_image(writer, "inputs", grid(tiles, 8, captions), pl_module.samples_seen)  # type: ignore[arg-type]

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        """Nothing more: the batches to come look like the first."""


def _shown(data: Any, pixels: np.ndarray, targets: Tensor) -> tuple[list[np.ndarray], list[str]]:
    """Tiles of images (N, H, W, 3) and their captions: classes; or points drawn into them, or masks below them."""
    if isinstance(data, ImageDataModule):
        return [sized(image) for image in pixels], [data.classes[label] for label in targets.tolist()]
    if "points" in data.named:
        return [with_points(image, own, []) for image, own in zip(pixels, targets.tolist(), strict=True)], []
    masks = coloured(targets.cpu().numpy(), len(data.named["classes"]))
    return [stacked(sized(image), sized(mask)) for image, mask in zip(pixels, masks, strict=True)], []


def _unit(data: Any) -> str:
    return str(getattr(data, "unit", "no images"))
