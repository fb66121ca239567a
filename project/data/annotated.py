"""Images with several sequences each, such as captions, or questions and their answers."""

import logging
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.images import stratified_split
from project.data.loader import ImageLoader, Padding, alone, check_batch_size
from project.data.module import DataModule, placement, require
from project.data.pictures import Split, mean_and_std
from project.data.sentences import PARTS, Sentences, placed
from project.errors import UserError

log = logging.getLogger(__name__)
PAD = 1  # as in `project.data.subwords`, which needs tokenizers

# images (B, 3, H, W) float32 channels_last, ids (T, M) int64 padded with 1, lengths (M,) on the CPU, owner (M,): the
# row of the batch's image that each sequence belongs to, ascending, and then `labels`, each (M,) or (M, K), of the part
AnnotatedBatch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Annotated:
    """N images, and the sequences of each, which stand side by side.

    `images` (M, H, W, 3) uint8 may be the whole data set's: image i is images[rows[i]], and its sequences are numbers
    first[i] up to first[i] + count[i] of `sequences`, at least one. `labels` are what else is known of each sequence,
    such as its answer.
    """

    images: np.ndarray
    rows: np.ndarray  # (N,)
    sequences: Sentences  # S of them
    first: np.ndarray  # (N,) int64
    count: np.ndarray  # (N,) int64
    labels: tuple[np.ndarray, ...] = ()  # each (S,) or (S, K)

    @classmethod
    def whole(
        cls,
        images: np.ndarray,
        sequences: Sentences,
        count: np.ndarray,
        labels: tuple[np.ndarray, ...] = (),
        rows: np.ndarray | None = None,
    ) -> "Annotated":
        """Images whose sequences stand in their order: the first count[0] belong to the first of them, and so on.

        Raises:
            ValueError: counts below 1, or that do not add up to the sequences.
        """
        count = np.asarray(count, np.int64)
        require(bool((count >= 1).all()), "every image must have at least one sequence", count.min(initial=1))
        require(int(count.sum()) == len(sequences), f"{count.sum()} sequences are counted", len(sequences))
        return cls(
            images, np.arange(len(count)) if rows is None else rows, sequences, np.cumsum(count) - count, count, labels
        )

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, members: np.ndarray) -> "Annotated":
        """The images `members`, with their sequences."""
        return Annotated(
            self.images, self.rows[members], self.sequences, self.first[members], self.count[members], self.labels
        )

    def numbers(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sequences of the images `members` (B,), and each one's place in `members`, (M,) both."""
        count = self.count[members]
        owner = np.repeat(np.arange(len(members)), count)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        return self.first[members][owner] + within, owner

    def batch(self, members: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        """What follows the images in a batch: ids (T, M), lengths (M,) on the CPU, owner (M,), then the labels."""
        numbers, owner = self.numbers(members)
        lengths = torch.from_numpy(self.sequences.lengths[numbers])
        ids = placed(self.sequences.padded(numbers, PAD), device)
        return ids, lengths, placed(owner, device), *(placed(own[numbers], device) for own in self.labels)


class AnnotatedLoader(ImageLoader):
    """Batches of images, each with all its sequences, so that an encoder of images runs once for each image.

    `order` and `share` count images; what is done to images in training is `ImageLoader`'s.
    """

    def __init__(self, part: Annotated, batch_size: int, **common: Any) -> None:
        pixels = torch.from_numpy(part.images[part.rows])
        super().__init__(pixels, torch.arange(len(part)), batch_size, **common)
        self.part = part

    def batches(self, epoch: int, start: int) -> Iterator[AnnotatedBatch]:  # type: ignore[override]
        order = self.order(epoch).numpy()
        for batch, (images, _) in enumerate(super().batches(epoch, start), start):
            yield images, *self.part.batch(order[self.share(batch)], self.device)


class AnnotatedDataModule(DataModule):
    """A data set of images in memory, each with several sequences. A member gives `make_parts`, `sizes` and `facts`.

    After `setup`: `parts`, `image_shape`, `mean` and `std` per channel for pixels in 0..1, measured on the training
    images. Batches are `AnnotatedBatch`es on the trainer's device; `batch_size` counts images and is shared among its
    processes.

    Args:
        batch_size: images of a training batch over all processes.
        eval_batch_size: of a batch of validation and test.
        val_fraction: of the training images, held out where there is no validation part.
        split_seed: which ones are held out.
        seed: the order of the training images, and what is done to them.
        shift: pixels that a training image is shifted by, at most.
        flip: half of the training images are mirrored, which makes "left of" false.
        padding: what a shift brings in.
        shuffle: false gives all epochs the batches of the first, with the images as they are.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    unit = "images"

    def __init__(
        self,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        seed: int = 0,
        shift: int = 2,
        flip: bool = False,
        padding: Padding = "zero",
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        require(batch_size >= 1, "data.batch_size must be at least 1", batch_size)
        require(eval_batch_size >= 1, "data.eval_batch_size must be at least 1", eval_batch_size)
        require(0 < val_fraction < 1, "data.val_fraction must lie between 0 and 1, both excluded", val_fraction)
        require(split_seed >= 0, "data.split_seed must be at least 0", split_seed)
        require(seed >= 0, "data.seed must be at least 0", seed)
        require(shift >= 0, "data.shift must be at least 0 pixels", shift)
        require(flip in (True, False), "data.flip must be true or false", flip)
        require(padding in ("zero", "reflect"), "data.padding must be zero or reflect", padding)
        self.batch_size, self.eval_batch_size, self.val_fraction = batch_size, eval_batch_size, val_fraction
        self.split_seed, self.seed, self.shuffle = split_seed, seed, shuffle
        self.shift, self.flip, self.padding = shift, flip, padding
        self.parts: dict[str, Annotated] = {}
        self.image_shape: list[int] = []
        self.mean: list[float] = []
        self.std: list[float] = []

    @abstractmethod
    def make_parts(self) -> dict[str, Annotated]:
        """`train`, `val`, and `test` where there is one."""

    def setup(self, stage: str | None = None) -> None:
        """Read the data once, and measure the training images."""
        if self.parts:
            return
        parts = self.make_parts()
        train = parts["train"]
        self.image_shape = [3, *train.images.shape[1:3]]
        self.mean, self.std = mean_and_std(Split(train.images, train.rows, train.rows))
        self.parts = parts

    def held_out(self, images: int) -> tuple[np.ndarray, np.ndarray]:
        """Of so many training images the sorted numbers of those that stay, and of those held out for validation.

        Raises:
            UserError: none would be held out.
        """
        kept, held = stratified_split(np.zeros(images, np.int64), self.val_fraction, self.split_seed)
        if not len(held):
            raise UserError(
                f"The validation part has no images: data.val_fraction={self.val_fraction} of {images} rounds to "
                "none.\nChoose a larger fraction, or add images."
            )
        return kept, held

    @property
    def counts(self) -> dict[str, int]:
        return {split: len(self.parts[split]) if split in self.parts else 0 for split in PARTS}

    @property
    def sizes(self) -> dict[str, Any]:
        """What a network is built from; a member adds its vocabulary."""
        return {"image_shape": list(self.image_shape)}

    @property
    def facts(self) -> dict[str, Any]:
        """The mean and standard deviation of each channel for pixels in 0..1; a member adds its vocabulary."""
        return {"mean": [float(value) for value in self.mean], "std": [float(value) for value in self.std]}

    @property
    def samples_per_batch(self) -> int:
        return self.batch_size

    def check_batch_size(self, ranks: int) -> None:
        """Whether `ranks` processes can share the training batches; a UserError if not."""
        check_batch_size(self.counts["train"], self.batch_size, ranks)

    def train_dataloader(self) -> AnnotatedLoader:
        return self.loader(self.parts["train"], train=True)

    def val_dataloader(self) -> AnnotatedLoader:
        return self.loader(self.parts["val"])

    def test_dataloader(self) -> AnnotatedLoader:
        if "test" not in self.parts:
            raise UserError("These data have no test part.\nChoose test=false.")
        return self.loader(self.parts["test"])

    def places(self, split: str, count: int) -> np.ndarray:
        """The numbers of at most `count` images of a part, evenly spread over it: the same ones whenever asked."""
        images = len(self.parts[split])
        return np.linspace(0, images - 1, min(count, images)).round().astype(int)

    def examples(self, split: str, count: int, batch_size: int = 64) -> Iterator[AnnotatedBatch]:
        """Batches of the images at `places`, as evaluation sees them, for each process alone."""
        chosen = self.places(split, count)
        ranks = placement(self)["world_size"]
        loader = self.loader(self.parts[split].part(np.resize(chosen, max(len(chosen), ranks))))  # no loader takes less
        yield from alone(loader, len(chosen), batch_size).batches(0, 0)

    def loader(self, part: Annotated, train: bool = False) -> AnnotatedLoader:
        """The batches of a part, for the process that asks."""
        augmentation = {"shift": self.shift, "flip": self.flip, "padding": self.padding} if self.shuffle else {}
        return AnnotatedLoader(
            part,
            self.batch_size if train else self.eval_batch_size,
            mean=self.mean,
            std=self.std,
            train=train,
            shuffle=self.shuffle,
            seed=self.seed,
            **augmentation,
            **placement(self),
        )

    def say(self, text: str, *values: Any) -> None:
        """A line for people; of several processes one says it."""
        if self.trainer is None or self.trainer.is_global_zero:
            log.info(text, *values)
