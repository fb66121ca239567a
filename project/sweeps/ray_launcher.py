"""A Hydra launcher for a Ray cluster: every job in a process on some node, started again when that is lost."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from project.errors import UserError
from project.sweeps.jobs import packed
from project.sweeps.ray_cluster import Request, check_fits, connect, nodes, said
from project.sweeps.ray_jobs import RayJobs, Shared

log = logging.getLogger(__name__)


class RayLauncher(Launcher):
    """Runs the jobs on the nodes of a Ray cluster that exists. Those of a lost node are started again on another.

    A job that finds no room waits for it. All end with the launcher, also when that is killed.

    Args:
        address: `auto`, `<host>:<port>`, `ray://<host>:<port>` or `local`; see `ray_cluster.connect`.
        cpus: of each job, which has as many threads.
        gpus: of each job: a share of one, or a whole number; None: what the sweep or the trainer says, if the cluster
            has any.
        memory: GiB of each job, as Ray counts it; None: not counted.
        resources: of each job, by the names that the nodes were started with.
        wait: seconds to wait for a node that can hold a job, in a cluster that grows by itself.
        restarts: whether jobs that died are started again.
    """

    def __init__(
        self,
        address: str | None = "auto",
        cpus: float = 1,
        gpus: float | None = None,
        memory: float | None = None,
        resources: Mapping[str, float] | None = None,
        wait: float = 0,
        restarts: bool = True,
    ) -> None:
        self.address, self.cpus, self.gpus, self.memory = address, cpus, gpus, memory
        self.resources, self.wait, self.restarts = resources, wait, restarts
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None
        self._jobs: RayJobs | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def prepare(self) -> None:
        """Connect to the cluster.

        Raises:
            UserError: there is none, or no node of it can hold a job.
        """
        self._request([])
        ray = connect(self.address)
        if self.wait == 0:
            check_fits(self._request(nodes(ray)), nodes(ray))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; of one that died for good the status is FAILED.

        Raises:
            UserError: no node is left that could hold one.
        """
        assert self.config is not None
        self.prepare()
        ray = connect(self.address)
        request = self._request(nodes(ray))
        log.info("Ray: %s; %s for each worker", said(nodes(ray)), request)
        shared = Shared(
            packed(self.hydra_context, self.config, self.task_function),
            str(Path.cwd()),
            os.environ.get("PYTHONPATH", ""),
            getattr(self.task_function, "leaves_nothing", False),
        )
        self._jobs = RayJobs(ray, request, shared, job_overrides, initial_job_idx, self.restarts, self.wait)
        try:
            return self._jobs.results()
        finally:
            self._jobs.end()

    def stopping(self) -> None:
        """No job is begun any more; those that run are asked to end, and killed in a minute."""
        if self._jobs is not None:
            self._jobs.stopping()

    def kill(self) -> None:
        """End all jobs at once."""
        if self._jobs is not None:
            self._jobs.stopping(at_once=True)

    def _request(self, totals: list[dict[str, float]]) -> Request:
        cpus, wait = _number("cpus", self.cpus), _number("wait", self.wait)
        memory = None if self.memory is None else _number("memory", self.memory)
        gpus = self._gpus(any(node.get("GPU", 0) > 0 for node in totals))
        if gpus > 1 and gpus % 1:
            raise UserError(f"cluster.gpus above 1 must be whole, got {gpus:g}")
        if self.resources is not None and not isinstance(self.resources, Mapping):
            raise UserError(f"cluster.resources must be names and amounts, {{name: 1}}, got {self.resources}")
        resources = {str(name): _number(f"resources.{name}", value) for name, value in (self.resources or {}).items()}
        self.wait = wait
        return Request(cpus, gpus, memory, resources)

    def _gpus(self, there_are: bool) -> float:
        """Of each job: what the cluster's, the sweep's or the trainer's setting says, in this order."""
        assert self.config is not None
        sweep, trainer = self.config.get("sweep") or {}, self.config.get("trainer") or {}
        if self.gpus is not None:
            return _number("gpus", self.gpus)
        if sweep.get("gpus_per_worker") is not None:
            return float(sweep["gpus_per_worker"])
        if not there_are or trainer.get("accelerator") == "cpu":
            return 0.0
        devices = sweep.get("devices_per_trial") or trainer.get("devices", 1)
        return float(devices) if isinstance(devices, int) and devices > 0 else 1.0


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise UserError(f"cluster.{name} must be a number from 0 on, got {value!r}")
    return float(value)
