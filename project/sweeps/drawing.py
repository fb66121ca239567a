"""Samplers and pruners: Optuna's, made for one trial in one of many processes."""

import hashlib
import itertools
import math
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from hydra.errors import InstantiationException
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler
from optuna.trial import FrozenTrial

from project.errors import UserError
from project.runs.hydra_versions import instantiate
from project.sweeps.space import Space

EXTRA = "pip install '.[samplers]'"
MOST_POINTS = 1_000_000
DEFAULT = {"_target_": "optuna.samplers.TPESampler"}
# imported by Optuna when the first parameter is drawn
NEEDS = {"CmaEsSampler": "cmaes", "GPSampler": "scipy", "QMCSampler": "scipy", "WilcoxonPruner": "scipy"}
Config = dict[str, Any] | None


class Quasi(QMCSampler):
    """Draws point `number` of the sequence: no trial has another's, whoever draws at the same time or dies.

    Optuna's own counts points in the storage, where two workers may read the same count, and draws by chance until a
    first trial is finished.

    Args:
        number: of the trial.
        space: what is searched; what else a function suggests is drawn by chance, with `seed_of_chance`.
    """

    def __init__(self, number: int, space: Space, seed_of_chance: int, **arguments: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(independent_sampler=RandomSampler(seed=seed_of_chance), **arguments)
        self.number, self.space = number, space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {key: drawn for key, drawn in self.space.distributions.items() if not drawn.single()}

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self.number


def sampler_for(config: Config, seed: int, number: int, space: Space | None = None) -> BaseSampler | None:
    """The sampler that draws trial `number`, with a seed of its own: workers and restarts never repeat each other.

    Args:
        config: a sampler's class (`_target_`) and its arguments; None: Optuna's default.
        seed: of the sweep.
        space: what is searched, which a quasi-random sequence must know.

    Returns:
        None for a grid, whose points are dealt out by number.

    Raises:
        UserError: the sampler lacks a package, or refuses an argument.
    """
    if _is(config, "GridSampler"):
        return None
    of_its_own = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    if config is not None and _is(config, "QMCSampler"):  # one sequence for all
        _check_packages(config, "sweep/sampler")
        arguments = {key: value for key, value in config.items() if key != "_target_"}
        try:
            return Quasi(number, space or Space({}), of_its_own, **{**arguments, "seed": seed})
        except (TypeError, ValueError) as error:
            raise UserError(f"sweep/sampler: {' '.join(str(error).split())}") from error
    return _made(config or DEFAULT, "sweep/sampler", seed=of_its_own)


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


def _steps(key: str, drawn: Any) -> Sequence[Any]:
    if isinstance(drawn, CategoricalDistribution):
        return list(drawn.choices)
    if isinstance(drawn, IntDistribution) and not drawn.log:
        return range(drawn.low, drawn.high + 1, drawn.step)
    if isinstance(drawn, IntDistribution):
        return range(drawn.low, drawn.high + 1)
    assert isinstance(drawn, FloatDistribution)
    if drawn.step is None:
        raise UserError(
            f"sweep/sampler=grid: {key} has no steps ({drawn.low} to {drawn.high}): give choice(...) or "
            "range(start,stop,step)"
        )
    count = round((drawn.high - drawn.low) / drawn.step) + 1
    if count > MOST_POINTS:
        return range(count)  # not to be written out
    return [round(drawn.low + index * drawn.step, 12) for index in range(count)]


def _is(config: Config, name: str) -> bool:
    return config is not None and str(config["_target_"]).endswith(f".{name}")


def _check_packages(config: dict[str, Any], group: str) -> None:
    name = NEEDS.get(str(config["_target_"]).rpartition(".")[2])
    if name is not None and find_spec(name) is None:
        raise UserError(f"{group} needs a package that is not installed ({name}): {EXTRA}")


def _made(config: dict[str, Any], group: str, **arguments: Any) -> Any:
    _check_packages(config, group)
    try:
        return instantiate(config, **arguments)
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise UserError(f"{group}: {' '.join(str(cause).split())}") from error
