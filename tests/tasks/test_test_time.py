"""Views of an image whose logits are averaged."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.tasks.classification import ImageClassifier
from project.tasks.test_time import averaged


class Corner(nn.Module):
    """The pixel at the top left, for each channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, 0, 0]


IMAGE = torch.arange(9.0).view(1, 1, 3, 3)  # 0 1 2 / 3 4 5 / 6 7 8


def test_views_are_averaged_as_the_paper_does() -> None:
    assert averaged(Corner(), IMAGE, "none").item() == 0
    assert averaged(Corner(), IMAGE, "flip").item() == (0 + 2) / 2
    # reflected: 4 3 4 5 4 / 1 0 1 2 1 / 4 3 4 5 4 / 7 6 7 8 7 / 4 3 4 5 4; crops from (0, 0) and from (2, 2)
    first, second = (4 + 4) / 2, (4 + 4) / 2
    assert averaged(Corner(), IMAGE, "flip_and_shift").item() == (1 / 2) + (first + second) / 4


def test_training_sees_the_image_alone_and_validation_its_views() -> None:
    task = ImageClassifier(nn.Sequential(nn.Flatten(), nn.Linear(9, 3)), test_time="flip")
    labels = torch.tensor([1])
    train, val = (task.measure((IMAGE, labels), stage)[0] for stage in ("train", "val"))
    torch.testing.assert_close(train, F.cross_entropy(task.net(IMAGE), labels))
    torch.testing.assert_close(val, F.cross_entropy((task.net(IMAGE) + task.net(IMAGE.flip(3))) / 2, labels))
    torch.testing.assert_close(task.predict(IMAGE), (task.net(IMAGE) + task.net(IMAGE.flip(3))) / 2)


def test_unknown_views_are_refused() -> None:
    with pytest.raises(ValueError, match="must be one of none, flip, flip_and_shift, got rotate"):
        ImageClassifier(Corner(), test_time="rotate")  # type: ignore[arg-type]
