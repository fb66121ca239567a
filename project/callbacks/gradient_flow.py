"""How far back in time gradients reach: vanishing and exploding gradients (Bengio et al. 1994, Pascanu et al. 2013)."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor

from project.errors import UserError
from project.nets.gradients import gradient_norms, largest_singular_values
from project.nets.recurrent import Recurrent
from project.nets.sampling import evaluating
from project.tasks.language_model import LanguageModelling

_IGNORED = -100  # a target where there is nothing to predict


class GradientFlow(Callback):
    """||dL/dh_t|| against the distance from the loss, and the largest singular value of each recurrent matrix.

    L is the loss at one time step of the first validation batch, which is always the same; states begin at zero.
    Nothing of the training is touched.

    Args:
        every_n_validations: how often it is looked at.
        steps: the batch's first time steps, as many as there are; the loss is at the last of them.
        sequences: how many of the batch are looked at.

    Raises:
        ValueError: an argument below 1.
        UserError: in `setup`: the task is no language model with a `recurrent` network.
    """

    def __init__(self, every_n_validations: int = 1, steps: int = 100, sequences: int = 16) -> None:
        for name, value in {"every_n_validations": every_n_validations, "steps": steps, "sequences": sequences}.items():
            if value < 1:
                raise ValueError(f"callbacks.gradient_flow.{name} must be at least 1, got {value}")
        self.every_n_validations, self.steps, self.sequences = every_n_validations, steps, sequences
        self.validations = 0
        self._batch: tuple[Tensor, Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        net = getattr(pl_module, "net", None)
        if not isinstance(pl_module, LanguageModelling) or not isinstance(getattr(net, "recurrent", None), Recurrent):
            raise UserError(
                "callbacks.gradient_flow looks at language models with layers of cells (`net.recurrent`); this is a "
                f"{type(pl_module).__name__} of a {type(net).__name__}: leave it out with callbacks.gradient_flow=null"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is None and trainer.is_global_zero:
            self._write(trainer, pl_module, None)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            inputs, targets = (part[: self.steps, : self.sequences] for part in batch)
            self._batch = inputs, targets

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        batch, self._batch = self._batch, None
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.validations += 1
        if batch is None or self.validations % self.every_n_validations or not trainer.is_global_zero:
            return
        with evaluating(pl_module.net):
            self._write(trainer, pl_module, language_model_norms(pl_module.net, *batch))

    def _write(self, trainer: Trainer, pl_module: Any, norms: Tensor | None) -> None:
        values = largest_singular_values(pl_module.net.recurrent)
        scalars = {f"gradient_flow/singular_value/{name}": value for name, value in values.items()}
        for layer, line in enumerate([] if norms is None else norms):
            if line[0] > 0:
                scalars[f"gradient_flow/far_over_near/layer{layer}"] = float(line[-1] / line[0])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_metrics(scalars, step=pl_module.samples_seen)
                if norms is not None:
                    figure = gradient_flow_figure(norms)
                    logger.experiment.add_figure("gradient_flow", figure, global_step=pl_module.samples_seen)


def language_model_norms(net: Any, ids: Tensor, targets: Tensor) -> Tensor:
    """`gradient_norms` of a `LanguageModel`'s cross-entropy at the last time step that has a target.

    Args:
        net: the network.
        ids: (T, B).
        targets: (T, B); -100 where there is nothing to predict.
    """
    there = (targets != _IGNORED).any(1).nonzero()
    last = int(there[-1]) if len(there) else len(targets) - 1
    with torch.inference_mode(False), torch.enable_grad():
        ids, targets = ids[: last + 1].clone(), targets[last].clone()  # outside of Lightning's inference mode

        def loss(output: Tensor) -> Tensor:
            return F.cross_entropy(net.head(output), targets, ignore_index=_IGNORED, reduction="sum")

        return gradient_norms(net.recurrent, net.embedding(ids), loss)


def gradient_flow_figure(norms: Tensor) -> Figure:
    """A line per layer of the norms (layers, T), on a logarithmic axis; what vanished altogether is left out."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    values = norms.double().numpy()
    for layer, line in enumerate(np.where(values > 0, values, np.nan)):
        axes.plot(range(len(line)), line, label=f"layer {layer}")
    axes.set_yscale("log")
    axes.set_xlabel("distance from the loss (time steps)")
    axes.set_ylabel("||dL/dh|| (mean over the sequences)")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
