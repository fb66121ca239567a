"""Points by regression: loss, error and PCK, on points that can be checked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from project.tasks.regression import Regression, pixels, shares

IMAGES = torch.zeros(2, 3, 10, 20)
NAN = math.nan
POINTS = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [NAN, NAN]], [[4.0, 4.0], [4.0, 9.0], [8.0, 4.0]]])
# by how many pixels each is missed
OFF = torch.tensor([[[0.0, 0.9], [0.0, 1.5], [5.0, 5.0]], [[0.24, 0.32], [0.0, 0.0], [3.0, 4.0]]])


class Fixed(nn.Module):
    """Always the same places, as shares of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(shares(POINTS.nan_to_num(3.0) + OFF, IMAGES))

    def forward(self, images: Tensor) -> Tensor:
        return self.places[: len(images)]


def gradient_of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_shares_are_from_the_centre_and_back() -> None:
    corners = torch.tensor([[[-0.5, -0.5], [19.5, 9.5], [9.5, 4.5]]])
    assert shares(corners, IMAGES[:1]).tolist() == [[[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0]]]
    assert torch.equal(pixels(shares(corners, IMAGES[:1]), IMAGES[:1]), corners)


def test_measures_by_hand() -> None:
    task = Regression(Fixed())
    loss, sums, samples = task.measure((IMAGES, POINTS), "val")
    squares = 0.09**2 + 0.15**2 + (0.24 / 20) ** 2 + 0.032**2 + (3 / 20) ** 2 + 0.4**2
    assert samples == 2
    assert loss.item() == pytest.approx(squares / 5)
    # boxes around the known points: 10 and 5 pixels; misses: 0.9, 1.5 | 0.4, 0, 5
    assert [value.item() for value in sums] == pytest.approx([squares, 7.8, 3, 4, 5], rel=1e-5)
    task.meters["val"].add(sums, samples)
    means = task.derived("val", task.meters["val"].read_epoch(lambda values: values))
    assert means == pytest.approx({"loss": squares / 5, "error": 1.56, "pck_0.1": 0.6, "pck_0.2": 0.8}, rel=1e-5)
    assert task.answers is not None
    assert torch.allclose(task.answers, POINTS.nan_to_num(3.0) + OFF, atol=1e-5)


def test_the_image_s_own_length_can_be_the_reference() -> None:
    _, sums, _ = Regression(Fixed(), reference="image").measure((IMAGES, POINTS), "val")  # within 2 and 4 pixels of 20
    assert [sums[2].item(), sums[3].item()] == [4, 4]
    with pytest.raises(ValueError, match=r"model.reference must be one of points, image, got head"):
        Regression(Fixed(), reference="head")  # type: ignore[arg-type]


def test_unknown_points_have_no_gradient_and_make_none_nan() -> None:
    net = Fixed()
    task = Regression(net)
    task.measure((IMAGES, POINTS), "train")[0].backward()
    gradient = gradient_of(net.places)
    assert gradient.isfinite().all()
    assert gradient[0, 2].tolist() == [0, 0]
    assert gradient[1, 2].all()
    loss, sums, _ = task.measure((IMAGES[:1], POINTS[:1] * NAN), "train")  # nothing is known
    assert loss.item() == 0
    assert [value.item() for value in sums] == [0, 0, 0, 0, 0]
    assert task.derived("val", {"squares": 0.0, "known": 0.0}) == {}


def test_means_do_not_depend_on_batches_nor_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, gradients = Fixed(), []
    Regression(whole).measure((IMAGES, POINTS), "train")[0].backward()
    for number in range(2):  # each rank has one of the images: 2 and 3 known points
        part, net = slice(number, number + 1), Fixed()
        net.places = nn.Parameter(net.places[part].detach())
        task = Regression(net)
        trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=lambda v, reduce_op: torch.tensor(5.0)))
        monkeypatch.setattr(Regression, "trainer", trainer, raising=False)
        task.training_step((IMAGES[part], POINTS[part]), 0).backward()
        gradients.append(gradient_of(net.places))
    assert torch.allclose(torch.cat(gradients) / 2, gradient_of(whole.places))  # a mean over ranks
