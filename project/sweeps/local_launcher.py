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

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

log = logging.getLogger(__name__)

QUICK_DEATHS = 3  # that no job survives so early is no accident
SECONDS_TO_STOP = 60.0
STOPS = (signal.SIGINT, signal.SIGTERM)


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
        import cloudpickle

        setup_globals()
        assert self.config is not None
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        context: Any = mp.get_context("forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload(["project.runs.training", "project.sweeps.trial"])
            _start_server()
        payload = cloudpickle.dumps((self.hydra_context, self.config, self.task_function, Singleton.get_state()))
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
                result = _received(pipes[index])
                if result is not None:
                    results[index] = result
                    continue
                early[index] = early.get(index, 0) + 1 if time.monotonic() - begun[index] < 5 else 0
                if self.restarts and self._stopped is None and early[index] < QUICK_DEATHS:
                    log.info("worker %d died (%s): started again", initial_job_idx + index, _how(process.exitcode))
                    start(index)
                else:
                    results[index] = _dead(list(job_overrides[index]), _how(process.exitcode))
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
    import cloudpickle

    for stop in STOPS:  # what comes before the worker listens is not lost: the head leaves word for it
        signal.signal(stop, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    context, config, task, state = cloudpickle.loads(payload)
    setup_globals()
    Singleton.set_state(state)
    job = context.config_loader.load_sweep_config(config, words)
    with open_dict(job):
        job.hydra.job.id = f"{job.hydra.job.name}_{number}"
        job.hydra.job.num = number
    HydraConfig.instance().set_config(job)
    result = run_job(
        hydra_context=context,
        task_function=task,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        configure_logging=False,
    )
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        value = result._return_value  # in a few words: the pipe is read when this process has ended
        sender.send((words, result.status.name, value if isinstance(value, int | float) else str(value)[:2000]))
    sender.close()
    sys.stdout.flush()
    sys.stderr.flush()


def _received(pipe: Any) -> JobReturn | None:
    try:
        words, status, value = pipe.recv()
    except (EOFError, OSError):
        return None
    finally:
        pipe.close()
    result = JobReturn(overrides=words)
    result.status = JobStatus[status]
    result.return_value = value if result.status is JobStatus.COMPLETED else RuntimeError(value)
    return result


def _dead(words: list[str], how: str) -> JobReturn:
    result = JobReturn(overrides=words)
    result.status = JobStatus.FAILED
    result.return_value = RuntimeError(f"the worker died: {how}")
    return result


def _how(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"{name}; out of memory?" if name == "SIGKILL" else name
    return f"exit code {code}"
