"""Where are the points? Squared distances in units of the image."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.shares import of_all_ranks
from project.tasks.task import Stage, Task

ALPHAS = (0.1, 0.2)  # shares of the reference length within which a point counts as found
REFERENCES = ("points", "image")


class Regression(Task):
    """Points by regression: the L2 loss of Toshev and Szegedy 2014 (equation 4), the mean over known points.

    `error` is the mean distance in pixels. `pck_0.1` and `pck_0.2` are the percentage of correct key points (Yang and
    Ramanan 2013, section 6) as a fraction: of all known points, those that lie within 0.1 and 0.2 of a reference
    length. That is the longer side of the box around the image's known points, or of the image.

    Args:
        net: (B, C, H, W) images to (B, K, 2) coordinates, shares of the image's width and height from its centre.
        reference: whose longer side is the reference length of PCK.

    Raises:
        ValueError: an unknown `reference`.
    """

    measures: ClassVar[Sequence[str]] = ("squares", "distances", *(f"correct_{alpha}" for alpha in ALPHAS), "known")

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        reference: Literal["points", "image"] = "points",
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        if reference not in REFERENCES:
            raise ValueError(f"model.reference must be one of {', '.join(REFERENCES)}, got {reference}")
        self.reference = reference

    @property
    def logged(self) -> list[str]:
        names = ("loss", "error", *(f"pck_{alpha}" for alpha in ALPHAS))
        return [f"{stage}/{name}" for stage in ("train", "val") for name in names]

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: images (B, C, H, W) and points (B, K, 2), x and y in pixels, NaN where not known."""
        images, points = batch
        places = self.net(images)  # (B, K, 2)
        known = ~points.isnan().any(2)
        off = (places - shares(points, images)).masked_fill(~known[..., None], 0.0)
        squares = off.square().sum()
        found = pixels(places.detach(), images)
        if stage == "val":
            self.answers = found
        right = correct(found, points, self.lengths(points, images))
        distances = (found - points).norm(dim=2).nan_to_num(0.0)
        sums = [squares, distances.sum(), *right.sum((1, 2)), known.sum()]
        return squares / known.sum().clamp_min(1), sums, len(images)

    def lengths(self, points: Tensor, images: Tensor) -> Tensor:
        """The reference length of each image, (B,) in pixels."""
        if self.reference == "image":
            return points.new_full((len(points),), max(images.shape[2:]))
        unknown = points.isnan()
        most, least = points.masked_fill(unknown, -torch.inf).amax(1), points.masked_fill(unknown, torch.inf).amin(1)
        return (most - least).amax(1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return of_all_ranks(self, loss, (~batch[1].isnan().any(2)).sum())

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        """Sums over all points by how many these are, whatever the batches and ranks were."""
        if not means or not means["known"]:
            return {}
        loss, error, *found = (means[name] / means["known"] for name in self.measures[:-1])
        return {"loss": loss, "error": error, **{f"pck_{a}": share for a, share in zip(ALPHAS, found, strict=True)}}

    def predict(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to points (B, K, 2), x and y in pixels of these images."""
        return pixels(self.net(images), images)


def shares(points: Tensor, images: Tensor) -> Tensor:
    """Pixels to shares of the image's width and height from its centre (equation 1), (B, K, 2)."""
    size = _size(images)
    return (points - (size - 1) / 2) / size


def pixels(places: Tensor, images: Tensor) -> Tensor:
    """The inverse of `shares` (equation 2)."""
    size = _size(images)
    return places.float() * size + (size - 1) / 2


def correct(found: Tensor, points: Tensor, lengths: Tensor) -> Tensor:
    """Whether each of the points (B, K, 2) was found within each of `ALPHAS` times its image's length (B,).

    Returns:
        (alphas, B, K); false for points that are not known.
    """
    distances = (found - points).norm(dim=2)
    return torch.stack([distances <= alpha * lengths[:, None] for alpha in ALPHAS])


def _size(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    return torch.tensor([width, height], dtype=torch.float32, device=images.device)
