"""A frame classifier that is trained, resumed, tested and asked about videos."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from project.data.moving_shapes import draw
from project.errors import UserError
from project.evaluate import evaluate
from project.predict import predict
from project.runs.resuming import resumed_config
from project.runs.trained import load_run
from project.runs.video_prediction import stretches
from project.train import train
from tests.conftest import compose_config
from tests.data.video_sets import write_frames, write_video
from tests.runs.test_resume import assert_same, in_child, outcome


def tiny(folder: Path, *words: str) -> DictConfig:
    """The config of a training of a second in `folder`, changed by `words`."""
    return compose_config(
        "model=frame_classifier",
        "data.train_videos=40",
        "data.test_videos=12",
        "data.longest=10",
        "data.batch_size=8",
        "data.eval_batch_size=5",
        "model.net.hidden_size=12",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        f"folder={folder}",
        *words,
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; it has learned little, and tests only read it."""
    folder = tmp_path_factory.mktemp("frames") / "run"
    train(tiny(folder, "default_callbacks=scalars"))
    return folder


Ask = Callable[..., tuple[list, str]]


@pytest.fixture
def ask(classifier: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """`ask("input=walk.mp4")`: what predict returns, and what it printed."""

    def prediction(*words: str) -> tuple[list, str]:
        capsys.readouterr()
        found = predict(compose_config(f"run={classifier}", "accelerator=cpu", *words, name="predict"))
        return found, capsys.readouterr().out

    return prediction


def test_a_training_counts_frames_and_videos(classifier: Path) -> None:
    metrics = json.loads((classifier / "metrics.json").read_text())
    assert {"val/accuracy", "val/video_accuracy", "test/accuracy", "test/video_accuracy"} <= set(metrics)
    facts = json.loads((classifier / "data.json").read_text())
    assert facts["unit"] == "frames"
    assert facts["counts"] == {"train": 36, "val": 4, "test": 12}
    assert metrics["steps"] == 8
    assert 8 * 8 * 8 <= metrics["samples"] <= 8 * 8 * 10  # steps, videos, frames


@pytest.mark.slow
def test_evaluation_has_what_the_test_of_the_training_had(classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = json.loads((classifier / "metrics.json").read_text())
    words = (f"run=[{classifier},{classifier}]", "accelerator=cpu")
    found = evaluate(compose_config(*words, name="evaluate"))
    for name in ("test/loss", "test/accuracy", "test/video_accuracy"):
        assert found[str(classifier)][name] == pytest.approx(metrics[name], rel=1e-5)
        assert found["ensemble"][name] == pytest.approx(metrics[name], rel=1e-5)
    evaluate(compose_config(f"run={classifier}", "accelerator=cpu", name="evaluate"))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["class", "frames", "recall", "precision", "f1"] for line in lines)
    written = json.loads((classifier / "evaluation" / "metrics.json").read_text())
    videos = draw(12, 2, "first", (8, 10))
    assert np.array(written["confusion"]).sum(1).tolist() == np.bincount(videos.labels, minlength=5).tolist()


@pytest.mark.slow
def test_predictions_are_the_network_s_own(classifier: Path, ask: Ask, tmp_path: Path) -> None:
    videos = draw(2, 5, "first", (8, 10))
    first = videos.frames[: videos.starts[1]]
    write_frames(tmp_path / "videos" / "a", first)
    write_frames(tmp_path / "videos" / "b", videos.frames[videos.starts[1] :])
    found, out = ask(f"input={tmp_path / 'videos' / 'a'}", "format=jsonl", "batch_size=3")
    assert [json.loads(line) for line in out.splitlines()] == found
    assert [one["frame"] for one in found] == list(range(len(first)))
    run = load_run(str(classifier), "outputs")
    mean, std = (torch.tensor(run.data[name]).view(3, 1, 1) for name in ("mean", "std"))
    images = (torch.from_numpy(first).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        expected = run.task.net(images, torch.tensor([len(first)])).softmax(1)
    assert [one["probability"] for one in found] == pytest.approx(expected.max(1).values.tolist(), rel=1e-4)
    assert [run.data["classes"].index(one["class"]) for one in found] == expected.argmax(1).tolist()
    both, out = ask(f"input={tmp_path / 'videos'}")
    assert len(both) == videos.starts[-1]
    assert both[: len(first)] == [
        {**one, "probability": pytest.approx(one["probability"]), "top": both[i]["top"]} for i, one in enumerate(found)
    ]
    assert out.splitlines()[0].split() == ["video", "from", "to", "class", "probability"]
    assert len(out.splitlines()) == 1 + len(stretches(both))


def test_a_video_file_is_predicted(ask: Ask, tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.mp4", draw(1, 6, "first", (8, 8)).frames)
    found, out = ask(f"input={path}")
    assert [one["frame"] for one in found] == list(range(8))
    assert out.splitlines()[0].split() == ["from", "to", "class", "probability"]


def test_a_row_is_for_frames_of_one_class_that_follow_each_other() -> None:
    frames = [
        ("a", 0, "up", 0.5),
        ("a", 5, "up", 0.7),
        ("a", 10, "down", 0.9),
        ("a", 15, "up", 1.0),
        ("b", 0, "up", 0.25),
    ]
    given = [dict(zip(("video", "frame", "class", "probability"), frame, strict=True)) for frame in frames]
    assert stretches(given, several=True) == [
        {"video": "a", "from": "0", "to": "5", "class": "up", "probability": "0.600"},
        {"video": "a", "from": "10", "to": "10", "class": "down", "probability": "0.900"},
        {"video": "a", "from": "15", "to": "15", "class": "up", "probability": "1.000"},
        {"video": "b", "from": "0", "to": "0", "class": "up", "probability": "0.250"},
    ]


def test_inputs_that_are_no_videos(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: name a video"):
        ask(f"input={tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no videos"):
        ask(f"input={tmp_path / 'empty'}")


@pytest.mark.slow
def test_a_run_that_was_stopped_in_mid_epoch_ends_with_the_same_bits(tmp_path: Path) -> None:
    words = ("default_callbacks=scalars", "callbacks.checkpoints.every_n_steps=2", "model.net.dropout=0.2")
    train(tiny(tmp_path / "whole", *words))
    kill = "+callbacks.kill={_target_: tests.runs.parts.SignalAt,step:7}"
    assert in_child(lambda: train(tiny(tmp_path / "stopped", *words, kill))) == signal.SIGKILL
    train(resumed_config(str(tmp_path / "stopped"), ["~callbacks.kill"], "outputs"))
    assert_same(outcome(tmp_path / "stopped"), outcome(tmp_path / "whole"))


def test_a_convnet_that_was_trained_on_frames_looks_at_others(tmp_path: Path, classifier: Path) -> None:
    words = (f"encoder.run={classifier}", "encoder.frozen=true", "data.labels=count", "default_callbacks=scalars")
    train(tiny(tmp_path / "run", *words, "trainer.max_epochs=1"))
    first, second = (load_run(str(folder), "outputs").task.net.encoder for folder in (classifier, tmp_path / "run"))
    for one, other in zip(first.net.parameters(), second.net.parameters(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("model=convnet", "data=moving_shapes"),
            "model=convnet is for data with num_classes; these have frame_classes",
        ),
        (("model=frame_classifier", "data=shapes"), "model=frame_classifier is for data with frame_classes"),
    ],
)
def test_data_and_models_that_do_not_fit_say_so(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    small = ("data.train_videos=20", "data.test_videos=10") if "moving" in words[1] else ("data.train_images=60",)
    with pytest.raises(UserError, match=said):
        train(compose_config(*words, *small, f"folder={tmp_path / 'run'}"))
