import pytest
import torch
import torchvision
from torch import nn

from project.nets.vgg import VGG
from tests.nets.weights import assert_equal_outputs, parameters

PARAMETERS = {11: 132_863_336, 13: 133_047_848, 16: 138_357_544, 19: 143_667_240}


@pytest.mark.parametrize("depth", PARAMETERS)
def test_the_papers_size(depth: int) -> None:
    with torch.device("meta"):
        net = VGG((3, 224, 224), 1000, depth, batch_norm=False)
        assert net.features(torch.empty(2, 3, 224, 224)).shape == (2, 512, 7, 7)
        assert net(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert parameters(net) == PARAMETERS[depth]
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.slow
@pytest.mark.parametrize("depth", PARAMETERS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_equal_to_torchvision(depth: int, batch_norm: bool) -> None:
    with torch.device("meta"):
        net = VGG((3, 64, 64), 10, depth, batch_norm, head="imagenet")
        reference = getattr(torchvision.models, f"vgg{depth}{'_bn' * batch_norm}")(num_classes=10)
    assert_equal_outputs(net, reference, size=64)


def test_a_torchvision_models_weights_load_as_they_are() -> None:
    with torch.device("meta"):
        net = VGG((3, 224, 224), 1000, 11, batch_norm=False)
        net.load_state_dict(torchvision.models.vgg11(weights=None).state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_starts_with_torchvisions_weights(batch_norm: bool) -> None:
    """The spread of every tensor, from 103 million draws in the head to 1,728 in the first convolution."""
    torch.manual_seed(0)
    net = VGG((3, 224, 224), 10, 11, batch_norm)
    for name, value in net.state_dict().items():
        if value.ndim == 4:
            expected = (2 / (9 * len(value))) ** 0.5
        elif value.ndim == 2:
            expected = 0.01
        else:
            continue
        assert value.std().item() == pytest.approx(expected, rel=0.05), name


def test_the_small_head() -> None:
    net = VGG((3, 32, 32), 10, 11)
    assert [tuple(weight.shape) for weight in net.classifier.parameters() if weight.ndim == 2] == [
        (512, 512),
        (10, 512),
    ]
    assert net.features(torch.zeros(1, 3, 32, 32)).shape == (1, 512, 1, 1)


def test_auto_picks_the_head_by_size() -> None:
    with torch.device("meta"):
        for size, head in [(32, "small"), (127, "small"), (128, "imagenet"), (224, "imagenet")]:
            assert parameters(VGG((3, size, size), 10)) == parameters(VGG((3, size, size), 10, head=head))


def test_refused_options() -> None:
    with pytest.raises(ValueError, match=r"at least 32x32, got 28x28: set data.image_size=32"):
        VGG((1, 28, 28), 10)
    with pytest.raises(ValueError, match=r"one of 11, 13, 16, 19; got 12: set model.net.depth=16"):
        VGG((3, 32, 32), 10, depth=12)
    with pytest.raises(ValueError, match=r"one of auto, imagenet, small; got big: set model.net.head=auto"):
        VGG((3, 32, 32), 10, head="big")
