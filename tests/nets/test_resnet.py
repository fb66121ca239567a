import pytest
import torch
import torchvision
from torch import nn

from project.nets.resnet import BasicBlock, Bottleneck, ResNet
from tests.nets.weights import assert_equal_outputs, parameters

IMAGENET = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
CIFAR = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}  # 0.27, 0.46, 0.66, 0.85, 1.7 M in table 6


def weighted_layers(net: nn.Module) -> int:
    """The depth as the paper counts it: shortcuts left out."""
    layers = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return sum("downsample" not in name for name in layers)


@pytest.mark.parametrize("depth", IMAGENET)
def test_the_imagenet_form(depth: int) -> None:
    with torch.device("meta"):
        net = ResNet((3, 224, 224), 1000, depth)
        channels = 512 if depth < 50 else 2048
        assert net.features(torch.empty(2, 3, 224, 224)).shape == (2, channels, 7, 7)
        assert net(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert parameters(net) == IMAGENET[depth]
    assert weighted_layers(net) == depth


@pytest.mark.parametrize("depth", CIFAR)
def test_the_cifar_form(depth: int) -> None:
    with torch.device("meta"):
        net = ResNet((3, 32, 32), 10, depth)
        assert net.features(torch.empty(2, 3, 32, 32)).shape == (2, 64, 8, 8)
        assert net(torch.empty(2, 3, 32, 32)).shape == (2, 10)
    assert parameters(net) == CIFAR[depth]
    assert weighted_layers(net) == depth


@pytest.mark.slow
@pytest.mark.parametrize("depth", IMAGENET)
def test_equal_to_torchvision(depth: int) -> None:
    with torch.device("meta"):
        net = ResNet((3, 64, 64), 10, depth, stem="imagenet")
        reference = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
    assert_equal_outputs(net, reference, size=64)


def test_a_torchvision_models_weights_load_as_they_are() -> None:
    with torch.device("meta"):
        net = ResNet((3, 224, 224), 1000, 50)
        net.load_state_dict(torchvision.models.resnet50(weights=None).state_dict())


@pytest.mark.parametrize("zero_init_residual", [False, True])
def test_starts_with_torchvisions_weights(zero_init_residual: bool) -> None:
    """Same seed, same draws in the same order; equal statistics would not show a wrong fan or gain as surely."""
    torch.manual_seed(0)
    net = ResNet((3, 224, 224), 10, 18, zero_init_residual=zero_init_residual)
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(num_classes=10, zero_init_residual=zero_init_residual)
    expected = reference.state_dict()
    for name, value in net.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.slow
def test_auto_picks_the_stem_by_size() -> None:
    with torch.device("meta"):
        for size, stem, side in [(32, "small", 4), (127, "small", 16), (128, "imagenet", 4), (224, "imagenet", 7)]:
            images = torch.empty(1, 3, size, size)
            for net in (ResNet((3, size, size), 10, 18), ResNet((3, size, size), 10, 18, stem)):
                assert net.features(images).shape == (1, 512, side, side)


def test_option_a_pads_and_strides_the_identity() -> None:
    block = BasicBlock(2, 3, stride=2, option="A")
    for weight in (block.conv1.weight, block.conv2.weight):
        nn.init.zeros_(weight)
    x = torch.arange(32.0).view(1, 2, 4, 4)
    zeros = [[0.0, 0.0], [0.0, 0.0]]
    assert block(x).tolist() == [[[[0.0, 2.0], [8.0, 10.0]], [[16.0, 18.0], [24.0, 26.0]], zeros]]


@pytest.mark.parametrize(("depth", "projections"), [(20, 2_752), (18, 173_824)])
def test_option_b_projects(depth: int, projections: int) -> None:
    """Its 1x1 convolutions and their batch norms: 16*32 + 32*64 + 2*(32 + 64) parameters more in ResNet-20."""
    option_a, option_b = (parameters(ResNet((3, 32, 32), 10, depth, shortcut=option)) for option in "AB")
    assert option_b - option_a == projections


@pytest.mark.parametrize("depth", [18, 20, 50])
def test_zero_init_residual_starts_every_block_as_its_shortcut(depth: int) -> None:
    net = ResNet((3, 32, 32), 10, depth, zero_init_residual=True)
    blocks = [module for module in net.modules() if isinstance(module, BasicBlock | Bottleneck)]
    assert len(blocks) == {18: 8, 20: 9, 50: 16}[depth]
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 4, 4).relu()
        shortcut = x if block.downsample is None else block.downsample(x)
        torch.testing.assert_close(block(x), shortcut.relu(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [0, 8, 14, 21, 100])
def test_an_unknown_depth_is_refused(depth: int) -> None:
    with pytest.raises(
        ValueError, match=rf"18, 34, 50, 101, 152 .* 20, 32, 44, 56, 110 .*got {depth}: set model.net.depth=20"
    ):
        ResNet((3, 32, 32), 10, depth)


def test_refused_options() -> None:
    with pytest.raises(
        ValueError, match=r"stem of ResNet-18 is one of auto, imagenet, small; got big: set model.net.stem=auto"
    ):
        ResNet((3, 32, 32), 10, 18, stem="big")
    with pytest.raises(ValueError, match=r"stem of ResNet-20 is one of auto, small in the CIFAR form; got imagenet"):
        ResNet((3, 32, 32), 10, 20, stem="imagenet")
    with pytest.raises(ValueError, match=r"one of auto, A, B; got C: set model.net.shortcut=auto"):
        ResNet((3, 32, 32), 10, shortcut="C")
