"""Losses, measures and parameter groups of the tasks, on batches that can be checked by hand."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from project.tasks.classification import ImageClassifier
from project.tasks.reconstruction import Reconstruction

LOGITS = torch.tensor([[4.0, 3, 2, 1, 0, -1], [0, 1, 2, 3, 4, 5], [9, 5, 0, 1, 2, 3]])
LABELS = torch.tensor([0, 0, 1])


def test_classifier_measures() -> None:
    loss, sums, samples = ImageClassifier(nn.Identity()).measure((LOGITS, LABELS), "val")
    own = [
        math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(LOGITS.tolist(), LABELS, strict=True)
    ]
    assert samples == 3
    assert loss.item() == pytest.approx(-sum(own) / 3)
    assert sums[0].item() == pytest.approx(-sum(own), rel=1e-6)
    assert [sums[1].item(), sums[2].item()] == [1, 2]  # only the first is right; the second's label is sixth of six


def test_label_smoothing_is_for_training_alone() -> None:
    task = ImageClassifier(nn.Identity(), label_smoothing=0.3)
    log_shares = LOGITS.log_softmax(1)
    own = -log_shares[range(3), LABELS]
    smoothed = (0.7 * own - 0.3 * log_shares.mean(1)).mean()
    assert task.measure((LOGITS, LABELS), "train")[0].item() == pytest.approx(smoothed.item())
    assert task.measure((LOGITS, LABELS), "val")[0].item() == pytest.approx(own.mean().item())


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range(value: float) -> None:
    with pytest.raises(ValueError, match=f"model.label_smoothing must be at least 0 and below 1, got {value}"):
        ImageClassifier(nn.Identity(), label_smoothing=value)


def test_reconstruction_is_the_mean_squared_error() -> None:
    images = torch.arange(24.0).view(2, 3, 2, 2)
    loss, sums, samples = Reconstruction(nn.ReLU()).measure((images - 12, LABELS), "val")
    assert loss.item() == pytest.approx(sum(n * n for n in range(1, 13)) / 24)
    assert sums[0].item() == pytest.approx(2 * loss.item())
    assert samples == 2


def test_weight_decay_can_leave_out_biases_and_norms() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    sgd = partial(torch.optim.SGD, lr=1.0, weight_decay=0.1)
    (all_of_them,) = ImageClassifier(net, sgd).make_optimizer().param_groups
    assert (len(all_of_them["params"]), all_of_them["weight_decay"]) == (6, 0.1)
    decayed, left_out = ImageClassifier(net, sgd, decay_norms_and_biases=False).make_optimizer().param_groups
    assert ([p.ndim for p in decayed["params"]], decayed["weight_decay"]) == ([4, 2], 0.1)
    assert ([p.ndim for p in left_out["params"]], left_out["weight_decay"]) == ([1, 1, 1, 1], 0.0)


def test_biases_of_norms_can_learn_faster_and_decay_as_fast() -> None:
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Flatten(), nn.Linear(4, 2))
    sgd = partial(torch.optim.SGD, lr=0.5, weight_decay=0.1)
    rest, biases = ImageClassifier(net, sgd, norm_bias_lr_scale=64).make_optimizer().param_groups
    assert biases["params"] == [norm.bias]
    assert (biases["lr"], biases["weight_decay"]) == (32.0, 0.1 / 64)
    assert (len(rest["params"]), rest["lr"], rest["weight_decay"]) == (5, 0.5, 0.1)
    task = ImageClassifier(net, sgd, norm_bias_lr_scale=64, decay_norms_and_biases=False)
    assert [group["weight_decay"] for group in task.make_optimizer().param_groups] == [0.1, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"norm_bias_lr_scale must be positive, got 0"):
        ImageClassifier(net, norm_bias_lr_scale=0)


def test_a_network_that_asks_for_it_begins_with_a_training_batch() -> None:
    class Centred(nn.Module):
        def start_from(self, inputs: torch.Tensor) -> None:
            self.mean = inputs.mean()

    class Data:
        def train_dataloader(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
            return [(torch.full((2, 3), 5.0), LABELS[:2])]

    task = ImageClassifier(Centred())
    task.initialise(Data())
    assert task.net.mean == 5
    ImageClassifier(nn.Identity()).initialise(object())  # of the others no data are asked for
