"""Where are the points? Regression from an image (Toshev and Szegedy 2014, "DeepPose", section 3)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from project.nets.feature_map import FeatureMap


class KeyPoints(nn.Module):
    """A ConvNet, and fully connected layers on its whole map: pooled, it would have lost where things are.

    Args:
        encoder: the ConvNet without its head.
        num_points: K.
        hidden: widths of layers between the map and the points; the paper has two of 4096.
        dropout: before each of those layers, as in the paper.

    Shape:
        images (B, C, H, W) to coordinates (B, K, 2), x and y as shares of the image's width and height from its centre
        (the paper's equation 1 with the whole image as its box).

    Raises:
        ValueError: fewer than one point.
    """

    def __init__(self, encoder: FeatureMap, num_points: int, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        if num_points < 1:
            raise ValueError(f"KeyPoints needs at least one point, got num_points={num_points}")
        layers: list[nn.Module] = []
        widths = [encoder.channels * math.prod(encoder.size), *hidden]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Dropout(dropout), nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        last = nn.Linear(widths[-1], 2 * num_points)
        nn.init.zeros_(last.bias)
        # Coordinates are smaller than logits, and a map has thousands of numbers: with all their weights moved at once,
        # an optimizer's step of the size that suits the ConvNet would throw the points across the picture.
        self.scale = 0.1 / math.sqrt(widths[0])
        self.encoder = encoder
        self.head = nn.Sequential(*layers, last)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, 2) float32"""
        features = self.encoder(images).flatten(1)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round places to parts of a pixel
            return self.head(features.float() * self.scale).unflatten(1, (-1, 2))
