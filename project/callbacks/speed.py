"""How fast a training runs and how much memory it takes, as curves."""

import resource
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

MIB = 2**20


class Speed(Callback):
    """Every `trainer.log_every_n_steps` steps: samples per second, milliseconds per step, memory in MiB.

    Times are means since the last time, without validation. Memory is the process's, and on a GPU also the most that
    tensors took since the training began. Nothing waits for the device: over many steps the mean is right without.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused = monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._began += monotonic() - self._paused

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = trainer.fit_loop.total_batch_idx + 1
        if steps % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        seconds = max(monotonic() - self._began, 1e-9)
        samples: Any = pl_module.samples_seen
        unit = getattr(getattr(trainer, "datamodule", None), "unit", "samples")
        values = {
            f"speed/{unit}_per_second": (samples - self._samples) / seconds,
            "speed/milliseconds_per_step": 1e3 * seconds / (steps - self._steps),
            **memory(trainer.strategy.root_device),
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=samples)
        self._begin(trainer, pl_module)

    def _begin(self, trainer: Trainer, task: Any) -> None:
        self._began, self._samples = monotonic(), task.samples_seen
        self._steps = trainer.fit_loop.total_batch_idx + 1


def memory(device: torch.device) -> dict[str, float]:
    """MiB of this process now (where there is no /proc, the most so far), and the most of tensors on a GPU."""
    try:
        used = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB
    except OSError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 2**10)
    values = {"memory/process_MiB": used}
    if device.type == "cuda":
        values["memory/gpu_peak_MiB"] = torch.cuda.max_memory_allocated(device) / MIB
    return values
