"""Batches of text for language models: contiguous streams, each batch where the last one stopped."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from project.data.loader import Batch, EpochLoader, check_batch_size
from project.errors import UserError

IGNORED = -100  # the target where a stream has ended already; what PyTorch's losses leave out


def check_streams(tokens: int, batch_size: int, truncate: int, ranks: int, unit: str) -> None:
    """Whether `tokens` make `batch_size` streams of at least `truncate` steps, and the ranks can share them.

    Raises:
        UserError: says which settings fit.
    """
    check_batch_size(batch_size, batch_size, ranks)  # whether it can be shared, whatever there is
    if tokens > batch_size * truncate:
        return
    streams, steps = (tokens - 1) // truncate // ranks * ranks, (tokens - 1) // batch_size
    fitting = [f"data.batch_size={streams} or less"] if streams > 0 else []
    fitting += [f"data.truncate={steps} or less"] if steps > 0 else []
    fitting = fitting or [f"data.batch_size={ranks} with data.truncate={(tokens - 1) // ranks}"] * (tokens > ranks)
    raise UserError(
        f"The training part has {tokens} {unit}: data.batch_size={batch_size} streams of data.truncate={truncate} "
        f"steps take at least {batch_size * truncate + 1}.\nChoose {', '.join([*fitting, 'or more text'])}."
        if fitting
        else f"The training part has {tokens} {unit}, too few to train on.\nAdd text."
    )


class TextStreams(EpochLoader):
    """The training text, cut into `batch_size` contiguous streams that each walk through the whole text for ever.

    Of N tokens, stream b starts at token b * S, S = N // batch_size. Batch number k, counted over all epochs, gives it
    the `truncate` tokens from b * S + k * truncate on, modulo N, and as targets the token after each: every batch goes
    on exactly where the last one stopped, also from one epoch to the next. An epoch is S // truncate batches.

    Shape: inputs and targets (T, B) int64; a rank has B = batch_size / world_size streams that stand side by side.

    Args:
        ids: the text's tokens, (N,) of any integer type; may be a mapped file.
        batch_size: streams of all ranks together.
        truncate: time steps of a batch.
        shuffle: false gives every epoch the batches of the first.
        played: batches that are taken of each epoch where that is not all of them, so that the next one goes on there.
        unit: what the tokens are, for messages.

    Raises:
        UserError: too few tokens, or streams that the ranks cannot share.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        truncate: int,
        *,
        shuffle: bool = True,
        played: int | None = None,
        unit: str = "tokens",
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        check_streams(len(ids), batch_size, truncate, world_size, unit)
        self.length, self.truncate = len(ids) // batch_size, truncate
        super().__init__(len(ids), batch_size, train=True, shuffle=shuffle, seed=0, rank=rank, world_size=world_size)
        self.ids = np.asarray(ids)  # a plain view: indexing a `np.memmap` itself costs more
        self.played = len(self) if played is None else min(max(played, 1), len(self))
        own = np.arange(batch_size * rank // world_size, batch_size * (rank + 1) // world_size)
        self.steps = np.arange(truncate + 1)[:, None] + own * self.length  # (T + 1, B)
        self.device = torch.device(device)

    def _edges(self) -> list[int]:
        return []  # of a text of any size nothing is listed

    def __len__(self) -> int:
        return self.length // self.truncate

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        first = epoch * self.played if self.shuffle else 0
        for number in range(first + start, first + len(self)):
            block = self.ids[(self.steps + number * self.truncate) % len(self.ids)]
            tokens = _placed(block, self.device)
            yield tokens[:-1], tokens[1:]


class HeldOutStreams(EpochLoader):
    """A held-out text, every token but the first predicted exactly once over all ranks and batches.

    Its N - 1 predictions are cut into contiguous streams that differ in length by one at most; where a short one has
    ended, its target is -100. There are `batch_size` streams, and fewer where the text is too short for `length` steps
    in each. The last batch takes the steps that are left, `length` + 1 of them at most: so every rank has something
    to predict in every batch.

    Shape: inputs and targets (T, B) int64.

    Args:
        ids: the text's tokens, (N,) of any integer type.
        batch_size: streams of all ranks together.
        length: time steps of a batch.

    Raises:
        UserError: fewer predictions than ranks.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        length: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        predictions = len(ids) - 1
        if predictions < world_size:
            raise UserError(
                f"A text of {len(ids)} tokens has too few predictions for {world_size} processes: "
                "evaluate with fewer devices."
            )
        self.streams, self.length = max(world_size, min(batch_size, predictions // length)), length
        super().__init__(
            predictions, self.streams, train=False, shuffle=False, seed=0, rank=rank, world_size=world_size
        )
        borders = predictions * np.arange(self.streams + 1) // self.streams
        first, last = (self.streams * number // world_size for number in (rank, rank + 1))
        self.starts, self.ends = borders[first:last], borders[first + 1 : last + 1]  # (B,)
        self.ids, self.device = np.asarray(ids), torch.device(device)

    def _edges(self) -> list[int]:
        """Batch i holds the steps edges[i]:edges[i + 1] of every stream."""
        shortest, longest = self.samples // self.streams, -(-self.samples // self.streams)
        return [*range(0, shortest, self.length), longest]

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for number in range(start, len(self)):
            steps = np.arange(self.edges[number], self.edges[number + 1])[:, None]
            places = self.starts + steps  # (T, B)
            ended = places >= self.ends
            places[ended] = 0
            inputs, targets = (self.ids[places + shift].astype(np.int64) for shift in (0, 1))
            inputs[ended], targets[ended] = 0, IGNORED
            yield _placed(inputs, self.device), _placed(targets, self.device)


def _placed(ids: np.ndarray, device: torch.device) -> Tensor:
    """The ids as int64 on the device; a GPU fetches them while the CPU goes on."""
    tensor = torch.from_numpy(ids.astype(np.int64, copy=False))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
