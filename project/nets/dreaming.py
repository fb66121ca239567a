"""Images that excite a unit: gradient ascent on its activation (Erhan et al. 2009; Simonyan et al. 2014, section 2)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
        octaves: sizes in which the image is dreamed in turn, the last one its own (Mordvintsev et al. 2015).
        octave_scale: of each of them to the one before.

    Raises:
        ValueError: an argument out of range.
    """

    steps: int = 64
    rate: float = 0.05
    jitter: int = 2
    blur: float = 0.1
    seed: int = 0
    octaves: int = 1
    octave_scale: float = 1.4

    def __post_init__(self) -> None:
        for name, holds, law in (
            ("steps", self.steps >= 1, "at least 1"),
            ("rate", self.rate > 0, "positive"),
            ("jitter", self.jitter >= 0, "at least 0"),
            ("blur", 0 <= self.blur <= 1 / 3, "from 0 to 1/3"),
            ("octaves", self.octaves >= 1, "at least 1"),
            ("octave_scale", self.octave_scale > 1, "above 1"),
        ):
            if not holds:
                raise ValueError(f"{name} must be {law}, got {getattr(self, name)}")

    def __call__(
        self,
        excitement: Callable[[Tensor], Tensor],
        shape: Sequence[int],
        low: Tensor,
        high: Tensor,
        start: Tensor | None = None,
    ) -> Tensor:
        """Dream; as `ascend`, and gives its last images, (N, C, H, W)."""
        for dream, _ in self.ascend(excitement, shape, low, high, start):
            images = dream
        return images

    def ascend(
        self,
        excitement: Callable[[Tensor], Tensor],
        shape: Sequence[int],
        low: Tensor,
        high: Tensor,
        start: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Dream step by step.

        Args:
            excitement: images to the activations (N,) that they are to raise, e.g. of `units`.
            shape: (N, C, H, W).
            low: (C,) what black is in normalised images, on the device of the dream.
            high: (C,) what white is.
            start: images to begin with, of that shape, which keep their details from octave to octave; None: noise.

        Yields:
            After each step of each octave the images (N, C, h, w) and the activations (N,) that they had before it.
        """
        generator = torch.Generator().manual_seed(self.seed)
        with torch.inference_mode(False):
            low, high = (bound.clone()[:, None, None] for bound in (low, high))
        images = None
        for size in self.sizes(shape[2:]):
            with torch.inference_mode(False):
                images = self._begun(images, (*shape[:2], *size), start, generator, low.device)
            for _ in range(self.steps):
                shift = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=generator).tolist()
                images, reached = self._step(excitement, images, shift, low, high)
                yield images, reached

    def sizes(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """Height and width of each octave, of an image of this size."""
        factors = [self.octave_scale**-octave for octave in reversed(range(self.octaves))]
        return [(max(1, round(size[0] * factor)), max(1, round(size[1] * factor))) for factor in factors]

    def _begun(
        self,
        images: Tensor | None,
        shape: tuple[int, ...],
        start: Tensor | None,
        generator: torch.Generator,
        device: torch.device,
    ) -> Tensor:
        """What an octave begins with: what was dreamed so far, enlarged, and the details of `start` at this size."""
        if start is None:
            if images is None:
                return NOISE * torch.randn(shape, generator=generator).to(device)
            return resized(images, shape[2:])
        base = resized(start, shape[2:])
        if images is None:
            return base
        return base + resized(images - resized(start, images.shape[2:]), shape[2:])

    def _step(
        self,
        excitement: Callable[[Tensor], Tensor],
        images: Tensor,
        shift: list[int],
        low: Tensor,
        high: Tensor,
    ) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            images = images.roll(shift, (2, 3)).requires_grad_()
            reached = excitement(images)
            (gradient,) = torch.autograd.grad(reached.sum(), images)
            size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
            images = images.detach() + self.rate * gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
            images = blurred(images, self.blur).clamp(low, high)
            return images.roll([-part for part in shift], (2, 3)), reached.detach()


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images (N, C, H, W) at another height and width, themselves where they have it."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True, align_corners=False)


def blurred(images: Tensor, share: float) -> Tensor:
    """Each pixel gives `share` of itself to either neighbour along both axes; borders give to themselves."""
    for axes in ((0, 0, 1, 1), (1, 1, 0, 0)):
        padded = F.pad(images, axes, mode="replicate")
        before, after = (padded[:, :, :-2], padded[:, :, 2:]) if axes[2] else (padded[..., :-2], padded[..., 2:])
        images = (1 - 2 * share) * images + share * (before + after)
    return images


def units(
    net: nn.Module,
    numbers: Sequence[int],
    layer: str | None = None,
    through: Callable[[Tensor], Any] | None = None,
) -> Callable[[Tensor], Tensor]:
    """The activation of unit numbers[i] for image i of N, (N,).

    Args:
        net: in evaluation mode.
        numbers: N units: logits, or the channels of `layer`, whose mean over the places counts.
        layer: its name in the network; None: the network's own output.
        through: see `project.nets.layers.layer_outputs`.
    """

    def excitement(images: Tensor) -> Tensor:
        output = net(images) if layer is None else layer_outputs(net, [layer], images, through)[layer]
        own = output[range(len(numbers)), list(numbers)]  # (N,) or (N, H, W)
        return own.reshape(len(numbers), -1).mean(1)

    return excitement


def whole_layer(
    net: nn.Module, layer: str, through: Callable[[Tensor], Any] | None = None
) -> Callable[[Tensor], Tensor]:
    """The mean square of all that `layer` puts out for each of N images, (N,): more of what it sees already."""

    def excitement(images: Tensor) -> Tensor:
        return layer_outputs(net, [layer], images, through)[layer].square().flatten(1).mean(1)

    return excitement
