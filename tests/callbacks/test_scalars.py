"""Curves of speed, gradients and updates, and the charts that show training beside validation."""

import itertools
from pathlib import Path

import pytest
import torch
from lightning import seed_everything
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from torch import nn

from project.callbacks.gradients import groups
from project.runs.building import build_data, build_task
from project.train import train
from tests.runs.conftest import tiny
from tests.runs.text import tiny_text


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_updates_of_plain_descent_are_the_gradient_times_the_learning_rate(tmp_path: Path) -> None:
    plain = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0")
    words = (*plain, "optimizer.lr=0.25", "scheduler=none", "trainer.log_every_n_steps=1", "trainer.max_steps=1")
    cfg = tiny(f"folder={tmp_path / 'run'}", *words)
    train(cfg)
    found = scalars(tmp_path / "run")
    cfg.sizes = build_data(cfg).sizes
    seed_everything(cfg.seed, workers=False, verbose=False)
    parts = groups(build_task(cfg).net)
    assert list(parts) == ["layers.0", "layers.1", "layers.5"]
    for name, weights in parts.items():
        before = torch.linalg.vector_norm(torch.cat([weight.detach().flatten() for weight in weights])).item()
        ((_, norm),) = found[f"weights/gradient_norm/{name}"]
        ((step, ratio),) = found[f"weights/update_ratio/{name}"]
        assert step == cfg.data.batch_size
        assert ratio == pytest.approx(0.25 * norm / before, rel=1e-4)


@pytest.mark.slow
def test_gradients_are_those_before_clipping_and_of_whole_steps(tmp_path: Path) -> None:
    words = ("trainer.log_every_n_steps=4", "trainer.accumulate_grad_batches=2")
    for name, clip in (("free", "null"), ("clipped", "1e-6")):
        train(tiny(f"folder={tmp_path / name}", *words, f"trainer.gradient_clip_val={clip}"))
    free, clipped = (scalars(tmp_path / name) for name in ("free", "clipped"))
    first = next(tag for tag in free if tag.startswith("weights/gradient_norm/"))
    assert all(value > 1e-3 for _, value in free[first] + clipped[first])
    # of the optimizer steps after batches 2, 4, 5 and 7, 9, 10 those that are the first past 0, 4 and 8 batches
    assert [step for step, _ in free[first]] == [2 * 32, 5 * 32, 9 * 32]


def test_groups_are_as_deep_as_there_is_room_for() -> None:
    layers = [nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(4)]
    net = nn.Sequential(nn.Sequential(*layers), nn.Linear(2, 2))
    assert list(groups(net)) == [f"0.{i}.{j}" for i in range(4) for j in range(2)] + ["1"]
    wide = nn.Sequential(nn.Sequential(*(nn.Linear(2, 2) for _ in range(40))), nn.Linear(2, 2))
    assert list(groups(wide)) == ["0", "1"]
    assert sum(len(part) for part in groups(wide).values()) == 82


def test_speed_is_the_mean_since_the_last_time_without_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("project.callbacks.speed.monotonic", lambda: float(next(ticks)))  # a second each time
    cfg = tiny(f"folder={tmp_path / 'run'}", "trainer.log_every_n_steps=2", "trainer.val_check_interval=3")
    train(cfg)
    found = scalars(tmp_path / "run")
    steps, rates = zip(*found["speed/images_per_second"], strict=True)
    assert steps[:3] == (64, 128, 192)
    # the clock is read once more by a checkpoint, and twice by a validation, which took 1 s of 3
    assert rates[0] == 64.0
    assert rates[1] == pytest.approx(64 / 3)
    assert [value for _, value in found["speed/milliseconds_per_step"]][:2] == [500.0, 1500.0]
    assert all(value > 50 for _, value in found["memory/process_MiB"])


@pytest.mark.slow
def test_training_and_validation_share_a_chart(tmp_path: Path) -> None:
    train(tiny_text(tmp_path))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    (event,) = events.Tensors("custom_scalars__config__")
    (category,) = Layout.FromString(event.tensor_proto.string_val[0]).category
    charts = {chart.title: list(chart.multiline.tag) for chart in category.chart}
    assert charts["loss"] == ["^train/loss$", "^val/loss$"]
    assert set(charts) == {"loss", "bits_per_character", "perplexity"}
