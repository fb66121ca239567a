"""F1 from the counts of a whole epoch, against scores by hand and torchmetrics' own."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_f1_score

from project.tasks.classification import confusion_matrix, f1_scores
from project.tasks.text_classification import TextClassification

LOGITS = torch.tensor([[2.0, 1, 0], [0, 3, 1], [1, 0, 4], [5, 2, 1], [1, 2, 3]])
LABELS = torch.tensor([0, 1, 1, 0, 2])


class Given(nn.Module):
    """Logits that do not depend on a network: the ids are the logits, (K, B)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return self.scale * ids.T


class Batches(LightningDataModule):
    """The same batches in every part."""

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.batches = [(logits.T, torch.ones(len(labels), dtype=torch.int64), labels) for logits, labels in batches]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = train_dataloader


def quiet_trainer(**arguments: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **arguments,
    )


def test_measures() -> None:
    batch = (LOGITS.T, torch.ones(5, dtype=torch.int64), LABELS)
    loss, sums, samples = TextClassification(Given()).measure(batch, "val")
    own = -LOGITS.log_softmax(1)[range(5), LABELS]
    assert samples == 5
    assert loss.item() == pytest.approx(own.mean().item())
    assert [value.item() for value in sums] == pytest.approx([own.sum().item(), 4])
    smoothed = TextClassification(Given(), label_smoothing=0.3).measure(batch, "train")[0]
    assert smoothed.item() == pytest.approx((0.7 * own - 0.3 * LOGITS.log_softmax(1).mean(1)).mean().item())


def test_f1_by_hand() -> None:
    confusion = confusion_matrix(LOGITS.argmax(1), LABELS, 3)
    assert confusion.tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 1]]
    # precision and recall: 1 and 1; 1 and 1/2; 1/2 and 1
    assert f1_scores(confusion).tolist() == pytest.approx([1, 2 / 3, 2 / 3])


def test_a_class_that_is_nowhere_has_no_part_in_the_mean() -> None:
    confusion = torch.tensor([[3, 1, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert f1_scores(confusion)[:2].tolist() == pytest.approx([6 / 7, 0])
    assert f1_scores(confusion)[2].isnan()
    assert f1_scores(confusion)[3] == 0  # it was predicted
    assert f1_scores(confusion).nanmean().item() == pytest.approx((6 / 7) / 3)


@pytest.mark.parametrize("classes", [2, 7])
def test_f1_is_torchmetrics_own(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, labels = torch.randint(0, classes, (2, 50), generator=generator)
    confusion = confusion_matrix(predicted, labels, classes)
    assert torch.equal(confusion, multiclass_confusion_matrix(predicted, labels, classes))
    each, mean = (multiclass_f1_score(predicted, labels, classes, average=kind) for kind in ("none", "macro"))
    torch.testing.assert_close(f1_scores(confusion).float(), each)
    torch.testing.assert_close(f1_scores(confusion).nanmean().float(), mean)


def test_an_epoch_s_f1_is_that_of_all_its_sentences_and_each_epoch_s_own() -> None:
    halves = [(LOGITS[:3], LABELS[:3]), (LOGITS[3:], LABELS[3:])]
    task = TextClassification(Given(), lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    trainer = quiet_trainer(max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(task, datamodule=Batches(halves))
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert found["val/f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert found["val/accuracy"] == found["train/accuracy"] == pytest.approx(0.8)
    assert "train/f1" not in found
    assert set(task.logged) == set(found)
    trainer.test(task, datamodule=Batches(halves[:1]), verbose=False)
    assert float(trainer.callback_metrics["test/f1"]) == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_counts_are_summed_over_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = TextClassification(Given()), TextClassification(Given())
    for task, part in ((first, slice(0, 3)), (second, slice(3, 5))):
        task.measure((LOGITS[part].T, torch.ones(len(LABELS[part])), LABELS[part]), "val")
    monkeypatch.setattr(first, "_sum_over_ranks", lambda counts: counts + second.confusion["val"])
    assert first.derived("val", {"loss": 1.0}) == {"loss": 1.0, "f1": pytest.approx((1 + 2 / 3 + 2 / 3) / 3)}
    assert first.derived("train", {}) == {}


def test_an_epoch_that_was_broken_off_leaves_nothing() -> None:
    task = TextClassification(Given())
    batch = (LOGITS.T, torch.ones(5), LABELS)
    task.measure(batch, "val")
    task.begin("val")
    task.measure(batch, "val")
    assert task.confusion["val"].sum() == 5


def test_label_smoothing_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"model\.label_smoothing must be at least 0 and below 1, got 1"):
        TextClassification(Given(), label_smoothing=1.0)
