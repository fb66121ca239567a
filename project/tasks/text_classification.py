"""Which class is this sentence? Cross-entropy, and F1 beside the accuracy, since classes of text are seldom even."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from project.tasks.classification import CrossEntropy, confusion_matrix, f1_scores, hits
from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task


class TextClassification(Task):
    """Cross-entropy with label smoothing in training; accuracy as a fraction, and in validation and test also F1.

    `f1` is the mean of the classes' F1 scores over the whole epoch and all ranks, exactly: from the confusion matrix
    of all sentences, not from a mean over batches.

    Args:
        net: (T, B) ids and (B,) lengths to (B, K) logits.
        label_smoothing: see `project.tasks.classification.ImageClassifier`.

    Raises:
        ValueError: `label_smoothing` out of range.
    """

    measures: ClassVar[Sequence[str]] = ("loss", "accuracy")

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        self.criterion = CrossEntropy(label_smoothing)
        self.confusion: dict[Stage, Tensor] = {}  # (K, K) counts of this rank's part of the epoch

    @property
    def logged(self) -> list[str]:
        return [*super().logged, "val/f1"]

    def begin(self, stage: Stage) -> None:
        self.confusion.pop(stage, None)

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: ids (T, B), lengths (B,) and labels (B,)."""
        ids, lengths, labels = batch
        logits = self.net(ids, lengths)  # (B, K)
        loss = self.criterion(logits, labels, stage)
        if stage == "val":
            self.answers = logits.detach()
        if stage != "train":
            counts = confusion_matrix(logits.argmax(1), labels, logits.shape[1])
            self.confusion[stage] = self.confusion.get(stage, 0) + counts
        return loss, [loss * len(labels), hits(logits, labels)], len(labels)

    def example(self, batch: Any) -> tuple[Any, ...]:
        ids, lengths, _ = batch
        return ids[:, :1], lengths[:1]

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        if stage not in self.confusion:
            return means
        confusion = self._sum_over_ranks(self.confusion.pop(stage))
        return {**means, "f1": f1_scores(confusion.cpu()).nanmean().item()}
