"""Parts that the tests' configs name: a small network with everything that a resumed run can get wrong, and stops."""

import os
import signal
from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from project.tasks.classification import ImageClassifier


class Small(nn.Module):
    """Batch norm has running state, dropout draws random numbers."""

    def __init__(self, image_shape: Sequence[int], num_classes: int, **options: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(image_shape[0], 4, 3, stride=4),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(256, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class SignalAt(Callback):
    """Sends this process a signal at the end of training batch `step`, or in the validation after it."""

    def __init__(self, step: int, signal: int = signal.SIGKILL, validating: bool = False) -> None:
        self.step, self.signal, self.validating = step, signal, validating

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if not self.validating and trainer.fit_loop.total_batch_idx + 1 == self.step:
            os.kill(os.getpid(), self.signal)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if self.validating and trainer.global_step == self.step:
            os.kill(os.getpid(), self.signal)


class SignalInTest(Callback):
    """Sends this process a signal in the test after training."""

    def __init__(self, signal: int) -> None:
        self.signal = signal

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        os.kill(os.getpid(), self.signal)


class Poison(Callback):
    """Makes a weight NaN before training batch `step`, or after it."""

    def __init__(self, step: int, after: bool = False) -> None:
        self.step, self.after = step, after

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if not self.after and trainer.fit_loop.total_batch_idx + 1 == self.step:
            self._poison(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if self.after and trainer.fit_loop.total_batch_idx + 1 == self.step:
            self._poison(pl_module)

    def _poison(self, pl_module: LightningModule) -> None:
        next(pl_module.parameters()).data[0] = float("nan")


class SilentClassifier(ImageClassifier):
    """A task that does not say what it logs."""

    logged = None  # type: ignore[assignment]
