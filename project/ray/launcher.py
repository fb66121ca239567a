"""A Hydra launcher for a Ray cluster: every worker of a sweep is a process on some node."""

import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from project.errors import UserError
from project.ray.cluster import check_fits, connect, nodes, said
from project.ray.jobs import Ended, RayJobs
from project.ray.settings import Ray, ray_settings, request
from project.sweeps.jobs import Said, lost, packed, returned, run_unpacked, unpacked

log = logging.getLogger(__name__)


def prepare(config: DictConfig) -> tuple[Ray, Any]:
    """The settings of a config's cluster, and Ray's module, connected to it.

    Raises:
        UserError: a wrong value, no cluster, or no node of it can hold a job.
    """
    settings = ray_settings(config.get("cluster"))
    ray = connect(settings.address)
    if settings.wait == 0:
        totals = nodes(ray)
        check_fits(request(settings, config, any(node.get("GPU") for node in totals)), totals)
    return settings, ray


@dataclass
class HydraJob:
    """One worker of a sweep, as its process calls it.

    Attributes:
        shared: `jobs.packed`.
        words: the job's overrides.
        number: the job's.
        storage: the URL of the study's database, which no environment and no list of Ray's jobs shows.
    """

    shared: bytes
    words: list[str]
    number: int
    storage: str | None
    task: Any = field(default=None, init=False)

    def __call__(self) -> Said:
        """Run the job to its end."""
        from project.sweeps.worker import STORAGE

        os.environ[STORAGE] = self.storage or ""
        context, config, self.task = unpacked(self.shared)
        return run_unpacked(context, config, self.task, self.words, self.number)

    def stop(self) -> None:
        """Let the worker write what it needs to go on, and end."""
        if self.task is not None:
            self.task.stop()
        else:
            os.kill(os.getpid(), signal.SIGTERM)


class RayLauncher(Launcher):
    """Runs a sweep's workers on the nodes that `cluster=ray` describes; one that was lost is begun again on another.

    A worker that finds no room waits for it. All end with the launcher, also when that is killed.
    """

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None
        self._jobs: RayJobs | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; of one that died for good the status is FAILED.

        Raises:
            UserError: no node is left that could hold one.
        """
        from project.sweeps.worker import storage_url

        assert self.config is not None
        if getattr(self.task_function, "orders", None) is None:
            raise UserError("hydra/launcher=ray runs a sweep's workers: choose cluster=ray and a sweep, sweep=NAME")
        settings, ray = prepare(self.config)
        totals = nodes(ray)
        wanted = request(settings, self.config, any(node.get("GPU") for node in totals))
        log.info("Ray: %s; %s for each worker", said(totals), wanted)
        shared = packed(self.hydra_context, self.config, self.task_function)
        jobs = [
            HydraJob(shared, list(words), initial_job_idx + index, storage_url())
            for index, words in enumerate(job_overrides)
        ]
        # a worker that has ended has left nothing for one that has not begun
        self._jobs = RayJobs(ray, wanted, jobs, initial_job_idx, settings.wait, leaves_nothing=True)
        try:
            ended = self._jobs.results()
        finally:
            self._jobs.end()
        return [_returned(words, end) for words, end in zip(job_overrides, ended, strict=True)]

    def stopping(self) -> None:
        """No job is begun any more; those that run are asked to end, and killed in a minute."""
        if self._jobs is not None:
            self._jobs.stopping()

    def kill(self) -> None:
        """End all jobs at once."""
        if self._jobs is not None:
            self._jobs.stopping(at_once=True)


def _returned(words: Sequence[str], end: Ended) -> JobReturn:
    if end.said is not None:
        return returned(words, end.said)
    return lost(words, end.how) if end.how else returned(words, ("COMPLETED", 0))
