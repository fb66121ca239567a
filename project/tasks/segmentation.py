"""Which class is each pixel of? Cross-entropy at every place."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from project.tasks.meters import Meter
from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.shares import of_all_ranks
from project.tasks.task import Stage, Task

IGNORED = 255  # the class of pixels that count for nothing


class Segmentation(Task):
    """Cross-entropy, the mean over all pixels that have a class (Long et al. 2015, "Fully convolutional networks").

    `accuracy` is the share of pixels that are right. `mean_iou` is the mean over classes of intersection over union:
    n_ii / (t_i + sum_j n_ji - n_ii) (section 5), of the pixels of all images together, without classes that neither
    are there nor were predicted.

    Args:
        net: (B, C, H, W) images to (B, K, H, W) logits.
        num_classes: K.
    """

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        self.num_classes = num_classes
        # what is summed: with these alone every measure of an epoch is exact, whatever its batches were
        counts = [f"{count}_{label}" for count in ("both", "either") for label in range(num_classes)]
        self.meters = {stage: Meter(["losses", "pixels", *counts]) for stage in self.meters}

    @property
    def logged(self) -> list[str]:
        return [f"{stage}/{name}" for stage in ("train", "val") for name in ("loss", "accuracy", "mean_iou")]

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: images (B, C, H, W) and masks (B, H, W) uint8."""
        images, masks = batch
        logits, labels = self.net(images), masks.long()
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
        predicted = logits.detach().argmax(1)
        if stage == "val":
            self.answers = predicted
        both, either = overlaps(pixel_confusion(predicted, labels, self.num_classes))
        known = (labels != IGNORED).sum()
        return losses / known.clamp_min(1), [losses, known, *both, *either], len(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return of_all_ranks(self, loss, (batch[1] != IGNORED).sum())

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        if not means or not means["pixels"]:
            return {}
        losses, pixels, *counts = means.values()
        both, either = torch.tensor(counts, dtype=torch.float64).view(2, -1)
        return {
            "loss": losses / pixels,
            "accuracy": both.sum().item() / pixels,
            "mean_iou": (both / either).nanmean().item(),
        }


def pixel_confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K, K) counts, rows true classes and columns predicted ones, of (B, H, W) int64 each; `IGNORED` is left out.

    Without a look at the numbers on the way, for which a GPU would have to wait.
    """
    places = torch.where(labels == IGNORED, classes**2, labels * classes + predicted).flatten()
    counts = torch.zeros(classes**2 + 1, dtype=torch.int64, device=labels.device)
    return counts.scatter_add_(0, places, torch.ones_like(places))[:-1].view(classes, classes)


def overlaps(confusion: Tensor) -> tuple[Tensor, Tensor]:
    """Each class's intersection and union of true and predicted pixels, (K,) each, from (K, K) counts."""
    both = confusion.diag()
    return both, confusion.sum(0) + confusion.sum(1) - both
