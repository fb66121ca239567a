"""Which pixels a classifier's answer hangs on."""

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_saliency(net: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor) -> Tensor:
    """The largest |dS_c / dx| over a pixel's channels, S_c the class's logit (Simonyan et al. 2014, section 3.1).

    Args:
        net: (N, C, H, W) to logits (N, K), in evaluation mode; no gradient of its weights is kept.
        images: (N, C, H, W).
        classes: (N,).

    Returns:
        (N, H, W).
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        score = net(images).gather(1, classes.clone()[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, images)
    return gradient.abs().amax(1)


@torch.no_grad()
def occlusion(net: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor, size: int, stride: int) -> Tensor:
    """How much probability the class loses while a square hides a pixel (Zeiler & Fergus 2014, section 4.2).

    A square of side `size` slides over the image in steps of `stride` and holds zeros, the mean of normalised images;
    a pixel's value is the mean of the losses over the squares that hide it.

    Args:
        net: (N, C, H, W) to logits (N, K), in evaluation mode.
        images: (N, C, H, W).
        classes: (N,).

    Returns:
        (N, H, W), from -1 to 1.
    """
    height, width = images.shape[2:]
    total = torch.zeros(len(images), height, width, device=images.device)
    times = torch.zeros(height, width, device=images.device)
    whole = _probability(net, images, classes)
    for top in _starts(height, size, stride):
        for left in _starts(width, size, stride):
            place = slice(top, top + size), slice(left, left + size)
            hidden = images.clone()
            hidden[:, :, place[0], place[1]] = 0
            lost = whole - _probability(net, hidden, classes)
            total[:, place[0], place[1]] += lost[:, None, None]
            times[place] += 1
    return total / times


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Where squares begin; the last one ends at the border."""
    last = max(0, length - size)
    return sorted({*range(0, last, stride), last})


def _probability(net: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor) -> Tensor:
    return net(images).float().softmax(1).gather(1, classes[:, None])[:, 0]
