"""Which class is it? Cross-entropy on a network's logits."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task
from project.tasks.test_time import VIEWS, averaged


class ImageClassifier(Task):
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7); top-1 and top-5 accuracy as fractions.

    Args:
        net: (B, C, H, W) images to (B, K) logits.
        label_smoothing: the share of the target that is spread evenly over all classes, from 0 up to but not
            including 1. It applies to the training loss only, so that validation losses stay comparable.
        test_time: in validation and test the logits are averaged over several views of an image: `none`, `flip` or
            `flip_and_shift`.

    Raises:
        ValueError: `label_smoothing` out of range, or an unknown `test_time`.
    """

    measures: ClassVar[Sequence[str]] = ("loss", "accuracy", "top5_accuracy")

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        norm_bias_lr_scale: float = 1.0,
        label_smoothing: float = 0.0,
        test_time: Literal["none", "flip", "flip_and_shift"] = "none",
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases, norm_bias_lr_scale)
        if test_time not in VIEWS:
            raise ValueError(f"model.test_time must be one of {', '.join(VIEWS)}, got {test_time}")
        self.criterion, self.test_time = CrossEntropy(label_smoothing), test_time

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: images (B, C, H, W) and labels (B,)."""
        images, labels = batch
        logits = self.net(images) if stage == "train" else self.predict(images)  # (B, K)
        if stage == "val":
            self.answers = logits.detach()
        loss = self.criterion(logits, labels, stage)
        return loss, [loss * len(labels), hits(logits, labels), hits(logits, labels, among=5)], len(labels)

    def predict(self, images: Tensor) -> Tensor:
        return averaged(self.net, images, self.test_time)


class CrossEntropy:
    """The loss of a classifier: smoothed labels in training, the labels themselves where results are compared.

    Raises:
        ValueError: `label_smoothing` out of range.
    """

    def __init__(self, label_smoothing: float) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"model.label_smoothing must be at least 0 and below 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, labels: Tensor, stage: Stage) -> Tensor:
        """The mean over the batch; logits (B, K), labels (B,)."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing if stage == "train" else 0.0)


def hits(logits: Tensor, labels: Tensor, among: int = 1) -> Tensor:
    """For how many samples the label is `among` so many likeliest classes; logits (B, K), labels (B,)."""
    if among == 1:
        return (logits.detach().argmax(1) == labels).sum()
    likeliest = logits.detach().topk(min(among, logits.shape[1]), dim=1).indices
    return (likeliest == labels[:, None]).sum()


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K, K) counts, rows true classes and columns predicted ones, of (N,) each, on their device."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def f1_scores(confusion: Tensor) -> Tensor:
    """Each class's harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), from (K, K) counts.

    NaN for a class that neither is there nor was predicted; `nanmean` is the macro average of the others.
    """
    true, predicted = confusion.sum(1), confusion.sum(0)
    return 2 * confusion.diag().double() / (true + predicted).double()
