"""What a run needs of every data set, be it of images or of text."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningDataModule


def require(holds: bool, law: str, got: object) -> None:
    """An argument's law, and the value that breaks it."""
    if not holds:
        raise ValueError(f"{law}, got {got}")


class DataModule(LightningDataModule):
    """A data set with its training, validation and test part.

    `unit` names what is counted as a sample: in `samples_seen`, on TensorBoard's x axis and in rates.
    """

    unit: str = "samples"

    @property
    def counted(self) -> str:
        """What `counts` counts, where it is not the unit."""
        return self.unit

    @property
    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """What a network is built from, e.g. `{"num_classes": 10, "image_shape": [3, 32, 32]}`."""

    @property
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Samples of `train`, `val` and `test`; 0 where there is no such part."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """All that it takes to use a trained network without its data, e.g. its classes or its vocabulary."""

    @property
    @abstractmethod
    def samples_per_batch(self) -> int:
        """Samples of a training batch over all processes, or about as many."""

    def content(self, split: str) -> Iterator[bytes]:
        """What tells a part from that of other data, whatever batches and ids are made of it.

        A member that cannot say more gives the number of its samples.
        """
        yield str(self.counts[split]).encode()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Nothing: loaders hand out what the device needs there, and sentences' lengths where packing reads them."""
        return batch

    @abstractmethod
    def check_batch_size(self, ranks: int) -> None:
        """Whether `ranks` processes can share the training batches; a UserError if not."""


def placement(module: LightningDataModule) -> dict[str, Any]:
    """The device, rank and world size of the trainer that the module is attached to; alone: the CPU."""
    trainer = module.trainer
    if trainer is None:
        return {"device": torch.device("cpu"), "rank": 0, "world_size": 1}
    return {"device": trainer.strategy.root_device, "rank": trainer.global_rank, "world_size": trainer.world_size}
