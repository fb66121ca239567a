"""From `conf/trainer` to Lightning's strategy: how many processes, how they are started, how they share the work."""

from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import StrategyRegistry
from omegaconf import DictConfig

from project.distributed.batch_norm import CpuSyncBatchNorm
from project.distributed.launch import launched, timeout_of
from project.errors import UserError

# seconds for which collective operations wait: rank 0 may write or measure something while the others wait for it, and
# is watched meanwhile
LONGEST_OF_RANK_0 = 1800.0


def processes_per_host(trainer: DictConfig, accelerator: str) -> int:
    """How many the config asks for; `auto` and -1 are all GPUs, and on a CPU one process."""
    devices = trainer.get("devices", 1)
    if not isinstance(devices, int | str):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return max(1, torch.cuda.device_count()) if accelerator == "cuda" else 1
    return int(devices) if str(devices).isdigit() else len([part for part in str(devices).split(",") if part.strip()])


def arrange(cfg: DictConfig, accelerator: str) -> tuple[dict[str, Any], list[Any]]:
    """What the Trainer takes beside the config's numbers: arguments that replace the config's, and plugins.

    Args:
        cfg: of the run.
        accelerator: the type of the device: cpu, cuda, ...

    Raises:
        UserError: a strategy that needs GPUs without them; processes that were started in another number.
    """
    trainer, strategy = cfg.trainer, cfg.trainer.get("strategy", "auto")
    each, hosts = processes_per_host(trainer, accelerator), int(trainer.get("num_nodes", 1))
    if not _forks(str(strategy)):
        _check_number(each, hosts)
    if not isinstance(strategy, str):
        return {}, []
    if each * hosts == 1 and (strategy == "auto" or strategy.startswith("ddp")):
        # also in a job of Slurm, which Lightning would queue again by itself, and for each machine that has srun
        return {"strategy": "auto", "sync_batchnorm": False}, [LightningEnvironment()]
    name = "ddp" if strategy == "auto" else strategy
    arguments: dict[str, Any] = {"strategy": _strategy(name, timeout_of(cfg), accelerator)}
    plugins: list[Any] = [_environment(name)]
    if trainer.get("sync_batchnorm") and accelerator == "cpu":
        arguments["sync_batchnorm"] = False
        plugins.append(CpuSyncBatchNorm())
    return arguments, plugins


def _strategy(name: str, timeout: float, accelerator: str) -> Any:
    if not name.startswith(("ddp", "fsdp")) or name not in StrategyRegistry.available_strategies():
        return name
    if name.startswith("fsdp") and accelerator != "cuda":
        raise UserError(
            "trainer=fsdp shares a network out among GPUs, and needs CUDA; on the CPU take trainer=ddp, where every "
            "process holds the whole network"
        )
    entry = StrategyRegistry[name]
    return entry["strategy"](**{**entry["init_params"], "timeout": timedelta(seconds=max(timeout, LONGEST_OF_RANK_0))})


def _environment(strategy: str) -> ClusterEnvironment:
    launch = None if _forks(strategy) else launched()
    if launch is None:
        return LightningEnvironment()
    if launch.by == "srun":
        return SLURMEnvironment(auto_requeue=False)
    return TorchElasticEnvironment()


def _forks(strategy: str) -> bool:
    """Whether it starts its processes itself, whatever started this one."""
    return any(way in strategy for way in ("fork", "spawn", "notebook"))


def _check_number(each: int, hosts: int) -> None:
    launch = launched()
    if launch is not None and launch.world_size != each * hosts:
        raise UserError(
            f"{launch.world_size} processes were started by {launch.by}, and trainer.devices={each} on "
            f"trainer.num_nodes={hosts} are {each * hosts}: the numbers must agree"
        )
