"""Losses that are means over a number that differs from batch to batch, such as known pixels, on several ranks."""

import torch
from torch import Tensor

from project.tasks.task import Task


def of_all_ranks(task: Task, loss: Tensor, counted: Tensor) -> Tensor:
    """The mean loss of this rank, weighed so that the mean over ranks is that of one process with all their samples.

    Args:
        task: that is trained.
        loss: the mean over what this rank has.
        counted: how many that is.
    """
    ranks = task.trainer.world_size
    if ranks == 1:
        return loss
    own = counted.to(loss.device, torch.float64 if loss.device.type != "mps" else torch.float32)
    everywhere = task._sum_over_ranks(own.clone())
    return loss * (own * ranks / everywhere.clamp_min(1)).to(loss.dtype)
