"""How far the run is: samples per second and time left in a terminal, a line per epoch in a log."""

import logging
import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

log = logging.getLogger(__name__)


class Progress(ProgressBar):
    """One bar over the whole training, in samples; after every epoch one line with its figures.

    Args:
        interval: seconds between two drawings of the bar; nothing is read from the device for it.
    """

    def __init__(self, interval: float = 0.5) -> None:
        super().__init__()
        self.interval = interval
        self._bar: tqdm | None = None
        self._enabled = True
        self._epoch_began = 0.0
        self._epoch_samples = 0
        self._finished: str | None = None
        self._validation_began = 0.0
        self._validation_seconds = 0.0
        self._validated = False  # in this epoch

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_epoch(pl_module)
        if self._enabled and trainer.is_global_zero and sys.stderr.isatty():
            batch = getattr(getattr(trainer, "datamodule", None), "samples_per_batch", 1)
            steps = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
            total = None if steps == float("inf") else int(steps * batch)
            self._bar = tqdm(
                total=total,
                initial=_seen(pl_module),
                unit=f" {_unit(trainer)}",
                unit_scale=True,
                mininterval=self.interval,
                dynamic_ncols=True,
                leave=False,
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer)
        self._begin_epoch(pl_module)
        if self._bar is not None:
            self._bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs or '?'}", refresh=False)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None:
            self._bar.update(_seen(pl_module) - self._bar.n)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_began = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_seconds += time.monotonic() - self._validation_began
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = max(time.monotonic() - self._epoch_began - self._validation_seconds, 1e-9)
        rate = (_seen(pl_module) - self._epoch_samples) / seconds
        self._finished = f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}  {rate:,.0f} {_unit(trainer)}/s"

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _tell(self, trainer: Trainer) -> None:
        """The line of the epoch before; at its own end the training measures are not known yet."""
        if self._finished is None or not trainer.is_global_zero:
            return
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items()) if "top5" not in name}
        if not self._validated:  # what is there is an earlier epoch's
            values = {name: value for name, value in values.items() if not name.startswith("val/")}
        if self._bar is not None:
            self._bar.clear()
        log.info("%s  %s", self._finished, "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
        self._finished = None

    def _begin_epoch(self, pl_module: LightningModule) -> None:
        self._epoch_began, self._epoch_samples = time.monotonic(), _seen(pl_module)
        self._validation_seconds, self._validated = 0.0, False

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _seen(pl_module: LightningModule) -> int:
    return getattr(pl_module, "samples_seen", 0)


def _unit(trainer: Trainer) -> str:
    return getattr(getattr(trainer, "datamodule", None), "unit", "samples")
