import math

import pytest
import torch
from torch import Tensor, nn

from project.nets.autoencoder import Autoencoder, ConvAutoencoder


def reconstruction_error(net: nn.Module, images: Tensor) -> Tensor:
    return (net(images) - images).square().sum()


def trained(net: nn.Module, images: Tensor) -> nn.Module:
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        error = reconstruction_error(net, images)
        error.backward()
        return error

    optimizer.step(closure)  # type: ignore[arg-type]
    return net


@pytest.mark.parametrize("widths", [[3], [8, 3]])
def test_a_linear_one_reaches_the_truncated_svd(widths: list[int]) -> None:
    """Eckart & Young 1936: no map of rank 3 has less error than the singular values that are left out."""
    torch.manual_seed(0)
    images = torch.randn(40, 12, dtype=torch.float64) * torch.linspace(2, 0.2, 12)
    best = torch.linalg.svdvals(images)[3:].square().sum().item()
    images = images.view(40, 3, 2, 2)
    net = Autoencoder((3, 2, 2), widths, activation="identity").double()
    start = reconstruction_error(net, images).item()
    end = reconstruction_error(trained(net, images), images).item()
    assert start > 2 * best
    assert best * (1 - 1e-9) <= end <= best * 1.01


def test_decode_after_encode() -> None:
    for net in (Autoencoder((3, 8, 8), [20, 5]), ConvAutoencoder((3, 8, 8), [6, 2])):
        images = torch.randn(2, 3, 8, 8)
        assert torch.equal(net(images), net.decode(net.encode(images)))


def test_the_decoder_mirrors_the_encoder() -> None:
    net = Autoencoder((3, 8, 8), [20, 5])
    assert [tuple(weight.shape) for weight in net.parameters() if weight.ndim == 2] == [
        *[(20, 192), (5, 20)],
        *[(20, 5), (192, 20)],
    ]
    kinds = [nn.Linear, nn.ReLU, nn.Linear, nn.Identity]
    assert [type(layer) for layer in net.encoder] == [type(layer) for layer in net.decoder] == kinds
    assert net.encode(torch.randn(2, 3, 8, 8)).shape == (2, 5)


def test_only_the_linear_one_has_no_biases_of_itself() -> None:
    def biases(activation: str, bias: bool | None) -> int:
        return sum(weight.ndim == 1 for weight in Autoencoder((1, 2, 2), [3, 2], activation, bias=bias).parameters())

    assert [biases("identity", None), biases("identity", True)] == [0, 4]
    assert [biases("tanh", None), biases("tanh", False)] == [4, 0]


def test_each_convolution_halves_the_image() -> None:
    net = ConvAutoencoder((3, 32, 16), [64, 128, 16])
    code = net.encode(torch.randn(2, 3, 32, 16))
    assert code.shape == (2, 16, 4, 2)
    assert net.decode(code).shape == (2, 3, 32, 16)
    assert (code < 0).any()  # the code is linear, without a ReLU
    encoder = [tuple(layer.weight.shape) for layer in net.encoder if isinstance(layer, nn.Conv2d)]
    decoder = [tuple(layer.weight.shape) for layer in net.decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert encoder == [(64, 3, 4, 4), (128, 64, 4, 4), (16, 128, 4, 4)]
    assert decoder == encoder[::-1]  # a transposed convolution's weight is (inputs, outputs, 4, 4)


@pytest.mark.parametrize("net", [Autoencoder, ConvAutoencoder])
def test_an_output_activation_bounds_the_image(net: type[nn.Module]) -> None:
    image = net(image_shape=(3, 8, 8), output_activation="sigmoid")(100 * torch.randn(2, 3, 8, 8))
    assert image.min() >= 0
    assert image.max() <= 1


def test_refused_sizes() -> None:
    with pytest.raises(ValueError, match=r"divisible by 8, got 28x28: set data.image_size=32 or fewer"):
        ConvAutoencoder((1, 28, 28), [64, 128, 16])
    with pytest.raises(ValueError, match=r"got no channels: set model.net.channels=\[64,16\]"):
        ConvAutoencoder((1, 28, 28), [])
    with pytest.raises(ValueError, match=r"got no widths: set model.net.widths=\[64\]"):
        Autoencoder((1, 28, 28), [])
    assert math.prod(ConvAutoencoder((1, 28, 28), [4, 2]).encode(torch.zeros(1, 1, 28, 28)).shape) == 2 * 7 * 7
