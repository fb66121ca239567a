"""Give back what went in: autoencoders."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from project.tasks.task import Stage, Task


class Reconstruction(Task):
    """Mean squared error between the normalised images and their reconstructions, per pixel and channel.

    Args:
        net: (B, C, H, W) images to (B, C, H, W) reconstructions.
    """

    measures: ClassVar[Sequence[str]] = ("loss",)

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: images (B, C, H, W) and labels, which are not looked at."""
        images, _ = batch
        loss = F.mse_loss(self.net(images), images)
        return loss, [loss * len(images)], len(images)
