"""A class for every pixel: a fully convolutional head on any ConvNet."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.nets.feature_map import FeatureMap
from project.nets.layers import output_shapes


class Segmenter(nn.Module):
    """1x1 convolutions that score each place of a map of features, and scores for each pixel made of them.

    `upsampling: bilinear`: a place has one score for each class, interpolated between places (Long et al. 2015, "Fully
    convolutional networks", section 3.3). `patches`: a place scores a patch of pixels, as wide as the map's stride,
    from all that it sees around it (Mnih and Hinton 2010, "Learning to detect roads", section 3).

    Args:
        encoder: the ConvNet without its head.
        image_shape: (C, H, W) of training images; others may have any size that the ConvNet takes.
        num_classes: K.
        upsampling: how a pixel's scores come from the map's.
        skips: add scores of the last layer of each finer map, as Long et al. do (section 4.2).

    Shape:
        images (B, C, H, W) to logits (B, K, H, W).

    Raises:
        ValueError: fewer than two classes, or an unknown `upsampling`.
    """

    def __init__(
        self,
        encoder: FeatureMap,
        image_shape: Sequence[int],
        num_classes: int,
        upsampling: Literal["patches", "bilinear"] = "bilinear",
        skips: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"Segmenter needs at least two classes, got num_classes={num_classes}")
        if upsampling not in ("patches", "bilinear"):
            raise ValueError(f"model.net.upsampling must be patches or bilinear, got {upsampling}")
        sides = zip(image_shape[1:], encoder.size, strict=True)
        self.stride = max(math.ceil(side / own) for side, own in sides) if upsampling == "patches" else 1
        self.encoder = encoder
        self.score = nn.Conv2d(encoder.channels, num_classes * self.stride**2, 1)
        self.finer = nn.ModuleList()
        self._seen: dict[str, Tensor] = {}
        if skips:
            for name, channels in finer_layers(encoder, image_shape):
                encoder.get_submodule(name).register_forward_hook(_Keep(self._seen, name))
                self.finer.append(nn.Conv2d(channels, num_classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H, W)"""
        scores = F.pixel_shuffle(self.score(self.encoder(images)), self.stride)
        finer = list(self._seen.values())
        self._seen.clear()
        for layer, features in zip(reversed(self.finer), reversed(finer), strict=True):
            scores = _resized(scores, features.shape[2:]) + layer(features)
        return _resized(scores, images.shape[2:])


class _Keep:
    """A hook that keeps what a layer put out, for the one forward pass."""

    def __init__(self, seen: dict[str, Tensor], name: str) -> None:
        self.seen, self.name = seen, name

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.seen[self.name] = output


def finer_layers(encoder: FeatureMap, image_shape: Sequence[int]) -> list[tuple[str, int]]:
    """Name and channels of the last layer of each map that is larger than the encoder's own, the largest first."""
    mode = encoder.training
    shapes = output_shapes(encoder.eval(), image_shape)
    encoder.train(mode)
    last: dict[tuple[int, ...], tuple[str, int]] = {}
    for name, shape in shapes.items():
        if len(shape) == 4 and shape[2] > encoder.size[0] and shape[3] > encoder.size[1]:
            last[shape[2:]] = name, shape[1]
    return [last[size] for size in sorted(last, reverse=True)]


def _resized(scores: Tensor, size: Sequence[int]) -> Tensor:
    if scores.shape[2:] == torch.Size(size):
        return scores
    return F.interpolate(scores, size=tuple(size), mode="bilinear", align_corners=False)
