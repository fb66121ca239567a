"""A small convolutional network of LeNet-5's shape (LeCun et al. 1998, "Gradient-based learning", section II.B)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class ConvNet(nn.Module):
    """conv 6 5x5, pool 2, conv 16 5x5, pool 2, 120, 84, num_classes: LeNet-5 with ReLU and max pooling.

    `channels` has one convolution (with its pooling) for each number, `hidden` one fully connected layer for each.

    Shape:
        images (B, C, H, W) to logits (B, num_classes).

    Raises:
        ValueError: images that the unpadded convolutions leave nothing of.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        channels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        image_channels, height, width = image_shape
        smallest = 1
        for _ in channels:
            height, width = (height - kernel_size + 1) // 2, (width - kernel_size + 1) // 2
            smallest = 2 * smallest + kernel_size - 1
        if min(height, width) < 1:
            raise ValueError(
                f"{len(channels)} unpadded {kernel_size}x{kernel_size} convolutions, each with a pooling, need images "
                f"of at least {smallest}x{smallest}, got {image_shape[1]}x{image_shape[2]}: "
                f"set data.image_size={smallest} or more, or fewer model.net.channels."
            )
        convolutions: list[nn.Module] = []
        for inputs, outputs in pairwise([image_channels, *channels]):
            convolutions += [nn.Conv2d(inputs, outputs, kernel_size), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        widths = [[image_channels, *channels][-1] * height * width, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*convolutions)
        self.classifier = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)"""
        return self.classifier(self.features(images).flatten(1))
