"""What a translator writes, and which words it looks at as it does."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Trainer
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.lettering import HEIGHT, below, beside, cut, shade, typeset
from project.callbacks.verbatim import verbatim, visible
from project.nets.sampling import evaluating
from project.nets.translator import Translator

if TYPE_CHECKING:
    from project.tasks.translation import Example  # sacrebleu and tokenizers, which other runs do without


class Translations(Drawing):
    """At validations its first sentences in TensorBoard: the translations as text, the attention as pictures.

    Raises:
        UserError: in `setup`: the task is no translation.
    """

    def __init__(self, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        module = sys.modules.get("project.tasks.translation")  # imported by whoever made such a task
        if module is not None and isinstance(task, module.Translation):
            return None
        return f"shows what a translator writes, and this is a {type(task).__name__}"

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        text = verbatim("\n\n".join(said(example) for example in task.examples))
        writer.add_text("translations", f"{text}\n\nBLEU: {task.bleu.signature}", global_step=step)
        for number, example in enumerate(task.examples if task.net.decoder.attention is not None else [], 1):
            picture = drawn(task.net, example, data)
            writer.add_image(f"attention/{number}", picture, global_step=step, dataformats="HWC")


SHOWN, LETTERS = 60, 20  # words of a sentence, and letters of a word, that a picture has room for
GRID = 235  # grey


def said(example: "Example") -> str:
    """Three lines, whatever the sentences hold."""
    rows = {"source": example.source, "reference": example.reference, "translation": example.translation}
    return "\n".join(f"{name:<13}{visible(' '.join(text.split()))}" for name, text in rows.items())


@torch.no_grad()
def drawn(net: Translator, example: "Example", data: Any) -> np.ndarray:
    """The attention with which the network writes the example's translation, its end included."""
    from project.data.subwords import BEGIN, END  # tokenizers

    device = net.decoder.embedding.weight.device
    source = torch.tensor(example.source_ids, device=device)[:, None]  # (S, 1)
    inputs = torch.tensor([BEGIN, *example.translation_ids], device=device)[:, None]  # (T, 1)
    with evaluating(net):
        weights = net.alignments(source, torch.tensor([len(source)]), inputs)[:, 0]  # (T, S)
    written = [data.target.tokens[number] for number in (*example.translation_ids, END)]
    return attention_picture(weights, written, [data.source.tokens[number] for number in example.source_ids])


def attention_picture(weights: Tensor, written: Sequence[str], read: Sequence[str]) -> np.ndarray:
    """Rows are the words that are written, columns those that are read, colours the weights, from 0 (white) to 1.

    Args:
        weights: (T, S), each row sums to 1.
        written: T words.
        read: S words.

    Returns:
        (H, W, 3). Of long sentences the first words are shown, of long words the first letters.
    """
    rows, columns = ([cut(word, LETTERS) for word in words[:SHOWN]] for words in (written, read))
    colours = shade(weights[:SHOWN, :SHOWN].float().cpu().numpy())  # (T, S, 3)
    cells = colours.repeat(HEIGHT, 0).repeat(HEIGHT, 1)
    cells[HEIGHT - 1 :: HEIGHT] = cells[:, HEIGHT - 1 :: HEIGHT] = GRID
    longest = max(map(len, rows))
    beginnings = typeset([f"{row:>{longest}} " for row in rows])
    headings = np.rot90(typeset([f" {column}" for column in columns]))
    corner = np.full((len(headings), beginnings.shape[1], 3), 255, np.uint8)
    return below([beside([corner, headings], gap=0), beside([beginnings, cells], gap=0)], gap=0, margin=HEIGHT // 2)
