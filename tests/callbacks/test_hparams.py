"""The rows of TensorBoard's HParams tab, as a real TensorBoard answers."""

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from project.callbacks.hparams import begin_hparams, write_hparams
from project.errors import Stopped, UserError
from project.runs.resuming import resumed_config
from project.train import train
from tests.runs.conftest import tiny
from tests.sweeps.tensorboard import tensorboard_at

STATUS = [f"STATUS_{name}" for name in ("SUCCESS", "FAILURE", "RUNNING", "UNKNOWN")]
NEVER = "+callbacks.poison={_target_:tests.runs.parts.Poison,step:7}"


def asked(address: str, page: str, **more: Any) -> Any:
    """What the HParams tab asks of TensorBoard."""
    question = {"experimentName": "", "allowedStatuses": STATUS, "startIndex": 0, "sliceSize": 100, **more}
    body = json.dumps(question if page == "session_groups" else {"experimentName": ""}).encode()
    request = urllib.request.Request(
        f"{address}/data/plugin/hparams/{page}", body, {"Content-Type": "application/json"}
    )
    return json.loads(urllib.request.urlopen(request, timeout=30).read())


def rows(address: str) -> dict[str, Any]:
    """Each run's parameters, metrics and status."""
    groups = asked(address, "session_groups", colParams=[])["sessionGroups"]
    return {
        group["name"]: (
            group["hparams"],
            {metric["name"]["tag"]: metric["value"] for metric in group.get("metricValues", [])},
            group["sessions"][0].get("status"),
        )
        for group in groups
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished one, one with another optimizer that failed, one that failed and was resumed, one that was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    train(tiny(f"folder={folder / 'finished'}"))
    with pytest.raises(UserError, match="became NaN"):
        train(tiny(f"folder={folder / 'failed'}", "optimizer=sgd", "optimizer.lr=0.25", NEVER))
    with pytest.raises(UserError, match="became NaN"):
        train(tiny(f"folder={folder / 'resumed'}", "seed=3", NEVER))
    train(resumed_config(str(folder / "resumed"), ["trainer.max_epochs=3", "~callbacks.poison"], "outputs"))
    stop = f"+callbacks.stop={{_target_:tests.runs.parts.SignalAt,step:7,signal:{int(signal.SIGTERM)}}}"
    with pytest.raises(Stopped):
        train(tiny(f"folder={folder / 'stopped'}", stop))
    return folder


@pytest.mark.slow
def test_each_run_is_one_row_with_true_parameters_and_final_metrics(runs: Path) -> None:
    with tensorboard_at(runs) as address:
        found = rows(address)
        experiment = asked(address, "experiment")
        columns = [{"hparam": info["name"]} for info in experiment["hparamInfos"]]
        columns += [{"metric": info["name"]} for info in experiment["metricInfos"]]
        groups = asked(address, "session_groups", colParams=columns)["sessionGroups"]
    assert found.keys() == {"finished", "failed", "resumed", "stopped"}
    assert len(groups) == 4  # of parallel coordinates, with every column
    assert [status for _, _, status in (found[name] for name in ("finished", "failed", "resumed", "stopped"))] == [
        "STATUS_SUCCESS",
        "STATUS_FAILURE",
        "STATUS_SUCCESS",
        "STATUS_UNKNOWN",  # as of a run that is being trained: what TensorBoard says of all that has not ended
    ]
    assert found["finished"][0] == {
        "name": "convnet",
        "seed": 0,
        "monitor": "val/accuracy",
        "channels_last": True,
        "compile": False,
        "trainer.devices": 1,
        "trainer.precision": "32-true",
        "trainer.max_epochs": 2,
        "trainer.max_steps": -1,
        "trainer.limit_train_batches": 1,
        "trainer.accumulate_grad_batches": 1,
        "data": "Shapes",
        "data.train_images": 180,
        "data.test_images": 40,
        "data.batch_size": 32,
        "data.eval_batch_size": 8,
        "data.val_fraction": 0.1,
        "data.split_seed": 0,
        "data.shift": 2,
        "data.flip": True,
        "data.padding": "zero",
        "data.cutout": 0,
        "data.color": 0,
        "optimizer": "AdamW",
        "optimizer.lr": 0.001,
        "optimizer.weight_decay": 0.01,
        "scheduler": "cosine",
        "scheduler.warmup_epochs": 1,
        "scheduler.final_fraction": 0,
        "model": "ImageClassifier",
        "model.net": "Small",
        "model.net.channels": "[6, 16]",
        "model.net.hidden": "[120, 84]",
        "model.label_smoothing": 0,
        "model.test_time": "none",
        "model.decay_norms_and_biases": True,
    }
    assert (found["failed"][0]["optimizer"], found["failed"][0]["optimizer.lr"]) == ("SGD", 0.25)
    assert (found["resumed"][0]["seed"], found["resumed"][0]["trainer.max_epochs"]) == (3, 3)  # the row anew
    for name in ("finished", "resumed"):
        metrics = json.loads((runs / name / "metrics.json").read_text())
        final = {key: value for key, value in metrics.items() if key.startswith(("test/", "val/"))}
        shown = {key: value for key, value in found[name][1].items() if key in final}
        assert shown == pytest.approx(final)
        assert found[name][1]["objective/val/accuracy"] == pytest.approx(metrics["best"]["value"])
    assert "hp_metric" not in {info["name"]["tag"] for info in experiment["metricInfos"]}
    kinds = {info["name"]: info["type"] for info in experiment["hparamInfos"]}
    assert (kinds["optimizer.lr"], kinds["optimizer"]) == ("DATA_TYPE_FLOAT64", "DATA_TYPE_STRING")


def test_the_end_stands_behind_what_a_resumed_run_drops_however_short_it_was(tmp_path: Path) -> None:
    begin_hparams(tmp_path, {"optimizer.lr": 0.5})
    with SummaryWriter(str(tmp_path), purge_step=0) as writer:
        writer.add_scalar("val/accuracy", 0.25, 32)
    (own,) = [path for path in tmp_path.glob("events.*") if not path.name.endswith(".hparams")]
    own.rename(tmp_path / f"events.out.tfevents.{int(time.time()) + 5}.host.9.9")  # the second may be the same
    for value in (0.75, 0.5):
        write_hparams(tmp_path, {"optimizer.lr": 0.5}, {"val/accuracy": value})
        events = EventAccumulator(str(tmp_path)).Reload()
        assert [event.value for event in events.Scalars("objective/val/accuracy")] == [value]
        assert [event.value for event in events.Scalars("val/accuracy")] == [0.25]
    assert len(list(tmp_path.glob("*.hparams"))) == 1
    assert not list(tmp_path.glob("*.partial"))


def test_what_failed_before_it_had_a_folder_has_a_row(tmp_path: Path) -> None:
    write_hparams(tmp_path / "sweep" / "0", {"optimizer.lr": 0.5}, {}, failed=True)
    (row,) = (tmp_path / "sweep" / "0").iterdir()
    assert row.name.endswith(".hparams")


@pytest.mark.slow
def test_an_open_tensorboard_sees_a_run_come_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    begin_hparams(folder, {"optimizer.lr": 0.5})
    with SummaryWriter(str(folder)) as writer, tensorboard_at(tmp_path) as address:
        assert rows(address) == {"run": ({"optimizer.lr": 0.5}, {}, "STATUS_UNKNOWN")}
        writer.add_scalar("val/accuracy", 0.25, 32)
        writer.flush()
        write_hparams(folder, {"optimizer.lr": 0.5}, {"val/accuracy": 0.75})
        assert len(list(folder.glob("*.hparams"))) == 1
        measured = {"val/accuracy": 0.25, "objective/val/accuracy": 0.75}
        end = time.monotonic() + 40  # it reads anew every five seconds
        while rows(address) != {"run": ({"optimizer.lr": 0.5}, measured, "STATUS_SUCCESS")}:
            assert time.monotonic() < end, rows(address)
            time.sleep(0.5)
