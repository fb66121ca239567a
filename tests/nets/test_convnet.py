import pytest
import torch
from torch import nn

from project.nets.convnet import ConvNet
from tests.nets.weights import parameters


def test_shape_and_size_on_cifar10() -> None:
    net = ConvNet((3, 32, 32), 10)
    assert parameters(net) == 62_006
    assert net.features(torch.zeros(2, 3, 32, 32)).shape == (2, 16, 5, 5)
    convolutions = [layer for layer in net.features if isinstance(layer, nn.Conv2d)]
    assert [tuple(layer.weight.shape) for layer in convolutions] == [(6, 3, 5, 5), (16, 6, 5, 5)]
    linear = [layer for layer in net.classifier if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(120, 400), (84, 120), (10, 84)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 16), (3, 33, 50), (4, 96, 17)])
def test_the_head_fits_any_image(shape: tuple[int, int, int]) -> None:
    assert ConvNet(shape, 7)(torch.zeros(2, *shape)).shape == (2, 7)


def test_depth_and_widths_are_options() -> None:
    net = ConvNet((3, 32, 32), 10, channels=[8, 16, 32], hidden=[], kernel_size=3)
    assert net.features(torch.zeros(1, 3, 32, 32)).shape == (1, 32, 2, 2)
    assert [tuple(parameter.shape) for parameter in net.classifier.parameters()] == [(10, 128), (10,)]


@pytest.mark.parametrize("size", [(15, 32), (32, 15), (4, 4)])
def test_too_small_an_image_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"at least 16x16, got {size[0]}x{size[1]}: set data.image_size=16 or more"):
        ConvNet((3, *size), 10)
