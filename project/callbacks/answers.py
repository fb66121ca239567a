"""What a network answers to questions about pictures, and where it looks for it."""

from typing import Any

import numpy as np
import torch
from lightning import Trainer
from PIL import Image
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.tiles import grid, pixels_of, sized, write_image
from project.tasks.answering import NO_ANSWER, Answering

LOOKS = 3  # the last ones of each question
SIDE, MOST = 96, 64  # pixels of a picture, at least; pictures


class Answers(Drawing):
    """Pictures of the validation, a question about each, what the network says, how sure it is, and what is right.

    Beside the picture stand its last looks at it: bright is what it attends to, the rest is dark.

    Args:
        count: pictures, evenly spread over the validation part, the same ones each time.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task answers no questions.
    """

    def __init__(self, count: int = 8, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if not 1 <= count <= MOST:
            raise ValueError(f"{self.key}.count must be from 1 to {MOST} pictures, got {count}")
        self.count = count

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, Answering):
            return None
        return f"shows answers to questions about pictures, and this is a {type(task).__name__}"

    @torch.no_grad()
    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        images, ids, lengths, owner, _, answers, _ = one_each(next(data.examples("val", self.count)))
        precision = trainer.precision_plugin
        with precision.forward_context():
            inputs = (precision.convert_input(images), ids, lengths, owner)
            shares, said = task.net(*inputs).float().softmax(1).max(1)
            looks = task.net.attentions(*inputs)[-LOOKS:].float() if task.net.attention is not None else None
        pictures = pixels_of(images, data.mean, data.std)
        tiles = [tile(picture, None if looks is None else looks[:, b]) for b, picture in enumerate(pictures)]
        captions = [
            f"{data.vocabulary.decode(ids[: lengths[b], b].tolist())}\n{data.classes[answer]} {share:.0%}\n{truth}"
            for b, (answer, share, truth) in enumerate(
                zip(said.tolist(), shares.tolist(), _truths(answers, data.classes), strict=True)
            )
        ]
        write_image(writer, "answers", grid(tiles, 2, captions), step)


def one_each(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of an `AnnotatedBatch` one question a picture: another one's turn at each, so that all sorts of them are seen."""
    images, ids, lengths, owner, *labels = batch
    counts = torch.bincount(owner, minlength=len(images))
    turn = torch.arange(len(images), device=owner.device)
    chosen = counts.cumsum(0) - counts + (turn * 7) % counts  # (B,)
    rest = [label.index_select(0, chosen) for label in labels]
    return images, ids.index_select(1, chosen), lengths.index_select(0, chosen.cpu()), turn, *rest


def tile(picture: np.ndarray, looks: Tensor | None) -> np.ndarray:
    """A picture (H, W, 3) uint8, and beside it what each of the looks (L, h, w), if there are any, lights up."""
    large = sized(picture, least=SIDE)
    height, width = large.shape[:2]
    gap = np.full((height, 2, 3), 255, np.uint8)
    parts = [large]
    for look in [] if looks is None else looks.cpu().numpy():
        bright = look / max(float(look.max()), np.finfo(np.float32).tiny)
        mask = np.asarray(Image.fromarray(bright.astype(np.float32)).resize((width, height), Image.Resampling.NEAREST))
        parts += [gap, (large * (0.15 + 0.85 * mask[..., None])).astype(np.uint8)]
    return np.concatenate(parts, axis=1)


def _truths(answers: Tensor, classes: list[str]) -> list[str]:
    return ["is " + (classes[own] if own != NO_ANSWER else "none of the answers") for own in answers[:, 0].tolist()]
