"""Saliency of functions whose gradients are known."""

import torch
from torch import Tensor, nn

from project.nets.saliency import gradient_saliency, occlusion


def test_the_gradient_of_a_linear_classifier_is_its_weights() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 2 * 3, 4, bias=False))
    images, classes = torch.randn(2, 3, 2, 2), torch.tensor([3, 1])
    with torch.inference_mode():
        found = gradient_saliency(net, images, classes)
    weights = net[1].weight.detach().view(4, 3, 2, 2)  # type: ignore[operator]
    assert torch.equal(found, weights[classes].abs().amax(1))
    assert net[1].weight.grad is None


def test_occlusion_finds_the_pixel_that_counts() -> None:
    def net(images: Tensor) -> Tensor:  # class 1 is there as far as pixel (1, 2) of the first channel is
        score = images[:, 0, 1, 2]
        return torch.stack([torch.zeros_like(score), score], 1)

    images = torch.full((1, 3, 4, 4), 2.0)
    lost = torch.sigmoid(torch.tensor(2.0)) - 0.5
    found = occlusion(net, images, torch.tensor([1]), size=1, stride=1)
    expected = torch.zeros(1, 4, 4)
    expected[0, 1, 2] = lost
    assert torch.equal(found, expected)
    assert (images == 2).all()


def test_squares_reach_the_border_and_their_losses_are_averaged() -> None:
    def net(images: Tensor) -> Tensor:
        score = images[:, 0, 4, 4]
        return torch.stack([torch.zeros_like(score), score], 1)

    found = occlusion(net, torch.full((1, 1, 5, 5), 2.0), torch.tensor([1]), size=2, stride=2)[0]
    lost = torch.sigmoid(torch.tensor(2.0)) - 0.5
    assert found[4, 4] == lost  # only the last square hides it, which begins at 3
    assert found[3, 3] == lost / 4  # of the four that hide it, one also hides the pixel that counts
    assert found[:3, :].abs().sum() == 0
