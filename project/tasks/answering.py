"""What is the answer to this question about this picture? Cross-entropy over answers, accuracy by kind of question."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from project.tasks.classification import CrossEntropy
from project.tasks.meters import Meter
from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task

NO_ANSWER = -1  # as in `project.data.questions`


class Answering(Task):
    """Cross-entropy of each question's first answer; the mean credit of what the network says, in all and by kind.

    An answer earns the credit that the data give it: 1 where only one is right. `loss` is the mean over the questions
    that a class answers; a question that none answers counts in the accuracy, as wrong.

    Args:
        net: images (B, C, H, W), questions' ids (T, M), lengths (M,) and owner (M,) to logits (M, K).
        kinds: the names of the kinds of questions, by their number in a batch; `accuracy_<kind>` is logged of each.
        label_smoothing: the share of the target that is spread evenly over all answers, in training.

    Raises:
        ValueError: `label_smoothing` out of range.
    """

    def __init__(
        self,
        net: nn.Module,
        kinds: Sequence[str],
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        self.criterion = CrossEntropy(label_smoothing)
        self.kinds = list(kinds)
        # sums over questions: a kind's accuracy is the ratio of two of them, over whatever batches and ranks
        counted = [f"{what}_{kind}" for kind in self.kinds for what in ("credit", "questions")]
        names = ("loss", "answerable", "accuracy", *counted)
        self.meters = {stage: Meter(names) for stage in self.meters}

    @property
    def logged(self) -> list[str]:
        measures = ("loss", "accuracy", *(f"accuracy_{kind}" for kind in self.kinds))
        return [f"{stage}/{name}" for stage in ("train", "val") for name in measures]

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: images, ids, lengths, owner, kinds (M,), answers (M, A) and credits (M, A)."""
        images, ids, lengths, owner, kinds, answers, credits = batch
        logits = self.net(images, ids, lengths, owner)  # (M, K)
        if stage == "val":
            self.answers = logits.detach()
        labels = answers[:, 0]
        answerable = (labels != NO_ANSWER).sum()
        if stage == "train":  # where every question has an answer
            loss = self.criterion(logits, labels, stage)
        else:
            loss = F.cross_entropy(logits, labels, ignore_index=NO_ANSWER, reduction="sum") / answerable.clamp_min(1)
        credit = earned(logits, answers, credits)
        own = (kinds[:, None] == torch.arange(len(self.kinds), device=kinds.device)).to(credit.dtype)  # (M, kinds)
        by_kind = torch.stack([credit @ own, own.sum(0)], dim=1).flatten()
        return loss, [loss * answerable, answerable, credit.sum(), *by_kind], len(labels)

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        if not means:
            return means
        found = {"accuracy": means["accuracy"]}
        if means["answerable"]:
            found["loss"] = means["loss"] / means["answerable"]
        for kind in self.kinds:
            if means[f"questions_{kind}"]:
                found[f"accuracy_{kind}"] = means[f"credit_{kind}"] / means[f"questions_{kind}"]
        return found

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Of several ranks each has other questions, and every one counts the same: gradients are means over ranks."""
        return self.counted_alike(super().training_step(batch, batch_idx), len(batch[3]))

    def example(self, batch: Any) -> tuple[Any, ...]:
        images, ids, lengths, owner, *_ = batch
        return images[:1], ids[:, :1], lengths[:1], owner[:1]


def earned(logits: Tensor, answers: Tensor, credits: Tensor) -> Tensor:
    """(M,) float32: the credit of the likeliest class of each row of logits (M, K); 0 where it is no answer's."""
    said = logits.detach().argmax(1)
    return torch.where(answers == said[:, None], credits, 0.0).sum(1)
