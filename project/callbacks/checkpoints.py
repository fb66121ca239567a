"""Checkpoints from which a killed run goes on, bit for bit: the best, the last, and the one before the last."""

import logging
import math
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from project.callbacks import loop_state
from project.callbacks.checkpoint_files import is_whole
from project.callbacks.monitor import monitor_mode
from project.errors import NeverLogged, Stopped, UserError

log = logging.getLogger(__name__)

# a terminal, a scheduler and a sweep's head each pass a stop on to all processes: what comes so soon is the same one
SECONDS_OF_ONE_STOP = 1.0


def resumable(folder: Path) -> Path | None:
    """The newest whole checkpoint in a run's `checkpoints` folder; none if the run was stopped before its first.

    A damaged one is reported, put aside as `*.damaged`, and the one before it is taken.

    Raises:
        UserError: there are checkpoints, and none to go on from is whole; nothing is touched.
    """
    last, previous = folder / "last.ckpt", folder / "previous.ckpt"
    if last.exists() and is_whole(last):
        return last
    if previous.exists() and is_whole(previous):
        if last.exists():
            aside = last.with_name("last.ckpt.damaged")
            last.replace(aside)
            log.warning("%s is truncated or damaged: put aside as %s, going on from the one before", last, aside.name)
        return previous
    if not last.exists() and not previous.exists():  # killed before the first one had its place
        return next((path for name in ("next.ckpt", "best.ckpt") if is_whole(path := folder / name)), None)
    if any(folder.glob("*.ckpt*")):
        raise UserError(f"no checkpoint to go on from in {folder} is whole, so this run cannot be resumed: start anew")
    return None


def first_stale_sample(checkpoint: dict[str, Any]) -> int:
    """Where the curves of a run that is resumed from `checkpoint` go on: event files hold stale values from there."""
    samples: int = checkpoint.get("samples_seen", 0)
    return samples + 1 if checkpoint.get("position") == "epoch" else samples


class Checkpoints(Checkpoint):
    """Writes `best.ckpt` by `monitor`, and `last.ckpt` after every epoch, every N steps or minutes, and on a stop.

    SIGTERM and Ctrl-C write `last.ckpt` after the step (or in the validation) that they meet, then raise `Stopped`; a
    second one, later than a second, raises it at once. `previous.ckpt` is the one before the last, for when the last is
    damaged.

    Args:
        folder: where the files go.
        monitor: the logged value that `best.ckpt` is chosen by.
        mode: `min` or `max`; None: by the monitor's name.
        every_n_steps: training batches between writes of `last.ckpt` within an epoch; None: never.
        every_n_minutes: minutes between writes of `last.ckpt` within an epoch; None: never.

    Raises:
        ValueError: an interval that is not positive.
        UserError: `monitor` is never logged; a checkpoint cannot be written; a weight is not finite.
    """

    last_asked: ClassVar[int | None] = None  # of any training of this process

    def __init__(
        self,
        folder: str,
        monitor: str,
        mode: Literal["min", "max"] | None = None,
        every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_n_minutes", every_n_minutes)):
            if value is not None and value <= 0:
                raise ValueError(f"callbacks.checkpoints.{name} must be positive, or null for never, got {value}")
        self.folder = Path(folder)
        self.monitor = monitor
        self.mode = monitor_mode(monitor, mode)
        self.every_n_steps = every_n_steps
        self.every_n_seconds = None if every_n_minutes is None else 60 * every_n_minutes
        self.best: float | None = None
        self.best_step = 0
        self.metrics: dict[str, float] = {}  # the latest value of everything that was logged in the whole run
        self._saved_at = time.monotonic()
        self._position: Literal["batch", "validation", "validated", "epoch"] = "epoch"
        self._validated = False
        self._asked: int | None = None  # the signal that asked to stop
        self._asked_at = 0.0
        self._handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step, self.metrics = state_dict["best"], state_dict["best_step"], state_dict["metrics"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        logged = getattr(pl_module, "logged", None)
        if stage == "fit" and logged is not None and self.monitor not in logged:
            raise NeverLogged(
                f"monitor={self.monitor} is never logged by {type(pl_module).__name__}: "
                f"choose one of {', '.join(logged)}"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop_state.restore_loader(trainer)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):  # after Lightning has set its own
                self._handlers[number] = signal.signal(number, self._ask_to_stop)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore_handlers()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._position = "epoch"
        asked = self._agreed(trainer, self._asked is not None)
        if trainer.global_step > 0 or asked:
            self._save_last(trainer)
        if asked:
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.fit_loop.epoch_loop._should_accumulate():
            return  # half-summed gradients are in no checkpoint
        self._position = "batch"
        steps = trainer.fit_loop.total_batch_idx + 1
        due = self.every_n_steps is not None and steps % self.every_n_steps == 0
        stop = False
        # to agree takes several ranks time, so they do it only now and then
        if trainer.world_size == 1 or steps % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            stop = self._agreed(trainer, self._asked is not None)
            if self.every_n_seconds is not None:
                late = time.monotonic() - self._saved_at >= self.every_n_seconds
                due = self._agreed(trainer, late) or due
        if due or stop:
            self._save_last(trainer)  # once, or `previous.ckpt` would be the same
        if stop:
            self._stop(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._position = "validation"

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # several ranks agree at the next training batch
        if self._asked is not None and trainer.state.fn == "fit" and trainer.world_size == 1:
            self._save_last(trainer)
            self._stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._position, self._validated = "validated", True
            self._save_if_best(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor.startswith("train/"):
            self._save_if_best(trainer)
        elif self._validated and self.monitor not in trainer.callback_metrics:
            names = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise UserError(f"monitor={self.monitor} is never logged; what is logged: {names}")
        # Lightning leaves plateau schedules out at the end of an epoch that was resumed
        trainer.fit_loop._restarting = False  # the setter would tell the loops inside that they are restarted

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._position = "epoch"
        self._save_last(trainer)
        if self.best is None:  # nothing to choose by: the last state is the best known
            self._write(trainer, "best.ckpt")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["position"] = self._position
        state = checkpoint["loops"]["fit_loop"]
        if self._position == "epoch":
            loop_state.epoch_begins(state, trainer, _epochs_done(trainer))
        else:
            due = self._position == "validation" or (self._position == "batch" and loop_state.validation_due(trainer))
            loop_state.within_epoch(state, trainer, due, validated=self._position == "validated")

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            if time.monotonic() - self._asked_at < SECONDS_OF_ONE_STOP:
                return
            raise Stopped(f"stopped at once by {signal.Signals(number).name}. {self._how_to_go_on()}", number)
        self._asked, self._asked_at = number, time.monotonic()
        Checkpoints.last_asked = number
        log.info("%s: writing a checkpoint, then stopping (once more: at once)", signal.Signals(number).name)

    def _restore_handlers(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _agreed(self, trainer: Trainer, wish: bool) -> bool:
        """Whether any rank wishes it: what the ranks do together, all of them must begin."""
        return wish if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(wish, all=False)

    def _stop(self, trainer: Trainer) -> None:
        number = self._asked or signal.SIGTERM  # another rank's wish
        raise Stopped(
            f"stopped by {signal.Signals(number).name} at step {trainer.global_step} "
            f"(epoch {trainer.current_epoch}). {self._how_to_go_on()}",
            number,
        )

    def _how_to_go_on(self) -> str:
        return f"To go on: python -m project.train resume={self.folder.parent}"

    def _save_if_best(self, trainer: Trainer) -> None:
        if self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if math.isnan(value):
            return
        if self.best is None or (value < self.best if self.mode == "min" else value > self.best):
            self.best, self.best_step = value, trainer.global_step
            self._write(trainer, "best.ckpt")

    def _save_last(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # curves up to here reach the disk before the state that goes on from here
        self._write(trainer, "next.ckpt")
        if trainer.is_global_zero:
            last, previous = self.folder / "last.ckpt", self.folder / "previous.ckpt"
            if last.exists():
                _duplicate(last, previous)
            (self.folder / "next.ckpt").replace(last)
        self._saved_at = time.monotonic()

    def _write(self, trainer: Trainer, name: str) -> None:
        module = trainer.lightning_module
        weights = [value.detach() for value in (*module.parameters(), *module.buffers()) if value.is_floating_point()]
        if not torch.stack([torch.isfinite(value).all() for value in weights]).all():
            raise UserError(
                f"a weight is NaN or infinite after step {trainer.global_step}: stopped, and no checkpoint was written "
                f"over the good ones in {self.folder}.\nLower optimizer.lr, or set trainer.gradient_clip_val=1."
            )
        self.metrics |= {key: float(value) for key, value in trainer.callback_metrics.items()}
        trainer.save_checkpoint(self.folder / name)


def _epochs_done(trainer: Trainer) -> int:
    return int(trainer.fit_loop.epoch_progress.current.state_dict()["processed"])


def _duplicate(source: Path, target: Path) -> None:
    """`target` becomes `source`, at once, and `source` stays: at no moment is either missing."""
    beside = target.with_name(target.name + ".partial")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:  # file systems without hard links
        shutil.copyfile(source, beside)
    beside.replace(target)
