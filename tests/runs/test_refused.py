"""What is refused leaves everything as it was, and what is stopped can be gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from project.errors import Stopped, UserError
from project.runs.folder import make_folder
from project.runs.provenance import _git
from project.runs.resuming import resumed_config
from project.train import train
from tests.conftest import CONF
from tests.runs.conftest import TINY, tiny

pytestmark = pytest.mark.slow

Finished = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


def contents(folder: Path) -> dict[str, bytes]:
    kept = ("config.yaml", "metrics.json", "data.json", "best.ckpt", "last.ckpt", "previous.ckpt")
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.name in kept}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=-1", "trainer.max_epochs=3"], "Invalid learning rate: -1"),
        (["optimizer.lr=abc"], "optimizer.lr must be a number such as 0.001, got 'abc'"),
        (["optimizer.lr=null"], "optimizer.lr must be a number such as 0.001, got null"),
        (["trainer.max_epochs=abc"], "trainer.max_epochs must be a whole number such as 2, got 'abc'"),
        (["model.net._target_=project.nets.convnet.ConvNet"], "does not fit the network of the config"),
        (["data.batch_size=5000", "trainer.max_epochs=3"], "larger than the training set"),
        (["seed=3"], "a run is resumed with the seed that it has"),
        (["monitor=val/loss"], "a run is resumed with the monitor that it has"),
        (["lr_find=true"], "a run is resumed with the lr_find that it has"),
        (["data=cifar10"], "a run is resumed with its own data"),
        (["trainer.max_epoch=3"], "trainer.max_epoch: there is no such option. Did you mean trainer.max_epochs"),
    ],
)
def test_a_refused_resume_leaves_the_run_as_it_was(
    finished: Finished, tmp_path: Path, words: list[str], message: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished(), folder)
    before = contents(folder)
    with pytest.raises(UserError, match=message):
        train(resumed_config(str(folder), words, "outputs"))
    assert contents(folder) == before


def test_another_batch_size_is_refused_in_mid_epoch_and_taken_at_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    at = "+callbacks.at={_target_:tests.runs.parts.SignalAt,step:3,signal:15}"
    with pytest.raises(Stopped):
        train(tiny(f"folder={folder}", at))
    with pytest.raises(UserError, match="stands in mid-epoch, at batch 3 of 5, and now an epoch has 10"):
        train(resumed_config(str(folder), ["~callbacks.at", "data.batch_size=16"], "outputs"))
    train(resumed_config(str(folder), ["~callbacks.at"], "outputs"))
    train(resumed_config(str(folder), ["data.batch_size=16", "trainer.max_epochs=3"], "outputs"))
    assert json.loads((folder / "metrics.json").read_text())["samples"] == 480


def test_a_finished_run_keeps_its_figures_when_it_is_resumed(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished(), folder)
    before = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").unlink()  # as after a kill in the test
    train(resumed_config(str(folder), [], "outputs"))
    assert json.loads((folder / "metrics.json").read_text()) == before


def test_a_run_without_a_whole_checkpoint_is_refused_every_time(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished(), folder)
    for name in ("last", "previous"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        path.write_bytes(path.read_bytes()[:1000])
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(UserError, match="no checkpoint to go on from"):
            train(resumed_config(str(folder), [], "outputs"))
    assert contents(folder) == before


@pytest.mark.parametrize("seed", ["-1", "4294967296", "null", "abc", "1.5", "true"])
def test_seeds_out_of_range(tmp_path: Path, seed: str) -> None:
    with pytest.raises(UserError, match=f"seed must be a whole number from 0 to 4294967295, got (?i:{seed}|None)"):
        train(tiny(f"outputs={tmp_path / 'outputs'}", f"seed={seed}", "data.seed=0"))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.max_epochs=0", "leave nothing to train"),
        ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps must be at least 1, got 0"),
        ("trainer.val_check_interval=1000", "must be less than or equal to the number of the training batches"),
        ("name=../x", "name must be the name of a folder, got '../x'"),
        ("name=null", "name must be the name of a folder, got None"),
        ("outputs=", "outputs must be the name of a folder, got ''"),
        ("trainer=fsdp", "trainer=fsdp shares a network out among GPUs, and needs CUDA"),
        ("trainer.timeout=0", "trainer.timeout must be positive, in seconds, got 0"),
        ("trainer.devices=1000", "cannot be shared evenly by 1000 processes"),
    ],
)
def test_values_that_make_no_sense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        train(tiny(word))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_start_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "train.log").write_text("started")
    assert make_folder(tiny(f"folder={tmp_path}")) == tmp_path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_final_test(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    at = f"+callbacks.at={{_target_:tests.runs.parts.SignalInTest,signal:{int(number)}}}"
    with pytest.raises(Stopped, match=rf"stopped by {number.name}. To go on: .*resume={folder}") as stop:
        train(tiny(f"folder={folder}", at))
    assert stop.value.signal == number
    assert not (folder / "metrics.json").exists()
    train(resumed_config(str(folder), ["~callbacks.at"], "outputs"))
    assert json.loads((folder / "metrics.json").read_text())["val/loss"] > 0


def test_the_code_s_commit_and_all_changes_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "repository" / "project"
    (package / "runs").mkdir(parents=True)
    (package / "train.py").write_text("one = 1\n")

    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *identity, *words], cwd=package.parent, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr("project.runs.provenance.__file__", str(package / "runs" / "provenance.py"))
    state, diff = _git()
    assert state is not None
    assert (len(state["commit"]), state["uncommitted"], diff) == (40, False, "")
    (package / "train.py").write_text("one = 2\n")
    (package / "new.py").write_text("two = 2\n")
    state, diff = _git()
    assert state is not None
    assert state["uncommitted"]
    assert "+one = 2" in diff
    assert "+two = 2" in diff
    monkeypatch.setattr("project.runs.provenance.__file__", str(tmp_path / "site" / "runs" / "provenance.py"))
    (tmp_path / "site").mkdir()
    assert _git() == (None, "")


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both(tmp_path: Path, run_command: Run) -> None:
    words = [word for word in TINY if not word.startswith(("model.net", "trainer.", "data.batch"))]
    words += [
        "trainer=cpu",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "trainer.max_epochs=100000",
        "data.batch_size=32",
    ]
    words += ["trainer.log_every_n_steps=2", f"folder={tmp_path / 'run'}", "trainer.check_val_every_n_epoch=1000"]
    command = [sys.executable, "-m", "project.train", *words]
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as head:
        log = tmp_path / "run" / "train.log"
        while head.poll() is None and not (log.exists() and "images/s" in log.read_text()):
            time.sleep(0.1)
        head.send_signal(signal.SIGTERM)
        _, told = head.communicate(timeout=120)
    assert head.returncode == 143, told
    assert "stopped by SIGTERM at step" in told
    assert "Traceback" not in told
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    done = run_command("train", f"resume={tmp_path / 'run'}", f"trainer.max_epochs={last['epoch'] + 2}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=lstm", "data=opinions"), "model=lstm is for data with token; these have vocab_size"),
        (("model=resnet", "data=opinions"), "model=resnet is for data with image_shape; these have "),
    ],
)
def test_a_model_and_data_that_do_not_belong_together(
    composed: Callable[..., DictConfig], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    sizes = ("data.train_sentences=60", "data.test_sentences=20", "data.batch_size=8", "trainer.accelerator=cpu")
    with pytest.raises(UserError, match=message):
        train(composed(*words, *sizes, f"folder={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()
