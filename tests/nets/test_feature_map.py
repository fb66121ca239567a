"""Every ConvNet of conf/net without its head."""

from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from project.nets.convnet import ConvNet
from project.nets.feature_map import FeatureMap
from project.nets.mlp import MLP
from tests.conftest import choices

SHAPE = (3, 32, 32)
every_net = pytest.mark.parametrize("name", choices("net"))


def images(count: int) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def build(composed: Callable[..., DictConfig]) -> Callable[[str], nn.Module]:
    """The network of `net=<name>`, its weights drawn from seed 0."""

    def build_net(name: str) -> nn.Module:
        config = composed(f"net={name}")
        config.sizes = {"image_shape": list(SHAPE)}
        torch.manual_seed(0)
        return instantiate(config.net)

    return build_net


@pytest.mark.slow
@every_net
def test_it_is_the_network_s_own_map_and_every_weight_is_used(name: str, build: Callable[[str], nn.Module]) -> None:
    whole, batch = build(name).eval(), images(2)
    expected = whole.features(batch)  # type: ignore[operator]
    part = FeatureMap(build(name), SHAPE).eval()
    found = part(batch)
    assert torch.equal(found, expected)
    assert found.shape == (2, part.channels, *part.size)
    part.train()(batch).square().mean().backward()
    for parameter_name, parameter in part.named_parameters():
        assert parameter.grad is not None or not parameter.requires_grad, parameter_name


@every_net
def test_a_frozen_one_never_changes(name: str, build: Callable[[str], nn.Module]) -> None:
    part = FeatureMap(build(name), SHAPE, frozen=True).train()
    before = {key: value.clone() for key, value in part.state_dict().items()}
    found = part(images(4))
    assert not found.requires_grad
    assert not any(parameter.requires_grad for parameter in part.parameters())
    assert all(torch.equal(value, before[key]) for key, value in part.state_dict().items())


def test_the_shape_of_no_image_s_features_is_left_in_the_statistics(build: Callable[[str], nn.Module]) -> None:
    net = build("resnet").train()
    before = {key: value.clone() for key, value in net.state_dict().items() if not key.startswith("fc.")}
    part = FeatureMap(net, SHAPE)
    assert part.net.training
    assert part.net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in part.net.state_dict().items())


def test_weights_of_another_normalisation_see_the_images_that_they_are_used_to() -> None:
    torch.manual_seed(0)
    donor = ConvNet(SHAPE, 10)
    own, theirs = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), ((0.1, 0.2, 0.3), (0.25, 0.2, 0.1))
    pixels = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(2))

    def normalised(facts: tuple[tuple[float, ...], ...]) -> torch.Tensor:
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in facts)
        return (pixels - mean) / std

    part = FeatureMap(ConvNet(SHAPE, 1), SHAPE)
    part.take(donor.state_dict(), own, theirs)
    torch.testing.assert_close(part(normalised(own)), donor.features(normalised(theirs)), rtol=1e-4, atol=1e-5)
    copy = FeatureMap(ConvNet(SHAPE, 1), SHAPE)
    copy.load_state_dict(part.state_dict())
    assert torch.equal(copy(pixels), part(pixels))


def test_other_weights_are_refused_and_change_nothing() -> None:
    part = FeatureMap(ConvNet(SHAPE, 10), SHAPE)
    before = part.net.state_dict()["features.0.weight"].clone()
    facts = ((0.5,) * 3, (0.2,) * 3)
    with pytest.raises(ValueError, match=r"features\.0\.weight is \(8, 3, 5, 5\), expected \(6, 3, 5, 5\)"):
        part.take(ConvNet(SHAPE, 10, channels=(8, 16)).state_dict(), facts, facts)
    assert torch.equal(part.net.state_dict()["features.0.weight"], before)


def test_a_network_without_a_map_is_refused() -> None:
    with pytest.raises(ValueError, match="choose net=resnet"):
        FeatureMap(MLP(SHAPE, 10), SHAPE)


def test_a_whitening_layer_is_set_from_images_unless_weights_were_taken(build: Callable[[str], nn.Module]) -> None:
    part, batch = FeatureMap(build("airbench"), SHAPE), images(8)
    drawn = part.net.whiten.weight.clone()  # type: ignore[union-attr, operator]
    facts = ((0.5,) * 3, (0.2,) * 3)
    part.take(build("airbench").state_dict(), facts, facts)
    part.start_from(batch)
    assert torch.equal(part.net.whiten.weight, drawn)  # type: ignore[union-attr, arg-type]
    part = FeatureMap(build("airbench"), SHAPE)
    part.start_from(batch)
    assert not torch.equal(part.net.whiten.weight, drawn)  # type: ignore[union-attr, arg-type]
