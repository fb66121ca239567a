"""What every network for images of conf/model/ keeps to; those for text: test_cells.py and their own files."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from project.nets.key_points import KeyPoints
from project.nets.segmenter import Segmenter
from tests.conftest import choices, choices_for

Build = Callable[..., nn.Module]


@pytest.fixture
def build(composed: Callable[..., DictConfig]) -> Build:
    """`build("resnet", image_shape=(3, 64, 64))`: the network of `model=resnet`, its weights drawn from seed 0."""

    def build_net(name: str, image_shape: Sequence[int] = (3, 32, 32), num_classes: int = 10) -> nn.Module:
        config = composed(f"model={name}")
        names = ("num_classes", "pixel_classes", "num_points")
        config.sizes = {"image_shape": list(image_shape), **dict.fromkeys(names, num_classes)}
        torch.manual_seed(0)
        return instantiate(config.model.net)

    return build_net


def images(count: int, size: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def output_shape(net: nn.Module, batch: torch.Tensor, num_classes: int) -> tuple[int, ...]:
    """Logits from a classifier, an image from an autoencoder, points, logits for each pixel."""
    if isinstance(net, KeyPoints):
        return len(batch), num_classes, 2
    if isinstance(net, Segmenter):
        return len(batch), num_classes, *batch.shape[2:]
    return tuple(batch.shape) if hasattr(net, "decode") else (len(batch), num_classes)


every_model = pytest.mark.parametrize("name", choices_for("model", "images", "targets"))
ENCODERS = ("airbench", "alexnet", "autoencoder_conv", "convnet", "resnet", "resnet18", "resnet50", "vgg")


@pytest.mark.parametrize("name", choices("model"))
def test_the_file_is_called_what_the_model_is(name: str, composed: Callable[..., DictConfig]) -> None:
    assert composed(f"model={name}").name == name


@every_model
def test_gradient_reaches_every_parameter(name: str, build: Build) -> None:
    net, batch = build(name), images(4)
    output = net(batch)
    assert output.shape == output_shape(net, batch, 10)
    assert output.isfinite().all()
    output.square().mean().backward()
    trained = [(name, part) for name, part in net.named_parameters() if part.requires_grad]
    assert trained
    for parameter_name, parameter in trained:
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@every_model
@torch.inference_mode()
def test_evaluation_depends_on_the_image_alone(name: str, build: Build) -> None:
    """Not on chance, nor on the rest of the batch, nor on the memory format."""
    net, batch = build(name).eval(), images(3)
    output = net(batch)
    assert torch.equal(net(batch), output)
    torch.testing.assert_close(net(batch[:1]), output[:1], rtol=1e-4, atol=1e-4)
    channels_last = net.to(memory_format=torch.channels_last)(batch.to(memory_format=torch.channels_last))
    torch.testing.assert_close(channels_last, output, rtol=1e-4, atol=1e-4)


@every_model
@torch.inference_mode()
def test_the_input_is_left_as_it_was(name: str, build: Build) -> None:
    batch = images(2)
    build(name).train()(batch)
    assert torch.equal(batch, images(2))


@every_model
@pytest.mark.parametrize(("size", "channels", "num_classes"), [(64, 3, 3), (32, 1, 2)])
@torch.inference_mode()
def test_sizes_come_from_the_data(
    name: str, size: int, channels: int, num_classes: int, build: Build, composed: Callable[..., DictConfig]
) -> None:
    if channels != 3 and not composed(f"model={name}").model.net._target_.startswith("project."):
        return  # another package's network need not know of grey images
    net = build(name, (channels, size, size), num_classes).eval()
    batch = images(2, size, channels)
    assert net(batch).shape == output_shape(net, batch, num_classes)


@every_model
def test_the_seed_sets_the_weights(name: str, build: Build) -> None:
    first, second = build(name).state_dict(), build(name).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ENCODERS)
@torch.inference_mode()
def test_a_convolutional_network_can_encode(name: str, build: Build) -> None:
    net = build(name).eval()
    encode: Callable[[torch.Tensor], torch.Tensor] = getattr(net, "encode" if hasattr(net, "encode") else "features")
    assert encode(images(2)).ndim == 4


@pytest.mark.parametrize(("name", "size"), [("alexnet", 227), ("vgg", 224), ("resnet18", 224), ("resnet50", 224)])
def test_sizes_of_imagenet_where_the_paper_used_it(name: str, size: int, composed: Callable[..., DictConfig]) -> None:
    config = composed(f"model={name}")
    config.sizes = {"image_shape": [3, size, size], "num_classes": 1000}
    with torch.device("meta"):  # shapes without numbers
        net = instantiate(config.model.net)
        assert net(torch.empty(2, 3, size, size)).shape == (2, 1000)
