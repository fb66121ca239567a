"""What all callbacks that draw in TensorBoard share: when they draw, and what they do where they do not fit."""

from collections.abc import Iterator
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.errors import UserError
from project.nets.sampling import evaluating


class Drawing(Callback):
    """Draws at validations, never in a training step: at the 1st, 2nd, 4th, 8th, ... and at the last.

    A long training then has a dozen pictures and not thousands. Drawing leaves the training as it was: a member takes
    no random number of torch's own generators and changes nothing of the network.

    A member gives `misfit`, `watch` or `gather` where it needs them, and `draw`.

    Args:
        every_n_validations: draw at every n-th validation instead; None: at the 1st, 2nd, 4th, ...
        where_it_fits: true: does nothing where it does not fit the task; false: a UserError says why.

    Raises:
        ValueError: `every_n_validations` below 1.
        UserError: in `setup`: it does not fit the task.
    """

    def __init__(self, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        if every_n_validations is not None and every_n_validations < 1:
            raise ValueError(f"{self.key}.every_n_validations must be at least 1, got {every_n_validations}")
        self.every_n_validations, self.where_it_fits = every_n_validations, where_it_fits
        self.validations = 0
        self.active = True

    @property
    def key(self) -> str:
        """Its name in the config: `callbacks.<module>`."""
        return f"callbacks.{type(self).__module__.rsplit('.', 1)[-1]}"

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        """Why it has nothing to show of `task`; None: it has."""
        return None

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One batch of a validation that is drawn; on every rank, `outputs` is what `validation_step` returned."""

    def gather(self, trainer: Trainer, task: Any) -> None:
        """On every rank, before the first one draws: what needs all of them."""

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        """Write to a SummaryWriter, at `step` samples seen; on the first rank, with the network in evaluation mode."""

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        reason = self.misfit(trainer, pl_module)
        self.active = reason is None
        if reason is not None and not self.where_it_fits:
            raise UserError(f"{self.key} {reason}: leave it out with {self.key}=null")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.is_due(trainer):
            self.watch(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        due = self.is_due(trainer)
        self.validations += 1
        if due:
            self.gather(trainer, pl_module)
            self.draw_now(trainer, pl_module)

    def draw_now(self, trainer: Trainer, task: Any) -> None:
        for writer in writers(trainer):
            with evaluating(task.net):
                self.draw(trainer, task, writer, task.samples_seen)

    def is_due(self, trainer: Trainer) -> bool:
        """Whether it draws at the validation that runs, or has just ended."""
        if not self.active or trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.loggers:
            return False
        number = self.validations + 1
        if self.every_n_validations is not None:
            return number % self.every_n_validations == 0
        return number & (number - 1) == 0 or _is_last(trainer)


def writers(trainer: Trainer) -> Iterator[Any]:
    """TensorBoard's SummaryWriters, on the first rank."""
    if trainer.is_global_zero:
        yield from (logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))


def _is_last(trainer: Any) -> bool:
    """Whether no validation comes behind this one, as far as can be known before the training ends."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    left = trainer.num_training_batches - (trainer.fit_loop.epoch_loop.batch_idx + 1)  # batches of this epoch
    ends_epoch = left < trainer.val_check_batch  # that is how many there are from one validation to the next
    following = trainer.current_epoch + (trainer.check_val_every_n_epoch or 1)
    ahead = trainer.val_check_batch + left * ends_epoch
    by_epochs = epochs is not None and 0 <= epochs <= following and ends_epoch
    return by_epochs or 0 <= steps < trainer.global_step + ahead / trainer.accumulate_grad_batches
