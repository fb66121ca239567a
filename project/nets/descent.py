"""Gradient descent on the pixels of a picture (Gatys et al. 2016, section 2.3)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from project.nets.style import Losses

METHODS = ("lbfgs", "adam")
FIRST = 0.05  # mean change of what is optimised in the first step that L-BFGS tries
EDGE = 0.01  # how far from black and white a picture begins, where a sigmoid is nearly flat
HISTORY = 20  # steps that L-BFGS remembers, each as large as two pictures


@dataclass(frozen=True)
class Descent:
    """Goes down the gradient of the total loss on the pixels (section 2.3), which stay between black and white.

    To that end a pixel is a sigmoid of what is optimised.

    Args:
        steps: of L-BFGS (with a line search, so that the loss never rises), or of Adam.
        method: `lbfgs`, which the paper found to work best, or `adam`.
        rate: Adam's learning rate.

    Raises:
        ValueError: an argument out of range.
    """

    steps: int = 200
    method: str = "lbfgs"
    rate: float = 0.05

    def __post_init__(self) -> None:
        for name, holds, law in (
            ("steps", self.steps >= 1, "at least 1"),
            ("method", self.method in METHODS, " or ".join(METHODS)),
            ("rate", self.rate > 0, "positive"),
        ):
            if not holds:
                raise ValueError(f"{name} must be {law}, got {getattr(self, name)}")

    def __call__(
        self, objective: Callable[[Tensor], Losses], start: Tensor, low: Tensor, high: Tensor
    ) -> Iterator[tuple[Tensor, Losses]]:
        """Improve a picture.

        Args:
            objective: the losses of a picture.
            start: (1, C, H, W), normalised: the content, or noise.
            low: (C,) what black is in normalised pictures.
            high: (C,) what white is.

        Yields:
            After each step the picture and its losses.
        """
        low, high = (bound[:, None, None] for bound in (low, high))
        free = ((start - low) / (high - low)).clamp(EDGE, 1 - EDGE).logit().contiguous().requires_grad_()
        known: list[tuple[Tensor, Tensor, Losses, Tensor]] = []  # what a line search tried last, of which one is next

        def found() -> tuple[Tensor, Losses, Tensor]:
            for pixels, *results in known:
                if torch.equal(pixels, free):
                    return tuple(results)  # type: ignore[return-value]
            picture, losses, gradient = _measured(lambda x: low + (high - low) * x.sigmoid(), objective, free)
            known.insert(0, (free.detach().clone(), picture, losses, gradient))
            del known[4:]
            return picture, losses, gradient

        def closure() -> float:
            _, losses, gradient = found()
            free.grad = gradient.clone()
            return losses.total.item() * free.numel()

        optimizer = self._optimizer(free)
        for _ in range(self.steps):
            optimizer.step(closure)
            if self.method == "lbfgs":
                optimizer.param_groups[0]["lr"] = 1.0
            picture, losses, _ = found()
            yield picture, losses

    def _optimizer(self, free: Tensor) -> torch.optim.Optimizer:
        if self.method == "adam":
            return torch.optim.Adam([free], lr=self.rate)
        return torch.optim.LBFGS(
            [free],
            lr=FIRST * free.numel(),  # the length of the first step, summed over the pixels
            max_iter=1,
            max_eval=20,  # of a line search
            history_size=HISTORY,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )


def _measured(
    pixels: Callable[[Tensor], Tensor], objective: Callable[[Tensor], Losses], free: Tensor
) -> tuple[Tensor, Losses, Tensor]:
    """The picture, its losses without their graph, and the gradient of the total times the number of pixels: L-BFGS has
    absolute thresholds, made for gradients of about 1."""
    with torch.enable_grad():
        picture = pixels(free)
        losses = objective(picture)
        (gradient,) = torch.autograd.grad(losses.total * free.numel(), free)
    known = Losses(losses.content.detach(), losses.style.detach(), losses.total.detach())
    return picture.detach(), known, gradient.contiguous()
