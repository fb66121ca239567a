"""Checkpoints under stress: signals, full disks, torn files."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from project.callbacks.checkpoint_files import AtomicCheckpointIO, is_whole, load_checkpoint
from project.callbacks.checkpoints import Checkpoints, first_stale_sample, resumable
from project.callbacks.monitor import monitor_mode
from project.errors import Stopped, UserError
from project.runs.resuming import resumed_config
from project.train import train
from tests.runs.conftest import TINY, tiny

Run = Callable[..., subprocess.CompletedProcess[str]]


def write(path: Path, step: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    AtomicCheckpointIO().save_checkpoint({"global_step": step, "weight": torch.arange(1000.0)}, path)
    return path


def test_the_mode_follows_from_the_name() -> None:
    assert [monitor_mode(name, None) for name in ("val/loss", "val/top5_error", "val/accuracy")] == [
        "min",
        "min",
        "max",
    ]
    assert monitor_mode("val/loss", "max") == "max"


def test_a_whole_checkpoint_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "last.ckpt", 7)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert is_whole(path)
    assert load_checkpoint(path)["global_step"] == 7


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_one_is_put_aside_and_the_one_before_it_used(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    last, previous = write(tmp_path / "last.ckpt", 2), write(tmp_path / "previous.ckpt", 1)
    content = bytearray(last.read_bytes())
    if damage == "altered":
        content[len(content) // 2] ^= 1
    last.write_bytes({"truncated": content[: len(content) // 2], "altered": content, "empty": bytearray()}[damage])
    assert not is_whole(last)
    assert resumable(tmp_path) == previous
    assert "last.ckpt is truncated or damaged" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt.damaged", "previous.ckpt"]


def test_no_whole_checkpoint_is_an_error_and_none_at_all_is_a_beginning(tmp_path: Path) -> None:
    assert resumable(tmp_path) is None
    (tmp_path / "last.ckpt").write_bytes(b"PK torn")
    with pytest.raises(UserError, match=r"no checkpoint to go on from in .* is whole"):
        resumable(tmp_path)


def test_a_pickle_of_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": Checkpoints}, path)
    with pytest.raises(UserError, match=r"evil.ckpt is no checkpoint of this project"):
        load_checkpoint(path)


def test_where_curves_go_on() -> None:
    assert first_stale_sample({"samples_seen": 64, "position": "batch"}) == 64
    assert first_stale_sample({"samples_seen": 64, "position": "epoch"}) == 65


def test_a_full_disk_names_the_file_and_spares_the_checkpoint_before(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(tiny(f"folder={folder}", "trainer.max_epochs=1", "default_callbacks=none"))
    before = (folder / "checkpoints" / "last.ckpt").read_bytes()
    words = ["trainer.max_epochs=2"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    cfg = resumed_config(str(folder), words, "outputs")
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (len(before) // 2, limits[1])
    )  # no file may grow beyond: "file too large"
    try:
        with pytest.raises(UserError, match=r"could not write the checkpoint .*/next.ckpt: .*\n.*resume="):
            train(cfg)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not list(folder.rglob("*.partial"))
    train(resumed_config(str(folder), [], "outputs"))
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("validating", [False, True])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(tmp_path: Path, number: int, validating: bool) -> None:
    folder = tmp_path / "run"
    at = f"+callbacks.at={{_target_:tests.runs.parts.SignalAt,step:5,signal:{int(number)},validating:{validating}}}"
    handler = signal.getsignal(number)
    with pytest.raises(Stopped, match=rf"at step 5 .*python -m project.train resume={folder}") as stop:
        train(tiny(f"folder={folder}", at))
    assert stop.value.signal == number
    assert signal.getsignal(number) == handler
    assert load_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 5
    assert not (folder / "metrics.json").exists()
    train(resumed_config(str(folder), ["~callbacks.at"], "outputs"))
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 10


def test_the_last_checkpoint_is_written_every_n_steps(tmp_path: Path) -> None:
    kill = "+callbacks.at={_target_:tests.runs.parts.SignalAt,step:4}"
    cfg = tiny(f"folder={tmp_path / 'run'}", "callbacks.checkpoints.every_n_steps=3", kill)
    child = os.fork()
    if child == 0:
        train(cfg)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 3


@pytest.mark.slow
def test_a_finished_run_is_longer_trained_or_left(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(tiny(f"folder={folder}", "trainer.max_epochs=1"))
    train(resumed_config(str(folder), [], "outputs"))
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 1
    train(resumed_config(str(folder), ["trainer.max_epochs=3"], "outputs"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["steps"], metrics["samples"]) == (3, 15, 480)


@pytest.mark.slow
def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(tiny(f"folder={folder}", "trainer.max_epochs=1"))
    code = "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True)"
    code += "; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(folder / ".lock")], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            with pytest.raises(UserError, match="another process"):
                train(resumed_config(str(folder), ["trainer.max_epochs=2"], "outputs"))
        finally:
            other.kill()
    train(resumed_config(str(folder), ["trainer.max_epochs=2"], "outputs"))  # the kernel let go of the lock


@pytest.mark.slow
def test_the_command_ends_with_the_shells_exit_code(
    tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess]
) -> None:
    at = "+callbacks.at={_target_:tests.runs.parts.SignalAt,step:3,signal:15}"
    done = run_command("train", *TINY, f"outputs={tmp_path}", at)
    assert done.returncode == 143
    assert "stopped by SIGTERM at step 3 (epoch 0). To go on: python -m project.train resume=" in done.stderr
    assert "Traceback" not in done.stderr
    done = run_command("train", "resume=latest", f"outputs={tmp_path}", "~callbacks.at")
    assert done.returncode == 0
    assert "going on at step 3 from" in done.stderr


def test_a_stop_where_a_checkpoint_is_due_writes_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    at = "+callbacks.at={_target_:tests.runs.parts.SignalAt,step:4,signal:15}"
    with pytest.raises(Stopped, match="at step 4"):
        train(tiny(f"folder={folder}", "callbacks.checkpoints.every_n_steps=2", at))
    steps = [load_checkpoint(folder / "checkpoints" / f"{name}.ckpt")["global_step"] for name in ("last", "previous")]
    assert steps == [4, 2]


def test_the_same_stop_may_come_twice_and_another_one_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(str(tmp_path / "run" / "checkpoints"), "val/loss")
    now = [100.0]
    monkeypatch.setattr("project.callbacks.checkpoints.time.monotonic", lambda: now[0])
    checkpoints._ask_to_stop(signal.SIGINT, None)
    now[0] += 0.9
    checkpoints._ask_to_stop(signal.SIGTERM, None)  # passed on by another process
    now[0] += 0.2
    with pytest.raises(Stopped, match=r"at once by SIGINT.*resume=.*run") as stop:
        checkpoints._ask_to_stop(signal.SIGINT, None)
    assert stop.value.signal == signal.SIGINT


@pytest.mark.parametrize("stop", [Stopped("stopped", signal.SIGTERM), KeyboardInterrupt()])
def test_a_stop_in_the_middle_of_writing_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    def save(*arguments: object) -> None:  # as torch's writer does with what a signal's handler raises
        try:
            raise stop
        except BaseException:
            raise RuntimeError("PytorchStreamWriter failed writing file")  # noqa: B904

    monkeypatch.setattr("torch.save", save)
    with pytest.raises(type(stop)):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_killed_before_its_first_checkpoint_had_its_place_goes_on(tmp_path: Path) -> None:
    (tmp_path / "next.ckpt.partial").write_bytes(b"PK")
    assert resumable(tmp_path) is None  # from the beginning
    best = write(tmp_path / "best.ckpt")
    assert resumable(tmp_path) == best
    whole = write(tmp_path / "next.ckpt")
    assert resumable(tmp_path) == whole
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    with pytest.raises(UserError, match="is whole, so this run cannot be resumed"):
        resumable(tmp_path)
