"""From a trial's parameters to its config: what the command line of the same words gives, a few milliseconds later."""

import copy
from collections.abc import Mapping
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl  # the only use of Hydra's private names
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict


class Composer:
    """Composes trials' configs. What only values tell apart shares one composition of the groups.

    Args:
        loader: Hydra's.
        master: the config of the sweep's command.
        fixed: overrides that every trial has.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, fixed: list[str]) -> None:
        self.loader, self.master, self.fixed = loader, master, fixed
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._is_group: dict[str, bool] = {}
        self._chosen: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, words: list[str]) -> DictConfig:
        """The config, with its `hydra` node and without the sweep, of a trial that draws `words`.

        Raises:
            HydraException: no such choice, or no such key.
        """
        parsed = OverridesParser.create().parse_overrides(words)
        values = [word for word in parsed if not self.is_group(word.key_or_group)]
        chosen = tuple(str(word.input_line) for word in parsed if word not in values)
        if chosen not in self._bases:
            self._bases[chosen] = self.loader.load_sweep_config(self.master, [*self.fixed, *chosen])
        cfg = copy.deepcopy(self._bases[chosen])
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        OmegaConf.copy_cache(from_config=self.master, to_config=cfg)
        with open_dict(cfg):
            cfg.pop("sweep", None)  # a trial is a run like any other
            cfg.pop("cluster", None)
            cfg.hydra.mode = RunMode.MULTIRUN
            cfg.hydra.overrides.task = [word for word in [*self.fixed, *words] if not word.startswith("sweep=")]
        return cfg

    def choosing(self, chosen: Mapping[str, Any]) -> DictConfig:
        """The config of these members of groups alone. Not to be changed."""
        words = tuple(f"{group}={choice}" for group, choice in chosen.items())
        if words not in self._chosen:
            self._chosen[words] = self.loader.load_sweep_config(self.master, list(words))
        return self._chosen[words]

    def is_group(self, key: str) -> bool:
        """Whether `key` is a config group."""
        if key not in self._is_group:
            self._is_group[key] = bool(self.loader.get_group_options(key.partition("@")[0]))
        return self._is_group[key]


def choices(cfg: DictConfig) -> dict[str, Any]:
    """Which member of each group a config was composed of."""
    chosen: dict[str, Any] = OmegaConf.to_container(cfg.hydra.runtime.choices)  # type: ignore[assignment]
    return chosen
