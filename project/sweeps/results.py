"""What a sweep leaves in its folder while it runs: `trials.csv`, and `best.yaml`, which trains the best trial again."""

import csv
import io
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.trial import FrozenTrial, TrialState

from project.sweeps.claims import STOPPED, attempts_of
from project.sweeps.composing import Composer, choices
from project.sweeps.shared_study import SharedStudy
from project.sweeps.space import Space

TRIALS, BEST = "trials.csv", "best.yaml"
WORDS = "overrides"  # user attribute of a trial: what it was composed with, beside what all have
NOT_OF_A_RUN = ("hydra", "sweep", "folder", "resume", "outputs", "sizes", "test")


def write_results(
    shared: SharedStudy,
    folder: Path,
    objectives: Sequence[str],
    directions: Sequence[str],
    compose: Composer,
    space: Space,
) -> None:
    """Write `trials.csv` and `best.yaml`, each whole or not at all."""
    trials = shared.trials()
    _write(folder / TRIALS, trials_table(trials, objectives))
    best = best_trial(shared.study, trials, directions)
    if best is not None:
        _write(folder / BEST, best_config(best, folder, objectives, len(trials), compose))


def state_of(trial: FrozenTrial) -> str:
    """The trial's state in a word; what was rejected untrained is told from what was pruned, what was stopped from what
    runs."""
    if trial.state is TrialState.RUNNING and (attempts := attempts_of(trial)) and attempts[-1]["ended"] == STOPPED:
        return STOPPED
    return "rejected" if "rejected" in trial.user_attrs else str(trial.state.name.lower())


def best_trial(study: optuna.Study, trials: Sequence[FrozenTrial], directions: Sequence[str]) -> FrozenTrial | None:
    """The best complete trial; of several objectives, the one of the Pareto front that is best by the first."""
    complete = [trial for trial in trials if trial.state.name == "COMPLETE" and trial.values]
    if not complete:
        return None
    front = complete if len(directions) == 1 else study.best_trials
    sign = 1 if directions[0] == "minimize" else -1
    return min(front, key=lambda trial: (sign * trial.values[0], trial.number))


def trials_table(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> str:
    """CSV with a row for every attempt at a trial, times in ISO 8601."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    values = ["value"] if len(objectives) == 1 else list(objectives)
    head = ["number", "attempt", "state", *values, *names, "began", "ended", "seconds", "attempt_ended", "worker"]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*head, "machine", "error"])
    for trial in trials:
        found = trial.values or [None] * len(values)
        shown = [*found, *[None] * (len(values) - len(found))]
        parameters = [trial.params.get(name) for name in names]
        told = trial.user_attrs.get("error") or trial.user_attrs.get("rejected")
        for number, attempt in enumerate(attempts_of(trial) or [{}], start=1):
            writer.writerow(
                [
                    trial.number,
                    number,
                    state_of(trial),
                    *shown,
                    *parameters,
                    attempt.get("began"),
                    attempt.get("until"),
                    trial.user_attrs.get("seconds"),
                    attempt.get("ended"),
                    attempt.get("worker"),
                    attempt.get("machine"),
                    told,
                ]
            )
    return text.getvalue()


def best_config(trial: FrozenTrial, folder: Path, objectives: Sequence[str], count: int, compose: Composer) -> str:
    """A YAML of the group `experiment` that composes to the trial's config."""
    cfg = compose(list(trial.user_attrs.get(WORDS, [])))
    if trial.user_attrs.get("threads") is not None:
        cfg.threads = trial.user_attrs["threads"]  # the same bits need the same number of threads
    chosen = {
        group: choice
        for group, choice in choices(cfg).items()
        if not group.startswith(("hydra/", "sweep")) and group != "experiment" and choice is not None
    }
    chosen.pop("trainer", None)  # a preset would win over the values below
    own = {group: choice for group, choice in choices(cfg).items() if group in ("hydra/launcher", "hydra/sweeper")}
    base = compose.choosing(own | chosen)
    values = difference(base, cfg)
    whole = _plain(cfg)
    for group in [group for group in chosen if _lacks(_plain(base).get(group), whole.get(group))]:
        chosen[group], values[group] = None, whole[group]  # a config cannot be told to forget a key
    value = ", ".join(f"{name} {number:.6g}" for name, number in zip(objectives, trial.values or [], strict=False))
    head = [
        "# @package _global_",
        f"# python -m project.train experiment={folder / BEST}",
        f"# Trial {trial.number} of {count}: {value}. What was searched:",
        *[f"#   {name} = {chosen}" for name, chosen in trial.params.items()],
    ]
    body = {"defaults": [{f"override /{group}": choice} for group, choice in chosen.items()], **values}
    return "\n".join(head) + "\n" + OmegaConf.to_yaml(OmegaConf.create(body))


def difference(base: DictConfig, cfg: DictConfig) -> dict[str, Any]:
    """What turns `base` into `cfg`: values that are new or others, unresolved; null for what is gone."""
    one, two = _plain(base), _plain(cfg)
    for key in NOT_OF_A_RUN:
        one.pop(key, None)
        two.pop(key, None)
    changed: dict[str, Any] = _difference(one, two)
    return changed


def _lacks(one: Any, two: Any) -> bool:
    """Whether a key of `one` is gone in `two`."""
    if not isinstance(one, dict) or not isinstance(two, dict):
        return False
    return any(key not in two or _lacks(value, two[key]) for key, value in one.items())


def _difference(one: Any, two: Any) -> Any:
    changed = {key: None for key in one if key not in two}
    for key, value in two.items():
        if key not in one:
            changed[key] = value
        elif isinstance(value, dict) and isinstance(one[key], dict):
            inner = _difference(one[key], value)
            if inner:
                changed[key] = inner
        elif value != one[key] or type(value) is not type(one[key]):
            changed[key] = value
    return changed


def _plain(cfg: DictConfig) -> dict[str, Any]:
    copied = cfg.copy()
    with open_dict(copied):
        copied.pop("hydra", None)
    plain = OmegaConf.to_container(copied, resolve=False)
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:6]}")  # two heads may write at once
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
