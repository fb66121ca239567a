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

    def __init__(self) -> None:
        self._began: float | None = None
        self._kept = {"seconds": 0.0, "samples": 0, "steps": 0}  # when the interval began that a checkpoint interrupted

    def state_dict(self) -> dict[str, Any]:
        seconds = 0.0 if self._began is None else monotonic() - self._began
        return {**self._kept, "seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = dict(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = monotonic() - self._kept["seconds"]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused = monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._began is not None:
            self._began += monotonic() - self._paused

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # before the step and not after the last one, like the task's own curves: see `Task.on_train_batch_start`
        self._log(trainer, pl_module, trainer.fit_loop.total_batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module, trainer.fit_loop.total_batch_idx + 1)

    def _log(self, trainer: Trainer, pl_module: LightningModule, steps: int) -> None:
        if steps == self._kept["steps"] or steps % trainer.log_every_n_steps or self._began is None:  # type: ignore[attr-defined]
            return
        now, samples = monotonic(), int(pl_module.samples_seen)  # type: ignore[arg-type]
        seconds = max(now - self._began, 1e-9)
        unit = getattr(getattr(trainer, "datamodule", None), "unit", "samples")
        values = {
            f"speed/{unit}_per_second": (samples - self._kept["samples"]) / seconds,
            "speed/milliseconds_per_step": 1e3 * seconds / (steps - self._kept["steps"]),
            **memory(trainer.strategy.root_device),
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=samples)
        self._began, self._kept = now, {"seconds": 0.0, "samples": samples, "steps": steps}


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
