"""What layers put out is found by name, and is what they put out."""

import torch
from torch import nn

from project.nets.layers import layer_outputs, output_shapes


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
