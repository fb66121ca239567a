"""What a training tells the study, from the process that trains."""

import os
import signal

from optuna import Trial

from project.sweeps.claims import Claim, Lost
from project.sweeps.drawing import make_pruner
from project.sweeps.patience import Away
from project.sweeps.settings import Settings
from project.sweeps.shared_study import SharedStudy


class Unfit(Exception):
    """The trial's parameters break a constraint; the text says which."""


class Reporter:
    """Takes a training's reports to the study.

    Ranks of a training on several devices are forked processes: each opens the study anew, since connections and locks
    are not for two, and leaves in it what the worker must know.

    Args:
        shared: the study, as the worker has it.
        claim: the trial.
        settings: the sweep's.
        index: of the seed that is trained.
        prunes: whether a training may be stopped early.
        per_seed: whether the study hears of whole trainings only.
    """

    def __init__(
        self, shared: SharedStudy, claim: Claim, settings: Settings, index: int, prunes: bool, per_seed: bool = False
    ) -> None:
        self.shared, self.claim, self.settings, self.index, self.prunes = shared, claim, settings, index, prunes
        self.worker = self.here = os.getpid()
        self.per_seed = per_seed
        self.expected: int | None = None
        self.facts: dict[str, int | None] = {}
        self._trial: Trial | None = None

    def began(self, parameters: int, validations: int | None) -> None:
        """Note how large the network is, and how many validations to expect.

        Raises:
            Unfit: it is larger than `sweep.max_parameters`.
        """
        self.expected, seeds = validations, self.settings.seeds
        whole = seeds if self.per_seed else None if validations is None else validations * seeds
        self.facts = {"parameters": parameters, "validations": whole}
        limit = self.settings.max_parameters
        if limit is not None and parameters > limit:
            reason = f"{parameters:,} trainable parameters, more than sweep.max_parameters={limit:,}"
            if os.getpid() != self.worker:
                self._study().note(self.claim, rejected=reason)
            raise Unfit(reason)
        shared = self._study()
        if "parameters" not in shared.storage.get_trial(self.claim.trial_id).user_attrs:
            shared.note(self.claim, **self.facts)

    def report(self, number: int, value: float) -> bool:
        """Report the value of a validation; whether to stop.

        A database that stays away asks the training to write its checkpoint and to stop, as a signal does.

        Raises:
            Lost: another worker has taken the trial.
        """
        try:
            return self._report(number, value)
        except Away as away:
            print(away)
            os.kill(os.getpid(), signal.SIGTERM)
            return False

    def _report(self, number: int, value: float) -> bool:
        shared = self._study()
        if not shared.owns(self.claim):
            raise Lost
        if not self.prunes or (self.index > 0 and self.expected is None):
            return False
        trial = self._trial = self._trial or shared.trial(self.claim)
        trial.report(value, number if self.index == 0 else self.index * (self.expected or 0) + number)
        stop = trial.should_prune()
        if stop and os.getpid() != self.worker:
            shared.note(self.claim, stopped_early=True)
        return stop

    def _study(self) -> SharedStudy:
        if os.getpid() != self.here:
            self.here = os.getpid()
            self.shared, self._trial = self.shared.opened_again(), None
            self.shared.study.pruner = make_pruner(self.settings.pruner)
        return self.shared
