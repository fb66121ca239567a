"""Images that excite a unit: gradient ascent on its activation (Erhan et al. 2009; Simonyan et al. 2014, section 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.nets.layers import layer_outputs

NOISE = 0.1  # standard deviation of the image that a dream begins with


@dataclass(frozen=True)
class Dreamer:
    """How an image is made to excite a unit.

    Each step shifts the image at random (Mordvintsev et al. 2015), goes up the gradient, which is scaled to a mean
    square of 1, and gives a part of each pixel to its neighbours (Yosinski et al. 2015), so that edges grow and not
    noise.

    Args:
        steps: of the ascent.
        rate: how far a step goes, in standard deviations of the data.
        jitter: pixels by which the image is shifted at most.
        blur: the share of a pixel that each of its two neighbours gets, along each axis, from 0 to 1/3.
        seed: of the noise at the beginning and of the shifts.

    Raises:
        ValueError: an argument out of range.
    """

    steps: int = 64
    rate: float = 0.05
    jitter: int = 2
    blur: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, holds, law in (
            ("steps", self.steps >= 1, "at least 1"),
            ("rate", self.rate > 0, "positive"),
            ("jitter", self.jitter >= 0, "at least 0"),
            ("blur", 0 <= self.blur <= 1 / 3, "from 0 to 1/3"),
        ):
            if not holds:
                raise ValueError(f"{name} must be {law}, got {getattr(self, name)}")

    def __call__(
        self, excitement: Callable[[Tensor], Tensor], shape: Sequence[int], low: Tensor, high: Tensor
    ) -> Tensor:
        """Dream.

        Args:
            excitement: images to the activations (N,) that they are to raise, e.g. of `units`.
            shape: (N, C, H, W).
            low: (C,) what black is in normalised images, on the device of the dream.
            high: (C,) what white is.

        Returns:
            (N, C, H, W).
        """
        generator = torch.Generator().manual_seed(self.seed)
        with torch.inference_mode(False), torch.enable_grad():
            images = NOISE * torch.randn(tuple(shape), generator=generator).to(low.device)
            low, high = (bound.clone()[:, None, None] for bound in (low, high))
            for _ in range(self.steps):
                shift = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=generator).tolist()
                images = images.roll(shift, (2, 3)).requires_grad_()
                (gradient,) = torch.autograd.grad(excitement(images).sum(), images)
                size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
                images = images.detach() + self.rate * gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
                images = blurred(images, self.blur).clamp(low, high)
                images = images.roll([-part for part in shift], (2, 3))
        return images


def blurred(images: Tensor, share: float) -> Tensor:
    """Each pixel gives `share` of itself to either neighbour along both axes; borders give to themselves."""
    for axes in ((0, 0, 1, 1), (1, 1, 0, 0)):
        padded = F.pad(images, axes, mode="replicate")
        before, after = (padded[:, :, :-2], padded[:, :, 2:]) if axes[2] else (padded[..., :-2], padded[..., 2:])
        images = (1 - 2 * share) * images + share * (before + after)
    return images


def units(net: nn.Module, numbers: Sequence[int], layer: str | None = None) -> Callable[[Tensor], Tensor]:
    """The activation of unit numbers[i] for image i of N, (N,).

    Args:
        net: in evaluation mode.
        numbers: N units: logits, or the channels of `layer`, whose mean over the places counts.
        layer: its name in the network; None: the network's own output.
    """

    def excitement(images: Tensor) -> Tensor:
        output = net(images) if layer is None else layer_outputs(net, [layer], images)[layer]
        own = output[range(len(numbers)), list(numbers)]  # (N,) or (N, H, W)
        return own.reshape(len(numbers), -1).mean(1)

    return excitement
