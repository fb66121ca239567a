"""From a config to a trained, tested network: the one way that a command, a test, a notebook and a sweep go."""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, open_dict

from project.callbacks.checkpoint_files import AtomicCheckpointIO, load_checkpoint
from project.callbacks.checkpoints import first_stale_sample, resumable
from project.data.images import ImageDataModule
from project.errors import UserError
from project.runs.building import build, build_data
from project.runs.folder import (
    DATA,
    METRICS,
    discard,
    find_run,
    held,
    logged_to,
    make_folder,
    save_config,
    write_json,
)
from project.runs.lr_find import find_learning_rate
from project.runs.provenance import hardware, record

log = logging.getLogger(__name__)
_HINTS = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*available but not used.*",
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
)
FOLDER_OF_RANK_0 = "PROJECT_RUN_FOLDER"  # tells the processes that a distributed run starts where it writes


def run_training(cfg: DictConfig) -> float:
    """Train, test the best checkpoint, write the run's folder; or go on with the run that `cfg.resume` names.

    Args:
        cfg: a composed `conf/train.yaml`; of a run that is resumed, its own `config.yaml` with `resume` set.

    Returns:
        The best value of `cfg.monitor`; NaN if it was never measured.

    Raises:
        UserError: a mistake in the config or the data, or something that the machine lacks.
        Stopped: SIGTERM or Ctrl-C; the run can be resumed.
    """
    cfg = cfg.copy()
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 and FOLDER_OF_RANK_0 in os.environ:
        cfg.folder = os.environ[FOLDER_OF_RANK_0]
        with quiet():
            return _train(cfg, Path(cfg.folder))
    resumed = cfg.resume is not None
    folder = find_run(str(cfg.resume), cfg.outputs) if resumed else make_folder(cfg)
    cfg.folder = os.environ[FOLDER_OF_RANK_0] = str(folder)
    try:
        with held(folder), logged_to(folder / "train.log"), quiet():
            return _train(cfg, folder)
    except BaseException:
        if not resumed and not any(folder.glob("checkpoints/*.ckpt")):
            discard(folder)  # nothing was trained
        raise
    finally:
        os.environ.pop(FOLDER_OF_RANK_0, None)


def _train(cfg: DictConfig, folder: Path) -> float:
    seed_everything(cfg.seed, workers=False, verbose=False)
    data = build_data(cfg)
    with open_dict(cfg):
        cfg.sizes = data.sizes
    task = build(cfg.model, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler))
    checkpoint = resumable(folder / "checkpoints") if cfg.resume is not None else None
    trainer = build_trainer(cfg, checkpoint, [Announcement(f"{cfg.name}: {_facts(task, data)}", folder, checkpoint)])
    if trainer.is_global_zero:
        save_config(cfg, folder) if cfg.resume is not None else record(folder, cfg)
        record_data(folder, data)
    if cfg.lr_find:
        return find_learning_rate(trainer, task, data, folder)
    with _explained():
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return _finish(cfg, folder, trainer, task, data)


class Announcement(Callback):
    """Says what is trained and where, once nothing has been found wrong with it."""

    def __init__(self, what: str, folder: Path, checkpoint: Path | None) -> None:
        self.what, self.folder, self.checkpoint = what, folder, checkpoint

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        log.info("%s on %s -> %s", self.what, trainer.strategy.root_device, self.folder)
        if self.checkpoint is not None:
            log.info("going on at step %d from %s", trainer.global_step, self.checkpoint)


def _facts(task: LightningModule, data: ImageDataModule) -> str:
    parameters = sum(parameter.numel() for parameter in task.parameters())
    return f"{parameters:,} parameters, {data.counts['train']:,} training images"


def build_trainer(cfg: DictConfig, checkpoint: Path | None, callbacks: list[Callback]) -> Trainer:
    """Lightning's Trainer with the config's callbacks and logger; its curves go on where `checkpoint` ends.

    Raises:
        UserError: Lightning refuses an argument, e.g. devices that this machine does not have.
    """
    callbacks = callbacks + [build(callback) for callback in (cfg.callbacks or {}).values() if callback is not None]
    purge_step = None
    if cfg.resume is not None:
        purge_step = 0 if checkpoint is None else first_stale_sample(load_checkpoint(checkpoint))
    logger = build(cfg.logger, purge_step=purge_step) if cfg.logger is not None else False
    arguments = {"callbacks": callbacks, "logger": logger, "plugins": [AtomicCheckpointIO()]}
    try:
        return build(cfg.trainer, **arguments, default_root_dir=cfg.folder)
    except UserError as error:
        wanted = f"trainer.accelerator={cfg.trainer.get('accelerator')} trainer.devices={cfg.trainer.get('devices')}"
        has = f"{torch.cuda.device_count()} CUDA devices, {hardware()['cores']} CPU cores"
        raise UserError(f"{error}\nThe config says {wanted}; this machine has {has}.") from error


def _finish(cfg: DictConfig, folder: Path, trainer: Trainer, task: LightningModule, data: ImageDataModule) -> float:
    """Test the best checkpoint, write `metrics.json`, say where everything is."""
    best = folder / "checkpoints" / "best.ckpt"
    metrics: dict[str, Any] = {
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "samples": getattr(task, "samples_seen", None),
        "monitor": cfg.monitor,
    }
    state = load_checkpoint(best)["callbacks"].get("Checkpoints", {})
    value = float("nan") if state.get("best") is None else float(state["best"])
    metrics["best"] = {"value": value, "step": state.get("best_step")}
    metrics |= {name: float(number) for name, number in sorted(trainer.callback_metrics.items())}
    if cfg.test:
        trainer.test(task, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
        metrics |= {name: float(number) for name, number in sorted(trainer.callback_metrics.items())}
    if trainer.is_global_zero:
        write_json(folder / METRICS, {name: _json(number) for name, number in metrics.items()})
        shown = [f"{name} {number:.4f}" for name, number in metrics.items() if name.startswith("test/")]
        log.info("best %s %.4f | %s", cfg.monitor, value, " | ".join(shown) or "not tested")
        log.info("run:         %s", folder)
        log.info("TensorBoard: tensorboard --logdir %s", cfg.outputs)
    return value


def record_data(folder: Path, data: ImageDataModule) -> None:
    """`data.json`: what the network was sized by, so that the run can be used without its data."""
    write_json(
        folder / DATA,
        {
            "sizes": data.sizes,
            "classes": list(data.classes),
            "mean": [float(value) for value in data.mean],
            "std": [float(value) for value in data.std],
            "counts": data.counts,
        },
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the hints that Lightning and torch give on every start."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for text in _HINTS:
            warnings.filterwarnings("ignore", message=text)
        yield
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


@contextmanager
def _explained() -> Iterator[None]:
    """Lightning's refusal of a configuration as a person's mistake."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error


def _json(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
