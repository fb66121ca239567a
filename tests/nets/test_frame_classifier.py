"""A label for every frame: what it depends on, and what it doesn't."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from project.nets import cells
from project.nets.convnet import ConvNet
from project.nets.frame_classifier import FrameClassifier, by_time
from project.nets.resnet import ResNet
from tests.conftest import choices

LENGTHS = torch.tensor([3, 5, 1, 5])
CELLS = {name: getattr(cells, name.upper()) for name in choices("cell")}


def build(net: nn.Module | None = None, cell: str = "gru", **arguments: Any) -> FrameClassifier:
    """For frames of 20 x 20 in four classes, its weights from seed 0."""
    torch.manual_seed(0)
    net = ConvNet((3, 20, 20), 1) if net is None else net
    return FrameClassifier(net, (3, 20, 20), 4, **{"cell": CELLS[cell], "hidden_size": 8, **arguments})


def videos() -> torch.Tensor:
    return torch.randn(int(LENGTHS.sum()), 3, 20, 20, generator=torch.Generator().manual_seed(1))


def test_the_order_of_a_packed_sequence() -> None:
    rows, sizes = by_time(torch.tensor([2, 3, 1, 3]))  # frames 0 1, 2 3 4, 5, 6 7 8
    assert sizes.tolist() == [4, 3, 2]
    assert rows.tolist() == [2, 6, 0, 5, 3, 7, 1, 4, 8]


@pytest.mark.parametrize("arguments", [*({"cell": cell} for cell in CELLS), {"recurrent": False}])
@torch.inference_mode()
def test_a_video_has_the_same_logits_alone_and_in_any_company(arguments: dict[str, Any]) -> None:
    net, frames = build(**arguments, num_layers=2).eval(), videos()
    together = net(frames, LENGTHS)
    assert together.shape == (14, 4)
    assert together.std() > 0.01
    for own, logits in zip(frames.split(LENGTHS.tolist()), together.split(LENGTHS.tolist()), strict=True):
        torch.testing.assert_close(net(own, torch.tensor([len(own)])), logits, rtol=1e-4, atol=1e-5)
    backwards = net(torch.cat(frames.split(LENGTHS.tolist())[::-1]), LENGTHS.flip(0))
    torch.testing.assert_close(
        torch.cat(backwards.split(LENGTHS.flip(0).tolist())[::-1]), together, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "reached"),
    [
        ({"recurrent": False}, [False, False, True, False, False]),
        ({}, [False, False, True, True, True]),
        ({"bidirectional": True}, [True] * 5),
    ],
)
def test_which_frames_a_label_depends_on(arguments: dict[str, Any], reached: list[bool]) -> None:
    """Of a video of five frames the third is changed, and all of another video."""
    net, frames = build(**arguments).eval(), videos()
    changed = frames.clone()
    changed[5] += 1  # the second video's third frame
    changed[9:] += 1
    with torch.inference_mode():
        before, after = net(frames, LENGTHS), net(changed, LENGTHS)
    assert [not torch.allclose(before[i], after[i], atol=1e-6) for i in range(3, 8)] == reached
    torch.testing.assert_close(before[:3], after[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", [ConvNet, ResNet])
@pytest.mark.parametrize("recurrent", [True, False])
def test_gradient_reaches_every_parameter(of: Callable[..., nn.Module], recurrent: bool) -> None:
    net = build(of((3, 20, 20), 1), recurrent=recurrent, grid=1, dropout=0.2)
    net(videos(), LENGTHS).square().mean().backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_the_baseline_has_the_same_width_and_no_cell() -> None:
    baseline = build(recurrent=False)
    assert baseline.recurrent is None
    assert baseline.head.in_features == build().head.in_features == 8


def test_a_frozen_convnet_gets_no_gradient() -> None:
    net = build(frozen=True).train()
    net(videos(), LENGTHS).sum().backward()
    assert all(parameter.grad is None for parameter in net.encoder.parameters())
    assert net.into.weight.grad is not None


def test_a_grid_is_no_finer_than_the_map() -> None:
    assert build(grid=9).fields == (2, 2)
    assert build(grid=1).into.in_features == 16


@torch.inference_mode()
def test_frames_can_be_described_bit_by_bit() -> None:
    net, frames = build().eval(), videos()
    parts = torch.cat([net.describe(part) for part in frames.split(4)])
    torch.testing.assert_close(net.classify(parts, LENGTHS), net(frames, LENGTHS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "law"),
    [
        ({"hidden_size": 0}, "model.net.hidden_size must be at least 1, got 0"),
        ({"num_layers": 0}, "model.net.num_layers must be at least 1, got 0"),
        ({"grid": 0}, "model.net.grid must be at least 1, got 0"),
        ({"dropout": 1.0}, "model.net.dropout must be at least 0 and below 1, got 1.0"),
        ({"recurrent": False, "bidirectional": True}, "model.net.bidirectional=true is for model.net.recurrent=true"),
    ],
)
def test_laws_of_the_arguments(arguments: dict[str, Any], law: str) -> None:
    with pytest.raises(ValueError, match=law):
        FrameClassifier(nn.Identity(), (3, 8, 8), 2, cell=None, **arguments)  # type: ignore[arg-type]
