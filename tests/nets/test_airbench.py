"""The network that learns CIFAR-10 in seconds: whitening, dirac initialisation, norms without a scale."""

import pytest
import torch
import torch.nn.functional as F

from project.nets.airbench import Airbench, Block, ShiftNorm


def images(count: int = 200) -> torch.Tensor:
    """With neighbours and channels that have much in common."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 1, 8, 8, generator=generator)
    return F.interpolate(coarse, 32, mode="bilinear") + 0.1 * torch.randn(count, 3, 32, 32, generator=generator)


def test_the_first_layer_whitens_patches() -> None:
    """Its outputs have variance 1 and nothing in common, and the second half is minus the first."""
    net = Airbench((3, 32, 32), 10)
    net.start_from(images(), eps=0.0)
    outputs = net.whiten(images()).double()
    assert outputs.shape == (200, 24, 31, 31)
    first, second = outputs.chunk(2, dim=1)
    torch.testing.assert_close(second, -first)
    rows = first.transpose(0, 1).flatten(1)  # (12, N)
    torch.testing.assert_close(rows @ rows.T / rows.shape[1], torch.eye(12, dtype=torch.float64), atol=1e-3, rtol=0)


def test_whitening_is_not_trained_and_its_bias_is() -> None:
    net = Airbench((3, 32, 32), 10)
    net(images(2)).square().sum().backward()
    assert net.whiten.weight.grad is None
    assert net.whiten.bias is not None
    assert net.whiten.bias.grad is not None
    assert Airbench((3, 32, 32), 10, whitening_bias=False).whiten.bias is None


def test_convolutions_pass_their_channels_on_at_first() -> None:
    block = Block(24, 48, momentum=0.4)
    x = torch.randn(2, 24, 9, 9)
    torch.testing.assert_close(block.conv1(x)[:, :24], x)
    assert block.conv1(x).shape[1] == 48


def test_norms_learn_a_bias_alone() -> None:
    norm = ShiftNorm(4, momentum=0.4)
    x = 5 + 3 * torch.randn(64, 4, 6, 6)
    out = norm(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3), correction=0), torch.ones(4), atol=1e-4, rtol=0)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, 0.4 * x.mean((0, 2, 3)))
    assert [name for name, part in norm.named_parameters() if part.requires_grad] == ["bias"]


def test_its_size_is_the_paper_s() -> None:
    """Section 3.1: 64, 256 and 256 channels; weights of the convolutions and the last layer, biases of the norms."""
    convolutions = 24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256
    norms = 2 * (64 + 256 + 256)
    net = Airbench((3, 32, 32), 10)
    trained = sum(part.numel() for part in net.parameters() if part.requires_grad)
    assert trained == 9 * convolutions + norms + 24 + 10 * 256


def test_images_that_nothing_is_left_of_are_refused() -> None:
    with pytest.raises(ValueError, match="of at least 25x25, got 16x16"):
        Airbench((3, 16, 16), 10)
    assert Airbench((3, 25, 25), 10)(torch.randn(2, 3, 25, 25)).shape == (2, 10)
