"""`python -m project.train ... cluster=slurm`: sends the run as a job, and shows it until its end."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TextIO

from omegaconf import DictConfig

from project.errors import Stopped, UserError
from project.runs.elsewhere import elsewhere
from project.runs.folder import CONFIG, discard
from project.slurm import sending
from project.slurm.queue import State, states
from project.slurm.settings import slurm_settings, tasks_of
from project.slurm.training_job import TrainingJob
from project.stops import heard_by

JOBS = "slurm"  # below outputs/, the folders of the jobs: what they call, and what they print
SOON, LATE = 0.5, 5.0  # seconds between two questions to Slurm, at first and in the end


def send_run(cluster: DictConfig, cfg: DictConfig, typed: list[str], changes: list[str]) -> None:
    """Send the run of `cfg` and, unless `cluster.wait=false`, show what it prints until it has ended.

    Args:
        cluster: the config's.
        cfg: a composed `conf/train.yaml`; of a run that is resumed, its own, with `resume` set.
        typed: the words of the command line.
        changes: those of them that change the config of a run that is resumed.

    Raises:
        UserError: a wrong value, Slurm refuses the job, or the job fails.
        Stopped: Ctrl-C or SIGTERM; the job goes on.
    """
    settings, tasks = slurm_settings(cluster), tasks_of(cfg.trainer)
    run = elsewhere(cfg, typed, changes)
    jobs = Path(str(cfg.outputs)).absolute() / JOBS
    requeues = 0 if cfg.lr_find else settings.requeues
    job = TrainingJob("project.train", run.words, typed, run.folder, run.config_written, requeues)
    try:
        (sent,) = sending.send([job], str(cfg.name), jobs, settings, tasks)
    except BaseException:
        sending.discard(jobs)
        if not run.resumed:
            discard(run.folder)
        raise
    print(f"job {sent}: {cfg.name} -> {run.folder}\nits log: {sending.log_of(jobs, sent)}", flush=True)
    if settings.wait:
        _show(sent, sending.log_of(jobs, sent), run.folder)
    else:
        print(_how_to_follow(sent, sending.log_of(jobs, sent)), flush=True)


def _show(job: str, log: Path, folder: Path) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(f"job {job} goes on. {_how_to_follow(job, log)}", number)

    with heard_by(stop):
        state = follow(job, log, sys.stdout)
    if state.name == "COMPLETED":
        return
    again = f"To go on: python -m project.train resume={folder} cluster=slurm"
    hint = {
        "CANCELLED": "",
        "OUT_OF_MEMORY": "; give it more with cluster.memory=",
        "TIMEOUT": "; a longer cluster.notice= gives it more time for its checkpoint",
    }.get(state.name, f"; what it printed is above, and in {log.parent}")
    raise UserError(f"job {job} ended: {state.said()}{hint}" + (f"\n{again}" if (folder / CONFIG).exists() else ""))


def follow(job: str, log: Path, out: TextIO, ask: Callable[[list[str]], dict[str, State] | None] = states) -> State:
    """Write a job's states and what it prints to `out` until it has ended; its last state."""
    shown, read, pause = State(""), 0, SOON
    while True:
        known = ask([job])  # before its log is read, so that what it printed at last is in it
        read = _copy(log, read, out)
        if known is not None:
            state = known[job]
            if state.said() != shown.said() and state.name not in ("COMPLETING", "COMPLETED"):
                out.write(f"job {job}: {state.said()}\n")
                out.flush()
                pause = SOON
            shown = state
            if state.ended:
                _copy(log, read, out)
                return state
        time.sleep(pause)
        pause = min(LATE, 1.05 * pause)


def _copy(log: Path, begin: int, out: TextIO) -> int:
    """Copy whole lines from there on; where the next ones begin."""
    try:
        with log.open("rb") as file:
            file.seek(begin)
            text = file.read()
    except OSError:
        return begin  # not begun yet
    text = text[: text.rfind(b"\n") + 1]
    for line in text.decode(errors="replace").splitlines():
        if not line.startswith("submitit "):  # of how it is started
            out.write(line + "\n")
    out.flush()
    return begin + len(text)


def _how_to_follow(job: str, log: Path) -> str:
    return f"To follow it: tail -F {log}   To end it: scancel {job}"
