"""The images that a classifier is most sure of and wrong about."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.tiles import grid, pixels_of, sized, write_image
from project.tasks.classification import ImageClassifier

RIGHT = -1.0  # the place of a confidence where there is no mistake
Found = tuple[Tensor, Tensor, Tensor, Tensor]  # confidences (N,), predicted and true classes (N,), images (N, C, H, W)


class Mistakes(Drawing):
    """The most confident mistakes of a validation, with what the network says, how sure it is, and the true class.

    They are picked from the logits of the validation itself.

    Args:
        count: images.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no classifier of images.
    """

    def __init__(self, count: int = 16, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if count < 1:
            raise ValueError(f"callbacks.mistakes.count must be at least 1, got {count}")
        self.count = count
        self.found: Found | None = None

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, ImageClassifier):
            return None
        return f"shows what a classifier of images mistakes, and this is a {type(task).__name__}"

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        new = most_confident(mistaken(outputs, labels, images), self.count)
        if batch_idx > 0 and self.found is not None:
            new = most_confident([torch.cat(parts) for parts in zip(self.found, new, strict=True)], self.count)
        self.found = new

    def gather(self, trainer: Trainer, task: Any) -> None:
        if self.found is None or trainer.world_size == 1:
            return
        # all ranks give tensors of one size: the places of those who found less are filled up
        missing = self.count - len(self.found[0])
        filled = [torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) for part in self.found]
        filled[0][self.count - missing :] = RIGHT
        gathered = [task.all_gather(part.contiguous()).flatten(0, 1) for part in filled]
        self.found = most_confident(gathered, self.count)

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        if self.found is None:
            return
        confidences, predicted, true, images = (part.cpu() for part in self.found)
        self.found = None
        data = trainer.datamodule  # type: ignore[attr-defined]
        wrong = confidences != RIGHT
        names = [
            f"{data.classes[said]} {confidence:.0%}\nis {data.classes[label]}"
            for confidence, said, label in zip(
                confidences[wrong].tolist(), predicted[wrong].tolist(), true[wrong].tolist(), strict=True
            )
        ]
        tiles = [sized(pixels, least=96) for pixels in pixels_of(images[wrong], data.mean, data.std)]
        if not tiles:  # a picture all the same: the last one would look as if it still held
            tiles, names = [sized(pixels_of(images[:1], data.mean, data.std)[0] * 0 + 255, least=96)], ["no mistakes"]
        write_image(writer, "mistakes", grid(tiles, 6 if len(tiles) > 16 else 4, names), step)


def mistaken(logits: Tensor, labels: Tensor, images: Tensor) -> Found:
    """Of logits (N, K): the likeliest class and its probability, which is `RIGHT` where the class is the true one."""
    confidences, predicted = logits.float().softmax(1).max(1)
    return confidences.masked_fill(predicted == labels, RIGHT), predicted, labels, images


def most_confident(found: Sequence[Tensor], count: int) -> Found:
    """Those of the largest confidences, the largest first."""
    chosen = found[0].topk(min(count, len(found[0]))).indices
    confidences, predicted, true, images = (part.index_select(0, chosen) for part in found)
    return confidences, predicted, true, images
