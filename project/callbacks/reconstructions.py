"""What an autoencoder gives back."""

from typing import Any

import torch.nn.functional as F
from lightning import Trainer

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import FixedImages
from project.callbacks.tiles import grid, sized, stacked, write_image
from project.tasks.reconstruction import Reconstruction


class Reconstructions(Drawing):
    """Images of the validation, the same ones each time, and below each what comes back and its mean squared error.

    The error is that of the loss: per normalised pixel and channel.

    Args:
        count: images, spread evenly over the classes.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no autoencoder's.
    """

    def __init__(self, count: int = 16, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        self.fixed = FixedImages(self.key, count)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, Reconstruction):
            return None
        return f"shows what an autoencoder gives back, and this is a {type(task).__name__}"

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        images, _ = self.fixed.batch(trainer)
        back = self.fixed.answers(trainer, task.net)
        errors = F.mse_loss(back, images.float(), reduction="none").flatten(1).mean(1)  # (N,)
        pairs = zip(self.fixed.pixels(trainer, images), self.fixed.pixels(trainer, back), strict=True)
        tiles = [stacked(sized(before), sized(after)) for before, after in pairs]
        write_image(writer, "reconstructions", grid(tiles, 8, [f"{error:.3f}" for error in errors.tolist()]), step)
