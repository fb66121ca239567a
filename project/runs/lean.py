"""What Lightning would do at every step for nothing is left out: of a small network it is most of the time."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler

OF_A_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
NOTHING: AbstractContextManager[None] = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Measures nothing, and makes no new context for each of a step's fifty actions."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return NOTHING


def spare_idle_hooks(trainer: Trainer, task: LightningModule) -> None:
    """Take the hooks of a step from those that inherit them and do nothing: Lightning calls what can be called."""
    for owner, base in [*((callback, Callback) for callback in trainer.callbacks), (task, LightningModule)]:  # type: ignore[attr-defined]
        for hook in OF_A_STEP:
            if getattr(type(owner), hook) is getattr(base, hook) and hook not in vars(owner):
                vars(owner)[hook] = None


def without_gpus() -> None:
    """Say that there is no GPU where there is none: torch would look for the driver's library at every step."""
    if torch.cuda.is_available() or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    if torch.version.cuda is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
