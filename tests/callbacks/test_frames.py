"""The picture of videos frame by frame."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from project.callbacks.frames import EDGE, RIGHT, WRONG, Frames, edged
from project.callbacks.tiles import GAP, LINE
from project.tasks.frame_classification import FrameClassification
from tests.data.video_sets import build


class Says(nn.Module):
    """Always the first class."""

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        return torch.tensor([9.0, 0, 0]).expand(len(frames), 3)


class Written:
    """What a SummaryWriter was given."""

    def __init__(self) -> None:
        self.summaries: list[Any] = []
        self.file_writer = SimpleNamespace(add_summary=lambda summary, step: self.summaries.append(summary.value[0]))


def test_an_edge_tells_right_from_wrong() -> None:
    tile = np.zeros((4, 5, 3), np.uint8)
    for right, colour in ((True, RIGHT), (False, WRONG)):
        framed = edged(tile, right)
        assert framed.shape == (4 + EDGE, 5, 3)
        assert (framed[4:] == colour).all()
        assert not framed[:4].any()


def test_a_row_for_each_video_a_column_for_each_frame(tmp_path: Path) -> None:
    data = build("moving_shapes", tmp_path, labels="count")
    plugin = SimpleNamespace(forward_context=lambda: torch.no_grad(), convert_input=lambda images: images)
    trainer: Any = SimpleNamespace(datamodule=data, precision_plugin=plugin)
    writer = Written()
    callback = Frames(count=3, frames=9)
    callback.draw(trainer, FrameClassification(Says()), writer, 0)
    (summary,) = writer.summaries
    assert summary.tag == "frames"
    assert len(summary.image.encoded_image_string) < 150_000
    picture = np.asarray(Image.open(io.BytesIO(summary.image.encoded_image_string)).convert("RGB")).astype(int)
    height = 64 + EDGE + 2 * LINE + GAP
    assert picture.shape == (LINE + GAP + 3 * height + GAP, 9 * (64 + GAP) + GAP, 3)
    _, lengths, labels = data.examples("val", 3)
    for row, own in enumerate(labels.split(lengths.tolist())):
        shown = np.linspace(0, len(own) - 1, min(9, len(own))).round().astype(int)
        for column in range(9):
            place = picture[LINE + 2 * GAP + row * height + 65, GAP + column * (64 + GAP) + 32]
            there = column < len(shown)
            expected = (RIGHT if own[shown[column]] == 0 else WRONG) if there else (255, 255, 255)
            assert np.abs(place - np.array(expected)).max() < 30  # where it is a JPEG


@pytest.mark.parametrize(
    ("arguments", "law"),
    [
        ({"count": 0}, "callbacks.frames.count must be from 1 to 16, got 0"),
        ({"frames": 25}, "callbacks.frames.frames must be from 1 to 24, got 25"),
    ],
)
def test_laws_of_the_arguments(arguments: dict[str, int], law: str) -> None:
    with pytest.raises(ValueError, match=law):
        Frames(**arguments)  # type: ignore[arg-type]
