"""Training and validation in one chart."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from project.callbacks.drawing import writers


class Charts(Callback):
    """Lays out TensorBoard's Custom Scalars tab: each measure one chart, with its training and validation curves."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is None:  # a run that goes on has it already
            for writer in writers(trainer):
                writer.add_custom_scalars(layout(pl_module))


def layout(task: Any) -> dict[str, dict[str, list[Any]]]:
    """The charts of what `task` logs both in training and in validation, by name."""
    logged = getattr(task, "logged", None) or []  # of a module that is not of this project nothing is known
    both = [name.partition("/")[2] for name in logged if name.startswith("val/")]
    charts = {
        name: ["Multiline", [f"^{stage}/{name}$" for stage in ("train", "val") if f"{stage}/{name}" in logged]]
        for name in both
    }
    return {"training and validation": charts}
