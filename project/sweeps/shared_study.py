"""An Optuna study that many workers share: who takes which trial, who gave up, and what each attempt came to.

A trial keeps its number, its folder and its parameters for life. When its worker dies, another takes it up where its
last checkpoint stands; so the study ends with exactly `n_trials` trials, whoever was killed on the way. Everything that
decides who does what happens under one lock. Optuna's private names are used in this file only (and in `space.py` one).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna import Trial
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from project.errors import UserError
from project.sweeps.owners import Owner, is_alive
from project.sweeps.storage import open_storage, study_lock

OWNER, ATTEMPTS = "sweep:owner", "sweep:attempts"  # system attributes of a trial
DIED, STOPPED = "died", "stopped"


@dataclass(frozen=True)
class Claim:
    """A trial that a worker trains, and which attempt at it this is, from 1 on."""

    trial_id: int
    number: int
    attempt: int
    owner: Owner


class Lost(Exception):
    """Another worker has taken this trial: this one was taken for dead."""


class SharedStudy:
    """One study, seen from one process.

    Args:
        name: of the study.
        url: of its storage; None: the journal in `folder`.
        folder: the sweep's.
        directions: `maximize` or `minimize`, for each objective.
        heartbeat: seconds between two signs of life of a worker.
    """

    def __init__(self, name: str, url: str | None, folder: Path, directions: Sequence[str], heartbeat: float) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._arguments = (name, url, folder, directions, heartbeat)
        self.folder, self.heartbeat = folder, heartbeat
        if url is None or url.startswith("sqlite"):
            self.lock = study_lock(url, folder, name)
            with self.lock():  # tables are not made at once
                storage = open_storage(url, folder, heartbeat)
        else:
            try:
                storage = open_storage(url, folder, heartbeat)
            except UserError:
                time.sleep(1)  # another may be making the tables
                storage = open_storage(url, folder, heartbeat)
            self.lock = study_lock(url, folder, name)
        with self.lock():
            self.study = optuna.create_study(
                study_name=name,
                storage=storage,
                directions=[StudyDirection[direction.upper()] for direction in directions],
                load_if_exists=True,
            )
        self.storage: BaseStorage = self.study._storage
        self.study_id = self.study._study_id
        self.beats_in_storage = isinstance(storage, RDBStorage)

    def opened_again(self) -> "SharedStudy":
        """The same study over a connection of its own: for a process that was forked from this one."""
        return SharedStudy(*self._arguments)

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
        with self.lock():
            trials = self.trials()
            for trial in self._abandoned(trials):
                attempts = _closed(trial, DIED)
                deaths = [attempt for attempt in attempts if attempt["ended"] == DIED]
                if len(deaths) <= max_retries:
                    return self._take(trial, owner, attempts)
                self.storage.set_trial_system_attr(trial._trial_id, ATTEMPTS, attempts)
                reason = f"its worker died {len(deaths)} times (killed, out of memory, or the machine went down)"
                self.storage.set_trial_user_attr(trial._trial_id, "error", reason)
                self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            for trial in trials:
                if trial.state is TrialState.WAITING and self.storage.set_trial_state_values(
                    trial._trial_id, TrialState.RUNNING
                ):
                    return self._take(trial, owner, [])
            if len(trials) >= n_trials:
                return None
            return self._take(self._new(None if points is None else points[len(trials)]), owner, [])

    def unfinished(self) -> bool:
        """Whether any trial runs or waits."""
        return any(not trial.state.is_finished() for trial in self.trials())

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
        trial = self.storage.get_trial(claim.trial_id)
        record = trial.system_attrs.get(OWNER) or {}
        return trial.state is TrialState.RUNNING and record.get("token") == claim.owner.token

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
        with self.lock():
            if not self.owns(claim):
                raise Lost
            self._close(claim, state.name.lower())
            self.note(claim, **facts)
            self.study.tell(claim.number, None if values is None else list(values), state=state)

    def give_back(self, claim: Claim) -> None:
        """Leave the trial to whoever asks next: it was stopped, and goes on from its checkpoint."""
        with self.lock():
            if self.owns(claim):
                self._close(claim, STOPPED)
                self.storage.set_trial_system_attr(claim.trial_id, OWNER, None)

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

    def _new(self, point: dict[str, Any] | None) -> FrozenTrial:
        template = None
        if point is not None:
            template = create_trial(state=TrialState.RUNNING, system_attrs={"fixed_params": point})
        return self.storage.get_trial(self.storage.create_new_trial(self.study_id, template))

    def _take(self, trial: FrozenTrial, owner: Owner, attempts: list[dict[str, Any]]) -> Claim:
        attempt = {"worker": owner.token, "machine": owner.machine.partition(" ")[0], "began": _now(), "ended": None}
        self.storage.set_trial_system_attr(trial._trial_id, ATTEMPTS, [*attempts, attempt])
        self.storage.set_trial_system_attr(trial._trial_id, OWNER, owner.record())
        claim = Claim(trial._trial_id, trial.number, len(attempts) + 1, owner)
        self.beat(claim)
        return claim

    def _close(self, claim: Claim, how: str) -> None:
        attempts = _closed(self.storage.get_trial(claim.trial_id), how)
        self.storage.set_trial_system_attr(claim.trial_id, ATTEMPTS, attempts)


def attempts_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """Who tried, from when to when (`until`), and how each attempt `ended`."""
    return list(trial.system_attrs.get(ATTEMPTS) or [])


def _closed(trial: FrozenTrial, how: str) -> list[dict[str, Any]]:
    attempts = [dict(attempt) for attempt in attempts_of(trial)]
    if attempts and attempts[-1]["ended"] is None:
        attempts[-1] |= {"ended": how, "until": _now()}
    return attempts


def _now() -> str:
    return datetime.now().isoformat(timespec="milliseconds")
