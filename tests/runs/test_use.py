"""Runs that are evaluated, compared in an ensemble, asked for predictions, and moved."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.data.shapes import Shapes
from project.errors import UserError
from project.evaluate import evaluate
from project.predict import predict
from project.runs.evaluation import scores
from project.runs.speed import device_for
from project.runs.trained import load_run
from project.train import train
from tests.conftest import compose_config
from tests.runs.conftest import tiny

Finished = Callable[..., Path]


def evaluation(*words: str) -> dict:
    return evaluate(compose_config("accelerator=cpu", *words, name="evaluate"))


def prediction(*words: str) -> list:
    return predict(compose_config("accelerator=cpu", *words, name="predict"))


def test_scores_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], dtype=torch.float64)
    found = scores(probabilities, torch.tensor([0, 1]))
    assert found == pytest.approx(
        {"test/accuracy": 0.5, "test/loss": -(math.log(0.7) + math.log(0.25)) / 2, "test/top5_accuracy": 1.0}
    )


def test_evaluation_agrees_with_the_test_after_training(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished()
    (found,) = evaluation(f"run={folder}").values()
    trained = json.loads((folder / "metrics.json").read_text())
    for name in ("test/accuracy", "test/loss", "test/top5_accuracy"):
        assert found[name] == pytest.approx(trained[name], rel=1e-5)
    written = json.loads((folder / "evaluation" / "metrics.json").read_text())
    confusion = np.array(written["confusion"])
    assert confusion.sum() == 40
    assert confusion.trace() / 40 == found["test/accuracy"]
    assert [row["images"] for row in written["classes"]] == confusion.sum(1).tolist()
    assert [row["recall"] for row in written["classes"]] == pytest.approx(list(confusion.diagonal() / confusion.sum(1)))
    assert Image.open(folder / "evaluation" / "confusion.png").size[0] > 300
    events = EventAccumulator(str(folder)).Reload()
    assert "test/confusion_matrix" in events.Tags()["images"]
    shown = capsys.readouterr().out
    assert "class" in shown
    assert "crescent" in shown


@pytest.mark.slow
def test_an_ensemble_averages_probabilities(finished: Finished) -> None:
    folders = [finished("0"), finished("1")]
    found = evaluation(f"run=[{folders[0]},{folders[1]}]")
    assert list(found) == [*map(str, folders), "ensemble"]
    data = Shapes(train_images=180, test_images=40, eval_batch_size=40)
    data.setup()
    ((images, labels),) = list(data.test_dataloader())
    with torch.inference_mode():
        nets = [load_run(str(folder), "outputs").task.net for folder in folders]
        mean = sum(net(images).double().softmax(1) for net in nets) / 2
    assert found["ensemble"] == pytest.approx(scores(mean, labels))


@pytest.mark.slow
def test_runs_on_other_data_are_no_ensemble(finished: Finished, tmp_path: Path) -> None:
    train(tiny(f"folder={tmp_path / 'other'}", "data.test_images=30", "trainer.max_epochs=1"))
    with pytest.raises(UserError, match=r"have other test images, so they cannot be compared"):
        evaluation(f"run=[{finished()},{tmp_path / 'other'}]")


@pytest.mark.slow
def test_runs_with_other_validation_images_are_an_ensemble(finished: Finished, tmp_path: Path) -> None:
    train(tiny(f"folder={tmp_path / 'other'}", "data.split_seed=3", "trainer.max_epochs=1"))
    assert "ensemble" in evaluation(f"run=[{finished()},{tmp_path / 'other'}]")


def test_an_autoencoder_is_evaluated_by_its_loss(tmp_path: Path) -> None:
    words = ["data=shapes", "data.train_images=100", "data.test_images=20", "data.batch_size=16"]
    words += ["trainer.max_epochs=1", "trainer.accelerator=cpu", "model.net.widths=[8]"]
    train(compose_config("model=autoencoder_linear", *words, f"folder={tmp_path / 'run'}"))
    (found,) = evaluation(f"run={tmp_path / 'run'}").values()
    trained = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found == {"test/loss": pytest.approx(trained["test/loss"], rel=1e-5)}


def test_predictions_are_those_of_the_network(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished()
    data = Shapes(train_images=180, test_images=40, eval_batch_size=40)
    data.setup()
    images = data.splits["test"].images
    for i in range(3):
        Image.fromarray(images[i]).save(tmp_path / f"{i}.png")
    ((batch, _),) = list(data.test_dataloader())
    with torch.inference_mode():
        probabilities = load_run(str(folder), "outputs").task.net(batch[:3]).double().softmax(1)
    found = prediction(f"run={folder}", f"input={tmp_path}", "format=jsonl", "top=2", "batch_size=2")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found
    for i, result in enumerate(found):
        values, labels = probabilities[i].topk(2)
        assert result["image"] == str(tmp_path / f"{i}.png")
        assert result["class"] == data.classes[labels[0]]
        assert [entry["class"] for entry in result["top"]] == [data.classes[label] for label in labels]
        assert [entry["probability"] for entry in result["top"]] == pytest.approx(values.tolist(), rel=1e-4)
    assert prediction(f"run={folder}", f"input={tmp_path / '1.png'}")[0]["class"] == found[1]["class"]
    assert "probability" in capsys.readouterr().out


def test_unreadable_images_are_named_after_the_readable_ones(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (50, 40), "red").save(tmp_path / "good.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG torn")
    with pytest.raises(UserError, match=r"1 of 2 images cannot be read:\n.*torn.png"):
        prediction(f"run={finished()}", f"input={tmp_path}")
    assert "good.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["input=nowhere.png"], "input=nowhere.png does not exist"),
        (["input=."], r"input=\. holds no images"),
        (["input=x", "format=xml"], "format=xml is unknown: choose table or jsonl"),
        (["input=x", "top=0"], "top must be a whole number of at least 1, got 0"),
    ],
)
def test_mistakes_in_predict(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        prediction(f"run={finished()}", *words)


def test_a_run_may_be_moved(finished: Finished, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(finished(), moved)
    trained = load_run(str(moved), "outputs", "last")
    assert trained.cfg.folder == str(moved)
    assert trained.cfg.callbacks.checkpoints.folder == f"{moved}/checkpoints"
    assert trained.step == 320


def test_mistakes_in_naming_a_run(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run in .*/train yet"):
        load_run("latest", str(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        load_run(str(tmp_path / "no"), "outputs")
    with pytest.raises(UserError, match=r"has no config.yaml, so it is no run's folder"):
        load_run(str(tmp_path), "outputs")
    with pytest.raises(UserError, match=r"has no checkpoint=middle; it has: best, last, previous"):
        load_run(str(finished()), "outputs", "middle")
    shutil.copytree(finished(), tmp_path / "torn")
    cfg = OmegaConf.load(tmp_path / "torn" / "config.yaml")
    cfg.model.net._target_ = "project.nets.convnet.ConvNet"
    OmegaConf.save(cfg, tmp_path / "torn" / "config.yaml")
    with pytest.raises(UserError, match="does not fit the network"):
        load_run(str(tmp_path / "torn"), "outputs")


@pytest.mark.slow
def test_latest_is_the_run_that_was_started_last(tmp_path: Path) -> None:
    words = (f"outputs={tmp_path}", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false")
    train(tiny(*words, "name=first"))
    train(tiny(*words, "name=second"))
    assert load_run("latest", str(tmp_path)).cfg.name == "second"


def test_devices() -> None:
    assert device_for("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match=r"accelerator=tpu is not on this machine, which has: .*cpu"):
        device_for("tpu")


@pytest.mark.slow
def test_learning_rate_range_test(tmp_path: Path) -> None:
    proposal = train(tiny(f"outputs={tmp_path}", "lr_find=true", "optimizer=sgd"))
    (folder,) = (tmp_path / "lr_find" / "convnet").iterdir()
    written = json.loads((folder / "lr_find.json").read_text())
    assert written["proposal"] == proposal
    assert 1e-5 < proposal < 1
    assert written["rates"][0] == 1e-6
    assert written["rates"] == sorted(written["rates"])
    assert Image.open(folder / "lr_find.png").size[0] > 300


def test_a_proposal_is_where_the_loss_falls_fastest() -> None:
    from project.runs.lr_find import steepest

    rates = [10.0**k for k in range(-5, 5)]
    assert steepest(rates, [5, 5, 5, 4.5, 3, 1, 0.9, 0.9, 2, 4]) == 10.0**-1
    assert steepest(rates, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) is None
