"""`python -m project.train model=resnet`: train a network, test it, write a run's folder."""

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from project.data.published import check_reach
from project.runs.command import command


def train(cfg: DictConfig, watchers: Sequence[Any] = ()) -> float:
    """Train as `cfg` (a composed `conf/train.yaml`) says; the best value of `cfg.monitor`.

    Args:
        watchers: Lightning callbacks beside those of the config.
    """
    from project.runs.training import run_training  # torch and lightning, only when there is something to train

    return run_training(cfg, watchers)


def _train(cfg: DictConfig, changes: list[str]) -> float | None:
    cluster = cfg.get("cluster")
    if cfg.resume is not None:
        from project.runs.resuming import resumed_config

        cfg = resumed_config(str(cfg.resume), changes, cfg.outputs)
    check_reach(str(cfg.data.get("_target_")), str(cfg.data.get("root")))
    if cluster is not None:
        _elsewhere(cluster, cfg, changes)
        return None
    return train(cfg)


def _elsewhere(cluster: DictConfig, cfg: DictConfig, changes: list[str]) -> None:
    """Train on the cluster that was chosen."""
    if cluster.get("_target_") == "project.ray.settings.Ray":
        from project.ray.run import run_on_node

        run_on_node(cluster, cfg, sys.argv[1:], changes)
    else:
        from project.slurm.run import send_run

        send_run(cluster, cfg, sys.argv[1:], changes)


def _changes(words: list[str]) -> list[str]:
    """Beside `resume=`, what is to be changed in the config of the run that is resumed, not in a new one."""
    if not any(word.startswith("resume=") and word != "resume=null" for word in words):
        return []
    return [word for word in words if not word.startswith(("-", "resume=", "outputs=", "hydra.", "cluster"))]


main = command("train", _train, kept_apart=_changes, trial=train)

if __name__ == "__main__":
    main()
