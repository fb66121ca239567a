"""A run that is stopped anywhere and resumed ends with the bits of the run that was never stopped."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.runs.resuming import resumed_config
from project.train import train

SMALL = [
    "model=convnet",
    "data=shapes",
    "data.train_images=180",  # 160 to train on: 5 batches of 32 an epoch; 20 to validate on
    "data.test_images=20",
    "data.batch_size=32",
    "data.eval_batch_size=8",
    "model.net._target_=tests.runs.parts.Small",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=2",
    "trainer.accelerator=cpu",
    "callbacks.checkpoints.every_n_steps=2",
    "optimizer.lr=0.01",
    "scheduler=plateau",
    "scheduler.patience=0",
]
Compose = Callable[..., DictConfig]


def small(composed: Compose, folder: Path, *words: str) -> DictConfig:
    own_schedule = any(word.startswith("scheduler=") for word in words)
    kept = [word for word in SMALL if not (own_schedule and word.startswith("scheduler"))]
    return composed(*kept, f"folder={folder}", *words)


def in_child(function: Callable[[], Any]) -> int:
    """Runs `function` in a forked process; the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that has to be the same: weights, optimizer, schedule, best checkpoint, metrics, curves."""
    last, best = (torch.load(folder / "checkpoints" / name, weights_only=True) for name in ("last.ckpt", "best.ckpt"))
    best["callbacks"].pop("Speed")  # no two runs share it
    return {
        "last": {key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")},
        "counters": last["loops"]["fit_loop"],
        "best": {key: best[key] for key in ("state_dict", "epoch", "global_step", "callbacks")},
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "curves": curves(folder),
    }


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All scalars; of speed and memory, which no two runs share, only where they stand."""
    events = EventAccumulator(str(folder), purge_orphaned_data=True).Reload()
    return {
        tag: [
            (event.step, 0.0 if tag.startswith(("speed/", "memory/")) else event.value) for event in events.Scalars(tag)
        ]
        for tag in events.Tags()["scalars"]
    }


def assert_same(first: Any, second: Any, where: str = "") -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_same(one, other, f"{where}/{index}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, (where, first, second)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Compose, tuple[str, ...]], dict[str, Any]]:
    """The outcome of the run that is never stopped, once per set of words."""
    known: dict[tuple[str, ...], dict[str, Any]] = {}

    def run(composed: Compose, words: tuple[str, ...]) -> dict[str, Any]:
        if words not in known:
            folder = tmp_path_factory.mktemp("never") / "run"
            train(small(composed, folder, *words))
            known[words] = outcome(folder)
        return known[words]

    return run


WITHIN = ("trainer.val_check_interval=0.4",)  # validation after 2, 4 and 5... of each epoch's batches
CASES: list[tuple[tuple[str, ...], int, bool]] = [((), step, False) for step in range(1, 16)]
CASES += [((), step, True) for step in (5, 10, 15)]
CASES += [(WITHIN, step, False) for step in (2, 3, 5, 6)] + [(WITHIN, step, True) for step in (2, 4, 7)]
CASES += [(("trainer.check_val_every_n_epoch=2", "scheduler=onecycle"), step, False) for step in (5, 6, 10)]
CASES += [(("trainer.accumulate_grad_batches=2",), step, False) for step in (3, 5, 6)]
LOOKAHEAD = ("callbacks=[lookahead]", "callbacks.lookahead.every=3", "callbacks.lookahead.power=1")
CASES += [
    ((*LOOKAHEAD, *words), step, False) for words in ((), ("trainer.accumulate_grad_batches=2",)) for step in (4, 6)
]


QUICK = [((), 5, False), ((), 5, True), (WITHIN, 4, True)]
MARKED = [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "step", "validating"), MARKED)
def test_killed_anywhere(
    composed: Compose, tmp_path: Path, never_stopped: Any, words: tuple[str, ...], step: int, validating: bool
) -> None:
    folder = tmp_path / "run"
    kill = f"+callbacks.kill={{_target_:tests.runs.parts.SignalAt,step:{step},validating:{str(validating).lower()}}}"
    assert in_child(lambda: train(small(composed, folder, *words, kill))) == signal.SIGKILL
    resumed = resumed_config(str(folder), ["~callbacks.kill"], "outputs")
    train(resumed)
    assert_same(outcome(folder), never_stopped(composed, words))


TEXT = [
    "model=lstm",
    "data.batch_size=4",
    "data.truncate=16",  # 300 characters in each of 4 streams: 18 batches an epoch
    "data.eval_batch_size=2",
    "model.net.hidden_size=8",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=3",
    "trainer.accelerator=cpu",
    "callbacks.checkpoints.every_n_steps=5",
    "optimizer.lr=0.01",
]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "validating"), [(7, False), (18, False), (18, True), (22, False)])
def test_language_models_go_on_with_the_states_that_they_carried(
    composed: Compose, tmp_path: Path, step: int, validating: bool
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(chr(97 + i * i % 23) for i in range(1333)))
    words = [*TEXT, f"data.path={text}", f"data.cache_folder={tmp_path}"]
    train(composed(*words, f"folder={tmp_path / 'never'}"))
    folder = tmp_path / "run"
    kill = f"+callbacks.kill={{_target_:tests.runs.parts.SignalAt,step:{step},validating:{str(validating).lower()}}}"
    assert in_child(lambda: train(composed(*words, f"folder={folder}", kill))) == signal.SIGKILL
    train(resumed_config(str(folder), ["~callbacks.kill"], "outputs"))
    assert_same(outcome(folder), outcome(tmp_path / "never"))
    carried = [
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["carried"]
        for path in (folder, tmp_path / "never")
    ]
    assert_same(*carried)
    assert len(carried[0]) == 2
    assert all(part.shape == (4, 8) for state in carried[0] for part in state)
