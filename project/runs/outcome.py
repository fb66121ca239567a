"""What a finished training comes to: the test of its best checkpoint, and the figures that are kept."""

import logging
import math
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from omegaconf import DictConfig

from project.callbacks.checkpoint_files import load_checkpoint
from project.callbacks.loop_state import completed_epochs
from project.data.module import DataModule
from project.runs.folder import METRICS, write_json

log = logging.getLogger(__name__)


def conclude(cfg: DictConfig, folder: Path, trainer: Trainer, task: LightningModule, data: DataModule) -> float:
    """Test the best checkpoint, write `metrics.json`, say where everything is.

    `train/...` and `val/...` are the last epoch's, `test/...` the best checkpoint's; without a test part there is none.

    Returns:
        The best value of `cfg.monitor`; NaN if it was never measured.
    """
    trainer.strategy.barrier()  # the first rank puts its last checkpoint in place after the others have gone on
    best = folder / "checkpoints" / "best.ckpt"
    last = load_checkpoint(folder / "checkpoints" / "last.ckpt")
    state = last["callbacks"]["Checkpoints"]  # of the whole run, also where this process had nothing left to train
    value = math.nan if state["best"] is None else float(state["best"])
    metrics: dict[str, Any] = {
        # ranks that were forked have trained elsewhere, and left their counters in the checkpoint
        "epochs": max(trainer.current_epoch, completed_epochs(last)),
        "steps": max(trainer.global_step, last["global_step"]),
        "samples": last.get("samples_seen"),
        "monitor": cfg.monitor,
        "best": {"value": value, "step": state["best_step"]},
        **dict(sorted(state["metrics"].items())),
    }
    if cfg.test and data.counts["test"]:
        trainer.test(task, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
        tested = {name: float(number) for name, number in trainer.callback_metrics.items()}
        metrics |= dict(sorted((name, number) for name, number in tested.items() if name.startswith("test/")))
    if trainer.is_global_zero:
        write_json(folder / METRICS, {name: _json(number) for name, number in metrics.items()})
        shown = [f"{name} {number:.4f}" for name, number in metrics.items() if name.startswith("test/")]
        measured = f"best {cfg.monitor} {value:.4f}" if state["best"] is not None else f"{cfg.monitor} never measured"
        log.info("%s | %s", measured, " | ".join(shown) or "not tested")
        log.info("run:         %s", folder)
        log.info("TensorBoard: tensorboard --logdir %s", cfg.outputs)
    return value


def _json(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
