"""`python -m project.tune model=resnet`: what trains a model fastest on this machine."""

from typing import Any

from omegaconf import DictConfig

from project.data.published import check_reach
from project.runs.command import command


def tune(cfg: DictConfig) -> list[str]:
    """Measure what `cfg` (a composed `conf/tune.yaml`) asks for; the overrides that train it fastest."""
    from project.runs.tuning import run_tuning  # torch and lightning, only when there is something to measure

    return run_tuning(cfg)


def _tune(cfg: DictConfig, words: list[str]) -> Any:
    check_reach(str(cfg.data.get("_target_")), str(cfg.data.get("root")))
    return tune(cfg)


main = command("tune", _tune)

if __name__ == "__main__":
    main()
