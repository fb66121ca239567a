"""One row of TensorBoard's HParams tab."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams, scalar

from project.runs.folder import CONFIG, METRICS, recorded_config
from project.runs.settings import parameters

SUFFIX = ".hparams"
PLAIN = (bool, int, float, str)
# TensorBoard may read a folder's files in the order of their names, and none again once it has come to the next
FIRST = f"events.out.tfevents.0{SUFFIX}"


class HParams(Callback):
    """A run's row: its parameters when it begins, the best value of its monitor and how it ended when it ends.

    Every other scalar of the run, such as `test/accuracy`, is a metric of the row by itself. As long as the run is
    trained, and where it was stopped, the row's status is left open: TensorBoard keeps the first status that it reads.
    A run that is resumed has its row anew. Trials of a sweep have rows of their own (`project.sweeps.trial`).
    """

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}  # empty until the training begins

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and (_folder(trainer) / CONFIG).exists():  # else a Trainer that is no run's
            self.parameters = parameters(recorded_config(_folder(trainer)))
            begin_hparams(_folder(trainer), self.parameters)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.parameters and isinstance(exception, Exception):  # and not Stopped, after which it can go on
            write_hparams(_folder(trainer), self.parameters, {}, failed=True)

    def on_run_end(self, trainer: Trainer) -> None:
        """The run is trained and tested, and `metrics.json` is written."""
        if not trainer.is_global_zero:
            return
        metrics = json.loads((_folder(trainer) / METRICS).read_text(encoding="utf-8"))
        value = metrics["best"]["value"]
        measured = {} if value is None else {metrics["monitor"]: value}
        write_hparams(_folder(trainer), self.parameters or parameters(recorded_config(_folder(trainer))), measured)


def begin_hparams(folder: Path, values: dict[str, Any]) -> None:
    """Write the hyperparameters of a run that begins, in the place of an earlier row of it."""
    _remove(folder)
    begin, _ = _summaries(values, {})
    _write(folder / FIRST, [begin])


def write_hparams(folder: Path, parameters: dict[str, Any], metrics: dict[str, float], failed: bool = False) -> None:
    """Write a run's hyperparameters into an event file of its own in the run's folder, in the place of an earlier one.

    Only the session's beginning and end are written: with the summary of the whole experiment, which `add_hparams`
    writes too, TensorBoard would show the columns of one run only, though runs differ in their parameters. Every scalar
    of the run is a metric of its row.

    Args:
        failed: shown as the row's status.
    """
    _remove(folder)
    begin, end = _summaries(parameters, metrics)
    if failed:
        plugin = end.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(plugin.content)
        content.session_end_info.status = STATUS_FAILURE
        plugin.content = content.SerializeToString()
    # behind the run's own files, the last of which drops what stands before it if the run was resumed: a short run ends
    # in the second in which that was begun
    begun = [int(file.name.split(".")[3]) for file in folder.glob("events.out.tfevents.*.*")]
    second = max([int(time.time()), *(number + 1 for number in begun)])
    objectives = [scalar(f"objective/{name}", value) for name, value in metrics.items()]
    _write(folder / f"events.out.tfevents.{second}{SUFFIX}", [begin, end, *objectives])


def _write(path: Path, summaries: Sequence[Summary]) -> None:
    """An event file that is there whole or not at all; its folder is made where a trial failed before it had one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(".hparams.partial")
    with partial.open("wb") as file:
        writer = RecordWriter(file)
        for event in (Event(file_version="brain.Event:2"), *(Event(summary=summary) for summary in summaries)):
            event.wall_time = time.time()
            writer.write(event.SerializeToString())
    partial.replace(path)


def _summaries(parameters: dict[str, Any], metrics: dict[str, float]) -> Sequence[Summary]:
    """The beginning of a session, and its end with success."""
    values = {name: value if isinstance(value, PLAIN) else str(value) for name, value in parameters.items()}
    return hparams(values, metrics)[1:]


def _remove(folder: Path) -> None:
    for stale in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
        stale.unlink()


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir)
