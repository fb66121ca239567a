"""Learning-rate range test (Smith 2017, section 3.3): train briefly at growing rates and look where the loss falls."""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning import Trainer
from torch.utils.tensorboard import SummaryWriter

from project.callbacks.pictures import learning_rate_figure
from project.data.module import DataModule
from project.runs.folder import write_json
from project.tasks.task import Task

log = logging.getLogger(__name__)


def find_learning_rate(
    trainer: Trainer,
    task: Task,
    data: DataModule,
    folder: Path,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
) -> float:
    """Draw the loss against the learning rate and propose one; the weights that this trains are thrown away.

    Args:
        trainer: says the device and the precision.
        task: the task to train; it must have an optimizer.
        data: set up.
        folder: where `lr_find.png`, `lr_find.json` and TensorBoard's picture go.
        lowest: the first step's rate.
        highest: the last step's rate, unless the loss grows beyond four times its minimum before.
        steps: training steps; the rate grows by the same factor at each.

    Returns:
        The proposed learning rate; NaN if the loss falls nowhere.
    """
    rates, losses = _range_test(trainer, task, data, lowest, highest, steps)
    proposal = steepest(rates, losses)
    figure = learning_rate_figure(rates, losses, proposal)
    figure.savefig(folder / "lr_find.png", dpi=120)
    with SummaryWriter(str(folder)) as writer:
        writer.add_figure("lr_find", figure)
    write_json(folder / "lr_find.json", {"proposal": proposal, "rates": rates, "losses": losses})
    log.info("curve: %s, and in TensorBoard under Images", folder / "lr_find.png")
    if proposal is None:
        log.warning("the loss fell at no learning rate of the range test, so none is proposed")
        return math.nan
    log.info("proposed: optimizer.lr=%.2g", proposal)
    return proposal


def steepest(rates: Sequence[float], losses: Sequence[float], skip: float = 0.1) -> float | None:
    """The rate at which the loss falls fastest per decade; the first and last tenth are left out.

    Args:
        rates: growing, by the same factor at each step.
        losses: smoothed, as many.
        skip: the fraction left out at each end.
    """
    first = max(1, int(skip * len(losses)))
    slopes = {i: losses[i + 1] - losses[i - 1] for i in range(first, len(losses) - first)}
    best = min(slopes, key=lambda i: slopes[i], default=None)
    return rates[best] if best is not None and slopes[best] < 0 else None


def _range_test(
    trainer: Trainer, task: Task, data: DataModule, lowest: float, highest: float, steps: int
) -> tuple[list[float], list[float]]:
    device = trainer.strategy.root_device
    task.initialise(data)
    task.to(device).train()
    optimizer = task.make_optimizer()
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    for step, batch in zip(range(steps), _batches(data), strict=False):
        rate = lowest * (highest / lowest) ** (step / max(1, steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with trainer.precision_plugin.forward_context():
            loss, _, _ = task.measure([part.to(device) for part in batch], "train")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average = 0.9 * average + 0.1 * loss.item()
        smooth = average / (1 - 0.9 ** (step + 1))
        if not math.isfinite(smooth) or (losses and smooth > 4 * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
    return rates, losses


def _batches(data: DataModule) -> Iterator[Any]:
    loader = data.train_dataloader()
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        yield from loader
        epoch += 1
