"""What every learning problem shares: a network, its optimizer and schedule, and measures that cost little."""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from project.errors import UserError
from project.tasks.meters import Meter
from project.tasks.schedules import Schedule, Steps, constant

Stage = Literal["train", "val", "test"]
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


class Task(LightningModule):
    """Trains `net` on what `measure` says.

    A task names its measures and computes them for one batch; sums, logging, optimizer and schedule are here. What is
    logged: `train/<measure>` every `trainer.log_every_n_steps` steps, `val/<measure>` at validation, `test/<measure>`
    at the end, each against the number of samples seen.

    Args:
        net: the network.
        optimizer: takes parameters or parameter groups, e.g. `partial(SGD, lr=0.1)`.
        scheduler: one of `project.tasks.schedules`.
        decay_norms_and_biases: false leaves biases and the weights of normalisation layers out of `weight_decay`.
        norm_bias_lr_scale: biases of normalisation layers have a learning rate so many times as large, and as much less
            `weight_decay`, so that they decay as fast as the others (Jordan 2024, section 3.4).

    Raises:
        ValueError: a scale that is not positive.
    """

    measures: ClassVar[Sequence[str]] = ("loss",)

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        norm_bias_lr_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if norm_bias_lr_scale <= 0:
            raise ValueError(f"model.norm_bias_lr_scale must be positive, got {norm_bias_lr_scale}")
        self.net = net
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.decay_norms_and_biases, self.norm_bias_lr_scale = decay_norms_and_biases, norm_bias_lr_scale
        self.samples_seen = 0
        self.answers: Tensor | None = None  # e.g. logits of a batch of the validation, for the callbacks
        stages: tuple[Stage, ...] = ("train", "val", "test")
        self.meters = {stage: Meter(self.measures) for stage in stages}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning notes each hook here, fifty times a step: no module, no parameter
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """One batch: the loss to minimise, each measure summed over the batch's samples, the number of samples."""

    def begin(self, stage: Stage) -> None:
        """An epoch of validation or test starts; a task that keeps something over its batches forgets it here."""

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        """What is logged of the means of `measures`, e.g. with more that follows from them; empty stays empty."""
        return means

    @property
    def logged(self) -> list[str]:
        """The names of everything that a run of this task logs and that `monitor` can be."""
        return [f"{stage}/{name}" for stage in ("train", "val") for name in self.measures]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)

    def predict(self, *inputs: Any) -> Tensor:
        """What the network says of inputs whose answers are compared or told: not of those that it is trained on."""
        return self.net(*inputs)

    def example(self, batch: Any) -> tuple[Any, ...]:
        """What the network is called with for one sample of a batch: enough to draw it."""
        return (batch[0][:1],)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.initialise(getattr(self.trainer, "datamodule", None))

    def initialise(self, data: Any) -> None:
        """A network, or its encoder, that takes something from the data before it is trained gets a batch's inputs.

        Args:
            data: has a `train_dataloader`; None: there is nothing to take it from.
        """
        taker = self.net if hasattr(self.net, "start_from") else getattr(self.net, "encoder", None)
        take = getattr(taker, "start_from", None)
        if take is not None and data is not None:
            inputs, *_ = next(iter(data.train_dataloader()))
            take(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, sums, samples = self.measure(batch, "train")
        self.meters["train"].add(sums, samples)
        self.samples_seen += samples * self.trainer.world_size
        return loss

    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]  # asked at each step

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # before the step and not after the last one, so that a checkpoint between the two holds what is not yet logged
        if self.trainer.fit_loop.total_batch_idx % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log_interval()

    def on_train_epoch_end(self) -> None:
        self._log_interval()
        means = self.derived("train", self.meters["train"].read_epoch(self._sum_over_ranks))
        self._to_callbacks({f"train/{name}": value for name, value in means.items()})

    def on_validation_epoch_start(self) -> None:
        self.meters["val"].clear()
        self.begin("val")

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """What the network answered, of tasks whose `measure` keeps it in `answers`; callbacks are given it."""
        _, sums, samples = self.measure(batch, "val")
        self.meters["val"].add(sums, samples)
        answers, self.answers = self.answers, None
        return answers

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def on_test_epoch_start(self) -> None:
        self.meters["test"].clear()
        self.begin("test")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        _, sums, samples = self.measure(batch, "test")
        self.meters["test"].add(sums, samples)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def make_optimizer(self) -> Optimizer:
        """A new optimizer over the trainable parameters.

        Raises:
            UserError: the task has none, or its arguments are refused.
        """
        if self.optimizer is None:
            raise UserError(
                f"{type(self).__name__} was given no optimizer to train with: choose one, e.g. optimizer=sgd"
            )
        try:
            optimizer = self.optimizer(self._parameter_groups())
        except (TypeError, ValueError) as error:
            raise UserError(f"optimizer: {error}") from error
        for group in optimizer.param_groups:
            scale = group.pop("lr_scale", 1.0)
            group["lr"] *= scale
            if "weight_decay" in group:
                group["weight_decay"] /= scale
        return optimizer

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer()
        total = self.trainer.estimated_stepping_batches
        per_epoch = max(1, self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        try:
            schedule = self.scheduler(optimizer, Steps(total, per_epoch))
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error
        if (monitor := schedule.get("monitor")) is not None:
            if monitor not in self.logged:
                raise UserError(f"scheduler.monitor={monitor} is never logged: choose one of {', '.join(self.logged)}")
            schedule["frequency"] = self.trainer.check_val_every_n_epoch or 1  # only when there is a new value
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["samples_seen"] = self.samples_seen
        checkpoint["train_meter"] = self.meters["train"].state_dict(self._sum_over_ranks)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.samples_seen = checkpoint.get("samples_seen", 0)
        if "train_meter" in checkpoint:
            device = self.trainer.strategy.root_device
            self.meters["train"].load_state_dict(checkpoint["train_meter"], device, self.trainer.is_global_zero)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        scaled = self._norm_biases() if self.norm_bias_lr_scale != 1 else []
        apart = {id(parameter) for parameter in scaled}
        others = [
            parameter for parameter in self.parameters() if parameter.requires_grad and id(parameter) not in apart
        ]
        groups: list[dict[str, Any]] = [{"params": others}]
        if not self.decay_norms_and_biases:
            # biases and the scales of normalisation layers are the parameters with one dimension
            groups = [
                {"params": [parameter for parameter in others if parameter.ndim > 1]},
                {"params": [parameter for parameter in others if parameter.ndim <= 1], "weight_decay": 0.0},
            ]
        if scaled:
            decay = {} if self.decay_norms_and_biases else {"weight_decay": 0.0}
            groups.append({"params": scaled, "lr_scale": self.norm_bias_lr_scale, **decay})
        return groups

    def _norm_biases(self) -> list[nn.Parameter]:
        norms = [
            part
            for part in self.modules()
            if isinstance(part, (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm))
        ]
        return [norm.bias for norm in norms if norm.bias is not None and norm.bias.requires_grad]

    def _log_interval(self) -> None:
        means = self.derived("train", self.meters["train"].read_interval(self._sum_over_ranks))
        if means:
            values = {f"train/{name}": value for name, value in means.items()}
            self._to_loggers({**values, "lr": self.trainer.optimizers[0].param_groups[0]["lr"]})

    def _log_epoch(self, stage: Stage) -> None:
        means = self.derived(stage, self.meters[stage].read_epoch(self._sum_over_ranks))
        values = {f"{stage}/{name}": value for name, value in means.items()}
        self._to_callbacks(values)
        self._to_loggers(values)

    def _to_callbacks(self, values: dict[str, float]) -> None:
        """What `monitor`s can see; every rank has the same values already."""
        self.log_dict(values, logger=False, sync_dist=self.trainer.world_size > 1)

    def _to_loggers(self, values: dict[str, float]) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step=self.samples_seen)

    def counted_alike(self, loss: Tensor, own: int, seen: bool = True) -> Tensor:
        """The mean over this rank's `own` samples such that each sample of all ranks has the same part in the gradient.

        Gradients are means over ranks; where these have different numbers of samples, `training_step` ends with this.
        `seen`: they are what `samples_seen` counts.
        """
        ranks = self.trainer.world_size
        if ranks == 1:
            return loss
        everywhere = int(self._sum_over_ranks(torch.tensor(own, device=loss.device)))
        if seen:
            self.samples_seen += everywhere - own * ranks
        return loss * (own * ranks / everywhere)

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        return values if self.trainer.world_size == 1 else self.trainer.strategy.reduce(values, reduce_op="sum")
