"""Style transfer (Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional neural networks")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Look = Callable[[Tensor], Mapping[str, Tensor]]  # pictures (1, C, H, W) to the features of layers, (1, N, h, w) each


def gram_matrix(features: Tensor) -> Tensor:
    """G_ij = sum_k F_ik F_jk over the places k of a map (equation 3): (B, N, h, w) -> (B, N, N)."""
    rows = features.flatten(2)
    return rows @ rows.mT


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Half the sum of squared differences of two maps of one shape (equation 1)."""
    return (features - target).square().sum() / 2


def style_loss(features: Tensor, gram: Tensor, places: int) -> Tensor:
    """E = sum_ij (G_ij - A_ij)^2 / (4 N^2 M^2), how far the style of one layer is off (equation 4).

    The paper's two pictures are of one size, M places. Here G and A are each divided by their own.

    Args:
        features: of the picture that is made, (1, N, h, w).
        gram: A, the Gram matrix of the style's features, (1, N, N).
        places: M of the style's features.
    """
    own = gram_matrix(features) / features[0, 0].numel()
    return (own - gram / places).square().mean() / 4


def total_variation(picture: Tensor) -> Tensor:
    """The mean square of the differences between neighbouring pixels, down and across, of (1, C, H, W)."""
    parts = (picture.diff(dim=axis).square() for axis in (2, 3))
    return sum((part.sum() / max(1, part.numel()) for part in parts), start=picture.new_zeros(()))


@dataclass(frozen=True)
class Losses:
    """Of one picture; `total` is alpha content + beta style (equation 7), and the variation with its weight."""

    content: Tensor
    style: Tensor
    total: Tensor


class Objective:
    """How far a picture is from the content of one and the style of another.

    Each layer's features are divided by their mean size in both pictures. The paper scales the weights of its network
    to that end (section 2), and so alpha and beta mean the same for every network. The content loss is equation 1 per
    feature, so that they mean the same for every size of picture, too.

    Args:
        look: pictures to the features of the layers.
        content: (1, C, H, W), normalised as the network's training images, as for `style`.
        style: (1, C, H', W').
        content_layers: names of what `look` gives.
        style_layers: those of equation 5, all of the same weight 1 / L.
        alpha: of the content loss.
        beta: of the style loss.
        variation: weight of the total variation.
    """

    def __init__(
        self,
        look: Look,
        content: Tensor,
        style: Tensor,
        content_layers: Sequence[str],
        style_layers: Sequence[str],
        alpha: float = 1.0,
        beta: float = 5.0,
        variation: float = 0.0,
    ) -> None:
        self.look, self.alpha, self.beta, self.variation = look, alpha, beta, variation
        with torch.no_grad():
            of_content, of_style = look(content), look(style)
            self.scales = {
                name: 2 / (of_content[name].abs().mean() + of_style[name].abs().mean()).clamp_min(1e-12)
                for name in {*content_layers, *style_layers}
            }
            self.contents = {name: self.scales[name] * of_content[name] for name in content_layers}
            self.grams = {name: gram_matrix(self.scales[name] * of_style[name]) for name in style_layers}
            self.places = {name: of_style[name][0, 0].numel() for name in style_layers}

    def __call__(self, picture: Tensor) -> Losses:
        """The losses of (1, C, H, W), of the content's size."""
        seen = self.look(picture)
        features = {name: scale * seen[name] for name, scale in self.scales.items()}
        contents = [content_loss(features[name], target) / target.numel() for name, target in self.contents.items()]
        styles = [style_loss(features[name], gram, self.places[name]) for name, gram in self.grams.items()]
        content, style = torch.stack(contents).mean(), torch.stack(styles).mean()
        total = self.alpha * content + self.beta * style
        if self.variation:
            total = total + self.variation * total_variation(picture)
        return Losses(content, style, total)
