import pytest
import torch

from project.nets.alexnet import AlexNet, local_response_norm
from tests.nets.weights import parameters


@pytest.mark.parametrize(("groups", "expected"), [(1, 62_378_344), (2, 60_965_224)])
def test_the_papers_size(groups: int, expected: int) -> None:
    with torch.device("meta"):
        net = AlexNet((3, 227, 227), 1000, groups=groups)
        assert net.features(torch.empty(2, 3, 227, 227)).shape == (2, 256, 6, 6)
        assert net(torch.empty(2, 3, 227, 227)).shape == (2, 1000)
    assert parameters(net) == expected


def test_the_papers_maps() -> None:
    """55, 27, 13, 6: the sides of figure 2."""
    sides = []
    with torch.device("meta"):
        x = torch.empty(1, 3, 227, 227)
        for layer in AlexNet((3, 227, 227), 1000).features:
            x = layer(x)
            if x.shape[-1] not in sides:
                sides.append(x.shape[-1])
    assert sides == [55, 27, 13, 6]


def test_local_response_norm_is_the_papers_equation() -> None:
    x = 50 * torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x)
    for i in range(7):
        squares = x[:, max(0, i - 2) : i + 3].square().sum(1)
        expected[:, i] = x[:, i] / (2 + 1e-4 * squares) ** 0.75
    torch.testing.assert_close(local_response_norm()(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 15, 15), (3, 64, 40)])
@pytest.mark.parametrize("groups", [1, 2])
def test_small_images(shape: tuple[int, int, int], groups: int) -> None:
    with torch.device("meta"):
        assert AlexNet(shape, 10, groups=groups)(torch.empty(2, *shape)).shape == (2, 10)


def test_auto_picks_the_form_by_size() -> None:
    with torch.device("meta"):
        for size, form in [(32, "small"), (96, "small"), (227, "imagenet")]:
            shape = (3, size, size)
            assert parameters(AlexNet(shape, 10)) == parameters(AlexNet(shape, 10, form=form))
        assert parameters(AlexNet((3, 227, 227), 10, "small")) != parameters(AlexNet((3, 227, 227), 10, "imagenet"))


@pytest.mark.parametrize("form", ["auto", "imagenet"])
def test_the_imagenet_form_takes_one_size(form: str) -> None:
    message = r"227x227 images only, got 224x224: set data.image_size=227 or model.net.form=small"
    with pytest.raises(ValueError, match=message):
        AlexNet((3, 224, 224), 1000, form=form)


def test_refused_options() -> None:
    with pytest.raises(ValueError, match=r"at least 15x15, got 14x32: set data.image_size=32"):
        AlexNet((3, 14, 32), 10)
    with pytest.raises(ValueError, match=r"one of auto, imagenet, small; got tiny: set model.net.form=auto"):
        AlexNet((3, 32, 32), 10, form="tiny")
    with pytest.raises(ValueError, match=r"1 group or 2, got 3: set model.net.groups=1"):
        AlexNet((3, 32, 32), 10, groups=3)
