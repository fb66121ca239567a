"""Multi-layer perceptrons (Rumelhart et al. 1986, "Learning representations by back-propagating errors")."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def activation_named(name: str, option: str = "activation") -> nn.Module:
    """A new module; `option` is what the user typed the name for."""
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(
            f"model.net.{option} is one of {known}; got {name}: set model.net.{option}=identity or another."
        )
    return ACTIVATIONS[name]()


def fully_connected(widths: Sequence[int], activation: str, output_activation: str, bias: bool) -> nn.Sequential:
    """(B, widths[0]) -> (B, widths[-1]): a linear map from each width to the next, and a non-linearity after each."""
    if min(widths) < 1:
        raise ValueError(f"A layer has at least one unit, got the widths {list(widths)}: set them to 1 or more.")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), activation_named(activation)]
    layers[-1] = activation_named(output_activation, "output_activation")
    return nn.Sequential(*layers)


class MLP(nn.Module):
    """f(x) = s(W_n ... s(W_2 s(W_1 x))), x the flattened image: with no option set, one hidden layer and no biases.

    `hidden` holds the widths of the hidden layers, and none of them leaves f(x) = s(W x). The output goes through the
    same s as the hidden layers unless `output_activation` names its own; logits for a cross-entropy want `identity`.

    Shape:
        images (B, C, H, W) to (B, num_classes).

    Raises:
        ValueError: an activation that is not known, or a layer without units.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[int] = (64,),
        activation: str = "sigmoid",
        output_activation: str | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        widths = [math.prod(image_shape), *hidden, num_classes]
        self.layers = fully_connected(widths, activation, output_activation or activation, bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)"""
        return self.layers(images.flatten(1))
