"""`report.html`: a sweep on one page that needs nothing beside it."""

import ast
from collections.abc import Sequence
from pathlib import Path

import optuna
from omegaconf import DictConfig
from optuna.storages import BaseStorage

from project.errors import UserError
from project.sweeps.figures import sections
from project.sweeps.frozen import frozen
from project.sweeps.page import Told, page
from project.sweeps.passwords import masked, scrubbed
from project.sweeps.results import best_trial
from project.sweeps.same_sweep import OF_A_SWEEP
from project.sweeps.storage import JOURNAL, open_storage

REPORT = "report.html"
STORAGE = "sweep.storage="
HEARTBEAT = 15.0  # of nobody: a report only reads


def run_report(cfg: DictConfig, words: Sequence[str]) -> Path:
    """Write the report that `cfg` (a composed `conf/report.yaml`) asks for; where it is.

    Args:
        words: with `sweep.storage=<url>`, which no config is to hold, since there may be a password in it.

    Raises:
        UserError: there is no such sweep or study.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = Path(str(cfg.sweep)).absolute()
    folder = folder.parent if folder.is_file() else folder
    url = _url(words)
    if not folder.is_dir():
        raise UserError(f"sweep={cfg.sweep} does not exist: name a sweep's folder, e.g. outputs/sweeps/resnet")
    study = find_study(folder, url, str(cfg.study) if cfg.study else None)
    output = Path(str(cfg.output)).absolute() if cfg.output else None
    directions = [direction.name.lower() for direction in study.directions]
    path = write_report(study, folder, objectives_of(study), directions, url=url, output=output)
    print(f"report of {study.study_name}: {path}")
    return path


def write_report(
    study: optuna.Study,
    folder: Path,
    objectives: Sequence[str],
    directions: Sequence[str],
    *,
    url: str | None = None,
    output: Path | None = None,
) -> Path:
    """Write the page of a study as it is now, whole or not at all; where it is.

    Args:
        folder: the sweep's.
        objectives: names of what is optimised.
        directions: `maximize` or `minimize`, for each.
        url: of the database; its password is kept out of the page, wherever an error quotes it.
        output: the page's file, or a folder for it; None: `report.html` in the sweep's folder.
    """
    trials = study.get_trials(deepcopy=False)
    still = frozen(trials, directions)
    best = best_trial(still, trials, directions)
    alone = len(directions) == 1
    front = {trial.number for trial in still.best_trials} if not alone else {best.number} if best is not None else set()
    told = Told(
        name=study.study_name,
        folder=folder.absolute(),
        objectives=objectives,
        directions=directions,
        trials=trials,
        best=None if best is None else trials[best.number],
        front=frozenset(front),
        said=lambda text: scrubbed(text, url),
    )
    path = folder / REPORT if output is None else output / REPORT if output.is_dir() else output
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page(told, sections(still, objectives)), encoding="utf-8")
    partial.replace(path)
    return path


def find_study(folder: Path, url: str | None, name: str | None) -> optuna.Study:
    """The study of the sweep in `folder`.

    Args:
        url: of the database that keeps it; None: the folder's journal does.
        name: of the study; None: the only one in a journal, which may have been moved or renamed; in a database the
            one that is called like the folder.

    Raises:
        UserError: there is none, or several and none was named.
    """
    storage = _storage(folder, url)
    names = sorted(optuna.get_all_study_names(storage))
    place = str(folder / JOURNAL) if url is None else f"sweep.storage={masked(url)}"
    if not names:
        raise UserError(f"{place} holds no study: the sweep has not begun")
    if name is None and url is None and len(names) == 1:
        name = names[0]
    chosen = folder.name if name is None else name
    if chosen not in names:
        what = "several studies" if name is None and url is None else f"no study {chosen}"
        raise UserError(f"{place} holds {what}: name one with study=<name>; there are {', '.join(names)}")
    return optuna.load_study(study_name=chosen, storage=storage)


def objectives_of(study: optuna.Study) -> list[str]:
    """The names of what a study optimises, as its sweep has left them in it; `value` where it was made otherwise."""
    count = len(study.directions)
    try:
        named = ast.literal_eval(study.user_attrs[OF_A_SWEEP]["sweep.objectives"])
        if len(named) == count:
            return [str(name) for name in named]
    except (KeyError, TypeError, ValueError, SyntaxError):
        pass
    return list(study.metric_names or (["value"] if count == 1 else [f"value {index}" for index in range(count)]))


def _storage(folder: Path, url: str | None) -> BaseStorage:
    """A storage that is there: neither a journal nor a database is made.

    Raises:
        UserError: there is none.
    """
    if url is None:
        if not (folder / JOURNAL).is_file():
            raise UserError(
                f"{folder} has no file named {JOURNAL}, so it is no sweep's folder, or the sweep keeps its study in a "
                "database: add sweep.storage=<url>, as in the sweep's command"
            )
        return open_storage(None, folder, HEARTBEAT)
    path = url.partition("///")[2].partition("?")[0]
    if url.startswith("sqlite") and path and not Path(path).is_file():
        raise UserError(f"sweep.storage={masked(url)}: there is no file {Path(path).absolute()}")
    return open_storage(url, folder, HEARTBEAT)


def _url(words: Sequence[str]) -> str | None:
    """The last word has its say."""
    given = [word.partition("=")[2] for word in words if word.lstrip("+").startswith(STORAGE)]
    url = given[-1] if given else ""
    if len(url) > 1 and url[0] == url[-1] and url[0] in "'\"":
        url = url[1:-1]
    return url if url not in ("", "null") else None
