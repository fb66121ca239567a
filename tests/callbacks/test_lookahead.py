"""Slow weights, which the trained ones are set back to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from project.callbacks.checkpoint_files import load_checkpoint
from project.callbacks.lookahead import Lookahead
from project.errors import UserError
from project.train import train
from tests.runs.conftest import tiny


class Down(LightningModule):
    """Takes 1 from its weight at every step; has a norm's statistics, and one of its counters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.BatchNorm1d(1, affine=False)
        self.net.register_parameter("weight", nn.Parameter(torch.zeros(1)))
        assert self.net.running_mean is not None
        self.net.running_mean.fill_(4.0)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        assert self.net.weight is not None
        return self.net.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.net.parameters(), lr=1.0)


class Heard(Callback):
    """The weight after each batch."""

    def __init__(self) -> None:
        self.weights: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.weights.append(pl_module.net.weight.item())  # type: ignore[union-attr, operator]


def heard(lookahead: Lookahead, batches: int, task: LightningModule | None = None, **words: Any) -> list[float]:
    seen = Heard()
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[lookahead, seen], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **words,
    )  # fmt: skip
    trainer.fit(task or Down(), DataLoader(torch.zeros(batches, 1)))  # type: ignore[arg-type]
    return seen.weights


def test_every_few_steps_the_weights_are_those_that_follow_them() -> None:
    """Of 6 steps; after 2 of them a quarter of 2 / 6 of the slow weights is kept, after 4 a quarter of 4 / 6."""
    lookahead = Lookahead(every=2, decay=0.5, power=1)
    first = -2 * (1 - 0.25 / 3)
    second = first - 2 * (1 - 0.25 * 2 / 3)
    expected = [-1.0, first, first - 1, second, second - 1, second]  # the last step: the slow weights themselves
    assert heard(lookahead, 6) == pytest.approx(expected, abs=1e-6)


def test_the_last_step_ends_with_the_slow_weights_wherever_it_comes() -> None:
    assert heard(Lookahead(every=5, decay=0.0), 6) == [-1, -2, -3, -4, -5, -5]
    assert heard(Lookahead(every=5, decay=1.0, power=0), 6) == [-1, -2, -3, -4, 0, 0]


def test_steps_are_those_of_the_optimizer() -> None:
    assert heard(Lookahead(every=2, decay=1.0, power=0), 6, accumulate_grad_batches=2) == [0, -1, -1, 0, 0, 0]


def test_statistics_are_averaged_and_counters_are_not() -> None:
    class Counting(Down):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.net.running_mean.sub_(1)  # type: ignore[union-attr]
            self.net.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            return super().training_step(batch, batch_idx)

    task = Counting()
    heard(Lookahead(every=2, decay=1.0, power=0), 4, task)
    assert task.net.running_mean.item() == 4  # type: ignore[union-attr]
    assert task.net.num_batches_tracked.item() == 4  # type: ignore[union-attr]


@pytest.mark.parametrize("words", [{"every": 0}, {"decay": 1.5}, {"decay": -0.1}, {"power": -1}])
def test_a_wrong_value_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="every must be at least 1"):
        Lookahead(**words)


def test_a_training_without_an_end_is_refused(tmp_path: Path) -> None:
    words = ("callbacks=[lookahead]", "trainer.max_epochs=-1", "trainer.max_time=00:00:01:00", "scheduler=none")
    with pytest.raises(UserError, match=r"needs to know how long .* callbacks\.lookahead=null"):
        train(tiny(f"folder={tmp_path / 'run'}", *words))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_holds_the_slow_weights_and_those_that_start_from_them(tmp_path: Path) -> None:
    train(tiny(f"folder={tmp_path / 'run'}", "callbacks=[lookahead]", "callbacks.lookahead.every=4"))
    last, best = (load_checkpoint(tmp_path / "run/checkpoints" / name) for name in ("last.ckpt", "best.ckpt"))
    slow = last["callbacks"]["Lookahead"]
    floating = {name: value for name, value in last["state_dict"].items() if value.is_floating_point()}
    assert {f"net.{name}" for name in slow} == set(floating)
    for name, value in slow.items():  # after the last step they are the same
        torch.testing.assert_close(floating[f"net.{name}"], value, rtol=0, atol=0)
    assert best["callbacks"]["Lookahead"].keys() == slow.keys()
