"""A loss that is no number ends the run at once."""

import math
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from project.errors import UserError


class StopWhenNotFinite(Callback):
    """Stops a training whose loss turns NaN or infinite, and says at which step.

    On the CPU every step is looked at. On a GPU the first bad step is kept on the device and read every
    `trainer.log_every_n_steps` steps, so that no step waits for the device.

    Raises:
        UserError: in `on_train_batch_end`, naming the step; checkpoints written before it stay.
    """

    def __init__(self) -> None:
        self.first_bad: torch.Tensor | None = None  # the first step with a bad loss, or -1; a scalar on the device

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is None:
            return
        step = trainer.fit_loop.total_batch_idx + 1
        if loss.device.type == "cpu":
            if not math.isfinite(loss.item()):
                raise self._error(trainer, step, loss.item())
            return
        if self.first_bad is None:
            self.first_bad = torch.full((), -1, device=loss.device)
        bad = ~torch.isfinite(loss.detach()) & (self.first_bad < 0)
        self.first_bad.masked_fill_(bad, step)
        if step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if self.first_bad is not None and (step := int(self.first_bad.item())) >= 0:
            raise self._error(trainer, step, float("nan"))

    def _error(self, trainer: Trainer, step: int, value: float) -> UserError:
        kind = "NaN" if math.isnan(value) else "infinite"
        return UserError(
            f"the training loss became {kind} at step {step} (epoch {trainer.current_epoch}): stopped.\n"
            "Lower optimizer.lr, warm up longer, or set trainer.gradient_clip_val=1."
        )
