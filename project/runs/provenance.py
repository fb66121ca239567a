"""What a run must remember to be repeated: config, overrides, seed, code, packages, hardware."""

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from project.machine import usable_cores
from project.runs.folder import save_config, write_json

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "optuna",
    "tensorboard",
    "numpy",
    "pillow",
)


def record(folder: Path, cfg: DictConfig) -> None:
    """Write `config.yaml` (resolved), `overrides.yaml`, `environment.json` and, of uncommitted changes, `git.diff`."""
    save_config(cfg, folder)
    words = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    OmegaConf.save(OmegaConf.create(words), folder / "overrides.yaml")
    git, diff = _git_once() if _is_trial() else _git()
    if diff:
        (folder / "git.diff").write_text(diff, encoding="utf-8")
    write_json(
        folder / "environment.json",
        {
            "command": _command(words),
            "seed": cfg.seed,
            "git": git,
            "python": platform.python_version(),
            "packages": packages(),
            "hardware": hardware(),
        },
    )


def _command(words: list[str]) -> str:
    """What was typed; of a trial of a sweep, what trains it alone."""
    if _is_trial():
        return shlex.join(["python", "-m", "project.train", *words])
    return shlex.join(["python", *sys.orig_argv[1:]])


def _is_trial() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def hardware() -> dict[str, Any]:
    """The machine in a few words: system, processor, usable cores, torch's threads, GPUs."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def packages() -> dict[str, str | None]:
    """The versions of those that a run depends on."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> tuple[dict[str, Any] | None, str]:
    """Commit of the repository that holds this code, and all that is not committed in it, new files included."""
    place = Path(__file__).parents[1]
    if not _run(place, "ls-files", "train.py"):
        return None, ""  # installed; a virtual environment inside a repository is not of it
    top = Path((_run(place, "rev-parse", "--show-toplevel") or "").strip())
    commit = _run(place, "rev-parse", "HEAD")
    diff = _run(top, "diff", "HEAD", "--no-color", "--no-ext-diff") or ""
    new = (_run(top, "ls-files", "--others", "--exclude-standard", "--", "*.py", "*.yaml", "*.toml") or "").splitlines()
    diff += "".join(
        _run(top, "diff", "--no-color", "--no-ext-diff", "--no-index", "/dev/null", path) or "" for path in new
    )
    return {"commit": commit.strip() if commit else None, "uncommitted": bool(diff)}, diff


@cache
def _git_once() -> tuple[dict[str, Any] | None, str]:
    """For the many runs of a sweep's worker, which has the code in memory."""
    return _git()


def _run(place: Path, *arguments: str) -> str | None:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=20, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    # a comparison of two files says with 1 that they differ
    return done.stdout if done.returncode == 0 or (done.returncode == 1 and "--no-index" in arguments) else None
