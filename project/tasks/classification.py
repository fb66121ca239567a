"""Which class is it? Cross-entropy on a network's logits."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task


class ImageClassifier(Task):
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7); top-1 and top-5 accuracy as fractions.

    Args:
        net: (B, C, H, W) images to (B, K) logits.
        label_smoothing: the share of the target that is spread evenly over all classes, from 0 up to but not
            including 1. It applies to the training loss only, so that validation losses stay comparable.

    Raises:
        ValueError: `label_smoothing` out of range.
    """

    measures: ClassVar[Sequence[str]] = ("loss", "accuracy", "top5_accuracy")

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing must be at least 0 and below 1, got {label_smoothing}")
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        self.label_smoothing = label_smoothing

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: images (B, C, H, W) and labels (B,)."""
        images, labels = batch
        logits = self.net(images)  # (B, K)
        smoothing = self.label_smoothing if stage == "train" else 0.0
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        detached = logits.detach()
        within_5 = (detached.topk(min(5, detached.shape[1]), dim=1).indices == labels[:, None]).sum()
        hits = (detached.argmax(1) == labels).sum()
        return loss, [loss * len(labels), hits, within_5], len(labels)
