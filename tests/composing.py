"""Configs for tests, composed by Hydra; each combination of words once, since that takes it a fifth of a second."""

import copy
import pickle
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"


def _parse_files_once() -> None:
    """This process and the commands that are forked from it parse a YAML file once: a quarter of Hydra's time."""
    sources: list[Any] = list(Plugins.instance().discover(ConfigSource))
    (source,) = (found for found in sources if found.scheme() == "file")
    load, known = source.load_config, dict[Any, bytes]()

    def load_config(self: Any, config_path: str) -> Any:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.exists():
            return load(self, config_path)
        key = (self.provider, file, file.stat().st_mtime_ns, file.stat().st_size)
        if key not in known:
            known[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(known[key])  # quicker than a copy

    source.load_config = load_config


_parse_files_once()


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
