"""Batches decoded on the fly by worker processes, for images that do not fit into memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from project.data.cache import with_remedy
from project.data.decode import fitted, open_rgb, random_resized_crop
from project.data.loader import SIDES, Batch, EpochLoader, Flip, normalisation
from project.data.workers import in_parallel
from project.errors import UserError

Raw = tuple[np.ndarray, np.ndarray, list[str]]  # images (B, H, W, 3) uint8, the samples' numbers (B,), reasons


class StreamLoader(EpochLoader):
    """Random-resized crops in training, otherwise the resized centre; normalised by the batch on the device.

    What happens to a sample is a function of (seed, epoch, its number): the number of workers and of ranks, and
    the batch at which an epoch was taken up again, make no difference. Images that cannot be read are left out of
    their batch and counted, or with `on_error="raise"` end the run.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor,
        batch_size: int,
        *,
        image_shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        train: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        workers: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
        warn: Callable[[str], None] = print,
        flip: Flip = True,
        color: float = 0.0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(
            len(paths), batch_size, train=train, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size
        )
        self.paths, self.image_shape, self.workers = paths, image_shape, workers
        augmented = train and shuffle
        self.flip, self.color = flip if augmented else False, color if augmented else 0.0
        self.on_error, self.warn, self.device = on_error, warn, torch.device(device)
        self.labels = labels.to(self.device)
        self.scale, self.offset = normalisation(mean, std, self.device)
        self.skipped: set[str] = set()

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for pixels, numbers, reasons in in_parallel(_Decoder(self, epoch), range(start, len(self)), self.workers):
            self._report(reasons, len(numbers))
            rows = torch.from_numpy(pixels).to(self.device).float()
            images = torch.addcmul(self.offset, rows, self.scale)
            if self.color:
                images += self._color(epoch, numbers).to(self.device)[:, None, None, :]
            images = images.permute(0, 3, 1, 2)
            yield images, self.labels.index_select(0, torch.from_numpy(numbers).to(self.device))

    def _color(self, epoch: int, numbers: np.ndarray) -> Tensor:
        """The channels' shifts of these samples in this epoch, (B, 3)."""
        draws = [np.random.default_rng((self.seed, epoch, int(number), 1)).standard_normal(3) for number in numbers]
        return torch.from_numpy(self.color * np.array(draws, dtype=np.float32).reshape(-1, 3))

    def _report(self, reasons: list[str], readable: int) -> None:
        if reasons and self.on_error == "raise":
            raise UserError(with_remedy(reasons[0]))
        if not readable:
            raise UserError(f"Not one image of a batch can be read. The first: {reasons[0]}")
        for reason in set(reasons) - self.skipped:
            self.skipped.add(reason)
            self.warn(f"Left out, {len(self.skipped)} so far: {reason}")


class _Decoder:
    """Item k: this rank's share of the epoch's global batch k, decoded in a worker."""

    def __init__(self, loader: StreamLoader, epoch: int) -> None:
        self.shares = [loader.share(batch) for batch in range(len(loader))]
        self.order = loader.order(epoch).numpy()
        self.paths, self.flip, self.key = loader.paths, loader.flip, (loader.seed, epoch)
        self.train = loader.train and loader.shuffle  # otherwise images as they are
        _, self.height, self.width = loader.image_shape

    def __getitem__(self, batch: int) -> Raw:
        images, numbers, reasons = [], [], []
        for number in self.order[self.shares[batch]]:
            try:
                images.append(self._image(int(number)))
                numbers.append(number)
            except UserError as error:
                reasons.append(str(error))
        pixels = np.array(images, dtype=np.uint8).reshape(-1, self.height, self.width, 3)
        return pixels, np.array(numbers, dtype=np.int64), reasons

    def _image(self, number: int) -> np.ndarray:
        image = open_rgb(self.paths[number])
        if self.train:
            rng = np.random.default_rng((*self.key, number))
            crop = random_resized_crop(image, self.height, self.width, rng, self.flip is True)
            return np.ascontiguousarray(crop[:, ::-1]) if self._turned(number) else crop
        return fitted(image, self.height, self.width)

    def _turned(self, number: int) -> bool:
        """Of alternating sides: mirrored in every other epoch."""
        if self.flip != "alternating":
            return False
        seed, epoch = self.key
        return bool(np.random.default_rng((seed, number, SIDES)).integers(2) ^ (epoch % 2))
