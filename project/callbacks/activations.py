"""What the layers inside a network see in an image: activation maps (Yosinski et al. 2015)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import FixedImages
from project.callbacks.tiles import grid, sized, stretched, to_bytes, write_image
from project.errors import UserError
from project.nets.layers import layer_outputs, output_shapes
from project.nets.sampling import evaluating
from project.tasks.classification import ImageClassifier
from project.tasks.reconstruction import Reconstruction


class Activations(Drawing):
    """A picture for each layer: rows are images of the validation, columns the image and the layer's channels.

    A map is black where it is lowest and white where it is highest: what it says is where, not how much.

    Args:
        layers: names of layers in the network; None: its first convolution, one in the middle, and its last.
        count: images, spread evenly over the classes.
        channels: of each layer, the first ones.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the network has no maps of images, or no layer of a name.
    """

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        count: int = 4,
        channels: int = 12,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if channels < 1:
            raise ValueError(f"callbacks.activations.channels must be at least 1, got {channels}")
        self.layers, self.channels = None if layers is None else list(layers), channels
        self.fixed = FixedImages(self.key, count)
        self.shown: list[str] = []

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if not isinstance(task, (ImageClassifier, Reconstruction)):
            return f"shows what layers see in images, and this is a {type(task).__name__}"
        if self.layers is None and not any(isinstance(module, nn.Conv2d) for module in task.net.modules()):
            return f"shows maps of convolutions, and {type(task.net).__name__} has none"
        return None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and self.active:
            net: Any = pl_module.net
            with evaluating(net):
                shapes = output_shapes(net, trainer.datamodule.image_shape)  # type: ignore[attr-defined]
            maps = [name for name, shape in shapes.items() if len(shape) == 4]
            for name in self.layers or []:
                if name not in maps:
                    raise UserError(
                        f"callbacks.activations.layers: {name} is no layer of {type(net).__name__} that puts out maps; "
                        f"those that do: {', '.join(maps) or 'none'}"
                    )
            self.shown = self.layers or a_few([name for name in maps if isinstance(net.get_submodule(name), nn.Conv2d)])

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        images, _ = self.fixed.batch(trainer)
        found: dict[str, Tensor] = {}

        def maps(images: Tensor) -> Tensor:
            found.update(layer_outputs(task.net, self.shown, images))
            return images

        self.fixed.answers(trainer, maps)
        inputs = [sized(image) for image in self.fixed.pixels(trainer, images)]
        for name, outputs in found.items():
            rows = map_pixels(outputs[:, : self.channels])
            tiles = []
            for image, row in zip(inputs, rows, strict=True):
                tiles += [image, *(stretched(part, *image.shape[:2]) for part in row)]
            height, width = outputs.shape[2:]
            title = f"{name}: {rows.shape[1]} of {outputs.shape[1]} channels, {height}x{width}"
            write_image(writer, f"activations/{name}", grid(tiles, 1 + rows.shape[1], title=title), step)


def a_few(names: Sequence[str]) -> list[str]:
    """The first, the middle and the last of them."""
    return [names[place] for place in sorted({0, len(names) // 2, len(names) - 1})] if names else []


def map_pixels(maps: Tensor) -> np.ndarray:
    """(N, C, H, W, 3) uint8 of maps (N, C, H, W), each from its lowest value to its highest."""
    values = maps.float()
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    shares = (values - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)
    return to_bytes(shares.cpu().numpy())[..., None].repeat(3, axis=4)
