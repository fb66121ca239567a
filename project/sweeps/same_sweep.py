"""Whether a study was begun with the sweep that is asked for now; only then may a command go on with it."""

from pathlib import Path
from typing import Any

from project.runs.folder import CONFIG
from project.sweeps.settings import Settings
from project.sweeps.shared_study import SharedStudy
from project.sweeps.space import Space

# what says how and where trials are trained, and not what they come to
HOW_AND_WHERE = ("outputs", "threads", "data.root", "data.cache_folder", "data.num_workers", "trainer.accelerator")
OF_A_SWEEP = "sweep"  # the study's user attribute that tells what is searched


def what_is_searched(settings: Settings, space: Space, objectives: list[str], directions: list[str]) -> dict[str, str]:
    """What makes a sweep this one and no other; how many trials it has and how they are drawn may change."""
    told = {
        **{word.partition("=")[0]: word.partition("=")[2] for word in space.fixed},
        **{key: f"search {drawn}" for key, drawn in space.distributions.items()},
        "sweep.space": str(settings.space),
        "sweep.objectives": str(objectives),
        "sweep.directions": str(directions),
        "sweep.seeds": str(settings.seeds),
    }
    return {key: value for key, value in told.items() if key not in HOW_AND_WHERE}


def differences(shared: SharedStudy, folder: Path, now: dict[str, str]) -> list[str]:
    """What the study in `folder` was begun with and is not `now`, line by line; a new study is begun with `now`."""

    def begun() -> Any:
        before = shared.study.user_attrs.get(OF_A_SWEEP)
        if before is None and not _holds_trials(folder):
            shared.study.set_user_attr(OF_A_SWEEP, now)
            return now
        return before

    before = shared.locked(begun)
    if before is None:
        return [f"{folder} holds the trials of a study that is not in this storage"]
    return [
        f"{key}: {before.get(key, 'not given')} before, {now.get(key, 'not given')} now"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    ]


def _holds_trials(folder: Path) -> bool:
    return any(path.name.isdigit() and (path / CONFIG).exists() for path in folder.iterdir())
