"""Sentences as ids, batched by length; and what all data sets of sentences share."""

import logging
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from project.data.images import stratified_split
from project.data.loader import ORDER, EpochLoader, check_batch_size, epoch_generator
from project.data.module import DataModule, placement, require
from project.errors import UserError

log = logging.getLogger(__name__)

POOL = 50  # batches, about, whose samples are sorted together
PARTS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Sentences:
    """Sentences of ids, one behind the other in one array: sentence i is ids[starts[i]:starts[i + 1]]."""

    ids: np.ndarray  # (M,) int32
    starts: np.ndarray  # (N + 1,) int64

    @classmethod
    def of(cls, sentences: Iterable[Sequence[int] | np.ndarray]) -> "Sentences":
        arrays = [np.asarray(sentence, dtype=np.int32) for sentence in sentences]
        starts = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(np.concatenate([*arrays, np.empty(0, np.int32)]), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        return self.ids[self.starts[number] : self.starts[number + 1]]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) int64."""
        return np.diff(self.starts)

    def padded(self, numbers: np.ndarray, padding: int) -> np.ndarray:
        """These sentences in columns as long as the longest of them, (T, B) int64."""
        lengths = self.lengths[numbers]
        steps = np.arange(lengths.max())[:, None]
        places = np.where(steps < lengths, self.starts[numbers] + steps, -1)  # (T, B)
        return np.where(places < 0, padding, self.ids[places]).astype(np.int64, copy=False)


class Part(Protocol):
    """The samples of a split, of which any can stand together in a batch."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> tuple[np.ndarray, ...]:
        """What samples of a batch should have in common, the most important first; (N,) each."""

    def batch(self, numbers: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        """The samples `numbers`, time-major."""


class SentenceLoader(EpochLoader):
    """Batches of sentences of about the same length, so that little is padding.

    Training: the epoch's shuffled samples are cut into pools of about 50 batches, each pool is sorted by length and
    cut into batches, and these are shuffled. The samples that do not fill the last batch are left out before anything
    is sorted, so that they are any. Otherwise: all samples from the shortest to the longest; `order` tells which
    sample stands where, so that answers can be put back into the file's order.
    """

    def __init__(
        self,
        part: Part,
        batch_size: int,
        *,
        train: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        unit: str = "sentences",
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.part, self.unit, self.device = part, unit, torch.device(device)
        super().__init__(
            len(part), batch_size, train=train, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size
        )

    def order(self, epoch: int) -> Tensor:
        keys = self.part.lengths[::-1]  # `lexsort` wants the most important last
        if not self.train:
            return torch.from_numpy(np.lexsort(keys))
        generator = epoch_generator(self.seed, epoch if self.shuffle else 0, ORDER)
        shuffled = torch.randperm(self.samples, generator=generator).numpy()
        batches, size = len(self), self.batch_size
        kept, left = np.split(shuffled, [batches * size])
        pools = -(-batches // POOL)
        pool = np.arange(len(kept)) // size * pools // batches  # the pool of each place: whole batches, even pools
        rows = kept[np.lexsort((*(key[kept] for key in keys), pool))].reshape(batches, size)
        rows = rows[torch.randperm(batches, generator=generator).numpy()]
        return torch.from_numpy(np.concatenate([rows.ravel(), left]))

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        order = self.order(epoch).numpy()
        for batch in range(start, len(self)):
            yield self.part.batch(order[self.share(batch)], self.device)


def placed(values: np.ndarray, device: torch.device) -> Tensor:
    """An array on the device; a GPU fetches it while the CPU goes on."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class SentenceDataModule(DataModule):
    """A data set of sentences. A family of members gives `make_parts`, `sizes` and `facts`.

    Args:
        batch_size: sentences of a training batch over all processes.
        eval_batch_size: of a batch of validation and test.
        val_fraction: of the training sentences, held out where there is no validation part.
        test_fraction: of the training sentences, held out before that where there is no test part; 0: do without.
        split_seed: which ones are held out.
        seed: the order of the training sentences.
        shuffle: false gives all epochs the order of the first.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    unit = "sentences"

    def __init__(
        self,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        require(batch_size >= 1, "data.batch_size must be at least 1", batch_size)
        require(eval_batch_size >= 1, "data.eval_batch_size must be at least 1", eval_batch_size)
        require(0 < val_fraction < 1, "data.val_fraction must lie between 0 and 1, both excluded", val_fraction)
        require(0 <= test_fraction < 1, "data.test_fraction must be at least 0 (no test) and below 1", test_fraction)
        require(split_seed >= 0, "data.split_seed must be at least 0", split_seed)
        require(seed >= 0, "data.seed must be at least 0", seed)
        self.batch_size, self.eval_batch_size, self.shuffle, self.seed = batch_size, eval_batch_size, shuffle, seed
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.parts: dict[str, Part] = {}

    @abstractmethod
    def make_parts(self) -> dict[str, Part]:
        """`train`, `val`, and `test` where there is one."""

    def setup(self, stage: str | None = None) -> None:
        """Read the data once."""
        self.parts = self.parts or self.make_parts()

    def cut(self, labels: np.ndarray, given: Collection[str]) -> dict[str, np.ndarray]:
        """The numbers of the training samples that stay, and of those held out for the parts that are not `given`.

        Stratified by `labels` (N,); a function of these, the fractions and `split_seed`.

        Raises:
            UserError: a part would have no sample.
        """
        members = {"train": np.arange(len(labels))}
        for split, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if split in given or not fraction:
                continue
            rest = members["train"]
            kept, held = stratified_split(labels[rest], fraction, self.split_seed)
            if not len(held):
                raise UserError(
                    f"The {PARTS[split]} part has no {self.counted}: data.{split}_fraction={fraction} of "
                    f"{len(rest)} rounds to none.\nChoose a larger fraction, or add {self.counted}."
                )
            members["train"], members[split] = rest[kept], rest[held]
        return members

    @property
    def counts(self) -> dict[str, int]:
        return {split: len(self.parts[split]) if split in self.parts else 0 for split in PARTS}

    @property
    def samples_per_batch(self) -> int:
        return self.batch_size

    def check_batch_size(self, ranks: int) -> None:
        """Whether `ranks` processes can share the training batches; a UserError if not."""
        check_batch_size(self.counts["train"], self.batch_size, ranks, self.counted)

    def train_dataloader(self) -> SentenceLoader:
        return self.loader("train", train=True)

    def val_dataloader(self) -> SentenceLoader:
        return self.loader("val")

    def test_dataloader(self) -> SentenceLoader:
        if "test" not in self.parts:
            raise UserError(
                "There is no test part: data.test_fraction=0.\nChoose data.test_fraction=0.1, or test=false."
            )
        return self.loader("test")

    def loader(self, split: str, train: bool = False) -> SentenceLoader:
        """The batches of a part, for the process that asks."""
        return SentenceLoader(
            self.parts[split],
            self.batch_size if train else self.eval_batch_size,
            train=train,
            shuffle=self.shuffle,
            seed=self.seed,
            unit=self.counted,
            **placement(self),
        )

    def say(self, text: str, *values: Any) -> None:
        """A line for people; of several processes one says it."""
        if self.trainer is None or self.trainer.is_global_zero:
            log.info(text, *values)
