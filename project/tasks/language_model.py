"""What comes next? Cross-entropy of the next token, and states that are carried from batch to batch."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from project.nets.cells import State
from project.nets.recurrent import Recurrent
from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task

log = logging.getLogger(__name__)


class LanguageModelling(Task):
    """Truncated backpropagation through time (Williams and Peng 1990): each batch goes on where the last one stopped.

    The states of the last time step are where the next batch begins, for ever; the gradient ends at them. Losses are
    in nats per token; beside them stand bits per token (`bits_per_character`, ...) and the perplexity exp(loss).

    Args:
        net: (T, B) ids and states to (T, B, V) logits and states.
        token: what a token is: character, byte or word.
    """

    measures: ClassVar[Sequence[str]] = ("loss",)

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        token: str = "token",
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        self.token = token
        self.carried: dict[Stage, list[State]] = {}

    @property
    def logged(self) -> list[str]:
        names = (*self.measures, f"bits_per_{self.token}", "perplexity")
        return [f"{stage}/{name}" for stage in ("train", "val") for name in names]

    def on_fit_start(self) -> None:
        recurrent = getattr(self.net, "recurrent", None)
        if isinstance(recurrent, Recurrent):
            half = "16" in str(self.trainer.precision)
            recurrent.compile_if_it_pays(
                self.trainer.estimated_stepping_batches, half, self.trainer.strategy.root_device
            )

    def begin(self, stage: Stage) -> None:
        self.carried.pop(stage, None)

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: inputs (T, B) and targets (T, B), the tokens after them; -100 where there is nothing to predict."""
        inputs, targets = batch
        logits, states = self.net(inputs, self._before(stage, inputs.shape[1]))
        self.carried[stage] = [tuple(part.detach() for part in state) for state in states]
        total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
        count = targets.numel() if stage == "train" else int((targets != -100).sum())
        return total / max(1, count), [total], count

    def example(self, batch: Any) -> tuple[Any, ...]:
        return (batch[0][:8, :1],)

    def _before(self, stage: Stage, streams: int) -> list[State] | None:
        """The states that this batch goes on from; none where a resumed run reads another number of streams."""
        states = self.carried.get(stage)
        if states is not None and len(states[0][0]) != streams:
            log.info("%d streams instead of %d: their states begin at zero", streams, len(states[0][0]))
            return None
        return states

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        if not means:
            return means
        loss = means["loss"]
        return {**means, f"bits_per_{self.token}": loss / math.log(2), "perplexity": math.exp(min(loss, 700.0))}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        states = self.carried.get("train")
        checkpoint["carried"] = None if states is None else [tuple(map(self._of_all_ranks, state)) for state in states]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if checkpoint.get("carried") is not None:
            self.carried["train"] = [tuple(map(self._of_this_rank, state)) for state in checkpoint["carried"]]

    def _of_all_ranks(self, part: Tensor) -> Tensor:
        """(B, n) of each rank to (ranks * B, n), so that a run can go on with another number of them."""
        return part if self.trainer.world_size == 1 else self.trainer.strategy.all_gather(part).flatten(0, 1)

    def _of_this_rank(self, part: Tensor) -> Tensor:
        shares = part.chunk(self.trainer.world_size)
        return shares[self.trainer.global_rank].to(self.trainer.strategy.root_device, copy=True)
