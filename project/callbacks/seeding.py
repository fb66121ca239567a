"""Random numbers that a resumed run draws again."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class StepSeed(Callback):
    """Seeds torch before every training step from the run's seed, the step and the rank.

    Dropout and whatever else is random in a step is then a function of these three alone: a run that is resumed at
    step k draws what the run that was never stopped drew, whatever validation, plots or workers consumed in between.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_step(step_seed(self.seed, trainer.fit_loop.total_batch_idx, trainer.global_rank), pl_module.device)


def seed_step(seed: int, device: torch.device) -> None:
    """Seed the CPU's generator and that of the device.

    `torch.manual_seed` seeds those of all kinds of devices: for GPUs that no one has used yet it keeps a list of calls,
    with a trace of each, which takes a millisecond and grows by one entry a step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def step_seed(seed: int, step: int, rank: int) -> int:
    """32 well-mixed bits (Steele et al. 2014, SplitMix64's finaliser): neighbouring steps look independent."""
    mask = (1 << 64) - 1
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + (rank + 1) * 0x94D049BB133111EB) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return (mixed ^ (mixed >> 31)) >> 32
