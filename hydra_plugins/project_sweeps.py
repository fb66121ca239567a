"""The project's plugins, where Hydra looks for plugins: every start of Hydra imports them, so nothing heavy is here."""

from project.ray import launcher as ray_launcher
from project.sweeps import local_launcher, slurm_launcher, sweeper


class StudySweeper(sweeper.StudySweeper):
    """`hydra/sweeper=study`."""


class LocalLauncher(local_launcher.LocalLauncher):
    """`hydra/launcher=local`."""


class RayLauncher(ray_launcher.RayLauncher):
    """`hydra/launcher=ray`."""


class SlurmLauncher(slurm_launcher.SlurmLauncher):
    """`hydra/launcher=slurm`."""
