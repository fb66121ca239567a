"""What a sweep came to, in a screen of text."""

import math
import shlex
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from project.sweeps.results import BEST, best_trial, state_of
from project.sweeps.shared_study import SharedStudy

ENOUGH = 5  # trials before their importances mean something


def summary(shared: SharedStudy, folder: Path, objectives: Sequence[str], directions: Sequence[str]) -> str:
    """The best trial and how to train it again, which parameters mattered, what pruning saved."""
    trials = shared.trials()
    counted = Counter(state_of(trial) for trial in trials)
    lines = ["", ", ".join(f"{number} {state}" for state, number in counted.items()) + f" of {len(trials)} trials"]
    best = best_trial(shared.study, trials, directions)
    if best is None:
        return "\n".join([*lines, "no trial was trained to its end, so there is no best one", f"sweep: {folder}"])
    if len(directions) == 1:
        lines.append(f"best: trial {best.number}, {objectives[0]} {best.values[0]:.4f}")
        lines += [f"  {name} = {_short(value)}" for name, value in best.params.items()]
    else:
        front = sorted(shared.study.best_trials, key=lambda trial: trial.values[0])
        lines.append(f"the Pareto front, {len(front)} trials:")
        lines += [f"  trial {trial.number}: {_values(trial, objectives)}" for trial in front]
    weights = importances(shared.study, len(directions))
    if weights and counted["complete"] >= ENOUGH:
        lines.append("importance: " + ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items()))
    saved, whole = validations_saved(trials)
    if saved:
        lines.append(f"pruning saved {saved} of {whole} epochs ({saved / whole:.0%})")
    place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    lines += [
        f"train the best again: python -m project.train experiment={shlex.quote(str(place / BEST))}",
        f"look at it:           open {place / 'report.html'}; tensorboard --logdir {place}",
    ]
    return "\n".join(lines)


def importances(study: optuna.Study, objectives: int) -> dict[str, float]:
    """How much each parameter decides whether the first objective is good; {} where that cannot be told yet."""
    sign = 1.0 if study.directions[0] is StudyDirection.MINIMIZE else -1.0
    target = None if objectives == 1 else (lambda trial: sign * float(trial.values[0]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few trials, which the number of them tells
            return dict(optuna.importance.get_param_importances(study, target=target))
    except (ValueError, RuntimeError, ImportError, ZeroDivisionError):
        return {}


def validations_saved(trials: Sequence[FrozenTrial]) -> tuple[int, int]:
    """Validations that pruned trials were spared, and those that all trials would have had: epochs, as a rule."""
    saved = whole = 0
    for trial in trials:
        expected = trial.user_attrs.get("validations")
        if expected is None or not trial.state.is_finished():
            continue
        whole += expected
        if state_of(trial) == "pruned":
            saved += max(0, expected - len(trial.intermediate_values))
    return saved, whole


def _values(trial: FrozenTrial, objectives: Sequence[str]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in zip(objectives, trial.values, strict=True))


def _short(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:,.0f}" if value == int(value) and abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
