"""Accuracy by kind of question, by hand: over batches, without any question of a kind, and shared among ranks."""

from typing import Any

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from project.tasks.answering import Answering, earned

# logits, kinds, answers and credits of five questions; the last one has no answer among the three classes
LOGITS = torch.tensor([[2.0, 1, 0], [0, 3, 1], [1, 0, 4], [5, 2, 1], [1, 2, 3]])
KINDS = torch.tensor([0, 0, 1, 1, 1])
ANSWERS = torch.tensor([[0, -1], [0, 1], [2, 0], [1, -1], [-1, -1]])
CREDITS = torch.tensor([[1.0, 0], [1.0, 0.3], [0.9, 0.3], [1.0, 0], [0, 0]])
EARNED = [1.0, 0.3, 0.9, 0.0, 0.0]


class Given(nn.Module):
    """Logits that do not depend on a network: the ids are the logits, (K, M)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor, ids: Tensor, lengths: Tensor, owner: Tensor) -> Tensor:
        return self.scale * ids.T


def batch(*chosen: int) -> tuple[Tensor, ...]:
    rows = torch.tensor(chosen)
    some = torch.zeros(1, 3, 4, 4), LOGITS[rows].T, torch.ones_like(rows), torch.zeros_like(rows)
    return *some, KINDS[rows], ANSWERS[rows], CREDITS[rows]


class Batches(LightningDataModule):
    def __init__(self, *batches: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.batches = batches

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]

    test_dataloader = val_dataloader


def measured(*batches: tuple[Tensor, ...]) -> dict[str, float]:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    task = Answering(Given(), ["yes_no", "other", "number"])
    trainer.test(task, datamodule=Batches(*batches), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_what_is_said_earns_its_credit() -> None:
    assert earned(LOGITS, ANSWERS, CREDITS).tolist() == pytest.approx(EARNED)


@pytest.mark.parametrize("batches", [[(0, 1, 2, 3, 4)], [(0, 1), (2,), (3, 4)], [(4,), (0, 1, 2, 3)]])
def test_measures_whatever_the_batches(batches: list[tuple[int, ...]]) -> None:
    own = -LOGITS.log_softmax(1)[[0, 1, 2, 3], [0, 0, 2, 1]]
    assert measured(*(batch(*rows) for rows in batches)) == pytest.approx(
        {
            "test/loss": own.mean().item(),
            "test/accuracy": sum(EARNED) / 5,
            "test/accuracy_yes_no": 1.3 / 2,
            "test/accuracy_other": 0.9 / 3,
        }
    )


def test_in_training_the_loss_is_smoothed_and_in_validation_it_is_not() -> None:
    task = Answering(Given(), ["yes_no", "other"], label_smoothing=0.3)
    given = batch(0, 1, 2, 3)
    smoothed = nn.functional.cross_entropy(LOGITS[:4], ANSWERS[:4, 0], label_smoothing=0.3)
    plain = nn.functional.cross_entropy(LOGITS[:4], ANSWERS[:4, 0])
    assert task.measure(given, "train")[0].item() == pytest.approx(smoothed.item())
    assert task.measure(given, "val")[0].item() == pytest.approx(plain.item())


def test_it_names_what_it_logs() -> None:
    names = ("loss", "accuracy", "accuracy_yes_no", "accuracy_other")
    expected = [f"{stage}/{name}" for stage in ("train", "val") for name in names]
    assert Answering(Given(), ["yes_no", "other"]).logged == expected


def test_ranks_with_unequally_many_questions_have_the_gradient_of_one_process(monkeypatch: Any) -> None:
    """The mean over ranks of each one's gradient is that of all questions together."""
    everything = batch(0, 1, 2, 3)
    task = Answering(Given(), ["yes_no", "other"])
    task.measure(everything, "train")[0].backward()
    expected = task.net.scale.grad.item()  # type: ignore[union-attr, operator]
    gradients = []
    for rows in ((0,), (1, 2, 3)):
        task = Answering(Given(), ["yes_no", "other"])
        monkeypatch.setattr(Answering, "trainer", type("Two", (), {"world_size": 2})())
        monkeypatch.setattr(task, "_sum_over_ranks", lambda own: own * 0 + 4)
        task.training_step(batch(*rows), 0).backward()
        assert task.samples_seen == 4
        gradients.append(task.net.scale.grad.item())  # type: ignore[union-attr, operator]
    assert sum(gradients) / 2 == pytest.approx(expected)
