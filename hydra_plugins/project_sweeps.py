"""The project's Hydra plugins, where Hydra looks for plugins: imported by every start of it, so nothing heavy is here."""

from project.sweeps import local_launcher, sweeper


class StudySweeper(sweeper.StudySweeper):
    """`hydra/sweeper=study`."""


class LocalLauncher(local_launcher.LocalLauncher):
    """`hydra/launcher=local`."""
