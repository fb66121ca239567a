"""Lightning's loop counters in one of two clean forms, so that a run goes on from anywhere exactly as if never stopped.

Lightning saves its progress counters as they stand in the hook that saves, and guesses from their differences where
that was; some of these guesses skip a validation or an epoch's end. Here the counters are brought into a form with one
meaning before they are written: either "k batches of epoch e are done" (and validation is due, or not), or "epoch e
begins".
"""

from typing import Any

from lightning import Trainer

Counters = dict[str, dict[str, int]]


def validation_due(trainer: Trainer) -> bool:
    """Whether validation follows the training batch that has just been done."""
    epoch_loop = trainer.fit_loop.epoch_loop
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and epoch_loop._should_check_val_fx(fetcher)


def restore_loader(trainer: Trainer) -> None:
    """Bring the training batches to where the checkpoint stands.

    Lightning does so when it makes the loader; where a schedule has asked for the number of steps, the loader was made
    before the checkpoint was read.
    """
    trainer.fit_loop._load_combined_loader_states()


def within_epoch(state: dict[str, Any], trainer: Trainer, due: bool, validated: bool) -> None:
    """Rewrite the fit loop's state to "the batches processed so far are done".

    Args:
        state: `checkpoint["loops"]["fit_loop"]`, changed in place.
        due: validation is still to be run after the last of these batches.
        validated: validation after the last of these batches has been run.
    """
    batches = state["epoch_loop.batch_progress"]
    for counters in (batches["total"], batches["current"]):
        _set_all(counters, counters["processed"])
    epochs = state["epoch_progress"]
    for counters in (epochs["total"], epochs["current"]):
        done = min(counters["completed"], counters["processed"], counters["ready"] - 1)
        counters.update(ready=done + 1, started=done + 1, processed=done, completed=done)
    _set_validation(state, begun=1 if due else 0)
    # Lightning adds the last step on its way out of a restarted validation, and only there
    stepped = trainer.fit_loop.epoch_loop.global_step
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = stepped - 1 if due or validated else stepped


def epoch_begins(state: dict[str, Any], trainer: Trainer, epochs_done: int) -> None:
    """Rewrite the fit loop's state to "epoch number `epochs_done`, counted from 0, begins"."""
    batches = state["epoch_loop.batch_progress"]
    _set_all(batches["total"], batches["total"]["processed"])
    _set_all(batches["current"], 0)
    batches["is_last_batch"] = False
    for counters in (state["epoch_progress"]["total"], state["epoch_progress"]["current"]):
        counters.update(ready=epochs_done + 1, started=epochs_done + 1, processed=epochs_done, completed=epochs_done)
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for progress in (optimizer["step"], optimizer["zero_grad"], state["epoch_loop.scheduler_progress"]):
        _set_all(progress["current"], 0)
    _set_validation(state, begun=0)
    # a restart at batch 0 passes once through the end of a step when the epoch has a validation
    validates = trainer.enable_validation and (
        trainer.check_val_every_n_epoch is None or (epochs_done + 1) % trainer.check_val_every_n_epoch == 0
    )
    stepped = trainer.fit_loop.epoch_loop.global_step
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = stepped - 1 if validates else stepped


def _set_validation(state: dict[str, Any], begun: int) -> None:
    """Validation batches: `begun` started, none done; 1 is to Lightning "go on with validation from its start"."""
    validation = state["epoch_loop.val_loop.batch_progress"]
    for counters in (validation["total"], validation["current"]):
        counters.update(ready=begun, started=begun, processed=0, completed=0)
    validation["is_last_batch"] = False


def _set_all(counters: dict[str, int], value: int) -> None:
    for name in counters:
        counters[name] = value


def validations_done(trainer: Trainer) -> int:
    """The number of the validation that is being run, counted from 1, from the batches and epochs behind it alone.

    The same in a run that was stopped and resumed as in one that was not.
    """
    batches, every = trainer.fit_loop.epoch_loop.batch_progress, _whole(trainer.val_check_batch)
    if trainer.check_val_every_n_epoch is None:
        return max(1, batches.total.ready // every) if every else 1
    epochs_before = trainer.current_epoch // trainer.check_val_every_n_epoch
    return epochs_before * _per_epoch(trainer) + max(1, batches.current.ready // every if every else 1)


def validations_expected(trainer: Trainer) -> int | None:
    """How many validations the whole training has; None where that is not known beforehand."""
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    every, batches = _whole(trainer.val_check_batch), _whole(trainer.num_training_batches)
    if not batches or not every:
        return epochs if epochs > 0 and trainer.check_val_every_n_epoch == 1 else None
    if steps >= 0:
        of_steps = -(-steps * trainer.accumulate_grad_batches // batches)
        epochs = min(epochs, of_steps) if epochs > 0 else of_steps
    if epochs <= 0:
        return None
    if trainer.check_val_every_n_epoch is None:
        return epochs * batches // every
    return epochs // trainer.check_val_every_n_epoch * _per_epoch(trainer)


def _per_epoch(trainer: Trainer) -> int:
    every, batches = _whole(trainer.val_check_batch), _whole(trainer.num_training_batches)
    return max(1, batches // every) if every and batches else 1


def _whole(number: float | None) -> int | None:
    """Lightning's infinity as None."""
    return None if number is None or number == float("inf") else int(number)


def completed_epochs(checkpoint: dict[str, Any]) -> int:
    """How many epochs of the training the checkpoint has behind it."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["completed"])
