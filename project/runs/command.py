"""Commands: Hydra reads the command line; mistakes are answered in a line or two, before anything heavy is imported."""

import errno
import io
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from project.distributed.launch import speaks
from project.errors import LostRank, Stopped, UserError
from project.runs.hydra_versions import DEFAULTS, spare_a_composition
from project.runs.later import Collector

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_TOLD = (UserError, Stopped, KeyboardInterrupt, HydraException, OmegaConfBaseException, OSError)
_ANSWERS = "PROJECT_SHORT_ERRORS"  # in the environment of the processes that a distributed run starts
_PACKAGE = Path(__file__).parents[1]
# at the top of the repository, or inside the installed package
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
# there is one store; Hydra copies it with all that it holds for every group of which it lists the members
ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def command(
    name: str,
    function: Callable[[DictConfig, list[str]], Any],
    kept_apart: Callable[[list[str]], list[str]] = lambda words: [],
    texts: tuple[str, ...] = (),
    lists: tuple[str, ...] = (),
    trial: Callable[..., float] | None = None,
) -> Callable[[], None]:
    """The `main` of an entry point: composes `conf/<name>.yaml` with the command line and calls `function`.

    Args:
        name: the entry point and its config.
        function: takes the config and the words that were kept apart.
        kept_apart: which words of a command line are for `function` alone, and not for Hydra.
        texts: keys whose values are a person's text: taken as they stand, whatever signs are in them.
        lists: those of them of which there may be several: `[...]` is then read by Hydra.
        trial: what a sweep's workers call with a config; None: the command cannot be swept.
    """

    whole: list[str] = []
    kept: list[str] = []
    verbatim: dict[str, str] = {}
    wants_trace = os.environ.get("HYDRA_FULL_ERROR") == "1" and _ANSWERS not in os.environ
    told = () if wants_trace else _TOLD

    def entry(cfg: DictConfig) -> Any:
        from project.runs.checks import check

        for key, text in verbatim.items():
            cfg[key] = _literal(text)
        sys.argv[1:] = whole  # a distributed run starts its other processes with the same words
        try:
            check(cfg, list(HydraConfig.get().overrides.task), name)
            return function(cfg, kept)
        except told as error:
            _report(error, name)  # here, because Hydra prints a line of its own about what leaves a job

    entry.trial = trial  # type: ignore[attr-defined]

    def main() -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a sign shows its number
        whole[:] = sys.argv[1:]
        kept[:] = kept_apart(whole)
        verbatim.update(_texts(whole, texts, lists))
        words = [word for word in whole if word not in kept and word.partition("=")[0] not in verbatim]
        Collector.keeps_imports = True
        spare_a_composition(name)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on instead of printing them
        # GNU OpenMP's threads wait for each other at full speed, which brings a machine that others use too to a
        # standstill; they give up sooner here. What the user has set stays.
        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        if not wants_trace:
            os.environ[_ANSWERS] = "1"
        try:
            if trial is not None and _in_order(whole) != whole:
                words = _in_order(words)
            sys.argv[1:] = [_experiment(word) for word in words]
            hydra.main(config_path=str(CONF), config_name=name, **DEFAULTS)(entry)()
        except told as error:
            _report(error, name)

    return main


def _in_order(words: list[str]) -> list[str]:
    """The words with multirun mode in front: argparse wants it there, and `sweep=NAME` is reason enough for it.

    Raises:
        UserError: a sweep is to resume a single run, or there are several.
    """
    sweeps = any(word.startswith("sweep=") and word != "sweep=null" for word in words)
    resumes = [word for word in words if word.startswith("resume=") and word != "resume=null"]
    if sweeps and resumes:
        raise UserError(f"{resumes[0]} is for a single run; a sweep goes on when its command is given once more")
    for word in words:
        if word.startswith("sweep=") and ("," in word or "(" in word):
            raise UserError(
                f"{word}: one sweep at a time, e.g. sweep=mlp; what it searches stands beside it, model=a,b"
            )
    flags = ("-m", "--multirun")
    others = [word for word in words if word not in flags]
    wanted = len(others) < len(words) or (sweeps and not any(word.startswith("-") for word in words))
    return ["--multirun", *others] if wanted else words


def _experiment(word: str) -> str:
    """`experiment=<path>.yaml` takes a file of any folder for a member of the group.

    Raises:
        UserError: there is no such file, or it is no YAML.
    """
    key, _, path = word.partition("=")
    if key != "experiment" or not path.endswith((".yaml", ".yml")):
        return word
    from omegaconf import OmegaConf

    try:
        node = OmegaConf.load(path)
    except Exception as error:  # YAML's and OmegaConf's errors share no base
        raise UserError(f"{word}: cannot be read: {error}") from error
    name = re.sub(r"[^\w-]", "_", Path(path).stem)
    ConfigStore.instance().store(group="experiment", name=name, node=node, package="_global_")
    return f"experiment={name}"


def _texts(words: list[str], keys: tuple[str, ...], lists: tuple[str, ...]) -> dict[str, str]:
    parted = (word.partition("=") for word in words if "=" in word)
    found = {key: text for key, _, text in parted if key in keys}
    return {key: text for key, text in found.items() if key not in lists or not text.startswith("[") or text[-1] != "]"}


def _literal(text: str) -> str:
    """`text` so that OmegaConf finds no interpolation in it."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def _report(error: BaseException, name: str) -> NoReturn:
    """Print what happened in a line or two and end with the exit code for it."""
    if isinstance(error, BrokenPipeError):  # e.g. `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    if isinstance(error, Stopped):
        message, code = str(error), 128 + error.signal
    elif isinstance(error, KeyboardInterrupt):
        message, code = "stopped", 130
    else:
        message, code = f"error: {_explain(error, name)}", 1
    told = error.told if isinstance(error, LostRank) else speaks()
    if told:  # the other processes of a distributed run have nothing to add
        print(message, file=sys.stderr)
    logging.shutdown()
    sys.exit(code)


def _explain(error: BaseException, name: str) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        from project.runs.checks import explain

        return explain(error, sys.argv[1:], name)
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"cannot write {error.filename or 'a file'}: {error.strerror}"
    raise error
