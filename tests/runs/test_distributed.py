"""Two real processes on one machine: one run's folder, every sample counted once, the same training."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cluster.ranks import train_by
from tests.runs.conftest import TINY

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(run_command: Run, tmp_path: Path) -> None:
    words = [word for word in TINY if not word.startswith(("model.net", "trainer.accelerator"))]
    words += ["data.eval_batch_size=16", "trainer=cpu", "trainer.max_epochs=2", "optimizer=sgd", "optimizer.lr=0.01"]
    train_by(1, *words, "trainer.devices=1", f"folder={tmp_path / 'one'}", cwd=tmp_path)
    train_by(2, *words, "trainer.devices=2", "trainer.strategy=ddp", f"folder={tmp_path / 'two'}", cwd=tmp_path)
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert two.keys() == one.keys()
    assert (two["samples"], two["steps"]) == (one["samples"], one["steps"])
    for name in ("train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
    weights = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    ]
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-5), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    done = run_command("train", f"resume={tmp_path / 'two'}", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two" / "metrics.json").read_text())["samples"] == 480


@pytest.mark.slow
def test_language_models_share_their_streams_and_go_on_with_another_number_of_processes(
    run_command: Run, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("".join(f"{number} bottles, {number // 2} corks.\n" for number in range(60)))
    words = [
        "model=lstm",
        f"data.path={tmp_path / 'text.txt'}",
        "data.batch_size=4",
        "data.truncate=8",
        "data.eval_batch_size=2",
        "data.eval_length=8",
        "model.net.hidden_size=8",
        "model.net.dropout=0",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
    ]
    train_by(1, *words, "trainer.devices=1", f"folder={tmp_path / 'one'}", cwd=tmp_path)
    train_by(2, *words, "trainer.devices=2", "trainer.strategy=ddp", f"folder={tmp_path / 'two'}", cwd=tmp_path)
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert (two["samples"], two["steps"]) == (one["samples"], one["steps"])
    for name in ("train/loss", "val/loss", "val/perplexity"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
    last = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["carried"]
        for name in ("one", "two")
    ]
    for alone, shared in zip(*last, strict=True):
        for part, other in zip(alone, shared, strict=True):
            torch.testing.assert_close(part, other, rtol=0, atol=1e-5)
    for name, devices in (("one", "trainer.devices=1"), ("two", "trainer.devices=1")):
        done = run_command("train", f"resume={tmp_path / name}", "trainer.max_epochs=3", devices)
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert two["val/loss"] == pytest.approx(one["val/loss"], rel=1e-4)
