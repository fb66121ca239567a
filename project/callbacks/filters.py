"""What the first layer looks for: its weights as images (Krizhevsky et al. 2012, figure 3)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from lightning import Trainer
from torch import Tensor, nn

from project.callbacks.drawing import Drawing
from project.callbacks.tiles import grid, sized, to_bytes, write_image

WEIGHTS = 48 * 1024  # of a channel, that a picture has room for: 48 rows of a fully connected layer on 32x32 pixels


class Filters(Drawing):
    """The first layer's filters as colour images at validations; grey is a weight of zero.

    A convolution's kernels, or the rows of a fully connected layer in the shape of the image.

    Args:
        count: filters, the first ones.
        common_scale: false: each filter has a contrast of its own, so that weak ones are seen; true: all have that of
            the strongest.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: no layer of the network takes the image itself.
    """

    def __init__(
        self,
        count: int = 96,
        common_scale: bool = False,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if count < 1:
            raise ValueError(f"callbacks.filters.count must be at least 1, got {count}")
        self.count, self.common_scale = count, common_scale

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not getattr(data, "image_shape", None):
            return "shows filters of images, and these data are none"
        if first_filters(task.net, data.image_shape) is None:
            return f"found no convolution and no linear layer of {type(task.net).__name__} that takes the image itself"
        return None

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        weights = first_filters(task.net, trainer.datamodule.image_shape)  # type: ignore[attr-defined]
        assert weights is not None
        count = min(self.count, max(16, WEIGHTS // math.prod(weights.shape[2:])))
        tiles = [sized(pixels, least=40) for pixels in filter_pixels(weights[:count], self.common_scale)]
        columns = 12 if tiles[0].shape[1] < 60 else 8
        title = f"{len(tiles)} of {len(weights)} filters, {weights.shape[2]}x{weights.shape[3]}"
        write_image(writer, "filters", grid(tiles, columns, title=title), step)


def first_filters(net: nn.Module, image_shape: Sequence[int]) -> Tensor | None:
    """(N, C, h, w) weights of the first layer that takes images (C, H, W) themselves; None: there is none."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[1] == image_shape[0]:
            return module.weight.detach()
        if isinstance(module, nn.Linear) and module.in_features == math.prod(image_shape):
            return module.weight.detach().unflatten(1, tuple(image_shape))
    return None


def filter_pixels(weights: Tensor, common_scale: bool) -> np.ndarray:
    """(N, h, w, 3) uint8 of filters (N, 3, h, w): zero is the middle grey, the weight of largest magnitude an end."""
    rows = weights.float().cpu().permute(0, 2, 3, 1).numpy()
    strongest = np.abs(rows).max(axis=None if common_scale else (1, 2, 3), keepdims=True)
    return to_bytes(0.5 + 0.5 * rows / np.maximum(strongest, np.finfo(np.float32).tiny))
