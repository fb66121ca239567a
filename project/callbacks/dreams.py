"""What a network's units would like to see: images made by gradient ascent."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer

from project.callbacks.drawing import Drawing
from project.callbacks.tiles import grid, pixels_of, sized, write_image
from project.errors import UserError
from project.nets.dreaming import Dreamer, units
from project.nets.layers import output_shapes
from project.nets.sampling import evaluating
from project.tasks.classification import ImageClassifier
from project.tasks.reconstruction import Reconstruction

FIRST = 8  # units that are shown unless some are named


class Dreams(Drawing):
    """For each unit an image that excites it. All dreams begin with the same noise, whenever they are drawn.

    Args:
        layer: its name in the network; None: the logits.
        units: classes by number, or channels of the layer; None: the first 8.
        steps: see `project.nets.dreaming.Dreamer`, as for `rate`, `jitter`, `blur` and `seed`.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is none of images, or there is no such layer or unit.
    """

    def __init__(
        self,
        layer: str | None = None,
        units: Sequence[int] | None = None,
        steps: int = 64,
        rate: float = 0.05,
        jitter: int = 2,
        blur: float = 0.1,
        seed: int = 0,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        try:
            self.dreamer = Dreamer(steps, rate, jitter, blur, seed)
        except ValueError as error:
            raise ValueError(f"callbacks.dreams.{error}") from None
        if units is not None and not units:
            raise ValueError("callbacks.dreams.units must name a unit, or be null for the first ones, got none")
        self.layer, self.units = layer, None if units is None else list(units)
        self.shown: list[int] = []

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, ImageClassifier) or (isinstance(task, Reconstruction) and self.layer is not None):
            return None
        what = "has no logits to dream of, name a layer" if isinstance(task, Reconstruction) else "sees no images"
        return f"shows what units would like to see, and this {type(task).__name__} {what}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and self.active:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            width = len(data.classes) if self.layer is None else self._channels(pl_module.net, data.image_shape)
            self.shown = list(range(min(FIRST, width))) if self.units is None else self.units
            for unit in self.shown:
                if not 0 <= unit < width:
                    raise UserError(f"callbacks.dreams.units must be from 0 to {width - 1} here, got {unit}")

    def _channels(self, net: Any, image_shape: Sequence[int]) -> int:
        with evaluating(net):
            shapes = output_shapes(net, image_shape)
        if self.layer not in shapes:
            raise UserError(
                f"callbacks.dreams.layer: {self.layer} is no layer of {type(net).__name__}; "
                f"those are: {', '.join(shapes)}"
            )
        return shapes[self.layer][1]

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        mean, std = (torch.tensor(values, device=task.device) for values in (data.mean, data.std))
        shape = (len(self.shown), *data.image_shape)
        excitement = units(task.net, self.shown, self.layer)
        precision = trainer.precision_plugin
        with precision.forward_context():
            images = self.dreamer(
                lambda x: excitement(precision.convert_input(x)).float(), shape, -mean / std, (1 - mean) / std
            )
            reached = excitement(precision.convert_input(images)).float().tolist()
        names = [data.classes[unit] if self.layer is None else f"channel {unit}" for unit in self.shown]
        captions = [f"{name}\n{value:.3g}" for name, value in zip(names, reached, strict=True)]
        tiles = [sized(pixels, least=96) for pixels in pixels_of(images, data.mean, data.std)]
        write_image(writer, "dreams", grid(tiles, 4, captions, title=self.layer or "logits"), step)
