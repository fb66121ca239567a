"""Batches of images: resumable in mid-epoch, shared among the ranks, and for images in memory augmented all at once."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from project.errors import UserError

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) float32 channels_last, labels (B,) int64


ORDER, AUGMENTATION, SIDES = 0, 1, 2  # what random numbers are for; they must have nothing in common
Flip = bool | Literal["alternating"]
Padding = Literal["zero", "reflect"]


def epoch_generator(seed: int, epoch: int, purpose: int) -> torch.Generator:
    """A CPU generator that is a function of all three, so that (0, 1) and (1, 0) have nothing in common."""
    mixed = np.random.SeedSequence((seed, epoch, purpose)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


def check_batch_size(samples: int, batch_size: int, ranks: int, unit: str = "images") -> None:
    """Whether batches for training can be made of so many samples; `unit` is what they are, for the message.

    Raises:
        UserError: the samples do not fill one batch, or a batch cannot be shared evenly by the ranks.
    """
    if batch_size % ranks:
        raise UserError(
            f"data.batch_size={batch_size} cannot be shared evenly by {ranks} processes.\n"
            f"Choose a multiple of {ranks}, such as data.batch_size={(batch_size // ranks + 1) * ranks}."
        )
    if batch_size > samples:
        raise UserError(
            f"data.batch_size={batch_size} is larger than the training set: {samples} {unit}.\n"
            f"Choose data.batch_size={samples // ranks * ranks or ranks} or less, or add {unit}."
        )


def normalisation(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and offset, (3,) each, with (pixel / 255 - mean) / std = offset + pixel * scale for pixels 0..255."""
    mean_, std_ = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    return (1 / (255 * std_)).float().to(device), (-mean_ / std_).float().to(device)


class EpochLoader(ABC):
    """Which samples stand in which batch, on which rank, and where an interrupted epoch goes on.

    Training: a new order each epoch, a function of (seed, epoch), or without `shuffle` always that of epoch 0; the
    last partial batch is dropped, so that all steps have the same size. Otherwise: the given order, every sample
    exactly once over all ranks. `batch_size` counts the samples of all ranks together: each rank takes its slice of
    the same global batch.

    Lightning finds `state_dict` and `load_state_dict` by their names, and `set_epoch` through `sampler`.

    Raises:
        UserError: the samples do not fill one batch, or do not reach one per rank.
    """

    batch_sampler = None  # Lightning asks whoever has a `sampler` for this too
    unit = "images"  # what the samples are, for messages
    workers = 0  # processes that prepare the batches

    def __init__(
        self, samples: int, batch_size: int, *, train: bool, shuffle: bool, seed: int, rank: int, world_size: int
    ) -> None:
        self.samples, self.batch_size, self.train, self.shuffle = samples, batch_size, train, shuffle
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = self.position = self._start = 0
        self.edges = self._edges()

    def _edges(self) -> list[int]:
        """Global batch i holds the places edges[i]:edges[i + 1] of the epoch's order."""
        n, size, ranks = self.samples, self.batch_size, self.world_size
        if self.train:
            check_batch_size(n, size, ranks, self.unit)
            return list(range(0, n + 1, size))
        if n < ranks:
            raise UserError(f"{n} {self.unit} cannot be shared by {ranks} processes: evaluate with fewer devices.")
        edges = [*range(0, n, max(size, ranks)), n]
        if len(edges) > 2 and n - edges[-2] < ranks:
            edges[-2] = n - ranks  # no rank may be left without a sample: all take part in every batch's collectives
        return edges

    def share(self, batch: int) -> slice:
        """This rank's places of the global batch in the epoch's order."""
        low, high = self.edges[batch], self.edges[batch + 1]
        first, last = ((high - low) * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return slice(low + first, low + last)

    def order(self, epoch: int) -> Tensor:
        """The epoch's sequence of sample numbers, (samples,)."""
        if not self.train:
            return torch.arange(self.samples)
        generator = epoch_generator(self.seed, epoch if self.shuffle else 0, ORDER)
        return torch.randperm(self.samples, generator=generator)

    @abstractmethod
    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """This rank's slices of the global batches from number `start` to the end of the epoch."""

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever the loader stands."""
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Any]:
        """Lazy: Lightning calls `iter` before it tells the epoch. Starts at 0, or where a loaded state stands."""
        position = self.position = self._start
        for batch in self.batches(self.epoch, position):
            position += 1
            self.position = position  # from a local count, so that a look at a batch from elsewhere moves nothing
            yield batch
        self._start = 0

    @property
    def sampler(self) -> "EpochLoader":
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """A new epoch starts at its first batch; the same one keeps its place."""
        if epoch != self.epoch:
            self.epoch, self.position, self._start = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch and the number of batches handed out in it."""
        return {"epoch": self.epoch, "position": self.position, "batches": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next batch is number `position` of `epoch`.

        Raises:
            UserError: in mid-epoch, when the epoch has another number of batches than when the state was saved.
        """
        before = state.get("batches", len(self))
        if 0 < state["position"] < before != len(self):
            raise UserError(
                f"the checkpoint stands in mid-epoch, at batch {state['position']} of {before}, and now an epoch has "
                f"{len(self)}.\nResume with the data.batch_size that it had; change it at the end of an epoch."
            )
        self.epoch, self.position, self._start = state["epoch"], state["position"], state["position"]


def alone(loader: EpochLoader, samples: int, batch_size: int) -> EpochLoader:
    """A copy that hands out the first samples of each epoch, not only this rank's; the loader stays where it stands."""
    own = copy.copy(loader)
    own.rank, own.world_size, own.workers = 0, 1, 0
    own.edges = [*range(0, min(samples, own.samples), batch_size), min(samples, own.samples)]
    return own


class ImageLoader(EpochLoader):
    """Batches cut from raw uint8 images that lie whole on the device.

    In training each image is shifted by up to `shift` pixels (zero or reflecting `padding`, then a crop), mirrored with
    probability 1/2 where `flip` (`alternating`: in the first epoch; later epochs show the other side in turn, so that
    two of them show both, Jordan 2024, section 3.6), has each of its channels shifted by a normal number times `color`
    standard deviations of all pixels (in the spirit of Krizhevsky et al., 2012, section 4.1), and after normalisation
    loses a square of side `cutout` around a random centre. All random numbers of an epoch are drawn at its start on the
    CPU: every device, and every number of ranks, sees the same.

    Shape: images (N, H, W, 3) uint8, labels (N,) int64; mean and std per channel for pixels in 0..1.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        train: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        shift: int = 0,
        flip: Flip = False,
        padding: Padding = "zero",
        cutout: int = 0,
        color: float = 0.0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(
            len(images), batch_size, train=train, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size
        )
        self.height, self.width = images.shape[1:3]
        self.shift, self.flip, self.cutout = (shift, flip, cutout) if train else (0, False, 0)
        self.color = color if train else 0.0
        self.device = torch.device(device)
        self.labels = labels.to(self.device)
        self.images = _padded(images.to(self.device), self.shift, padding)
        # Row y of an image cropped at column x is one run of 3W bytes, from pixel (y, x) of the padded image on.
        self.runs = self.images.as_strided((self.images.numel() // 3 - self.width + 1, 3 * self.width), (3, 1))
        # for a row of W pixels of 3 channels
        self.scale, self.offset = (part.repeat(self.width) for part in normalisation(mean, std, self.device))

    def draw(self, epoch: int) -> dict[str, Tensor]:
        """An epoch's random numbers by place: `order`, `dy`, `dx`, `flip`, `cut_y`, `cut_x` (N,) and `color` (N, 3)."""
        draws, n = {"order": self.order(epoch)}, self.samples
        if self.train:
            generator = epoch_generator(self.seed, epoch, AUGMENTATION)
            draws["dy"], draws["dx"] = torch.randint(0, 2 * self.shift + 1, (2, n), generator=generator)
            draws["flip"] = torch.randint(0, 2, (n,), generator=generator)
            if self.flip == "alternating":
                sides = torch.randint(0, 2, (n,), generator=epoch_generator(self.seed, 0, SIDES))
                draws["flip"] = sides[draws["order"]] ^ (epoch % 2)
            draws["cut_y"] = torch.randint(0, self.height, (n,), generator=generator)
            draws["cut_x"] = torch.randint(0, self.width, (n,), generator=generator)
        if self.color:
            draws["color"] = self.color * torch.randn(n, 3, generator=generator)
        return {name: values.to(self.device) for name, values in draws.items()}

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        draws = self.draw(epoch)
        for batch in range(start, len(self)):
            yield self._batch({name: values[self.share(batch)] for name, values in draws.items()})

    def _batch(self, draws: dict[str, Tensor]) -> Batch:
        index, n = draws["order"], len(draws["order"])
        pixels = self._crop(index, draws["dy"], draws["dx"]) if self.shift else self.images.index_select(0, index)
        pixels = pixels.view(n, self.height, self.width, 3)
        if self.flip:
            pixels = _mirrored(pixels, draws["flip"])
        rows = pixels.view(n, self.height, self.width * 3)
        images = torch.addcmul(self.offset, rows.float(), self.scale)
        if self.color:
            images += draws["color"].repeat(1, self.width)[:, None, :]
        if self.cutout:
            images.masked_fill_(self._square(draws["cut_y"], draws["cut_x"]), 0.0)
        images = images.view(n, self.height, self.width, 3).permute(0, 3, 1, 2)
        return images, self.labels.index_select(0, index)

    def _crop(self, index: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
        padded_height, padded_width = self.images.shape[1:3]
        row = (index * padded_height + dy)[:, None] + torch.arange(self.height, device=self.device)  # (B, H)
        return self.runs.index_select(0, (row * padded_width + dx[:, None]).view(-1))

    def _square(self, y: Tensor, x: Tensor) -> Tensor:
        """True inside each image's square, (B, H, 3W); it may stand over the border (DeVries & Taylor, 2017)."""
        down = torch.arange(self.height, device=self.device) - (y[:, None] - self.cutout // 2)
        across = torch.arange(self.width, device=self.device) - (x[:, None] - self.cutout // 2)
        rows, columns = ((line >= 0) & (line < self.cutout) for line in (down, across.repeat_interleave(3, dim=1)))
        return rows[:, :, None] & columns[:, None, :]


def _padded(images: Tensor, pad: int, padding: Padding) -> Tensor:
    if not pad:
        return images.contiguous()
    n, height, width, channels = images.shape
    if padding == "reflect" and pad >= min(height, width):
        raise UserError(
            f"data.shift={pad} with data.padding=reflect needs images larger than that, got {height}x{width}"
        )
    padded = images.new_zeros(n, height + 2 * pad, width + 2 * pad, channels)
    padded[:, pad:-pad, pad:-pad] = images
    if padding == "reflect":
        for line in range(pad):  # the border itself is not repeated
            padded[:, line], padded[:, -1 - line] = padded[:, 2 * pad - line], padded[:, line - 2 * pad - 1]
        for line in range(pad):
            padded[:, :, line] = padded[:, :, 2 * pad - line]
            padded[:, :, -1 - line] = padded[:, :, line - 2 * pad - 1]
    return padded


def _mirrored(pixels: Tensor, flip: Tensor) -> Tensor:
    """Whole images picked from the batch and its mirror image: five times as fast as `torch.where` on bytes."""
    n = len(pixels)
    both = torch.cat([pixels, pixels.flip(2)])
    return both.index_select(0, torch.arange(n, device=pixels.device) + n * flip)
