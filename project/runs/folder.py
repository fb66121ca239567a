"""A run's folder: made once, never shared, held by one process at a time, found again."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from project.errors import UserError

CONFIG, METRICS, DATA = "config.yaml", "metrics.json", "data.json"
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml a hundred configs take a tenth of a second


def make_folder(cfg: DictConfig) -> Path:
    """A new folder for this run: `cfg.folder`, or `<outputs>/train/<name>/<time>`, numbered if that second is taken.

    Raises:
        UserError: it cannot be made, or `cfg.folder` holds a run already.
    """
    for key in ("outputs", "name", *(["folder"] if cfg.folder is not None else [])):
        if not str(cfg[key] or "").strip() or (key == "name" and Path(str(cfg.name)).name != str(cfg.name)):
            raise UserError(f"{key} must be the name of a folder, got {cfg[key]!r}")
    try:
        if cfg.folder is not None:
            folder = Path(cfg.folder).absolute()
            if (folder / CONFIG).exists():
                raise UserError(
                    f"folder={cfg.folder} holds a run already: go on with resume={cfg.folder}, or name another"
                )
            left = {".lock", "train.log", "parameters.yaml"}  # of a run that was killed before it began, or of a sweep
            if folder.is_dir() and any(path.name not in left for path in folder.iterdir()):
                raise UserError(f"folder={cfg.folder} is not empty: name a new one")
            folder.mkdir(parents=True, exist_ok=True)
            return _writable(folder)
        parent = Path(cfg.outputs).absolute() / ("lr_find" if cfg.lr_find else "train") / str(cfg.name)
        parent.mkdir(parents=True, exist_ok=True)
        time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        number = 0
        while True:
            folder = parent / (f"{time}-{number}" if number else time)
            try:
                folder.mkdir()
                return _writable(folder)
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(
            f"cannot write a run's folder at {error.filename}: {error.strerror}. "
            "Choose another place with outputs=<folder> or folder=<folder>"
        ) from error


def _writable(folder: Path) -> Path:
    probe = folder / ".probe"
    probe.touch()
    probe.unlink()
    return folder


def discard(folder: Path) -> None:
    """Remove a run's folder in which nothing was trained, and the folders above it that it leaves empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in list(folder.parents)[:3]:
        try:
            parent.rmdir()
        except OSError:
            return


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The run's folder for this process alone; the kernel lets go of it however the process ends.

    Raises:
        UserError: another process trains this run.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise UserError(
            f"the run {folder} is being trained by another process: wait for it, or stop it first"
        ) from error


def find_run(name: str, outputs: str = "outputs") -> Path:
    """The folder of a run: a path to it (or to a file in it), or `latest` for the one started or resumed last.

    Raises:
        UserError: there is no such run.
    """
    if name == "latest":
        runs = [path.parent for path in Path(outputs).glob(f"train/**/{CONFIG}")]
        if not runs:
            raise UserError(f"there is no run in {Path(outputs) / 'train'} yet: train one, or name its folder")
        # its config is written when a run is started or resumed
        return max(runs, key=lambda run: ((run / CONFIG).stat().st_mtime_ns, run.name)).absolute()
    path = Path(name).absolute()
    for folder in (path, path.parent, path.parent.parent):
        if (folder / CONFIG).is_file():
            return folder
    what = "does not exist" if not path.exists() else f"has no {CONFIG}, so it is no run's folder"
    raise UserError(f"{name} {what}. A run's folder looks like outputs/train/resnet/2026-01-31_12-00-00")


def read_config(folder: Path) -> DictConfig:
    """The config of the run in `folder`.

    Raises:
        UserError: it is not readable.
    """
    try:
        cfg = OmegaConf.load(folder / CONFIG)
    except Exception as error:  # YAML's and OmegaConf's errors share no base
        raise UserError(f"{folder / CONFIG} is not readable: {error}") from error
    if not isinstance(cfg, DictConfig) or "model" not in cfg:
        raise UserError(f"{folder / CONFIG} is not the config of a run")
    return cfg


def recorded_config(folder: Path) -> dict[str, Any]:
    """The same for who only looks at it: as it was written, without OmegaConf, in a twentieth of the time.

    Raises:
        UserError: it is not readable, or is that of something else.
    """
    try:
        config = yaml.load((folder / CONFIG).read_text(encoding="utf-8"), _YAML)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{folder / CONFIG} is not readable: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise UserError(f"{folder / CONFIG} is not the config of a run")
    return config


def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write `config.yaml`, resolved, whole or not at all."""
    partial = folder / (CONFIG + ".partial")
    OmegaConf.save(cfg, partial, resolve=True)
    partial.replace(folder / CONFIG)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """What the project logs goes to the terminal and to `path`."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    with told(file):
        yield


@contextmanager
def told(*more: logging.Handler) -> Iterator[None]:
    """What the project logs goes to the terminal, and to `more`, which are closed at the end."""
    logger, console = logging.getLogger("project"), logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    before, handlers = (logger.level, logger.propagate), (console, *more)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]
