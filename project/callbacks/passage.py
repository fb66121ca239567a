"""What a language model expects at each place of a held-out passage (after Karpathy, Johnson and Fei-Fei 2015)."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import LightningModule, Trainer

from project.callbacks.drawing import Drawing
from project.callbacks.held_out import HeldOutText, label
from project.callbacks.lettering import HEIGHT, below, cut, shade, typeset
from project.data.vocabulary import Vocabulary
from project.nets.language_model import LanguageModel
from project.tasks.language_model import LanguageModelling

WORD = 10  # letters that a word has room for


class Passage(Drawing):
    """A picture: each token of the passage on the colour of the probability that it had, above the likeliest ones.

    The passage is the beginning of the validation text, read from states of zero, as validation reads it.

    Args:
        tokens: of the passage, at most; of words a quarter, as they take more room.
        guesses: likeliest tokens that stand below each; 0: none.
        columns: characters of a line; of words a tenth as many.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no language model.
    """

    def __init__(
        self,
        tokens: int = 256,
        guesses: int = 4,
        columns: int = 80,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        for name, value, least in (("tokens", tokens, 2), ("guesses", guesses, 0), ("columns", columns, 10)):
            if value < least:
                raise ValueError(f"callbacks.passage.{name} must be at least {least}, got {value}")
        self.tokens, self.guesses, self.columns = tokens, guesses, columns

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, LanguageModelling):
            return None
        return f"shows what a language model expects, and this is a {type(task).__name__}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and self.active:
            self.vocabulary = Vocabulary.from_facts(trainer.datamodule.facts["vocabulary"])  # type: ignore[attr-defined]
            self.text = HeldOutText(max(2, self.tokens // 4) if self.vocabulary.kind == "words" else self.tokens)

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.is_global_zero:
            self.text.add(batch, batch_idx)

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        if len(self.text.ids) < 2:
            return
        found = expected(task.net, self.text.ids, self.guesses)
        picture = passage_picture(self.vocabulary, self.text.ids, found, self.columns)
        writer.add_image("passage", picture, global_step=step, dataformats="HWC")


class Expected(NamedTuple):
    """Of a passage of N tokens: what was expected at each but the first."""

    probabilities: np.ndarray  # (N - 1,) of the tokens that are there
    guesses: np.ndarray  # (N - 1, K) ids of the likeliest, the likeliest first
    theirs: np.ndarray  # (N - 1, K) probabilities of these


@torch.no_grad()
def expected(net: LanguageModel, ids: Sequence[int], guesses: int) -> Expected:
    """What a network in evaluation mode expects, beginning with states of zero."""
    tokens = torch.tensor(ids, device=net.embedding.weight.device)
    logits, _ = net(tokens[:-1, None])
    distribution = logits[:, 0].float().softmax(-1)  # (N - 1, V)
    own = distribution.gather(1, tokens[1:, None])[:, 0]
    theirs, best = distribution.topk(min(guesses, distribution.shape[1]))
    return Expected(own.cpu().numpy(), best.cpu().numpy(), theirs.cpu().numpy())


def passage_picture(vocabulary: Vocabulary, ids: Sequence[int], found: Expected, columns: int) -> np.ndarray:
    """Lines of tokens, below each token the guesses at its place; the one that was right is underlined. (H, W, 3)."""
    width, gap = (WORD, 1) if vocabulary.kind == "words" else (1, 0)  # characters of a token, and between two
    nothing = np.full((1, found.guesses.shape[1]), -1)  # is expected before the first token
    rows = np.vstack([ids, np.vstack([nothing, found.guesses]).T])  # (1 + K, N)
    names = {number: label(vocabulary, number) for number in set(rows[rows >= 0].tolist())} | {-1: ""}
    colours = np.full((*rows.shape, 3), 255, np.uint8)
    colours[0, 1:], colours[1:, 1:] = shade(found.probabilities), shade(found.theirs).swapaxes(0, 1)
    right = rows == rows[0]
    right[0] = False
    blocks = [_legend(vocabulary, found)]
    per_line = max(1, columns // (width + gap))
    for start in range(0, len(ids), per_line):
        here = slice(start, start + per_line)
        lines = ["".join(cut(names[number], width).ljust(width + gap) for number in row[here]) for row in rows.tolist()]
        paper, under = _spread(colours[:, here], width, gap, 255), _spread(right[:, here], width, gap, False)
        text, *guesses = (typeset([line], paper[[k]], under[[k]]) for k, line in enumerate(lines))
        blocks.append(below([text, below(guesses, gap=0)], gap=2) if guesses else text)
    return below(blocks, margin=HEIGHT // 2)


def _spread(values: np.ndarray, width: int, gap: int, blank: int) -> np.ndarray:
    """Of each token (R, C, ...) to those of its characters, and of the gap behind them."""
    wide = values.repeat(width + gap, 1)
    for place in range(width, width + gap):
        wide[:, place :: width + gap] = blank
    return wide


def _legend(vocabulary: Vocabulary, found: Expected) -> np.ndarray:
    """The scale, and the mean over the passage, in the terms of the curves."""
    scale = 20
    loss = -float(np.log(np.maximum(found.probabilities.astype(np.float64), 1e-300)).mean())
    unit = vocabulary.kind.removesuffix("s")
    before, after = "probability 0 ", f" 1   on average {loss:.3f} nats, {loss / math.log(2):.3f} bits per {unit}"
    colours = np.full((1, len(before) + scale + len(after), 3), 255, np.uint8)
    colours[0, len(before) : len(before) + scale] = shade(np.linspace(0, 1, scale))
    return typeset([before + " " * scale + after], colours)
