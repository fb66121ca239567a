"""Captions sorted by how much is wrong with them, and by how sure the network was."""

from typing import Any

import numpy as np
import torch
from lightning import Trainer
from PIL import Image

from project.callbacks.captions import writes_captions
from project.callbacks.drawing import Drawing
from project.callbacks.lettering import below
from project.callbacks.tiles import grid, sized, wrapped, write_image

SIDE = 128  # pixels of a picture, at least
GROUPS = ("no errors", "minor errors", "unrelated")
MINOR = 1  # words that may be wrong
NEAR, FAR = 50.0, 15.0  # sentence BLEU from which a caption counts as without errors, and below which as unrelated


class CaptionMistakes(Drawing):
    """Three rows of pictures with what was written of them: no errors, minor errors, unrelated; the surest first.

    The groups are those of Vinyals et al. 2015, figure 5. There people judged; here, where the data can check captions,
    a caption without errors is true, one with minor errors would be if a single word were another (a colour, a shape, a
    size, where one figure is to the other), and any other is unrelated. Where they cannot, sentence BLEU against the
    picture's references stands for it: from 50 on, and below 15. In a row captions stand by their score, the
    log-probability that the network gives them over their length; the captions are those of the validation itself.

    Args:
        count: pictures of a row.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: `count` below 1.
        UserError: in `setup`: the task writes no captions.
    """

    def __init__(self, count: int = 6, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if count < 1:
            raise ValueError(f"{self.key}.count must be at least 1, got {count}")
        self.count = count
        self.written: list[tuple[int, str, float]] = []  # see `project.tasks.captioning.Caption`

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        return (
            None if writes_captions(task) else f"shows what is wrong with captions, and this is a {type(task).__name__}"
        )

    def gather(self, trainer: Trainer, task: Any) -> None:
        self.written = list(task.captions)
        if trainer.world_size > 1:
            every: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(every, self.written)
            self.written = [one for part in every for one in part]

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        groups: dict[str, list[tuple[int, str, float]]] = {name: [] for name in GROUPS}
        for place, text, score in self.written:
            groups[GROUPS[group(data, place, text)]].append((place, text, score))
        part, rows = data.parts["val"], []
        blank = np.full_like(sized(part.images[part.rows[0]], least=SIDE), 255)
        for name, own in groups.items():
            own.sort(key=lambda one: (-one[2], one[0]))
            chosen = own[: self.count]
            tiles = [sized(part.images[part.rows[place]], least=SIDE) for place, _, _ in chosen]
            captions = [f"{score:.2f}\n{wrapped(text, blank.shape[1])}" for _, text, score in chosen]
            missing = self.count - len(chosen)  # so that all rows are as wide
            title = f"{name}: {len(own):,} of {len(self.written):,}"
            rows.append(np.asarray(grid([*tiles, *[blank] * missing], self.count, [*captions, *[""] * missing], title)))
        write_image(writer, "caption_mistakes", Image.fromarray(below(rows)), step)
        self.written = []


def group(data: Any, place: int, text: str) -> int:
    """The number in `GROUPS` of a caption of image number `place` of the validation part."""
    wrong = data.faults("val", place, text)
    if wrong is not None:
        return 0 if wrong == 0 else 1 if wrong <= MINOR else 2
    from sacrebleu import sentence_bleu  # which other runs do without

    score = sentence_bleu(text, data.references("val")[place], lowercase=True).score
    return 0 if score >= NEAR else 1 if score >= FAR else 2
