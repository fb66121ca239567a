"""The losses of style transfer by hand, their gradient, and what the descent comes to."""

import pytest
import torch
from torch import Tensor, nn

from project.nets.descent import Descent
from project.nets.layers import layer_outputs, map_layers, output_shapes
from project.nets.resnet import ResNet
from project.nets.style import Objective, content_loss, gram_matrix, style_loss, total_variation
from project.nets.style_layers import default_layers, with_average_pooling
from project.nets.vgg import VGG

LOW, HIGH = torch.tensor([-2.0] * 3), torch.tensor([2.0] * 3)
F = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels, two places


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.Tanh())


def objective(content: Tensor, style: Tensor, **weights: float) -> Objective:
    own = net().to(content.dtype).requires_grad_(False)
    return Objective(lambda x: layer_outputs(own, ["1", "4"], x), content, style, ["4"], ["1", "4"], **weights)


def test_the_losses_by_hand() -> None:
    assert gram_matrix(F).tolist() == [[[5, 11], [11, 25]]]
    assert content_loss(F, torch.zeros_like(F)) == 15
    # (5^2 + 11^2 + 11^2 + 25^2) / (4 * 2^2 * 2^2)
    assert style_loss(F, torch.zeros(1, 2, 2), places=2) == 892 / 64
    assert total_variation(F) == 1


def test_the_style_of_a_map_that_is_twice_as_large_is_the_same() -> None:
    assert style_loss(F, gram_matrix(torch.cat([F, F], 3)), places=4) == 0


def test_a_picture_is_its_own_content_and_style() -> None:
    picture = torch.randn(1, 3, 12, 14)
    losses = objective(picture, picture)(picture)
    assert [losses.content.item(), losses.style.item(), losses.total.item()] == [0, 0, 0]


def test_each_layer_counts_the_same_whatever_its_scale() -> None:
    content, style, picture = torch.randn(3, 1, 3, 12, 12)
    own = net().requires_grad_(False)

    def found(scale: float) -> list[float]:
        look = lambda x: {name: scale * out for name, out in layer_outputs(own, ["1", "4"], x).items()}  # noqa: E731
        losses = Objective(look, content, style, ["4"], ["1"])(picture)
        return [losses.content.item(), losses.style.item()]

    assert found(1.0) == pytest.approx(found(100.0), rel=1e-4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(1)
    content, style = torch.randn(2, 1, 3, 10, 10, dtype=torch.double)
    measure = objective(content, style, alpha=2.0, beta=3.0, variation=0.5)
    picture = torch.randn(1, 3, 10, 10, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: measure(x).total, picture, eps=1e-7, atol=1e-4)
    assert measure(picture).total.item() == pytest.approx(
        2 * measure(picture).content.item() + 3 * measure(picture).style.item() + 0.5 * total_variation(picture).item()
    )


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_the_loss_falls_and_pixels_stay_in_range(method: str) -> None:
    content, style = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    measure = objective(content, style, beta=10.0)
    with torch.no_grad():
        steps = list(Descent(30, method)(measure, content, LOW, HIGH))
    totals = [losses.total.item() for _, losses in steps]
    assert totals[-1] < 0.2 * measure(content).total.item()
    if method == "lbfgs":
        assert totals == sorted(totals, reverse=True)
    picture, losses = steps[-1]
    assert measure(picture).total.item() == pytest.approx(losses.total.item(), rel=1e-5)
    assert picture.min() >= -2
    assert picture.max() <= 2


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("method", "sgd"), ("rate", 0.0)])
def test_what_is_out_of_range_is_told(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
        Descent(**{name: value})  # type: ignore[arg-type]


def test_layers_are_the_papers_for_vgg_19_and_correspond_to_them_elsewhere() -> None:
    with torch.device("meta"):
        vgg, resnet = VGG((3, 224, 224), 10, 19, batch_norm=False), ResNet((3, 32, 32), 10)
    # conv4_2; conv1_1, conv2_1, conv3_1, conv4_1, conv5_1, each behind its ReLU
    paper = ["features.22"], ["features.1", "features.6", "features.11", "features.20", "features.29"]
    assert default_layers(vgg, output_shapes(vgg, (3, 96, 64), map_layers(vgg))) == paper
    found = default_layers(resnet, output_shapes(resnet, (3, 96, 64), map_layers(resnet)))
    assert found == (["layer2.1.relu"], ["relu", "layer2.0.relu", "layer3.0.relu"])
    with pytest.raises(ValueError, match="Linear has no layers that put out maps"):
        default_layers(nn.Linear(2, 2), {})


def test_average_pooling_takes_the_place_of_max_pooling() -> None:
    own = net()
    image = torch.randn(1, 3, 8, 8)
    expected = nn.functional.avg_pool2d(own[:2](image), 2)
    assert with_average_pooling(own) == 1
    assert torch.equal(own[:3](image), expected)
    assert with_average_pooling(own) == 0
