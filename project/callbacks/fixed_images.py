"""The images that are looked at again and again, so that pictures of a run can be compared."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch import Tensor

from project.callbacks.tiles import pixels_of

MOST = 64


class FixedImages:
    """Images of the validation, spread evenly over the classes: the same ones in every picture and after a resume.

    Args:
        owner: the callback's key in the config, for the message.
        count: images, at most 64.

    Raises:
        ValueError: `count` out of range.
    """

    def __init__(self, owner: str, count: int) -> None:
        if not 1 <= count <= MOST:
            raise ValueError(f"{owner}.count must be from 1 to {MOST} images, got {count}")
        self.count = count
        self._batch: tuple[Tensor, Tensor] | None = None

    def batch(self, trainer: Trainer) -> tuple[Tensor, Tensor]:
        """Normalised images (N, C, H, W) on the device, and labels (N,)."""
        if self._batch is None:
            with torch.inference_mode(False):  # gradients may be asked for
                self._batch = next(trainer.datamodule.examples("val", self.count))  # type: ignore[attr-defined]
        return self._batch

    def pixels(self, trainer: Trainer, images: Tensor) -> np.ndarray:
        """(N, H, W, 3) uint8 of normalised images (N, C, H, W)."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        return pixels_of(images, data.mean, data.std)

    def names(self, trainer: Trainer) -> Sequence[str]:
        """The images' classes."""
        _, labels = self.batch(trainer)
        return [trainer.datamodule.classes[label] for label in labels.tolist()]  # type: ignore[attr-defined]

    def answers(self, trainer: Trainer, function: Callable[[Tensor], Any]) -> Tensor:
        """What a network gives for the images in the precision of the validation, as float32."""
        return answer(trainer, function, self.batch(trainer)[0])


@torch.no_grad()
def answer(trainer: Trainer, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """`function` of images in the precision of the validation, as float32."""
    precision = trainer.precision_plugin
    with precision.forward_context():
        return function(precision.convert_input(images)).float()
