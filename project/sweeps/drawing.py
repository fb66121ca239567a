"""Samplers and pruners: Optuna's, made for one trial in one of many processes."""

import hashlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, QMCSampler

from project.errors import UserError
from project.sweeps.space import Space

EXTRA = "pip install '.[samplers]'"
MOST_POINTS = 1_000_000


def sampler_for(make: Any, seed: int, number: int) -> BaseSampler | None:
    """The sampler that draws trial `number`, with a seed of its own: workers and restarts never repeat each other.

    Args:
        make: a partial of a sampler's class; None: Optuna's default.
        seed: of the sweep.

    Returns:
        None for a grid, whose points are dealt out by number.

    Raises:
        UserError: the sampler lacks a package, or refuses an argument.
    """
    kind = _kind(make)
    if kind is GridSampler:
        return None
    # a quasi-random sequence is one sequence for all, numbered by the study
    own = seed if kind is QMCSampler else int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    try:
        sampler: BaseSampler = (make or optuna.samplers.TPESampler)(seed=own)
    except (ImportError, ModuleNotFoundError) as error:
        raise UserError(f"sweep/sampler needs a package that is not installed ({error}): {EXTRA}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"sweep.sampler: {error}") from error
    return sampler


def make_pruner(make: Callable[[], BasePruner] | None) -> BasePruner:
    """The pruner.

    Raises:
        UserError: it lacks a package, or refuses an argument.
    """
    try:
        return NopPruner() if make is None else make()
    except (ImportError, ModuleNotFoundError) as error:
        raise UserError(f"sweep/pruner needs a package that is not installed ({error}): {EXTRA}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"sweep.pruner: {error}") from error


def grid_points(make: Any, space: Space) -> list[dict[str, Any]] | None:
    """Of a grid sampler, every point of the space; None for the other samplers.

    Raises:
        UserError: a parameter of the space has no steps.
    """
    if _kind(make) is not GridSampler:
        return None
    if space.function is not None:
        raise UserError("sweep/sampler=grid searches what sweep.params lists, not a function: set sweep.space=null")
    axes = {key: _steps(key, drawn) for key, drawn in space.distributions.items()}
    count = 1
    for values in axes.values():
        count *= len(values)
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


def _kind(make: Any) -> Any:
    return make.func if isinstance(make, partial) else type(make)
