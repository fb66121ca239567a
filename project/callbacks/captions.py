"""What a network writes of pictures, and where it looks at every word."""

from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import MOST
from project.callbacks.tiles import GAP, grid, pixels_of, sized, stretched, to_bytes, wrapped, write_image
from project.callbacks.verbatim import verbatim, visible
from project.tasks.task import Task

SIDE, WORDS = 96, 12  # pixels of a picture, at least; words beside which there is a picture
DARK = 0.2  # how bright what is not attended to stays


class Captions(Drawing):
    """Pictures of the validation with the captions that are written of them, the same pictures each time.

    With attention a row is a picture and, for every word, where the network looked for it: bright is what it attends
    to. As text: the captions, and those of people.

    Args:
        count: pictures, evenly spread over the validation part.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task writes no captions.
    """

    def __init__(self, count: int = 4, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if not 1 <= count <= MOST:
            raise ValueError(f"{self.key}.count must be from 1 to {MOST} pictures, got {count}")
        self.count = count

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        return None if writes_captions(task) else f"shows captions, and this is a {type(task).__name__}"

    @torch.no_grad()
    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = next(data.examples("val", self.count))[0]
        precision = trainer.precision_plugin
        with precision.forward_context():
            inputs = precision.convert_input(images)
            found = [one.tokens for one in task.caption(inputs, 1)]
            weights = attended(task.net, inputs, found)
        pixels = pixels_of(images, data.mean, data.std)
        texts = [data.target.decode(tokens) for tokens in found]
        rows = []
        for number, (picture, tokens) in enumerate(zip(pixels, found, strict=True)):
            words = [*(data.target.tokens[token] for token in tokens), "(end)"]
            rows.append(_row(picture, words, None if weights is None else weights[number], texts[number]))
        columns = 1 if weights is not None else 4
        write_image(writer, "captions", grid(_alike(rows), columns), step)
        references = [data.references("val")[place] for place in data.places("val", self.count)]
        writer.add_text("captions", verbatim(_told(texts, references)), global_step=step)


def writes_captions(task: Task) -> bool:
    """Whether a task is `project.tasks.captioning.Captioning`, which other runs do without."""
    return any(own.__module__ == "project.tasks.captioning" for own in type(task).__mro__)


def attended(net: Any, images: Tensor, captions: list[list[int]]) -> np.ndarray | None:
    """The weights (B, T, h, w) with which `net` looks at images (B, C, H, W) for each word of a caption and its end."""
    from project.data.subwords import BEGIN, PAD  # tokenizers

    longest = max(map(len, captions))
    rows = [[BEGIN, *tokens, *[PAD] * (longest - len(tokens))] for tokens in captions]
    inputs = torch.tensor(rows, device=images.device).T  # (T, B)
    weights = net(images, inputs, torch.arange(len(images), device=images.device))[1]
    if weights is None:
        return None
    return weights.float().swapaxes(0, 1).unflatten(2, net.encoder.size).cpu().numpy()


def lit(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8, bright where the weights (h, w) are large."""
    height, width = picture.shape[:2]
    share = to_bytes(weights / max(float(weights.max()), 1e-12))[..., None].repeat(3, 2)
    mask = stretched(share, height, width) / np.float32(255)
    return (picture * (DARK + (1 - DARK) * mask)).astype(np.uint8)


def _row(picture: np.ndarray, words: list[str], weights: np.ndarray | None, text: str) -> np.ndarray:
    """A picture, and beside it what is looked at for every word; without attention the whole caption below it."""
    large = sized(picture, least=SIDE)
    if weights is None:
        return np.asarray(grid([large], 1, [wrapped(text, large.shape[1])]))
    tiles = [large, *(lit(large, own) for own in weights[: min(len(words), WORDS)])]
    return np.asarray(grid(tiles, len(tiles), ["", *words[:WORDS]]))


def _alike(rows: list[np.ndarray]) -> list[np.ndarray]:
    """Pictures of one size, the smaller ones on white."""
    height, width = (max(row.shape[axis] for row in rows) for axis in (0, 1))
    blank = np.full((height, width + GAP, 3), 255, np.uint8)
    filled = []
    for row in rows:
        own = blank.copy()
        own[: row.shape[0], : row.shape[1]] = row
        filled.append(own)
    return filled


def _told(texts: list[str], references: list[list[str]]) -> str:
    return "\n\n".join(
        "\n".join([f"caption    {visible(text)}", *(f"reference  {visible(' '.join(one.split()))}" for one in own)])
        for text, own in zip(texts, references, strict=True)
    )
