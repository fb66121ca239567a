"""The sentences of which a classifier is surest that they are of another class than they are."""

from heapq import nlargest
from typing import Any, NamedTuple

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from project.callbacks.drawing import Drawing
from project.callbacks.lettering import cut
from project.callbacks.verbatim import verbatim, visible
from project.data.vocabulary import Vocabulary
from project.tasks.text_classification import TextClassification


class Mistake(NamedTuple):
    """Ordered by the probability; ids as the network read them."""

    probability: float
    predicted: int
    true: int
    ids: list[int]


class TextMistakes(Drawing):
    """A table as text: the validation sentences that are classified wrong with the highest probability.

    Sentences are shown as the network reads them. Its answers are those of the validation: nothing is computed twice.

    Args:
        count: sentences, at most.
        length: characters of a sentence, at most.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument below 1.
        UserError: in `setup`: the task is no text classification.
    """

    def __init__(
        self,
        count: int = 20,
        length: int = 200,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        for name, value in {"count": count, "length": length}.items():
            if value < 1:
                raise ValueError(f"callbacks.text_mistakes.{name} must be at least 1, got {value}")
        self.count, self.length = count, length
        self.worst: list[Mistake] = []
        self._logits: Tensor | None = None
        self._hook: Any = None

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, TextClassification):
            return None
        return f"shows sentences that are classified wrong, and this is a {type(task).__name__}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and self.active:
            facts = trainer.datamodule.facts  # type: ignore[attr-defined]
            self.vocabulary, self.classes = Vocabulary.from_facts(facts["vocabulary"]), facts["classes"]

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.worst = []
        if self.is_due(trainer):
            self._hook = pl_module.net.register_forward_hook(self._hear)

    def _hear(self, net: nn.Module, inputs: Any, logits: Tensor) -> None:
        self._logits = logits

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self._logits is not None
        ids, lengths, labels = batch
        self.worst = nlargest(self.count, self.worst + mistakes(self._logits, ids, lengths, labels, self.count))
        self._logits = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def gather(self, trainer: Trainer, task: Any) -> None:
        if trainer.world_size > 1:
            every: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(every, self.worst)
            self.worst = nlargest(self.count, (mistake for part in every for mistake in part))

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        writer.add_text("mistakes", verbatim("\n".join(self.table())), global_step=step)

    def table(self) -> list[str]:
        """A line a mistake, below a heading."""
        if not self.worst:
            return ["no mistakes"]
        names = [cut(_line(name), 30) for name in self.classes]
        rows = [("probability", "predicted", "true", "sentence")]
        for probability, predicted, true, ids in self.worst:
            text = cut(_line(self.vocabulary.decode(ids)), self.length)
            rows.append((f"{probability:.4f}", names[predicted], names[true], text))
        width = max(len(name) for row in rows for name in row[1:3])
        return [f"{row[0]:<11}  {row[1]:<{width}}  {row[2]:<{width}}  {row[3]}" for row in rows]


def _line(text: str) -> str:
    return visible(" ".join(text.split()))


def mistakes(logits: Tensor, ids: Tensor, lengths: Tensor, labels: Tensor, count: int) -> list[Mistake]:
    """At most `count` wrong answers of a batch, those with the highest probabilities; see `TextClassification`."""
    probabilities, predicted = logits.detach().float().softmax(1).max(1)  # (B,)
    wrong = probabilities.masked_fill(predicted == labels, -1.0)
    highest, places = wrong.topk(min(count, len(wrong)))
    found = []
    for value, place in zip(highest.tolist(), places.tolist(), strict=True):
        if value >= 0:
            read = ids[: int(lengths[place]), place].tolist()
            found.append(Mistake(value, int(predicted[place]), int(labels[place]), read))
    return found
