"""Configs for tests, composed by Hydra; each combination of words once, since that takes it a fifth of a second."""

import copy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"


def compose_config(*overrides: str, name: str = "train") -> DictConfig:
    """The config that the command line of the same words gives."""
    return copy.deepcopy(_composed(overrides, name))


@cache
def _composed(overrides: tuple[str, ...], name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def target_of(group: str, name: str) -> str:
    """The class that a member of a group names, or that the member names which it is made from."""
    written = OmegaConf.load(CONF / group / f"{name}.yaml")
    assert isinstance(written, DictConfig)
    node = written.get(group, written)
    if "_target_" in node:
        return str(node._target_)
    for base in written.get("defaults", []):
        if isinstance(base, str) and (CONF / group / f"{base}.yaml").exists():
            return target_of(group, base)
    return str(compose_config(f"{group}={name}")[group]._target_)
