"""The config of a run that is gone on with: its own, plus what the command line changes."""

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from project.errors import UserError
from project.runs.checks import check, check_number, groups, unknown
from project.runs.folder import find_run, read_config

# other parts of the resolved config were made from these
FIXED = ("seed", "monitor", "mode", "name", "outputs", "folder", "lr_find", "sizes", "resume")


def resumed_config(name: str, words: list[str], outputs: str) -> DictConfig:
    """The config of the run `name` with the values of the command line's `words`, and with `resume` set.

    Args:
        name: a run's folder, or `latest`.
        words: what the command line changes in it.
        outputs: where `latest` looks.

    Raises:
        UserError: no such run; a word that would make another run of it.
    """
    folder = find_run(name, outputs)
    cfg = relocated(read_config(folder), folder)
    for word in OverridesParser.create().parse_overrides(words):
        key = word.key_or_group
        if key in groups():
            raise UserError(
                f"{key}={word.value()}: a run is resumed with its own {key}. Values can be changed, e.g. "
                "trainer.max_epochs=200; for another choice start a new run"
            )
        if key in FIXED:
            raise UserError(f"{key}={word.value()}: a run is resumed with the {key} that it has ({cfg.get(key)})")
        if OmegaConf.select(cfg, key, default=cfg) is cfg and not word.is_add():
            raise UserError(unknown(key, cfg))
        check_number(key, word.value(), OmegaConf.select(cfg, key))
        if word.is_delete():
            parent, _, leaf = key.rpartition(".")
            del (OmegaConf.select(cfg, parent) if parent else cfg)[leaf]
            continue
        OmegaConf.update(cfg, key, word.value(), force_add=True)
    cfg.resume = str(folder)
    check(cfg, [], "train")
    return cfg


def relocated(cfg: DictConfig, folder: Path) -> DictConfig:
    """`cfg` with every path into the run's former folder led to `folder`: runs may be moved."""
    former = str(cfg.folder)

    def lead(node: Any) -> None:
        keys: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
        for key in keys:
            value = node[key]
            if isinstance(value, DictConfig | ListConfig):
                lead(value)
            elif isinstance(value, str) and (value == former or value.startswith(former + "/")):
                node[key] = str(folder) + value[len(former) :]

    lead(cfg)
    return cfg
