"""A ConvNet without its head: what others look at, be it a decoder of sentences or a label for every pixel."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class FeatureMap(nn.Module):
    """The `features` of a network for images; what only its head needs is left out.

    `scale` and `offset` are for weights that were trained on images of another normalisation; see `take`.

    Args:
        net: has `features`, (B, C, H, W) to (B, C', h, w).
        image_shape: (C, H, W) of the images.
        frozen: its weights and its normalisations' statistics stay as they are, whatever trains the rest.

    Attributes:
        channels: C'.
        size: (h, w).

    Shape:
        images (B, C, H, W) to (B, channels, *size).

    Raises:
        ValueError: a network without `features`.
    """

    def __init__(self, net: nn.Module, image_shape: Sequence[int], frozen: bool = False) -> None:
        super().__init__()
        if not callable(getattr(net, "features", None)):
            raise ValueError(
                f"net must be a network with a map of features, got {type(net).__name__}: choose net=resnet"
            )
        self.net, self.frozen, self.taken = net, frozen, False
        self.scale: Tensor
        self.offset: Tensor
        self.register_buffer("scale", torch.ones(image_shape[0], 1, 1))
        self.register_buffer("offset", torch.zeros(image_shape[0], 1, 1))
        self.channels, *size = _without_head(net, image_shape)
        self.size = (size[0], size[1])
        if frozen:
            self.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "FeatureMap":
        """A frozen one stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, channels, h, w)"""
        features: Callable[[Tensor], Tensor] = self.net.features  # type: ignore[assignment]
        images = images * self.scale + self.offset
        if not self.frozen:
            return features(images)
        with torch.no_grad():
            return features(images)

    def start_from(self, images: Tensor) -> None:
        """What the network takes from images (B, C, H, W) before it is trained, if it takes anything."""
        start: Callable[[Tensor], None] | None = getattr(self.net, "start_from", None)
        if start is not None and not self.taken:
            start(images)

    def take(
        self, weights: dict[str, Tensor], own: tuple[Sequence[float], ...], theirs: tuple[Sequence[float], ...]
    ) -> None:
        """Start with weights that were trained elsewhere.

        Args:
            weights: a state of the same network, with its head or without.
            own: mean and standard deviation of each channel by which the images that come are normalised.
            theirs: those by which the images were that the weights are used to.

        Raises:
            ValueError: the weights are another network's.
        """
        state = self.net.state_dict()
        wrong = [name for name, value in state.items() if name not in weights or weights[name].shape != value.shape]
        if wrong:
            found = tuple(weights[wrong[0]].shape) if wrong[0] in weights else "missing"
            raise ValueError(f"{wrong[0]} is {found}, expected {tuple(state[wrong[0]].shape)}")
        self.net.load_state_dict({name: weights[name] for name in state})
        self.taken = True
        (mean, std), (their_mean, their_std) = (
            (torch.tensor(part, dtype=torch.float64).view(-1, 1, 1) for part in parts) for parts in (own, theirs)
        )
        self.scale.copy_(std / their_std)
        self.offset.copy_((mean - their_mean) / their_std)


@torch.no_grad()
def _without_head(net: nn.Module, image_shape: Sequence[int]) -> tuple[int, ...]:
    """Empties the parts that `features` does not call; the shape of the features of one image."""
    called: set[str] = set()
    handles = [
        part.register_forward_hook(lambda *_, name=name: called.add(name)) for name, part in net.named_children()
    ]
    mode = net.training
    net.eval()  # no statistics of an empty image
    try:
        features: Callable[[Tensor], Tensor] = net.features  # type: ignore[assignment]
        shape = features(torch.zeros(1, *image_shape, device=next(net.parameters()).device)).shape
    finally:
        for handle in handles:
            handle.remove()
    for name in {name for name, _ in net.named_children()} - called:
        setattr(net, name, nn.Identity())
    net.train(mode)
    return tuple(shape[1:])
