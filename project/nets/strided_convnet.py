"""A few convolutions that halve the picture: fast, and its map keeps where things are."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class StridedConvNet(nn.Module):
    """3x3 convolutions with batch normalisation and ReLU, no pooling; Santoro et al.'s (2017) has four at stride 2.

    Args:
        image_shape: (C, H, W).
        num_classes: of its head, which is linear and sees the whole map.
        channels: one convolution for each number.
        strides: of each.

    Shape:
        images (B, C, H, W) to logits (B, num_classes).

    Raises:
        ValueError: strides that are not as many as the channels, or not positive.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        channels: Sequence[int] = (24, 24, 24, 24),
        strides: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        if len(channels) != len(strides) or not channels or min(*channels, *strides) < 1:
            raise ValueError(
                "a strided convnet has a stride of at least 1 for each of its channels, at least one, got "
                f"channels={list(channels)} strides={list(strides)}"
            )
        first, height, width = image_shape
        layers: list[nn.Module] = []
        for (inputs, outputs), stride in zip(pairwise([first, *channels]), strides, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers.append(nn.ReLU(inplace=True))
            height, width = -(-height // stride), -(-width // stride)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1] * height * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)"""
        return self.head(self.features(images).flatten(1))
