"""TensorBoard's event files, in the run's own folder."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger


class RunLogger(TensorBoardLogger):
    """Writes event files straight into `folder`, and nothing beside them.

    Args:
        folder: the run's folder.
        purge_step: on resuming, the first step of which the event files may hold stale values; TensorBoard drops
            everything from there on, so that curves neither overlap nor leave a gap.
    """

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        super().__init__(
            save_dir=folder, name="", version="", default_hp_metric=False, purge_step=purge_step, max_queue=100
        )

    @property
    def experiment(self) -> Any:
        """The writer of the event files; only the first one drops stale values, the test's goes on behind it."""
        if self._experiment is None:
            _wait_for_a_later_name(Path(self.log_dir))
        writer = super().experiment
        self._kwargs.pop("purge_step", None)
        return writer

    @property
    def log_dir(self) -> str:
        return str(Path(self.save_dir or "."))

    def save(self) -> None:
        """Flush; the run's folder holds its config already, so no `hparams.yaml`."""
        self.experiment.flush()

    def finalize(self, status: str) -> None:
        """Flush, and keep the file open: the test, which comes after the training, goes on in it."""
        if self._experiment is not None:
            self._experiment.flush()

    def close(self) -> None:
        """Close the file; the run is over."""
        super().finalize("closed")


def _wait_for_a_later_name(folder: Path) -> None:
    """TensorBoard reads event files in the order of their names, which begin with the second; what comes behind it
    (process, counter) is no order in time."""
    while any(int(file.name.split(".")[3]) == int(time.time()) for file in folder.glob("events.out.tfevents.*.*")):
        time.sleep(0.02)
