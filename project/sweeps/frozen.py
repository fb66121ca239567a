"""A study's trials as they are at one moment, in memory, made fit for Plotly."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from html import escape
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


def frozen(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> optuna.Study:
    """A study of all trials as they are now, for figures that show the same moment while the sweep goes on.

    Plotly reads names and choices as HTML, so they are escaped. Of the attributes none is left: a figure's hover texts
    would show them all.
    """
    return study_of([_shown(trial) for trial in trials], directions)


def study_of(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> optuna.Study:
    """A study in memory of these trials, numbered anew from 0."""
    with quiet():
        study = optuna.create_study(directions=[StudyDirection[direction.upper()] for direction in directions])
        study.add_trials(trials)
    return study


@contextmanager
def quiet() -> Iterator[None]:
    """No log line and no warning of Optuna's while the block runs."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _shown(trial: FrozenTrial) -> FrozenTrial:
    began = trial.datetime_start
    if began is None and trial.state is not TrialState.WAITING:
        began = trial.datetime_complete or datetime.now()  # told of without ever having been begun
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=trial.values,
        datetime_start=began,
        datetime_complete=trial.datetime_complete,
        params={_escaped(name): _escaped(value) for name, value in trial.params.items()},
        distributions={_escaped(name): _drawn(drawn) for name, drawn in trial.distributions.items()},
        user_attrs={},
        system_attrs={},
        intermediate_values=trial.intermediate_values,
        trial_id=trial.number,
    )


def _escaped(value: Any) -> Any:
    return escape(value, quote=False) if isinstance(value, str) else value


def _drawn(distribution: BaseDistribution) -> BaseDistribution:
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalDistribution(tuple(_escaped(choice) for choice in distribution.choices))
    return distribution
