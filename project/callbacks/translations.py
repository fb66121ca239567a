"""What a translator writes, and which words it looks at as it does."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import Trainer
from matplotlib.figure import Figure
from torch import Tensor

from project.callbacks.drawing import Drawing
from project.callbacks.verbatim import verbatim, visible
from project.data.subwords import BEGIN, END
from project.nets.sampling import evaluating
from project.nets.translator import Translator
from project.tasks.translation import Example, Translation


class Translations(Drawing):
    """At validations its first sentences in TensorBoard: the translations as text, the attention as pictures.

    Raises:
        UserError: in `setup`: the task is no translation.
    """

    def __init__(self, every_n_validations: int | None = 1, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, Translation):
            return None
        return f"shows what a translator writes, and this is a {type(task).__name__}"

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        text = verbatim("\n\n".join(said(example) for example in task.examples))
        writer.add_text("translations", f"{text}\n\nBLEU: {task.bleu.signature}", global_step=step)
        for number, example in enumerate(task.examples if task.net.attention is not None else [], 1):
            writer.add_figure(f"attention/{number}", drawn(task.net, example, data), global_step=step)


SHOWN = 60  # words of a sentence that a picture has room for


def said(example: Example) -> str:
    """Three lines, whatever the sentences hold."""
    rows = {"source": example.source, "reference": example.reference, "translation": example.translation}
    return "\n".join(f"{name:<13}{visible(' '.join(text.split()))}" for name, text in rows.items())


@torch.no_grad()
def drawn(net: Translator, example: Example, data: Any) -> Figure:
    """The attention with which the network writes the example's translation, its end included."""
    device = net.embedding.weight.device
    source = torch.tensor(example.source_ids, device=device)[:, None]  # (S, 1)
    inputs = torch.tensor([BEGIN, *example.translation_ids], device=device)[:, None]  # (T, 1)
    with evaluating(net):
        weights = net.alignments(source, torch.tensor([len(source)]), inputs)[:, 0]  # (T, S)
    written = [data.target.tokens[number] for number in (*example.translation_ids, END)]
    return attention_figure(weights, written, [data.source.tokens[number] for number in example.source_ids])


def attention_figure(weights: Tensor, written: Sequence[str], read: Sequence[str]) -> Figure:
    """Rows are the words that are written, columns those that are read, colours the weights, from 0 (white) to 1.

    Args:
        weights: (T, S), each row sums to 1.
        written: T words.
        read: S words.

    Of long sentences the first words are shown.
    """
    written, read = written[:SHOWN], read[:SHOWN]
    weights = weights[: len(written), : len(read)]
    figure = Figure(figsize=(2.0 + 0.3 * len(read), 1.6 + 0.25 * len(written)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights.float().cpu().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    # words come from data: no mathematics is to be read into a dollar sign
    rows, columns = ([visible(word).replace("$", r"\$") for word in words] for words in (written, read))
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    return figure
