"""`python -m project.train ... cluster=ray`: runs the training on a node, and shows it until its end."""

import os
import runpy
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig

from project.errors import Stopped, UserError
from project.ray.cluster import check_fits, connect, nodes
from project.ray.jobs import RayJobs
from project.ray.settings import ray_settings, request
from project.runs.elsewhere import elsewhere
from project.runs.folder import CONFIG, discard
from project.stops import heard_by


@dataclass
class TrainingJob:
    """The command of the same words, in a process on a node; it goes on where it was when it is begun again.

    Attributes:
        words: of its command line, for its first start.
        typed: the words of the person's own command.
        folder: the run's.
        config_written: the time of change of its config, in nanoseconds, before the first start; None: there is none.
    """

    words: list[str]
    typed: list[str]
    folder: Path
    config_written: int | None

    def __call__(self) -> None:
        """Run the command to its end.

        Raises:
            SystemExit: with its exit code.
        """
        sys.argv = ["project.train", *([f"resume={self.folder}"] if self._has_begun() else self.words)]
        sys.orig_argv[1:] = ["-m", "project.train", *self.typed]
        warnings.filterwarnings("ignore", "'project.* found in sys.modules", RuntimeWarning)
        runpy.run_module("project.train", run_name="__main__", alter_sys=True)

    def stop(self) -> None:
        """Let the training write its checkpoint, and end."""
        os.kill(os.getpid(), signal.SIGTERM)

    def _has_begun(self) -> bool:
        config = self.folder / CONFIG
        return config.exists() and config.stat().st_mtime_ns != self.config_written


def run_on_node(cluster: DictConfig, cfg: DictConfig, typed: list[str], changes: list[str]) -> None:
    """Train as `cfg` says on a node of the cluster, and show what it prints.

    Args:
        cluster: the config's.
        cfg: a composed `conf/train.yaml`; of a run that is resumed, its own, with `resume` set.
        typed: the words of the command line.
        changes: those of them that change the config of a run that is resumed.

    Raises:
        UserError: a wrong value, no cluster, no room, or the node's process died again and again.
        Stopped: Ctrl-C or SIGTERM; the run has written its checkpoint.
        SystemExit: the training ended with an exit code other than 0, and has said why.
    """
    settings = ray_settings(cluster)
    if int(cfg.trainer.get("num_nodes", 1)) > 1:
        raise UserError(f"trainer.num_nodes={cfg.trainer.num_nodes} with cluster=ray: a run trains on one node; take 1")
    ray = connect(settings.address)
    totals = nodes(ray)
    wanted = request(settings, cfg, any(node.get("GPU") for node in totals))
    if settings.wait == 0:
        check_fits(wanted, totals)
    run = elsewhere(cfg, typed, changes)
    job = TrainingJob(run.words, typed, run.folder, run.config_written)
    jobs = RayJobs(ray, wanted, [job], wait=settings.wait, show=_show)
    asked: list[int] = []
    try:
        with _stoppable(jobs, asked):
            (ended,) = jobs.results()
    finally:
        jobs.end()
        if not run.resumed and not any(run.folder.iterdir()):
            discard(run.folder)
    if asked:
        raise Stopped(
            f"stopped on the node. To go on: python -m project.train resume={run.folder} cluster=ray", asked[0]
        )
    if ended.code is None:
        raise UserError(f"the run's process {ended.how}")
    if ended.code != 0:
        sys.exit(ended.code)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def _stoppable(jobs: RayJobs, asked: list[int]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the run write its checkpoint; the second ends it at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        jobs.stopping(at_once=bool(asked))
        asked.append(number)

    with heard_by(stop):
        yield
