"""A network that learns CIFAR-10 in seconds (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU")."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftNorm(nn.BatchNorm2d):
    """Batch norm whose scale stays at 1: only its bias is learned (section 3.1).

    `momentum` is torch's, the weight of the newest batch in the running statistics.
    """

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__(channels, eps=1e-12, momentum=momentum)
        self.weight.requires_grad_(False)


class Block(nn.Module):
    """conv 3x3, pool 2, norm, GELU, conv 3x3, norm, GELU (section 3.1)."""

    def __init__(self, inputs: int, width: int, momentum: float) -> None:
        super().__init__()
        self.conv1, self.norm1 = _dirac(inputs, width), ShiftNorm(width, momentum)
        self.conv2, self.norm2 = _dirac(width, width), ShiftNorm(width, momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, width, H // 2, W // 2)"""
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """A whitening 2x2 convolution, blocks of two convolutions, pooling 3, a linear layer whose output is scaled.

    `start_from` sets the whitening layer from training images (section 3.2); its weights are never trained, its bias
    is, unless `whitening_bias` is false. Convolutions start as the identity on their first channels (dirac
    initialisation, section 3.3).

    Args:
        image_shape: (C, H, W).
        num_classes: K.
        widths: channels of each block.
        momentum: of the norms, as torch counts it.
        scale: of the logits.
        whitening_bias: whether the first layer has one.

    Shape:
        images (B, C, H, W) to logits (B, K).

    Raises:
        ValueError: images that the poolings leave nothing of.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        widths: Sequence[int] = (64, 256, 256),
        momentum: float = 0.4,
        scale: float = 1 / 9,
        whitening_bias: bool = True,
    ) -> None:
        super().__init__()
        channels, *sides = image_shape
        height, width = ((side - 1) // 2 ** len(widths) for side in sides)
        if min(height, width) < 3:
            smallest = 3 * 2 ** len(widths) + 1
            raise ValueError(
                f"{len(widths)} blocks that halve their images need images of at least {smallest}x{smallest}, got "
                f"{image_shape[1]}x{image_shape[2]}: fewer model.net.widths, or data.image_size={smallest}"
            )
        self.whiten = nn.Conv2d(channels, 2 * 4 * channels, 2, bias=whitening_bias)
        self.whiten.weight.requires_grad_(False)
        if self.whiten.bias is not None:
            nn.init.zeros_(self.whiten.bias)
        self.blocks = nn.Sequential(
            *(Block(inputs, width, momentum) for inputs, width in pairwise([self.whiten.out_channels, *widths]))
        )
        self.classifier = nn.Linear(widths[-1] * (height // 3) * (width // 3), num_classes, bias=False)
        self.scale = scale

    @torch.no_grad()
    def start_from(self, images: Tensor, eps: float = 5e-4) -> None:
        """The first layer's filters: the eigenvectors of 2x2 patches over the roots of their eigenvalues, and minus
        them, so that its outputs have equal variance and nothing in common (section 3.2). images (N, C, H, W)."""
        size = self.whiten.kernel_size[0]
        patches = F.unfold(images.double().cpu(), size).transpose(1, 2).flatten(0, 1)  # (N * places, C * size * size)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + eps).sqrt()).T.unflatten(1, (images.shape[1], size, size))
        self.whiten.weight.copy_(torch.cat([filters, -filters]))

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[-1], h, w)"""
        return self.blocks(F.gelu(self.whiten(images)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)"""
        return self.scale * self.classifier(F.max_pool2d(self.features(images), 3).flatten(1))


def _dirac(inputs: int, outputs: int) -> nn.Conv2d:
    """Its first `inputs` filters pass their own channel on, the others are drawn as usual."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:inputs])
    return conv
