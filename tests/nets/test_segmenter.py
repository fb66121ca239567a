"""The fully convolutional head, and the regression of points: shapes, and what the equations say."""

from typing import Any

import pytest
import torch

from project.nets.convnet import ConvNet
from project.nets.feature_map import FeatureMap
from project.nets.key_points import KeyPoints
from project.nets.resnet import ResNet
from project.nets.segmenter import Segmenter, finer_layers

SHAPE = (3, 32, 32)


def encoder() -> FeatureMap:
    torch.manual_seed(0)
    return FeatureMap(ResNet(SHAPE, 1), SHAPE)


@pytest.mark.parametrize("upsampling", ["patches", "bilinear"])
@pytest.mark.parametrize("skips", [False, True])
@torch.inference_mode()
def test_any_size_of_image_has_a_label_for_every_pixel(upsampling: str, skips: bool) -> None:
    net = Segmenter(encoder(), SHAPE, 5, upsampling, skips).eval()  # type: ignore[arg-type]
    for size in ((32, 32), (48, 36), (33, 47)):
        assert net(torch.randn(2, 3, *size)).shape == (2, 5, *size)


@torch.inference_mode()
def test_a_place_of_the_map_scores_its_own_patch() -> None:
    net = Segmenter(encoder(), SHAPE, 3, "patches", skips=False).eval()
    assert net.stride == 4
    images = torch.randn(1, 3, 32, 32)
    scores = net.score(net.encoder(images))  # (1, 3 * 16, 8, 8)
    found = net(images)
    for row, column in ((0, 0), (13, 30)):
        place = scores[0, :, row // 4, column // 4].view(3, 4, 4)
        assert torch.equal(found[0, :, row, column], place[:, row % 4, column % 4])


@torch.inference_mode()
def test_skips_add_the_scores_of_finer_maps() -> None:
    net = Segmenter(encoder(), SHAPE, 3, "bilinear", skips=True).eval()
    assert finer_layers(net.encoder, SHAPE) == [("net.layer1", 16), ("net.layer2", 32)]
    images = torch.randn(2, 3, 32, 32)
    part: Any = net.encoder.net
    first = part.layer1(part.relu(part.bn1(part.conv1(images))))
    second = part.layer2(first)
    scores = net.score(part.layer3(second))
    up = [torch.nn.Upsample(size=size, mode="bilinear") for size in (16, 32)]
    expected = up[1](up[0](scores) + net.finer[1](second)) + net.finer[0](first)
    assert torch.allclose(net(images), expected, atol=1e-5)
    assert not net._seen  # nothing is kept between two passes


def test_the_last_layers_of_a_plain_stack_are_the_finer_ones() -> None:
    stack = FeatureMap(ConvNet(SHAPE, 1), SHAPE)
    # convolution to 28x28, pooling to 14x14, convolution to 10x10, pooling to 5x5
    expected = [("net.features.1", 6), ("net.features.2", 6), ("net.features.4", 16)]
    assert finer_layers(stack, SHAPE) == expected
    assert stack.training


def test_points_see_where_things_are() -> None:
    torch.manual_seed(0)
    net = KeyPoints(FeatureMap(ConvNet(SHAPE, 1), SHAPE), num_points=2, hidden=[7]).eval()
    images = torch.zeros(2, 3, 32, 32)
    images[0, :, 4:8, 4:8] = images[1, :, 4:8, 20:24] = 1.0  # the same square elsewhere
    first, second = net(images)
    assert first.shape == (2, 2)
    assert not torch.allclose(first, second)
    assert first.abs().max() < 0.25  # an untrained network points near the centre


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"at least one point, got num_points=0"):
        KeyPoints(encoder(), 0)
    with pytest.raises(ValueError, match=r"at least two classes, got num_classes=1"):
        Segmenter(encoder(), SHAPE, 1)
    with pytest.raises(ValueError, match=r"must be patches or bilinear, got nearest"):
        Segmenter(encoder(), SHAPE, 2, "nearest")  # type: ignore[arg-type]
