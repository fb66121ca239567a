"""Which of a training's processes this one is, told from the environment, without importing torch."""

import os
import socket
from dataclasses import dataclass
from typing import Literal

from omegaconf import DictConfig

from project.errors import UserError

TIMEOUT = 300.0  # seconds, of runs whose config has no trainer.timeout
INTERACTIVE = ("bash", "interactive")  # names of Slurm jobs in which a person types


@dataclass(frozen=True)
class Launch:
    """A process that was started together with the others, by something that is not this project."""

    by: Literal["torchrun", "srun"]
    rank: int
    world_size: int
    local_rank: int


def launched() -> Launch | None:
    """This process among those that torchrun (or whoever sets its variables) or srun has started; None: it is alone."""
    env = os.environ
    if all(name in env for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")):
        return Launch("torchrun", int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]))
    tasks = int(env.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1 and "SLURM_PROCID" in env and env.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return Launch("srun", int(env["SLURM_PROCID"]), tasks, int(env["SLURM_LOCALID"]))
    return None


def speaks() -> bool:
    """Whether this process tells people what all of its kind find out: rank 0; of Lightning's own launcher, which is
    started by hand on every host, the process that was started so."""
    launch = launched()
    return launch.rank == 0 if launch is not None else int(os.environ.get("LOCAL_RANK", "0")) == 0


def timeout_of(cfg: DictConfig) -> float:
    """`trainer.timeout` in seconds.

    Raises:
        UserError: it is not positive.
    """
    timeout = float(cfg.trainer.get("timeout", TIMEOUT))
    if timeout <= 0:
        raise UserError(f"trainer.timeout must be positive, in seconds, got {timeout:g}")
    return timeout


def myself(rank: int) -> str:
    """This process, for the messages of the others."""
    return f"rank {rank} ({socket.gethostname()}, process {os.getpid()})"
