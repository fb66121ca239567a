"""Who trains a trial, and what each attempt at it came to, as the trial itself records it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from project.sweeps.owners import Owner

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


def is_owned(trial: FrozenTrial, owner: Owner) -> bool:
    """Whether `owner` trains the trial."""
    return trial.state is TrialState.RUNNING and (trial.system_attrs.get(OWNER) or {}).get("token") == owner.token


def has_told(trial: FrozenTrial, claim: Claim, state: TrialState) -> bool:
    """Whether the claimed attempt has ended with this state."""
    attempts = attempts_of(trial)
    if trial.state is not state or len(attempts) != claim.attempt:
        return False
    return bool(attempts[-1]["worker"] == claim.owner.token and attempts[-1]["ended"] == state.name.lower())


def attempts_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """Who tried, from when to when (`until`), and how each attempt `ended`."""
    return list(trial.system_attrs.get(ATTEMPTS) or [])


def closed(trial: FrozenTrial, how: str) -> list[dict[str, Any]]:
    """The attempts, the last one ended now."""
    attempts = [dict(attempt) for attempt in attempts_of(trial)]
    if attempts and attempts[-1]["ended"] is None:
        attempts[-1] |= {"ended": how, "until": now()}
    return attempts


def now() -> str:
    """As it is recorded."""
    return datetime.now().isoformat(timespec="milliseconds")
