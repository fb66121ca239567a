"""What Lightning is told of Slurm: whose processes a training is made of."""

import os
import shutil

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment


def cluster_environment() -> list[ClusterEnvironment]:
    """A plugin for the Trainer, or none where Lightning finds out itself.

    Slurm's tasks are the ranks where there are several; a single task starts its processes itself. Lightning never
    queues a job again: `project.slurm` does, once the checkpoint is written.
    """
    if TorchElasticEnvironment.detect():
        return []
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return [SLURMEnvironment(auto_requeue=False)]
    # it would ask that every command of a machine that has srun be started by it
    return [LightningEnvironment()] if shutil.which("srun") else []
