"""Which class is every frame of this video? Cross-entropy of the frames, and how many videos are right throughout."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from project.tasks.classification import CrossEntropy, hits
from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task


class FrameClassification(Task):
    """Every frame counts the same, in the loss and in `accuracy`, whatever video and rank it stands on.

    `video_accuracy`, of validation and test: the share of videos of which every frame's class is right.

    Args:
        net: frames (N, C, H, W), one video behind the other, and lengths (B,) to (N, K) logits.
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
        self.videos: dict[Stage, Tensor] = {}  # (2,) of this rank's part of the epoch: those that are right, and all

    @property
    def logged(self) -> list[str]:
        return [*super().logged, "val/video_accuracy"]

    def begin(self, stage: Stage) -> None:
        self.videos.pop(stage, None)

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: frames (N, C, H, W), one video behind the other, lengths (B,) and labels (N,)."""
        frames, lengths, labels = batch
        logits = self.net(frames, lengths)  # (N, K)
        loss = self.criterion(logits, labels, stage)
        if stage == "val":
            self.answers = logits.detach()
        if stage != "train":
            right = whole_videos(logits.argmax(1) == labels, lengths)
            counts = torch.stack([right.sum(), right.new_ones(len(right), dtype=torch.int64).sum()])
            self.videos[stage] = self.videos.get(stage, 0) + counts
        return loss, [loss * len(labels), hits(logits, labels)], len(labels)

    def example(self, batch: Any) -> tuple[Any, ...]:
        frames, lengths, _ = batch
        return frames[: int(lengths[0])], lengths[:1]

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        if stage not in self.videos:
            return means
        right, videos = self._sum_over_ranks(self.videos.pop(stage)).tolist()
        return {**means, "video_accuracy": right / videos}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Of several ranks each has other frames, and every frame counts the same: gradients are means over ranks."""
        return self.counted_alike(super().training_step(batch, batch_idx), len(batch[2]))


def whole_videos(right: Tensor, lengths: Tensor) -> Tensor:
    """Whether all frames of each video are right, (B,), of the frames (N,) and the lengths (B,)."""
    lengths = lengths.to(right.device)
    videos = torch.repeat_interleave(torch.arange(len(lengths), device=right.device), lengths)
    wrong = torch.bincount(videos, weights=(~right).float(), minlength=len(lengths))
    return wrong == 0
