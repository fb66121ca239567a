"""What a sweep searches: Hydra's override syntax on one side, Optuna's distributions on the other."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from project.errors import UserError

Value = None | bool | int | float | str
SpaceFunction = Callable[[Trial], Mapping[str, Any]]


@dataclass
class Space:
    """The parameters of a sweep, in the order in which they are suggested.

    Attributes:
        distributions: of each key, what it is drawn from. A key is a config's (`optimizer.lr`) or a group's (`model`).
        fixed: overrides that every trial has.
        function: draws more, from a trial whose `distributions` have been suggested: returns overrides by key. For
            parameters that exist only beside others, or follow from them.
    """

    distributions: dict[str, BaseDistribution]
    fixed: list[str] = field(default_factory=list)
    function: SpaceFunction | None = None

    def suggest(self, trial: Trial) -> list[str]:
        """The overrides of `trial`, its parameters drawn by the study's sampler; those that it has are kept.

        Raises:
            UserError: `function` returns something else than overrides.
        """
        values: dict[str, Any] = {key: trial._suggest(key, drawn) for key, drawn in self.distributions.items()}
        if self.function is not None:
            more = self.function(trial)
            if not isinstance(more, Mapping) or not all(isinstance(key, str) for key in more):
                raise UserError(f"sweep.space must return a dict of overrides by key, got {more!r}")
            fixed = {_key(word) for word in self.fixed}
            for key in more:
                if _key(key) in values or _key(key) in fixed:
                    how = "searched" if _key(key) in values else "fixed"
                    raise UserError(f"sweep.space sets {_key(key)}, which is {how} already: leave one of the two out")
            values |= more
        return [override(key, value) for key, value in values.items()]

    def first(self) -> list[str]:
        """The overrides of some point of the space (without `function`'s)."""
        return [override(key, values_of(drawn)[0]) for key, drawn in self.distributions.items()]


def override(key: str, value: Any) -> str:
    """The word of a command line that sets `key` to `value`.

    Raises:
        UserError: a config cannot hold the value.
    """
    value = value.item() if hasattr(value, "item") else value  # a number of numpy's or torch's
    if isinstance(value, str):
        text = value if _reads_as_itself(value) else QuotedString(value, quote=Quote.double).with_quotes()
    else:
        try:
            text = repr(value) if isinstance(value, float) else Transformer.str(value)
        except (AssertionError, ValueError) as error:
            raise UserError(f"{key}: a config holds numbers, texts, lists and dicts of them, got {value!r}") from error
    return f"{key}={text}"


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _reads_as_itself(text: str) -> bool:
    """Whether Hydra reads `text` as that string, or, of the text of a list or dict, as those."""
    try:
        word = OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return False
    return not word.is_sweep_override() and (word.value() == text or isinstance(word.value(), list | dict))


def values_of(drawn: BaseDistribution) -> list[Any]:
    """Of a choice all its values, of a range its ends."""
    return list(drawn.choices) if isinstance(drawn, CategoricalDistribution) else [drawn.low, drawn.high]  # type: ignore[attr-defined]


def parse(
    params: Mapping[str, Any],
    words: Iterable[str],
    loader: ConfigLoader | None = None,
    function: SpaceFunction | None = None,
) -> Space:
    """The space that a sweep's YAML and a command line describe together.

    Args:
        params: `sweep.params`: keys and Hydra's sweep syntax, e.g. `{"optimizer.lr": "tag(log, interval(1e-4, 1))"}`.
        words: the command line's overrides; those that sweep take the place of `params` of the same key.
        loader: lists the members of config groups, for `glob`.
        function: draws more; see `Space`.

    Raises:
        UserError: something that cannot be searched, by name.
    """
    parser = OverridesParser.create(config_loader=loader)  # type: ignore[arg-type]
    own = [_parsed(parser, f"{key}={_syntax(key, text)}", f"sweep.params.{key}") for key, text in params.items()]
    given = [_parsed(parser, word, word) for word in words]
    searched = {_name(word): word for word in own if word.is_sweep_override()}
    swept: set[str] = set()
    for word in given:
        if word.is_sweep_override():
            if _name(word) in swept:
                raise UserError(f"{_name(word)} is searched twice on the command line: choose one")
            swept.add(_name(word))
            searched[_name(word)] = word
    fixed = [word for word in own if not word.is_sweep_override() and _name(word) not in swept]
    fixed += [word for word in given if not word.is_sweep_override()]
    for word in fixed:
        if _name(word) in searched:
            space = str(searched[_name(word)].input_line)
            only = ""
            if not word.is_delete() and word.value() is not None:  # Hydra's choice takes no null
                only = f"; to search one value only, write '{_name(word)}=choice({word.get_value_string()})'"
            raise UserError(
                f"{_name(word)} is both fixed ({word.input_line}) and searched ({space}): leave one out{only}"
            )
    if not searched and function is None:
        raise UserError(
            "this sweep searches nothing: name parameters, e.g. 'optimizer.lr=tag(log,interval(1e-4,1e-1))' on the "
            "command line or in sweep.params"
        )
    lines = [str(word.input_line) for word in fixed]
    return Space({key: _distribution(word) for key, word in searched.items()}, lines, function)


def _parsed(parser: OverridesParser, line: str, name: str) -> Override:
    try:
        word = parser.parse_override(line)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{name} cannot be read: {reason}. For signs such as {{}} () , = use quotes") from error
    word.config_loader = parser.config_loader  # which glob asks; `parse_override` does not hand it on
    return word


def _name(word: Override) -> str:
    """The key, with the package of a group that has one."""
    return word.key_or_group if word.package is None else f"{word.key_or_group}@{word.package}"


def _syntax(key: str, text: Any) -> str:
    if isinstance(text, list | tuple):
        raise UserError(f"sweep.params.{key} is a list: write choice({', '.join(map(str, text))})")
    if isinstance(text, Mapping):
        raise UserError(f"sweep.params.{key} is a mapping: write the whole key in one line, as in optimizer.lr: ...")
    return Transformer.str(text) if not isinstance(text, str) else text


def _distribution(word: Override) -> BaseDistribution:
    """Optuna's distribution for a sweep override.

    Raises:
        UserError: it is empty, or its logarithm does not exist.
    """
    key, line = _name(word), word.input_line
    if word.is_delete() or word.is_add() or word.is_force_add():
        raise UserError(f"{line}: what is searched must exist already, so it is written without + or ~: {key}=...")
    sweep = word._value
    if word.is_choice_sweep():
        shuffled = isinstance(sweep, ChoiceSweep) and sweep.shuffle
        if shuffled or getattr(sweep, "tags", None):
            raise UserError(f"{line}: a choice is drawn from as it is, without shuffle or tags")
        found = list(word.sweep_iterator())
        if any(isinstance(value, Sweep) for value in found):
            raise UserError(f"{line}: there is a search inside of another: write one choice(...)")
        values = tuple({(type(value), value): value for value in map(_choice, found)}.values())
        if not values:
            raise UserError(f"{line}: there is nothing to choose from")
        for value in values:
            same = [other for other in values if other == value]
            if len(same) > 1:
                raise UserError(f"{line}: {same[0]} and {same[1]} are the same to the sampler: leave one out")
        return CategoricalDistribution(values)
    assert isinstance(sweep, IntervalSweep | RangeSweep)
    unknown = sweep.tags - {"log"}
    if unknown:
        raise UserError(f"{line}: the only tag is log, got {', '.join(sorted(unknown))}")
    log = "log" in sweep.tags
    if isinstance(sweep, RangeSweep):
        return _range(str(line), sweep, log)
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{line}: the ends must be finite")
    if not low < high:
        raise UserError(f"{line}: the range is empty, since {low} is not below {high}")
    if log and low <= 0:
        raise UserError(f"{line}: a logarithmic range must begin above 0, got {low}")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(line: str, sweep: RangeSweep, log: bool) -> BaseDistribution:
    start, stop, step = sweep.start, sweep.stop, sweep.step
    assert start is not None
    assert stop is not None
    if step == 0:
        raise UserError(f"{line}: a step of 0 gets nowhere")
    if sweep.shuffle:
        raise UserError(f"{line}: a range is drawn from as it is, without shuffle")
    if not all(map(math.isfinite, (start, stop, step))):
        raise UserError(f"{line}: the ends must be finite")
    whole = all(isinstance(number, int) for number in (start, stop, step))
    # a last value that only rounding puts below the end is none: range(0,0.3,0.1) ends with 0.2
    count = len(range(start, stop, step)) if whole else math.ceil(round((stop - start) / step, 9))  # type: ignore[arg-type]
    if count < 1:
        raise UserError(f"{line}: the range is empty: from {start} to below {stop} in steps of {step}")
    last = start + (count - 1) * step if whole else float(Decimal(str(start)) + (count - 1) * Decimal(str(step)))
    low, high = min(start, last), max(start, last)
    if log and low <= 0:
        raise UserError(f"{line}: a logarithmic range must begin above 0, got {low}")
    if log and abs(step) != 1:
        raise UserError(f"{line}: a logarithmic range has no steps")
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=1 if log else abs(int(step)))
    if log:
        return FloatDistribution(float(low), float(high), log=True)
    return FloatDistribution(float(low), float(high), step=abs(float(step)))


def _choice(value: Any) -> Value:
    """Optuna draws plain values; lists and dicts are drawn as the text that Hydra reads."""
    if isinstance(value, QuotedString):
        return value.text
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(Transformer.str(value))
