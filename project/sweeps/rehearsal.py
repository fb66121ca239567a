"""A trial in memory, before the first one: what cannot work is told at once, and costs the study no trial."""

import inspect
from collections.abc import Callable, Sequence
from typing import TypeVar

import optuna
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from optuna import Trial
from optuna.samplers import CmaEsSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from project.errors import UserError
from project.runs.checks import check
from project.sweeps.composing import Composer
from project.sweeps.drawing import make_pruner, sampler_for
from project.sweeps.functions import function
from project.sweeps.settings import Settings
from project.sweeps.space import Space

T = TypeVar("T")
STEPS = 4  # validations of the rehearsed trials


def rehearse(settings: Settings, space: Space, directions: Sequence[str], compose: Composer) -> None:
    """Draw a trial, compose its config, report values and ask the pruner, all in memory.

    Raises:
        UserError: the sampler, the pruner, `sweep.space` or a constraint fails, or what is drawn makes no config.
    """
    for name in settings.constraints:
        _takes_one(function(name, "sweep.constraints"), f"sweep.constraints: {name}", "the config")
    if settings.space is not None:
        _takes_one(space.function, f"sweep.space={settings.space}", "the trial")
    sampler = sampler_for(settings.sampler, 0, 0, space)
    if len(directions) > 1 and isinstance(sampler, CmaEsSampler):
        raise UserError("sweep/sampler=cmaes knows one objective only: take tpe, gp, nsga2 or random")
    pruner = make_pruner(settings.pruner)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        sampler=sampler, pruner=pruner, directions=[StudyDirection[name.upper()] for name in directions]
    )
    trial = _tried("sweep/sampler", study.ask)
    words = _drawn(settings, space, trial)
    if words is not None:
        try:
            check(compose(words), [], "train")
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"{' '.join(words)}: {' '.join(str(error).split())[:200]}") from error
    if len(directions) == 1:
        _prune(study, trial)


def _drawn(settings: Settings, space: Space, trial: Trial) -> list[str] | None:
    """The words of the trial; None if the space's function rejects it."""
    try:
        return space.suggest(trial)
    except (UserError, optuna.TrialPruned) as said:
        if isinstance(said, UserError):
            raise
        return None
    except Exception as error:  # of a person's function, or of a sampler whose arguments it cannot use
        what = "sweep/sampler" if settings.space is None else f"sweep.space={settings.space} or sweep/sampler"
        raise UserError(f"{what}: no trial can be drawn ({type(error).__name__}: {error})") from error


def _prune(study: optuna.Study, trial: Trial) -> None:
    """Values that get better, beside a trial that has ended."""
    values = {step: float(step) for step in range(1, STEPS + 1)}
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0, intermediate_values=values))
    for step, value in values.items():
        trial.report(value, step)
        _tried("sweep/pruner", trial.should_prune)


def _tried(what: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:  # Optuna's classes use their arguments unchecked
        raise UserError(f"{what}: it does not work with these arguments ({type(error).__name__}: {error})") from error


def _takes_one(called: Callable[..., object] | None, name: str, what: str) -> None:
    try:
        inspect.signature(called).bind(None)  # type: ignore[arg-type]
    except TypeError as error:
        raise UserError(f"{name} is called with one argument, {what}, which it does not take ({error})") from error
    except ValueError:  # a function that does not tell its signature
        return
