"""Learning-rate schedules, one function each: `(optimizer, steps) -> Lightning's scheduler dictionary`.

Every schedule but `plateau` is a factor of the optimizer's learning rate as a function of the step, so that its whole
state is the number of steps done.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


@dataclass(frozen=True)
class Steps:
    """How long the training is, in optimizer steps; `total` is infinite when only time ends it."""

    total: float
    per_epoch: float


Schedule = dict[str, Any]


def constant(optimizer: Optimizer, steps: Steps) -> Schedule:
    """The optimizer's learning rate throughout."""
    return _per_step(optimizer, lambda step: 1.0)


def cosine(optimizer: Optimizer, steps: Steps, warmup_epochs: float = 0.0, final_fraction: float = 0.0) -> Schedule:
    """Linear warm-up, then half a cosine down to `final_fraction` (Loshchilov and Hutter 2017, equation 5)."""
    total, warmup = _length(steps, "cosine"), _warmup_steps(warmup_epochs, steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1.0, total - warmup))
        return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * done)) / 2

    return _per_step(optimizer, factor)


def multistep(
    optimizer: Optimizer,
    steps: Steps,
    milestones: Sequence[float] = (0.5, 0.75),
    factor: float = 0.1,
    warmup_epochs: float = 0.0,
) -> Schedule:
    """Multiply by `factor` at each milestone, a fraction of the training (He et al. 2015, section 4.2).

    Raises:
        ValueError: a milestone outside [0, 1].
    """
    if any(not 0 <= milestone <= 1 for milestone in milestones):
        raise ValueError(
            f"scheduler.milestones are fractions of the training between 0 and 1, got {list(milestones)}: "
            "write 0.5 for half of the epochs"
        )
    total, warmup = _length(steps, "multistep"), _warmup_steps(warmup_epochs, steps)

    def value(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return factor ** sum(step >= milestone * total for milestone in milestones)

    return _per_step(optimizer, value)


def onecycle(
    optimizer: Optimizer,
    steps: Steps,
    peak: float = 0.25,
    initial_fraction: float = 0.04,
    final_fraction: float = 0.0,
) -> Schedule:
    """Up to the learning rate at the fraction `peak` of the training, then down: a triangle (Smith 2018, section 4)."""
    total = _length(steps, "onecycle")
    top = max(1.0, peak * total)

    def factor(step: int) -> float:
        if step < top:
            return initial_fraction + (1 - initial_fraction) * step / top
        return 1 + (final_fraction - 1) * min(1.0, (step - top) / max(1.0, total - top))

    return _per_step(optimizer, factor)


def exponential(optimizer: Optimizer, steps: Steps, factor: float = 0.97, after_epochs: int = 10) -> Schedule:
    """Multiply by `factor` at the end of every epoch from number `after_epochs` on, as char-rnn does.

    Raises:
        ValueError: a factor outside (0, 1].
    """
    if not 0 < factor <= 1:
        raise ValueError(f"scheduler.factor must lie above 0 and be at most 1, got {factor}: 0.97 decays slowly")

    def value(step: int) -> float:
        return float(factor ** max(0, int(step / steps.per_epoch) - after_epochs + 1))

    return _per_step(optimizer, value)


def plateau(
    optimizer: Optimizer,
    steps: Steps,
    monitor: str = "val/loss",
    mode: Literal["min", "max"] = "min",
    factor: float = 0.1,
    patience: int = 5,
    min_lr: float = 0.0,
) -> Schedule:
    """Multiply by `factor` after more than `patience` epochs without a better `monitor`.

    By hand in Krizhevsky et al. 2012, section 5; here torch's `ReduceLROnPlateau`.
    """
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience, min_lr=min_lr)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}


def _per_step(optimizer: Optimizer, factor: Callable[[int], float]) -> Schedule:
    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def _length(steps: Steps, name: str) -> float:
    if math.isinf(steps.total):
        raise ValueError(
            f"scheduler={name} must know how long the training is, and trainer.max_epochs and trainer.max_steps are "
            "both unlimited: set one of them, or choose scheduler=plateau or scheduler=none"
        )
    return steps.total


def _warmup_steps(epochs: float, steps: Steps) -> float:
    """At most a third of the training, so that short trials of a long recipe reach their learning rate too."""
    return min(epochs * steps.per_epoch, steps.total / 3)
