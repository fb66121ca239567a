"""One training in 1, 2 and 4 processes: the same numbers, one folder, and nothing left behind when one is lost."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from project.runs.training import run_training
from tests.cluster.ranks import TINY, ranks
from tests.conftest import compose_config

SECONDS = 240  # of a training, on a machine that does much else
TEXT = (
    "model=lstm",
    "data.batch_size=4",
    "data.truncate=8",
    "data.eval_batch_size=4",
    "data.eval_length=8",
    "model.net.hidden_size=8",
    "model.net.dropout=0",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=1",
    "optimizer=sgd",
    "optimizer.lr=0.5",
)


def trained(tmp_path: Path, count: int, *words: str) -> dict[str, Any]:
    """The figures of a training in so many processes."""
    folder = tmp_path / f"in-{count}"
    words = (*words, "callbacks.checkpoints.every_n_steps=1", f"folder={folder}")
    if count == 1:
        run_training(compose_config(*words))
    else:
        with ranks(count, *words, "trainer=ddp", f"trainer.devices={count}", cwd=tmp_path) as started:
            started.wait(SECONDS)
            for rank in started:
                assert rank.code == 0, rank.said()
            assert [bool(rank.said()) for rank in started] == [True] + [False] * (count - 1)  # one of them speaks
    return dict(json.loads((folder / "metrics.json").read_text()))


def close(figures: dict[str, Any], others: dict[str, Any], tolerance: float = 1e-5) -> None:
    assert figures.keys() == others.keys()
    for name, value in figures.items():
        if isinstance(value, float):
            assert others[name] == pytest.approx(value, abs=tolerance), name
    for name in ("epochs", "steps", "samples"):
        assert figures[name] == others[name]


@pytest.mark.slow
def test_images_in_one_two_and_four_processes_give_the_same_losses(tmp_path: Path) -> None:
    one, two, four = (trained(tmp_path, count, *TINY) for count in (1, 2, 4))
    close(one, two)
    close(one, four)
    folder = tmp_path / "in-4"
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert (folder / "train.log").read_text().count("training images on cpu") == 1
    assert "more processes than cores" in (folder / "train.log").read_text() or torch.get_num_threads() >= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in-1", "in-2", "in-4"]


@pytest.mark.slow
def test_a_language_model_in_one_and_four_processes_gives_the_same_losses(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{number} bottles, {number // 2} corks.\n" for number in range(30)))
    words = (*TEXT, f"data.path={text}", f"data.cache_folder={tmp_path / 'cache'}")
    one, four = (trained(tmp_path, count, *words) for count in (1, 4))
    close(one, four)
