"""An Optuna study that many workers share: who takes which trial, who gave up, and what each attempt came to.

A trial keeps its number, its folder and its parameters for life. When its worker dies, another takes it up where its
last checkpoint stands; so the study ends with exactly `n_trials` trials, whoever was killed on the way. Everything that
decides who does what happens under one lock. Optuna's private names are used here and in `database.py` only (and in
`space.py` one).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna import Trial
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from project.sweeps.claims import (
    ATTEMPTS,
    DIED,
    OWNER,
    STOPPED,
    Claim,
    Lost,
    attempts_of,
    closed,
    has_told,
    is_owned,
    now,
)
from project.sweeps.owners import Owner, is_alive
from project.sweeps.patience import PATIENCE, Patience
from project.sweeps.storage import is_a_server, open_storage, study_lock

T = TypeVar("T")


class SharedStudy:
    """One study, seen from one process.

    Args:
        name: of the study.
        url: of its storage; None: the journal in `folder`.
        folder: the sweep's.
        directions: `maximize` or `minimize`, for each objective.
        heartbeat: seconds between two signs of life of a worker.
        patience: seconds for which a database server that is away is waited for, once it has answered.
        told: takes a line when it is missed, and when it is back; None: `print`.
    """

    def __init__(
        self,
        name: str,
        url: str | None,
        folder: Path,
        directions: Sequence[str],
        heartbeat: float,
        patience: float = PATIENCE,
        told: Callable[[str], None] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._arguments = (name, url, folder, directions, heartbeat, patience, told)
        self.folder, self.heartbeat = folder, heartbeat
        self.patience = Patience(patience, url or "", told)
        self.lock: Callable[[], AbstractContextManager[Any]]
        if is_a_server(url):
            storage = open_storage(url, folder, heartbeat, self.patience)
            self.lock = partial(storage.changing, name)  # type: ignore[attr-defined]
        else:
            self.lock = study_lock(url, folder, name)
            with self.lock():  # tables are not made at once
                storage = open_storage(url, folder, heartbeat)
        self.on_server = is_a_server(url)
        self.study = self.locked(
            lambda: optuna.create_study(
                study_name=name,
                storage=storage,
                directions=[StudyDirection[direction.upper()] for direction in directions],
                load_if_exists=True,
            )
        )
        self.storage: BaseStorage = self.study._storage
        self.study_id = self.study._study_id
        self.beats_in_storage = isinstance(storage, RDBStorage)

    @classmethod
    def waited_for(cls, *arguments: Any) -> "SharedStudy":
        """A study that another process has made: its server is waited for from the first moment on."""
        url, patience = arguments[1], arguments[5]
        return Patience(patience, url or "", arguments[6]).again(lambda: cls(*arguments))

    def opened_again(self) -> "SharedStudy":
        """The same study over a connection of its own: for a process that was forked from this one."""
        return SharedStudy.waited_for(*self._arguments)

    def locked(self, change: Callable[[], T]) -> T:
        """What `change` returns, which nobody else changes the study beside. On a server it is a transaction, and done
        once more if the connection was lost, perhaps after it had succeeded: it must know what it has done already.

        Raises:
            Away: a server was waited for in vain.
        """

        def once() -> T:
            try:
                with self.lock():
                    return change()
            except BaseException:
                if self.on_server and hasattr(self, "storage"):
                    self._forget()
                raise

        return self.patience.again(once) if self.on_server else once()

    def _forget(self) -> None:
        """What Optuna remembers of a transaction that was undone: a trial's number is another's by then."""
        for memory in ("_studies", "_trial_id_to_study_id_and_number", "_study_id_and_number_to_trial_id"):
            getattr(self.storage, memory).clear()

    def trials(self) -> list[FrozenTrial]:
        """All trials as they are now, not to be changed."""
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

    def claim(
        self, owner: Owner, n_trials: int, max_retries: int, points: list[dict[str, Any]] | None = None
    ) -> Claim | None:
        """The next trial for `owner`: one whose worker died or stopped, one that waits, or a new one below `n_trials`.

        Args:
            points: of a grid, the parameters of every trial.
        """
        before: set[int] | None = None  # what the owner has, unless a try that was not answered gave it more

        def change() -> Claim | None:
            nonlocal before
            count, trials = self._open_trials()
            mine = {trial.number: trial for trial in trials if is_owned(trial, owner)}
            before = set(mine) if before is None else before
            for number in set(mine) - before:
                return Claim(mine[number]._trial_id, number, len(attempts_of(mine[number])), owner)
            return self._claim(count, trials, owner, n_trials, max_retries, points)

        return self.locked(change)

    def _claim(
        self,
        count: int,
        trials: list[FrozenTrial],
        owner: Owner,
        n_trials: int,
        max_retries: int,
        points: list[dict[str, Any]] | None,
    ) -> Claim | None:
        for trial in self._abandoned(trials):
            attempts = closed(trial, DIED)
            deaths = [attempt for attempt in attempts if attempt["ended"] == DIED]
            if len(deaths) <= max_retries:
                return self._take(trial._trial_id, trial.number, owner, attempts)
            self.storage.set_trial_system_attr(trial._trial_id, ATTEMPTS, attempts)
            reason = f"its worker died {len(deaths)} times (killed, out of memory, or the machine went down)"
            self.storage.set_trial_user_attr(trial._trial_id, "error", reason)
            self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        for trial in trials:
            if trial.state is TrialState.WAITING and self.storage.set_trial_state_values(
                trial._trial_id, TrialState.RUNNING
            ):
                return self._take(trial._trial_id, trial.number, owner, [])
        if count >= n_trials:
            return None
        return self._take(self._new(None if points is None else points[count]), count, owner, [])  # as Optuna counts

    def unfinished(self) -> bool:
        """Whether any trial runs or waits."""
        return bool(self._open_trials()[1])

    def abandoned(self) -> bool:
        """Whether a trial waits for a worker: to be asked before `claim`, which workers enter one after another."""
        trials = self._open_trials()[1]
        return any(trial.state is TrialState.WAITING for trial in trials) or bool(self._abandoned(trials))

    def _open_trials(self) -> tuple[int, list[FrozenTrial]]:
        """How many trials there are, and those that run or wait, with what is known of their owners."""
        if self.on_server:
            found: tuple[int, list[FrozenTrial]]
            found = self.storage._backend.unfinished(self.study_id, (OWNER, ATTEMPTS))  # type: ignore[attr-defined]
            return found
        trials = self.trials()
        return len(trials), [trial for trial in trials if not trial.state.is_finished()]

    def trial(self, claim: Claim) -> Trial:
        """The trial that `claim` names, as Optuna hands it to an objective; parameters that it has are kept."""
        return Trial(self.study, claim.trial_id)

    def draw_with(self, sampler: BaseSampler) -> None:
        """Let `sampler` draw from here on; it takes over what the one before it had gathered from all trials."""
        for name in ("_search_space", "_intersection_search_space"):
            if type(sampler) is type(self.study.sampler) and hasattr(sampler, name):
                setattr(sampler, name, getattr(self.study.sampler, name))
        self.study.sampler = sampler

    def owns(self, claim: Claim) -> bool:
        """Whether the trial is still the claimant's to report on."""
        if self.on_server:  # asked with every report: one statement, where a whole trial takes seven
            record = self.storage._backend.system_attr(claim.trial_id, OWNER, TrialState.RUNNING)  # type: ignore
            return bool(record and record["token"] == claim.owner.token)
        return is_owned(self.storage.get_trial(claim.trial_id), claim.owner)

    def beat(self, claim: Claim | None) -> None:
        """A sign of life of the trial's worker, where the storage keeps them."""
        if claim is not None and self.beats_in_storage:
            self.storage.record_heartbeat(claim.trial_id)  # type: ignore[attr-defined]

    def note(self, claim: Claim, **facts: Any) -> None:
        """User attributes of the trial."""
        for name, value in facts.items():
            self.storage.set_trial_user_attr(claim.trial_id, name, value)

    def seconds_of_the_dead(self, claim: Claim, last_state: float | None) -> float:
        """What the attempt before this one trained that is not lost: from its beginning to its last checkpoint.

        Args:
            last_state: when that was written, in seconds since 1970; None: there is none.
        """
        attempts = attempts_of(self.storage.get_trial(claim.trial_id))
        if last_state is None or len(attempts) < 2 or attempts[-2]["ended"] != DIED:
            return 0.0
        return max(0.0, last_state - datetime.fromisoformat(attempts[-2]["began"]).timestamp())

    def finish(self, claim: Claim, state: TrialState, values: Sequence[float] | None, **facts: Any) -> None:
        """Tell what the trial came to.

        Raises:
            Lost: it is another's by now.
        """

        def change() -> None:
            trial = self.storage.get_trial(claim.trial_id)
            if has_told(trial, claim, state):  # and only the answer was lost
                return
            if not is_owned(trial, claim.owner):
                raise Lost
            self._close(trial, state.name.lower())
            self.note(claim, **facts)
            self.study.tell(claim.number, None if values is None else list(values), state=state)

        self.locked(change)

    def give_back(self, claim: Claim) -> None:
        """Leave the trial to whoever asks next: it was stopped, and goes on from its checkpoint."""

        def change() -> None:
            trial = self.storage.get_trial(claim.trial_id)
            if is_owned(trial, claim.owner):
                self._close(trial, STOPPED)
                self.storage.set_trial_system_attr(claim.trial_id, OWNER, None)

        self.locked(change)

    def _abandoned(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        stale: set[int] | None = None
        if running and self.beats_in_storage:
            stale = set(self.storage._get_stale_trial_ids(self.study_id))  # type: ignore[attr-defined]
        return [
            trial
            for trial in running
            if not is_alive(
                trial.system_attrs.get(OWNER),
                self.heartbeat,
                None if stale is None else trial._trial_id in stale,
                self.folder,
            )
        ]

    def _new(self, point: dict[str, Any] | None) -> int:
        template = None
        if point is not None:
            template = create_trial(state=TrialState.RUNNING, system_attrs={"fixed_params": point})
        return self.storage.create_new_trial(self.study_id, template)

    def _take(self, trial_id: int, number: int, owner: Owner, attempts: list[dict[str, Any]]) -> Claim:
        attempt = {"worker": owner.token, "machine": owner.machine.partition(" ")[0], "began": now(), "ended": None}
        self.storage.set_trial_system_attr(trial_id, ATTEMPTS, [*attempts, attempt])
        self.storage.set_trial_system_attr(trial_id, OWNER, owner.record())
        claim = Claim(trial_id, number, len(attempts) + 1, owner)
        self.beat(claim)
        if attempts and self.on_server:
            self.trials()  # Optuna writes parameters only of trials that it has read
        return claim

    def _close(self, trial: FrozenTrial, how: str) -> None:
        self.storage.set_trial_system_attr(trial._trial_id, ATTEMPTS, closed(trial, how))
