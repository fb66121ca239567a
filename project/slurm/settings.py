"""What `cluster=slurm` holds: every key of `conf/cluster/slurm.yaml`, with its meaning."""

import re
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig

from project.errors import UserError
from project.runs.hydra_versions import instantiate

TARGET = "project.slurm.settings.Slurm"
_CLOCK = re.compile(r"(?:(\d+)-)?(\d{1,2}):(\d\d):(\d\d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([MGT])i?B?", re.IGNORECASE)
_MEGABYTES = {"M": 1, "G": 1024, "T": 1024 * 1024}
OURS = (
    "partition",
    "account",
    "time",
    "mem",
    "array",
    "signal",
    "requeue",
    "nodes",
    "ntasks-per-node",
    "gpus-per-node",
)


@dataclass
class Slurm:
    """What a Slurm job asks for.

    Args:
        partition: Slurm's; None: the cluster's default.
        account: who pays for it; None: the user's default.
        gpus: of each process.
        cpus: cores of each process, which are its threads; None: what Slurm gives.
        memory: of each node, `16GB`; None: what Slurm gives.
        time: minutes, or `hours:minutes:seconds`, or `days-hours:minutes:seconds`.
        array: how many of a sweep's workers may run at the same time; None: all.
        notice: seconds before the end of the time at which the checkpoint is written.
        requeues: how often a job that was preempted, or whose time was over, is queued again.
        wait: whether the command of a single run shows the job until its end.
        options: further options of sbatch by their long names; True for those without a value.

    Raises:
        ValueError: a value that Slurm could not make sense of.
    """

    partition: str | None = None
    account: str | None = None
    gpus: int = 0
    cpus: int | None = None
    memory: str | None = None
    time: int | str = "24:00:00"
    array: int | None = None
    notice: int = 120
    requeues: int = 100
    wait: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("gpus", 0), ("cpus", 1), ("array", 1), ("notice", 1), ("requeues", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"cluster.{name} must be at least {least}, got {value}")
        for name in ("partition", "account"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(r"[\w.,+@-]+", value):
                raise ValueError(f"cluster.{name} must be a name that Slurm knows, got {value!r}")
        if self.memory is not None and (not _SIZE.fullmatch(self.memory) or self.megabytes() == 0):
            raise ValueError(f"cluster.memory must be a size with its unit, e.g. 16GB or 500MB, got {self.memory!r}")
        if self.seconds() <= self.notice:
            raise ValueError(
                f"cluster.time={self.time} leaves no time before cluster.notice={self.notice} seconds: make it longer"
            )
        for name in self.options:
            if name.replace("_", "-") in OURS:
                raise ValueError(f"cluster.options.{name} is set by a key of its own, or derived from the trainer")

    def seconds(self) -> int:
        """The time limit.

        Raises:
            ValueError: it cannot be read.
        """
        if isinstance(self.time, int) or self.time.isdigit():
            minutes = int(self.time)
            if minutes < 1:
                raise ValueError(f"cluster.time must be at least a minute, got {self.time}")
            return 60 * minutes
        found = _CLOCK.fullmatch(self.time)
        if found is None:
            raise ValueError(
                f"cluster.time must be minutes, hours:minutes:seconds or days-hours:minutes:seconds, e.g. 240 or "
                f"04:00:00, got {self.time!r}"
            )
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return ((24 * days + hours) * 60 + minutes) * 60 + seconds

    def megabytes(self) -> int | None:
        """The memory of a node."""
        if self.memory is None:
            return None
        found = _SIZE.fullmatch(self.memory)
        assert found is not None
        return round(float(found[1]) * _MEGABYTES[found[2].upper()])


@dataclass(frozen=True)
class Tasks:
    """How the processes of a training are laid out over nodes.

    Attributes:
        nodes: how many.
        per_node: tasks that Slurm starts on each.
        processes: that each task forks, 1 for none.
    """

    nodes: int = 1
    per_node: int = 1
    processes: int = 1


def slurm_settings(cluster: DictConfig) -> Slurm:
    """The settings of a config's `cluster`, once this machine has been seen to be able to send jobs.

    Raises:
        UserError: a wrong value, or a missing program or package.
    """
    try:
        settings: Slurm = instantiate(cluster, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise UserError(" ".join(str(cause).split())) from error
    for program in ("sbatch", "srun", "squeue", "scontrol"):
        if shutil.which(program) is None:
            raise UserError(
                f"cluster=slurm needs Slurm's {program}, which this machine does not have: "
                "give the command on a login node of the cluster, or leave out cluster=slurm"
            )
    if find_spec("submitit") is None:
        raise UserError("cluster=slurm needs a package that is not installed (submitit): pip install '.[submitit]'")
    return settings


def tasks_of(trainer: DictConfig) -> Tasks:
    """A task for each process of the training, unless its strategy forks them.

    Raises:
        UserError: the number of devices depends on the machine, which is not known before the job runs.
    """
    devices = trainer.get("devices", 1)
    count = len(devices) if not isinstance(devices, int | str) else int(devices) if str(devices).isdigit() else 0
    if count < 1:
        raise UserError(f"trainer.devices={devices} with cluster=slurm: say how many, e.g. trainer.devices=2")
    nodes = int(trainer.get("num_nodes", 1))
    strategy = trainer.get("strategy", "auto")
    if isinstance(strategy, str) and ("fork" in strategy or "spawn" in strategy):
        if nodes > 1:
            raise UserError(f"trainer.strategy={strategy} is for one node, got trainer.num_nodes={nodes}: take ddp")
        return Tasks(processes=count)
    return Tasks(nodes, count)
