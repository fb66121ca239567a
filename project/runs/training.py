"""From a config to a trained, tested network: the one way that a command, a test, a notebook and a sweep go."""

import json
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from omegaconf import DictConfig, OmegaConf, open_dict

from project.callbacks.checkpoint_files import AtomicCheckpointIO, load_checkpoint
from project.callbacks.checkpoints import Checkpoints, first_stale_sample, resumable
from project.callbacks.hparams import HParams
from project.callbacks.loop_state import completed_epochs, restore_loader
from project.callbacks.tensorboard import RunLogger
from project.data.module import DataModule
from project.distributed.company import Company, Watching, silent, together
from project.distributed.strategies import arrange
from project.errors import Stopped, UserError
from project.machine import usable_cores
from project.nets.kernels import has_bf16
from project.runs.building import build, build_data, build_task
from project.runs.compilation import settle_compilation
from project.runs.encoder import start_encoder
from project.runs.folder import CONFIG, DATA, discard, find_run, held, logged_to, make_folder, save_config, write_json
from project.runs.lean import NoProfiler, spare_idle_hooks, without_gpus
from project.runs.outcome import conclude
from project.runs.provenance import record
from project.runs.quiet import explained, quiet
from project.runs.speed import keep_buffers, lay_out, settle_precision
from project.runs.trained import check_unchanged
from project.stops import heard_by

log = logging.getLogger(__name__)


def run_training(cfg: DictConfig, watchers: Sequence[Callback] = ()) -> float:
    """Train, test the best checkpoint, write the run's folder; or go on with the run that `cfg.resume` names.

    Args:
        cfg: a composed `conf/train.yaml`; of a run that is resumed, its own `config.yaml` with `resume` set.
        watchers: callbacks beside those of the config; they hear of everything first.

    Returns:
        The best value of `cfg.monitor`, or NaN if it was never measured; of a range test, the proposed learning rate.

    Raises:
        UserError: a mistake in the config or the data, or something that the machine lacks.
        Stopped: SIGTERM or Ctrl-C; the run can be resumed.
        LostRank: another process of a distributed training is gone; the run can be resumed.
    """
    cfg = cfg.copy()
    _check_seed(cfg.seed)
    with together(cfg) as company:
        if not company.first:
            cfg.folder = str(company.share(Path))
            with silent(), quiet():
                return _train(cfg, Path(cfg.folder), watchers, company)
        resumed = cfg.resume is not None
        folder = company.share(lambda: find_run(str(cfg.resume), cfg.outputs) if resumed else make_folder(cfg))
        cfg.folder = str(folder)
        try:
            with held(folder), logged_to(folder / "train.log"), quiet(), _stoppable(folder):
                return _train(cfg, folder, watchers, company)
        except BaseException:
            if not resumed and not (folder / CONFIG).exists():
                discard(folder)  # it had not begun to train
            raise


def _train(cfg: DictConfig, folder: Path, watchers: Sequence[Callback], company: Company) -> float:
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    seed_everything(cfg.seed, workers=False, verbose=False)
    data = build_data(cfg)
    if cfg.resume is not None and (folder / DATA).exists():
        check_unchanged(folder, json.loads((folder / DATA).read_text(encoding="utf-8")), data)
    with open_dict(cfg):
        cfg.sizes = data.sizes
    device, precision = settle_precision(cfg)
    if device.type == "cpu":
        keep_buffers()
        without_gpus()
    task = build_task(cfg)
    if cfg.resume is None:
        start_encoder(cfg, task, data)
    lay_out(task.net, cfg.get("channels_last", True))
    path = resumable(folder / "checkpoints") if cfg.resume is not None else None
    checkpoint = None if path is None else _fitting(path, task)
    beginning = Beginning(cfg, folder, data, path, precision)
    trainer = build_trainer(cfg, checkpoint, [*watchers, beginning], device.type, [Watching(company)])
    data.check_batch_size(trainer.world_size)
    company.expect(trainer)
    forks = device.type == "cuda" and isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)
    if "bf16" in str(trainer.precision) and not forks and not has_bf16(trainer.strategy.root_device):
        log.warning(
            "trainer.precision=%s: this processor has no instructions for bfloat16, and takes many times as long as "
            "with trainer.precision=32-true",
            trainer.precision,
        )
    if checkpoint is not None:
        _say_if_over(trainer, checkpoint)
    del checkpoint
    settle_compilation(cfg, task, data, device, trainer.strategy)
    spare_idle_hooks(trainer, task)
    try:
        if cfg.lr_find and trainer.world_size > 1:
            raise UserError("lr_find=true takes one process: trainer.devices=1 trainer.num_nodes=1")
        if cfg.lr_find:
            from project.runs.lr_find import find_learning_rate  # matplotlib

            record(folder, cfg)
            return find_learning_rate(trainer, task, data, folder)
        with explained():
            trainer.fit(task, datamodule=data, ckpt_path=path, weights_only=True)
        value = conclude(cfg, folder, trainer, task, data)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, HParams):
                callback.on_run_end(trainer)
        return value
    finally:
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.close()


class Beginning(Callback):
    """Once nothing has been found wrong with a training: records it, and says what is trained and where."""

    def __init__(
        self, cfg: DictConfig, folder: Path, data: DataModule, checkpoint: Path | None, precision: str
    ) -> None:
        self.cfg, self.folder, self.data, self.checkpoint, self.precision = cfg, folder, data, checkpoint, precision

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        restore_loader(trainer)  # the last thing that can be found wrong: another number of batches
        if not trainer.is_global_zero:
            return
        save_config(self.cfg, self.folder) if self.cfg.resume is not None else record(self.folder, self.cfg)
        record_data(self.folder, self.data)
        parameters = sum(parameter.numel() for parameter in pl_module.parameters())
        what = f"{self.cfg.name}: {parameters:,} parameters, {self.data.counts['train']:,} training {self.data.counted}"
        log.info("%s on %s -> %s", what, trainer.strategy.root_device, self.folder)
        if self.precision:
            log.info(self.precision)
        every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs or -1
        if every is not None and epochs > 0 and epochs % every and trainer.enable_validation:
            log.warning(
                "trainer.max_epochs=%d is no multiple of trainer.check_val_every_n_epoch=%d: the network of the last "
                "epochs is not validated, and not the one that is tested",
                epochs,
                every,
            )
        if self.checkpoint is not None:
            log.info("going on at step %d from %s", trainer.global_step, self.checkpoint)


def build_trainer(
    cfg: DictConfig,
    checkpoint: dict[str, Any] | None,
    callbacks: list[Callback],
    accelerator: str = "cpu",
    last: Sequence[Callback] = (),
) -> Trainer:
    """Lightning's Trainer with the config's callbacks and logger; its curves go on where `checkpoint` ends.

    Args:
        cfg: of the run.
        checkpoint: what is resumed.
        callbacks: hear of everything before those of the config.
        accelerator: the type of the device.
        last: callbacks that hear of everything after them.

    Raises:
        UserError: an argument that Lightning refuses, e.g. devices that this machine does not have.
    """
    if cfg.trainer.max_epochs == 0 or cfg.trainer.max_steps == 0:
        raise UserError("trainer.max_epochs=0 and trainer.max_steps=0 leave nothing to train: choose at least 1")
    if cfg.trainer.log_every_n_steps < 1:
        raise UserError(f"trainer.log_every_n_steps must be at least 1, got {cfg.trainer.log_every_n_steps}")
    callbacks = callbacks + [build(callback) for callback in (cfg.callbacks or {}).values() if callback is not None]
    if not any(isinstance(callback, Checkpoints) for callback in callbacks):
        raise UserError(
            "the callbacks hold no checkpoints, without which a run can be neither tested nor resumed.\n"
            "default_callbacks=none has them and little else; callbacks.checkpoints says how often they are written."
        )
    purge_step = None
    if cfg.resume is not None:
        purge_step = 0 if checkpoint is None else first_stale_sample(checkpoint)
    logger = build(cfg.logger, purge_step=purge_step) if cfg.logger is not None else False
    distributed, plugins = arrange(cfg, accelerator)
    arguments = {"callbacks": [*callbacks, *last], "logger": logger, "plugins": [AtomicCheckpointIO(), *plugins]}
    if cfg.trainer.get("profiler") is None:
        arguments["profiler"] = NoProfiler()
    wanted = f"trainer.accelerator={cfg.trainer.get('accelerator')} trainer.devices={cfg.trainer.get('devices')}"
    cores = usable_cores()
    has = f"The config says {wanted}; this machine has {torch.cuda.device_count()} CUDA devices, {cores} CPU cores."
    try:
        trainer: Trainer = build(_of_lightning(cfg.trainer), **arguments, **distributed, default_root_dir=cfg.folder)
    except UserError as error:
        told = str(error).removeprefix(f"{Trainer.__module__}.{Trainer.__qualname__}: ")
        raise UserError(f"{told}\n{has}") from error
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > cores:
        log.warning("more processes than cores, which wait for each other. %s", has)
    return trainer


def _of_lightning(trainer: DictConfig) -> DictConfig:
    """Without what is the strategy's; made anew, because Hydra 1.4 reads from a copy's origin."""
    values: Any = OmegaConf.to_container(trainer, resolve=True)
    values.pop("timeout", None)
    if values.get("deterministic") is False and not torch.are_deterministic_algorithms_enabled():
        del values["deterministic"]  # it is off; to be told so, torch imports its compiler
    return OmegaConf.create(values)


def record_data(folder: Path, data: DataModule) -> None:
    """`data.json`: what the network was sized by, so that the run can be used without its data."""
    write_json(
        folder / DATA,
        {
            "sizes": data.sizes,
            "unit": data.unit,
            "counts": data.counts,
            **data.facts,
        },
    )


def _check_seed(seed: Any) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed}")


def _fitting(path: Path, task: LightningModule) -> dict[str, Any]:
    """The checkpoint, once its weights have been seen to fit the network."""
    checkpoint = load_checkpoint(path)
    try:
        task.load_state_dict(checkpoint["state_dict"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit the network of the config: {reason}") from error
    return checkpoint


def _say_if_over(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """A resumed run that its limits leave nothing to train is tested again, and that is not all that one may expect."""
    steps, epochs = checkpoint["global_step"], completed_epochs(checkpoint)
    for limit, done, most in (("max_steps", steps, trainer.max_steps), ("max_epochs", epochs, trainer.max_epochs)):
        if most is not None and 0 < most <= done:
            unlimited = " (-1: no limit)" if limit == "max_steps" else ""
            log.info("nothing is left to train: trainer.%s=%d is reached; choose more%s", limit, most, unlimited)


@contextmanager
def _stoppable(folder: Path) -> Iterator[None]:
    """SIGTERM and Ctrl-C end with `Stopped`; while the network is trained, the checkpoints' own handlers stand here."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker process that was forked from this one
            os._exit(128 + number)
        can_go_on = (folder / "checkpoints" / "last.ckpt").exists()
        how = f"To go on: python -m project.train resume={folder}" if can_go_on else "Nothing was trained yet."
        raise Stopped(f"stopped by {signal.Signals(number).name}. {how}", number)

    with heard_by(stop):
        yield
