"""What layers put out is found by name, and is what they put out."""

import torch
from torch import nn

from project.nets.convnet import ConvNet
from project.nets.layers import layer_outputs, map_layers, output_shapes


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 5)).eval()


def test_shapes_come_by_name_and_leave_no_hooks() -> None:
    own = net()
    assert output_shapes(own, (3, 4, 4)) == {"0": (1, 2, 2, 2), "1": (1, 2, 2, 2), "2": (1, 8), "3": (1, 5)}
    assert not any(module._forward_hooks for module in own.modules())


def test_outputs_are_those_before_the_next_layer_works_in_place() -> None:
    own, images = net(), torch.randn(2, 3, 4, 4)
    found = layer_outputs(own, ["0", "3"], images)
    assert torch.equal(found["0"], own[0](images))  # type: ignore[index]
    assert found["0"].min() < 0
    assert torch.equal(found["3"], own(images))


def test_a_part_of_a_network_takes_images_that_its_head_does_not() -> None:
    whole = ConvNet((3, 16, 16), 10)
    shapes = output_shapes(whole, (3, 20, 24), map_layers(whole))
    assert shapes["features.0"] == (1, 6, 16, 20)
    assert "classifier.0" not in shapes
    images = torch.randn(2, 3, 20, 24)
    found = layer_outputs(whole, ["features.2"], images, map_layers(whole))
    assert torch.equal(found["features.2"], whole.features[:3](images))
