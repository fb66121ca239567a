"""What a trial tells its study while it trains: every validation's value; and whether it may go on."""

import time
from collections.abc import Callable, Sequence

import optuna
from lightning import Callback, LightningModule, Trainer

from project.callbacks.loop_state import validations_done, validations_expected
from project.errors import NeverLogged

Report = Callable[[int, float], bool]


class Watching(Callback):
    """Reports the monitored value after every validation, and ends a training that is not worth going on with.

    Validations are counted from 1: trials whose batches or learning rates differ are compared at equal parts of their
    training. Of several processes one reports and asks, and all stop together.

    Args:
        monitor: the logged value that is reported.
        report: takes the validation's number and the value; True: stop.
        began: called once before training with the number of trainable parameters and of validations to expect.
        seconds: trained in earlier attempts.
        objectives: names of what is optimised beside the monitor, which the checkpoints look after.

    Raises:
        NeverLogged: in `setup`, an objective that the task does not measure.
    """

    def __init__(
        self,
        monitor: str,
        report: Report,
        began: Callable[[int, int | None], None],
        seconds: float = 0.0,
        objectives: Sequence[str] = (),
    ) -> None:
        self.monitor, self.report, self.began = monitor, report, began
        self.seconds, self.objectives = seconds, objectives
        self.pruned = False
        self._since: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        logged = getattr(pl_module, "logged", None)
        if stage != "fit" or logged is None:
            return
        tested = [name.replace("val/", "test/", 1) for name in logged if name.startswith("val/")]
        known = ["parameters", "seconds", *logged, *tested]
        for name in self.objectives:
            if name not in known:
                raise NeverLogged(f"sweep.objectives: {name} is never measured: choose of {', '.join(known)}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.monotonic()
        if trainer.is_global_zero:
            weights = [weight.numel() for weight in pl_module.parameters() if weight.requires_grad]
            self.began(sum(weights), validations_expected(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        stop = False
        if trainer.is_global_zero and self.monitor in trainer.callback_metrics:
            stop = self.report(validations_done(trainer), float(trainer.callback_metrics[self.monitor]))
        if trainer.world_size > 1:
            stop = bool(trainer.strategy.broadcast(stop, src=0))
        if stop:
            self.pruned = trainer.should_stop = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last checkpoint is written by now.

        Raises:
            optuna.TrialPruned: the training was ended early.
        """
        if self.pruned:
            raise optuna.TrialPruned

    def trained(self) -> float:
        """Seconds of training so far, in all attempts."""
        return self.seconds + (0.0 if self._since is None else time.monotonic() - self._since)
