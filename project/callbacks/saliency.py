"""Where a classifier looks: saliency maps (Simonyan et al. 2014) and occlusion (Zeiler and Fergus 2014)."""

from typing import Any

import numpy as np
from lightning import Trainer
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import FixedImages
from project.callbacks.tiles import grid, sized, stacked, to_bytes, write_image
from project.nets.saliency import gradient_saliency, occlusion
from project.tasks.classification import ImageClassifier


class Saliency(Drawing):
    """Images of the validation, and below each what the answer hangs on, from black (nothing) over red to white.

    First the gradient of the likeliest class's logit, then what its probability loses while a grey square hides a
    place; each map is scaled to its own largest value. The captions are the answer and the true class.

    Args:
        count: images, spread evenly over the classes.
        occlusion: side of the square as a share of the image's; 0: no occlusion.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no classifier of images.
    """

    def __init__(
        self,
        count: int = 8,
        occlusion: float = 0.25,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if not 0 <= occlusion < 1:
            raise ValueError(f"callbacks.saliency.occlusion must be at least 0 and below 1, got {occlusion}")
        self.occlusion = occlusion
        self.fixed = FixedImages(self.key, count)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, ImageClassifier):
            return None
        return f"shows where a classifier of images looks, and this is a {type(task).__name__}"

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        images, _ = self.fixed.batch(trainer)
        shares, said = self.fixed.answers(trainer, task.net).softmax(1).max(1)
        precision = trainer.precision_plugin
        with precision.forward_context():
            inputs = precision.convert_input(images)
            maps = [gradient_saliency(task.net, inputs, said)]
            if self.occlusion:
                size = max(1, round(self.occlusion * max(images.shape[2:])))
                maps.append(occlusion(task.net, inputs, said, size, max(1, size // 2)))
        columns = zip(self.fixed.pixels(trainer, images), *(heat(part) for part in maps), strict=True)
        tiles = [stacked(*(sized(part, least=96) for part in parts)) for parts in columns]
        classes = trainer.datamodule.classes  # type: ignore[attr-defined]
        captions = [
            f"{classes[answer]} {share:.0%}\nis {name}"
            for answer, share, name in zip(said.tolist(), shares.tolist(), self.fixed.names(trainer), strict=True)
        ]
        write_image(writer, "saliency", grid(tiles, 8, captions), step)


def heat(maps: Tensor) -> np.ndarray:
    """(N, H, W, 3) uint8 of maps (N, H, W): black up to 0, over red and yellow to white at each one's largest."""
    values = maps.float().cpu().numpy()
    shares = values / np.maximum(values.max((1, 2), keepdims=True), np.finfo(np.float32).tiny)
    return to_bytes(np.stack([3 * shares - colour for colour in range(3)], axis=-1))
