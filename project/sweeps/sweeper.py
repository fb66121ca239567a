"""Hydra's sweeper of this project: makes the study, launches workers, shows the sweep, and ends it."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from project.errors import UserError


class StudySweeper(Sweeper):
    """`sweep=NAME`: workers share an Optuna study, and none waits for another.

    `conf/sweep/default.yaml` says what can be set.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.launcher = None

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep that the command line's words describe, or what is missing of it; the best trial's value."""
        from project.sweeps.head import Head

        assert self.config is not None
        assert self.hydra_context is not None
        if self.config.get("sweep") is None:
            raise UserError("several runs are a sweep: choose one, e.g. sweep=default, or leave out -m and --multirun")
        train = getattr(self.task_function, "trial", None)
        if train is None:
            raise UserError("this command cannot be swept: project.train can")
        return Head(self.hydra_context, self.config, train, list(arguments)).run()
