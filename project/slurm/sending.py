"""Sends what a job is to call, with what it asks for, through submitit."""

import contextlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from project.errors import UserError
from project.slurm.settings import Slurm, Tasks

_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")


def send(jobs: Sequence[Callable[[], Any]], name: str, folder: Path, settings: Slurm, tasks: Tasks) -> list[str]:
    """Queue `jobs`, several as an array; their ids, in the same order.

    Args:
        jobs: what they call; pickled into `folder/<id>`, where their logs are, too.
        name: of the jobs.

    Raises:
        UserError: Slurm refuses them.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.SlurmExecutor(folder=folder / "%j", max_num_timeout=0)  # we count ourselves
    executor.update_parameters(**parameters(name, settings, tasks))
    try:
        with _outside_of_a_job(), contextlib.redirect_stderr(io.StringIO()):  # submitit prints what it raises
            sent = executor.map_array(_call, list(jobs)) if len(jobs) > 1 else [executor.submit(_call, jobs[0])]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        for left in [*folder.glob("*.pkl"), *folder.glob(".submission_file_*.sh")]:
            left.unlink()
        said = [re.sub(r"^sbatch: error: ", "", line) for line in str(error).splitlines() if line.strip()]
        raise UserError(f"Slurm refuses the job: {'; '.join(said[-2:])}") from error
    return [str(job.job_id) for job in sent]


def log_of(folder: Path, job: str, task: int = 0) -> Path:
    """Where what a job's task prints is written."""
    return folder / job / f"{job}_{task}_log.out"


def job_name(name: str) -> str:
    """`name` as Slurm shows it."""
    return re.sub(r"[^\w.-]", "_", name)


def _call(job: Callable[[], Any]) -> Any:
    return job()


def parameters(name: str, settings: Slurm, tasks: Tasks) -> dict[str, Any]:
    """What sbatch is told, as submitit calls it."""
    each = tasks.per_node * tasks.processes
    memory = settings.megabytes()
    wanted = {
        "job_name": job_name(name),
        "partition": settings.partition,
        "account": settings.account,
        "time": -(-settings.seconds() // 60),
        "nodes": tasks.nodes,
        "ntasks_per_node": tasks.per_node,
        "cpus_per_task": None if settings.cpus is None else settings.cpus * tasks.processes,
        "gpus_per_node": settings.gpus * each or None,
        "mem": None if memory is None else f"{memory}M",
        "signal_delay_s": settings.notice,
        "stderr_to_stdout": True,
        "array_parallelism": settings.array or 10**6,
        # a rank that is lost ends the others; of a job that is killed by Slurm all is gone
        "srun_args": ["--kill-on-bad-exit=1"] if tasks.nodes * tasks.per_node > 1 else None,
        "additional_parameters": {"requeue": True, **settings.options},
        "setup": None if settings.cpus is None else [f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{settings.cpus}}}"'],
    }
    return {key: value for key, value in wanted.items() if value is not None}


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """A command that runs in a job itself would hand its job's numbers on to the new one."""
    before = {key: value for key, value in os.environ.items() if key.startswith("SLURM_") and key not in _KEPT}
    for key in before:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(before)


def discard(folder: Path) -> None:
    """Remove a folder of jobs' files if nothing is in it."""
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
