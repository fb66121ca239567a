"""Whether what is asked of a sweep can be done: told before the first trial."""

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from project.callbacks.monitor import monitor_mode
from project.errors import UserError
from project.runs.checks import check, check_number
from project.sweeps.composing import Composer
from project.sweeps.space import Space, override, values_of


def directions(objectives: list[str], given: list[str] | None, config: DictConfig) -> list[str]:
    """`maximize` or `minimize` for each objective: as given, or as their names say.

    Raises:
        UserError: an objective stands there twice, or there are more or fewer directions than objectives.
    """
    if len(set(objectives)) != len(objectives):
        raise UserError(f"sweep.objectives={objectives}: each may stand there once")
    if given is not None:
        if len(given) != len(objectives):
            raise UserError(
                f"sweep.directions={given} and sweep.objectives={objectives} differ in length: name each objective, "
                f"e.g. sweep.objectives=[{config.monitor},parameters]"
            )
        return list(given)
    full = {"min": "minimize", "max": "maximize"}
    mode = {str(config.monitor): config.mode, "parameters": "min", "seconds": "min"}
    return [full[monitor_mode(name, mode.get(name))] for name in objectives]


def check_space(space: Space, compose: Composer, config: DictConfig) -> None:
    """Compose and check a config for every choice and both ends of every range: no mistake waits for its trial.

    Raises:
        UserError: what is wrong.
    """
    groups = [word for word in space.fixed if compose.is_group(word.partition("=")[0].lstrip("+~"))]
    base = compose.loader.load_sweep_config(config, groups)
    for word in OverridesParser.create().parse_overrides(space.fixed):
        if word.type is OverrideType.CHANGE and word.input_line not in groups:
            check_number(word.key_or_group, word.value(), _value_of(base, word.key_or_group))
    for key, drawn in space.distributions.items():
        for value in values_of(drawn):
            check_number(key, value, _value_of(base, key))
    first = dict(zip(space.distributions, space.first(), strict=True))
    seen: set[str] = set()
    for key, drawn in space.distributions.items():
        for value in values_of(drawn):
            words = [override(key, value) if other == key else word for other, word in first.items()]
            if str(words) not in seen:
                seen.add(str(words))
                check(compose(words), [], "train")


def _value_of(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None  # filled in later, from the data
