"""How large gradients and updates are, layer by layer, as curves."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

MOST_GROUPS = 16
DEEPEST = 3


class Gradients(Callback):
    """Every `trainer.log_every_n_steps` steps, for each group of layers, before gradients are clipped:

    `weights/gradient_norm/<group>`: ||g||, the norm of the loss's gradient over all the group's parameters; and
    `weights/update_ratio/<group>`: ||w_after - w_before|| / ||w_before||. By a rule of thumb
    1e-3 is healthy: far below it the layer hardly learns, far above it jumps (Stanford's CS231n, Neural Networks part
    3, ratio of weights to updates).

    Groups are the network's parts by name, as deep as `MOST_GROUPS` of them allow. Under FSDP, where a rank holds a
    share of each, the norms are those of the first rank's share.
    """

    def __init__(self) -> None:
        self._before: dict[str, list[Tensor]] | None = None
        self._norms: dict[str, Tensor] = {}
        self._values: dict[str, float] = {}  # measured and not yet logged

    def state_dict(self) -> dict[str, Any]:
        return {"values": self._values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._values = dict(state_dict["values"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        net: Any = pl_module.net
        self.groups, self._interval = groups(net), interval(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not trainer.is_global_zero or interval(trainer) == self._interval:
            return
        self._interval = interval(trainer)
        self._norms = {name: norm(gradients(part)) for name, part in self.groups.items() if gradients(part)}
        self._before = {name: [weight.detach().clone() for weight in part] for name, part in self.groups.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._before is None:
            return
        before, self._before = self._before, None
        values = {f"weights/gradient_norm/{name}": value for name, value in self._norms.items()}
        for name, weights in before.items():
            changes = [now.detach() - then for now, then in zip(self.groups[name], weights, strict=True)]
            values[f"weights/update_ratio/{name}"] = norm(changes) / norm(weights).clamp_min(1e-12)
        read = torch.stack(list(values.values())).tolist()  # the one read from the device
        self._values = dict(zip(values, read, strict=True))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # before the step and not after the last one, like the task's own curves: see `Task.on_train_batch_start`
        if self._values:
            self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module)

    def _log(self, trainer: Trainer, task: Any) -> None:
        values, self._values = self._values, {}
        for logger in trainer.loggers if values else []:
            logger.log_metrics(values, step=task.samples_seen)


def interval(trainer: Trainer) -> int:
    """In which of the intervals that are logged the batch lies; -1 before the first batch."""
    return trainer.fit_loop.total_batch_idx // trainer.log_every_n_steps  # type: ignore[attr-defined,no-any-return]


def groups(net: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trainable parameters by the first words of their names: so many words that there are several groups and at
    most `MOST_GROUPS`."""
    named = [(name.split("."), weight) for name, weight in net.named_parameters() if weight.requires_grad]
    depth = 1
    for deeper in range(2, DEEPEST + 1):
        if len({tuple(words[:-1][:deeper]) for words, _ in named}) <= MOST_GROUPS:
            depth = deeper
    found: dict[str, list[nn.Parameter]] = {}
    for words, weight in named:
        found.setdefault(".".join(words[:-1][:depth]) or words[0], []).append(weight)
    return found


def gradients(weights: list[nn.Parameter]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def norm(tensors: list[Tensor]) -> Tensor:
    """The Euclidean norm of all of them together, in float32; a scalar on their device."""
    each = [torch.linalg.vector_norm(tensor.detach(), dtype=torch.float32) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(each))
