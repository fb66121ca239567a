"""A Hydra launcher whose jobs are a sweep's workers, each a Slurm job, watched and replaced until all have ended."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from project.errors import UserError
from project.slurm import sending
from project.slurm.queue import State, cancel, states
from project.slurm.settings import slurm_settings, tasks_of
from project.slurm.worker_job import WorkerJob
from project.sweeps.jobs import lost, packed, returned
from project.sweeps.owners import WORKERS
from project.sweeps.settings import Settings
from project.sweeps.slurm_workers import SentWorker, SlurmWorkers

log = logging.getLogger(__name__)

JOBS = "slurm"  # below the sweep's .workers, the folders of the jobs: what they call, and what they print
QUICK_DEATHS = 3  # that no worker lives longer is no accident
QUICK = 60.0  # seconds
SECONDS_TO_STOP = 120.0
SOON, LATE = 0.5, 5.0  # seconds between two questions to Slurm


def prepare(config: DictConfig, settings: Settings) -> None:
    """Check a sweep's cluster before anything is begun, and tell the workers of the cores that they get.

    Raises:
        UserError: a wrong value; this machine cannot send jobs.
    """
    if config.get("cluster") is None:
        raise UserError("hydra/launcher=slurm does not say what a job asks for: take cluster=slurm")
    slurm = slurm_settings(config.cluster)
    tasks_of(_forked(config))
    if settings.gpus_per_worker is not None:
        raise UserError("sweep.gpus_per_worker shares out this machine's GPUs: with cluster=slurm set cluster.gpus")
    settings.threads_per_worker = settings.threads_per_worker or slurm.cpus


class SlurmLauncher(Launcher):
    """Sends the workers that do not run yet; one that dies is sent again, one that is cancelled is not."""

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None
        self.record: SlurmWorkers | None = None
        self.stopped: float | None = None  # when the workers were asked to end

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the workers to their ends.

        Raises:
            UserError: Slurm refuses the jobs, or all of them were cancelled.
        """
        orders = getattr(self.task_function, "orders", None)
        if orders is None or self.config is None or self.config.get("cluster") is None:
            raise UserError(
                "hydra/launcher=slurm sends a sweep's workers: choose cluster=slurm and a sweep, sweep=NAME"
            )
        self.record = SlurmWorkers(orders.folder / WORKERS)
        watch = _Watch(self, [list(words) for words in job_overrides], orders.folder / WORKERS, orders.stop)
        return watch.run()

    def stopping(self) -> None:
        """The workers have been asked to end: none is sent again, and those that don't heed it are cancelled."""
        self.stopped = self.stopped or time.monotonic()

    def kill(self) -> None:
        """Cancel all jobs, at once: the command that asks for it does not wait for their end."""
        self.stopping()
        if self.record is not None:
            cancel(worker.job for worker in self.record.read().values())


class _Watch:
    """One launch.

    Args:
        words: each worker's overrides.
        folder: the sweep's `.workers`.
        stop: the file that tells workers to stop.
    """

    def __init__(self, launcher: SlurmLauncher, words: list[list[str]], folder: Path, stop: Path) -> None:
        config = launcher.config
        assert config is not None
        self.launcher, self.words, self.folder, self.stop = launcher, words, folder, stop
        self.settings = slurm_settings(config.cluster)
        self.tasks = tasks_of(_forked(config))
        self.name = str(config.sweep.study_name)
        # its storage's URL is in no config by now
        self.payload = packed(launcher.hydra_context, config, launcher.task_function)
        self.record = SlurmWorkers(folder)
        self.foreign: set[Path] = set()  # stop files of heads that died
        self.results: dict[int, JobReturn] = {}
        self.shown: dict[int, str] = {}
        self.early: dict[int, int] = {}
        self.begun: dict[int, float] = {}
        self.cancelled: list[int] = []

    def run(self) -> list[JobReturn]:
        workers = self.record.living(sending.job_name(self.name))
        if workers:
            self.foreign = {Path(worker.stop) for worker in workers.values()} - {self.stop}
            log.info("%d of the workers run already, as jobs %s", len(workers), _listed(workers))
        self._send(workers, [number for number in range(len(self.words)) if number not in workers])
        asked, pause = False, SOON
        while workers:
            if self.launcher.stopped is not None:
                asked = self._stop(workers, asked)
            known = states(worker.job for worker in workers.values())
            changed = known is not None and self._look(workers, known)
            pause = SOON if changed else min(LATE, 1.1 * pause)
            if workers:
                time.sleep(pause)
        for stop in self.foreign:
            stop.unlink(missing_ok=True)
        if self.cancelled and len(self.cancelled) == len(self.results) and self.launcher.stopped is None:
            raise UserError(
                f"all workers were cancelled (scancel). The same command goes on with the sweep: {self.folder.parent}"
            )
        return [self.results[number] for number in sorted(self.results)]

    def _look(self, workers: dict[int, SentWorker], known: dict[str, State]) -> bool:
        """Tell what is new of the workers, and replace those that died; whether anything is."""
        changed, again = False, []
        for number, worker in list(workers.items()):
            state = known[worker.job]
            if state.said() != self.shown.get(number) and state.name != "COMPLETING":
                self.shown[number], changed = state.said(), True
                if state.name == "RUNNING":
                    self.begun[number] = time.monotonic()
                if state.name != "COMPLETED":
                    log.info("worker %d (job %s): %s", number, worker.job, state.said())
            if state.ended:
                del workers[number]
                self.record.write(workers)
                if self._ended(number, worker, state):
                    again.append(number)
        self._send(workers, again)
        return changed

    def _ended(self, number: int, worker: SentWorker, state: State) -> bool:
        """Note what a worker came to; whether another is to be sent for it."""
        words = self.words[number] if number < len(self.words) else []
        said = worker.came_to()
        if said is not None:
            self.results[number] = returned(words, said)
            return False
        lived = time.monotonic() - self.begun.get(number, time.monotonic())
        self.early[number] = self.early.get(number, 0) + 1 if lived < QUICK else 0
        if state.name == "CANCELLED":
            self.cancelled.append(number)
        elif number < len(self.words) and self.launcher.stopped is None and self.early[number] < QUICK_DEATHS:
            return True
        self.results[number] = lost(words, f"its job {worker.job} ended: {state.said()}; its log: {worker.log}")
        return False

    def _send(self, workers: dict[int, SentWorker], numbers: list[int]) -> None:
        if not numbers:
            return
        jobs = []
        for number in numbers:
            said = self.folder / f"{number}.json"
            said.unlink(missing_ok=True)
            jobs.append(WorkerJob(self.payload, self.words[number], number, said, self.settings.requeues))
        try:
            sent = sending.send(jobs, self.name, self.folder / JOBS, self.settings, self.tasks)
        except UserError as error:
            if not workers:
                raise
            log.warning("%s", error)  # the others go on
            for number in numbers:
                self.results[number] = lost(self.words[number], str(error))
            return
        for number, job, work in zip(numbers, sent, jobs, strict=True):
            logged = sending.log_of(self.folder / JOBS, job)
            workers[number] = SentWorker(job, str(logged), str(work.said), str(self.stop))
            self.shown.pop(number, None)
        self.record.write(workers)

    def _stop(self, workers: dict[int, SentWorker], asked: bool) -> bool:
        """Those that wait will never look for the file; whether all have been asked."""
        jobs = [worker.job for worker in workers.values()]
        if not asked:
            for worker in workers.values():
                worker.ask_to_stop()
            cancel(jobs, "--state=PENDING")
        assert self.launcher.stopped is not None
        if time.monotonic() - self.launcher.stopped > SECONDS_TO_STOP:
            cancel(jobs)
        return True


def _forked(config: DictConfig) -> Any:
    """The trainer of a worker, which is one task and forks a trial's processes."""
    trainer = config.trainer.copy()
    with open_dict(trainer):
        trainer.strategy = "ddp_fork"
        trainer.num_nodes = 1
        trainer.devices = config.sweep.get("devices_per_trial") or trainer.get("devices", 1)
    return trainer


def _listed(workers: dict[int, SentWorker]) -> str:
    return " ".join(sorted(worker.job for worker in workers.values()))
