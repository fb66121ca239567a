"""What single cells of a recurrent network keep over a held-out passage (Karpathy, Johnson and Fei-Fei 2015)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.held_out import HeldOutText, label
from project.callbacks.lettering import HEIGHT, RED_TO_BLUE, below, beside, shade, typeset
from project.data.vocabulary import Vocabulary
from project.errors import UserError
from project.nets.language_model import LanguageModel
from project.nets.recurrent import Recurrent
from project.tasks.language_model import LanguageModelling

COLUMNS, LINES = 80, 16  # characters of a line, and lines, that a passage has room for
ROOM = 1000  # pixels from left to right; of narrow passages several stand beside each other


class Cells(Drawing):
    """A picture: the passage once for each chosen unit, each token on the colour of what the unit holds after it.

    Of an LSTM that is tanh(c), of other cells h; -1 is red, 0 white and 1 blue. The passage is the beginning of the
    validation text, read from states of zero.

    Args:
        tokens: of the passage, at most.
        layer: from 0 on; -1 is the last.
        units: their numbers; None: at each drawing those that vary the most over the passage.
        count: how many of these.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no language model of cells, or the network lacks the layer or a unit.
    """

    def __init__(
        self,
        tokens: int = 500,
        layer: int = -1,
        units: Sequence[int] | None = None,
        count: int = 6,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        for name, value in (("tokens", tokens), ("count", count)):
            if value < 1:
                raise ValueError(f"callbacks.cells.{name} must be at least 1, got {value}")
        self.text, self.layer, self.count = HeldOutText(tokens), layer, count
        self.units = None if units is None else list(units)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        net = getattr(task, "net", None)
        if isinstance(task, LanguageModelling) and isinstance(getattr(net, "recurrent", None), Recurrent):
            return None
        return f"looks into the layers of a language model's cells, and this is a {type(task).__name__}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage != "fit" or not self.active:
            return
        self.vocabulary = Vocabulary.from_facts(trainer.datamodule.facts["vocabulary"])  # type: ignore[attr-defined]
        recurrent: Any = pl_module.net.recurrent  # type: ignore[union-attr]
        layers, width = recurrent.num_layers, recurrent.hidden_size
        if not -layers <= self.layer < layers:
            raise UserError(f"callbacks.cells.layer must be from 0 to {layers - 1}, or -1: the last; got {self.layer}")
        if strange := [unit for unit in self.units or [] if not 0 <= unit < width]:
            raise UserError(f"callbacks.cells.units must be numbers from 0 to {width - 1}, got {strange}")

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.is_global_zero:
            self.text.add(batch, batch_idx)

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        if not self.text.ids:
            return
        layer = range(task.net.recurrent.num_layers)[self.layer]
        values = activations(task.net, self.text.ids, layer)
        units = most_varied(values, self.count) if self.units is None else self.units
        names = [f"layer {layer}, unit {unit}" for unit in units]
        tokens = [label(self.vocabulary, number) for number in self.text.ids]
        spaced = self.vocabulary.kind == "words"
        picture = cells_picture(tokens, dict(zip(names, values.T[units], strict=True)), spaced)
        writer.add_image("cells", picture, global_step=step, dataformats="HWC")


@torch.no_grad()
def activations(net: LanguageModel, ids: Sequence[int], layer: int) -> np.ndarray:
    """What a layer's units hold after each token, (T, n) from -1 to 1: tanh(c) of an LSTM, h of others."""
    embedded = net.embedding(torch.tensor(ids, device=net.embedding.weight.device))[:, None]  # (T, 1, m)
    states = net.recurrent.initial(1, embedded)
    kept: list[Tensor] = []
    for x in embedded:
        _, states = net.recurrent.step(x, states)
        h, *more = states[layer]
        kept.append(torch.tanh(more[0]) if more else h)
    return torch.cat(kept).float().cpu().numpy()


def most_varied(values: np.ndarray, count: int) -> list[int]:
    """The numbers of the units whose values (T, n) have the largest variance, the largest first."""
    order = np.argsort(-values.var(0), kind="stable")
    return [int(unit) for unit in order[:count]]


def cells_picture(tokens: Sequence[str], values: dict[str, np.ndarray], spaced: bool) -> np.ndarray:
    """For each name a title and the tokens on the colours of the values (T,) from -1 to 1; (H, W, 3).

    Lines end where the text's do and after 80 characters.

    Args:
        tokens: T of them.
        values: by name.
        spaced: a space comes after each token.
    """
    lines, owners = _lines(tokens, spaced)
    there = owners >= 0
    panels = []
    for name, line in values.items():
        paper = np.full((*owners.shape, 3), 255, np.uint8)
        paper[there] = shade((line + 1) / 2, RED_TO_BLUE)[owners[there]]
        panels.append(below([typeset([name]), typeset(lines, paper)], gap=0))
    across = max(1, ROOM // panels[0].shape[1])
    rows = [beside(panels[start : start + across]) for start in range(0, len(panels), across)]
    return below([_scale(), *rows], margin=HEIGHT // 2)


def _lines(tokens: Sequence[str], spaced: bool) -> tuple[list[str], np.ndarray]:
    """The tokens in lines, and which token each place belongs to, -1 where there is none, (R, C)."""
    lines, owners = [""], [[]]  # type: tuple[list[str], list[list[int]]]
    for number, token in enumerate(tokens):
        text = token[:COLUMNS]
        if len(lines[-1]) + len(text) > COLUMNS or tokens[number - 1 : number] == ["\n"]:
            if len(lines) == LINES:
                break
            lines.append("")
            owners.append([])
        lines[-1] += text + " " * spaced
        owners[-1] += [number] * len(text) + [-1] * spaced
    columns = max(map(len, lines))
    return lines, np.array([[*row, *[-1] * (columns - len(row))] for row in owners])


def _scale() -> np.ndarray:
    colours = np.full((1, 26, 3), 255, np.uint8)
    colours[0, 3:23] = shade(np.linspace(0, 1, 20), RED_TO_BLUE)
    return typeset(["-1" + " " * 22 + "1 "], colours)
