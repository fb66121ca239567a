"""Samplers and pruners: Optuna's, made for one trial in one of many processes."""

import hashlib
import itertools
import math
from typing import Any

from hydra.errors import InstantiationException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from project.errors import UserError
from project.runs.hydra_versions import instantiate
from project.sweeps.space import Space

EXTRA = "pip install '.[samplers]'"
MOST_POINTS = 1_000_000
DEFAULT = {"_target_": "optuna.samplers.TPESampler"}
Config = dict[str, Any] | None


def sampler_for(config: Config, seed: int, number: int) -> BaseSampler | None:
    """The sampler that draws trial `number`, with a seed of its own: workers and restarts never repeat each other.

    Args:
        config: a sampler's class (`_target_`) and its arguments; None: Optuna's default.
        seed: of the sweep.

    Returns:
        None for a grid, whose points are dealt out by number.

    Raises:
        UserError: the sampler lacks a package, or refuses an argument.
    """
    if _is(config, "GridSampler"):
        return None
    # a quasi-random sequence is one sequence for all, numbered by the study
    of_its_own = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    return _made(config or DEFAULT, "sweep/sampler", seed=seed if _is(config, "QMCSampler") else of_its_own)


def make_pruner(config: Config) -> BasePruner:
    """The pruner; of None one that never stops a trial.

    Raises:
        UserError: it lacks a package, or refuses an argument.
    """
    return NopPruner() if config is None else _made(config, "sweep/pruner")


def grid_points(config: Config, space: Space) -> list[dict[str, Any]] | None:
    """Of a grid sampler, every point of the space; None for the other samplers.

    Raises:
        UserError: a parameter of the space has no steps.
    """
    if not _is(config, "GridSampler"):
        return None
    if space.function is not None:
        raise UserError("sweep/sampler=grid searches what sweep.params lists, not a function: set sweep.space=null")
    axes = {key: _steps(key, drawn) for key, drawn in space.distributions.items()}
    count = math.prod(len(values) for values in axes.values())
    if count > MOST_POINTS:
        raise UserError(f"the grid has {count:,} points: take fewer values, or sweep/sampler=random")
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def _steps(key: str, drawn: Any) -> list[Any]:
    if isinstance(drawn, CategoricalDistribution):
        return list(drawn.choices)
    if isinstance(drawn, IntDistribution) and not drawn.log:
        return list(range(drawn.low, drawn.high + 1, drawn.step))
    if isinstance(drawn, IntDistribution):
        return list(range(drawn.low, drawn.high + 1))
    assert isinstance(drawn, FloatDistribution)
    if drawn.step is None:
        raise UserError(
            f"sweep/sampler=grid: {key} has no steps ({drawn.low} to {drawn.high}): give choice(...) or "
            "range(start,stop,step)"
        )
    count = round((drawn.high - drawn.low) / drawn.step) + 1
    return [round(drawn.low + index * drawn.step, 12) for index in range(count)]


def _is(config: Config, name: str) -> bool:
    return config is not None and str(config["_target_"]).endswith(f".{name}")


def _made(config: dict[str, Any], group: str, **arguments: Any) -> Any:
    try:
        return instantiate(config, **arguments)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, ImportError):
            raise UserError(f"{group} needs a package that is not installed ({cause}): {EXTRA}") from error
        raise UserError(f"{group}: {' '.join(str(cause).split())}") from error
