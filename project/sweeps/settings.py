"""What `sweep=NAME` holds: every key of `conf/sweep/default.yaml`, with its meaning."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Settings:
    """A sweep, as a person describes it.

    Args:
        study_name: the study in the storage, and the sweep's folder.
        params: what is searched: config keys or groups and Hydra's sweep syntax; other values are fixed for all trials.
        space: dotted name of a function that draws more from an `optuna.Trial` and returns overrides by key.
        constraints: dotted names of functions of a trial's config; False, or a text, rejects the trial untrained.
        max_parameters: rejects networks with more trainable parameters than this.
        n_trials: finished trials that the study ends with, however often it is stopped and started again.
        workers: processes that train trials at the same time.
        storage: any URL that Optuna takes; None: a journal file in the sweep's folder.
        objectives: what is optimised: logged values, `parameters` or `seconds`; None: the config's `monitor`.
        directions: `maximize` or `minimize` for each objective; None: by their names.
        seeds: trainings of each configuration, with `seed`, `seed + 1`, ...; the mean is optimised.
        max_retries: how often a trial whose worker died is taken up again, from its last checkpoint.
        max_failures: failed trials after which the sweep gives up; None: never.
        timeout: seconds after which all workers write their checkpoints and stop; None: never.
        seed: of the sampler; every trial draws with a seed of its own made from it.
        devices_per_trial: processes, each with a GPU of its own where there are any, that train a trial together; None:
            as `trainer.devices` says.
        gpus_per_worker: share of a GPU, or number of GPUs, that each worker sees; None: the GPUs are dealt out evenly.
        threads_per_worker: CPU threads of each worker; None: the cores are shared out evenly.
        heartbeat: seconds between a worker's signs of life; four without one on another machine, and it counts as dead.
        patience: seconds for which every process waits for a database that is away, before it writes its checkpoint and
            stops.
        sampler: how parameters are drawn: the class of an Optuna sampler (`_target_`) and its arguments.
        pruner: when a trial is stopped early: the same of an Optuna pruner; None: never.
    """

    study_name: str
    params: dict[str, Any] = field(default_factory=dict)
    space: str | None = None
    constraints: list[str] = field(default_factory=list)
    max_parameters: int | None = None
    n_trials: int = 40
    workers: int = 1
    storage: str | None = None
    objectives: list[str] | None = None
    directions: list[str] | None = None
    seeds: int = 1
    max_retries: int = 2
    max_failures: int | None = 10
    timeout: float | None = None
    seed: int = 0
    devices_per_trial: int | None = None
    gpus_per_worker: float | None = None
    threads_per_worker: int | None = None
    heartbeat: float = 15.0
    patience: float = 240.0
    sampler: dict[str, Any] | None = None
    pruner: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, least in (("n_trials", 1), ("workers", 1), ("seeds", 1), ("max_retries", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"sweep.{name} must be at least {least}, got {getattr(self, name)}")
        positive = ("max_failures", "max_parameters", "timeout", "heartbeat", "patience", "devices_per_trial")
        for name in (*positive, "gpus_per_worker", "threads_per_worker"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"sweep.{name} must be positive, got {value}")
        if not self.study_name.strip() or "/" in self.study_name or self.study_name in (".", ".."):
            raise ValueError(f"sweep.study_name must be the name of a folder, got {self.study_name!r}")
        if self.gpus_per_worker is not None and self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise ValueError(f"sweep.gpus_per_worker above 1 must be whole, got {self.gpus_per_worker}")
        for direction in self.directions or []:
            if direction not in ("maximize", "minimize"):
                raise ValueError(f"sweep.directions must be maximize or minimize, got {direction}")
