"""How far back in time gradients reach: vanishing and exploding gradients (Bengio et al. 1994, Pascanu et al. 2013)."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule, Trainer
from torch import Tensor

from project.callbacks.chart import log_chart
from project.callbacks.drawing import Drawing, writers
from project.data.streams import IGNORED
from project.nets.gradients import gradient_norms, largest_singular_values
from project.nets.recurrent import Recurrent
from project.tasks.language_model import LanguageModelling


class GradientFlow(Drawing):
    """||dL/dh_t|| against the distance from the loss, and the largest singular value of each recurrent matrix.

    L is the loss at one time step of the first validation batch, which is always the same; states begin at zero.
    The singular values are also those before the training.

    Args:
        steps: the batch's first time steps, as many as there are; the loss is at the last of them.
        sequences: how many of the batch are looked at.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument below 1.
        UserError: in `setup`: the task is no language model with a `recurrent` network.
    """

    def __init__(
        self,
        steps: int = 100,
        sequences: int = 16,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        for name, value in {"steps": steps, "sequences": sequences}.items():
            if value < 1:
                raise ValueError(f"callbacks.gradient_flow.{name} must be at least 1, got {value}")
        self.steps, self.sequences = steps, sequences
        self._batch: tuple[Tensor, Tensor] | None = None

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        net = getattr(task, "net", None)
        if isinstance(task, LanguageModelling) and isinstance(getattr(net, "recurrent", None), Recurrent):
            return None
        return (
            "looks at language models with layers of cells (`net.recurrent`), and this "
            f"is a {type(task).__name__} of a {type(net).__name__}"
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.active and trainer.ckpt_path is None:
            for writer in writers(trainer):
                _write(writer, _singular_values(pl_module), 0)

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and trainer.is_global_zero:
            inputs, targets = (part[: self.steps, : self.sequences] for part in batch)
            self._batch = inputs, targets

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        if self._batch is None:
            return
        norms = language_model_norms(task.net, *self._batch)
        far = {f"far_over_near/layer{layer}": float(row[-1] / row[0]) for layer, row in enumerate(norms) if row[0] > 0}
        _write(writer, {**_singular_values(task), **far}, step)
        writer.add_image("gradient_flow", gradient_flow_picture(norms), global_step=step, dataformats="HWC")


def _singular_values(task: Any) -> dict[str, float]:
    return {f"singular_value/{name}": value for name, value in largest_singular_values(task.net.recurrent).items()}


def _write(writer: Any, values: dict[str, float], step: int) -> None:
    for name, value in values.items():
        writer.add_scalar(f"gradient_flow/{name}", value, global_step=step)


def language_model_norms(net: Any, ids: Tensor, targets: Tensor) -> Tensor:
    """`gradient_norms` of a `LanguageModel`'s cross-entropy at the last time step that has a target.

    Args:
        net: the network.
        ids: (T, B).
        targets: (T, B); -100 where there is nothing to predict.
    """
    there = (targets != IGNORED).any(1).nonzero()
    last = int(there[-1]) if len(there) else len(targets) - 1
    with torch.inference_mode(False), torch.enable_grad():
        ids, targets = ids[: last + 1].clone(), targets[last].clone()  # outside of Lightning's inference mode

        def loss(output: Tensor) -> Tensor:
            return F.cross_entropy(net.head(output), targets, ignore_index=IGNORED, reduction="sum")

        return gradient_norms(net.recurrent, net.embedding(ids), loss)


def gradient_flow_picture(norms: Tensor) -> np.ndarray:
    """A line per layer of the norms (layers, T), on a logarithmic axis; what vanished altogether is left out."""
    lines = {f"layer {layer}": line for layer, line in enumerate(norms.double().numpy())}
    return log_chart(lines, "||dL/dh||, mean over the sequences", "distance from the loss (time steps)")
