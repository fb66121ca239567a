"""Work for several processes, answered in order."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch.utils.data import DataLoader

Answer = TypeVar("Answer", covariant=True)


class Tasks(Protocol[Answer]):
    """Answers by number; it travels to the workers, and the answers back (NumPy arrays through pipes, in any size)."""

    def __getitem__(self, number: int, /) -> Answer: ...


def in_parallel(tasks: Tasks[Answer], numbers: Sequence[int], workers: int) -> Iterator[Answer]:
    """`tasks[number]` for each number in turn; with no workers, here. The workers end when this process does."""
    return iter(
        DataLoader(
            tasks,  # type: ignore[arg-type]
            batch_size=None,
            sampler=numbers,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # the global one must stand where it stood, whatever is decoded
        )
    )


def _as_it_is(answer: Answer) -> Answer:  # type: ignore[misc]
    return answer
