"""A Hydra launcher for this machine: every job in a process of its own, started again when it is killed."""

import contextlib
import logging
import multiprocessing as mp
import multiprocessing.connection
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from project.sweeps.jobs import Said, how_it_ended, lost, packed, returned, run_unpacked, unpacked

log = logging.getLogger(__name__)

QUICK_DEATHS = 3  # that no job survives so early is no accident
SECONDS_TO_STOP = 60.0
STOPS = (signal.SIGINT, signal.SIGTERM)
# what the server imports for all that are forked from it: what trains, and where the study is in a database SQLAlchemy
# and what Optuna keeps its tables up to date with, which take a worker most of a second
OF_A_TRIAL = ("project.runs.training", "project.sweeps.trial")
OF_A_DATABASE = ("project.sweeps.database", "alembic.command", "alembic.migration")


class LocalLauncher(Launcher):
    """Runs all jobs at once. A job whose process dies (killed, out of memory) is started again; the others go on.

    Processes are forked from a server that has imported torch once, so that a job starts in milliseconds.

    Args:
        restarts: whether jobs that died are started again.
    """

    def __init__(self, restarts: bool = True) -> None:
        self.restarts = restarts
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None
        self._processes: dict[int, Any] = {}
        self._stopped: float | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; of one that died for good the status is FAILED."""
        from project.sweeps.worker import storage_url  # optuna

        assert self.config is not None
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        context: Any = mp.get_context("forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload([*OF_A_TRIAL, *(OF_A_DATABASE if storage_url() is not None else ())])
            _start_server()
        payload = packed(self.hydra_context, self.config, self.task_function)
        results: dict[int, JobReturn] = {}
        pipes: dict[int, Any] = {}
        early: dict[int, int] = {}
        begun: dict[int, float] = {}

        def start(index: int) -> None:
            receiver, sender = context.Pipe(duplex=False)
            words = list(job_overrides[index])
            process = context.Process(target=_work, args=(payload, words, initial_job_idx + index, sender))
            process.start()
            sender.close()
            self._processes[index], pipes[index], begun[index] = process, receiver, time.monotonic()

        for index in range(len(job_overrides)):
            start(index)
        while self._processes:
            mp.connection.wait([process.sentinel for process in self._processes.values()], timeout=0.5)
            self._stop_the_slow()
            for index, process in list(self._processes.items()):
                if process.exitcode is None:
                    continue
                del self._processes[index]
                said = _received(pipes[index])
                if said is not None:
                    results[index] = returned(job_overrides[index], said)
                    continue
                early[index] = early.get(index, 0) + 1 if time.monotonic() - begun[index] < 5 else 0
                how = how_it_ended(process.exitcode)
                if self.restarts and self._stopped is None and early[index] < QUICK_DEATHS:
                    log.info("worker %d died (%s): started again", initial_job_idx + index, how)
                    start(index)
                else:
                    results[index] = lost(job_overrides[index], f"the worker died: {how}")
        return [results[index] for index in range(len(job_overrides))]

    def stopping(self) -> None:
        """The jobs have been asked to end: none is started again, and in a minute those that still run are killed."""
        self._stopped = self._stopped or time.monotonic()

    def kill(self) -> None:
        """End all jobs at once."""
        self.stopping()
        for process in list(self._processes.values()):
            process.kill()

    def _stop_the_slow(self) -> None:
        if self._stopped is not None and time.monotonic() - self._stopped > SECONDS_TO_STOP:
            self.kill()


def _start_server() -> None:
    """Start the server that processes are forked from, deaf to stops: they may be sent to every process of a group, and
    without it nobody knows how its children end."""
    from multiprocessing import forkserver

    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # it takes this along
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(payload: bytes, words: list[str], number: int, sender: Any) -> None:
    """One job, in a process of its own."""
    for stop in STOPS:  # what comes before the worker listens is not lost: the head leaves word for it
        signal.signal(stop, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    said = run_unpacked(*unpacked(payload), words, number)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        sender.send(said)
    sender.close()
    sys.stdout.flush()
    sys.stderr.flush()


def _received(pipe: Any) -> Said | None:
    try:
        said: Said = pipe.recv()
        return said
    except (EOFError, OSError):
        return None
    finally:
        pipe.close()
