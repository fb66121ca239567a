"""Slow weights that follow the trained ones, and that these are set back to."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from project.errors import UserError


class Lookahead(Callback):
    """Every `every` optimizer steps the slow weights take a part of the way to the weights, which then start from them.

    Lookahead (Zhang et al. 2019, arXiv 1907.08610, algorithm 1) with a part that becomes smaller while the training
    goes on (Jordan 2024, arXiv 2404.00498, section 3.4): after step t of T it is 1 - decay^every (t / T)^power, at
    first nearly all of the way. With the last step the weights become the slow ones. Running statistics of norms count
    as weights. A checkpoint holds the slow weights, so that a resumed run goes on exactly.

    Args:
        every: optimizer steps from one to the next.
        decay: of the slow weights, by the step, at the end of the training.
        power: how late that is reached.

    Raises:
        ValueError: `every` below 1, `decay` outside [0, 1], or a `power` that is negative.
        UserError: in `setup`, of a training that has no known end.
    """

    def __init__(self, every: int = 5, decay: float = 0.95, power: float = 3.0) -> None:
        if every < 1 or not 0 <= decay <= 1 or power < 0:
            raise ValueError(
                f"lookahead: every must be at least 1, decay from 0 to 1 and power not negative, got {every}, {decay} "
                f"and {power}"
            )
        self.every, self.decay, self.power = every, decay, power
        self.slow: dict[str, Tensor] = {}
        self.fast: list[Tensor] = []  # the network's own, in the order of `slow`
        self.total = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and (trainer.max_epochs or -1) < 0 and trainer.max_steps < 0:
            raise UserError(
                "callbacks.lookahead needs to know how long the training is: set trainer.max_epochs or "
                "trainer.max_steps, or leave it out with callbacks.lookahead=null"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.total = trainer.estimated_stepping_batches
        weights = _weights(pl_module)
        kept, self.slow = self.slow, {name: value.clone() for name, value in weights.items()}
        self.fast = list(weights.values())
        for name, value in kept.items():
            self.slow[name].copy_(value)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if trainer.fit_loop.epoch_loop._should_accumulate() or (step % self.every and step != self.total):
            return
        kept = 1.0 if step >= self.total else self.decay**self.every * (step / self.total) ** self.power
        slow = list(self.slow.values())
        torch._foreach_lerp_(slow, self.fast, 1 - kept)  # on a GPU all of them at once
        torch._foreach_copy_(self.fast, slow)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.slow)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.slow = state_dict


def _weights(task: LightningModule) -> dict[str, Tensor]:
    """What the network computes with: parameters and running statistics, but no counters."""
    return {name: value for name, value in task.net.state_dict().items() if value.is_floating_point()}  # type: ignore[operator, union-attr]
