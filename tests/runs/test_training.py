"""What one training leaves behind, and what it returns."""

import importlib.metadata
import json
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from project.errors import UserError
from project.runs.resuming import resumed_config
from project.train import train
from tests.conftest import compose_config
from tests.runs.conftest import TINY, tiny


def test_a_run_s_folder(finished: Callable[..., Path]) -> None:
    folder = finished()
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("events", "."))}
    assert {"config.yaml", "overrides.yaml", "environment.json", "data.json", "metrics.json", "train.log"} <= names
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    cfg = OmegaConf.load(folder / "config.yaml")
    assert cfg.sizes == {"num_classes": 10, "image_shape": [3, 32, 32]}
    assert cfg.model.net.num_classes == 10  # resolved
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["seed"] == 0
    assert environment["packages"]["torch"] == importlib.metadata.version("torch")
    assert environment["hardware"]["cores"] >= 1
    data = json.loads((folder / "data.json").read_text())
    assert data["counts"] == {"train": 160, "val": 20, "test": 40}
    assert "epoch   2/2" in (folder / "train.log").read_text()


def test_metrics_are_those_of_the_best_checkpoint(finished: Callable[..., Path]) -> None:
    folder = finished()
    metrics = json.loads((folder / "metrics.json").read_text())
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert metrics["best"]["value"] == best["callbacks"]["Checkpoints"]["best"]
    assert metrics["best"]["step"] == best["global_step"]
    assert (metrics["epochs"], metrics["steps"], metrics["samples"]) == (2, 10, 320)
    assert {"train/loss", "val/accuracy", "test/accuracy", "test/loss", "test/top5_accuracy"} <= metrics.keys()


def test_checkpoints_hold_no_classes(finished: Callable[..., Path]) -> None:
    for path in (finished() / "checkpoints").glob("*.ckpt"):
        with zipfile.ZipFile(path) as archive:
            (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
            opcodes = list(pickletools.genops(archive.read(pickled)))
        named = {argument for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}
        assert named <= {
            "collections OrderedDict",
            "torch._utils _rebuild_tensor_v2",
            "torch FloatStorage",
            "torch DoubleStorage",
            "torch LongStorage",
        }


def test_the_value_is_the_best_monitored(tmp_path: Path) -> None:
    value = train(tiny(f"folder={tmp_path / 'run'}", "monitor=val/loss"))
    assert value == json.loads((tmp_path / "run" / "metrics.json").read_text())["best"]["value"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 7])
def test_same_seed_same_bits(tmp_path: Path, seed: int) -> None:
    weights = []
    for name, chosen in (("one", seed), ("two", seed), ("other", seed + 1)):
        train(tiny(f"folder={tmp_path / name}", f"seed={chosen}", "trainer.max_epochs=1"))
        state = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        weights.append(torch.cat([value.double().flatten() for value in state.values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.slow
def test_two_runs_in_the_same_second_share_nothing(tmp_path: Path) -> None:
    words = (f"outputs={tmp_path}", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false")
    for _ in range(3):
        train(tiny(*words))
    folders = list((tmp_path / "train" / "convnet").iterdir())
    assert len(folders) == 3
    assert all((folder / "metrics.json").exists() for folder in folders)


@pytest.mark.slow
def test_what_fails_before_training_leaves_nothing(tmp_path: Path) -> None:
    for words, message in (
        (("monitor=val/nothing",), "monitor=val/nothing is never logged by ImageClassifier: choose one of train/loss"),
        (("data.batch_size=161",), "data.batch_size=161 is larger than the training set: 160 images"),
        (("data.val_fraction=2.0",), "data.val_fraction must lie between 0 and 1"),
        (("trainer.accelerator=gpu",), r"^No supported gpu backend found!\n.* this machine has 0 CUDA devices"),
        (("optimizer.lr=-1",), "Invalid learning rate: -1"),
        (("scheduler=plateau", "scheduler.monitor=none"), "scheduler.monitor=none is never logged"),
        (("callbacks.checkpoints.every_n_steps=0",), "every_n_steps must be positive, or null for never, got 0"),
    ):
        if "gpu" in words[0] and torch.cuda.is_available():
            continue
        with pytest.raises(UserError, match=message):
            train(tiny(f"outputs={tmp_path / 'outputs'}", *words))
        assert not (tmp_path / "outputs").exists()


def test_a_monitor_that_a_foreign_task_never_logs_is_told_after_the_first_epoch(tmp_path: Path) -> None:
    words = ("model._target_=tests.runs.parts.SilentClassifier", "monitor=val/f1")
    with pytest.raises(UserError, match=r"monitor=val/f1 is never logged; what is logged: .*val/accuracy"):
        train(tiny(f"folder={tmp_path / 'run'}", *words))


def test_a_folder_that_is_taken_or_not_writable(tmp_path: Path, finished: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="holds a run already: go on with resume="):
        train(tiny(f"folder={finished()}"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty: name a new one"):
        train(tiny(f"folder={tmp_path}"))
    with pytest.raises(UserError, match=r"cannot write a run's folder at .*notes.txt.*outputs=<folder>"):
        train(tiny(f"outputs={tmp_path / 'notes.txt'}"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_good_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ("+callbacks.poison={_target_:tests.runs.parts.Poison,step:7}", "optimizer=sgd")
    with pytest.raises(UserError, match=r"the training loss became NaN at step 7 \(epoch 1\)"):
        train(tiny(f"folder={folder}", *words))
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 5
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values())


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ("+callbacks.poison={_target_:tests.runs.parts.Poison,step:7,after:true}", "~callbacks.finite")
    with pytest.raises(UserError, match="a weight is NaN or infinite after step"):
        train(tiny(f"folder={folder}", "callbacks.checkpoints.every_n_steps=1", *words))
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values())


@pytest.mark.slow
def test_one_batch_is_fitted(tmp_path: Path) -> None:
    words = [word for word in TINY if not word.startswith("trainer.")]
    words += [f"folder={tmp_path / 'run'}", "trainer=overfit", "model.net._target_=project.nets.convnet.ConvNet"]
    assert train(compose_config(*words, "trainer.accelerator=cpu")) < 0.01
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["train/accuracy"] == 1.0
    assert metrics["samples"] == 32 * metrics["epochs"]


def test_callbacks_without_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the callbacks hold no checkpoints"):
        train(tiny(f"outputs={tmp_path / 'outputs'}", "~callbacks.checkpoints"))
    assert not (tmp_path / "outputs").exists()


def test_a_run_that_fails_before_its_first_checkpoint_keeps_its_record(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="became NaN at step 2"):
        train(tiny(f"folder={folder}", "+callbacks.poison={_target_:tests.runs.parts.Poison,step:2}"))
    assert (folder / "config.yaml").exists()
    assert not list(folder.glob("checkpoints/*.ckpt"))
    train(resumed_config(str(folder), ["~callbacks.poison"], "outputs"))  # from its beginning
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 10


@pytest.mark.parametrize("resumed", [False, True])
def test_max_steps_counts_over_epochs(tmp_path: Path, resumed: bool) -> None:
    """5 batches an epoch, 12 steps: two epochs and two batches."""
    folder = tmp_path / "run"
    words = ("trainer.max_epochs=-1", f"folder={folder}")
    train(tiny(*words, f"trainer.max_steps={7 if resumed else 12}"))
    if resumed:
        train(resumed_config(str(folder), ["trainer.max_steps=12"], "outputs"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["steps"], metrics["samples"]) == (12, 12 * 32)
