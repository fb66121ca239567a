"""The benchmark command runs and shows both sides; how fast they are is for the reader to see."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from project.runs.benchmarks import input_pipeline
from project.runs.recurrent_benchmark import CELLS, recurrent_layers, training_step


def test_both_sides_and_their_ratio_are_shown() -> None:
    lines = input_pipeline(count=512, repeats=2).splitlines()
    assert [line.split("  ")[0] for line in lines[:4]] == ["images/s", "ours", "PIL", "ours / PIL"]
    ours, pil = (float(line.split()[1].replace(",", "")) for line in lines[1:3])
    assert ours > 0
    assert pil > 0
    assert re.match(r"2 repeats of 512 images, batch 128, torch [\d.]+.*, \d+ cores, \d+ threads", lines[4])


@pytest.mark.slow
def test_mistakes_are_told(tmp_path: Path) -> None:
    for words, message in (
        (["nothing"], "invalid choice: 'nothing'"),
        (["input", "--repeats", "0"], "at least 1, got 0"),
    ):
        command = [sys.executable, "-m", "project.benchmark", *words]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr


@pytest.mark.slow
def test_every_cell_and_the_training_step_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.runs.recurrent_benchmark.STEPS", 3)
    monkeypatch.setattr("project.runs.recurrent_benchmark.BATCH", 2)
    lines = recurrent_layers(repeats=2).splitlines()
    shown = [line.rsplit(maxsplit=2)[0] for line in lines[1:-1]]
    assert shown[:2] == ["nn.GRU float32", "nn.LSTM float32"]
    assert {f"{name} float32" for name in CELLS} <= set(shown)
    assert float(lines[1].split()[-1]) == 1.0
    rows = training_step(repeats=2, steps=3).splitlines()
    ours, by_hand, ratio = (float(row.split()[-1]) for row in rows[1:4])
    assert min(ours, by_hand, ratio) > 0
