"""One row of TensorBoard's HParams tab."""

from pathlib import Path
from typing import Any

from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

SUFFIX = ".hparams"
PLAIN = (bool, int, float, str)


def write_hparams(folder: Path, parameters: dict[str, Any], metrics: dict[str, float], failed: bool = False) -> None:
    """Write a run's hyperparameters into an event file of its own in the run's folder, in the place of an earlier one.

    Only the session's beginning and end are written: with the summary of the whole experiment, which `add_hparams`
    writes too, TensorBoard would show the columns of one run only, though runs differ in their parameters. Every scalar
    of the run is a metric of its row.

    Args:
        failed: shown as the row's status.
    """
    for stale in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
        stale.unlink()
    values = {name: value if isinstance(value, PLAIN) else str(value) for name, value in parameters.items()}
    _, begin, end = hparams(values, metrics)
    if failed:
        plugin = end.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(plugin.content)
        content.session_end_info.status = STATUS_FAILURE
        plugin.content = content.SerializeToString()
    writer = SummaryWriter(str(folder), filename_suffix=SUFFIX)
    try:
        for summary in (begin, end):
            writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]
        for name, value in metrics.items():
            writer.add_scalar(f"objective/{name}", value)
    finally:
        writer.close()
