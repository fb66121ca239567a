"""Frames count the same, and a video is right where all of its frames are."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from project.tasks.frame_classification import FrameClassification, whole_videos

LOGITS = torch.tensor([[2.0, 1, 0], [0, 3, 1], [1, 0, 4], [5, 2, 1], [1, 2, 3], [0, 1, 0]])
LABELS = torch.tensor([0, 1, 1, 0, 2, 1])
LENGTHS = torch.tensor([2, 1, 3])  # the second video's frame is wrong


class Given(nn.Module):
    """The frames are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        return self.scale * frames


def test_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrameClassification, "trainer", SimpleNamespace(world_size=1))
    task = FrameClassification(Given())
    loss, sums, frames = task.measure((LOGITS, LENGTHS, LABELS), "val")
    own = -LOGITS.log_softmax(1)[range(6), LABELS]
    assert frames == 6
    assert loss.item() == pytest.approx(own.mean().item())
    assert [value.item() for value in sums] == pytest.approx([own.sum().item(), 5])
    assert task.answers is not None
    assert torch.equal(task.answers, LOGITS)
    assert task.derived("val", {"loss": 1.0}) == {"loss": 1.0, "video_accuracy": pytest.approx(2 / 3)}


def test_whole_videos() -> None:
    right = torch.tensor([True, True, False, True, True, False])
    assert whole_videos(right, torch.tensor([2, 1, 3])).tolist() == [True, False, False]
    assert whole_videos(right, torch.tensor([1, 1, 1, 2, 1])).tolist() == [True, True, False, True, False]


def test_videos_are_counted_over_batches_and_ranks_and_forgotten_with_the_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = FrameClassification(Given()), FrameClassification(Given())
    for task in (first, second):
        task.measure((LOGITS[2:3], torch.tensor([1]), LABELS[2:3]), "val")
        task.begin("val")
    first.measure((LOGITS[:2], LENGTHS[:1], LABELS[:2]), "val")
    first.measure((LOGITS[2:3], LENGTHS[1:2], LABELS[2:3]), "val")
    second.measure((LOGITS[3:], LENGTHS[2:], LABELS[3:]), "val")
    monkeypatch.setattr(first, "_sum_over_ranks", lambda counts: counts + second.videos["val"])
    assert first.derived("val", {})["video_accuracy"] == pytest.approx(2 / 3)
    assert first.derived("train", {"loss": 1.0}) == {"loss": 1.0}


def test_gradients_of_ranks_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank's gradient is its own, then their mean is taken."""

    def gradient(task: FrameClassification, frames: slice, videos: slice) -> Tensor:
        batch = (LOGITS[frames], LENGTHS[videos], LABELS[frames])
        return torch.autograd.grad(task.training_step(batch, 0), task.net.scale)[0]  # type: ignore[arg-type]

    alone, first, second = (FrameClassification(Given()) for _ in range(3))
    for task in (first, second):
        monkeypatch.setattr(task, "_sum_over_ranks", lambda own: torch.tensor(6))
    monkeypatch.setattr(FrameClassification, "trainer", SimpleNamespace(world_size=1))
    expected = gradient(alone, slice(0, 6), slice(0, 3))
    monkeypatch.setattr(FrameClassification, "trainer", SimpleNamespace(world_size=2))
    shares = [gradient(first, slice(0, 2), slice(0, 1)), gradient(second, slice(2, 6), slice(1, 3))]
    torch.testing.assert_close(torch.stack(shares).mean(0), expected)
    assert first.samples_seen == second.samples_seen == alone.samples_seen == 6


def test_what_is_logged() -> None:
    assert FrameClassification(Given()).logged == [
        "train/loss",
        "train/accuracy",
        "val/loss",
        "val/accuracy",
        "val/video_accuracy",
    ]
