"""The same training as one writes it by hand, or with Lightning alone, for the benchmarks to compare with."""

import io
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

from project.benchmarks.measuring import finish
from project.runs.building import build
from project.runs.quiet import quiet
from project.runs.speed import keep_buffers
from project.tasks.schedules import Schedule, Steps

Net = Callable[[DictConfig], nn.Module]
Kind = Literal["usual", "lean"]


class Bare:
    """What somebody writes who needs no framework."""

    def __init__(self, cfg: DictConfig, net: Net, batches: Any, plain: bool, device: str) -> None:
        self.plain, self.device = plain, device
        layout = torch.contiguous_format if plain else torch.channels_last
        self.net = net(cfg).to(device).to(memory_format=layout)
        self.cfg, self.smoothing = cfg, cfg.model.label_smoothing
        self.bf16 = not plain and cfg.trainer.precision == "bf16-mixed"
        self.batches = [(images.contiguous(), labels) for images, labels in batches] if plain else batches

    def __call__(self) -> float:
        keep_buffers(not self.plain)
        optimizer, schedule = _optimized(self.net, self.cfg, len(self.batches))
        start = time.perf_counter()
        for images, labels in self.batches:
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
                loss = F.cross_entropy(self.net(images), labels, label_smoothing=self.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule["scheduler"].step()
        finish()
        return time.perf_counter() - start


def _optimized(net: nn.Module, cfg: DictConfig, steps: int) -> tuple[Optimizer, Schedule]:
    """The optimizer of the config, with its schedule over one epoch of so many steps."""
    optimizer = build(cfg.optimizer)([parameter for parameter in net.parameters() if parameter.requires_grad])
    return optimizer, build(cfg.scheduler)(optimizer, Steps(steps, steps))


class Watch(Callback):
    """From before the first batch to the end of the last, without the Trainer's own start and end."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        finish()
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.seconds:
            finish()
            self.seconds = time.perf_counter() - self._start


class Lean(LightningModule):
    """A loss, an optimizer and its schedule: there is nothing less."""

    def __init__(self, net: nn.Module, cfg: DictConfig, steps: int) -> None:
        super().__init__()
        self.net, self.cfg, self.steps = net, cfg, steps

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.answered(batch)[1]

    def answered(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        logits = self.net(images)
        return logits, F.cross_entropy(logits, labels, label_smoothing=self.cfg.model.label_smoothing)

    def configure_optimizers(self) -> Any:
        optimizer, schedule = _optimized(self.net, self.cfg, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Usual(Lean):
    """Loss, accuracy and top-5 accuracy by torchmetrics and `self.log`, by the step and by the epoch."""

    def __init__(self, net: nn.Module, cfg: DictConfig, steps: int) -> None:
        super().__init__(net, cfg, steps)
        self.accuracy, self.top5 = (MulticlassAccuracy(cfg.sizes.num_classes, k, "micro") for k in (1, 5))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits, loss = self.answered(batch)
        self.accuracy(logits, batch[1])
        self.top5(logits, batch[1])
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", self.accuracy, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/top5_accuracy", self.top5, on_step=True, on_epoch=True)
        return loss


@dataclass
class ByLightning:
    """Seconds of a training by Lightning's Trainer, in float32.

    Args:
        kind: `usual` has what ours has by default and Lightning has at hand: measures, a logger, checkpoints, the
            learning rate, a progress bar; `lean` has nothing that can be left out.
        device: cpu or cuda.
    """

    cfg: DictConfig
    net: Net
    batches: Any
    kind: Kind
    device: str

    def __call__(self) -> float:
        keep_buffers()  # as ours, like the layout: what is compared is what the frameworks do beside the arithmetic
        watch = Watch()
        with tempfile.TemporaryDirectory(prefix="lightning-") as folder, quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                self._fit(watch, folder)
        return watch.seconds

    def _fit(self, watch: Watch, folder: str) -> None:
        words: dict[str, Any] = {"accelerator": self.device, "max_epochs": 1, "default_root_dir": folder}
        net = self.net(self.cfg).to(memory_format=torch.channels_last)
        if self.kind == "lean":
            off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
            words |= {"callbacks": [watch], **dict.fromkeys(off, False)}
            task = Lean(net, self.cfg, len(self.batches))
        else:
            words |= {"callbacks": [LearningRateMonitor("step"), watch], "logger": TensorBoardLogger(folder)}
            task = Usual(net, self.cfg, len(self.batches))
        Trainer(**words).fit(task, train_dataloaders=self.batches)
