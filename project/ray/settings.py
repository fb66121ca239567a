"""What `cluster=ray` holds: every key of `conf/cluster/ray.yaml`, with its meaning."""

from dataclasses import dataclass, field
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig

from project.errors import UserError
from project.runs.hydra_versions import instantiate

TARGET = "project.ray.settings.Ray"


@dataclass
class Ray:
    """A Ray cluster, and what each job takes of a node.

    Args:
        address: `auto`: that of `RAY_ADDRESS`, or of the cluster that runs on this machine; `host:port`;
            `ray://host:port`; `local`: one is started here, for this command alone.
        cpus: of each job, which computes with as many threads.
        gpus: a share of one, or a whole number; None: what the sweep or the trainer says, if the cluster has any.
        memory: GiB, as Ray counts it; None: not counted.
        resources: others, by the names that the nodes were started with.
        wait: seconds to wait for a node that can hold a job, in a cluster that grows by itself.

    Raises:
        ValueError: a number that is too small.
    """

    address: str = "auto"
    cpus: float = 1
    gpus: float | None = None
    memory: float | None = None
    resources: dict[str, float] | None = None
    wait: float = 0

    @property
    def threads(self) -> int:
        """Of each job."""
        return max(1, int(self.cpus))

    def __post_init__(self) -> None:
        amounts = {"cpus": self.cpus, "gpus": self.gpus, "memory": self.memory, "wait": self.wait}
        amounts |= {f"resources.{name}": amount for name, amount in (self.resources or {}).items()}
        for name, value in amounts.items():
            if value is not None and value < 0:
                raise ValueError(f"cluster.{name} must be at least 0, got {value}")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"cluster.gpus above 1 must be whole, got {self.gpus}")


@dataclass(frozen=True)
class Request:
    """What each job takes of a node."""

    cpus: float
    gpus: float
    memory: float | None  # GiB
    resources: dict[str, float] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """As Ray's scheduler calls it."""
        memory = None if self.memory is None else int(self.memory * 2**30)
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": memory, "resources": self.resources or None}

    def fits(self, totals: dict[str, float]) -> bool:
        """Whether a node with these resources could hold it if it were empty."""
        memory = 0 if self.memory is None else self.memory * 2**30
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": memory, **self.resources}
        return all(totals.get(name, 0) >= amount for name, amount in wanted.items())

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU", f"{self.gpus:g} GPU"]
        if self.memory is not None:
            parts.append(f"{self.memory:g} GiB")
        return ", ".join([*parts, *(f"{amount:g} {name}" for name, amount in self.resources.items())])


def ray_settings(cluster: DictConfig | None) -> Ray:
    """The settings of a config's `cluster`.

    Raises:
        UserError: a wrong value, or it is no Ray cluster.
    """
    if cluster is None or cluster.get("_target_") != TARGET:
        raise UserError("hydra/launcher=ray needs to know its cluster: take cluster=ray instead")
    try:
        settings: Ray = instantiate(cluster, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise UserError(" ".join(str(cause).split())) from error
    return settings


def request(settings: Ray, cfg: DictConfig, there_are_gpus: bool) -> Request:
    """What a job of `cfg`, or a worker of its sweep, takes of a node.

    Args:
        there_are_gpus: whether any node has one.
    """
    gpus = settings.gpus
    sweep, trainer = cfg.get("sweep") or {}, cfg.get("trainer") or {}
    if gpus is None and sweep.get("gpus_per_worker") is not None:
        gpus = float(sweep["gpus_per_worker"])
    if gpus is None and there_are_gpus and trainer.get("accelerator") != "cpu":
        devices = sweep.get("devices_per_trial") or trainer.get("devices", 1)
        gpus = float(devices) if isinstance(devices, int) and devices > 0 else 1.0
    return Request(settings.cpus, gpus or 0.0, settings.memory, dict(settings.resources or {}))
