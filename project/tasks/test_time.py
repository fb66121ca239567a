"""Several views of an image, whose logits are averaged, where results are compared."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

VIEWS = ("none", "flip", "flip_and_shift")


def averaged(net: Callable[[Tensor], Tensor], images: Tensor, views: str) -> Tensor:
    """Logits (B, K) of images (B, C, H, W), averaged over views (Jordan 2024, section 3.5).

    `flip`: the image and its mirror image. `flip_and_shift`: half of that, and half of the same after a shift by one
    pixel up and left, and down and right, at reflecting borders.
    """
    if views == "none":
        return net(images)
    both = _flipped(net, images)
    if views == "flip":
        return both
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    shifted = [padded[:, :, place : place + height, place : place + width] for place in (0, 2)]
    return both / 2 + (_flipped(net, shifted[0]) + _flipped(net, shifted[1])) / 4


def _flipped(net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return (net(images) + net(images.flip(3))) / 2
