"""What a person sees of a run's progress."""

import io
import logging
import re
from pathlib import Path

import pytest

from project.callbacks import progress
from project.train import train
from tests.runs.conftest import tiny


def test_a_log_has_one_line_per_epoch(tmp_path: Path) -> None:
    train(tiny(f"folder={tmp_path / 'run'}"))
    lines = [line for line in (tmp_path / "run" / "train.log").read_text().splitlines() if "images/s" in line]
    assert len(lines) == 2
    assert "is no multiple of" not in (tmp_path / "run" / "train.log").read_text()
    for number, line in enumerate(lines, 1):
        assert re.search(rf"epoch   {number}/2  [\d,]+ images/s  train/accuracy 0\.\d+  train/loss \d", line)
        assert "val/accuracy" in line


def test_an_epoch_without_validation_shows_none(tmp_path: Path) -> None:
    train(tiny(f"folder={tmp_path / 'run'}", "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"))
    said = (tmp_path / "run" / "train.log").read_text()
    lines = [line for line in said.splitlines() if "images/s" in line]
    assert ["val/" in line for line in lines] == [False, True, False]
    assert "trainer.max_epochs=3 is no multiple of trainer.check_val_every_n_epoch=2: the network of the last" in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_with_images_per_second_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    train(tiny(f"folder={tmp_path / 'run'}", "+callbacks.progress.interval=0.0001"))
    shown = terminal.getvalue()
    assert re.search(r"epoch 2/2: +\d+%.*/320 \[\d\d:\d\d<\d\d:\d\d, .*images/s", shown), shown
    assert logging.getLogger(progress.__name__).handlers == []
