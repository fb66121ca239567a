"""A run that another machine trains: its folder, and the command that is given there."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from project.runs.folder import CONFIG, find_run, make_folder

OF_THE_PLACE = ("cluster=", "cluster.", "folder=", "resume=")  # words that say where a run is


@dataclass(frozen=True)
class Elsewhere:
    """What is given to a cluster.

    Attributes:
        folder: the run's.
        words: of the command line there, for its first start.
        config_written: the time of change of a resumed run's config before that start, in nanoseconds; None: a new run.
    """

    folder: Path
    words: list[str]
    config_written: int | None

    @property
    def resumed(self) -> bool:
        return self.config_written is not None


def elsewhere(cfg: DictConfig, typed: list[str], changes: list[str]) -> Elsewhere:
    """Makes the folder of a new run, or finds that of one that is resumed.

    Args:
        cfg: a composed `conf/train.yaml`; of a run that is resumed, its own, with `resume` set.
        typed: the words of the person's command line.
        changes: those of them that change the config of a run that is resumed.

    Raises:
        UserError: it cannot be made, or there is none.
    """
    if cfg.resume is not None:
        folder = find_run(str(cfg.resume), cfg.outputs)
        return Elsewhere(folder, [f"resume={folder}", *changes], (folder / CONFIG).stat().st_mtime_ns)
    folder = make_folder(cfg)
    words = [word for word in typed if not word.lstrip("+").startswith(OF_THE_PLACE)]
    return Elsewhere(folder, [*words, f"folder={folder}"], None)
