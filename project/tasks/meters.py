"""Sums kept on the training device: a measure costs a step next to nothing, and nothing is read back."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_PENDING = 256  # batches whose measures are kept as they came


class Meter:
    """Running sums of per-sample measures over an epoch, and over the interval since they were last read.

    Args:
        names: the measures, e.g. `("loss", "accuracy")`; the number of samples is counted beside them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.epoch: Tensor | None = None  # (measures + 1,), the last entry counts samples
        self.interval: Tensor | None = None
        self._pending: list[tuple[list[Tensor], int]] = []

    def add(self, sums: Sequence[Tensor], samples: int) -> None:
        """Add one batch: `sums[i]` is measure i summed over the batch's samples (a scalar each)."""
        self._pending.append(([value.detach() for value in sums], samples))
        if len(self._pending) >= MOST_PENDING:
            self._gather()

    def _gather(self) -> None:
        """Many batches in a few operations, each one added behind the other: the bits don't depend on when."""
        if not self._pending:
            return
        batches, self._pending = self._pending, []
        device = batches[0][0][0].device
        # float64 keeps counts exact and a million losses to nine digits; MPS has none
        dtype = torch.float32 if device.type == "mps" else torch.float64
        columns = [torch.stack([sums[i] for sums, _ in batches]).to(dtype) for i in range(len(self.names))]
        counts = torch.tensor([samples for _, samples in batches], dtype=dtype, device=device)
        rows = torch.stack([*columns, counts], dim=1)  # (batches, measures + 1)
        if self.interval is not None:
            rows = torch.cat([self.interval[None], rows])
        self.interval = rows.cumsum(0)[-1].clone()

    def read_interval(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means since the last call, over all ranks (`reduce` sums a tensor over them); empty without samples."""
        self._gather()
        interval = self.interval
        if interval is None:
            return {}
        self.epoch = interval.clone() if self.epoch is None else self.epoch.add_(interval)
        self.interval = None
        return self._means(reduce(interval.clone()))

    def read_epoch(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means over the whole epoch and all ranks; then the next epoch starts from nothing."""
        self._gather()
        if self.interval is not None:
            self.epoch = self.interval if self.epoch is None else self.epoch.add_(self.interval)
        epoch, self.epoch, self.interval = self.epoch, None, None
        return {} if epoch is None else self._means(reduce(epoch))

    def clear(self) -> None:
        """Forget everything: an epoch that was begun is begun anew."""
        self.epoch = self.interval = None
        self._pending = []

    def state_dict(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """The sums over all ranks, so that a checkpoint can be resumed with any number of them."""
        self._gather()
        sums = {"epoch": self.epoch, "interval": self.interval}
        return {name: reduce(value.clone()) for name, value in sums.items() if value is not None}

    def load_state_dict(self, state: dict[str, Tensor], device: torch.device, first_rank: bool) -> None:
        """The inverse of `state_dict`: the first rank takes the sums, the others zeros, so that all read together."""
        self._pending = []
        own = {name: value.to(device, copy=True) * (1 if first_rank else 0) for name, value in state.items()}
        self.epoch, self.interval = own.get("epoch"), own.get("interval")

    def _means(self, sums: Tensor) -> dict[str, float]:
        *values, samples = sums.tolist()  # the one read from the device
        return {name: value / samples for name, value in zip(self.names, values, strict=True)} if samples else {}
