"""Dense labels: loss, accuracy and intersection over union, on masks that can be checked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from project.tasks.segmentation import IGNORED, Segmentation, overlaps, pixel_confusion

MASKS = torch.tensor([[[0, 0, 1], [1, 2, 255]], [[0, 0, 0], [0, 255, 255]]], dtype=torch.uint8)
SAID = torch.tensor([[[0, 1, 1], [1, 1, 0]], [[0, 0, 0], [1, 2, 0]]])
IMAGES = torch.zeros(2, 3, 2, 3)
SURE = 2.0  # the logit of what is said; the others' are 0


class Fixed(nn.Module):
    def __init__(self, part: slice = slice(None)) -> None:
        super().__init__()
        self.logits = nn.Parameter(SURE * nn.functional.one_hot(SAID[part], 4).permute(0, 3, 1, 2).float())

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)]


def gradient_of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_confusion_counts_pixels_and_leaves_out_what_is_ignored() -> None:
    found = pixel_confusion(SAID, MASKS.long(), 4)
    assert found.tolist() == [[4, 2, 0, 0], [0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    both, either = overlaps(found)
    assert both.tolist() == [4, 2, 0, 0]
    assert either.tolist() == [6, 5, 1, 0]
    assert pixel_confusion(SAID, torch.full_like(SAID, IGNORED), 4).sum() == 0


def test_measures_by_hand() -> None:
    task = Segmentation(Fixed(), num_classes=4)
    loss, sums, samples = task.measure((IMAGES, MASKS), "val")
    right, wrong = (-math.log(math.exp(logit) / (math.exp(SURE) + 3)) for logit in (SURE, 0.0))
    expected = (6 * right + 3 * wrong) / 9
    assert samples == 2
    assert loss.item() == pytest.approx(expected)
    assert task.answers is not None
    assert torch.equal(task.answers, SAID)
    task.meters["val"].add(sums, samples)
    means = task.derived("val", task.meters["val"].read_epoch(lambda values: values))
    # the fourth class neither is there nor was said
    assert means == pytest.approx({"loss": expected, "accuracy": 6 / 9, "mean_iou": (4 / 6 + 2 / 5 + 0) / 3})


def test_an_epoch_does_not_depend_on_its_batches() -> None:
    whole, parts = (Segmentation(Fixed(), num_classes=4) for _ in range(2))
    _, sums, samples = whole.measure((IMAGES, MASKS), "val")
    whole.meters["val"].add(sums, samples)
    for number in range(2):
        parts.net = Fixed(slice(number, number + 1))
        _, sums, samples = parts.measure((IMAGES[:1], MASKS[number : number + 1]), "val")
        parts.meters["val"].add(sums, samples)
    means = [task.derived("val", task.meters["val"].read_epoch(lambda values: values)) for task in (whole, parts)]
    assert means[0] == pytest.approx(means[1], rel=1e-6)


def test_a_batch_without_a_known_pixel() -> None:
    net = Fixed()
    task = Segmentation(net, num_classes=4)
    loss, sums, _ = task.measure((IMAGES, torch.full_like(MASKS, IGNORED)), "train")
    loss.backward()
    assert loss.item() == 0
    assert not gradient_of(net.logits).any()
    task.meters["train"].add(sums, 2)
    assert task.derived("train", task.meters["train"].read_epoch(lambda values: values)) == {}


def test_ranks_with_fewer_known_pixels_weigh_less(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, gradients = Fixed(), []
    Segmentation(whole, num_classes=4).measure((IMAGES, MASKS), "train")[0].backward()
    for number in range(2):  # 5 and 4 known pixels
        part = slice(number, number + 1)
        net = Fixed(part)
        task = Segmentation(net, num_classes=4)
        trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=lambda v, reduce_op: torch.tensor(9.0)))
        monkeypatch.setattr(Segmentation, "trainer", trainer, raising=False)
        task.training_step((IMAGES[part], MASKS[part]), 0).backward()
        gradients.append(gradient_of(net.logits))
    assert torch.allclose(torch.cat(gradients) / 2, gradient_of(whole.logits))


def test_what_can_be_monitored() -> None:
    assert Segmentation(Fixed(), num_classes=4).logged[-1] == "val/mean_iou"
