"""A finished or stopped run, loaded to be used."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from project.callbacks.checkpoint_files import load_checkpoint
from project.data.module import DataModule
from project.errors import UserError
from project.runs.building import build
from project.runs.folder import DATA, find_run, read_config
from project.runs.resuming import relocated
from project.runs.speed import lay_out
from project.tasks.task import Task


@dataclass
class Trained:
    """A run's network with its weights, in evaluation mode.

    `data` is the run's `data.json`: sizes, classes by label, mean and std per channel. `step` counts samples seen.
    """

    folder: Path
    cfg: DictConfig
    data: dict[str, Any]
    task: Task
    checkpoint: Path
    step: int


def load_run(name: str, outputs: str, checkpoint: str = "best") -> Trained:
    """The run `name` (a folder, or `latest`) with the weights of its checkpoint `best` or `last`.

    Raises:
        UserError: no such run, or it has no such checkpoint, or a damaged one.
    """
    folder = find_run(name, outputs)
    cfg = relocated(read_config(folder), folder)
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.exists():
        have = sorted(file.stem for file in path.parent.glob("*.ckpt"))
        raise UserError(f"the run {folder} has no checkpoint={checkpoint}; it has: {', '.join(have) or 'none yet'}")
    try:
        data = json.loads((folder / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / DATA} is missing or not readable: {error}") from error
    state = load_checkpoint(path)
    task: Task = build(cfg.model)
    lay_out(task.net, cfg.get("channels_last", True))
    try:
        task.load_state_dict(state["state_dict"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit the network that {folder / 'config.yaml'} describes: {reason}") from error
    return Trained(folder, cfg, data, task.eval(), path, int(state.get("samples_seen", 0)))


def check_unchanged(folder: Path, recorded: dict[str, Any], data: DataModule) -> None:
    """Whether the data have still the classes and the vocabulary that the run in `folder` was sized by.

    Raises:
        UserError: they have others, so that the network's inputs or outputs would mean something else.
    """
    facts = json.loads(json.dumps(data.facts))
    for name in ("classes", "points", "vocabulary", "source", "target"):
        if name in facts and name in recorded and facts[name] != recorded[name]:
            what = name if name in ("classes", "points") else "tokens"
            raise UserError(
                f"{folder} was trained with other {what} than its data have now "
                f"({DATA}: {name}): the files have changed. Bring them back, or train anew"
            )
