"""Finds mistakes in a config before torch is imported: unknown keys, wrong types, misspelt choices.

The types are those that the project's own classes declare: their source is parsed, not imported. What a third party's
class takes (a `torch.optim` class, the Trainer) is held against the number that its YAML gives.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from project.errors import UserError
from project.runs.signatures import describe, fits, signature

GRAPHS = "cuda_graphs"
COMPILATIONS: tuple[Any, ...] = (True, False, "auto", GRAPHS)
# Lightning's, and ours first
PRECISIONS: tuple[Any, ...] = (
    "auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "transformer-engine",
    "transformer-engine-float16", "bf16", "16", "32", "64", 16, 32, 64, None,
)  # fmt: skip


def check(cfg: DictConfig, words: list[str], name: str) -> None:
    """Refuse what can be seen to be wrong from the config alone.

    Args:
        cfg: the composed config.
        words: the command line's overrides.
        name: the entry point's config.

    Raises:
        UserError: names the key, the value and what it must be.
    """
    for path, node in _nodes(cfg, ""):
        known = signature(str(node["_target_"]))
        if known is None:
            continue
        for key in node:
            if str(key) in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
                continue
            full = _join(path, key)
            if key not in known.parameters:
                if not known.open:
                    others = [_join(path, other) for other in known.parameters]
                    raise UserError(f"{full}: there is no such option.{_near(full, others)}")
                continue
            if OmegaConf.is_missing(node, key):
                raise UserError(f"{full} must be given: {full}=<{describe(known.parameters[key]) or 'value'}>")
            _check_type(full, node, str(key), known.parameters[key])
    for key in cfg:
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key!s} must be given: {key!s}=<value>")
    check_compilation(cfg.get("compile", False))
    precision = (cfg.get("trainer") or {}).get("precision")
    if precision not in PRECISIONS:
        usual = ", ".join(PRECISIONS[:7])
        raise UserError(f"trainer.precision must be one of {usual}, got {precision}")
    _check_numbers(words, name)


def check_compilation(compilation: Any) -> None:
    """Whether `compile` is one of its choices.

    Raises:
        UserError: says which there are.
    """
    if compilation not in COMPILATIONS:
        raise UserError(f"compile must be true, false, auto or {GRAPHS}, got {compilation}")


def _check_type(full: str, node: DictConfig, key: str, annotation: Any) -> None:
    try:
        value = node[key]
    except OmegaConfBaseException:
        return  # filled in later, from the data
    raw = OmegaConf.to_container(node, resolve=False)
    if value is None and isinstance(raw, dict) and "${folder}" in str(raw[key]):
        return  # filled in when the run begins
    if isinstance(value, DictConfig) and "_target_" in value:
        return
    plain = OmegaConf.to_container(value) if isinstance(value, DictConfig | ListConfig) else value
    if not fits(plain, annotation):
        raise UserError(f"{full} must be {describe(annotation)}, got {plain!r}")


def _check_numbers(words: list[str], name: str) -> None:
    """Words on the command line where the YAML has a number."""
    known = groups()
    suspects = [
        word
        for word in _parsed(words)
        if word.type is OverrideType.CHANGE
        and word.key_or_group not in known
        and _suspect(word.key_or_group, word.value())
        and _may_be_a_number(word.key_or_group)
    ]
    if not suspects:
        return
    base = _compose_without_values(name, words)
    for word in suspects:
        check_number(word.key_or_group, word.value(), _select(base, word.key_or_group))


def _may_be_a_number(key: str) -> bool:
    """Whether any file of `conf/` gives a number, or refers to one, under the last part of `key`.

    It spares composing the config anew, a fifth of a second, for a command line that names a folder.
    """
    name = re.escape(key.rpartition(".")[2])
    # of a reference to the same name there is another line that says what it is
    given = rf"\b{name}['\"]?:\s*['\"]?(?:[-+.\d]|\$(?!\{{(?:\w+\.)*{name}\}}))"
    return re.search(given, _written()) is not None


@cache
def _written() -> str:
    """All files of `conf/`."""
    from project.runs.command import CONF

    return "\n".join(path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))


def check_number(key: str, value: Any, default: Any) -> None:
    """Refuse a word, a truth value or nothing where a config has a number.

    Raises:
        UserError: names the key, the value and a number that it can be.
    """
    if _suspect(key, value) and isinstance(default, int | float) and not isinstance(default, bool):
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise UserError(f"{key} must be {kind} such as {default}, got {'null' if value is None else repr(value)}")


def _suspect(key: str, value: Any) -> bool:
    """Of the Trainer's numbers some can be null, and mean then that there is no limit."""
    return isinstance(value, str | bool) or (value is None and not key.startswith("trainer."))


def explain(error: BaseException, words: list[str], name: str) -> str:
    """Hydra's complaint about a command line in one or two sentences, with the near matches."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read: {str(error.message).splitlines()[0]}. Put quotes around special signs"
    if match := re.search(r"Could not (?:find|load) '?(?P<group>[\w/]+)/(?P<choice>[^\s/']+)'?", text):
        group, choice = match["group"], match["choice"]
        options = _options(group)
        return f"{group}={choice}: there is no such choice.{_near(choice, options)} Choices: {', '.join(options)}"
    if match := re.search(r"Could not override '(?P<key>[^'\s]+)'", text):
        key = str(match["key"])
        base = _compose_without_values(name, words)
        return unknown(key, base)
    if match := re.search(r"Sweep parameters '(?P<word>[^']+)' requires --multirun", text):
        return f"{match['word']} is a search space: add sweep=default, or the sweep of your model; --cfg shows one run"
    if match := re.search(r"Missing mandatory value: (?P<key>[\w.]+)", text):
        return f"{match['key']} must be given: {match['key']}=<value>"
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def unknown(key: str, cfg: DictConfig) -> str:
    """That `cfg` has no `key`, and which of its keys and groups look like it."""
    near = _near(key, sorted({*groups(), *_keys(cfg)}))
    return f"{key}: there is no such option.{near} A new one is added with +{key}=<value>"


def _near(word: str, known: list[str]) -> str:
    """Options that look alike, as a whole or in their last part."""
    near = get_close_matches(word, known, n=3, cutoff=0.6)
    last = {key.rsplit(".", 1)[-1]: key for key in reversed(known)}
    near += [last[part] for part in get_close_matches(word.rsplit(".", 1)[-1], list(last), n=2, cutoff=0.75)]
    near = sorted(dict.fromkeys(near), key=lambda found: sorted(found) != sorted(word))[:3]  # letters swapped: first
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _nodes(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Every part of the config that names a class, with its dotted path."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    if "_target_" in node:
        yield path, node
    for key in node:
        child = node._get_node(key)
        yield from _nodes(child, _join(path, key))


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _keys(node: DictConfig, path: str = "") -> Iterator[str]:
    for key in node:
        full = _join(path, key)
        yield full
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _keys(child, full)


def _select(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None


def _parsed(words: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(
        [word for word in words if "=" in word and not word.startswith("-")]
    )


def _compose_without_values(name: str, words: list[str]) -> DictConfig:
    """The config that the command line's choices alone give; those that do not exist are left out."""
    from hydra import compose, initialize_config_dir

    from project.runs.command import CONF
    from project.runs.hydra_versions import DEFAULTS

    choices = {group: _options(group) for group in groups()}
    chosen = []
    for word in _parsed(words):
        group = word.key_or_group
        if group in choices and str(word.value()) in choices[group]:
            chosen.append(f"{group}={word.value()}")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), **DEFAULTS):
        return compose(name, overrides=chosen)


def groups() -> set[str]:
    """The config groups: the folders of `conf/`."""
    from project.runs.command import CONF

    return {str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()}


def _options(group: str) -> list[str]:
    from project.runs.command import CONF

    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))
