"""A job of a Hydra launcher that runs in a process of its own: what the process is sent, and what comes back."""

import signal
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

Said = tuple[str, int | float | str]  # the name of a `JobStatus`, and the value, or what went wrong
LONGEST = 2000  # characters of what went wrong: a pipe is read when its process has ended


def packed(context: HydraContext | None, config: DictConfig, task: TaskFunction | None) -> bytes:
    """What all jobs of a launch share, for `run_packed` in another process."""
    import cloudpickle

    setup_globals()
    payload: bytes = cloudpickle.dumps((context, config, task, Singleton.get_state()))
    return payload


def unpacked(payload: bytes) -> tuple[HydraContext, DictConfig, TaskFunction]:
    """The parts of a payload; Hydra's state is set to the sender's."""
    import cloudpickle

    context, config, task, state = cloudpickle.loads(payload)  # our own launcher's
    setup_globals()
    Singleton.set_state(state)
    return context, config, task


def run_unpacked(
    context: HydraContext, config: DictConfig, task: TaskFunction, words: Sequence[str], number: int
) -> Said:
    """Run one job in this process."""
    job = context.config_loader.load_sweep_config(config, list(words))
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
    value = result._return_value
    return result.status.name, value if isinstance(value, int | float) else str(value)[:LONGEST]


def returned(words: Sequence[str], said: Said) -> JobReturn:
    """What Hydra is told of a job that came to its end."""
    result = JobReturn(overrides=list(words))
    result.status = JobStatus[said[0]]
    result.return_value = said[1] if result.status is JobStatus.COMPLETED else RuntimeError(said[1])
    return result


def lost(words: Sequence[str], how: str) -> JobReturn:
    """What Hydra is told of a job that did not."""
    return returned(words, (JobStatus.FAILED.name, how))


def how_it_ended(code: int) -> str:
    """A process's exit code in words."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"{name}; out of memory?" if name == "SIGKILL" else name
    return f"exit code {code}"
