"""One training in 1, 2 and 4 processes: the same numbers, one folder, and nothing left behind when one is lost."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from project.runs.resuming import resumed_config
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
    assert len(list(folder.glob("events.out.tfevents.*[0-9]"))) == 1
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


@pytest.mark.slow
@pytest.mark.parametrize("synced", [True, False])
def test_batch_norm_is_of_the_whole_batch_if_it_is_asked_to(tmp_path: Path, synced: bool) -> None:
    words = [word for word in TINY if not word.startswith("model.net")]
    words += ["model.net._target_=tests.cluster.ranks.Normed", "trainer.max_epochs=1"]
    one, two = (trained(tmp_path, count, *words, f"trainer.sync_batchnorm={synced}") for count in (1, 2))
    weights = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("in-1", "in-2")
    ]
    assert list(weights[0]) == list(weights[1])
    if synced:
        close(one, two, 1e-4)
        for name, value in weights[0].items():
            torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-4, msg=name)
    else:
        assert abs(one["train/loss"] - two["train/loss"]) > 1e-4


LOSSES = [
    pytest.param(1, signal.SIGKILL, None, "its process ended", id="killed, and the other computes"),
    pytest.param(1, signal.SIGKILL, 1, "its process ended", id="killed, and the other waits for it"),
    pytest.param(0, signal.SIGKILL, None, "its process ended", id="rank 0 killed"),
    pytest.param(1, signal.SIGSTOP, None, "no answer for 8 s", id="silent"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "number", "busy", "why"), LOSSES)
def test_a_lost_rank_ends_the_others_and_the_run_goes_on(
    tmp_path: Path, victim: int, number: int, busy: int | None, why: str
) -> None:
    folder = tmp_path / "run"
    words = [*TINY, f"folder={folder}", "callbacks.checkpoints.every_n_steps=2", "trainer=ddp", "trainer.devices=2"]
    wait = f"+callbacks.waits={{_target_:tests.cluster.ranks.Waits,folder:{tmp_path},step:7,rank:{busy or 'null'}}}"
    with ranks(2, *words, "trainer.timeout=16", wait, cwd=tmp_path) as started:
        started.reach([tmp_path / f"rank-{rank}" for rank in ((0, 1) if busy is None else (busy,))])
        lost, left = started[victim], started[1 - victim]
        started.kill(victim, number)
        begun = time.monotonic()
        left.wait(30)
        assert time.monotonic() - begun < 16 + 5
        assert left.code == 1
        said = left.said()
        assert f"process {lost.pid}) was lost: {why}.\nTo go on: python -m project.train resume={folder}" in said
        assert f"error: rank {victim} (" in said
        assert said.count("was lost") == 1
        assert "Traceback" not in said
    if victim == 1:
        assert "was lost" in (folder / "train.log").read_text()
    if busy is not None:
        resumed_by_one_as_if_never_stopped(tmp_path, folder)


def resumed_by_one_as_if_never_stopped(tmp_path: Path, folder: Path) -> None:
    """From the checkpoint at step 6, in the middle of the second epoch."""
    run_training(resumed_config(str(folder), ["~callbacks.waits", "trainer.devices=1"], str(tmp_path)))
    assert "going on at step 6 " in (folder / "train.log").read_text()
    close(trained(tmp_path, 1, *TINY), json.loads((folder / "metrics.json").read_text()))


@pytest.mark.slow
def test_what_one_rank_finds_wrong_ends_all_and_is_told_once(tmp_path: Path) -> None:
    words = [*TINY, f"folder={tmp_path / 'run'}", "trainer=ddp", "trainer.devices=2", "trainer.timeout=30"]
    wrong = "+callbacks.wrong={_target_:tests.cluster.ranks.Refuses,rank:1,step:3}"
    with ranks(2, *words, wrong, cwd=tmp_path) as started:
        started.wait(SECONDS)
        assert [rank.code for rank in started] == [1, 1]
        assert started[0].said().count("ended: rank 1 does not like batch 3") == 1
        assert "error: rank 1 (" in started[0].said()
        assert started[1].said() == ""


@pytest.mark.slow
def test_what_lightning_starts_ends_with_a_message_when_one_is_lost(tmp_path: Path) -> None:
    """Lightning would kill the command without a word."""
    folder = tmp_path / "run"
    words = [*TINY, f"folder={folder}", "trainer=ddp", "trainer.devices=2", "trainer.timeout=16"]
    wait = f"+callbacks.waits={{_target_:tests.cluster.ranks.Waits,folder:{tmp_path},step:6}}"
    with ranks(1, *words, wait, cwd=tmp_path, by_hand=True) as started:
        signs = [tmp_path / f"rank-{rank}" for rank in (0, 1)]
        started.reach(signs)
        (second,) = {int(sign.read_text()) for sign in signs} - {started[0].pid}
        os.kill(second, signal.SIGKILL)
        started[0].wait(16 + 5)
        assert started[0].code == 1
        said = started[0].said()
        assert (
            f"process {second}) was lost: its process ended.\nTo go on: python -m project.train resume={folder}" in said
        )
        assert said.count("was lost") == 1
