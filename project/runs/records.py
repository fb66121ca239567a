"""Runs as their folders tell of them, read without torch: config, metrics, and of unfinished ones the log."""

import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from project.callbacks.monitor import monitor_mode
from project.errors import UserError
from project.runs.folder import CONFIG, METRICS, find_run, recorded_config
from project.runs.settings import settings

LOG, TRIALS = "train.log", "trials.csv"
FINISHED, UNFINISHED = "finished", "unfinished"
_BEGAN = re.compile(r": [\d,]+ parameters, .* -> ")
_EPOCH = re.compile(r": epoch +(\d+)/\S+ +\S+ \S+/s  (.*)")
_ENDED = re.compile(r": run: +\S")


@dataclass(frozen=True)
class Record:
    """A run.

    Attributes:
        settings: see `project.runs.settings`; without `seed`.
        seed: None: its config has none.
        state: `finished`, `unfinished`, or of a sweep's trial what became of it: `pruned`, `failed`, ...
        metrics: `best` (of its monitor), `test/...`, `val/...`, `samples`, `epochs`, `seconds`, as far as known.
    """

    folder: Path
    settings: Mapping[str, Any]
    seed: Any
    state: str
    metrics: Mapping[str, float] = field(default_factory=dict)


def find_records(names: list[str], outputs: str, tell: Callable[[str], None]) -> list[Record]:
    """The runs of each of `names`: a run's folder, a file in it, `latest`, or a folder with runs at any depth.

    Args:
        names: paths.
        outputs: where `latest` looks.
        tell: hears of each folder that is left out, and why.

    Raises:
        UserError: a name that does not exist, or below which there is no run.
    """
    found: dict[Path, Record] = {}
    for name in names:
        folders = list(_folders(Path(name))) if name != "latest" and Path(name).is_dir() else []
        if not folders:
            try:
                folders = [find_run(name, outputs)]
            except UserError as error:
                if name == "latest" or not Path(name).is_dir():
                    raise
                raise UserError(
                    f"there is no run in {name}, at any depth. A run's folder looks like "
                    "outputs/train/resnet/2026-01-31_12-00-00"
                ) from error
        for folder in folders:
            place = folder.resolve()
            if place not in found:
                try:
                    found[place] = read_record(folder.absolute(), tell)
                except UserError as error:
                    tell(f"left out: {error}")
    return list(found.values())


def read_record(folder: Path, tell: Callable[[str], None]) -> Record:
    """The run in `folder`.

    Raises:
        UserError: its config cannot be read, or is that of something else.
    """
    config = recorded_config(folder)
    if config.get("lr_find"):
        raise UserError(f"{folder} is a learning-rate range test, and no training")
    mode = monitor_mode(str(config.get("monitor")), config.get("mode"))
    metrics, goes_on = _from_log(folder / LOG, str(config.get("monitor")), max if mode == "max" else min)
    state = UNFINISHED
    if (folder / METRICS).exists() and not goes_on:
        try:
            seconds = {"seconds": metrics["seconds"]} if "seconds" in metrics else {}
            metrics, state = {**seconds, **_from_file(folder / METRICS)}, FINISHED
        except (OSError, ValueError, AttributeError) as error:
            tell(f"{folder / METRICS} is not readable, so the run is shown as unfinished: {error}")
    else:
        state = _of_trial(folder) or UNFINISHED
    own = settings(config)
    return Record(folder, own, own.pop("seed", None), state, metrics)


def _folders(top: Path) -> Iterator[Path]:
    """Folders with a config at or below `top`, also behind links; each once, in the order of their names."""
    seen = set()
    for place, names, files in os.walk(top, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in ("checkpoints", "cache"))
        if CONFIG in files:
            yield Path(place)


def _from_file(path: Path) -> dict[str, float]:
    content = json.loads(path.read_text(encoding="utf-8"))
    numbers = {**content, "best": (content.get("best") or {}).get("value")}
    return {name: float(value) for name, value in numbers.items() if _is_number(value)}


def _from_log(path: Path, monitor: str, better: Callable[..., float]) -> tuple[dict[str, float], bool]:
    """The last epoch's figures, the best of the monitor, and the seconds of training and test, over all sessions; and
    whether the last session, e.g. of a finished run that was given more epochs, has not come to its end."""
    found: dict[str, float] = {}
    seconds, began, ended, goes_on = 0.0, None, None, False
    for line in _lines(path):
        if _BEGAN.search(line):
            seconds += _between(began, ended)
            began, ended, goes_on = _time(line), None, True
        elif epoch := _EPOCH.search(line):
            ended = _time(line)
            words = epoch[2].split()
            values = {name: _number(value) for name, value in zip(words[::2], words[1::2], strict=False)}
            known = {name: value for name, value in values.items() if value is not None}
            if monitor in known:
                found["best"] = better(found.get("best", known[monitor]), known[monitor])
            found |= {**known, "epochs": float(epoch[1])}
        elif _ENDED.search(line):
            ended, goes_on = _time(line), False
    seconds += _between(began, ended)
    return {**found, **({"seconds": seconds} if seconds else {})}, goes_on


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _time(line: str) -> datetime | None:
    try:
        return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")
    except ValueError:
        return None


def _between(began: datetime | None, ended: datetime | None) -> float:
    return 0.0 if began is None or ended is None else max(0.0, (ended - began).total_seconds())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _of_trial(folder: Path) -> str | None:
    """What the sweep above `folder` says of its trial; None: there is none."""
    try:
        with (folder.parent / TRIALS).open(encoding="utf-8", newline="") as file:
            states = [row["state"] for row in csv.DictReader(file) if row["number"] == folder.name]
    except (OSError, KeyError, ValueError, csv.Error):
        return None
    return states[-1] if states else None
